//! How many events a second Data Storage commits, beside COPY into the same table in the same run, and how long reads take.
//!
//! The load comes from this process over keep-alive connections with requests made beforehand, so that the machine's time goes to
//! the server and PostgreSQL. `synchronous_commit` and `fsync` are on; where the data lies is an option and is printed.
//!
//! The goals are eight times the existing Go server and, for several events a request, 80 % of COPY. The Go server's figures were
//! taken elsewhere beside COPY into its own table; that COPY is repeated here, and its figures are scaled by the two.
//!
//! Modules, each may import those after it: `generators`, `client`, `server`, `options`

#![expect(
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a table of figures is the product, and none of them has 52 bits"
)]

mod client;
mod generators;
mod options;
mod server;

use std::os::unix::fs::PermissionsExt as _;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use bench::processor::{self, Process};
use bench::row::{Beside, Bound, Measured as Figure, Row, Topic};
use clap::Parser;
use embedded_postgres::{Durability, Options as PostgresOptions, Server, Wanted, locate};
use hdrhistogram::Histogram;
use jiff::Timestamp;
use tokio_postgres::NoTls;
use tokio_postgres::binary_copy::BinaryCopyInWriter;
use tokio_postgres::types::{Json, Type};
use uuid::Uuid;

use self::client::{Client, EVENT_DATA, EVENTS_PER_CORRELATION};
use self::generators::Seen;
use self::options::{Generator, Options};
use self::server::DataStorage;

