//! Listens, serves, and stops in order: unready, a pause in which it still serves, requests in flight, the store.

use std::{fs, io, net::SocketAddr, path::Path, sync::Arc, time::Duration};

use anyhow::Context as _;
use audit_store::{Config, Report, Store};
use axum::Router;
use datastorage_client::Client;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::{GracefulShutdown, Watcher},
    service::TowerToHyperService,
};
use metrics::with_local_recorder;
use metrics_exporter_prometheus::PrometheusBuilder;
use tokio::{
    net::{TcpListener, TcpStream},
    signal::unix::{SignalKind, signal},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout_at},
};

use super::routes::{Relay, router};
use crate::{journal, message::report_error, options::ServeOptions};

/// Connections at the same time; more wait in the system's queue.
const CONNECTIONS: usize = 256;
/// Bytes of a request's head.
const HEAD_BYTES: usize = 64 << 10;
/// How long a request's head may take to arrive, which also bounds idle connections.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a read may take, from asking Data Storage to the end of its answer.
const READ_DEADLINE: Duration = Duration::from_secs(10);
/// How long accepting rests after the system refused (no file descriptors left).
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves until SIGTERM or SIGINT, and returns what became of the events.
pub(crate) fn serve(options: &ServeOptions) -> anyhow::Result<Report> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("make a runtime")?;
    let recorder = PrometheusBuilder::new().build_recorder();
    let config = Config {
        access: options.access.clone(),
        ..Config::for_service(&options.service, &options.journal)
    };
    let store = with_local_recorder(&recorder, || Store::open(&options.url, config))?;
    let client = Client::with_access(&options.url, &options.access)?;
    let client = client.with_deadline(READ_DEADLINE);
    let relay = Arc::new(Relay::new(store, client, recorder));
    let deadline = runtime.block_on(run(&relay, options))?;
    let left = deadline.saturating_duration_since(Instant::now());
    let report = journal::close(&runtime, &relay.store, left);
    // What is still in flight when its time is over is cut.
    runtime.shutdown_background();
    Ok(report)
}

/// Serves until it is asked to stop; returns by when all must have ended.
async fn run(relay: &Arc<Relay>, options: &ServeOptions) -> anyhow::Result<Instant> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    let listener = TcpListener::bind(options.listen).await;
    let listener =
        listener.with_context(|| format!("cannot listen on {}; give --listen", options.listen))?;
    let address = listener
        .local_addr()
        .context("the listener has no address")?;
    if let Some(file) = &options.address_file {
        write_address(file, address)
            .with_context(|| format!("cannot write the address to {}", file.display()))?;
    }
    report_error(&format!(
        "relays audit events from http://{address} through the journal in {}",
        options.journal.display()
    ));
    let accepting = Accepting {
        listener,
        router: router(relay),
        connections: GracefulShutdown::new(),
        free: Arc::new(Semaphore::new(CONNECTIONS)),
    };
    let asked = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    accepting.until(asked).await;
    let deadline = Instant::now() + options.deadline;
    relay.stop_being_ready();
    // The service beside it is asked to stop at the same time, and has its last events to send.
    let linger = options.linger.min(options.deadline / 2);
    accepting.until(tokio::time::sleep(linger)).await;
    let connections = accepting.connections;
    let in_flight = Instant::now() + deadline.saturating_duration_since(Instant::now()) / 2;
    if timeout_at(in_flight, connections.shutdown()).await.is_err() {
        report_error(
            "requests were still in flight when their time was over; they were not accepted",
        );
    }
    Ok(deadline)
}

struct Accepting {
    listener: TcpListener,
    router: Router,
    connections: GracefulShutdown,
    free: Arc<Semaphore>,
}

impl Accepting {
    /// Accepts connections until `end` completes.
    async fn until(&self, end: impl Future<Output = ()>) {
        tokio::pin!(end);
        loop {
            let next = async {
                let free = Arc::clone(&self.free).acquire_owned().await;
                let (stream, _) = self.listener.accept().await?;
                Ok::<_, io::Error>((stream, free.ok()))
            };
            let accepted = tokio::select! {
                () = &mut end => return,
                accepted = next => accepted,
            };
            match accepted {
                Ok((stream, free)) => {
                    let served = serve_connection(
                        stream,
                        self.router.clone(),
                        self.connections.watcher(),
                        free,
                    );
                    tokio::spawn(served);
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection cannot be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

async fn serve_connection(
    stream: TcpStream,
    router: Router,
    watcher: Watcher,
    free: Option<OwnedSemaphorePermit>,
) {
    stream.set_nodelay(true).unwrap_or_default();
    let answer = TowerToHyperService::new(router);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), answer);
    if let Err(error) = watcher.watch(connection).await {
        tracing::debug!(%error, "a connection ended with an error");
    }
    drop(free);
}

/// Writes the address so that a reader sees it whole or not at all.
fn write_address(path: &Path, address: SocketAddr) -> io::Result<()> {
    let part = path.with_extension("part");
    fs::write(&part, address.to_string())?;
    fs::rename(part, path)
}
