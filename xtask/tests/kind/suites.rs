//! Suites that run where their team has them: in a container beside the cluster, and in a Job of it.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

/// Both ask the database at the address that they are given, and print the password.
const TABLE: &str = r#"
[[service]]
name = "widget"
profile = "gateway"
namespace = "widget"
components = ["postgres", "own"]
ports = {}
images = [{ name = "IMAGE" }]
suite = [
  { name = "beside", in = "container", image = "IMAGE", junit = "beside.xml", command = ["sh", "-ec", '''
    echo "password $PGPASSWORD"; test -s "$KUBECONFIG"
    psql "$DATABASE_URL" --command "select 1"
    echo "<testsuite><testcase name='asks'/></testsuite>" > beside.xml'''] },
  { name = "inside", in = "job", image = "IMAGE", junit = "*.xml", retries = 1, filter = ["${FILTER}"], command = ["sh", "-ec", '''
    echo "password $PGPASSWORD, address $DATABASE_URL, attempt $E2E_ATTEMPT, words $*"
    psql "$DATABASE_URL" --command "select 1"
    test $E2E_ATTEMPT = 2 || wrong="<failure message='too early'/>"
    echo "<testsuite><testcase name='asks'>$wrong</testcase></testsuite>" > "$E2E_EVIDENCE_DIR/inside.xml"
    test $E2E_ATTEMPT = 2''', "inside"] },
  { name = "dying", in = "job", image = "IMAGE", command = ["sh", "-c", "echo last words; exit 3"] },
]
"#;

fn docker(args: &[&str]) -> String {
    let output = Command::new("docker").args(args).output().expect("Docker");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn suites_run_in_a_container_and_in_a_job_with_addresses_that_answer_there_and_leave_nothing() {
    let (dir, place) = (
        tempfile::tempdir().expect("a directory"),
        tempfile::tempdir().expect("a directory"),
    );
    let image = std::env::var("POSTGRES_IMAGE");
    let image = image.unwrap_or_else(|_| "postgres:16-alpine".to_owned());
    let table = dir.path().join("services.toml");
    fs::write(&table, TABLE.replace("IMAGE", &image)).expect("a table");
    let e2e = |more: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_xtask"))
            .args(["e2e", "widget", "--services"])
            .arg(&table)
            .args(more)
            .env("CARGO_TARGET_DIR", place.path())
            .output();
        let Output { status, stderr, .. } = output.expect("the tool starts");
        (status.code(), String::from_utf8_lossy(&stderr).into_owned())
    };
    let (code, said) = e2e(&["--target", "local", "--suite", "inside"]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("which needs a cluster"), "{said}");
    let (code, said) = e2e(&["--target", "kind"]);
    assert_eq!(code, Some(1), "the last suite dies: {said}");
    for told in [
        "run suite beside ok",
        "run suite inside ok",
        "1 flaky: asks (at attempt 1: too early)",
        "run suite dying failed",
        "ended with exit 3",
    ] {
        assert!(said.contains(told), "{told}: {said}");
    }
    let runs = fs::read_dir(place.path().join("e2e")).expect("runs");
    let mut runs = runs.flatten().map(|run| run.path());
    let run: PathBuf = runs
        .find(|run| run.join("suite-inside.log").exists())
        .expect("the run");
    let log = |name: &str| fs::read_to_string(run.join(name)).expect("a log");
    let inside = log("suite-inside.log");
    assert!(
        inside.contains("password ***, address postgres://slm_user@postgres.widget.svc:5432/")
            && inside.contains("attempt 2"),
        "{inside}"
    );
    assert!(log("suite-beside.log").contains("password ***"));
    assert!(log("suite-dying.log").contains("last words"));
    assert!(run.join("suite-inside-results/inside.xml").exists());
    let id = run
        .file_name()
        .expect("a name")
        .to_string_lossy()
        .into_owned();
    let label = format!("label=kubernaut.io/e2e-run={id}");
    let left = docker(&["ps", "--all", "--quiet", "--filter", &label]);
    assert_eq!(left, "", "a container of a suite is left");
}
