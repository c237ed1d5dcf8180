//! What a target, a reader or a line does to one connection, and what it does not do to the others.

use std::io::ErrorKind;
use std::process::{Command, Stdio};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tunnel::{Event, Limits};

use crate::{DEADLINE, Tunnel, echo, limits, listener, relay};

/// Sends some bytes and waits for them.
async fn answers(socket: &mut TcpStream) {
    let mut got = [0; 4];
    let both = async {
        socket.write_all(b"ping").await?;
        socket.read_exact(&mut got).await
    };
    let done = timeout(DEADLINE, both).await.expect("it is answered");
    done.expect("it is open");
    assert_eq!(&got, b"ping");
}

async fn client(port: u16) -> TcpStream {
    TcpStream::connect(("127.0.0.1", port))
        .await
        .expect("taken")
}

#[tokio::test]
async fn a_target_that_refuses_is_a_reset_of_that_connection_alone() {
    let tunnel = Tunnel::start(limits()).await;
    let (_forward, port) = tunnel.forward(&echo().await).await;
    let mut other = client(port).await;
    answers(&mut other).await;
    let nobody = {
        let listener = listener().await;
        listener.local_addr().expect("it was bound").to_string()
    };
    let (_refused, refused) = tunnel.forward(&nobody).await;
    let mut socket = client(refused).await;
    let read = timeout(DEADLINE, socket.read(&mut [0]))
        .await
        .expect("it is told");
    assert_eq!(read.expect_err("no end").kind(), ErrorKind::ConnectionReset);
    let (_unknown, unknown) = tunnel.forward("no-such-host.invalid:80").await;
    let mut socket = client(unknown).await;
    let read = timeout(DEADLINE, socket.read(&mut [0]))
        .await
        .expect("it is told");
    assert_eq!(read.expect_err("no end").kind(), ErrorKind::ConnectionReset);
    answers(&mut other).await;
}

