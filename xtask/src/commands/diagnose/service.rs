//! Data Storage by its own API: health, a probe event written and read back, its pool and its queue.

use std::time::{Duration, Instant};

use ::diagnose::{Cause, Diagnosis, Finding, Repair};
use datastorage_client::{Access, RawAnswer};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use e2e_runner::exit::{Exit, Failure};
use e2e_runner::tools::migrate::runtime;

/// Longer than Data Storage waits for its database, so that its own answer arrives.
const PATIENCE: Duration = Duration::from_secs(15);
/// Longer than an answer takes that waits for nothing.
const SLOW: Duration = Duration::from_millis(500);
/// How the pool's gauges begin.
const POOL: &str = "datastorage_pool_connections";
/// Data Storage's pools: for what may take long, for groups of events, for short checks.
const POOLS: [&str; 3] = ["reads", "writes", "checks"];

/// What was seen beside the checks.
#[derive(Default)]
pub struct Seen {
    /// Correlation ids of the probes that Data Storage says are stored.
    pub written: Vec<String>,
    /// What its answers say is wrong; the database may show the root of it.
    pub findings: Vec<Finding>,
    /// Whether something took so long that it must have waited for more than the network.
    slow: bool,
}

/// An answer as far as it matters here.
struct Answer {
    status: u16,
    body: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }

    /// What the answer says, in one line.
    fn words(&self) -> String {
        let body = self.json();
        let said = body["detail"].as_str().or(body["reason"].as_str());
        let said = said.unwrap_or_else(|| self.body.lines().next().unwrap_or_default());
        // What follows is the next move, which a finding has of its own.
        let said = said.split("; ").next().unwrap_or_default();
        format!("{} {said}", self.status).trim().to_owned()
    }
}

/// What a look saw, and what it found.
type Looked = (String, Option<Finding>);

struct Client {
    client: datastorage_client::Client,
    runtime: Runtime,
}

impl Client {
    fn get(&self, path: &str) -> Result<Answer, String> {
        answer(self.runtime.block_on(self.client.get_raw(path)))
    }

    fn post(&self, path: &str, body: &Value) -> Result<Answer, String> {
        answer(self.runtime.block_on(self.client.post_raw(path, body)))
    }
}

fn answer(answer: Result<RawAnswer, datastorage_client::Error>) -> Result<Answer, String> {
    let answer = answer.map_err(|error| error.to_string())?;
    Ok(Answer {
        status: answer.status,
        body: String::from_utf8_lossy(&answer.body).into_owned(),
    })
}

/// Examines the Data Storage at this base URL.
pub fn examine(base: &str, access: &Access, diagnosis: &mut Diagnosis) -> anyhow::Result<Seen> {
    let client = datastorage_client::Client::with_access(base, access);
    let client = Client {
        client: client
            .map_err(|error| Failure::new(Exit::Usage, error.to_string()))?
            .with_deadline(PATIENCE),
        runtime: runtime()?,
    };
    let mut seen = Seen::default();
    let began = Instant::now();
    if let Err(error) = client.get("/health/live") {
        let summary = format!("no Data Storage answers at {base}");
        let finding = Finding::new(Cause::DataStorage, "", summary)
            .evidence(error.clone())
            .manual_step("start it, or correct the URL; `cargo xtask logs SERVICE` shows why one that is up died");
        diagnosis.add("Data Storage", began, error, vec![finding]);
        return Ok(seen);
    }
    let mut look = |name, look: fn(&Client, &mut Seen) -> Looked| {
        let began = Instant::now();
        let (detail, finding) = look(&client, &mut seen);
        seen.slow |= began.elapsed() > SLOW;
        let mut scratch = Diagnosis::default();
        scratch.add(name, began, detail, finding.into_iter().collect());
        diagnosis.checks.extend(scratch.checks);
        seen.findings.extend(scratch.findings);
    };
    look("write", write);
    look("read back", read_back);
    look("pool", pool);
    look("readiness", ready);
    Ok(seen)
}

