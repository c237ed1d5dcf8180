//! The ledger: what was applied, what was reverted, and by which text.

use std::collections::BTreeMap;

use tokio_postgres::SimpleQueryRow;

use crate::migration::Migration;
use crate::names::Names;
use crate::rows::text;
use crate::sql::{identifier, literal};

const DDL: &str = include_str!("ledger.sql");

/// What a ledger of the first builds lacks.
pub(crate) const NEWER_COLUMNS: &str = "ADD COLUMN IF NOT EXISTS step_checksums text[] NOT NULL DEFAULT '{}', \
ADD COLUMN IF NOT EXISTS step_session text[] NOT NULL DEFAULT '{}'";

/// The session settings that every statement here counts on. Plain SETs: a function's first call in a session costs the server more
/// than all of them.
pub(crate) fn settings(names: &Names) -> String {
    format!(
        "SET {}; SET timezone = 'UTC'; SET datestyle = 'ISO, YMD'; SET intervalstyle = 'postgres'; \
         SET standard_conforming_strings = on; SET client_min_messages = warning; SET statement_timeout = 0; \
         SET check_function_bodies = on; SET idle_in_transaction_session_timeout = '60s'",
        names.search_path()
    )
}

/// Lets the server notice a killed client in the middle of a statement, where the system can know (Linux among others). For sessions
/// that change something: it costs as much as all of [`settings`].
pub(crate) const NOTICE_GONE_CLIENT: &str = "SELECT set_config('client_connection_check_interval', '500ms', false) WHERE version() LIKE '%linux%'";

/// Creates the ledger, and lets the application read it where its role is.
pub(crate) fn make(names: &Names, has_role: bool) -> String {
    let ledger = names.ledger();
    let reader = names.role.as_deref().filter(|_| has_role);
    let grant = reader.map(|role| format!("GRANT SELECT ON {ledger} TO {};", identifier(role)));
    format!(
        "{}\n{}",
        DDL.replace("{ledger}", &ledger),
        grant.unwrap_or_default()
    )
}

/// What a run must know of the server; the first column's name distinguishes the row from others. Then come the mark that a run left
/// in this server process before, and this run's own (a session of the server begins without one), and whether goose was here.
pub(crate) fn facts(names: &Names) -> String {
    format!(
        "SELECT pg_backend_pid() AS facts, current_setting('deadlock_timeout', true), {}, \
         current_setting('migrator.run', true), set_config('migrator.run', gen_random_uuid()::text, false), \
         to_regclass({}) IS NULL AND EXISTS ({GOOSE_TABLES})",
        names.has_role(),
        literal(&names.ledger())
    )
}

/// A query for tables as goose makes them, whatever they are called and wherever they are.
pub(crate) const GOOSE_TABLES: &str = "SELECT a.attrelid::regclass FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid \
WHERE c.relkind = 'r' AND a.attname IN ('id', 'version_id', 'is_applied', 'tstamp') AND a.attnum > 0 GROUP BY 1 HAVING count(*) = 4";

/// Every row.
pub(crate) fn read(names: &Names) -> String {
    format!(
        "SELECT source, id, checksum, applied_at, reverted_at, steps_done, down_sql, array_to_string(requires, ','), sequence, \
         array_to_string(step_checksums, ','), to_json(step_session) FROM {}",
        names.ledger()
    )
}

/// Name of the column by which a recorded migration is distinguished from what its own statements return.
pub(crate) const RECORDED: &str = "schema_ledger_recorded_id";

/// How far a migration is, by its row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Applied, whole.
    Applied,
    /// An earlier run was interrupted between two of its steps.
    InProgress(Progress),
    /// An earlier `down` was interrupted between two steps of its Down.
    Reverting(Progress),
    /// When it was reverted.
    Reverted(String),
}

/// How far steps outside a transaction came, each known by its checksum.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Checksums of the steps that are done, in order.
    pub done: Vec<String>,
    /// The step that was begun after them and whose end nobody saw.
    pub begun: Option<String>,
    /// Settings of the session that they ran in, as name and value in turn.
    pub session: Vec<String>,
}

impl Progress {
    fn read(steps_done: &str, checksums: &str, session: &str) -> Self {
        let mut all = list(checksums);
        let done: usize = steps_done.parse().unwrap_or(0);
        // A row of a build that kept no checksums: steps that match nothing, so that nobody goes on.
        all.resize(all.len().max(done), String::new());
        let mut rest = all.split_off(done);
        Self {
            done: all,
            begun: (!rest.is_empty()).then(|| rest.swap_remove(0)),
            session: serde_json::from_str(session).unwrap_or_default(),
        }
    }

    /// Whether nothing is under way.
    pub(crate) fn is_empty(&self) -> bool {
        self.done.is_empty() && self.begun.is_none()
    }