#[tokio::test]
async fn what_a_killed_target_does_to_a_connection_is_what_its_client_sees() {
    let tunnel = Tunnel::start(limits()).await;
    // Plays the part of a server that is killed with a connection open: this test's own process cannot be.
    let script = "import socket\n\
        s = socket.create_server(('127.0.0.1', 0)); print(s.getsockname()[1], flush=True)\n\
        c, _ = s.accept(); c.sendall(c.recv(4)); d, _ = s.accept(); d.recv(6, socket.MSG_PEEK); d.sendall(b'more'); s.accept()\n";
    let mut server = Command::new("python3")
        .args(["-c", script])
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3 runs");
    let mut line = String::new();
    let mut printed = std::io::BufReader::new(server.stdout.take().expect("it is piped"));
    std::io::BufRead::read_line(&mut printed, &mut line).expect("a port");
    let (_forward, port) = tunnel.forward(&format!("127.0.0.1:{}", line.trim())).await;
    let mut idle = client(port).await;
    answers(&mut idle).await;
    // The server has not read what this one sent: the kernel then resets it.
    let mut unread = client(port).await;
    unread.write_all(b"unread").await.expect("sent");
    let mut more = [0; 4];
    unread.read_exact(&mut more).await.expect("it is sent");
    server.kill().expect("SIGKILL");
    server.wait().expect("it ends");
    let read = timeout(DEADLINE, idle.read(&mut [0]))
        .await
        .expect("it is told");
    assert_eq!(read.expect("the end of the stream"), 0);
    let read = timeout(DEADLINE, unread.read(&mut [0]))
        .await
        .expect("it is told");
    assert_eq!(read.expect_err("no end").kind(), ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn a_line_on_which_nothing_comes_any_more_is_replaced() {
    let tunnel = Tunnel::start(limits()).await;
    let (_forward, port) = tunnel.forward(&echo().await).await;
    let mut socket = client(port).await;
    answers(&mut socket).await;
    tunnel.line.blackhole();
    let silent =
        |event: &Event| matches!(event, Event::Lost { why } if why.starts_with("nothing came for"));
    tunnel.until("the silence to be noticed", silent).await;
    tunnel.line.heal();
    answers(&mut socket).await;
    let resumed = |event: &Event| matches!(event, Event::Resumed { away } if !away.is_zero());
    tunnel.until("the session to go on", resumed).await;
}

#[tokio::test]
async fn a_connection_that_begins_while_there_is_no_line_waits_for_one() {
    let tunnel = Tunnel::start(limits()).await;
    let (_forward, port) = tunnel.forward(&echo().await).await;
    answers(&mut client(port).await).await;
    tunnel.line.down();
    let lost = |event: &Event| matches!(event, Event::Lost { .. });
    tunnel.until("the line to be lost", lost).await;
    let mut socket = client(port).await;
    socket.write_all(b"wait").await.expect("it is taken");
    let early = timeout(Duration::from_millis(300), socket.read(&mut [0])).await;
    assert!(early.is_err(), "{early:?}");
    tunnel.line.up();
    let mut got = [0; 4];
    let read = timeout(DEADLINE, socket.read_exact(&mut got)).await;
    read.expect("it is answered").expect("it is open");
    assert_eq!(&got, b"wait");
}

#[tokio::test]
async fn a_session_that_is_away_for_too_long_is_dropped_by_both_sides_and_another_begins() {
    let away = Duration::from_millis(500);
    let limits = Limits { away, ..limits() };
    let tunnel = Tunnel::start(limits).await;
    let target = listener().await;
    let address = target.local_addr().expect("it is bound").to_string();
    let (_forward, port) = tunnel.forward(&address).await;
    let mut here = client(port).await;
    let (mut there, _) = target.accept().await.expect("it is reached");
    tunnel.line.down();
    let read = timeout(DEADLINE, here.read(&mut [0]))
        .await
        .expect("it is told");
    assert_eq!(read.expect_err("no end").kind(), ErrorKind::ConnectionReset);
    let read = timeout(DEADLINE, there.read(&mut [0]))
        .await
        .expect("it is told");
    assert_eq!(read.expect_err("no end").kind(), ErrorKind::ConnectionReset);
    let dropped = |event: &Event| matches!(event, Event::Dropped { away, .. } if *away >= Duration::from_millis(500));
    tunnel.until("it to be told", dropped).await;
    tunnel.line.up();
    let _here = client(port).await;
    timeout(DEADLINE, target.accept())
        .await
        .expect("it is reached again")
        .expect("a connection");
}

#[tokio::test]
async fn a_relay_that_was_started_again_ends_what_it_does_not_know_and_takes_what_is_new() {
    let echo = echo().await;
    let first = relay(limits()).await;
    let tunnel = Tunnel::to(&first.address, limits()).await;
    let (_forward, port) = tunnel.forward(&echo).await;
    let mut socket = client(port).await;
    answers(&mut socket).await;
    tunnel.line.down();
    let lost = |event: &Event| matches!(event, Event::Lost { .. });
    tunnel.until("the line to be lost", lost).await;
    let _second = first.again(limits()).await;
    tunnel.line.up();
    let read = timeout(DEADLINE, socket.read(&mut [0]))
        .await
        .expect("it is told");
    assert_eq!(read.expect_err("no end").kind(), ErrorKind::ConnectionReset);
    answers(&mut client(port).await).await;
}

#[tokio::test]
async fn a_slow_reader_holds_no_other_connection_back_and_no_more_than_its_window() {
    let tunnel = Tunnel::start(limits()).await;
    let target = listener().await;
    let address = target.local_addr().expect("it is bound").to_string();
    let (_slow, slow) = tunnel.forward(&address).await;
    let (_fast, fast) = tunnel.forward(&echo().await).await;
    let mut writer = client(slow).await;
    let (mut reader, _) = target.accept().await.expect("it is reached");
    // Until the whole way is full: the sockets' own buffers, and the window.
    let piece = vec![7; 64 << 10];
    let mut sent = 0;
    while let Ok(written) = timeout(Duration::from_secs(1), writer.write(&piece)).await {
        sent += written.expect("it is open");
        assert!(sent < 64 << 20, "somebody keeps all of it");
    }
    answers(&mut client(fast).await).await;
    tunnel.line.cut();
    answers(&mut client(fast).await).await;
    let mut got = vec![0; sent];
    let read = timeout(DEADLINE, reader.read_exact(&mut got)).await;
    read.expect("it comes").expect("it is open");
    assert!(got.iter().all(|byte| *byte == 7));
}

#[tokio::test]
async fn several_local_ends_share_a_relay_and_see_nothing_of_each_other() {
    let relay = relay(limits()).await;
    let echo = echo().await;
    let one = Tunnel::to(&relay.address, limits()).await;
    let other = Tunnel::to(&relay.address, limits()).await;
    let (_a, a) = one.forward(&echo).await;
    let (_b, b) = other.forward(&echo).await;
    let (mut of_one, mut of_other) = (client(a).await, client(b).await);
    answers(&mut of_one).await;
    answers(&mut of_other).await;
    drop(other);
    answers(&mut of_one).await;
    // More lives of a local end than a relay keeps sessions: the oldest without a line makes room.
    for _ in 0..12 {
        let next = Tunnel::to(&relay.address, limits()).await;
        let (_c, c) = next.forward(&echo).await;
        answers(&mut client(c).await).await;
    }
    answers(&mut of_one).await;
}

#[tokio::test]
async fn a_relay_says_that_it_is_ready_and_something_else_is_told_apart() {
    let relay = relay(limits()).await;
    tunnel::is_ready(&relay.address).await.expect("it is");
    let echo = echo().await;
    tunnel::is_ready(&echo).await.expect_err("it only echoes");
}
