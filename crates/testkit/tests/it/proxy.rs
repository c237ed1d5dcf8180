//! Each fault does what its name says, to real sockets.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use testkit::proxy::{Direction, Proxy};
use testkit::wait::until;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const DEADLINE: Duration = Duration::from_secs(20);

/// Starts a server that sends back what it gets, and at the end of a stream `bye`.
async fn echo() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut read, mut write) = stream.split();
                tokio::io::copy(&mut read, &mut write).await?;
                write.write_all(b"bye").await
            });
        }
    });
    address
}

async fn connect(proxy: &Proxy) -> TcpStream {
    TcpStream::connect(proxy.address()).await.unwrap()
}

async fn ask(stream: &mut TcpStream, text: &str) -> std::io::Result<String> {
    let exchange = async {
        stream.write_all(text.as_bytes()).await?;
        let mut answer = vec![0; text.len()];
        stream.read_exact(&mut answer).await?;
        Ok(String::from_utf8(answer).unwrap())
    };
    tokio::time::timeout(DEADLINE, exchange)
        .await
        .expect("an answer or an error")
}

/// Reads to the end of the stream or to its error.
async fn rest(stream: &mut TcpStream) -> Result<Vec<u8>, ErrorKind> {
    let mut bytes = Vec::new();
    let read = tokio::time::timeout(DEADLINE, stream.read_to_end(&mut bytes))
        .await
        .expect("the stream ends");
    read.map(|_| bytes).map_err(|error| error.kind())
}

#[tokio::test]
async fn without_a_fault_everything_goes_through() {
    let proxy = Proxy::start(echo().await).await;
    let mut stream = connect(&proxy).await;
    assert_eq!(ask(&mut stream, "hello").await.unwrap(), "hello");
    stream.shutdown().await.unwrap();
    assert_eq!(rest(&mut stream).await.unwrap(), b"bye");
    assert_eq!(
        [
            proxy.delivered(Direction::ToServer),
            proxy.delivered(Direction::ToClient)
        ],
        [5, 8]
    );
}

#[tokio::test]
async fn a_delay_is_added_to_every_round_trip() {
    let proxy = Proxy::start(echo().await).await;
    proxy.delay(Duration::from_millis(20));
    let mut stream = connect(&proxy).await;
    let started = Instant::now();
    ask(&mut stream, "there and back").await.unwrap();
    // A lower bound is the proxy's promise, however slow the machine.
    assert!(started.elapsed() >= Duration::from_millis(40));
}

#[tokio::test]
async fn a_blackhole_keeps_bytes_and_connections_until_healed() {
    let proxy = Proxy::start(echo().await).await;
    let mut stream = connect(&proxy).await;
    ask(&mut stream, "before").await.unwrap();
    proxy.blackhole();
    stream.write_all(b"during").await.unwrap();
    let mut late = [0; 6];
    let unanswered =
        tokio::time::timeout(Duration::from_millis(100), stream.read_exact(&mut late)).await;
    assert!(unanswered.is_err(), "an answer came through a blackhole");
    assert_eq!(proxy.delivered(Direction::ToServer), 6);
    proxy.heal();
    tokio::time::timeout(DEADLINE, stream.read_exact(&mut late))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(&late, b"during");
}

#[tokio::test]
async fn what_comes_after_the_held_bytes_waits_though_they_arrive_in_two_pieces() {
    let proxy = Proxy::start(echo().await).await;
    let mut stream = connect(&proxy).await;
    ask(&mut stream, "before").await.unwrap();
    proxy.hold_after(Direction::ToServer, b"mark");
    assert_eq!(ask(&mut stream, "a ma").await.unwrap(), "a ma");
    stream.write_all(b"rk and more").await.unwrap();
    let mut mark = [0; 2];
    stream.read_exact(&mut mark).await.unwrap();
    assert_eq!((&mark, proxy.holding()), (b"rk", 1));
    let mut late = [0; 9];
    let unanswered =
        tokio::time::timeout(Duration::from_millis(100), stream.read_exact(&mut late)).await;
    assert!(unanswered.is_err(), "more than the mark came through");
    proxy.heal();
    tokio::time::timeout(DEADLINE, stream.read_exact(&mut late))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(&late, b" and more");
}

