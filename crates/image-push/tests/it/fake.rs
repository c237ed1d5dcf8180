//! What a real registry does not do on demand: answers of a test's own, and a way to a registry that stalls or breaks.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};

/// A request: its method, path and Authorization.
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) authorization: String,
}

/// Listens for the rest of the test, and hands each connection to a thread of its own; returns `127.0.0.1:PORT`.
pub(crate) fn listen(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let host = listener.local_addr().expect("an address").to_string();
    let serve = Arc::new(serve);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let serve = Arc::clone(&serve);
            std::thread::spawn(move || serve(stream));
        }
    });
    host
}

/// Answers each request with a status, headers and a body.
pub(crate) fn answering(
    answer: impl Fn(&Request) -> (u16, String, String) + Send + Sync + 'static,
) -> String {
    listen(move |stream| drop(serve(&stream, &answer)))
}

fn serve(
    mut stream: &TcpStream,
    answer: impl Fn(&Request) -> (u16, String, String),
) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    // The first byte of TLS.
    if reader.fill_buf()?.first() == Some(&0x16) {
        return stream.write_all(b"HTTP/1.0 400 Bad Request\r\n\r\n");
    }
    let (mut line, mut length, mut authorization) = (String::new(), 0, String::new());
    reader.read_line(&mut line)?;
    let mut words = line.split_whitespace().map(str::to_owned);
    let (method, path) = (words.next(), words.next());
    let (Some(method), Some(path)) = (method, path) else {
        return Ok(());
    };
    loop {
        let mut header = String::new();
        reader.read_line(&mut header)?;
        match header.trim().split_once(": ") {
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                length = value.parse().unwrap_or_default();
            }
            Some((name, value)) if name.eq_ignore_ascii_case("authorization") => {
                value.clone_into(&mut authorization);
            }
            Some(_) => (),
            None => break,
        }
    }
    std::io::copy(&mut reader.take(length), &mut std::io::sink())?;
    let (status, headers, body) = answer(&Request {
        method,
        path,
        authorization,
    });
    let length = body.len();
    let answer = format!(
        "HTTP/1.1 {status} x\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n{body}"
    );
    stream.write_all(answer.as_bytes())
}

/// How far a way to a registry goes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// What comes after so many bytes is not handed on.
    Stall,
    /// The connection is broken after so many bytes.
    Cut,
}

/// A way to a registry on which the first `faulty` connections that carry more than `after` bytes stop there; returns its address, and
/// a line for each that did.
pub(crate) fn way(to: &str, fault: Fault, after: usize, faulty: usize) -> (String, Receiver<()>) {
    let (to, left) = (to.to_owned(), AtomicUsize::new(faulty));
    let (send, receive) = channel();
    let send = Mutex::new(send);
    let host = listen(move |mut near| {
        let mut far = TcpStream::connect(&to).expect("the registry");
        let mut back = (far.try_clone().expect("it"), near.try_clone().expect("it"));
        std::thread::spawn(move || {
            drop(std::io::copy(&mut back.0, &mut back.1));
            drop(back.1.shutdown(Shutdown::Both));
        });
        let (mut carried, mut chunk) = (0, vec![0; 1 << 14]);
        while let Ok(read) = near.read(&mut chunk)
            && read > 0
        {
            carried += read;
            let take = |left: usize| left.checked_sub(1);
            let order = Ordering::SeqCst;
            if carried > after && left.fetch_update(order, order, take).is_ok() {
                send.lock().expect("it").send(()).expect("the test runs");
                if fault == Fault::Stall {
                    loop {
                        std::thread::park();
                    }
                }
                break;
            }
            if far.write_all(&chunk[..read]).is_err() {
                break;
            }
        }
        drop(far.shutdown(Shutdown::Both));
        drop(near.shutdown(Shutdown::Both));
    });
    (host, receive)
}
