//! Reading without changing: plan, status, drift and verify.

use std::fmt;
use std::sync::Arc;

use serde::Serialize;

use crate::catalogue::Catalogue;
use crate::config::Config;
use crate::error::Error;
use crate::history::Difference;
use crate::ledger::State;
use crate::made::{self, Made};
use crate::migration::{Migration, Object, ObjectKind};
use crate::plan::Plan;
use crate::rows::text;
use crate::session::{Run, Session};
use crate::shape;
use crate::sql::literal;
use crate::view::View;

/// What [`crate::apply`] would do now.
///
/// # Errors
/// Those of connecting, [`Error::ChecksumMismatch`] and [`Error::UnknownMigration`].
pub async fn plan(config: &Config) -> Result<Plan, Error> {
    inspect(config, |inspection| async move {
        Plan::make(
            &inspection.catalogue,
            &inspection.run.config.selection,
            &inspection.run.config.again,
            &inspection.view.ledger,
        )
    })
    .await
}

/// Every migration of the selection and every row of the ledger, with their state.
///
/// # Errors
/// Those of connecting and of the selection.
pub async fn status(config: &Config) -> Result<Status, Error> {
    inspect(config, |inspection| async move {
        let selected = inspection
            .catalogue
            .resolve(&inspection.run.config.selection)?;
        let ledger = &inspection.view.ledger;
        let mut lines: Vec<StatusLine> = selected
            .iter()
            .map(|migration| {
                let entry = ledger.entries.get(&migration.id);
                let state = match entry.map(|entry| &entry.state) {
                    None => MigrationState::Pending,
                    Some(State::Reverted(_)) => MigrationState::Reverted,
                    // Its text may have been corrected since.
                    Some(State::InProgress(_)) => MigrationState::Interrupted,
                    Some(State::Reverting(_)) => MigrationState::Reverting,
                    Some(State::Applied)
                        if entry.is_some_and(|entry| entry.checksum != migration.checksum) =>
                    {
                        MigrationState::Changed
                    }
                    Some(State::Applied) => MigrationState::Applied,
                };
                StatusLine {
                    id: migration.id.clone(),
                    state,
                    since: entry.and_then(since),
                }
            })
            .collect();
        let in_force = ledger
            .entries
            .iter()
            .filter(|(_, entry)| !matches!(entry.state, State::Reverted(_)));
        lines.extend(
            in_force
                .filter(|(id, _)| inspection.catalogue.get(id).is_none())
                .map(|(id, entry)| StatusLine {
                    id: id.clone(),
                    state: MigrationState::Unknown,
                    since: since(entry),
                }),
        );
        Ok(Status { migrations: lines })
    })
    .await
}

fn since(entry: &crate::ledger::Entry) -> Option<String> {
    match &entry.state {
        State::Reverted(at) => Some(at.clone()),
        _ => entry.applied_at.clone(),
    }
}

/// Compares what the ledger says was applied with what is there.
///
/// # Errors
/// [`Error::NothingToCompare`], and those of connecting; differences are the answer, not an error.
pub async fn drift(config: &Config) -> Result<Comparison, Error> {
    inspect(config, |inspection| async move {
        let comparison = inspection.compare().await?;
        if comparison.compared == 0 {
            let reason = if inspection.catalogue.has_shapes() {
                "no migration of the selection is applied; run `migrate` with the same selection first"
            } else {
                "these files have no recorded shapes; `migrate verify` looks for the tables that they create"
            };
            return Err(Error::NothingToCompare { reason: reason.to_owned() });
        }
        Ok(comparison)
    })
    .await
}

/// Checks that everything the selection needs is there, has its shape, and takes rows dated today and tomorrow.
///
/// # Errors
/// [`Error::MissingTable`], [`Error::MissingPartition`], [`Error::Drift`], [`Error::Pending`], [`Error::NothingToCompare`], in this
/// order; and those of connecting.
pub async fn verify(config: &Config) -> Result<Verified, Error> {
    inspect(config, |inspection| async move {
        let selected = inspection
            .catalogue
            .resolve(&inspection.run.config.selection)?;
        let tables = inspection.tables(&selected);
        inspection.check_tables(&tables).await?;
        let partitioned = inspection.check_partitions().await?;
        let comparison = inspection.compare().await?;
        if !comparison.differences.is_empty() {
            return Err(Error::Drift {
                migration: None,
                differences: comparison.differences,
            });
        }
        // Tables may be there without their migration: created by hand with equal shape.
        let is_pending = |migration: &&&Migration| !inspection.view.ledger.is_applied(&migration.id);
        if let Some(migration) = selected.iter().find(is_pending) {
            if let Some(State::Reverting(progress)) = inspection
                .view
                .ledger
                .entries
                .get(&migration.id)
                .map(|entry| &entry.state)
            {
                return Err(Error::HalfReverted {
                    migration: migration.id.clone(),
                    done: progress.done.len(),
                });
            }
            return Err(Error::Pending {
                migration: migration.id.clone(),
                reason: inspection.reason(&migration.id),
            });
        }
        if tables.is_empty() && comparison.compared == 0 {
            let reason = "no file of the selection creates a table by name, and no shapes are recorded; look at the database by hand";
            return Err(Error::NothingToCompare { reason: reason.to_owned() });
        }
        Ok(Verified {
            tables: tables.into_iter().map(|table| table.name).collect(),
            objects: comparison.compared,
            partitioned,
        })
    })
    .await
}

