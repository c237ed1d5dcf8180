//! Listens, serves, and stops in order: unready, pause, requests in flight, tasks, queue, pool.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use datastorage_api::paths;
use hyper::Request;
use hyper::body::{Body as _, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::time::Instant;

use crate::app::App;
use crate::audit::{CommitLane, Writer};
use crate::body::Cut;
use crate::clock::Clock;
use crate::config::{Config, ServerConfig, unguarded};
use crate::connections::{Connection, Connections, Kind};
use crate::gate::Caller;
use crate::line::Line;
use crate::router::Service;
use crate::workers::Workers;

/// Bytes of a request's head, and of what of a body is read at once.
const HEAD_BYTES: usize = 16 << 10;
/// How long a request's head may take to arrive, which also bounds idle connections.
const HEAD_TIMEOUT: Duration = Duration::from_mins(1);
/// How long a TLS handshake may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a client whose request has begun may still take for the rest of it once the server stops listening.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// What a shutdown keeps of its time for lanes, queue and pool, at most.
const FINISH: Duration = Duration::from_secs(5);
/// How long accepting rests after the system refused (no file descriptors left).
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves until `stop` completes and the shutdown is done. `address_file` gets the bound `host:port`.
pub async fn serve(
    config: &Config,
    clock: Clock,
    address_file: Option<&Path>,
    stop: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    let listener = TcpListener::bind((config.server.host.as_str(), config.server.port)).await;
    let listener = listener.with_context(|| {
        format!(
            "cannot listen on {}:{}; set server.host and server.port",
            config.server.host, config.server.port
        )
    })?;
    let address = listener
        .local_addr()
        .context("the listener has no address")?;
    // A name may lead elsewhere than it says.
    if !address.ip().is_loopback() && !config.access.allows_others() {
        bail!("server.host {}", unguarded(&address.to_string()));
    }
    let workers =
        Workers::start(config.server.workers).context("cannot start the threads that serve")?;
    let (app, mut tasks) = App::start(config, clock)?;
    let served: Vec<_> = workers
        .runtimes()
        .enumerate()
        .map(|(worker, runtime)| {
            let (writer, lane) = Writer::new(CommitLane {
                worker,
                store: app.store.clone(),
                queue: app.queue.clone(),
                availability: app.availability.clone(),
                clock: app.clock.clone(),
                metrics: Arc::clone(&app.metrics),
            });
            tasks.run_lane(lane, runtime);
            Served {
                service: Service::new(&app, writer),
                runtime: runtime.clone(),
                connections: Arc::default(),
                clients: Arc::clone(&app.clients),
            }
        })
        .collect();
    tracing::info!(
        %address,
        profile = config.profile,
        tls = config.access.tls.is_some(),
        authentication = config.access.in_words(),
        "listening"
    );
    if let Some(path) = address_file {
        write_address(path, address)
            .with_context(|| format!("cannot write the address to {}", path.display()))?;
    }

    let connections = GracefulShutdown::new();
    accept_until(&listener, &served, &connections, stop).await;

    let deadline = Instant::now() + config.server.shutdown_timeout;
    app.stop_being_ready();
    let ServerConfig {
        drain_pause,
        shutdown_timeout,
        ..
    } = config.server;
    tracing::info!(?drain_pause, "stopping: not ready any more, still serving");
    accept_until(
        &listener,
        &served,
        &connections,
        tokio::time::sleep(drain_pause.min(shutdown_timeout)),
    )
    .await;
    drop((listener, served));
    let ended = connections.shutdown();
    tokio::pin!(ended);
    if tokio::time::timeout(LAST_WORDS.min(shutdown_timeout / 4), &mut ended)
        .await
        .is_err()
    {
        // Half a request would hold up the end for as long as its client likes.
        app.clients.close_waiting();
        let requests = deadline - (shutdown_timeout / 5).min(FINISH);
        if tokio::time::timeout_at(requests, ended).await.is_err() {
            tracing::warn!(
                "requests were still in flight when the shutdown's time for them was over"
            );
        }
    }
    if tokio::time::timeout_at(deadline, tasks.finish(app))
        .await
        .is_err()
    {
        tracing::warn!("writes were still under way when the shutdown's time was over");
    }
    drop(workers);
    tracing::info!("stopped");
    Ok(())
}

/// A worker, as far as it takes connections.
struct Served {
    runtime: Handle,
    service: Service,
    /// Shared by as many as it has open.
    connections: Arc<()>,
    /// Those of all workers.
    clients: Arc<Connections>,
}

/// Accepts connections until `end` completes; the worker that has the fewest gets the next.
async fn accept_until(
    listener: &TcpListener,
    served: &[Served],
    connections: &GracefulShutdown,
    end: impl Future<Output = ()>,
) {
    tokio::pin!(end);
    loop {
        let stream = tokio::select! {
            () = &mut end => return,
            accepted = listener.accept() => accepted.and_then(|(stream, _)| stream.into_std()),
        };
        match stream {
            Ok(stream) => {
                let open = |worker: &&Served| Arc::strong_count(&worker.connections);
                if let Some(worker) = served.iter().min_by_key(open) {
                    worker.take(stream, connections.watcher());
                }
            }
            Err(error) => {
                tracing::debug!(%error, "a connection cannot be accepted");
                // Out of file descriptors, one that waits for its client gives its own back.
                if let Some(worker) = served.first() {
                    worker.clients.make_room();
                }
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

impl Served {
    /// Serves the connection until it ends or is asked to.
    fn take(&self, stream: std::net::TcpStream, watcher: Watcher) {
        let (service, counted) = (self.service.clone(), Arc::clone(&self.connections));
        let Some(connection) = self.clients.admit() else {
            return;
        };
        self.runtime.spawn(async move {
            let cut = Cut(connection.close());
            let served = tokio::select! {
                served = serve_connection(stream, service, watcher, cut.clone(), connection) => served,
                () = cut.0.notified() => Err(anyhow::anyhow!("its client was too slow while others waited")),
            };
            if let Err(error) = served {
                tracing::debug!(%error, "a connection ended with an error");
            }
            drop(counted);
        });
    }
}

async fn serve_connection(
    stream: std::net::TcpStream,
    service: Service,
    watcher: Watcher,
    cut: Cut,
    client: Arc<Connection>,
) -> anyhow::Result<()> {
    let stream = TcpStream::from_std(stream)?;
    stream.set_nodelay(true)?;
    let line = Line::new(stream, service.answer_timeout());
    let Some(acceptor) = service.gate().acceptor() else {
        return serve_on(line, Caller::Unknown, service, watcher, cut, client).await;
    };
    let gate = service.gate();
    let shaken = tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(line)).await;
    let stream = match shaken {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            gate.handshake_failed("refused");
            return Err(error).context("a TLS handshake failed");
        }
        Err(_) => {
            gate.handshake_failed("timeout");
            bail!("a TLS handshake took too long");
        }
    };
    let caller = gate.caller(stream.get_ref().1.peer_certificates());
    serve_on(stream, caller, service, watcher, cut, client).await
}

fn kind(request: &Request<Incoming>) -> Kind {
    if !request.body().is_end_stream() {
        Kind::WithBody
    } else if [paths::HEALTH, paths::HEALTH_READY, paths::HEALTH_LIVE]
        .contains(&request.uri().path())
    {
        Kind::Probe
    } else {
        Kind::Other
    }
}

async fn serve_on(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    caller: Caller,
    service: Service,
    watcher: Watcher,
    cut: Cut,
    client: Arc<Connection>,
) -> anyhow::Result<()> {
    let answer = service_fn(move |mut request: Request<Incoming>| {
        let service = service.clone();
        request.extensions_mut().insert(cut.clone());
        let asking = client.asked(kind(&request));
        request.extensions_mut().insert(asking);
        let client = Arc::clone(&client);
        async move {
            let response = service.answer(request, caller).await;
            client.answered();
            Ok::<_, Infallible>(response)
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), answer);
    Ok(watcher.watch(connection).await?)
}

/// Writes the address so that a reader sees it whole or not at all.
fn write_address(path: &Path, address: SocketAddr) -> std::io::Result<()> {
    let part = path.with_extension("part");
    std::fs::write(&part, address.to_string())?;
    std::fs::rename(part, path)
}
