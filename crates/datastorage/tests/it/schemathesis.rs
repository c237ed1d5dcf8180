//! Schemathesis, a tester of other hands: every operation of the document with valid and invalid requests, one by one and in sequences.
//!
//! Behind the feature `schemathesis`, for machines that have the program: `cargo xtask test` turns it on there.

use std::path::Path;
use std::process::Command;

use testkit::postgres::database;
use testkit::wait::until;

use crate::support::{Process, SOON, TOKEN, TOKEN_FILE, event, http, send, settings};

const TESTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/schemathesis");
const DOCUMENT: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../datastorage-api/openapi/data-storage-v1.yaml"
);
/// Bound of the whole, in seconds; it takes one on a machine with two cores.
const BOUND: &str = "170";
/// What `timeout` exits with at its bound.
const TOO_LONG: i32 = 124;

#[tokio::test(flavor = "multi_thread")]
async fn schemathesis_finds_no_answer_that_breaks_the_contract() {
    let database = database("datastorage").await;
    let directory = tempfile::tempdir().expect("a directory");
    let mut settings = settings(database.url(), directory.path());
    settings.extend([
        (
            "DATASTORAGE_SCHEMA_PROFILE".to_owned(),
            "datastorage".to_owned(),
        ),
        // A machine that is busy is no outage.
        (
            "DATASTORAGE_DATABASE_STATEMENT_TIMEOUT".to_owned(),
            "20s".to_owned(),
        ),
    ]);
    let tokens = directory.path().join("tokens");
    std::fs::write(&tokens, TOKEN).expect("a file");
    settings.insert(TOKEN_FILE.to_owned(), tokens.display().to_string());
    let server = Process::start(settings).await;
    let url = format!("http://{}", server.address);
    until("the server to be ready", SOON, async || {
        match send(http().get(format!("{url}/health/ready"))).await {
            answer if answer.status == 200 => Ok(()),
            answer => Err(answer.body),
        }
    })
    .await;
    // The cursor and the parent of the hooks are taken from these.
    for id in ["one", "two"] {
        let events = format!("{url}/api/v1/audit/events");
        send(http().post(events).bearer_auth(TOKEN).json(&event(id)))
            .await
            .expect(201);
    }
    let file = |name| Path::new(TESTS).join(name);
    let mut schemathesis = Command::new("timeout");
    schemathesis
        .args([BOUND, "schemathesis", "--no-color", "--config-file"])
        .arg(file("schemathesis.toml"))
        .args(["run", DOCUMENT, "--url", &url])
        .env("SCHEMATHESIS_HOOKS", file("hooks.py"))
        .env("DATASTORAGE_TOKEN", TOKEN)
        // It leaves files where it is.
        .current_dir(directory.path());
    let run = tokio::task::spawn_blocking(move || schemathesis.output());
    let run = run
        .await
        .expect("no panic")
        .expect("timeout (coreutils) is there");
    let said = String::from_utf8_lossy(&run.stdout) + String::from_utf8_lossy(&run.stderr);
    let next = match run.status.code() {
        Some(0) => return,
        Some(TOO_LONG) => format!(
            "it took longer than {BOUND} s: run it alone, or on a machine that is less busy"
        ),
        Some(127) => format!(
            "no schemathesis is installed: `pip install -r {TESTS}/requirements.txt` in a virtual environment whose bin is on the PATH"
        ),
        _ => format!(
            "each request above is a curl line: send it to the URL of `cargo xtask up datastorage --target local`. Mend the server or the document; a rule that the document can only state in words belongs into {TESTS}/hooks.py"
        ),
    };
    panic!("{said}\nSchemathesis ended with {}; {next}", run.status);
}
