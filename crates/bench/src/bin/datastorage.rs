//! How many events a second Data Storage commits, beside COPY into the same table in the same run, and how long reads take.
//!
//! The load comes from this process over keep-alive connections with requests made beforehand, so that the machine's time goes to
//! the server and PostgreSQL. `synchronous_commit` and `fsync` are on; where the data lies is an option and is printed.

#![expect(
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a table of figures is the product, and none of them has 52 bits"
)]

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use clap::Parser;
use embedded_postgres::{Durability, Options as PostgresOptions, Server, Wanted, locate};
use hdrhistogram::Histogram;
use jiff::Timestamp;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_postgres::NoTls;
use tokio_postgres::binary_copy::BinaryCopyInWriter;
use tokio_postgres::types::{Json, Type};
use uuid::Uuid;

/// Measures Data Storage
#[derive(Debug, Parser)]
struct Options {
    /// Where PostgreSQL's data lies; memory-backed by default, as in the figures that the goals come from
    #[arg(long, default_value = "/dev/shm")]
    directory: PathBuf,
    /// Clients that write at the same time
    #[arg(long, default_value_t = 16)]
    clients: usize,
    /// Seconds of load for each size
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Sizes of requests, in events
    #[arg(long, value_delimiter = ',', default_values_t = [1, 10, 100])]
    sizes: Vec<usize>,
    /// Give each event an id of its own, as the audit store does
    #[arg(long)]
    ids: bool,
    /// Rows for the reads; 1 million at the top unless --large
    #[arg(long, value_delimiter = ',', default_values_t = [10_000, 1_000_000])]
    rows: Vec<u64>,
    /// Read from 10 million rows, too
    #[arg(long)]
    large: bool,
    /// The server; built before by `cargo build --release -p datastorage`
    #[arg(long)]
    server: Option<PathBuf>,
}

/// What the existing Go server did on such a machine, by events in a request, in events a second.
const GO: [(usize, f64); 3] = [(1, 1917.0), (10, 6104.0), (100, 8214.0)];
/// Reads by correlation id are to be faster than this at the 99th percentile.
const READ_GOAL: Duration = Duration::from_millis(5);
/// The server's memory is to stay below this.
const MEMORY_GOAL_KIB: u64 = 64 << 10;
/// Rows of one COPY.
const COPY_ROWS: usize = 50_000;
/// Events of one correlation id in the table that is read.
const EVENTS_PER_CORRELATION: u64 = 20;
const READS: u64 = 3000;

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
        "PostgreSQL in {}, fsync and synchronous_commit on, {} clients",
        options.directory.display(),
        options.clients
    );

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
    drop((database, server));
    connection.await??;
    postgres.kill().await?;
    Ok(())
}

async fn writes(
    options: &Options,
    postmaster: u32,
    database: &tokio_postgres::Client,
    server: &DataStorage,
) -> anyhow::Result<()> {
    println!(
        "\nevents in a request | events/s | requests p50 / p99 ms | COPY rows/s | of COPY | of Go | goal | "
    );
    for &size in &options.sizes {
        let copy = copy_rate(database, postmaster).await?;
        database.batch_execute("TRUNCATE audit_events").await?;
        let before = (
            cpu(|process| process.id == server.child.id())?,
            cpu(|process| process.parent == postmaster)?,
        );
        let load = load(options, server, size).await?;
        let after = (
            cpu(|process| process.id == server.child.id())?,
            cpu(|process| process.parent == postmaster)?,
        );
        let micros = |before: Duration, after: Duration| {
            after.saturating_sub(before).as_secs_f64() * 1e6 / load.events as f64
        };
        let stored: i64 = database
            .query_one("SELECT count(*) FROM audit_events", &[])
            .await?
            .get(0);
        ensure!(
            stored.unsigned_abs() >= load.events,
            "{} events were acknowledged and {stored} are stored",
            load.events
        );
        let go = GO
            .iter()
            .find(|(events, _)| *events == size)
            .map(|(_, rate)| *rate);
        let goal = go.map_or(f64::INFINITY, |go| go * 10.0).min(copy.0 * 0.8);
        println!(
            "{size:>19} | {:>8.0} | {:>10.1} / {:>8.1} | {:>11.0} | {:>6.0}% | {:>4.1}x | {goal:>6.0}: {}",
            load.rate(),
            load.latency.value_at_quantile(0.5) as f64 / 1000.0,
            load.latency.value_at_quantile(0.99) as f64 / 1000.0,
            copy.0,
            100.0 * load.rate() / copy.0,
            go.map_or(0.0, |go| load.rate() / go),
            met(load.rate() >= goal),
        );
        println!(
            "{:>19} | processor time of an event: server {:.1} us, PostgreSQL {:.1} us; of a row of COPY: PostgreSQL {:.1} us",
            "",
            micros(before.0, after.0),
            micros(before.1, after.1),
            copy.1.as_secs_f64() * 1e6 / COPY_ROWS as f64,
        );
    }
    Ok(())
}

