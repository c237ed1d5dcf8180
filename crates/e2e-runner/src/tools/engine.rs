//! Docker's engine, asked on its socket: what its client takes tens of milliseconds to start for, it answers in one.
//!
//! Only where the client would ask the same one: the socket of the system, or one that `DOCKER_HOST` names. Whoever gets no answer here
//! asks the client, which knows contexts, other machines, and the words that people know.

use std::ffi::OsStr;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;
use ureq::Agent;
use ureq::http::StatusCode;
use ureq::unversioned::resolver::DefaultResolver;
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, LazyBuffers, NextTimeout, Transport,
};

use crate::process::Runner;
use crate::settings::docker_socket;
use crate::tools::elf;

/// How long one answer may take.
const ANSWER: Duration = Duration::from_secs(5);

/// What the engine has on a path.
#[derive(Debug)]
pub enum Answer {
    /// This.
    There(Value),
    /// Nothing.
    NotThere,
}

/// What Docker's engine answers on a path of its API (Docker Engine API, `v1.24` and later, without the version). None where no such
/// engine is to be asked, or it gives no answer to go by.
pub fn get(path: &str) -> Option<Answer> {
    // A script under the client's name leads where it likes.
    let client = Runner::find(OsStr::new("docker"), None).ok()?;
    let is_program = elf::head(&client).ok()?.starts_with(b"\x7fELF");
    asked(is_program.then(docker_socket)??, path)
}

fn asked(socket: PathBuf, path: &str) -> Option<Answer> {
    let config = Agent::config_builder()
        .timeout_global(Some(ANSWER))
        .http_status_as_error(false)
        .proxy(None)
        .build();
    let agent = Agent::with_parts(config, Socket(socket), DefaultResolver::default());
    // The address is never used.
    let mut answer = agent.get(format!("http://127.0.0.1{path}")).call().ok()?;
    // Another engine may listen there, with an API that is like it.
    let server = answer.headers().get("server")?.to_str().ok()?;
    server.starts_with("Docker/").then_some(())?;
    match answer.status() {
        StatusCode::OK => Some(Answer::There(answer.body_mut().read_json().ok()?)),
        StatusCode::NOT_FOUND => Some(Answer::NotThere),
        _ => None,
    }
}

/// Connects to a socket of this machine, whatever address is asked for.
#[derive(Debug)]
struct Socket(PathBuf);

impl Connector for Socket {
    type Out = Connection;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        _: Option<()>,
    ) -> Result<Option<Connection>, ureq::Error> {
        let (input, output) = (
            details.config.input_buffer_size(),
            details.config.output_buffer_size(),
        );
        Ok(Some(Connection {
            stream: UnixStream::connect(&self.0)?,
            buffers: LazyBuffers::new(input, output),
        }))
    }
}

#[derive(Debug)]
struct Connection {
    stream: UnixStream,
    buffers: LazyBuffers,
}

impl Transport for Connection {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, left: NextTimeout) -> Result<(), ureq::Error> {
        self.stream
            .set_write_timeout(left.not_zero().map(|left| *left))?;
        Ok(self.stream.write_all(&self.buffers.output()[..amount])?)
    }

    fn await_input(&mut self, left: NextTimeout) -> Result<bool, ureq::Error> {
        self.stream
            .set_read_timeout(left.not_zero().map(|left| *left))?;
        let amount = self.stream.read(self.buffers.input_append_buf())?;
        self.buffers.input_appended(amount);
        Ok(amount > 0)
    }

    /// One question each: to connect costs nothing here.
    fn is_open(&mut self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead as _, BufReader};
    use std::os::unix::net::UnixListener;

    /// What is told of a path by an engine that answers so.
    fn told(answer: &'static str) -> String {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("engine.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let engine = std::thread::spawn(move || {
            let (mut connection, _) = listener.accept().unwrap();
            let mut asked = String::new();
            let lines = BufReader::new(connection.try_clone().unwrap()).lines();
            for line in lines
                .map(Result::unwrap)
                .take_while(|line| !line.is_empty())
            {
                asked += &line;
                asked.push('\n');
            }
            connection.write_all(answer.as_bytes()).unwrap();
            asked
        });
        let answer = format!("{:?}", asked(socket, "/images/team/app:1/json"));
        let asked = engine.join().unwrap();
        assert!(
            asked.starts_with("GET /images/team/app:1/json HTTP/1.1\n"),
            "{asked}"
        );
        answer
    }

    #[test]
    fn what_dockers_engine_has_or_has_not_is_told_and_anything_else_is_left_to_its_client() {
        let there = "HTTP/1.1 200 OK\r\nServer: Docker/29.1 (linux)\r\nTransfer-Encoding: chunked\r\n\r\n\
            9\r\n{\"Id\": \"x\r\n2\r\n\"}\r\n0\r\n\r\n";
        assert!(told(there).contains(r#""Id": String("x")"#));
        let none = "HTTP/1.1 404 Not Found\r\nServer: Docker/29.1\r\nContent-Length: 2\r\n\r\n{}";
        assert_eq!(told(none), "Some(NotThere)");
        for other in [
            "HTTP/1.1 200 OK\r\nServer: Libpod/5.0\r\nContent-Length: 2\r\n\r\n{}",
            "HTTP/1.1 500 Internal Server Error\r\nServer: Docker/29.1\r\nContent-Length: 2\r\n\r\n{}",
            "HTTP/1.1 200 OK\r\nServer: Docker/29.1\r\nContent-Length: 9\r\n\r\n{}",
            "no HTTP at all",
        ] {
            assert_eq!(told(other), "None", "{other}");
        }
        assert!(asked("/nowhere/engine.sock".into(), "/info").is_none());
    }
}
