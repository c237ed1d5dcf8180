//! Behind a pooler in transaction mode a session lock protects nothing: it is found out and refused.
//!
//! The pooler here speaks just enough of the protocol: it logs a client in with its own connections and gives each transaction
//! to one of them (<https://www.postgresql.org/docs/current/protocol-message-formats.html>).

use std::sync::Arc;

use embedded_postgres::{Options, Server};
use migrations::{Config, Error, apply};
use testkit::postgres::{empty_database_on, own_server};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;

type Backends = Arc<Mutex<Vec<(TcpStream, Vec<u8>)>>>;

/// A pooler with `size` server connections, which gives clients keys of its own or those of its connections; returns its port.
async fn pooler(
    upstream: String,
    user: String,
    database: String,
    size: usize,
    own_key: bool,
) -> u16 {
    let mut backends = Vec::new();
    for _ in 0..size {
        backends.push(login(&upstream, &user, &database).await);
    }
    let backends: Backends = Arc::new(Mutex::new(backends));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            tokio::spawn(serve(client, Arc::clone(&backends), own_key));
        }
    });
    port
}

/// Logs in where the server trusts everybody; returns the connection and what the server said.
async fn login(upstream: &str, user: &str, database: &str) -> (TcpStream, Vec<u8>) {
    let mut stream = TcpStream::connect(upstream).await.unwrap();
    let body = format!("user\0{user}\0database\0{database}\0\0");
    let mut startup = u32::try_from(body.len() + 8)
        .unwrap()
        .to_be_bytes()
        .to_vec();
    startup.extend([0, 3, 0, 0]);
    startup.extend(body.as_bytes());
    stream.write_all(&startup).await.unwrap();
    let mut greeting = Vec::new();
    until_ready(&mut stream, |frame| greeting.extend(frame)).await;
    (stream, greeting)
}

/// Reads frames up to `ReadyForQuery`; returns its transaction status.
async fn until_ready(stream: &mut TcpStream, mut each: impl FnMut(&[u8])) -> u8 {
    loop {
        let frame = frame(stream).await.unwrap();
        each(&frame);
        if frame[0] == b'Z' {
            return frame[5];
        }
    }
}

async fn frame(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut frame = vec![0; 5];
    stream.read_exact(&mut frame).await?;
    let length = u32::from_be_bytes([frame[1], frame[2], frame[3], frame[4]]) as usize;
    frame.resize(length + 1, 0);
    stream.read_exact(&mut frame[5..]).await?;
    Ok(frame)
}

/// Changes the process in `BackendKeyData`, as poolers do that make keys of their own.
fn name_another_process(greeting: &mut [u8]) {
    let mut at = 0;
    while greeting[at] != b'K' {
        let length = greeting[at + 1..at + 5].try_into().unwrap();
        at += 1 + u32::from_be_bytes(length) as usize;
    }
    greeting[at + 5] ^= 0x40;
}

async fn serve(mut client: TcpStream, backends: Backends, own_key: bool) -> std::io::Result<()> {
    let length = client.read_u32().await? as usize;
    client.read_exact(&mut vec![0; length - 4]).await?;
    let mut greeting = backends.lock().await[0].1.clone();
    if own_key {
        name_another_process(&mut greeting);
    }
    client.write_all(&greeting).await?;
    loop {
        let query = frame(&mut client).await?;
        if query[0] != b'Q' {
            return Ok(());
        }
        // Each transaction goes to the connection that was used longest ago.
        let mut backends = backends.lock().await;
        let (mut backend, greeting) = backends.remove(0);
        backend.write_all(&query).await?;
        let mut answer = Vec::new();
        until_ready(&mut backend, |frame| answer.extend(frame)).await;
        client.write_all(&answer).await?;
        backends.push((backend, greeting));
    }
}

/// A server that lets everybody on this machine in: what is between is what a test is about.
pub(crate) async fn trusting_server() -> (Server, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let hba = directory.path().join("pg_hba.conf");
    std::fs::write(
        &hba,
        "local all all trust\nhost all all 127.0.0.1/32 trust\n",
    )
    .unwrap();
    // The server may run as another user than this test.
    let open = <std::fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o755);
    std::fs::set_permissions(directory.path(), open).unwrap();
    let settings = vec![("hba_file".to_owned(), hba.display().to_string())];
    (
        own_server(Options {
            settings,
            ..Options::default()
        })
        .await,
        directory,
    )
}

async fn refused(size: usize, own_key: bool) -> String {
    let (server, _directory) = trusting_server().await;
    let database = empty_database_on(&server).await;
    let upstream = format!("127.0.0.1:{}", server.port().unwrap());
    let port = pooler(
        upstream,
        server.user().to_owned(),
        database.name().to_owned(),
        size,
        own_key,
    )
    .await;
    let url = format!(
        "postgres://{}@127.0.0.1:{port}/{}",
        server.user(),
        database.name()
    );
    let theirs = migrations::Catalogue::from_goose_files(
        "team",
        [(
            "1_t.sql".to_owned(),
            "-- +goose Up\nCREATE TABLE t (a int);\n".to_owned(),
        )],
    );
    let error = apply(&Config::new(url).catalogue(theirs.unwrap()))
        .await
        .unwrap_err();
    assert!(matches!(error, Error::PoolerRefused { .. }), "{error}");
    assert_eq!(
        crate::value(&database, "SELECT to_regclass('t') IS NULL").await,
        "t"
    );
    drop(database);
    server.stop().await.unwrap();
    error.to_string()
}

#[tokio::test]
async fn a_pooler_that_moves_between_connections_is_refused() {
    assert!(
        refused(2, false)
            .await
            .contains("different server processes")
    );
}

#[tokio::test]
async fn a_pooler_that_has_not_moved_yet_is_refused() {
    assert!(
        refused(1, true)
            .await
            .contains("two connections share one server process")
    );
}

/// A plain relay, such as a port-forward, is none.
#[tokio::test]
async fn a_relay_is_no_pooler() {
    let (database, _) = crate::fresh().await;
    let upstream = database
        .url()
        .rsplit_once('@')
        .unwrap()
        .1
        .split_once('/')
        .unwrap()
        .0
        .to_owned();
    let proxy = testkit::proxy::Proxy::start(upstream).await;
    assert_eq!(
        apply(&Config::new(proxy.url(database.url())).profile("audit"))
            .await
            .unwrap()
            .applied
            .len(),
        3
    );
}