/// A process, as far as /proc/PID/stat is needed.
struct Process {
    id: u32,
    parent: u32,
}

/// Processor time of the processes that are meant. Unlike a rate it does not depend on what else the machine does.
fn cpu(meant: impl Fn(&Process) -> bool) -> anyhow::Result<Duration> {
    let mut ticks = 0;
    for entry in std::fs::read_dir("/proc")? {
        let Ok(stat) = std::fs::read_to_string(entry?.path().join("stat")) else {
            continue;
        };
        // The name in parentheses may hold blanks; state, parent, … follow it (proc_pid_stat(5)).
        let (Some((id, _)), Some((_, rest))) = (stat.split_once(' '), stat.rsplit_once(") "))
        else {
            continue;
        };
        let fields: Vec<_> = rest.split(' ').collect();
        if meant(&Process {
            id: id.parse()?,
            parent: fields[1].parse()?,
        }) {
            ticks += fields[11].parse::<u64>()? + fields[12].parse::<u64>()?;
        }
    }
    // Linux gives a hundredth of a second (USER_HZ) whatever the kernel's own tick is.
    Ok(Duration::from_millis(ticks * 10))
}

fn met(met: bool) -> &'static str {
    if met { "met" } else { "missed" }
}

/// Rows a second of COPY, binary, one connection, into the empty table with its indexes, and PostgreSQL's time for them.
async fn copy_rate(
    database: &tokio_postgres::Client,
    postmaster: u32,
) -> anyhow::Result<(f64, Duration)> {
    database.batch_execute("TRUNCATE audit_events").await?;
    database.batch_execute("CHECKPOINT").await?;
    let before = cpu(|process| process.parent == postmaster)?;
    let started = Instant::now();
    copy(database, COPY_ROWS as u64, 1_000_000).await?;
    let rate = COPY_ROWS as f64 / started.elapsed().as_secs_f64();
    Ok((
        rate,
        cpu(|process| process.parent == postmaster)?.saturating_sub(before),
    ))
}

