//! Emits audit events from shell scripts and jobs, through the store: what is accepted survives this process.
//!
//! Standard output has the id of each accepted event, standard error the rest. Exit code 0: all accepted, and stored or safe in the journal; 1: an
//! event was refused or parked, or the journal was damaged; 2: usage; 3: with `--require-stored`, an event is not stored yet.
//!
//! `audit-emit serve` is the relay (D40); its settings and guarantees are in this crate's README.
//!
//! Modules, each may import those after it: `relay`, `journal`, `message`, `options`, `address`
//!
//! As one static file: `cargo rustc --release -p audit-emit --target x86_64-unknown-linux-gnu -- -Ctarget-feature=+crt-static`.

mod address;
mod journal;
mod message;
mod options;
mod relay;

use std::{
    io::{self, BufRead, IsTerminal as _, Read as _, Write as _},
    net::SocketAddr,
    process::ExitCode,
    time::Instant,
};

use anyhow::Context as _;
use audit_store::{Event, Report, Store, StoreError};
use clap::Parser as _;
use datastorage_api::{parse_event, paths};
use datastorage_client::Client;
use jiff::Timestamp;

use crate::message::report_error;
use crate::options::{Command, Options, ServeOptions};

/// Longest line read from standard input; the store accepts less.
const MAX_LINE: u64 = 2 << 20;

fn main() -> ExitCode {
    let level = tracing::Level::WARN;
    tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .without_time()
        .init();
    match dispatch() {
        Ok(code) => code,
        Err(error) => {
            report_error(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn dispatch() -> anyhow::Result<ExitCode> {
    match Command::given() {
        Some(Command::Serve(options)) => relay(&options),
        Some(Command::Ready { listen }) => ready(listen),
        None => run(&Options::parse()),
    }
}

/// What is left in the journal is no failure: the next start sends it.
fn relay(options: &ServeOptions) -> anyhow::Result<ExitCode> {
    let report = relay::serve(options)?;
    summarise(&report, 0);
    Ok(if report.lost > 0 {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

fn ready(listen: SocketAddr) -> anyhow::Result<ExitCode> {
    let client = Client::new(&format!("http://{listen}"))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("make a runtime")?;
    let answer = runtime
        .block_on(client.get_raw(paths::HEALTH_READY))
        .context("ask the relay")?;
    if answer.status == 200 {
        return Ok(ExitCode::SUCCESS);
    }
    let said = String::from_utf8_lossy(&answer.body);
    report_error(&format!("the relay is not ready: {said}"));
    Ok(ExitCode::FAILURE)
}

fn run(options: &Options) -> anyhow::Result<ExitCode> {
    let mut emitter = Emitter {
        store: journal::open_free(options)?,
        options,
        refused: 0,
    };
    if options.stdin {
        emitter.lines(io::stdin().lock())?;
    } else {
        let event = options.event()?;
        emitter.emit(event)?;
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .context("make a runtime")?;
    // Reading may take as long as the events' source does.
    let started = Instant::now();
    let left = || options.deadline.saturating_sub(started.elapsed());
    let mut report = journal::close(&runtime, &emitter.store, left());
    let refused = emitter.refused;
    drop(emitter);
    journal::send_leftovers(options, &left, &mut report)?;
    summarise(&report, refused);
    if report.parked > 0 {
        let pattern = options.journal.join("*/parked.ndjson");
        report_error(&format!(
            "the parked events and why are in {}",
            pattern.display()
        ));
    }
    Ok(match report {
        _ if refused > 0 || report.parked > 0 || report.lost > 0 => ExitCode::FAILURE,
        _ if options.require_stored && report.journalled > 0 => ExitCode::from(3),
        _ => ExitCode::SUCCESS,
    })
}

struct Emitter<'a> {
    store: Store,
    options: &'a Options,
    refused: usize,
}

impl Emitter<'_> {
    fn emit(&mut self, event: Event) -> anyhow::Result<()> {
        let accepted = match self.store.store(event.clone()) {
            // Reading slower is better than refusing while the server takes events.
            Err(StoreError::JournalFull { .. }) => {
                self.wait_for_room()?;
                self.store.store(event)
            }
            accepted => accepted,
        };
        match accepted {
            Ok(event_id) => writeln!(io::stdout().lock(), "{event_id}")
                .context("write the event's id to standard output"),
            Err(error) => {
                self.refuse(&error.to_string());
                Ok(())
            }
        }
    }

    /// Emits one event for each line of NDJSON; a line that cannot be taken is named, and the others are emitted.
    fn lines(&mut self, mut input: impl BufRead) -> anyhow::Result<()> {
        let mut line = Vec::new();
        for number in 1.. {
            line.clear();
            input
                .by_ref()
                .take(MAX_LINE)
                .read_until(b'\n', &mut line)
                .context("read events from standard input")?;
            if line.is_empty() {
                break;
            }
            if line.len() as u64 == MAX_LINE && !line.ends_with(b"\n") {
                input
                    .skip_until(b'\n')
                    .context("read events from standard input")?;
                self.refuse(&format!("line {number} is longer than {MAX_LINE} bytes"));
                continue;
            }
            if line.trim_ascii().is_empty() {
                continue;
            }
            match parse_event(&line, Timestamp::now()) {
                Ok(event) => self.emit(event.into())?,
                Err(error) => self.refuse(&format!("line {number}: {error}")),
            }
        }
        Ok(())
    }

    fn wait_for_room(&self) -> anyhow::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .context("make a runtime")?;
        runtime.block_on(self.store.flush(self.options.deadline));
        Ok(())
    }

    fn refuse(&mut self, why: &str) {
        self.refused += 1;
        report_error(&format!("not accepted: {why}"));
    }
}

fn summarise(report: &Report, refused: usize) {
    let Report {
        stored,
        journalled,
        parked,
        ..
    } = report;
    let why = report
        .blocked_by
        .as_ref()
        .map(|error| format!(" ({error})"))
        .unwrap_or_default();
    report_error(&format!(
        "{stored} stored, {journalled} in the journal{why}, {parked} parked, {refused} not accepted"
    ));
}