    /// The values of `steps_done`, `step_checksums` and `step_session`; the last as the session is when the statement runs.
    fn columns(&self) -> (usize, String, &'static str) {
        let checksums: Vec<String> = self
            .done
            .iter()
            .chain(&self.begun)
            .map(|c| literal(c))
            .collect();
        let session = if self.is_empty() { "'{}'" } else { SESSION };
        (
            self.done.len(),
            format!("ARRAY[{}]::text[]", checksums.join(", ")),
            session,
        )
    }
}

/// What the session was told to be, by its own statements; [`KEEP_ROLE`] has kept its role before.
const SESSION: &str = "(SELECT array_agg(v) FROM (SELECT unnest(ARRAY[name, setting]) AS v FROM pg_settings \
WHERE source = 'session' AND name NOT LIKE 'migrator.%') AS set) \
|| ARRAY['session_authorization', current_setting('migrator.user'), 'role', current_setting('migrator.role')]";

/// Puts the session's own role aside for the rest of a transaction, so that a step's record is written by the run's.
pub(crate) const KEEP_ROLE: &str = "SELECT set_config('migrator.user', session_user, true), \
set_config('migrator.role', current_setting('role'), true); SET LOCAL SESSION AUTHORIZATION DEFAULT; SET LOCAL ROLE NONE";

/// The statement that makes a session what the steps before left, unless there were none.
pub(crate) fn take_on(progress: &Progress) -> Option<String> {
    let pairs = progress.session.chunks_exact(2);
    let set = pairs.map(|pair| {
        format!(
            "set_config({}, {}, false)",
            literal(&pair[0]),
            literal(&pair[1])
        )
    });
    let set: Vec<String> = set.collect();
    (!set.is_empty()).then(|| format!("SELECT {}", set.join(", ")))
}

/// One row.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Checksum of the text that was applied.
    pub checksum: String,
    /// How far it is.
    pub state: State,
    pub(crate) requires: Vec<String>,
    pub(crate) applied_at: Option<String>,
    /// Position in the order of application.
    pub(crate) sequence: u64,
}

/// The rows of one source by identity.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    /// By the migrations' identities.
    pub entries: BTreeMap<String, Entry>,
    /// Checksums of what other sources have in force, by source and identity.
    pub(crate) others: BTreeMap<String, BTreeMap<String, String>>,
}

impl Ledger {
    pub(crate) fn read(rows: &[SimpleQueryRow], source: &str) -> Self {
        let mut ledger = Self::default();
        for row in rows {
            let (id, entry) = (text(row, 1), Entry::read(row));
            if row.get(0) == Some(source) {
                ledger.entries.insert(id, entry);
            } else if !matches!(entry.state, State::Reverted(_)) {
                let other = ledger.others.entry(text(row, 0)).or_default();
                other.insert(id, entry.checksum);
            }
        }
        ledger
    }
}

impl Ledger {
    /// A condition that holds while the source's rows are these.
    pub(crate) fn unchanged(&self, names: &Names, source: &str) -> String {
        let rows = self.entries.iter().map(|(id, entry)| {
            let state = match &entry.state {
                State::Applied => "applied".to_owned(),
                State::InProgress(progress) => progress.done.len().to_string(),
                State::Reverting(progress) => format!("reverting {}", progress.done.len()),
                State::Reverted(_) => "reverted".to_owned(),
            };
            literal(&format!(
                "{id} {} {state} {}",
                entry.checksum, entry.sequence
            ))
        });
        format!(
            "ARRAY[{}]::text[] = (SELECT coalesce(array_agg(concat_ws(' ', id, checksum, CASE WHEN reverted_at IS NOT NULL THEN 'reverted' \
             WHEN applied_at IS NULL THEN steps_done::text WHEN step_checksums = '{{}}' THEN 'applied' ELSE 'reverting ' || steps_done END, sequence) ORDER BY id COLLATE \"C\"), '{{}}') \
             FROM {} WHERE source = {})",
            rows.collect::<Vec<_>>().join(", "),
            names.ledger(),
            literal(source)
        )
    }

    /// The sequence behind every row's.
    pub(crate) fn next(&self) -> u64 {
        let last = self.entries.values().map(|entry| entry.sequence).max();
        last.unwrap_or(0) + 1
    }

    /// Identities of what is applied, last first.
    pub(crate) fn applied_last_first(&self) -> Vec<&str> {
        let mut applied: Vec<_> = self
            .entries
            .iter()
            .filter(|(_, entry)| !matches!(entry.state, State::Reverted(_)))
            .collect();
        applied.sort_by_key(|(_, entry)| std::cmp::Reverse(entry.sequence));
        applied.into_iter().map(|(id, _)| id.as_str()).collect()
    }

    /// Whether the migration is applied, whole.
    pub fn is_applied(&self, id: &str) -> bool {
        self.entries
            .get(id)
            .is_some_and(|entry| entry.state == State::Applied)
    }
}

