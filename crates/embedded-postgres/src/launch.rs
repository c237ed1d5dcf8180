//! From spawning the server to its first answer.

use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::time::{Duration, Instant};

use rand::RngExt;
use tokio_postgres::NoTls;

use crate::account::Account;
use crate::address::Address;
use crate::cluster::{append_configuration, tail};
use crate::instance::Instance;
use crate::options::lines;
use crate::postmaster::Postmaster;
use crate::{Error, Installation, Options, Tcp};

/// Below the ephemeral ports of Linux and macOS, so that no outgoing connection takes one between a kill and a restart;
/// below Kubernetes' node ports too.
const PORTS: std::ops::Range<u16> = 17_000..29_000;
/// Each attempt picks another port; ten taken in a row means that something else is wrong.
const PORT_ATTEMPTS: u32 = 10;
const LOG_LINES: usize = 20;

/// Starts the server; a port that somebody takes between choice and use is exchanged for another.
pub(crate) async fn start_on_a_port(
    instance: &Instance,
    installation: &Installation,
    options: &Options,
    account: &Account,
) -> Result<(Address, Postmaster), Error> {
    let (data, log, socket) = (instance.data(), instance.log(), instance.socket());
    let mut attempt = 1;
    loop {
        let tcp = match options.tcp {
            Tcp::AnyPort => Some(free_port()),
            Tcp::Port(port) => Some(port),
            Tcp::Off => None,
        };
        let address = Address {
            tcp,
            socket: socket.clone(),
        };
        append_configuration(&data, &listening(&address))?;
        let mut postmaster = Postmaster::spawn(installation, &data, &log, account)?;
        match await_ready(
            &mut postmaster,
            &address,
            &options.user,
            &log,
            options.deadline,
        )
        .await
        {
            Ok(()) => return Ok((address, postmaster)),
            Err(Error::PortTaken { .. })
                if options.tcp == Tcp::AnyPort && attempt < PORT_ATTEMPTS =>
            {
                attempt += 1;
            }
            Err(error) => {
                // One that hangs must not outlive the error.
                postmaster.kill_all().await.ok();
                return Err(error);
            }
        }
    }
}

fn listening(address: &Address) -> String {
    let listen_addresses = if address.tcp.is_some() {
        "127.0.0.1"
    } else {
        ""
    };
    let settings = [
        ("listen_addresses", listen_addresses.to_owned()),
        ("port", address.port().to_string()),
        (
            "unix_socket_directories",
            format!("\"{}\"", address.socket.display()),
        ),
    ];
    lines(&settings.map(|(key, value)| (key.to_owned(), value)))
}

/// Returns a port that was free a moment ago.
fn free_port() -> u16 {
    let mut random = rand::rng();
    let mut candidates = std::iter::repeat_with(|| random.random_range(PORTS)).take(100);
    candidates
        .find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok())
        .unwrap_or(PORTS.start)
}

pub(crate) fn socket_config(address: &Address, user: &str) -> tokio_postgres::Config {
    let mut config = tokio_postgres::Config::new();
    config
        .host_path(&address.socket)
        .port(address.port())
        .user(user)
        .dbname("postgres");
    config
}

/// Connects until the server answers; ends early when it is dead.
///
/// Over the unix socket, which nobody else can have: an answer is this server's.
pub(crate) async fn await_ready(
    postmaster: &mut Postmaster,
    address: &Address,
    user: &str,
    log: &Path,
    deadline: Duration,
) -> Result<(), Error> {
    let config = socket_config(address, user);
    let started = Instant::now();
    loop {
        let last = match tokio::time::timeout(
            deadline.saturating_sub(started.elapsed()),
            config.connect(NoTls),
        )
        .await
        {
            Ok(Ok((client, connection))) => {
                drop(client);
                // It answered; how the goodbye ends says nothing more.
                connection.await.ok();
                return Ok(());
            }
            Ok(Err(error)) => describe(&error),
            Err(_) => "the connection was taken but not answered".to_owned(),
        };
        if let Some(status) = postmaster.ended() {
            let text = postmaster.said(log);
            if let (Some(port), Some(line)) = (address.tcp, taken(&text)) {
                return Err(Error::PortTaken {
                    port,
                    detail: line.to_owned(),
                });
            }
            return Err(Error::Exited {
                status,
                log: tail(&text, LOG_LINES),
            });
        }
        let waited = started.elapsed();
        if waited >= deadline {
            return Err(Error::NotReady {
                waited,
                last,
                log: tail(&postmaster.said(log), LOG_LINES),
            });
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Returns the line that says that the port is taken, if the server wrote one.
///
/// `LC_ALL=C` makes PostgreSQL speak English.
fn taken(log: &str) -> Option<&str> {
    let line = log.lines().find(|line| line.contains("could not bind"))?;
    Some(
        line.split_once("LOG:  ")
            .map_or(line, |(_, message)| message),
    )
}

fn describe(error: &tokio_postgres::Error) -> String {
    let cause = std::error::Error::source(error);
    cause.map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"))
}
