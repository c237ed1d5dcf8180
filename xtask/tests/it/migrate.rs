//! `migrate` on a real database: what people and programs see, and the exit code of each case.

use std::future::Future;

use snapbox::{assert_data_eq, str};
use testkit::postgres::{Database, database, empty_database};

use crate::run;

pub(crate) fn wait<T>(future: impl Future<Output = T>) -> T {
    static RUNTIME: std::sync::OnceLock<tokio::runtime::Runtime> = std::sync::OnceLock::new();
    let runtime = RUNTIME.get_or_init(|| tokio::runtime::Runtime::new().expect("a runtime starts"));
    runtime.block_on(future)
}

fn migrate(database: &Database, args: &[&str]) -> (i32, String, String) {
    run(&[&["migrate"], args, &["--database-url", database.url()]].concat())
}

#[test]
fn a_profile_is_planned_applied_verified_and_then_has_nothing_to_do() {
    let empty = wait(empty_database());
    let (code, stdout, _) = migrate(&empty, &["plan", "--profile", "gateway"]);
    assert_eq!(code, 0);
    assert_data_eq!(
        stdout,
        str![[r"
plan [..] (3 to apply, 0 applied)
  monthly_partitions: function ensure_monthly_partitions (one transaction)
  audit_events: table audit_events (one transaction)
  audit_events_partitions: table audit_events, table audit_events_y2025m12, table audit_events_y2026m01, function ensure_audit_events_partitions (one transaction)

"]]
    );
    let (code, stdout, _) = migrate(&empty, &["status", "--profile", "gateway"]);
    assert_eq!(code, 10);
    assert_data_eq!(
        stdout,
        str![[r"
monthly_partitions       pending
audit_events             pending
audit_events_partitions  pending

"]]
    );
    let (code, _, stderr) = migrate(&empty, &["verify", "--profile", "gateway"]);
    assert_eq!(code, 10);
    assert_data_eq!(
        stderr,
        str![[r"
...
error: table audit_events is missing (SQLSTATE 42P01): migration audit_events was never applied; run `migrate` with a profile that has it

"]]
    );
    let (code, stdout, stderr) = migrate(&empty, &["--profile", "gateway"]);
    assert_eq!(code, 0);
    assert_eq!(
        stdout,
        "applied 3 migrations (0 already applied), created 5 partitions\n"
    );
    assert_data_eq!(
        stderr,
        str![[r"
...
  applied monthly_partitions in [..] ms: function ensure_monthly_partitions
  applied audit_events in [..] ms: table audit_events
  applied audit_events_partitions in [..] ms: table audit_events, table audit_events_y2025m12, table audit_events_y2026m01, function ensure_audit_events_partitions
  created partition audit_events_y[..]
...

"]]
    );
    let (code, stdout, _) = migrate(&empty, &["--profile", "gateway"]);
    assert_eq!(
        (code, stdout.as_str()),
        (0, "nothing to do: 3 migrations are applied\n")
    );
    assert_eq!(
        migrate(&empty, &["verify", "--tables", "audit_events"]).0,
        0
    );
    assert_eq!(migrate(&empty, &["drift", "--profile", "gateway"]).0, 0);
}

#[test]
fn a_program_reads_one_document_for_every_verb() {
    let audit = wait(database("audit"));
    let (code, stdout, _) = migrate(&audit, &["--profile", "audit", "--format", "json"]);
    assert_eq!(code, 0);
    assert_data_eq!(
        stdout,
        str![[r#"
{
  "exit": 0,
  "result": {
    "applied": [],
    "partitions": [],
    "up_to_date": 3,
    "waited_ms": 0.0,
    "warnings": []
  },
  "verb": "apply",
  "version": 1
}

"#]]
    );
    for verb in ["plan", "status", "verify", "drift", "partitions", "lint"] {
        let (code, stdout, stderr) =
            migrate(&audit, &[verb, "--profile", "audit", "--format", "json"]);
        assert_eq!(code, 0, "{verb}: {stderr}");
        let document: serde_json::Value = serde_json::from_str(&stdout).unwrap();
        assert_eq!(
            (&document["verb"], &document["version"]),
            (&verb.into(), &1.into())
        );
        assert!(document["result"].is_object(), "{stdout}");
    }
}

#[test]
fn drift_is_shown_and_has_its_own_code_from_any_verb() {
    let audit = wait(database("audit"));
    wait(async {
        audit
            .connect()
            .await
            .batch_execute("ALTER TABLE audit_events ALTER COLUMN severity TYPE text")
            .await
            .unwrap();
    });
    let (code, stdout, _) = migrate(&audit, &["drift", "--profile", "audit"]);
    assert_eq!(code, 11);
    assert_eq!(
        stdout,
        "table audit_events, column severity: expected `character varying(20)`, found `text`\n"
    );
    assert_eq!(migrate(&audit, &["verify", "--profile", "audit"]).0, 11);
    let (code, stdout, _) = migrate(
        &audit,
        &["verify", "--profile", "audit", "--format", "json"],
    );
    let document: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(
        (code, &document["error"]["kind"], &document["exit"]),
        (11, &"drift".into(), &11.into())
    );
    assert_eq!(
        document["error"]["details"]["differences"][0]["part"],
        "column severity"
    );
}

#[test]
fn months_past_their_retention_are_shown_and_then_detached() {
    let database = wait(database("datastorage"));
    wait(testkit::postgres::run(
        &database,
        "SELECT ensure_audit_events_partitions('2020-02-15', 0);
         INSERT INTO audit_events (event_timestamp, event_date, event_type, event_category, event_action, event_outcome, actor_type,
             actor_id, resource_type, resource_id, correlation_id, event_data, retention_days)
         VALUES ('2020-01-05', '2020-01-05', 't', 'c', 'a', 'success', 'x', 'x', 'r', 'r', 'c', '{}', 90)",
    ));
    let retire = |more: &[&str]| {
        let args = ["partitions", "--retire", "--profile", "datastorage"];
        migrate(&database, &[&args[..], more].concat())
    };
    let (code, stdout, _) = retire(&["--plan"]);
    assert_eq!(code, 0);
    assert_data_eq!(
        stdout,
        str![[r"
audit_events_y2020m01  due: retention passed on 2020-04-30
audit_events_y2020m02  kept until 2027-02-27
...
[..] months are over: [..] kept, 0 held, 1 due, 0 detached, 0 in use

"]]
    );
    let (code, stdout, _) = retire(&["--format", "json"]);
    assert_eq!(code, 0);
    let document: serde_json::Value = serde_json::from_str(&stdout).expect("a document");
    assert_eq!(document["result"]["months"][0]["state"], "retired");
    let (code, _, stderr) = migrate(&database, &["partitions", "--plan", "--profile", "gateway"]);
    assert_eq!(code, 2, "{stderr}");
}

#[test]
fn each_way_to_fail_has_its_exit_code() {
    let audit = wait(database("audit"));
    assert_eq!(migrate(&audit, &[]).0, 2, "neither profile nor tables");
    assert_eq!(migrate(&audit, &["--profile", "gatway"]).0, 2);
    assert_eq!(migrate(&audit, &["--tables", "audit_event"]).0, 2);
    assert_eq!(migrate(&audit, &["down", "notification_audit"]).0, 2);
    assert_eq!(
        migrate(&audit, &["--profile", "aianalysis", "--only-plan", "0000"]).0,
        5
    );
    assert_eq!(
        run(&[
            "migrate",
            "--profile",
            "gateway",
            "--database-url",
            &format!("{}_not", audit.url())
        ])
        .0,
        4
    );
    let nobody = "postgres://slm_user@127.0.0.1:9/action_history";
    assert_eq!(
        run(&[
            "migrate",
            "--profile",
            "gateway",
            "--timeout",
            "0.5",
            "--database-url",
            nobody
        ])
        .0,
        4
    );
    let holder = wait(async {
        let client = audit.connect().await;
        client
            .batch_execute("SELECT pg_advisory_lock(1263878725, 1296648018)")
            .await
            .unwrap();
        client
    });
    let (code, _, stderr) = migrate(&audit, &["--profile", "aianalysis", "--timeout", "1"]);
    assert_eq!(code, 6, "{stderr}");
    assert!(stderr.contains("held by pid "), "{stderr}");
    drop(holder);
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(
        directory.path().join("1_bad.sql"),
        "-- +goose Up\nSELECT nothing;\n",
    )
    .unwrap();
    let directory = directory.path().to_str().unwrap();
    let (code, _, stderr) = migrate(&audit, &["--dir", directory]);
    assert_eq!(code, 2);
    assert!(
        stderr.contains("is in no git repository") && stderr.contains("give --source NAME"),
        "{stderr}"
    );
    let (code, _, stderr) = migrate(&audit, &["--dir", directory, "--source", "team"]);
    assert_eq!(code, 5);
    assert!(stderr.contains("migration '1_bad' failed: column \"nothing\" does not exist (SQLSTATE 42703) at 1_bad.sql:2; "), "{stderr}");
    let (code, stdout, _) = migrate(&audit, &["down", "--all"]);
    assert_eq!(code, 2);
    assert!(
        stdout.contains("  drops table audit_events (0 rows)")
            && stdout.contains("nobody can be asked here; give --yes, or --only-plan "),
        "{stdout}"
    );
    assert_eq!(migrate(&audit, &["down", "--all", "--yes"]).0, 0);
    let (code, stdout, _) = migrate(&audit, &["status", "--profile", "audit"]);
    assert!(
        code == 10 && stdout.contains("audit_events             reverted ("),
        "{stdout}"
    );
}

#[test]
fn a_password_in_a_url_works_is_masked_and_draws_a_warning() {
    let audit = wait(database("audit"));
    let (code, stdout, stderr) = migrate(&audit, &["--profile", "audit"]);
    let password = audit
        .url()
        .split_once("://")
        .unwrap()
        .1
        .split_once('@')
        .unwrap()
        .0
        .split_once(':')
        .unwrap()
        .1;
    assert_eq!(code, 0);
    assert!(stderr.contains("set PGPASSWORD instead"), "{stderr}");
    assert!(!stdout.contains(password) && !stderr.contains(password));
}

/// kubectl as far as it is needed: the Secret's password, and a way to a port that the test's server has already.
const KUBECTL: &str = r#"#!/bin/sh
echo "$*" >>"$FAKE_LOG"
case "$*" in
*"get secret postgres"*) printf %s "$FAKE_PASSWORD" ;;
*"port-forward service/postgres :5432"*) echo "Forwarding from 127.0.0.1:$FAKE_PORT -> 5432"; exec sleep 60 ;;
*) exit 1 ;;
esac
"#;

#[test]
fn a_cluster_is_reached_by_a_port_forward_and_its_secret() {
    use std::os::unix::fs::PermissionsExt as _;
    let audit = wait(database("audit"));
    let (user, rest) = audit
        .url()
        .split_once("://")
        .unwrap()
        .1
        .split_once('@')
        .unwrap();
    let password = user.split_once(':').unwrap().1;
    let port = rest.split_once('/').unwrap().0.split_once(':').unwrap().1;
    let tools = tempfile::tempdir().unwrap();
    let kubectl = tools.path().join("kubectl");
    std::fs::write(&kubectl, KUBECTL).unwrap();
    std::fs::set_permissions(&kubectl, std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!(
        "{}:{}",
        tools.path().display(),
        std::env::var("PATH").unwrap()
    );
    let log = tools.path().join("log");
    let output = crate::xtask(&[
        "migrate",
        "verify",
        "--profile",
        "audit",
        "--kubeconfig",
        "/a/kubeconfig",
        "--namespace",
        "ns",
        "--database",
        audit.name(),
    ])
    .env("PATH", path)
    .env("FAKE_LOG", &log)
    .env("FAKE_PASSWORD", password)
    .env("FAKE_PORT", port)
    .env_remove("PGPASSWORD")
    .output()
    .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    let said = std::fs::read_to_string(&log).unwrap();
    assert!(
        said.lines()
            .all(|line| line.starts_with("--kubeconfig /a/kubeconfig --namespace ns ")),
        "{said}"
    );
    assert!(!said.contains(password));
}

#[test]
fn a_cluster_that_does_not_answer_is_a_failed_set_up() {
    let kubeconfig = "/nowhere/kubeconfig";
    let (code, _, stderr) = run(&[
        "migrate",
        "status",
        "--profile",
        "audit",
        "--kubeconfig",
        kubeconfig,
    ]);
    assert_eq!(code, 4, "{stderr}");
    assert!(
        stderr.contains("Secret postgres in kubernaut-system") || stderr.contains("kubectl"),
        "{stderr}"
    );
}

/// Runs git in a directory.
fn git(directory: &std::path::Path, args: &[&str]) {
    let ended = std::process::Command::new("git")
        .args(args)
        .current_dir(directory)
        .output()
        .expect("git runs");
    assert!(ended.status.success(), "{args:?}");
}

#[test]
fn a_team_s_files_are_known_by_their_repository_and_path_whatever_the_directory_is_called() {
    let database = wait(empty_database());
    let place = tempfile::tempdir().unwrap();
    let checkout = place.path().join("some-clone");
    std::fs::create_dir_all(checkout.join("db/migrations")).unwrap();
    git(&checkout, &["init", "--quiet"]);
    git(
        &checkout,
        &[
            "remote",
            "add",
            "origin",
            "git@example.org:team/billing.git",
        ],
    );
    let up =
        "-- +goose Up\nCREATE TABLE invoices (id int);\n-- +goose Down\nDROP TABLE invoices;\n";
    std::fs::write(checkout.join("db/migrations/001_invoices.sql"), up).unwrap();
    let directory = checkout.join("db/migrations");
    let directory = directory.to_str().unwrap();
    let (code, _, stderr) = migrate(&database, &["--dir", directory]);
    assert_eq!(code, 0, "{stderr}");
    let source = wait(testkit::postgres::value(
        &database,
        "SELECT source FROM schema_ledger",
    ));
    assert_eq!(source, "team/billing/db/migrations");

    // The directory is renamed: told, and taken over by the command that the message names.
    std::fs::rename(checkout.join("db/migrations"), checkout.join("db/sql")).unwrap();
    let directory = checkout.join("db/sql");
    let directory = directory.to_str().unwrap();
    let (code, _, stderr) = migrate(&database, &["--dir", directory]);
    assert_eq!(code, 5);
    assert!(
        stderr.contains("`migrate adopt --from team/billing/db/migrations`"),
        "{stderr}"
    );
    let (code, stdout, stderr) = migrate(
        &database,
        &[
            "adopt",
            "--from",
            "team/billing/db/migrations",
            "--dir",
            directory,
        ],
    );
    assert_eq!(code, 0, "{stderr}");
    assert_eq!(
        stdout,
        "recorded 1 migrations as applied; 1 files have the content that was applied as `team/billing/db/migrations`\n  001_invoices\n"
    );
    let (code, stdout, _) = migrate(&database, &["verify", "--dir", directory]);
    assert_eq!(code, 0);
    assert_eq!(
        stdout,
        "verified: 1 tables are there; no shapes are recorded to compare\n"
    );

    // A file beside the migrations decides for good.
    std::fs::write(
        checkout.join("db/sql/migrations.toml"),
        "source = \"invoices\"\n",
    )
    .unwrap();
    let (code, _, stderr) = migrate(&database, &["status", "--dir", directory]);
    assert_eq!(code, 10, "{stderr}");
    std::fs::write(checkout.join("db/sql/migrations.toml"), "sorce = 1\n").unwrap();
    let (code, _, stderr) = migrate(&database, &["status", "--dir", directory]);
    assert_eq!(code, 2);
    assert!(
        stderr.contains("migrations.toml cannot be read"),
        "{stderr}"
    );
}

#[test]
fn a_new_file_of_a_team_is_written_into_its_directory_and_named_by_its_path() {
    let place = tempfile::tempdir().unwrap();
    std::fs::write(place.path().join("00007_old.sql"), "-- +goose Up\n").unwrap();
    let directory = place.path().to_str().unwrap();
    let (code, stdout, _) = run(&["migrate", "new", "invoices", "--dir", directory]);
    assert_eq!(code, 0);
    assert_eq!(stdout, format!("{directory}/00008_invoices.sql\n"));
}

#[test]
fn what_is_not_applied_is_no_green_drift() {
    let database = wait(empty_database());
    let (code, _, stderr) = migrate(&database, &["drift", "--profile", "gateway"]);
    assert_eq!(code, 10);
    assert!(
        stderr.contains("nothing was compared: no migration of the selection is applied"),
        "{stderr}"
    );
}

#[test]
fn a_warning_is_printed() {
    let database = wait(empty_database());
    let place = tempfile::tempdir().unwrap();
    for (file, table) in [("1_b.sql", "b"), ("001_a.sql", "a")] {
        let up = format!("-- +goose Up\nCREATE TABLE {table} (a int);\n");
        std::fs::write(place.path().join(file), up).unwrap();
    }
    let directory = place.path().to_str().unwrap();
    let (code, _, stderr) = migrate(&database, &["--dir", directory, "--source", "team"]);
    assert_eq!(code, 0);
    assert!(
        stderr.contains("warning: 001_a.sql and 1_b.sql share the number 1"),
        "{stderr}"
    );
}

#[test]
fn a_traced_plan_prints_the_locks_of_each_statement_and_leaves_nothing() {
    let database = wait(empty_database());
    let files = tempfile::tempdir().expect("a directory");
    let file = "-- +goose Up\nALTER TABLE t ADD COLUMN b int;\nUPDATE t SET b = 1;\n-- +goose Down\nALTER TABLE t DROP COLUMN b;\n";
    std::fs::write(files.path().join("1_b.sql"), file).expect("written");
    wait(testkit::postgres::run(&database, "CREATE TABLE t (a int)"));
    let directory = files.path().display().to_string();
    let trace = ["plan", "--trace", "--source", "team", "--dir", &directory];
    for _ in 0..2 {
        let (code, stdout, stderr) = migrate(&database, &trace);
        assert_eq!(code, 0, "{stderr}");
        assert_data_eq!(
            stdout,
            str![[r"
plan [..], run and rolled back; the locks below were held, and others waited for them, within [..] ms
  1_b
    1_b.sql:2 ALTER TABLE t ADD COLUMN b int ([..] ms)
      AccessExclusiveLock on t for [..] ms
    1_b.sql:3 UPDATE t SET b = 1 ([..] ms)

"]]
        );
    }
    let (code, stdout, _) = migrate(&database, &[&trace[..], &["--format", "json"]].concat());
    assert_eq!(code, 0);
    let document: serde_json::Value = serde_json::from_str(&stdout).expect("a document");
    let statement = &document["result"]["migrations"][0]["statements"][0];
    assert_eq!(statement["outcome"], "ran");
    assert_eq!(statement["locks"][0]["mode"], "AccessExclusiveLock");
}