/// A session, what was read first, and what it is compared with.
struct Inspection {
    run: Arc<Run>,
    session: Session,
    view: View,
    catalogue: Arc<Catalogue>,
}

async fn inspect<T, F: Future<Output = Result<T, Error>>>(
    config: &Config,
    work: impl FnOnce(Arc<Inspection>) -> F,
) -> Result<T, Error> {
    Run::bounded(config, |run| async move {
        let catalogue = Arc::clone(&run.config.catalogue);
        let partitioned = catalogue.partitioned_tables(&run.config.selection)?;
        let session = Session::open(&run).await?;
        let view = View::first(&session, &catalogue, &partitioned).await?;
        let inspection = Arc::new(Inspection {
            run,
            session,
            view,
            catalogue: Arc::clone(&catalogue),
        });
        let outcome = work(Arc::clone(&inspection)).await;
        if let Some(inspection) = Arc::into_inner(inspection) {
            inspection.session.close().await;
        }
        outcome
    })
    .await
}

impl Inspection {
    async fn compare(&self) -> Result<Comparison, Error> {
        let selected = self.catalogue.resolve(&self.run.config.selection)?;
        let ran = |id: &str| self.view.ledger.is_applied(id);
        let objects: Vec<&Object> = selected
            .iter()
            .filter(|migration| ran(&migration.id))
            .flat_map(|migration| &migration.provides)
            .collect();
        let expected = self.catalogue.expected(
            objects,
            ran,
            self.session.names().absent_role(self.view.has_role),
        );
        let names: Vec<String> = expected.keys().cloned().collect();
        let found = shape::read(&self.session, &self.catalogue, &names).await?;
        Ok(Comparison {
            compared: names.len(),
            differences: crate::history::compare(&expected, &found),
        })
    }

    /// The tables that the selection makes: as declared, or as its statements say.
    fn tables<'a>(&self, selected: &[&'a Migration]) -> Vec<Made<'a>> {
        if self.catalogue.goose {
            return made::tables(selected.iter().copied());
        }
        let mut tables: Vec<Made<'a>> = Vec::new();
        for migration in selected {
            for object in migration
                .provides
                .iter()
                .filter(|object| object.kind == ObjectKind::Table)
            {
                match tables.iter_mut().find(|table| table.name == object.name) {
                    Some(table) => table.by.push(&migration.id),
                    None => tables.push(Made {
                        name: object.name.clone(),
                        by: vec![&migration.id],
                    }),
                }
            }
        }
        tables
    }

    async fn check_tables(&self, tables: &[Made<'_>]) -> Result<(), Error> {
        let Some(missing) = made::missing(&self.session, tables).await? else {
            return Ok(());
        };
        let applied = |id: &&&str| self.view.ledger.is_applied(id);
        let again = match missing.by.first() {
            Some(first) if self.view.ledger.is_applied(first) => missing
                .by
                .iter()
                .filter(applied)
                .map(|id| (*id).to_owned())
                .collect(),
            _ => Vec::new(),
        };
        Err(Error::MissingTable {
            table: missing.name.clone(),
            reason: missing
                .by
                .first()
                .map_or_else(String::new, |id| self.reason(id)),
            again,
        })
    }

    /// Why an object of the migration may be missing.
    fn reason(&self, id: &str) -> String {
        match self.view.ledger.entries.get(id).map(|entry| &entry.state) {
            None => format!("migration {id} was never applied"),
            Some(State::Reverted(at)) => format!("migration {id} was reverted at {at}"),
            Some(State::InProgress(progress)) => {
                format!(
                    "migration {id} was interrupted after {} steps",
                    progress.done.len()
                )
            }
            Some(State::Reverting(progress)) => {
                format!(
                    "migration {id} is half reverted, by {} steps of its Down",
                    progress.done.len()
                )
            }
            Some(State::Applied) => {
                format!("migration {id} is applied, so somebody dropped it since")
            }
        }
    }

    /// Looks at the bounds, not at the names, for today and tomorrow in UTC.
    /// How many tables were looked at.
    async fn check_partitions(&self) -> Result<usize, Error> {
        let tables: Vec<String> = self
            .catalogue
            .partitioned_tables(&self.run.config.selection)?
            .into_iter()
            .map(literal)
            .collect();
        let sql = format!(
            "SELECT t, d::date FROM unnest(ARRAY[{}]::text[]) AS t, generate_series(current_date, current_date + 1, interval '1 day') AS d \
             WHERE NOT EXISTS (SELECT FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid, \
             LATERAL regexp_match(pg_get_expr(c.relpartbound, c.oid), 'FROM \\(''([0-9-]{{10}}).*TO \\(''([0-9-]{{10}})') AS bound \
             WHERE i.inhparent = to_regclass(t) AND d::date >= bound[1]::date AND d::date < bound[2]::date) ORDER BY 2",
            tables.join(", ")
        );
        let sets = self
            .session
            .query("looking at the partitions", &sql)
            .await?;
        match sets.first().and_then(|rows| rows.first()) {
            Some(row) => Err(Error::MissingPartition {
                table: text(row, 0),
                day: text(row, 1),
            }),
            None => Ok(tables.len()),
        }
    }
}