/// Writes an event that says that it is a probe.
fn write(client: &Client, seen: &mut Seen) -> Looked {
    let id = format!("diagnose-{:016x}", rand::random::<u64>());
    let event = json!({
        "version": "1.0", "event_type": "diagnose.probe", "event_timestamp": jiff::Timestamp::now().to_string(),
        "event_category": "workflow", "event_action": "probe", "event_outcome": "success", "correlation_id": id,
        "actor_type": "tool", "actor_id": "cargo-xtask-diagnose", "resource_type": "Probe", "resource_id": id,
        "event_data": {"probe": true, "by": "cargo xtask diagnose"},
    });
    let answer = client.post("/api/v1/audit/events/batch", &json!([event]));
    match answer {
        Ok(answer) if answer.status == 201 => {
            let detail = format!("201, correlation id {id}");
            seen.written.push(id);
            (detail, None)
        }
        Ok(answer) if answer.status == 202 => {
            let finding = Finding::new(Cause::Connection, "", "Data Storage cannot reach its database")
                .evidence("the probe was queued (202) and not stored")
                .manual_step("compare its `database` settings with a database that answers; its log names the error");
            ("202: queued, not stored".to_owned(), Some(finding))
        }
        Ok(answer) => (
            answer.words(),
            Some(problem(&answer, "the probe was refused")),
        ),
        Err(error) => (error.clone(), Some(silent("a write", &error))),
    }
}

fn read_back(client: &Client, seen: &mut Seen) -> Looked {
    let id = seen.written.first().map_or("diagnose-none", String::as_str);
    let path = format!("/api/v1/audit/events?correlation_id={id}");
    match client.get(&path) {
        Ok(answer) if answer.status == 200 => {
            let found = answer.json()["data"].as_array().map_or(0, Vec::len);
            if found == seen.written.len() {
                return (format!("200, {found} found"), None);
            }
            let finding = Finding::new(
                Cause::OtherDatabase,
                "",
                "what Data Storage stored it does not read back",
            )
            .evidence(format!("GET {path} found {found} events"))
            .manual_step("do its instances share one database? compare their `database` settings");
            (format!("{found} found"), Some(finding))
        }
        Ok(answer) => (answer.words(), Some(problem(&answer, "a read was refused"))),
        Err(error) => (error.clone(), Some(silent("a read", &error))),
    }
}

