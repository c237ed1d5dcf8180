//! What explains a failure, gathered before anything is removed: the first page is `verdict.txt`, the rest lies beside it.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::exit::Failure;
use crate::process::Runner;
use crate::run::given_postgres;
use crate::run::kubernetes::diagnostics;
use crate::run::plan::Target;
use crate::run::service_run::ServiceRun;
use crate::run::session::{Session, TOOL};
use crate::run::timing::{Timing, table};
use crate::secrets::Secrets;
use crate::state::{Resource, TOKEN, write_private};
use crate::table::service::Component;
use crate::table::suite::Suite;
use crate::tools::migrate;

/// Files that are written for one failure, besides logs.
const PAGES: [&str; 5] = [
    "verdict.txt",
    "describe.txt",
    "events.txt",
    "pods.yaml",
    "migrations.json",
];

/// How much of a file is kept: its end, where the failure is.
const LIMIT: usize = 2_000_000;
/// How long reading the ledger may take; the database may be what failed.
const LEDGER: Duration = Duration::from_secs(3);

/// What each file of a bundle is for, in the order in which a person should look.
const GUIDE: [(&str, &str); 13] = [
    ("datastorage.log", "Data Storage's log"),
    ("relay.log", "the log of the relay beside the service"),
    ("postgres.log", "PostgreSQL's log"),
    (
        "migrations.json",
        "the ledger: what is applied, what is pending",
    ),
    (
        "describe.txt",
        "the pods as `kubectl describe` shows them, with what they wait for",
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
    ("kind-create.log", "what `kind create cluster` printed"),
    ("kind-logs", "the node of a cluster that was not created"),
    ("pods.yaml", "the cluster's objects, Secrets left out"),
    ("commands.log", "every command with its duration"),
    ("events.jsonl", "every event of the run"),
];

/// Gathers the evidence of a failure into the run's directory and returns the path of its first page.
pub fn collect(
    session: &Session,
    runner: &Runner,
    failure: Option<&Failure>,
    timings: &[Timing],
) -> Result<String, Failure> {
    let dir = session.run.dir();
    match session.place {
        Target::Kind | Target::Cluster => diagnostics::collect(session, runner),
        Target::Local => copy_server_log(session),
    }
    for service_run in session.having(Component::Postgres) {
        ledger(session, service_run);
    }
    let dirs = session
        .service_runs
        .iter()
        .map(|service_run| service_run.dir.clone());
    for dir in dirs.chain([dir.to_owned()]).chain(of_namespaces(session)) {
        for entry in std::fs::read_dir(&dir).into_iter().flatten().flatten() {
            bound(&entry.path());
        }
    }
    let page = verdict(session, failure, timings);
    write_private(
        &dir.join("verdict.txt"),
        session.report.secrets().clean(&page).as_bytes(),
    )
    .map_err(Failure::setup)?;
    Ok(dir.join("verdict.txt").display().to_string())
}

/// Removes what an earlier run on the same environment has left to explain itself: it would be taken for this one's. Logs that a part
/// still writes stay.
pub fn clear(session: &Session) {
    let root = session.run.dir();
    let mut written: Vec<String> = GUIDE.iter().map(|(name, _)| (*name).to_owned()).collect();
    let services = session.service_runs.iter();
    let names = services.map(|service_run| &service_run.service.name);
    let parts = session.parts.iter().map(|part_run| &part_run.part.name);
    written.extend(names.chain(parts).map(|name| format!("{name}.log")));
    written.push("datastorage-unmigrated.log".to_owned());
    let dirs = session.service_runs.iter().map(|run| run.dir.as_path());
    for dir in dirs.chain([root]) {
        for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let is_log = is_log(&name) && !written.contains(&name);
            if is_log || PAGES.contains(&&*name) {
                drop(std::fs::remove_file(entry.path()));
            } else if name.starts_with("namespace-") {
                drop(std::fs::remove_dir_all(entry.path()));
            }
        }
    }
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
    let own = own.map(Path::to_owned).chain([root.to_owned()]);
    for dir in own.chain(of_namespaces(session)) {
        let below = dir.strip_prefix(root).unwrap_or(&dir);
        for suite in service_logs(session, &dir) {
            let log = below.join(suite);
            writeln!(page, "{:<18} what the suite printed", log.display()).unwrap_or_default();
        }
        for (name, what) in GUIDE.iter().filter(|(name, _)| dir.join(name).exists()) {
            writeln!(page, "{:<18} {what}", below.join(name).display()).unwrap_or_default();
        }
        for name in other_logs(session, &dir) {
            let log = below.join(name);
            writeln!(
                page,
                "{:<18} the output of a part or a command",
                log.display()
            )
            .unwrap_or_default();
        }
    }
    page
}

fn is_log(name: &str) -> bool {
    let ending = Path::new(name).extension();
    ending.is_some_and(|ending| ending == "log")
}