/// What the existing Go server did on such a machine, by events in a request, in events a second.
const GO: [(usize, f64); 3] = [(1, 1917.0), (10, 6104.0), (100, 8214.0)];
/// Rows a second of COPY into the Go server's own table, there and then.
const GO_COPY: f64 = 36_000.0;
/// That table: its indexes, trigger and partitions, for the month of the rows.
const GO_TABLE: &str = include_str!("go_table.sql");
/// Its name, and what its rows say. What they said in those figures is not on record: with little in them, each costs the fewest
/// entries in the index of event data, and this machine looks as fast as it can.
const GOS: (&str, &str) = ("go_audit_events", r#"{"phase":"Running"}"#);
/// The same of the table that the load goes to.
const OWN: (&str, &str) = ("audit_events", EVENT_DATA);
/// How much faster than the Go server Data Storage is to be, the latter scaled to this machine.
const GO_GOAL: f64 = 8.0;
/// And its part of COPY's rate for requests of several events.
const COPY_GOAL: f64 = 0.8;
/// The indexes of `audit_events` beside its key, all of which the figures pay for.
const INDEXES: [&str; 5] = [
    "idx_audit_events_actor",
    "idx_audit_events_correlation",
    "idx_audit_events_event_type",
    "idx_audit_events_resource",
    "idx_audit_events_timestamp",
];
/// Reads that find few are to be faster than this at the 99th percentile.
const READ_GOAL: Duration = Duration::from_millis(5);
/// The server's memory is to stay below this.
const MEMORY_GOAL_KIB: u64 = 64 << 10;
/// Rows of one COPY.
const COPY_ROWS: usize = 50_000;
const READS: u64 = 3000;
/// What is read by, each value of which 20 events have, and what else a request says.
const READ_BY: [(&str, &str); 3] = [
    ("correlation_id", ""),
    ("resource_id", "resource_type=WorkflowExecution&"),
    ("actor_id", "actor_type=service&"),
];

fn main() -> anyhow::Result<()> {
    let mut options = Options::parse();
    if options.large {
        options.rows.push(10_000_000);
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(run(&options))
}

async fn run(options: &Options) -> anyhow::Result<()> {
    let installation = locate(&Wanted {
        installed: true,
        ..Wanted::default()
    })?;
    // PostgreSQL's account, which is not root, must be able to enter it.
    let readable = std::fs::Permissions::from_mode(0o755);
    let data = tempfile::Builder::new()
        .prefix("bench-datastorage-")
        .permissions(readable)
        .tempdir_in(&options.directory)?;
    let postgres_options = PostgresOptions {
        durability: Durability::Durable,
        data_root: Some(data.path().to_owned()),
        // PostgreSQL's own default.
        settings: vec![("shared_buffers".to_owned(), "128MB".to_owned())],
        ..PostgresOptions::default()
    };
    let mut postgres = Server::start(&installation, postgres_options).await?;
    let url = postgres.url(postgres.database());
    migrations::apply_audit(&migrations::Config::new(&url)).await?;
    let (database, connection) = tokio_postgres::connect(&url, NoTls).await?;
    let connection = tokio::spawn(connection);
    println!(
        "{installation}, data in {}, fsync and synchronous_commit on, {} clients, load average {:.2}",
        options.directory.display(),
        options.clients,
        processor::load()?[0]
    );

    ensure_indexes(&database).await?;
    let server = DataStorage::start(options, &postgres).await?;
    writes(options, u32::try_from(postgres.pid())?, &database, &server).await?;
    reads(options, &database, &server).await?;
    let memory = server.peak_memory_kib()?;
    println!(
        "\nserver's peak memory {} MiB, goal {} MiB: {}",
        memory >> 10,
        MEMORY_GOAL_KIB >> 10,
        met(memory <= MEMORY_GOAL_KIB)
    );
    Row::measured(
        Topic::Datastorage,
        "peak memory of Data Storage in these rows",
        Figure::new(memory as f64 / 1024.0, "MiB")
            .goal(Bound::AtMost(MEMORY_GOAL_KIB as f64 / 1024.0)),
    )
    .append_to(options.json.as_deref())?;
    drop((database, server));
    connection.await??;
    postgres.kill().await?;
    Ok(())
}

/// A table without one of its indexes would be written faster.
async fn ensure_indexes(database: &tokio_postgres::Client) -> anyhow::Result<()> {
    let sql = "SELECT indexname::text FROM pg_indexes WHERE tablename = 'audit_events' AND indexname LIKE 'idx%' ORDER BY 1";
    let rows = database.query(sql, &[]).await?;
    let found: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    ensure!(found == INDEXES, "audit_events has the indexes {found:?}");
    println!("audit_events with its key and {}", found.join(", "));
    Ok(())
}

async fn writes(
    options: &Options,
    postmaster: u32,
    database: &tokio_postgres::Client,
    server: &DataStorage,
) -> anyhow::Result<()> {
    database.batch_execute(GO_TABLE).await?;
    let (go_copy, _) = copy_rate(database, GOS, postmaster).await?;
    database
        .batch_execute(&format!("DROP TABLE {}", GOS.0))
        .await?;
    // How fast this machine is, beside the one that the Go server's figures come from.
    let machine = go_copy / GO_COPY;
    println!(
        "COPY into the Go server's table: {go_copy:.0} rows/s here, {GO_COPY:.0} where its figures were taken: {machine:.2} of that machine"
    );
    println!(
        "\nevents in a request | events/s | requests p50 / p99 ms | COPY rows/s | of COPY, goal {COPY_GOAL} | of Go on this machine, goal {GO_GOAL}"
    );
    for &size in &options.sizes {
        let copy = copy_rate(database, OWN, postmaster).await?;
        let own = measure(options, postmaster, database, server, None, size).await?;
        let of_copy = own.rate() / copy.0;
        let of_copy = match size {
            1 => format!("{of_copy:.2}"),
            _ => format!("{of_copy:.2} ({})", met(of_copy >= COPY_GOAL)),
        };
        let go = GO.iter().find(|(events, _)| *events == size);
        let of_go = go.map_or_else(String::new, |(_, go)| {
            let of_go = own.rate() / (go * machine);
            format!("{of_go:.1} ({})", met(of_go >= GO_GOAL))
        });
        println!(
            "{size:>19} | {:>8.0} | {:>21} | {:>11.0} | {of_copy:>17} | {of_go:>28}",
            own.rate(),
            own.percentiles(),
            copy.0,
        );
        println!(
            "{:>19} | {}; of a row of COPY: PostgreSQL {:.1} us",
            "",
            own.processors(),
            copy.1.as_secs_f64() * 1e6 / COPY_ROWS as f64,
        );
        let mut floor = Beside::measured("COPY", copy.0, own.rate() / copy.0);
        if size > 1 {
            floor = floor.goal(Bound::AtLeast(COPY_GOAL));
        }
        let mut figure = Figure::new(own.rate(), "events/s").floor(floor);
        if let Some((_, go)) = go {
            let go = go * machine;
            let instead = Beside::measured("the Go server, scaled", go, own.rate() / go);
            figure = figure.instead(instead.goal(Bound::AtLeast(GO_GOAL)));
        }
        let what = format!("Data Storage, {size} events a request");
        Row::measured(Topic::Datastorage, &what, figure).append_to(options.json.as_deref())?;
        for &generator in &options.also {
            let other =
                measure(options, postmaster, database, server, Some(generator), size).await?;
            println!(
                "{:>19} | {:>8.0} | {:>21} | {:.2} of ours; {}",
                generator.name(),
                other.rate(),
                other.percentiles(),
                other.rate() / own.rate(),
                other.processors(),
            );
        }
    }
    Ok(())
}

/// A load on the empty table, and the processor time that it took.
struct Measured {
    events: u64,
    elapsed: Duration,
    seen: Seen,
    /// Of the server, PostgreSQL, the clients, and everything else on the machine.
    processors: [Duration; 4],
}

impl Measured {
    fn rate(&self) -> f64 {
        self.events as f64 / self.elapsed.as_secs_f64()
    }

    fn percentiles(&self) -> String {
        let [p50, p99] = [self.seen.p50, self.seen.p99].map(|time| time.as_secs_f64() * 1000.0);
        format!("{p50:.1} / {p99:.1}")
    }

    fn processors(&self) -> String {
        let [server, postgres, clients, others] = self.processors.map(|time| time.as_secs_f64());
        let of_event = 1e6 / self.events as f64;
        format!(
            "processor time of an event: server {:.1} us, PostgreSQL {:.1} us, clients {:.1} us; {:.2} cores did something else",
            server * of_event,
            postgres * of_event,
            clients * of_event,
            others / self.elapsed.as_secs_f64()
        )
    }
}

async fn measure(
    options: &Options,
    postmaster: u32,
    database: &tokio_postgres::Client,
    server: &DataStorage,
    generator: Option<Generator>,
    size: usize,
) -> anyhow::Result<Measured> {
    database.batch_execute("TRUNCATE audit_events").await?;
    let processors = || -> anyhow::Result<[Duration; 4]> {
        Ok([
            processor::of(|process| process.id == server.child.id())?,
            processor::of(|process| process.parent == postmaster)?,
            Process::own().map(|own| own.used + own.used_by_ended)?,
            processor::of_machine()?,
        ])
    };
    let before = processors()?;
    let (acknowledged, elapsed, seen) = match generator {
        Some(generator) => {
            let seen = generator.load(options, &server.address, size).await?;
            (0, Duration::from_secs(options.seconds), seen)
        }
        None => load(options, server, size).await?,
    };
    let after = processors()?;
    let mut processors: [Duration; 4] =
        std::array::from_fn(|at| after[at].saturating_sub(before[at]));
    processors[3] = processors[3].saturating_sub(processors[..3].iter().sum());
    let stored: i64 = database
        .query_one("SELECT count(*) FROM audit_events", &[])
        .await?
        .get(0);
    let stored = stored.unsigned_abs();
    ensure!(
        stored >= acknowledged,
        "{acknowledged} events were acknowledged and {stored} are stored"
    );
    Ok(Measured {
        events: stored,
        elapsed,
        seen,
        processors,
    })
}

fn met(met: bool) -> &'static str {
    if met { "met" } else { "missed" }
}

/// Rows a second of COPY, binary, one connection, into the empty table with its indexes, and PostgreSQL's time for them.
async fn copy_rate(
    database: &tokio_postgres::Client,
    into: (&str, &str),
    postmaster: u32,
) -> anyhow::Result<(f64, Duration)> {
    database
        .batch_execute(&format!("TRUNCATE {}", into.0))
        .await?;
    database.batch_execute("CHECKPOINT").await?;
    let before = processor::of(|process| process.parent == postmaster)?;
    let started = Instant::now();
    copy(database, into, Actor::Service, COPY_ROWS as u64, 1_000_000).await?;
    let rate = COPY_ROWS as f64 / started.elapsed().as_secs_f64();
    Ok((
        rate,
        processor::of(|process| process.parent == postmaster)?.saturating_sub(before),
    ))
}

/// Who did what a copied row tells.
#[derive(Clone, Copy)]
enum Actor {
    /// The service, as in the load.
    Service,
    /// One for each group of rows. An answer holds the exact count of what matches: a read by one who did everything counts everything.
    OfGroup,
}

/// Copies rows like those of the load into a table; `salt` keeps correlation ids apart.
async fn copy(
    database: &tokio_postgres::Client,
    (table, event_data): (&str, &str),
    actor: Actor,
    rows: u64,
    salt: u64,
) -> anyhow::Result<()> {
    let columns = "event_id, event_version, event_timestamp, event_date, event_type, event_category, event_action, event_outcome, actor_type,
        actor_id, resource_type, resource_id, correlation_id, event_data, severity, namespace";
    let sink = database
        .copy_in(&format!("COPY {table} ({columns}) FROM STDIN BINARY"))
        .await?;
    let text = Type::TEXT;
    let mut types = vec![Type::UUID, text.clone(), Type::TIMESTAMPTZ, Type::DATE];
    types.extend(vec![text.clone(); 9]);
    types.extend([Type::JSONB, text.clone(), text]);
    let mut writer = pin!(BinaryCopyInWriter::new(sink, &types));
    let payload: Box<serde_json::value::RawValue> =
        serde_json::value::RawValue::from_string(event_data.to_owned())?;
    for row in 0..rows {
        let now = Timestamp::now();
        let date = datastorage_api::time::utc_date(now);
        let correlation = format!("bench-{salt}-{}", row / EVENTS_PER_CORRELATION);
        let resource = format!("wfe-{salt}-{}", row / EVENTS_PER_CORRELATION);
        let actor = match actor {
            Actor::Service => "workflowexecution-controller".to_owned(),
            Actor::OfGroup => format!("user-{salt}-{}", row / EVENTS_PER_CORRELATION),
        };
        let id = Uuid::now_v7();
        writer
            .as_mut()
            .write(&[
                &id,
                &"1.0",
                &now,
                &date,
                &"workflow.started",
                &"workflow",
                &"started",
                &"success",
                &"service",
                &actor,
                &"WorkflowExecution",
                &resource,
                &correlation,
                &Json(&payload),
                &"info",
                &"kubernaut-system",
            ])
            .await?;
    }
    writer.finish().await?;
    Ok(())
}

/// All clients send requests of `size` events for the time set: events that were acknowledged, how long it took, what they saw.
async fn load(
    options: &Options,
    server: &DataStorage,
    size: usize,
) -> anyhow::Result<(u64, Duration, Seen)> {
    let stop = Arc::new(AtomicBool::new(false));
    let events = Arc::new(AtomicU64::new(0));
    let mut clients = tokio::task::JoinSet::new();
    let started = Instant::now();
    for number in 0..options.clients {
        let client = Client::connect(&server.address).await?;
        clients.spawn(client.write_until(
            Arc::clone(&stop),
            Arc::clone(&events),
            number,
            size,
            options.ids,
        ));
    }
    tokio::time::sleep(Duration::from_secs(options.seconds)).await;
    stop.store(true, Ordering::Relaxed);
    let mut latency = Histogram::<u64>::new(3)?;
    while let Some(client) = clients.join_next().await {
        latency.add(client??)?;
    }
    let [p50, p99] =
        [0.5, 0.99].map(|quantile| Duration::from_micros(latency.value_at_quantile(quantile)));
    let events = events.load(Ordering::Relaxed);
    Ok((events, started.elapsed(), Seen { p50, p99 }))
}

async fn reads(
    options: &Options,
    database: &tokio_postgres::Client,
    server: &DataStorage,
) -> anyhow::Result<()> {
    println!(
        "\nrows in the table | by correlation id, by resource, by actor: p50 / p99 ms | deepest page by offset ms | next page by cursor ms"
    );
    database.batch_execute("TRUNCATE audit_events").await?;
    let mut filled = 0;
    for &rows in &options.rows {
        copy(database, OWN, Actor::OfGroup, rows - filled, filled).await?;
        filled = rows;
        database
            .batch_execute("VACUUM ANALYZE audit_events")
            .await?;
        let mut client = Client::connect(&server.address).await?;
        let mut figures = Vec::new();
        for (column, fixed) in READ_BY {
            let latency = read_by(&mut client, database, column, fixed).await?;
            let [p50, p99] =
                [0.5, 0.99].map(|quantile| latency.value_at_quantile(quantile) as f64 / 1000.0);
            let goal = READ_GOAL.as_secs_f64() * 1000.0;
            if column == "correlation_id" {
                let what = format!("read by correlation id of {rows} events");
                let last = Figure::new(p99, "ms").goal(Bound::AtMost(goal));
                for (part, figure) in [
                    ("median", Figure::new(p50, "ms")),
                    ("99th percentile", last),
                ] {
                    Row::measured(Topic::Datastorage, &format!("{what}, {part}"), figure)
                        .append_to(options.json.as_deref())?;
                }
            }
            let met = met(p99 <= goal);
            figures.push(format!("{p50:.2} / {p99:.2} ({met})"));
        }
        let (offset, cursor) = deep_pages(&mut client, rows).await?;
        let [page, other] = [cursor, offset].map(|time| time.as_secs_f64() * 1000.0);
        let figure =
            Figure::new(page, "ms").instead(Beside::measured("by offset", other, page / other));
        let what = format!("deepest page of {rows} events by cursor");
        Row::measured(Topic::Datastorage, &what, figure).append_to(options.json.as_deref())?;
        println!(
            "{rows:>17} | {} | {:>25.1} | {:>22.1}",
            figures.join(", "),
            offset.as_secs_f64() * 1000.0,
            cursor.as_secs_f64() * 1000.0,
        );
    }
    Ok(())
}

/// Microseconds of reads of the events that have a value of `column`, one value after the other.
async fn read_by(
    client: &mut Client,
    database: &tokio_postgres::Client,
    column: &str,
    fixed: &str,
) -> anyhow::Result<Histogram<u64>> {
    let sql =
        format!("SELECT {column} FROM audit_events TABLESAMPLE SYSTEM (10) GROUP BY 1 LIMIT 2000");
    let rows = database.query(&sql, &[]).await?;
    let values: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    let mut latency = Histogram::new(3)?;
    for read in 0..READS {
        let value = &values[usize::try_from(read)? % values.len()];
        let started = Instant::now();
        client.get(&format!("{fixed}{column}={value}")).await?;
        latency.record(u64::try_from(started.elapsed().as_micros())?)?;
    }
    Ok(latency)
}

/// The last page of everything by offset, and the page after it began by cursor.
async fn deep_pages(client: &mut Client, rows: u64) -> anyhow::Result<(Duration, Duration)> {
    let started = Instant::now();
    let page = client
        .get(&format!("limit=100&offset={}", rows - 200))
        .await?;
    let offset = started.elapsed();
    let cursor = page["pagination"]["next_cursor"]
        .as_str()
        .context("a next page")?;
    let started = Instant::now();
    client.get(&format!("limit=100&cursor={cursor}")).await?;
    Ok((offset, started.elapsed()))
}
