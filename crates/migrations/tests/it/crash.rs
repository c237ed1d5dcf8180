//! Cut at any point, a run leaves nothing that the next one does not put right.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use migrations::{Catalogue, Config, Error, apply, drift};
use testkit::postgres::{Database, database, empty_database};
use testkit::proxy::{Direction, Proxy};
use testkit::wait::until;

use crate::fingerprint::{assert_same, fingerprint};
use crate::{fresh, goose, run, value};

/// Ends the session after its n-th DDL statement, once: sequences do not roll back. A COMMENT does not count: it stands behind what
/// it is about, in one transaction with it.
fn killer(statement: u32) -> String {
    format!(
        "CREATE SCHEMA chaos; CREATE SEQUENCE chaos.statements;
         CREATE FUNCTION chaos.kill() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN
             IF tg_tag <> 'COMMENT' AND nextval('chaos.statements') = {statement} THEN PERFORM pg_terminate_backend(pg_backend_pid()); END IF;
         END $$;
         CREATE EVENT TRIGGER chaos ON ddl_command_end EXECUTE FUNCTION chaos.kill();"
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn killed_after_any_statement_of_the_whole_schema_a_run_converges_by_itself() {
    let expected = fingerprint(&database("all").await).await;
    let expected = std::sync::Arc::new(expected);
    let workers = (0..4).map(|worker| {
        let expected = std::sync::Arc::clone(&expected);
        tokio::spawn(async move {
            let mut statement = worker + 1;
            while killed_after(statement, &expected).await {
                statement += 4;
            }
            statement
        })
    });
    let mut reached = Vec::new();
    for worker in workers {
        reached.push(worker.await.unwrap());
    }
    // The schema has more than these; a trigger that never fired would end at once.
    assert!(
        reached.iter().all(|statement| *statement > 80),
        "{reached:?}"
    );
}

/// False once the run has fewer statements than that.
async fn killed_after(statement: u32, expected: &std::collections::BTreeSet<String>) -> bool {
    let database = empty_database().await;
    run(&database, &killer(statement)).await;
    let config = Config::new(database.url())
        .profile("all")
        .deadline(Duration::from_mins(1));
    let report = apply(&config)
        .await
        .unwrap_or_else(|error| panic!("killed after statement {statement}: {error}"));
    let fired = value(&database, "SELECT last_value FROM chaos.statements")
        .await
        .parse::<u32>()
        .unwrap()
        >= statement;
    run(
        &database,
        "DROP EVENT TRIGGER chaos; DROP SCHEMA chaos CASCADE",
    )
    .await;
    assert_same(
        expected,
        &fingerprint(&database).await,
        &format!("killed after statement {statement}"),
    );
    assert_eq!(
        report.applied.len(),
        migrations::catalogue().migrations().len(),
        "killed after statement {statement}"
    );
    assert_eq!(drift(&config).await.unwrap().differences, []);
    fired
}

/// Between any two bytes of the server's answers, COMMIT's among them: the outcome is in doubt and the ledger decides.
#[tokio::test]
async fn cut_within_the_answers_a_run_converges_by_itself() {
    let expected = fingerprint(&database("audit").await).await;
    for bytes in (0..2400).step_by(120) {
        let database = empty_database().await;
        let upstream = database
            .url()
            .rsplit_once('@')
            .unwrap()
            .1
            .split_once('/')
            .unwrap()
            .0
            .to_owned();
        let proxy = Proxy::start(upstream).await;
        proxy.cut_next_after(Direction::ToClient, bytes);
        let config = Config::new(proxy.url(database.url()))
            .profile("audit")
            .deadline(Duration::from_mins(1));
        apply(&config)
            .await
            .unwrap_or_else(|error| panic!("cut after {bytes} bytes: {error}"));
        assert_same(
            &expected,
            &fingerprint(&database).await,
            &format!("cut after {bytes} bytes"),
        );
    }
}

/// A program on the library, killed by the test.
struct Victim {
    child: Child,
    _directory: tempfile::TempDir,
}

impl Victim {
    fn start(url: &str, sql: &str) -> Self {
        let tests = std::env::current_exe().unwrap();
        let program = tests
            .parent()
            .and_then(std::path::Path::parent)
            .unwrap()
            .join("examples/migrate");
        assert!(
            program.exists(),
            "this test needs the example `migrate`: run `cargo build -p migrations --examples`"
        );
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(
            directory.path().join("1_slow.sql"),
            format!("-- +goose Up\n{sql}\n"),
        )
        .unwrap();
        let child = Command::new(program)
            .args([url, "--dir"])
            .arg(directory.path())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self {
            child,
            _directory: directory,
        }
    }
}

async fn locks(database: &Database) -> String {
    value(database, "SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database WHERE locktype = 'advisory' AND d.datname = current_database() AND granted").await
}

#[tokio::test]
async fn a_holder_that_is_killed_frees_the_lock_within_a_second_and_the_next_run_goes_on() {
    let (database, config) = fresh().await;
    let mut victim = Victim::start(
        database.url(),
        "CREATE TABLE slow (a int); SELECT pg_sleep(30);",
    );
    let held = async || {
        if locks(&database).await == "1" {
            Ok(())
        } else {
            Err("no lock")
        }
    };
    until(
        "the first run to hold the lock",
        Duration::from_secs(20),
        held,
    )
    .await;
    // The server judges the second: it fails the statement that has waited for so long.
    let waiter = database.connect().await;
    waiter
        .batch_execute("SET lock_timeout = '1s'")
        .await
        .unwrap();
    let waiting = tokio::spawn(async move {
        let lock = "SELECT pg_advisory_lock(1263878725, 1296648018)";
        waiter
            .batch_execute(lock)
            .await
            .map(|()| std::time::Instant::now())
    });
    let queued = "SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database WHERE locktype = 'advisory' AND d.datname = current_database() AND NOT granted";
    let queue = async || match value(&database, queued).await.as_str() {
        "0" => Err("nobody waits"),
        _ => Ok(()),
    };
    until("the waiter to wait", Duration::from_millis(900), queue).await;
    // SIGKILL in the middle of a statement: only the server can notice.
    victim.child.kill().unwrap();
    let killed = std::time::Instant::now();
    victim.child.wait().unwrap();
    let freed = waiting
        .await
        .unwrap()
        .expect("the lock is free within a second");
    eprintln!("the lock was free {:?} after the kill", freed - killed);
    let report = apply(&config.profile("audit")).await.unwrap();
    assert_eq!(report.applied.len(), 3);
    assert_eq!(
        value(&database, "SELECT to_regclass('slow') IS NULL").await,
        "t"
    );
}

/// Nothing of the run is left: no lock, no session, no table.
async fn nothing_left(database: &Database) {
    assert_eq!(locks(database).await, "0");
    let sessions = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'migrations/%'";
    let gone = async || match value(database, sessions).await.as_str() {
        "0" => Ok(()),
        count => Err(format!("{count} sessions")),
    };
    until(
        "the run's sessions to be gone",
        Duration::from_secs(5),
        gone,
    )
    .await;
    assert_eq!(
        value(database, "SELECT to_regclass('slow') IS NULL").await,
        "t"
    );
}

fn slow() -> Catalogue {
    goose(&[(
        "1_slow.sql",
        "-- +goose Up\nCREATE TABLE slow (a int);\nSELECT pg_sleep(60);\n",
    )])
}

/// Cancels as soon as the slow statement runs.
async fn sleeping(database: &Database) {
    let asleep = async || {
        match value(database, "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'").await.as_str() {
        "1" => Ok(()),
        _ => Err("not asleep"),
    }
    };
    until("the slow statement to run", Duration::from_secs(20), asleep).await;
}

#[tokio::test]
async fn a_cancelled_run_leaves_nothing() {
    let (database, config) = fresh().await;
    let token = tokio_util::sync::CancellationToken::new();
    let running = tokio::spawn({
        let config = config.catalogue(slow()).cancel_with(token.clone());
        async move { apply(&config).await }
    });
    sleeping(&database).await;
    token.cancel();
    let error = running.await.unwrap().unwrap_err();
    assert!(
        matches!(error, Error::Cancelled { .. }) && error.to_string().contains("1_slow"),
        "{error}"
    );
    nothing_left(&database).await;
}

#[tokio::test]
async fn a_dropped_run_leaves_nothing() {
    let (database, config) = fresh().await;
    let running = tokio::spawn({
        let config = config.catalogue(slow());
        async move { apply(&config).await }
    });
    sleeping(&database).await;
    running.abort();
    let free = async || {
        if locks(&database).await == "0" {
            Ok(())
        } else {
            Err("the lock is held")
        }
    };
    until("the lock to be free", Duration::from_secs(5), free).await;
    nothing_left(&database).await;
}

#[tokio::test]
async fn a_run_past_its_deadline_leaves_nothing_and_says_where_it_was() {
    let (database, config) = fresh().await;
    let error = apply(&config.catalogue(slow()).deadline(Duration::from_secs(1)))
        .await
        .unwrap_err();
    assert!(
        matches!(error, Error::DeadlineExceeded { .. })
            && error.to_string().contains("while applying 1_slow"),
        "{error}"
    );
    nothing_left(&database).await;
}
