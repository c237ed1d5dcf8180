//! Listens, serves, and stops in order: unready, pause, requests in flight, tasks, queue, pool.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::time::Instant;

use crate::app::App;
use crate::clock::Clock;
use crate::config::{Config, ServerConfig};
use crate::router::router;

/// Bytes of a request's head.
const HEAD_BYTES: usize = 64 << 10;
/// How long a request's head may take to arrive, which also bounds idle connections.
const HEAD_TIMEOUT: Duration = Duration::from_mins(1);
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
    let (app, tasks) = App::start(config, clock)?;
    tracing::info!(%address, profile = config.profile, "listening");
    if let Some(path) = address_file {
        write_address(path, address)
            .with_context(|| format!("cannot write the address to {}", path.display()))?;
    }

    let connections = GracefulShutdown::new();
    let router = router(Arc::clone(&app));
    accept_until(&listener, &router, &connections, stop).await;

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
        &router,
        &connections,
        tokio::time::sleep(drain_pause.min(shutdown_timeout)),
    )
    .await;
    drop((listener, router));
    if tokio::time::timeout_at(deadline, connections.shutdown())
        .await
        .is_err()
    {
        tracing::warn!("requests were still in flight when the shutdown's time was over");
    }
    if tokio::time::timeout_at(deadline, tasks.finish(app))
        .await
        .is_err()
    {
        tracing::warn!("writes were still under way when the shutdown's time was over");
    }
    tracing::info!("stopped");
    Ok(())
}

/// Accepts connections until `end` completes.
async fn accept_until(
    listener: &TcpListener,
    router: &Router,
    connections: &GracefulShutdown,
    end: impl Future<Output = ()>,
) {
    tokio::pin!(end);
    loop {
        let stream = tokio::select! {
            () = &mut end => return,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "a connection cannot be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            },
        };
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "a connection went at once");
        }
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .max_buf_size(HEAD_BYTES);
        let connection = http.serve_connection(
            TokioIo::new(stream),
            TowerToHyperService::new(router.clone()),
        );
        let connection = connections.watch(connection);
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection ended with an error");
            }
        });
    }
}

/// Writes the address so that a reader sees it whole or not at all.
fn write_address(path: &Path, address: SocketAddr) -> std::io::Result<()> {
    let part = path.with_extension("part");
    std::fs::write(&part, address.to_string())?;
    std::fs::rename(part, path)
}
