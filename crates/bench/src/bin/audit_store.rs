//! How long `store()` takes, how many events a second reach a server that does nothing, and whether memory stays flat.
//!
//! Beside the journalled store stand the alternative, the same store without a journal, and the floor from the same run: one `write` of the same
//! bytes for `store()`, and posting a ready batch over and over for the throughput.

use std::{
    fs::{self, File},
    hint::black_box,
    io::Write as _,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use audit_store::{
    Config, Event, JournalConfig, Mode, Store,
    events::workflowexecution::{self, Execution},
};
use axum::{Router, body::Bytes, extract::DefaultBodyLimit, http::StatusCode, routing::post};
use clap::Parser;
use datastorage_client::Client;
use hdrhistogram::Histogram;
use uuid::Uuid;

/// Measures the audit store
#[derive(Debug, Parser)]
struct Options {
    /// Where the journal lies; memory-backed by default, so that the store is measured and not a disk
    #[arg(long, default_value = "/dev/shm")]
    directory: PathBuf,
    /// Calls of `store()` to time
    #[arg(long, default_value_t = 200_000)]
    calls: usize,
    /// Seconds of sustained load
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Events that wait while the server is away
    #[arg(long, default_value_t = 1_000_000)]
    backlog: usize,
}

/// Events that may wait before the load generator pauses: more shows nothing but the size of the journal.
const AHEAD: u64 = 50_000;

/// Nobody listens there.
const NOBODY: &str = "http://127.0.0.1:9";

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let received = Arc::new(AtomicU64::new(0));
    let url = runtime.block_on(null_server(Arc::clone(&received)))?;
    let place = tempfile::tempdir_in(&options.directory)
        .context("give a --directory that can be written")?;
    let payload = serde_json::to_vec(&request())?;
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "journal on {}, {} bytes per event, 1 emitting thread, batches of 1000\n",
        options.directory.display(),
        payload.len()
    )?;

    // What a memory-only store held stays with the allocator: memory is looked at before.
    let (few, many, bytes) = backlog(journal(place.path(), "backlog"), options.backlog)?;
    writeln!(
        out,
        "memory with a backlog: {few} KiB at 10,000 events, {many} KiB at {} ({} MiB of journal)\n",
        options.backlog,
        bytes >> 20
    )?;
    let (floor, ..) = runtime.block_on(post_only(&url, &payload, Duration::from_secs(3)))?;
    let span = Duration::from_secs(options.seconds);
    let load = |config| sustained(&url, config, span, &received);
    print_sustained(&mut out, place.path(), floor, load)?;
    print_latencies(&mut out, place.path(), &payload, options.calls)
}

fn print_sustained(
    out: &mut impl std::io::Write,
    place: &Path,
    floor: u64,
    load: impl Fn(Config) -> anyhow::Result<(u64, u64, u64)>,
) -> anyhow::Result<()> {
    let head = "sustained, null server";
    writeln!(
        out,
        "{head:<34} {:>9}   ratio   memory KiB before, after",
        "events/s"
    )?;
    for (name, config) in [
        ("this: validation, journal", journal(place, "load")),
        ("alternative: memory only", memory(100_000)),
    ] {
        let (rate, before, after) = load(config)?;
        let ratio = ratio(rate, floor);
        writeln!(out, "{name:<34} {rate:>9}   {ratio:.2}   {before}, {after}")?;
    }
    writeln!(
        out,
        "{:<34} {floor:>9}   1.00\n",
        "floor: ready batches, no store"
    )?;
    Ok(())
}

