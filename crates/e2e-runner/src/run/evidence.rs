//! What explains a failure, gathered before anything is removed: the first page is `verdict.txt`, the rest lies beside it.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use crate::exit::Failure;
use crate::process::Runner;
use crate::run::kind::diagnostics;
use crate::run::plan::Target;
use crate::run::service_run::ServiceRun;
use crate::run::session::Session;
use crate::run::timing::{Timing, table};
use crate::state::{Resource, write_private};
use crate::table::Component;

/// How much of a file is kept: its end, where the failure is.
const LIMIT: usize = 2_000_000;
/// How long the database may take to tell its ledger; it may be what failed.
const LEDGER: Duration = Duration::from_secs(3);

/// What each file of a bundle is for, in the order in which a person should look.
const GUIDE: [(&str, &str); 10] = [
    ("suite.log", "what the suite printed"),
    ("datastorage.log", "Data Storage's log"),
    ("postgres.log", "PostgreSQL's log"),
    (
        "migrations.json",
        "the ledger: what is applied, what is pending",
    ),
    ("events.txt", "the namespace's events"),
    (
        "cluster-events.log",
        "every event of the cluster as it came",
    ),
    (
        "cluster-pods.log",
        "every change of a pod's state as it came",
    ),
    ("pods.yaml", "the cluster's objects, Secrets left out"),
    ("commands.log", "every command with its duration"),
    ("events.jsonl", "every event of the run"),
];

/// Gathers the evidence of a failure into the run's directory and returns that directory.
pub fn collect(
    session: &Session,
    runner: &Runner,
    failure: Option<&Failure>,
    timings: &[Timing],
) -> Result<String, Failure> {
    let dir = session.run.dir();
    match session.place {
        Target::Kind => diagnostics::collect(session, runner),
        Target::Local => copy_server_log(session),
    }
    let secrets = [session.password.as_str(), &session.password()].map(str::to_owned);
    for service_run in session.having(Component::Postgres) {
        ledger(session, service_run);
    }
    let dirs = session
        .service_runs
        .iter()
        .map(|service_run| service_run.dir.as_path());
    for dir in dirs.chain([dir]) {
        for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
            bound(&entry.path(), &secrets);
        }
    }
    let page = verdict(session, failure, timings);
    write_private(&dir.join("verdict.txt"), redact(&page, &secrets).as_bytes())
        .map_err(Failure::setup)?;
    Ok(dir.join("verdict.txt").display().to_string())
}

/// The first page: what failed, why, what to do, where to look.
fn verdict(session: &Session, failure: Option<&Failure>, timings: &[Timing]) -> String {
    let mut page = format!("{} on {}\n\n", session.run.id(), session.place.word());
    if let Some(failure) = failure {
        writeln!(
            page,
            "failed: {failure}\n\nexit code {}\n",
            failure.exit.code()
        )
        .unwrap_or_default();
    }
    writeln!(page, "{}\n", table(timings, session.report.elapsed())).unwrap_or_default();
    let root = session.run.dir();
    let own = session
        .service_runs
        .iter()
        .map(|service_run| &*service_run.dir)
        .filter(|dir| *dir != root);
    for dir in own.chain([root]) {
        let below = dir.strip_prefix(root).unwrap_or(dir);
        for (name, what) in GUIDE.iter().filter(|(name, _)| dir.join(name).exists()) {
            writeln!(page, "{:<18} {what}", below.join(name).display()).unwrap_or_default();
        }
    }
    page
}

fn copy_server_log(session: &Session) {
    for resource in session.run.state().resources {
        if let Resource::Postgres { dir } = resource {
            let log = std::fs::read(dir.join("server.log")).unwrap_or_default();
            drop(write_private(&session.run.dir().join("postgres.log"), &log));
        }
    }
}

/// Writes what the ledger says, if the database still answers.
fn ledger(session: &Session, service_run: &ServiceRun) {
    let Ok(database) = session.database(service_run) else {
        return;
    };
    let config = migrations::Config::new(database.secret())
        .profile(&service_run.service.profile)
        .deadline(LEDGER);
    let text = match session.runtime.block_on(migrations::status(&config)) {
        Ok(status) => serde_json::to_string_pretty(&status).unwrap_or_default(),
        Err(error) => error.to_string(),
    };
    drop(write_private(
        &service_run.dir.join("migrations.json"),
        text.as_bytes(),
    ));
}

/// Cuts a file to its end and takes passwords out of it.
fn bound(path: &Path, secrets: &[String]) {
    let evidence = path.extension().is_some_and(|extension| {
        ["log", "txt", "yaml", "jsonl"]
            .iter()
            .any(|known| extension == *known)
    });
    let Ok(bytes) = std::fs::read(path) else {
        return;
    };
    if !evidence {
        return;
    }
    let text = String::from_utf8_lossy(&bytes[bytes.len().saturating_sub(LIMIT)..]);
    let clean = redact(&text, secrets);
    if clean.len() != bytes.len() {
        // In place: whoever still appends to it, as the clean-up to the log of commands, appends to what is kept.
        drop(std::fs::write(path, clean));
    }
}

/// Takes secrets out of a text.
pub fn redact(text: &str, secrets: &[String]) -> String {
    secrets
        .iter()
        .filter(|secret| !secret.is_empty())
        .fold(text.to_owned(), |text, secret| {
            text.replace(secret.as_str(), "***")
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_file_keeps_its_end_and_loses_its_passwords() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("datastorage.log");
        std::fs::write(&path, format!("{}last words: s3cret", "x".repeat(LIMIT))).unwrap();
        bound(&path, &["s3cret".to_owned()]);
        let kept = std::fs::read_to_string(&path).unwrap();
        assert!(kept.len() <= LIMIT && kept.ends_with("last words: ***"));
    }
}
