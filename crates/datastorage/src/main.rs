//! The Data Storage server: configuration, logs, signals.

use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::Context;
use datastorage::clock::Clock;
use datastorage::config::{Config, LoggingConfig};
use datastorage::server::serve;
use tokio::signal::unix::{SignalKind, signal};
use tracing::Level;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Where the bound `host:port` is written once the server listens; for port 0.
const ADDRESS_FILE: &str = "DATASTORAGE_ADDRESS_FILE";

/// What glibc's allocator is told (mallopt(3)): from so many bytes on a block goes back to the system when it is freed
/// (`M_MMAP_THRESHOLD`), and small ones are all of one arena, where the blocks that one worker freed serve the next (`M_ARENA_MAX`).
const ALLOCATOR: [(&str, &str); 2] = [
    ("MALLOC_MMAP_THRESHOLD_", "131072"),
    ("MALLOC_ARENA_MAX", "1"),
];

fn main() -> ExitCode {
    tell_the_allocator();
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            #[expect(
                clippy::print_stderr,
                reason = "the log may not be set up yet, and a person reads this"
            )]
            {
                eprintln!("datastorage: {error:#}");
            }
            ExitCode::FAILURE
        }
    }
}

/// Becomes the same program with these variables in its environment, which is where glibc looks for them. Otherwise the threshold
/// grows to the largest block that was freed, up to 32 MiB, and the memory of large bodies and answers stays with the thread that had
/// it. Where that cannot be done the server only takes more memory.
fn tell_the_allocator() {
    if ALLOCATOR
        .iter()
        .all(|(name, _)| std::env::var_os(name).is_some())
    {
        return;
    }
    let missing = ALLOCATOR
        .iter()
        .filter(|(name, _)| std::env::var_os(name).is_none());
    if let Ok(own) = std::env::current_exe() {
        let arguments = std::env::args_os().skip(1);
        // Returns only if it fails.
        let _error = Command::new(own)
            .args(arguments)
            .envs(missing.copied())
            .exec();
    }
}

fn run() -> anyhow::Result<()> {
    let environment: BTreeMap<_, _> = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    let config = Config::load(&environment)?;
    log_to_stdout(config.logging);
    if !config.ignored.is_empty() {
        tracing::info!(
            settings = config.ignored.join(", "),
            "settings that mean nothing to this server are ignored"
        );
    }
    if !config.unknown.is_empty() {
        tracing::warn!(
            settings = config.unknown.join(", "),
            "settings that this server does not know are without effect; correct their names or take them out"
        );
    }
    let address_file = environment.get(ADDRESS_FILE).map(PathBuf::from);
    // What serves has threads of its own; this one accepts connections and keeps house.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
        let stop = async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        };
        serve(&config, Clock::system(), address_file.as_deref(), stop).await
    })
}

fn log_to_stdout(config: LoggingConfig) {
    // The database driver's own lines below a warning quote statements and data.
    let targets = Targets::new()
        .with_default(Level::WARN)
        .with_target("datastorage", config.level);
    let lines = tracing_subscriber::fmt::layer().with_target(false);
    let log = tracing_subscriber::registry().with(targets);
    if config.json {
        log.with(lines.json().flatten_event(true)).init();
    } else {
        // Escapes for colours are for a terminal; in a file they hide the words.
        log.with(lines.with_ansi(std::io::stdout().is_terminal()))
            .init();
    }
}
