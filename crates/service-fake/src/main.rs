//! The fake as a program: settings, log, signals.

use std::io::{self, IsTerminal as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use audit_store::Access;
use clap::Parser as _;
use service_fake::{Fake, router};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;

/// How long the end waits for answers that are under way.
const ANSWERING: Duration = Duration::from_secs(2);
/// How long it then waits for what is not committed yet; the next start sends the rest.
const CLOSING: Duration = Duration::from_secs(5);

/// A fake of a service, for tests: it plays the service's audit scenarios on request
///
/// It is not the service. It emits the audit events that the service would, through the real audit store.
/// GET /scenarios lists what it plays, POST /scenarios/NAME plays it, POST /flush waits until it is stored.
#[derive(Debug, clap::Parser)]
#[command(
    version,
    after_help = "Example:\n  \
    SERVICE=gateway DATASTORAGE_URL=http://127.0.0.1:18091 AUDIT_JOURNAL_DIR=/tmp/gateway service-fake\n  \
    curl -X POST 127.0.0.1:8080/scenarios/new-signal -d '{\"request\": \"rr-1\"}'"
)]
struct Options {
    /// The service that it plays
    #[arg(long, env = e2e_env::fake::SERVICE)]
    service: String,
    /// Base URL of Data Storage
    #[arg(long, env = e2e_env::DATASTORAGE_URL, value_name = "URL", hide_env_values = true)]
    datastorage_url: String,
    #[command(flatten)]
    access: Access,
    /// Where it listens
    #[arg(long, env = e2e_env::fake::LISTEN_ADDRESS, value_name = "HOST:PORT", default_value = "127.0.0.1:8080")]
    listen_address: String,
    /// File that gets the bound host:port once it listens; for port 0
    #[arg(long, env = e2e_env::fake::ADDRESS_FILE, value_name = "FILE")]
    address_file: Option<PathBuf>,
    /// Directory that keeps emitted events until Data Storage has them; without it they are sent by plain requests, as to a relay
    #[arg(long, env = e2e_env::fake::AUDIT_JOURNAL_DIR, value_name = "DIRECTORY")]
    audit_journal_dir: Option<PathBuf>,
}

fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::WARN)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .init();
    let options = Options::parse();
    tokio::runtime::Runtime::new()
        .context("cannot start the runtime")?
        .block_on(run(&options))
}

async fn run(options: &Options) -> anyhow::Result<()> {
    let Options {
        service,
        datastorage_url,
        access,
        listen_address,
        address_file,
        audit_journal_dir,
    } = options;
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    let fake = Arc::new(Fake::open_with(
        service,
        datastorage_url,
        access.clone(),
        audit_journal_dir.as_deref(),
    )?);
    let listener = TcpListener::bind(listen_address).await.with_context(|| {
        format!(
            "cannot listen on {listen_address}; set {}",
            e2e_env::fake::LISTEN_ADDRESS
        )
    })?;
    if let Some(file) = address_file {
        write_address(file, &listener)
            .with_context(|| format!("cannot write the address to {}", file.display()))?;
    }
    let asked_to_stop = Arc::new(Notify::new());
    let stopping = Arc::clone(&asked_to_stop);
    let serving = axum::serve(listener, router(Arc::clone(&fake)))
        .with_graceful_shutdown(async move { stopping.notified().await });
    let stop = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        asked_to_stop.notify_one();
        // A flush that is under way may wait for longer than whoever stops this process does.
        tokio::time::sleep(ANSWERING).await;
    };
    tokio::select! {
        served = serving => served.context("cannot serve")?,
        () = stop => {}
    }
    let report = fake.close(CLOSING).await?;
    if report.journalled > 0 {
        tracing::warn!(
            events = report.journalled,
            journal = ?audit_journal_dir,
            "ends with events in the journal; the next fake on it sends them"
        );
    }
    Ok(())
}

/// Writes the address so that a reader sees it whole or not at all.
fn write_address(file: &Path, listener: &TcpListener) -> io::Result<()> {
    let part = file.with_extension("part");
    std::fs::write(&part, listener.local_addr()?.to_string())?;
    std::fs::rename(part, file)
}
