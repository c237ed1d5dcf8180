//! A container's PostgreSQL starts once to set itself up and once more to serve: the first is not taken for the second.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use migrations::{Config, apply};
use testkit::postgres::empty_database;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

/// Speaks for the first phase: logs anybody in, answers what a waiting client may ask, and counts everything else.
async fn first_phase(mut client: TcpStream, others: Arc<AtomicUsize>) -> std::io::Result<()> {
    let length = client.read_u32().await? as usize;
    client.read_exact(&mut vec![0; length - 4]).await?;
    client.write_all(b"R\0\0\0\x08\0\0\0\0Z\0\0\0\x05I").await?;
    loop {
        if client.read_u8().await? != b'Q' {
            return Ok(());
        }
        let length = client.read_u32().await? as usize;
        let mut sql = vec![0; length - 4];
        client.read_exact(&mut sql).await?;
        if !sql.starts_with(b"SELECT pg_postmaster_start_time()") {
            others.fetch_add(1, Ordering::SeqCst);
        }
        client
            .write_all(
                b"T\0\0\0\x1d\0\x01start\0\0\0\0\0\0\0\0\0\0\x19\xff\xff\xff\xff\xff\xff\0\0",
            )
            .await?;
        client.write_all(b"D\0\0\0\x0e\0\x01\0\0\0\x04once").await?;
        client
            .write_all(b"C\0\0\0\x0dSELECT 1\0Z\0\0\0\x05I")
            .await?;
    }
}

#[tokio::test]
async fn the_server_that_sets_up_is_not_taken_for_the_one_that_serves() {
    let database = empty_database().await;
    let upstream = database
        .url()
        .rsplit_once('@')
        .unwrap()
        .1
        .split_once('/')
        .unwrap()
        .0
        .to_owned();
    // A port that nothing listens on yet, so the client waits first.
    let port = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let (events, mut seen) = tokio::sync::mpsc::unbounded_channel();
    let url = database
        .url()
        .replace(&upstream, &format!("127.0.0.1:{port}"));
    let config = Config::new(url)
        .profile("audit")
        .observe(move |event| drop(events.send(event.clone())));
    let running = tokio::spawn(async move { apply(&config).await });
    seen.recv().await.expect("the client says that it waits");

    let others = Arc::new(AtomicUsize::new(0));
    let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
    let (first, _) = listener.accept().await.unwrap();
    let phase = tokio::spawn(first_phase(first, Arc::clone(&others)));
    // The second look finds the port closed: the first phase is over.
    drop(listener);
    tokio::time::timeout(Duration::from_secs(20), phase)
        .await
        .expect("the client lets go")
        .unwrap()
        .ok();
    let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
    let relay = tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let upstream = upstream.clone();
            tokio::spawn(async move {
                let mut server = TcpStream::connect(upstream).await?;
                copy_bidirectional(&mut client, &mut server).await
            });
        }
    });
    let report = running.await.unwrap().unwrap();
    assert_eq!(report.applied.len(), 3);
    assert_eq!(
        others.load(Ordering::SeqCst),
        0,
        "the first phase was asked to work"
    );
    relay.abort();
}

#[tokio::test]
async fn a_server_that_restarts_in_the_middle_is_waited_for() {
    let mut server = testkit::postgres::own_server(embedded_postgres::Options::default()).await;
    let url = server.url("action_history");
    server.kill().await.unwrap();
    let config = Config::new(url)
        .profile("audit")
        .deadline(Duration::from_mins(1));
    let running = tokio::spawn(async move { apply(&config).await });
    server.restart().await.unwrap();
    server.restart().await.unwrap();
    assert_eq!(running.await.unwrap().unwrap().applied.len(), 3);
    server.stop().await.unwrap();
}
