//! `migrate` and `diagnose` on a server that speaks TLS, and on one that does not: URL, variables, messages, exit codes.

use testkit::postgres::{Database, empty_database};
use testkit::tls::Secured;

use crate::migrate::wait;
use crate::{output, xtask};

/// Exit code and what was printed, with libpq's variables.
fn with_variables(args: &[&str], variables: &[(&str, &str)]) -> (i32, String, String) {
    let mut command = xtask(args);
    for name in ["PGSSLMODE", "PGSSLROOTCERT", "PGPASSWORD"] {
        command.env_remove(name);
    }
    command.envs(variables.iter().copied());
    output(&mut command)
}

fn applied(database: &Database) -> String {
    wait(testkit::postgres::value(
        database,
        "SELECT count(*) FROM schema_ledger",
    ))
}

#[test]
fn migrate_and_diagnose_speak_tls_as_the_url_or_the_variables_say() {
    let secured = wait(Secured::start());
    let database = wait(secured.empty_database());
    let root = secured.file("authority").display().to_string();
    let variables = [
        ("PGSSLMODE", "verify-full"),
        ("PGSSLROOTCERT", root.as_str()),
    ];
    let gateway = ["--profile", "gateway", "--database-url"];

    let by_name = database.url().replace("127.0.0.1", "localhost");
    let args = [&["migrate"], &gateway[..], &[&by_name]].concat();
    let (code, _, stderr) = with_variables(&args, &variables);
    assert_eq!(code, 4, "{stderr}");
    assert!(
        stderr.contains("sslmode=verify-full") && stderr.contains("sslmode=verify-ca"),
        "{stderr}"
    );

    let args = [&["migrate"], &gateway[..], &[database.url()]].concat();
    let (code, _, stderr) = with_variables(&args, &variables);
    assert_eq!(code, 0, "{stderr}");
    assert_eq!(applied(&database), "3");

    // What the URL says is more than what the variables say.
    let stranger = format!(
        "{}?sslmode=verify-ca&sslrootcert={}",
        database.url(),
        secured.file("stranger").display()
    );
    let args = [&["diagnose"], &gateway[..], &[&stranger]].concat();
    let (code, stdout, stderr) = with_variables(&args, &variables);
    assert_eq!(code, 4, "{stderr}");
    assert!(
        stdout.contains("TLS") && stdout.contains("sslrootcert"),
        "{stdout}"
    );
    let args = [&["diagnose"], &gateway[..], &[database.url()]].concat();
    let (code, stdout, stderr) = with_variables(&args, &variables);
    assert_eq!(code, 0, "{stdout}{stderr}");
}

#[test]
fn a_server_without_tls_or_a_login_without_its_password_is_refused_with_exit_code_4() {
    let database = wait(empty_database());
    let url: postgres_url::PostgresUrl = database.url().parse().expect("a URL");
    let without_password = url.to_string();
    for (url, part) in [
        (
            format!("{}?sslmode=require", database.url()),
            "refused by sslmode=require",
        ),
        (without_password, "none was given"),
    ] {
        let args = [
            "migrate",
            "status",
            "--profile",
            "gateway",
            "--database-url",
            &url,
        ];
        let (code, _, stderr) = with_variables(&args, &[]);
        assert_eq!(code, 4, "{stderr}");
        assert!(stderr.contains(part), "{stderr}");
    }
}

#[test]
fn a_password_is_warned_of_wherever_the_database_url_has_it() {
    for (url, code) in [
        ("postgres://u:hunter2@127.0.0.1:9/d", 4),
        ("postgres://u@127.0.0.1:9/d?password=hunter2", 4),
        ("host=127.0.0.1 port=9 user=u password=hunter2", 4),
        ("mysql://u:hunter2@127.0.0.1/d", 2),
    ] {
        let args = [
            "migrate",
            "status",
            "--profile",
            "gateway",
            "--timeout",
            "1",
            "--database-url",
            url,
        ];
        let (exit, _, stderr) = with_variables(&args, &[]);
        assert_eq!(exit, code, "{url}: {stderr}");
        assert_eq!(
            stderr.contains("warning: a password"),
            code == 4,
            "{url}: {stderr}"
        );
        assert!(!stderr.contains("hunter2"), "{stderr}");
    }
}