#[tokio::test]
async fn a_cut_closes_and_a_reset_resets_and_new_connections_work() {
    let proxy = Proxy::start(echo().await).await;
    let mut stream = connect(&proxy).await;
    ask(&mut stream, "one").await.unwrap();
    proxy.cut();
    assert_eq!(rest(&mut stream).await.unwrap(), b"");
    let mut stream = connect(&proxy).await;
    ask(&mut stream, "two").await.unwrap();
    proxy.reset();
    assert_eq!(
        rest(&mut stream).await.unwrap_err(),
        ErrorKind::ConnectionReset
    );
    let mut stream = connect(&proxy).await;
    assert_eq!(ask(&mut stream, "three").await.unwrap(), "three");
    let one_open = async || match proxy.open() {
        1 => Ok(()),
        open => Err(format!("{open} open")),
    };
    until("one open connection", DEADLINE, one_open).await;
}

#[tokio::test]
async fn while_down_nobody_gets_through() {
    let proxy = Proxy::start(echo().await).await;
    let mut stream = connect(&proxy).await;
    ask(&mut stream, "up").await.unwrap();
    proxy.down();
    assert!(ask(&mut stream, "down").await.is_err());
    assert!(ask(&mut connect(&proxy).await, "down").await.is_err());
    proxy.heal();
    assert_eq!(ask(&mut connect(&proxy).await, "up").await.unwrap(), "up");
}

#[tokio::test]
async fn a_half_close_ends_one_direction_only() {
    let proxy = Proxy::start(echo().await).await;
    let mut stream = connect(&proxy).await;
    ask(&mut stream, "both ways").await.unwrap();
    proxy.half_close(Direction::ToServer);
    // The server saw the end of the stream and could still answer.
    assert_eq!(rest(&mut stream).await.unwrap(), b"bye");
}

#[tokio::test]
async fn the_next_connection_is_cut_after_exactly_so_many_bytes() {
    let proxy = Proxy::start(echo().await).await;
    proxy.cut_next_after(Direction::ToServer, 10);
    let mut stream = connect(&proxy).await;
    assert_eq!(ask(&mut stream, "0123").await.unwrap(), "0123");
    assert!(ask(&mut stream, "456789abcdef").await.is_err());
    assert_eq!(proxy.delivered(Direction::ToServer), 10);
    assert_eq!(
        ask(&mut connect(&proxy).await, "0123456789abcdef")
            .await
            .unwrap(),
        "0123456789abcdef"
    );
}

#[tokio::test]
async fn random_cuts_are_the_same_for_the_same_seed() {
    let mut delivered = Vec::new();
    for seed in [7, 7, 8] {
        let proxy = Proxy::seeded(echo().await, seed).await;
        proxy.cut_randomly(500);
        let mut counts = Vec::new();
        for _ in 0..5 {
            let before = proxy.delivered(Direction::ToServer);
            let mut stream = connect(&proxy).await;
            // One byte at a time: neither direction gets ahead of the other by chance.
            while ask(&mut stream, "x").await.is_ok() {}
            counts.push(proxy.delivered(Direction::ToServer) - before);
        }
        delivered.push(counts);
    }
    assert_eq!(delivered[0], delivered[1]);
    assert_ne!(delivered[0], delivered[2]);
    assert!(
        delivered
            .iter()
            .flatten()
            .all(|count| (1..=500).contains(count)),
        "{delivered:?}"
    );
}

#[tokio::test]
async fn a_url_through_the_proxy_keeps_its_user_and_path() {
    let proxy = Proxy::start("127.0.0.1:1").await;
    let through = proxy.url("postgresql://user:p%40ss@127.0.0.1:5432/db?sslmode=disable");
    assert_eq!(
        through,
        format!(
            "postgresql://user:p%40ss@{}/db?sslmode=disable",
            proxy.address()
        )
    );
    assert_eq!(
        proxy.url("http://localhost:8080"),
        format!("http://{}", proxy.address())
    );
}

#[tokio::test]
async fn postgresql_sees_a_reset_connection_and_takes_a_new_one() {
    let database = testkit::postgres::empty_database().await;
    let port = testkit::postgres::server().await.port().unwrap();
    let proxy = Proxy::start(format!("127.0.0.1:{port}")).await;
    let url = proxy.url(database.url());
    let client = testkit::postgres::connect(&url).await;
    client.simple_query("SELECT 1").await.unwrap();
    proxy.reset();
    client.simple_query("SELECT 1").await.unwrap_err();
    testkit::postgres::connect(&url)
        .await
        .simple_query("SELECT 1")
        .await
        .unwrap();
}