/// The logs of a directory that the table of services has named: those of parts, and of commands before and after suites.
fn other_logs(session: &Session, dir: &Path) -> Vec<String> {
    let suites = service_logs(session, dir);
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let mut logs: Vec<String> = names
        .filter(|name| is_log(name))
        .filter(|name| !suites.contains(name) && GUIDE.iter().all(|(known, _)| known != name))
        .collect();
    logs.sort();
    logs
}

/// What the suites of the service of a directory printed, in files that are there.
fn service_logs(session: &Session, dir: &Path) -> Vec<String> {
    let service_run = session.service_runs.iter().find(|run| run.dir == dir);
    let suites = service_run.iter().flat_map(|run| &run.service.suites);
    let logs = suites.map(Suite::log);
    logs.filter(|log| dir.join(log).exists()).collect()
}

/// The directories of namespaces that are no service's.
fn of_namespaces(session: &Session) -> Vec<PathBuf> {
    let further = diagnostics::further(session).into_iter();
    further.map(|(_, dir)| dir).collect()
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
    let config = migrate::config(&session.runner, &database.secret())
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

/// Cuts a file to its end, where it is the text of a log. Never the events: a report begins at their first.
fn bound(path: &Path) {
    let cut = path.extension().is_some_and(|extension| {
        ["log", "txt", "yaml"]
            .iter()
            .any(|known| extension == *known)
    });
    let long = path.metadata().is_ok_and(|file| file.len() > LIMIT as u64);
    if cut
        && long
        && let Ok(bytes) = std::fs::read(path)
    {
        rewrite(path, &bytes[bytes.len() - LIMIT..]);
    }
}

/// Files of a run's directory that hold a password because somebody reads it there; they go with the environment.
const KEEPERS: [&str; 6] = [
    "password",
    given_postgres::URL_FILE,
    TOKEN,
    "kubeconfig",
    "state.json",
    TOOL,
];
/// Longer files are not text that somebody wrote for people.
const LONGEST: u64 = 512 << 20;

/// Takes passwords out of every file that the run or its suites have written, wherever below its directories it lies.
pub fn redact_files(session: &Session) {
    let programs: Vec<PathBuf> = session
        .run
        .state()
        .resources
        .into_iter()
        .filter_map(|resource| match resource {
            Resource::Directory { path } => Some(path),
            _ => None,
        })
        .collect();
    let dir = session.run.dir();
    let kept = KEEPERS.map(|name| dir.join(name));
    let spared = [programs, kept.to_vec()].concat();
    redact_below(dir, &spared, session.report.secrets());
}

fn redact_below(dir: &Path, spared: &[PathBuf], secrets: &Secrets) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        let Ok(kind) = entry.file_type() else {
            continue;
        };
        if spared.contains(&path) {
            continue;
        }
        if kind.is_dir() {
            redact_below(&path, spared, secrets);
        } else if kind.is_file()
            && path.metadata().is_ok_and(|file| file.len() <= LONGEST)
            && let Ok(bytes) = std::fs::read(&path)
            && let Some(clean) = secrets.clean_bytes(&bytes)
        {
            rewrite(&path, &clean);
        }
    }
}

/// Writes less into a file than it has: in place, so that whoever still appends to it appends to what is kept, and without emptying it
/// first, so that a full disk loses nothing.
fn rewrite(path: &Path, bytes: &[u8]) {
    let write = || -> std::io::Result<()> {
        let mut file = std::fs::OpenOptions::new().write(true).open(path)?;
        file.write_all(bytes)?;
        file.set_len(bytes.len() as u64)
    };
    drop(write());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_log_keeps_its_end_and_the_events_are_whole() {
        let dir = tempfile::tempdir().unwrap();
        let text = format!("begin{}last words", "x".repeat(LIMIT));
        for (name, whole) in [("datastorage.log", false), ("events.jsonl", true)] {
            let path = dir.path().join(name);
            std::fs::write(&path, &text).unwrap();
            bound(&path);
            let kept = std::fs::read_to_string(&path).unwrap();
            assert!(kept.ends_with("last words"));
            assert_eq!(kept.starts_with("begin"), whole, "{name}");
        }
    }

    #[test]
    fn passwords_go_from_files_of_every_kind_and_depth_but_not_from_those_that_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let secrets = Secrets::default();
        secrets.add("s3cret-word");
        let spared = dir.path().join("datastorage");
        for name in [
            "sub/dump.json",
            "suite.log",
            "datastorage/db-secrets.yaml",
            "password",
        ] {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "it is s3cret-word").unwrap();
        }
        redact_below(dir.path(), &[spared, dir.path().join("password")], &secrets);
        let read = |name: &str| std::fs::read_to_string(dir.path().join(name)).unwrap();
        for clean in ["sub/dump.json", "suite.log"] {
            assert_eq!(read(clean), "it is ***", "{clean}");
        }
        for kept in ["datastorage/db-secrets.yaml", "password"] {
            assert_eq!(read(kept), "it is s3cret-word", "{kept}");
        }
    }
}