/// How things stand with one migration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum MigrationState {
    /// Applied, and its file is as it was then.
    Applied,
    /// Never applied.
    Pending,
    /// Applied and reverted.
    Reverted,
    /// Interrupted between two of its steps; the next run goes on.
    Interrupted,
    /// Half reverted; `down` goes on.
    Reverting,
    /// Applied from a file that has another text now.
    Changed,
    /// In the ledger, and unknown to this program.
    Unknown,
}

/// One line of [`Status`].
#[derive(Clone, Debug, Serialize)]
pub struct StatusLine {
    /// Identity.
    pub id: String,
    /// Its state.
    pub state: MigrationState,
    /// When it was applied or reverted, as PostgreSQL prints it in UTC.
    pub since: Option<String>,
}

/// Answer of [`status`].
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    /// The selection's migrations in order, then what only the ledger knows.
    pub migrations: Vec<StatusLine>,
}

impl Status {
    /// Whether every migration of the selection is applied as its file says.
    pub fn is_complete(&self) -> bool {
        self.migrations.iter().all(|line| {
            matches!(
                line.state,
                MigrationState::Applied | MigrationState::Unknown
            )
        })
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self
            .migrations
            .iter()
            .map(|line| line.id.len())
            .max()
            .unwrap_or(0);
        for line in &self.migrations {
            let state = match line.state {
                MigrationState::Applied => "applied",
                MigrationState::Pending => "pending",
                MigrationState::Reverted => "reverted",
                MigrationState::Interrupted => "interrupted",
                MigrationState::Reverting => "half reverted",
                MigrationState::Changed => "its file was changed since",
                MigrationState::Unknown => "unknown to this program",
            };
            match &line.since {
                Some(since) => writeln!(f, "{:width$}  {state} ({since})", line.id)?,
                None => writeln!(f, "{:width$}  {state}", line.id)?,
            }
        }
        Ok(())
    }
}

/// Answer of [`drift`].
#[derive(Clone, Debug, Serialize)]
pub struct Comparison {
    /// How many objects were compared.
    pub compared: usize,
    /// Where they differ; none means equal.
    pub differences: Vec<Difference>,
}

/// Answer of [`verify`].
#[derive(Clone, Debug, Serialize)]
pub struct Verified {
    /// Tables that are there, in the order of their migrations.
    pub tables: Vec<String>,
    /// How many objects have the shape that they should have.
    pub objects: usize,
    /// How many tables have partitions for today and tomorrow.
    pub partitioned: usize,
}

impl fmt::Display for Verified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "verified: {} tables are there", self.tables.len())?;
        match self.objects {
            0 => f.write_str("; no shapes are recorded to compare")?,
            objects => write!(f, ", {objects} objects are as the migrations make them")?,
        }
        match self.partitioned {
            0 => Ok(()),
            tables => write!(
                f,
                ", {tables} tables have partitions for today and tomorrow"
            ),
        }
    }
}
