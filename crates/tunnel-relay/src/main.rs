//! The relay of a run in a cluster: opens the connections that the tool's end of the tunnel asks for.
//!
//! Beside other programs in their pods it waits, packs their files and kills them, where nobody has a shell.
//!
//! It listens on loopback only: what reaches it comes through `kubectl port-forward`, which dials within the pod's network. It keeps
//! no file and needs no right.
//!
//! Modules, each may import those after it: `supervise`, `pod`
//!
//! As one static file: `cargo rustc --release -p tunnel-relay --target x86_64-unknown-linux-gnu -- -Ctarget-feature=+crt-static`.

mod pod;
mod supervise;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tunnel::{Limits, Relay};

/// Opens the connections that the tool's end of the tunnel asks for
#[derive(Debug, Parser)]
#[command(version)]
struct Options {
    /// Where it listens; loopback
    #[arg(
        long,
        global = true,
        env = "TUNNEL_LISTEN",
        default_value = "127.0.0.1:18070"
    )]
    listen: SocketAddr,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Relays until SIGTERM
    Serve {
        /// For how many seconds the connections of a session outlive a lost transport
        #[arg(
            long,
            env = "TUNNEL_AWAY",
            default_value_t = 300,
            value_name = "SECONDS"
        )]
        away: u64,
    },
    /// Says by its exit code whether the relay answers: the probe of its pod
    Ready,
    /// Waits until SIGTERM, beside another program in a pod
    Keep,
    /// Writes a directory as an archive to standard output
    Pack {
        /// The directory
        directory: PathBuf,
    },
    /// Copies this program into a directory, for the container of another one
    Install {
        /// The directory
        directory: PathBuf,
    },
    /// Runs a program, and starts it again at once where `kill` has ended it
    Supervise {
        /// The program and its arguments
        #[arg(last = true, required = true)]
        words: Vec<String>,
    },
    /// Kills every process of a program in this pod by SIGKILL
    Kill {
        /// The name of the program's file
        program: String,
    },
}

fn main() -> anyhow::Result<ExitCode> {
    let options = Options::parse();
    // It waits for every process of its container itself: no runtime may do so beside it.
    if let Command::Supervise { words } = &options.command {
        return supervise::run(words);
    }
    tokio::runtime::Runtime::new()?.block_on(run(options))?;
    Ok(ExitCode::SUCCESS)
}

async fn run(options: Options) -> anyhow::Result<()> {
    let listen = options.listen;
    match options.command {
        Command::Ready => tunnel::is_ready(listen)
            .await
            .with_context(|| format!("no relay answers at {listen}")),
        Command::Serve { away } => serve(listen, Duration::from_secs(away)).await,
        Command::Keep => {
            terminated()?.recv().await;
            Ok(())
        }
        Command::Pack { directory } => pod::pack(&directory),
        Command::Install { directory } => supervise::install(&directory),
        Command::Supervise { words } => supervise::run(&words).map(drop),
        Command::Kill { program } => {
            supervise::announce()?;
            pod::kill_all(&program)
        }
    }
}

fn terminated() -> anyhow::Result<Signal> {
    signal(SignalKind::terminate()).context("cannot listen for SIGTERM")
}

async fn serve(listen: SocketAddr, away: Duration) -> anyhow::Result<()> {
    anyhow::ensure!(
        listen.ip().is_loopback(),
        "{listen} is not loopback: whoever reached it could connect to everything that this pod can"
    );
    let listener = TcpListener::bind(listen)
        .await
        .with_context(|| format!("cannot listen on {listen}"))?;
    let mut term = terminated()?;
    let relay = Relay::new(Limits {
        away,
        ..Limits::default()
    });
    tokio::select! {
        () = relay.serve(listener) => {}
        _ = term.recv() => {}
    }
    Ok(())
}