/// Copies rows like those of the load; `salt` keeps correlation ids apart.
async fn copy(database: &tokio_postgres::Client, rows: u64, salt: u64) -> anyhow::Result<()> {
    let columns = "event_id, event_version, event_timestamp, event_date, event_type, event_category, event_action, event_outcome, actor_type,
        actor_id, resource_type, resource_id, correlation_id, event_data, severity, namespace";
    let sink = database
        .copy_in(&format!("COPY audit_events ({columns}) FROM STDIN BINARY"))
        .await?;
    let text = Type::TEXT;
    let mut types = vec![Type::UUID, text.clone(), Type::TIMESTAMPTZ, Type::DATE];
    types.extend(vec![text.clone(); 9]);
    types.extend([Type::JSONB, text.clone(), text]);
    let mut writer = pin!(BinaryCopyInWriter::new(sink, &types));
    let payload: Box<serde_json::value::RawValue> =
        serde_json::value::RawValue::from_string(EVENT_DATA.to_owned())?;
    for row in 0..rows {
        let now = Timestamp::now();
        let date = datastorage_api::time::utc_date(now);
        let correlation = format!("bench-{salt}-{}", row / EVENTS_PER_CORRELATION);
        let resource = format!("wfe-{salt}-{}", row / EVENTS_PER_CORRELATION);
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
                &"workflowexecution-controller",
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

/// What a workflow's event says: about 450 bytes.
const EVENT_DATA: &str = r#"{"workflow_id":"increase-memory-conservative","workflow_version":"1.4.2","target_resource":"production/Deployment/payment-service","phase":"Running","container_image":"registry.example/workflows/increase-memory@sha256:4f53cda18c2baa0c0354bb5f9a3ecbe5ed12ab4d8e11ba873c2f11161202b945","execution_name":"wfe-payment-service-8f3a1c","started_at":"2025-12-18T10:00:00Z","pipelinerun_name":"wfe-payment-service-8f3a1c-run","parameters":{"MEMORY_LIMIT":"2Gi","REPLICAS":"3"}}"#;

/// What the clients saw.
struct Load {
    events: u64,
    elapsed: Duration,
    /// Microseconds of a request.
    latency: Histogram<u64>,
}

impl Load {
    fn rate(&self) -> f64 {
        self.events as f64 / self.elapsed.as_secs_f64()
    }
}

/// All clients send requests of `size` events for the time set.
async fn load(options: &Options, server: &DataStorage, size: usize) -> anyhow::Result<Load> {
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
    let mut latency = Histogram::new(3)?;
    while let Some(client) = clients.join_next().await {
        latency.add(client??)?;
    }
    Ok(Load {
        events: events.load(Ordering::Relaxed),
        elapsed: started.elapsed(),
        latency,
    })
}

/// One keep-alive connection that speaks as much HTTP as the load needs.
struct Client {
    stream: TcpStream,
    answer: Vec<u8>,
}

impl Client {
    async fn connect(address: &str) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            answer: Vec::with_capacity(64 << 10),
        })
    }

    async fn write_until(
        mut self,
        stop: Arc<AtomicBool>,
        events: Arc<AtomicU64>,
        number: usize,
        size: usize,
        ids: bool,
    ) -> anyhow::Result<Histogram<u64>> {
        let mut latency = Histogram::new(3)?;
        let mut round = 0_u64;
        let mut request = post(number, round, size, ids);
        while !stop.load(Ordering::Relaxed) {
            let started = Instant::now();
            let status = self.exchange(&request).await?;
            latency.record(u64::try_from(started.elapsed().as_micros())?)?;
            ensure!(
                status == 201,
                "a write was answered with {status}: {}",
                String::from_utf8_lossy(&self.answer)
            );
            events.fetch_add(size as u64, Ordering::Relaxed);
            round += 1;
            // Without ids a request may be sent as it was; a new one now and then spreads the correlation ids.
            if ids || round.is_multiple_of(EVENTS_PER_CORRELATION) {
                request = post(number, round, size, ids);
            }
        }
        Ok(latency)
    }

    /// Sends a request and reads its answer, whose body stays in `answer`.
    async fn exchange(&mut self, request: &[u8]) -> anyhow::Result<u16> {
        self.stream.write_all(request).await?;
        self.answer.clear();
        let head = loop {
            if let Some(end) = self
                .answer
                .windows(4)
                .position(|bytes| bytes == b"\r\n\r\n")
            {
                break end + 4;
            }
            ensure!(
                self.stream.read_buf(&mut self.answer).await? > 0,
                "the server closed the connection"
            );
        };
        let text = std::str::from_utf8(&self.answer[..head])?.to_ascii_lowercase();
        let status = text.get(9..12).context("a status line")?.parse()?;
        let length = text
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "))
            .context("a content-length")?;
        let whole = head + length.trim().parse::<usize>()?;
        while self.answer.len() < whole {
            ensure!(
                self.stream.read_buf(&mut self.answer).await? > 0,
                "the server closed the connection"
            );
        }
        self.answer.drain(..head);
        Ok(status)
    }
}

