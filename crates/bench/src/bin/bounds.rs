//! What a client that is slow, large or hostile costs the others: the server's peak memory and the time of an ordinary write beside it.
//!
//! Each case has a server of its own. An ordinary client writes one event after the other over one connection, and over a new
//! one where the server closed it, as long as the case lasts. Run it with `cargo run --release --package bench --bin bounds`.

#![expect(clippy::print_stdout, reason = "a table is the product")]

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::Parser;
use hdrhistogram::Histogram;
use serde_json::{Value, json};
use testkit::datastorage::Service;
use testkit::postgres::{Database, database};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// Measures memory and the time of an ordinary write beside slow, large and hostile clients
#[derive(Debug, Parser)]
struct Options {
    /// How long what holds on is held, in seconds
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Only cases whose name holds this
    #[arg(long)]
    only: Option<String>,
}

const EVENTS: &str = "/api/v1/audit/events";
const BATCH: &str = "/api/v1/audit/events/batch";
/// Between two ordinary writes.
const PAUSE: Duration = Duration::from_millis(5);
/// Bytes of the largest body that is taken.
const BODY: usize = 16 << 20;
/// What is waited for a single answer.
const ANSWER: Duration = Duration::from_mins(1);

/// What a case does beside the ordinary client.
type Case = fn(Target) -> Pin<Box<dyn Future<Output = anyhow::Result<()>> + Send>>;

/// Where a case is aimed, and for how long.
#[derive(Debug, Clone)]
struct Target {
    address: String,
    hold: Duration,
}

/// A case of the table.
macro_rules! cases {
    ($($name:literal => $case:expr),* $(,)?) => {
        [$(($name, (|target| Box::pin($case(target))) as Case)),*]
    };
}

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(run(&options))
}

async fn run(options: &Options) -> anyhow::Result<()> {
    let cases = cases![
        "nothing else" => nothing,
        "18 bodies of 16 MiB are announced and not sent" => |t| hold(t, 18, announced),
        "200 chunked bodies stay at one byte" => |t| hold(t, 200, one_byte),
        "2,000 idle connections" => |t| hold(t, 2000, Vec::new),
        "2,000 unfinished heads of 60 kB" => |t| hold(t, 2000, long_head),
        "2,000 bodies of 500 bytes stay at one" => |t| hold(t, 2000, short_body),
        "80 bodies of 16 MiB lack the last byte" => |t| hold(t, 80, all_but_one),
        "8 bodies of 16 MiB at once, one event each" => |t| posts(t, 8, EVENTS, large_event),
        "8 batches of 10,000 events at once" => |t| posts(t, 8, BATCH, large_batch),
        "8 bodies of 16 MB of small members to the catalogue" => |t| posts(t, 8, "/api/v1/workflows", amplified),
        "8 searches with 300,000 labels of wrong types" => |t| posts(t, 8, "/api/v1/workflows/search", many_labels),
        "8 batches of 10,000 empty events" => |t| posts(t, 8, BATCH, |_| format!("[{}{{}}]", "{},".repeat(9999))),
        "pages of 1,000 over 60 events of 2 MB, 8 at once" => |t| reads(t, 60, 2_000_000, 8),
        "pages of 1,000 over 500 events of 300 kB, 8 at once" => |t| reads(t, 500, 300_000, 8),
        "an event of 16 MB, read 8 times at once" => |t| reads(t, 1, 16_000_000, 8),
        "an event of the most exponents, read 8 times at once" => exponents,
        "16 readers that take nothing of their pages" => silent_readers,
    ];
    println!("| beside an ordinary client | peak MiB | writes | p50 ms | p99 ms | slowest ms |");
    println!("|---|---|---|---|---|---|");
    for (name, case) in cases {
        if options.only.as_ref().is_none_or(|only| name.contains(only)) {
            println!(
                "| {name} | {} |",
                measure(options, case).await.with_context(|| name)?
            );
        }
    }
    Ok(())
}