fn ready(client: &Client, _: &mut Seen) -> Looked {
    match client.get("/health/ready") {
        Ok(answer) if answer.status == 200 => ("ready".to_owned(), None),
        Ok(answer) => {
            let body = answer.json();
            let missing: Vec<&str> = body["missing"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .collect();
            let manual = |text: &str| Some(Repair::Manual(text.to_owned()));
            let (cause, step) = match (body["reason"].as_str(), missing.first()) {
                (_, Some(first)) => cause_of_gap(first),
                (Some("database_unreachable"), None) => (
                    Cause::Connection,
                    manual("start its database, or correct its `database` settings"),
                ),
                _ => (
                    Cause::DataStorage,
                    manual("wait until it has started, or look at its log"),
                ),
            };
            let seen = format!("{} {}", answer.words(), missing.join(", "));
            let finding = Finding::new(cause, "", "Data Storage is not ready")
                .evidence(format!("/health/ready: {}", seen.trim_end()));
            let finding = match step {
                Some(step) => finding.repair(step),
                None => finding.manual_step(ASK_THE_DATABASE),
            };
            (seen, Some(finding))
        }
        Err(error) => (error.clone(), Some(silent("readiness", &error))),
    }
}

/// The next move where Data Storage shows a symptom only.
const ASK_THE_DATABASE: &str = "give --database-url as well: the database shows the root";

/// What stands behind a gap that readiness names by one phrase. What no migration mends has its steps in what the database's own check
/// finds.
fn cause_of_gap(phrase: &str) -> (Cause, Option<Repair>) {
    match phrase.split(' ').next().unwrap_or_default() {
        "column" => (Cause::MissingColumn, Some(Repair::Migrate)),
        "partition" => (Cause::NoPartition, Some(Repair::Partitions)),
        "type" => (Cause::TypeMismatch, None),
        "privilege" => (Cause::Permission, None),
        // "a default for column …"
        "a" => (Cause::Constraint, None),
        _ => (Cause::MissingTable, Some(Repair::Migrate)),
    }
}

/// Connections in use and open, and what waits in the queue.
fn pool(client: &Client, seen: &mut Seen) -> Looked {
    let answer = match client.get("/metrics") {
        Ok(answer) => answer,
        Err(error) => return (error.clone(), Some(silent("metrics", &error))),
    };
    if answer.status != 200 {
        return (answer.words(), Some(problem(&answer, "the metrics")));
    }
    let value = |name: &str| {
        answer
            .body
            .lines()
            .find_map(|line| line.strip_prefix(name)?.trim().parse::<f64>().ok())
    };
    let gauge = |name: &str| value(name).map_or("?".to_owned(), |value| value.to_string());
    let pools = POOLS.map(|pool| {
        let count = |state| value(&format!("{POOL}{{pool=\"{pool}\",state=\"{state}\"}}"));
        (
            pool,
            count("in_use").unwrap_or_default(),
            count("open").unwrap_or_default(),
        )
    });
    let (in_use, open) = pools.iter().fold((0.0, 0.0), |(used, open), pool| {
        (used + pool.1, open + pool.2)
    });
    let queued = gauge("datastorage_dlq_depth{stream=\"audit_events\"}");
    let parked = gauge("datastorage_queue_parked");
    let detail = format!(
        "{in_use} of {open} open connections in use, {queued} events queued, {parked} parked"
    );
    let full = pools
        .iter()
        .find(|(_, in_use, open)| *open > 0.0 && in_use >= open);
    if let Some((pool, in_use, open)) = full.filter(|_| seen.slow) {
        let finding = exhausted().evidence(format!(
            "{in_use} of {open} connections for {pool} are in use, and a request had to wait"
        ));
        return (detail, Some(finding));
    }
    match value("datastorage_queue_parked") {
        Some(count) if count > 0.0 => {
            let finding = Finding::new(
                Cause::Refused,
                "",
                format!("{parked} queued events were refused for good"),
            )
            .evidence(detail.clone())
            .manual_step("GET /api/v1/queue/parked lists them with the reason");
            (detail, Some(finding))
        }
        _ => (detail, None),
    }
}

/// A problem document as the cause that it names (D28); an answer without one is told as it is.
fn problem(answer: &Answer, what: &str) -> Finding {
    if matches!(answer.status, 401 | 403) {
        let summary = "Data Storage does not let this command in";
        return Finding::new(Cause::Refused, "", summary)
            .evidence(format!("{what}: {}", answer.words()))
            .manual_step("give --token-file, or --client-cert and --client-key, or their variables DATASTORAGE_TOKEN_FILE and so on");
    }
    let body = answer.json();
    let (relation, seen) = (
        body["relation"].as_str().unwrap_or("audit_events"),
        answer.words(),
    );
    let (cause, step) = match body["kind"].as_str().unwrap_or_default() {
        "relation_missing" => (Cause::MissingTable, Some(Repair::Migrate)),
        "relation_reverted" => (Cause::MigrationReverted, Some(Repair::Migrate)),
        "column_missing" => (Cause::MissingColumn, Some(Repair::Migrate)),
        "partition_missing" => (Cause::NoPartition, Some(Repair::Partitions)),
        "type" => (Cause::TypeMismatch, None),
        "constraint" => (Cause::Constraint, None),
        "permission" => (Cause::Permission, None),
        "login" => (Cause::Login, None),
        "database_missing" => (Cause::NoSuchDatabase, None),
        "connection" => (Cause::Connection, None),
        "pool_exhausted" => (Cause::PoolExhausted, None),
        "timeout" => (Cause::Blocked, None),
        _ => (Cause::Refused, None),
    };
    let code = body["sqlstate"].as_str();
    let code = code.map_or_else(String::new, |code| format!(" (SQLSTATE {code})"));
    let seen = format!("{what}: {seen}{code}");
    if cause == Cause::PoolExhausted {
        return exhausted().evidence(seen);
    }
    let summary = format!("{what}: {cause} ({relation})");
    let finding = Finding::new(cause, "", summary).evidence(seen);
    match step {
        Some(step) => finding.repair(step),
        None => finding.manual_step(ASK_THE_DATABASE),
    }
}

fn exhausted() -> Finding {
    let summary = "no connection of Data Storage's pool becomes free in time";
    Finding::new(Cause::PoolExhausted, "", summary)
        .manual_step("end what its sessions wait for (`datastorage` in pg_stat_activity), or raise `database.max_open_conns`")
}

fn silent(what: &str, error: &str) -> Finding {
    Finding::new(
        Cause::DataStorage,
        "",
        "Data Storage takes connections and does not answer",
    )
    .evidence(format!("{what}: {error}"))
    .manual_step("look at its log; a restart keeps its queue")
}