fn print_latencies(
    out: &mut impl std::io::Write,
    place: &Path,
    payload: &[u8],
    calls: usize,
) -> anyhow::Result<()> {
    writeln!(
        out,
        "{:<34} {:>9} {:>9} {:>9} {:>9}   ratio of medians",
        "store(), server absent", "p50 ns", "p99 ns", "p99.9 ns", "max us"
    )?;
    let floor = write_latency(place, payload, calls)?;
    let journalled = store_latency(journal(place, "latency"), calls)?;
    let in_memory = store_latency(memory(calls), calls)?;
    for (name, times) in [
        ("this: validation, journal", &journalled),
        ("alternative: memory only", &in_memory),
        ("floor: one write", &floor),
    ] {
        let [p50, p99, p999] = [0.5, 0.99, 0.999].map(|quantile| times.value_at_quantile(quantile));
        let ratio = ratio(p50, floor.value_at_quantile(0.5));
        let max = times.max() / 1000;
        writeln!(
            out,
            "{name:<34} {p50:>9} {p99:>9} {p999:>9} {max:>9}   {ratio:.2}"
        )?;
    }
    Ok(())
}

fn journal(place: &Path, name: &str) -> Config {
    let mut settings = JournalConfig::new(place.join(name));
    settings.max_bytes = 8 << 30;
    Config {
        mode: Mode::Journal(settings),
        ..Config::for_service("bench", "unused")
    }
}

fn memory(events: usize) -> Config {
    Config {
        mode: Mode::Memory { events },
        ..Config::for_service("bench", "unused")
    }
}

fn event() -> Event {
    let execution = Execution {
        workflow_id: "restart-deployment".to_owned(),
        workflow_version: "1.2.0".to_owned(),
        target_resource: "production/deployment/payment-api".to_owned(),
        phase: "Running".to_owned(),
        container_image: "registry/workflows/restart:1.2.0".to_owned(),
        execution_name: "wfe-bench-1".to_owned(),
        ..Execution::default()
    };
    workflowexecution::started(None, &execution).namespace("production")
}

fn request() -> serde_json::Value {
    let id = "019b3109-5900-7000-8000-000000000001";
    serde_json::json!({"event_id": id, "version": "1.0", "event_type": "workflow.started", "event_timestamp": "2025-12-18T09:58:55.360000Z",
        "event_category": "workflow", "event_action": "started", "event_outcome": "success", "correlation_id": "wfe-bench-1",
        "event_data": {"workflow_id": "restart-deployment", "workflow_version": "1.2.0", "target_resource": "production/deployment/payment-api",
            "phase": "Running", "container_image": "registry/workflows/restart:1.2.0", "execution_name": "wfe-bench-1"},
        "actor_type": "service", "actor_id": "workflowexecution-controller", "resource_type": "WorkflowExecution", "resource_id": "wfe-bench-1",
        "namespace": "production"})
}

/// What the server reads of an event: enough to acknowledge it.
#[derive(serde::Deserialize)]
struct Key {
    event_id: Uuid,
}

async fn null_server(received: Arc<AtomicU64>) -> anyhow::Result<String> {
    let answer = move |body: Bytes| {
        let received = Arc::clone(&received);
        async move {
            received.fetch_add(body.len() as u64, Ordering::Relaxed);
            let events: Vec<Key> = serde_json::from_slice(&body).unwrap_or_default();
            let event_ids: Vec<_> = events.iter().map(|event| event.event_id).collect();
            let receipt = serde_json::json!({"event_ids": event_ids, "message": "discarded"});
            (StatusCode::CREATED, receipt.to_string())
        }
    };
    let router = Router::new()
        .route("/api/v1/audit/events/batch", post(answer))
        .layer(DefaultBodyLimit::disable());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(url)
}

fn write_latency(place: &Path, payload: &[u8], calls: usize) -> anyhow::Result<Histogram<u64>> {
    let path = place.join("floor");
    let file = File::create(&path)?;
    let (mut times, mut offset) = (Histogram::new(3)?, 0);
    for _ in 0..calls {
        let start = Instant::now();
        file.write_all_at(payload, offset)?;
        times.record(nanos(start))?;
        offset += payload.len() as u64;
    }
    fs::remove_file(path)?;
    Ok(times)
}