impl Entry {
    fn read(row: &SimpleQueryRow) -> Self {
        let progress = Progress::read(&text(row, 5), &text(row, 9), &text(row, 10));
        let state = match (row.get(3), row.get(4)) {
            (_, Some(reverted_at)) => State::Reverted(reverted_at.to_owned()),
            (None, None) => State::InProgress(progress),
            (Some(_), None) if progress.is_empty() => State::Applied,
            (Some(_), None) => State::Reverting(progress),
        };
        Self {
            checksum: text(row, 2),
            state,
            requires: list(&text(row, 7)),
            applied_at: row.get(3).map(str::to_owned),
            sequence: text(row, 8).parse().unwrap_or(0),
        }
    }
}

fn list(text: &str) -> Vec<String> {
    let items = text.split(',').filter(|item| !item.is_empty());
    items.map(str::to_owned).collect()
}

/// Prepares [`Row::record`] for a session: it is planned once, not once for each migration. `fresh` if none of the migrations to be
/// recorded has a row.
///
/// The transaction's own clock stands still for a whole message, so the start is kept in a setting.
pub(crate) fn prepare(names: &Names, fresh: bool) -> String {
    let insert = insert(
        names,
        "$1, $2, $3, $4, $5, $6",
        "clock_timestamp()",
        DURATION,
        &Progress::default(),
    );
    format!(
        "PREPARE schema_record(text, text, text, bigint, text[], text) AS {insert}{or} {RETURNING}",
        or = if fresh { "" } else { OR_UPDATE }
    )
}

/// A migration's row to be.
pub(crate) struct Row<'a> {
    pub(crate) names: &'a Names,
    pub(crate) source: &'a str,
    pub(crate) migration: &'a Migration,
    pub(crate) sequence: u64,
}

impl Row<'_> {
    /// The statement that records the migration as applied; returns its identity and duration in milliseconds.
    pub(crate) fn record(&self) -> String {
        format!("EXECUTE schema_record({})", self.values())
    }

    /// As [`Row::record`], in a session whose prepared statements the migration may have discarded.
    pub(crate) fn record_unprepared(&self) -> String {
        let whole = Progress::default();
        let insert = insert(
            self.names,
            &self.values(),
            "clock_timestamp()",
            DURATION,
            &whole,
        );
        format!("{insert}{OR_UPDATE} {RETURNING}")
    }

    /// The statement that records how far a migration outside a transaction is.
    pub(crate) fn record_steps(&self, progress: &Progress) -> String {
        insert(self.names, &self.values(), "NULL", "NULL", progress) + OR_UPDATE
    }

    fn values(&self) -> String {
        let Self {
            source,
            migration,
            sequence,
            ..
        } = self;
        [
            literal(source),
            literal(&migration.id),
            literal(&migration.checksum),
            sequence.to_string(),
            requires(migration),
            down(migration),
        ]
        .join(", ")
    }
}

fn requires(migration: &Migration) -> String {
    let ids: Vec<String> = migration.requires.iter().map(|id| literal(id)).collect();
    format!("ARRAY[{}]::text[]", ids.join(", "))
}

fn down(migration: &Migration) -> String {
    migration
        .down
        .as_deref()
        .map_or_else(|| "NULL".to_owned(), literal)
}

/// What a recorded migration took, and what its statement answers with.
/// A file that resets all settings forgets its start.
const DURATION: &str = "clock_timestamp() - coalesce(nullif(current_setting('migrator.started', true), '')::timestamptz, transaction_timestamp())";
const RETURNING: &str = "RETURNING id AS schema_ledger_recorded_id, extract(epoch FROM duration) * 1000, \
set_config('migrator.started', clock_timestamp()::text, false)";

/// The statement that records how far a migration's Down outside a transaction is.
pub(crate) fn record_revert_steps(
    names: &Names,
    source: &str,
    id: &str,
    progress: &Progress,
) -> String {
    let (steps, checksums, session) = progress.columns();
    format!(
        "UPDATE {} SET steps_done = {steps}, step_checksums = {checksums}, step_session = {session} WHERE source = {} AND id = {}",
        names.ledger(),
        literal(source),
        literal(id)
    )
}

/// `values` are source, identity, checksum, sequence, requires and down SQL.
fn insert(
    names: &Names,
    values: &str,
    applied_at: &str,
    duration: &str,
    progress: &Progress,
) -> String {
    let (steps, checksums, session) = progress.columns();
    format!(
        "INSERT INTO {ledger} (source, id, checksum, sequence, requires, down_sql, applied_at, duration, steps_done, step_checksums, step_session, tool_version) \
         VALUES ({values}, {applied_at}, {duration}, {steps}, {checksums}, {session}, {version})",
        ledger = names.ledger(),
        version = literal(env!("CARGO_PKG_VERSION")),
    )
}

/// What [`insert`] does where the migration has a row: reverted, or under way in steps.
const OR_UPDATE: &str = " ON CONFLICT (source, id) DO UPDATE SET checksum = excluded.checksum, applied_at = excluded.applied_at, \
duration = excluded.duration, steps_done = excluded.steps_done, step_checksums = excluded.step_checksums, step_session = excluded.step_session, tool_version = excluded.tool_version, \
requires = excluded.requires, down_sql = excluded.down_sql, sequence = excluded.sequence, reverted_at = NULL";