/// A POST to /batch, or for one event to /events.
fn post(number: usize, round: u64, size: usize, ids: bool) -> Vec<u8> {
    let event = || {
        let id = if ids {
            format!("\"event_id\":\"{}\",", Uuid::now_v7())
        } else {
            String::new()
        };
        let correlation = format!("load-{number}-{}", round / EVENTS_PER_CORRELATION);
        format!(
            r#"{{{id}"version":"1.0","event_type":"workflow.started","event_timestamp":"{}","event_category":"workflow","event_action":"started","event_outcome":"success","actor_type":"service","actor_id":"workflowexecution-controller","resource_type":"WorkflowExecution","resource_id":"wfe-{number}-{round}","correlation_id":"{correlation}","namespace":"kubernaut-system","event_data":{EVENT_DATA}}}"#,
            Timestamp::now()
        )
    };
    let (path, body) = match size {
        1 => ("/api/v1/audit/events", event()),
        _ => (
            "/api/v1/audit/events/batch",
            format!(
                "[{}]",
                (0..size).map(|_| event()).collect::<Vec<_>>().join(",")
            ),
        ),
    };
    format!("POST {path} HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

async fn reads(
    options: &Options,
    database: &tokio_postgres::Client,
    server: &DataStorage,
) -> anyhow::Result<()> {
    println!(
        "\nrows in the table | by correlation id p50 / p99 ms | deepest page by offset ms | next page by cursor ms"
    );
    database.batch_execute("TRUNCATE audit_events").await?;
    let mut filled = 0;
    for &rows in &options.rows {
        copy(database, rows - filled, filled).await?;
        filled = rows;
        database
            .batch_execute("VACUUM ANALYZE audit_events")
            .await?;
        let groups: Vec<String> = {
            let sql = "SELECT correlation_id FROM audit_events TABLESAMPLE SYSTEM (10) GROUP BY 1 LIMIT 2000";
            database
                .query(sql, &[])
                .await?
                .iter()
                .map(|row| row.get(0))
                .collect()
        };
        let mut client = Client::connect(&server.address).await?;
        let mut latency = Histogram::<u64>::new(3)?;
        for read in 0..READS {
            let group = &groups[usize::try_from(read)? % groups.len()];
            let started = Instant::now();
            client.get(&format!("correlation_id={group}")).await?;
            latency.record(u64::try_from(started.elapsed().as_micros())?)?;
        }
        let p99 = Duration::from_micros(latency.value_at_quantile(0.99));
        let (offset, cursor) = deep_pages(&mut client, rows).await?;
        println!(
            "{rows:>17} | {:>16.2} / {:>6.2} ({}) | {:>25.1} | {:>22.1}",
            latency.value_at_quantile(0.5) as f64 / 1000.0,
            p99.as_secs_f64() * 1000.0,
            met(p99 <= READ_GOAL),
            offset.as_secs_f64() * 1000.0,
            cursor.as_secs_f64() * 1000.0,
        );
    }
    Ok(())
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

impl Client {
    async fn get(&mut self, query: &str) -> anyhow::Result<serde_json::Value> {
        let request = format!("GET /api/v1/audit/events?{query} HTTP/1.1\r\nHost: bench\r\n\r\n");
        let status = self.exchange(request.as_bytes()).await?;
        ensure!(
            status == 200,
            "a read was answered with {status}: {}",
            String::from_utf8_lossy(&self.answer)
        );
        Ok(serde_json::from_slice(&self.answer)?)
    }
}

/// The server as a process of its own; dropped, it is killed.
struct DataStorage {
    child: Child,
    address: String,
    _directory: tempfile::TempDir,
}

impl DataStorage {
    async fn start(options: &Options, postgres: &Server) -> anyhow::Result<Self> {
        let binary = match &options.server {
            Some(path) => path.clone(),
            None => std::env::current_exe()?
                .parent()
                .map(|directory| directory.join("datastorage"))
                .context("this program lies in a directory")?,
        };
        if !binary.exists() {
            bail!(
                "there is no server at {}; run `cargo build --release -p datastorage`, or name one with --server",
                binary.display()
            );
        }
        let directory = tempfile::tempdir()?;
        let file = directory.path().join("address");
        let child = Command::new(&binary)
            .env_clear()
            .env("DATASTORAGE_DATABASE_HOST", "127.0.0.1")
            .env(
                "DATASTORAGE_DATABASE_PORT",
                postgres.port().context("PostgreSQL listens")?.to_string(),
            )
            .env("DATASTORAGE_DATABASE_NAME", postgres.database())
            .env("DATASTORAGE_DATABASE_USER", postgres.user())
            .env("DATASTORAGE_DATABASE_PASSWORD", postgres.password())
            .env("DATASTORAGE_SERVER_HOST", "127.0.0.1")
            .env("DATASTORAGE_SERVER_PORT", "0")
            .env("DATASTORAGE_LOGGING_LEVEL", "warn")
            .env("DATASTORAGE_DATABASE_STATEMENT_TIMEOUT", "60s")
            .env("DATASTORAGE_SERVER_WRITE_TIMEOUT", "60s")
            .env(
                "DATASTORAGE_QUEUE_DIRECTORY",
                directory.path().join("queue"),
            )
            .env("DATASTORAGE_ADDRESS_FILE", &file)
            .stdin(Stdio::null())
            .spawn()
            .with_context(|| format!("{} does not start", binary.display()))?;
        let address = address(&file).await?;
        Ok(Self {
            child,
            address,
            _directory: directory,
        })
    }

    /// The kernel's high-water mark of resident memory.
    fn peak_memory_kib(&self) -> anyhow::Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:"))
            .context("VmHWM in /proc")?;
        Ok(line.trim().trim_end_matches(" kB").parse()?)
    }
}

impl Drop for DataStorage {
    fn drop(&mut self) {
        if self.child.kill().is_ok() {
            drop(self.child.wait());
        }
    }
}

/// The address in the file, once it is there.
async fn address(file: &Path) -> anyhow::Result<String> {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        match std::fs::read_to_string(file) {
            Ok(address) => return Ok(address),
            Err(_) if Instant::now() < deadline => {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            Err(error) => bail!(
                "the server did not listen within 10 s: {}: {error}",
                file.display()
            ),
        }
    }
}
