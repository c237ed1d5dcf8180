//! `diagnose` on a real PostgreSQL behind a real Data Storage: each cause is made, and its name is the first that is read.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use snapbox::{assert_data_eq, str};
use testkit::datastorage::Service;
use testkit::postgres::{Database, database, empty_database, empty_database_on, own_server};
use testkit::wait::until;

use crate::migrate::wait;
use crate::run;

async fn start(database: &Database) -> Service {
    Service::start(database).await
}

fn diagnose(service: &Service, database: &Database, more: &[&str]) -> (i32, String, String) {
    let url = service.url();
    let place = ["diagnose", "--url", &url, "--database-url", database.url()];
    run(&[&place, more].concat())
}

/// The first cause that the page names, and its exit code.
fn first_cause(service: &Service, database: &Database) -> (i32, String) {
    let (code, page, stderr) = diagnose(service, database, &[]);
    let cause = page
        .lines()
        .find_map(|line| line.strip_prefix("1. "))
        .and_then(|line| line.split(':').next());
    (code, cause.unwrap_or(&stderr).to_owned())
}

fn change(database: &Database, sql: &str) {
    let changed = wait(async { database.connect().await.batch_execute(sql).await });
    changed.expect("the change is made");
}

#[test]
fn a_healthy_system_gets_a_clean_bill() {
    let database = wait(database("audit"));
    let service = wait(start(&database));
    let (code, stdout, _) = diagnose(&service, &database, &[]);
    assert_data_eq!(
        stdout,
        str![[r"
diagnosis of what the flags name, profile audit
  Data Storage  http://127.0.0.1:[..]
  database      postgres://slm_user@127.0.0.1:[..]

  ok     write          201, correlation id diagnose-[..]
  ok     read back      200, 1 found
  ok     pool           [..] open connections in use, 0 events queued, 0 parked
  ok     readiness      ready
  -      log            not known: --log, --kubeconfig or an environment that is up
  ok     connection     PostgreSQL [..] as slm_user, [..] connections in use
  ok     ledger         3 of 3 migrations applied
  ok     schema         5 objects are as the migrations make them
  ok     partitions     audit_events from 2025-12-01 until [..]
  ok     locks          0 sessions wait, 0 hold a table
  ok     SQL probe      an event was written as datastorage_app, read back and rolled back
  ok     same database  what Data Storage wrote is here

healthy: 11 checks passed ([..] s)

"]]
    );
    assert_eq!(code, 0);
}

#[test]
fn the_incident_is_one_cause_with_the_answers_as_its_evidence_and_is_repaired_by_its_command() {
    let database = wait(empty_database());
    let service = wait(start(&database));
    let (code, stdout, _) = diagnose(&service, &database, &[]);
    assert_eq!(code, 10);
    assert_data_eq!(
        stdout,
        str![[r#"
diagnosis of what the flags name, profile audit
  Data Storage  http://127.0.0.1:[..]
  database      postgres://slm_user@127.0.0.1:[..]

  WRONG  write          503 the schema is incomplete: relation "audit_events" does not exist
  WRONG  read back      503 the schema is incomplete: relation "audit_events" does not exist
  ok     pool           [..] open connections in use, 0 events queued, 0 parked
  WRONG  readiness      503 schema_incomplete table audit_events
  -      log            not known: --log, --kubeconfig or an environment that is up
  ok     connection     PostgreSQL [..] as slm_user, [..] connections in use
  WRONG  ledger         0 of 3 migrations applied
  WRONG  schema         not there: function ensure_audit_events_partitions, function ensure_monthly_partitions, table audit_events, table audit_events_y2025m12, table audit_events_y2026m01
  -      partitions     the partitioned tables are not there
  ok     locks          0 sessions wait, 0 hold a table
  WRONG  SQL probe      an insert as the login itself is refused: relation "audit_events" does not exist

1. migration not applied: migrations of the profile were not applied
     monthly_partitions has no row in schema_ledger; it makes function ensure_monthly_partitions
     audit_events has no row in schema_ledger; it makes table audit_events
     audit_events_partitions has no row in schema_ledger; it makes table audit_events, table audit_events_y2025m12, table audit_events_y2026m01, function ensure_audit_events_partitions
     function ensure_audit_events_partitions is not there
     function ensure_monthly_partitions is not there
     table audit_events is not there
     table audit_events_y2025m12 is not there
     table audit_events_y2026m01 is not there
     an insert: relation "audit_events" does not exist (SQLSTATE 42P01)
     the probe was refused: 503 the schema is incomplete: relation "audit_events" does not exist (SQLSTATE 42P01)
     a read was refused: 503 the schema is incomplete: relation "audit_events" does not exist (SQLSTATE 42P01)
     /health/ready: 503 schema_incomplete table audit_events
   repair: cargo xtask migrate --profile audit --database-url postgres://slm_user@127.0.0.1:[..]

"#]]
    );
    let (code, stdout, _) = diagnose(&service, &database, &["--repair"]);
    assert_eq!(code, 0, "{stdout}");
    assert!(stdout.contains("healthy: "), "{stdout}");
}

#[test]
fn an_undone_migration_a_lost_table_a_column_a_type_a_constraint_and_a_month_are_each_named() {
    let drop_months = "DO $$ DECLARE p regclass; BEGIN FOR p IN SELECT inhrelid FROM pg_inherits WHERE inhparent = 'audit_events'::regclass \
         AND inhrelid::regclass::text NOT IN ('audit_events_y2025m12', 'audit_events_y2026m01') LOOP EXECUTE format('DROP TABLE %s', p); END LOOP; END $$";
    for (sql, code, cause, decided) in [
        ("DROP TABLE audit_events", 10, "missing table", None),
        (
            "ALTER TABLE audit_events DROP COLUMN severity",
            10,
            "missing column",
            None,
        ),
        (
            "ALTER TABLE audit_events ALTER COLUMN duration_ms TYPE uuid USING NULL",
            11,
            "type mismatch",
            Some("TYPE integer USING"),
        ),
        (
            "ALTER TABLE audit_events ADD CONSTRAINT odd CHECK (event_outcome = 'none')",
            11,
            "constraint",
            Some("DROP CONSTRAINT odd"),
        ),
    ] {
        let database = wait(database("audit"));
        let service = wait(start(&database));
        change(&database, sql);
        assert_eq!(first_cause(&service, &database), (code, cause.to_owned()));
        let (repaired, stdout, _) = diagnose(&service, &database, &["--repair"]);
        match decided {
            None => assert_eq!(repaired, 0, "{cause}: {stdout}"),
            // What removes or rewrites something is named and not run, and nothing is called healthy.
            Some(statement) => {
                assert_eq!(repaired, code, "{cause}: {stdout}");
                let named = |line: &str| line.contains("decide:") && line.contains(statement);
                assert!(stdout.lines().any(named), "{cause}: {stdout}");
                assert!(!stdout.contains("healthy"), "{cause}: {stdout}");
            }
        }
    }
    // Without a Data Storage, which makes a lost month again as soon as somebody asks it for anything.
    let database = wait(database("audit"));
    change(&database, drop_months);
    let of_database = |more: &[&str]| {
        let url = database.url();
        let (code, stdout, _) = run(&[
            &["diagnose", "--profile", "audit", "--database-url", url],
            more,
        ]
        .concat());
        (code, stdout)
    };
    let (code, page) = of_database(&[]);
    assert!(code == 10 && page.contains("1. no partition:"), "{page}");
    let (code, page) = of_database(&["--repair"]);
    assert_eq!(code, 0, "{page}");
    let service = wait(start(&database));
    let url = database.url();
    let (code, _, stderr) = run(&[
        "migrate",
        "down",
        "--yes",
        "--all",
        "--profile",
        "audit",
        "--database-url",
        url,
    ]);
    assert_eq!(code, 0, "{stderr}");
    assert_eq!(
        first_cause(&service, &database),
        (10, "migration reverted".to_owned())
    );
}

#[test]
fn a_full_server_and_an_exhausted_pool_are_two_causes() {
    let server = wait(own_server(embedded_postgres::Options {
        max_connections: 8,
        ..Default::default()
    }));
    let full = wait(empty_database_on(&server));
    let service = wait(start(&full));
    let idle: Vec<_> = (0..5).map(|_| wait(full.connect())).collect();
    assert_eq!(
        first_cause(&service, &full),
        (4, "connections exhausted".to_owned())
    );
    drop(idle);

    let database = wait(database("audit"));
    let small = vec![
        ("DATASTORAGE_DATABASE_MAX_OPEN_CONNS", "2".to_owned()),
        ("DATASTORAGE_DATABASE_STATEMENT_TIMEOUT", "1s".to_owned()),
    ];
    let service = wait(Service::with_settings("audit", &database, small));
    let holder = wait(database.connect());
    wait(holder.batch_execute("BEGIN; LOCK TABLE audit_events")).unwrap();
    // Requests that wait for the lock keep the only connection for reads busy all the time.
    let over = Arc::new(AtomicBool::new(false));
    let busy: Vec<_> = (0..4)
        .map(|_| {
            let (over, url) = (
                Arc::clone(&over),
                format!("{}/api/v1/audit/events", service.url()),
            );
            std::thread::spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    drop(ureq::get(&url).call());
                }
            })
        })
        .collect();
    wait(until(
        "the pool to be in use",
        Duration::from_secs(30),
        async || {
            let metrics = ureq::get(format!("{}/metrics", service.url())).call();
            let text = metrics.and_then(|mut answer| answer.body_mut().read_to_string());
            let text = text.map_err(|error| error.to_string())?;
            let in_use = text
                .lines()
                .find(|line| line.contains("{pool=\"reads\",state=\"in_use\"}"))
                .unwrap_or_default();
            if in_use.ends_with(" 1") {
                Ok(())
            } else {
                Err(in_use.to_owned())
            }
        },
    ));
    let (_, stdout, _) = diagnose(&service, &database, &[]);
    over.store(true, Ordering::Relaxed);
    drop(holder);
    for thread in busy {
        thread.join().unwrap();
    }
    let causes: Vec<_> = stdout
        .lines()
        .filter(|line| line.starts_with(['1', '2']))
        .collect();
    assert!(
        causes.len() == 2
            && causes[0].starts_with("1. blocked by a lock")
            && causes[1].starts_with("2. pool exhausted"),
        "{stdout}"
    );
}

#[test]
fn a_data_storage_on_another_database_is_found_out() {
    let (one, other) = (wait(database("audit")), wait(database("audit")));
    let service = wait(start(&other));
    assert_eq!(
        first_cause(&service, &one),
        (4, "another database".to_owned())
    );
}

#[test]
fn nothing_that_answers_is_told_without_a_password() {
    let (code, stdout, stderr) = run(&[
        "diagnose",
        "--url",
        "http://127.0.0.1:9",
        "--database-url",
        "postgres://slm_user:hunter2@127.0.0.1:9/action_history",
    ]);
    assert_eq!(code, 4);
    assert_data_eq!(
        stdout.clone(),
        str![[r"
diagnosis of what the flags name, profile audit
  Data Storage  http://127.0.0.1:9
  database      postgres://slm_user@127.0.0.1:9/action_history

  WRONG  Data Storage   [..]
  -      log            not known: --log, --kubeconfig or an environment that is up
  WRONG  connection     [..]
  -      ledger         no connection
  -      schema         no connection
  -      partitions     no connection
  -      locks          no connection
  -      SQL probe      no connection

1. cannot connect: no PostgreSQL answers at 127.0.0.1:9
     [..]
   repair: start the server, or correct host and port

2. Data Storage does not answer: no Data Storage answers at http://127.0.0.1:9
     [..]
   repair: start it, or correct the URL; `cargo xtask logs SERVICE` shows why one that is up died

"]]
    );
    assert!(!format!("{stdout}{stderr}").contains("hunter2"));
}

#[test]
fn a_program_gets_the_causes_with_their_commands() {
    let database = wait(database("audit"));
    let service = wait(start(&database));
    change(&database, "ALTER TABLE audit_events DROP COLUMN severity");
    let (code, stdout, _) = diagnose(&service, &database, &["--format", "json"]);
    let document: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((code, &document["exit"]), (10, &10.into()));
    let finding = &document["result"]["findings"][0];
    assert_eq!(finding["cause"], "missing-column");
    let command = finding["commands"][0].as_str().unwrap();
    assert!(
        command.starts_with("psql postgres://slm_user@127.0.0.1:")
            && command.ends_with(
                "-c 'ALTER TABLE audit_events ADD COLUMN severity character varying(20)'"
            ),
        "{command}"
    );
}

#[test]
fn without_an_environment_the_next_move_is_told() {
    let (code, _, stderr) = run(&["diagnose", "gateway"]);
    assert_eq!(code, 3);
    assert_data_eq!(
        stderr,
        str![[r"
error: no running environment for gateway
  hint: cargo xtask up SERVICE, or give --url and --database-url, or --kubeconfig

"]]
    );
}
