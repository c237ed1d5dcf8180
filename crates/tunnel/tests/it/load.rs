//! Much goes through, and all of it arrives.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tunnel::Event;

use crate::{DEADLINE, Tunnel, echo, limits};

/// Bytes that differ from place to place and from connection to connection.
fn bytes(seed: usize, length: usize) -> Vec<u8> {
    let at = (0..length).map(|at| at * 31 + at / 251 + seed * 7);
    at.map(|at| at.to_le_bytes()[0]).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_cuts_while_twenty_connections_echo_megabytes_lose_nothing() {
    const CONNECTIONS: usize = 20;
    const ROUND: usize = 256 << 10;
    let tunnel = Tunnel::start(limits()).await;
    let (_forward, port) = tunnel.forward(&echo().await).await;
    let cuts = Arc::new(AtomicUsize::new(0));
    let echoes: Vec<_> = (0..CONNECTIONS)
        .map(|seed| {
            let cuts = Arc::clone(&cuts);
            tokio::spawn(async move {
                let mut socket = TcpStream::connect(("127.0.0.1", port))
                    .await
                    .expect("taken");
                let mut rounds = 0;
                // At least some megabytes of each, and until the last cut.
                while rounds < 8 || cuts.load(Ordering::SeqCst) < 50 {
                    let sent = bytes(seed + rounds, ROUND);
                    let (mut from, mut to) = socket.split();
                    let mut got = vec![0; ROUND];
                    let both =
                        async { tokio::try_join!(to.write_all(&sent), from.read_exact(&mut got)) };
                    let done = timeout(DEADLINE, both).await.expect("it goes on");
                    done.expect("no connection notices");
                    assert!(sent == got, "connection {seed}, round {rounds}");
                    rounds += 1;
                }
                socket.shutdown().await.expect("half-closed");
                assert_eq!(socket.read(&mut [0]).await.expect("the end"), 0);
                rounds
            })
        })
        .collect();
    for cut in 0..50_u64 {
        tokio::time::sleep(Duration::from_millis(20 + cut % 7 * 10)).await;
        match cut % 3 {
            0 => tunnel.line.cut(),
            1 => tunnel.line.reset(),
            _ => tunnel.line.cut_randomly(200_000),
        }
        cuts.fetch_add(1, Ordering::SeqCst);
    }
    tunnel.line.heal();
    let mut rounds = 0;
    for echo in echoes {
        rounds += echo.await.expect("it ends well");
    }
    assert!(rounds * ROUND >= CONNECTIONS * 8 * ROUND);
    let resumed = |event: &Event| matches!(event, Event::Resumed { .. });
    let count = tunnel
        .events()
        .iter()
        .filter(|event| resumed(event))
        .count();
    assert!(count >= 25, "resumed {count} times");
    let dropped = |event: &Event| matches!(event, Event::Dropped { .. });
    assert!(
        !tunnel.events().iter().any(dropped),
        "{:?}",
        tunnel.events()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_short_connections_are_answered_while_the_line_is_cut() {
    const EACH: usize = 100;
    let tunnel = Tunnel::start(limits()).await;
    let (_forward, port) = tunnel.forward(&echo().await).await;
    let done = Arc::new(AtomicUsize::new(0));
    let clients: Vec<_> = (0..100)
        .map(|client| {
            let done = Arc::clone(&done);
            tokio::spawn(async move {
                for call in 0..EACH {
                    let sent = bytes(client + call, 300);
                    let exchange = async {
                        let mut socket = TcpStream::connect(("127.0.0.1", port)).await?;
                        socket.write_all(&sent).await?;
                        socket.shutdown().await?;
                        let mut got = Vec::new();
                        socket.read_to_end(&mut got).await?;
                        std::io::Result::Ok(got)
                    };
                    let got = timeout(DEADLINE, exchange).await.expect("it is answered");
                    assert!(got.expect("no connection notices") == sent);
                    done.fetch_add(1, Ordering::SeqCst);
                }
            })
        })
        .collect();
    let began = Instant::now();
    while done.load(Ordering::SeqCst) < 90 * EACH {
        tokio::time::sleep(Duration::from_millis(200)).await;
        tunnel.line.reset();
        assert!(began.elapsed() < DEADLINE, "{done:?} of them");
    }
    for client in clients {
        client.await.expect("it ends well");
    }
    assert_eq!(done.load(Ordering::SeqCst), 100 * EACH);
}