/// The columns of a case.
async fn measure(options: &Options, case: Case) -> anyhow::Result<String> {
    let database: Database = database("datastorage").await;
    let service = Service::serving("datastorage", &database).await;
    let target = Target {
        address: service.url().replace("http://", ""),
        hold: Duration::from_secs(options.seconds),
    };
    // What it costs to begin is not meant.
    for _ in 0..100 {
        ordinary(&mut None, &target.address).await;
    }
    let done = Arc::new(AtomicBool::new(false));
    let writes = tokio::spawn(write_until(Arc::clone(&done), target.address.clone()));
    case(target).await?;
    done.store(true, Ordering::Relaxed);
    let times = writes.await?;
    #[expect(clippy::cast_precision_loss, reason = "for people")]
    let milliseconds = |microseconds: u64| microseconds as f64 / 1000.0;
    #[expect(clippy::cast_precision_loss, reason = "for people")]
    let peak = service.peak_memory_kib().context("VmHWM in /proc")? as f64 / 1024.0;
    Ok(format!(
        "{peak:.0} | {} | {:.1} | {:.1} | {:.0}",
        times.len(),
        milliseconds(times.value_at_quantile(0.5)),
        milliseconds(times.value_at_quantile(0.99)),
        milliseconds(times.max()),
    ))
}

/// Writes one event after the other; the time of each in microseconds, with the tries it took.
async fn write_until(done: Arc<AtomicBool>, address: String) -> Histogram<u64> {
    let mut times = Histogram::new_with_bounds(1, 600_000_000, 3).expect("bounds");
    let mut stream = None;
    while !done.load(Ordering::Relaxed) || times.len() < 100 {
        let begun = Instant::now();
        while !ordinary(&mut stream, &address).await {
            stream = None;
        }
        let took = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        times.saturating_record(took);
        sleep(PAUSE).await;
    }
    times
}

/// One ordinary write; whether it is stored.
async fn ordinary(stream: &mut Option<TcpStream>, address: &str) -> bool {
    let body = event("ordinary", &json!({})).to_string();
    let sent = async {
        let open = match stream.take() {
            Some(open) => open,
            None => TcpStream::connect(address).await?,
        };
        let open = stream.insert(open);
        open.write_all(&post(EVENTS, &body)).await?;
        let mut answer = vec![0; 4096];
        let length = open.read(&mut answer).await?;
        Ok::<_, std::io::Error>(answer[..length].starts_with(b"HTTP/1.1 201"))
    };
    matches!(timeout(ANSWER, sent).await, Ok(Ok(true)))
}

fn event(correlation_id: &str, data: &Value) -> Value {
    json!({
        "event_category": "workflow", "event_action": "a.b", "event_outcome": "success", "resource_type": "x",
        "correlation_id": correlation_id, "event_data": data,
    })
}

fn post(path: &str, body: &str) -> Vec<u8> {
    let head = head(path, &format!("Content-Length: {}", body.len()));
    [head.as_bytes(), body.as_bytes()].concat()
}

fn head(path: &str, length: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n{length}\r\n\r\n")
}

async fn nothing(target: Target) -> anyhow::Result<()> {
    sleep(target.hold).await;
    Ok(())
}

/// Opens so many connections, sends what `begin` says over each, and holds them.
async fn hold(target: Target, count: usize, begin: fn() -> Vec<u8>) -> anyhow::Result<()> {
    let mut clients = JoinSet::new();
    let bytes: Arc<[u8]> = begin().into();
    for _ in 0..count {
        let (address, hold, bytes) = (target.address.clone(), target.hold, Arc::clone(&bytes));
        clients.spawn(async move {
            let mut stream = TcpStream::connect(address).await?;
            // The server may take no more, or close it.
            timeout(hold, stream.write_all(&bytes)).await.ok();
            sleep(hold).await;
            Ok::<_, std::io::Error>(())
        });
        if clients.len() % 100 == 0 {
            sleep(Duration::from_millis(10)).await;
        }
    }
    while let Some(ended) = clients.join_next().await {
        ended?.ok();
    }
    Ok(())
}

fn announced() -> Vec<u8> {
    head(EVENTS, &format!("Content-Length: {BODY}")).into_bytes()
}

fn one_byte() -> Vec<u8> {
    (head(EVENTS, "Transfer-Encoding: chunked") + "1\r\n{\r\n").into_bytes()
}

fn long_head() -> Vec<u8> {
    format!(
        "GET /health HTTP/1.1\r\nHost: x\r\nX-a: {}",
        "y".repeat(60_000)
    )
    .into_bytes()
}

fn short_body() -> Vec<u8> {
    (head(EVENTS, "Content-Length: 500") + "{").into_bytes()
}

fn all_but_one() -> Vec<u8> {
    let mut all = announced();
    all.resize(all.len() + BODY - 1, b' ');
    all
}