fn store_latency(config: Config, calls: usize) -> anyhow::Result<Histogram<u64>> {
    let store = Store::open(NOBODY, config)?;
    let mut times = Histogram::new(3)?;
    let event = event();
    for _ in 0..calls {
        let event = event.clone();
        let start = Instant::now();
        black_box(store.store(event))?;
        times.record(nanos(start))?;
    }
    Ok(times)
}

async fn post_only(url: &str, payload: &[u8], span: Duration) -> anyhow::Result<(u64, u64)> {
    let client = Client::new(url)?;
    let body: Vec<u8> = [b"[".as_slice(), &vec![payload; 1000].join(&b','), b"]"].concat();
    let body = Bytes::from(body);
    let id = serde_json::from_slice::<Key>(payload)?.event_id;
    let ids = vec![Some(id); 1000];
    let (start, mut batches) = (Instant::now(), 0);
    while start.elapsed() < span {
        client
            .create_audit_events_batch_json(body.clone(), &ids)
            .await?;
        batches += 1;
    }
    Ok((per_second(batches * 1000, start.elapsed()), batches))
}

fn sustained(
    url: &str,
    config: Config,
    span: Duration,
    received: &AtomicU64,
) -> anyhow::Result<(u64, u64, u64)> {
    let store = Arc::new(Store::open(url, config)?);
    let ended = Arc::new(AtomicBool::new(false));
    let (emitting, end) = (Arc::clone(&store), Arc::clone(&ended));
    let emitter = thread::spawn(move || {
        let event = event();
        let mut emitted = 0_u64;
        while !end.load(Ordering::Relaxed) {
            if emitted.is_multiple_of(1000) && emitting.report().journalled > AHEAD {
                thread::sleep(Duration::from_millis(1));
                continue;
            }
            emitting.store(event.clone())?;
            emitted += 1;
        }
        Ok::<_, audit_store::StoreError>(emitted)
    });
    // The first second fills buffers and connections.
    thread::sleep(Duration::from_secs(1));
    let (start, stored, before) = (Instant::now(), store.report().stored, resident_kib()?);
    thread::sleep(span);
    let (stored, took, after) = (
        store.report().stored - stored,
        start.elapsed(),
        resident_kib()?,
    );
    ended.store(true, Ordering::Relaxed);
    let total = emitter
        .join()
        .map_err(|_| anyhow::anyhow!("the emitter panicked"))??;
    anyhow::ensure!(
        total > 0 && received.load(Ordering::Relaxed) > 0,
        "nothing was emitted"
    );
    Ok((per_second(stored, took), before, after))
}

fn backlog(config: Config, events: usize) -> anyhow::Result<(u64, u64, u64)> {
    let Mode::Journal(JournalConfig { directory, .. }) = config.mode.clone() else {
        anyhow::bail!("a backlog needs a journal");
    };
    let store = Store::open(NOBODY, config)?;
    let (event, mut few) = (event(), 0);
    for number in 0..events {
        store.store(event.clone())?;
        if number == 10_000 {
            few = resident_kib()?;
        }
    }
    let many = resident_kib()?;
    let sizes = fs::read_dir(directory)?.map(|entry| Ok(entry?.metadata()?.len()));
    Ok((few, many, sizes.sum::<std::io::Result<u64>>()?))
}

fn nanos(start: Instant) -> u64 {
    u64::try_from(start.elapsed().as_nanos())
        .unwrap_or(u64::MAX)
        .max(1)
}

fn per_second(events: u64, span: Duration) -> u64 {
    u64::try_from(u128::from(events) * 1000 / span.as_millis().max(1)).unwrap_or(u64::MAX)
}

#[expect(clippy::cast_precision_loss, reason = "two digits are shown")]
fn ratio(value: u64, floor: u64) -> f64 {
    value as f64 / floor.max(1) as f64
}

/// Resident memory of this process: the emitter, the store and the null server together.
fn resident_kib() -> anyhow::Result<u64> {
    let status = fs::read_to_string("/proc/self/status")
        .context("this benchmark reads /proc: run it on Linux")?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .context("/proc/self/status has no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}