/// Sends so many bodies at once, until the time is over, each at least once.
async fn posts(
    target: Target,
    count: usize,
    path: &'static str,
    body: fn(usize) -> String,
) -> anyhow::Result<()> {
    let mut sent = JoinSet::new();
    for number in 0..count {
        let target = target.clone();
        sent.spawn(async move {
            let until = Instant::now() + target.hold;
            let request = post(path, &body(number));
            loop {
                asked(&target.address, &request, usize::MAX).await.ok();
                if Instant::now() > until {
                    return;
                }
            }
        });
    }
    while let Some(ended) = sent.join_next().await {
        ended?;
    }
    Ok(())
}

/// Sends a request and reads up to `most` bytes of the answer, whose connection ends then; how many.
async fn asked(address: &str, request: &[u8], most: usize) -> anyhow::Result<usize> {
    let sent = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(request).await?;
        let mut buffer = vec![0; 64 << 10];
        let (mut read, mut length) = (0, None);
        loop {
            let more = stream.read(&mut buffer).await?;
            if read == 0 {
                length = length_of(&buffer[..more]);
            }
            read += more;
            if more == 0 || read >= most || length.is_some_and(|length| read >= length) {
                return Ok(read);
            }
        }
    };
    timeout(ANSWER, sent).await?
}

/// Bytes of an answer by its head.
fn length_of(begin: &[u8]) -> Option<usize> {
    let text = String::from_utf8_lossy(begin);
    let (head, _) = text.split_once("\r\n\r\n")?;
    let length = head.lines().find_map(|line| {
        line.to_lowercase()
            .strip_prefix("content-length:")?
            .trim()
            .parse()
            .ok()
    });
    Some(head.len() + 4 + length.unwrap_or(0_usize))
}

fn large_event(number: usize) -> String {
    let id = format!("large-{number}-{:?}", Instant::now());
    event(&id, &json!({"text": "x".repeat(BODY - 1000)})).to_string()
}

fn large_batch(number: usize) -> String {
    let events = (0..10_000).map(|_| {
        event(
            &format!("batch-{number}"),
            &json!({"text": "x".repeat(1000)}),
        )
    });
    events.collect::<Value>().to_string()
}

fn amplified(_: usize) -> String {
    let many = r#"{"":0},"#.repeat(2_285_000);
    format!(r#"{{"zz":[{many}{{}}]}}"#)
}

fn many_labels(number: usize) -> String {
    let labels = (0..300_000).map(|label| {
        (
            format!("{}{label:x}", ['a', 'b', 'c'][number % 3]),
            json!(1),
        )
    });
    let labels: serde_json::Map<_, _> = labels.collect();
    let body = json!({"filters": {"custom_labels": labels}}).to_string();
    body[..body.len().min((2 << 20) - 1)].to_owned()
}

/// Stores so many events of so many bytes, then reads pages of a thousand, so many at once, until the time is over.
async fn reads(target: Target, events: usize, bytes: usize, readers: usize) -> anyhow::Result<()> {
    for _ in 0..events {
        let text = event("stored", &json!({"text": "x".repeat(bytes)})).to_string();
        asked(&target.address, &post(EVENTS, &text), usize::MAX).await?;
    }
    read_pages(target, readers).await
}

async fn exponents(target: Target) -> anyhow::Result<()> {
    let numbers = "1e308,".repeat(3240);
    let data = format!(r#"{{"a":[{numbers}1]}}"#);
    let text = event("stored", &json!({})).to_string();
    let text = text.replace(r#""event_data":{}"#, &format!(r#""event_data":{data}"#));
    asked(&target.address, &post(EVENTS, &text), usize::MAX).await?;
    read_pages(target, 8).await
}

async fn read_pages(target: Target, readers: usize) -> anyhow::Result<()> {
    let get: Arc<[u8]> = get().into();
    let mut reading = JoinSet::new();
    for _ in 0..readers {
        let (target, get) = (target.clone(), Arc::clone(&get));
        reading.spawn(async move {
            let until = Instant::now() + target.hold;
            loop {
                asked(&target.address, &get, usize::MAX).await.ok();
                if Instant::now() > until {
                    return;
                }
            }
        });
    }
    while let Some(ended) = reading.join_next().await {
        ended?;
    }
    Ok(())
}

async fn silent_readers(target: Target) -> anyhow::Result<()> {
    for _ in 0..40 {
        let text = event("stored", &json!({"text": "x".repeat(1_000_000)})).to_string();
        asked(&target.address, &post(EVENTS, &text), usize::MAX).await?;
    }
    hold(target, 16, get).await
}

fn get() -> Vec<u8> {
    format!("GET {EVENTS}?correlation_id=stored&limit=1000 HTTP/1.1\r\nHost: x\r\n\r\n")
        .into_bytes()
}
