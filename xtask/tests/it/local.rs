//! Runs without Docker, with a real PostgreSQL and the real Data Storage: reuse, two at once, and what a killed run leaves.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use embedded_postgres::{Wanted, locate};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::place::{Place, built, processes};

/// What a suite is given.
type Environment = BTreeMap<String, String>;

fn servers(states: &[Value]) -> Vec<PathBuf> {
    let resources = states
        .iter()
        .flat_map(|state| state["resources"].as_array().cloned().unwrap_or_default());
    resources
        .filter_map(|resource| resource["dir"].as_str().map(PathBuf::from))
        .collect()
}

/// What proves to an environment's Data Storage who calls.
fn proof(environment: &Environment) -> String {
    let file = &environment["DATASTORAGE_TOKEN_FILE"];
    let token = fs::read_to_string(file).expect("the token's file");
    format!("Bearer {token}")
}

fn total(environment: &Environment) -> u64 {
    let url = &environment["DATASTORAGE_URL"];
    let mut response = ureq::get(format!("{url}/api/v1/audit/events"))
        .header("Authorization", proof(environment))
        .call()
        .expect("Data Storage answers");
    let page: Value = response.body_mut().read_json().expect("a page of events");
    page["pagination"]["total"].as_u64().expect("a total")
}

fn emit(environment: &Environment) {
    let url = &environment["DATASTORAGE_URL"];
    let event = json!([{
        "event_category": "workflow", "event_action": "workflow.started", "event_outcome": "success",
        "resource_type": "WorkflowExecution", "correlation_id": "test-123",
    }]);
    let response = ureq::post(format!("{url}/api/v1/audit/events/batch"))
        .header("Authorization", proof(environment))
        .send_json(event)
        .expect("the event is stored");
    assert_eq!(response.status(), 201);
}

#[test]
fn an_installed_postgresql_is_used_and_said_aloud_where_the_cache_is_empty() {
    let wanted = Wanted {
        version: "in no cache".to_owned(),
        installed: true,
    };
    let Ok(installed) = locate(&wanted) else {
        // Nothing is installed here: a run fetches, which every other test has behind it.
        return;
    };
    let place = Place::new();
    let cache = tempfile::tempdir().expect("an empty cache");
    // The account that runs PostgreSQL for root has to enter.
    fs::set_permissions(cache.path(), PermissionsExt::from_mode(0o755)).expect("its mode");
    let in_cache = |args: &[&str]| {
        let mut command = place.command(args);
        command
            .env(e2e_env::CACHE_DIR, cache.path())
            .env_remove(e2e_env::POSTGRES_BIN);
        let output = command.output().expect("the tool starts");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{args:?}: {said}");
        said
    };
    let said = in_cache(&["up", "workflowexecution", "--target", "local"]);
    in_cache(&["down"]);
    let aloud = format!("using PostgreSQL {}", installed.version);
    assert!(said.contains(&aloud), "{said}");
    assert!(!cache.path().join("postgres").exists(), "{said}");
}

#[test]
fn a_kept_environment_is_used_again_and_ends_in_the_same_state() {
    let place = Place::new();
    let (cold, said) = place.up();
    assert!(!said.contains("used again"), "{said}");
    emit(&cold);
    assert_eq!(total(&cold), 1);

    let (hot, said) = place.up();
    assert!(
        said.contains("used again: same binaries")
            && said.contains("is used again: same binary and configuration"),
        "{said}"
    );
    assert_eq!(cold, hot, "a suite gets the same environment");
    assert_eq!(total(&hot), 0, "what an earlier run wrote is not there");
    let url = &hot["DATABASE_URL"];
    let password = fs::read_to_string(Path::new(&hot["E2E_EVIDENCE_DIR"]).join("password"))
        .expect("the password's file");
    let mut again = place.command(&[
        "migrate",
        "--profile",
        "workflowexecution",
        "--database-url",
        url,
    ]);
    let output = again
        .env("PGPASSWORD", password)
        .output()
        .expect("the tool starts");
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && stdout.contains("nothing to do"),
        "the schema of both is the same: {stdout}"
    );

    let (states, run) = (place.states(), hot["E2E_RUN"].clone());
    place.run(&["down", "workflowexecution"]);
    place.assert_clean(&[run], &servers(&states));
}

#[test]
fn fresh_leaves_the_kept_environment_alone() {
    let place = Place::new();
    let (kept, _) = place.up();
    let (stdout, _) = place.run(&["up", "workflowexecution", "--target", "local", "--fresh"]);
    assert!(
        !stdout.contains(&kept["DATASTORAGE_URL"]) && !stdout.contains(&kept["DATABASE_URL"]),
        "{stdout}"
    );
    assert_eq!(total(&kept), 0, "the kept one still answers");
    place.run(&["down"]);
    assert_eq!(place.states(), Vec::<Value>::new());
}

#[test]
fn a_changed_binary_is_noticed_and_the_rest_is_used_again() {
    let place = Place::new();
    let (before, _) = place.up();
    let other = place.0.path().join("other");
    let mut bytes = fs::read(built("datastorage")).expect("the binary");
    bytes.push(0);
    fs::write(&other, bytes).expect("a copy");
    fs::set_permissions(&other, std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .expect("an executable copy");
    let mut command = place.command(&["up", "workflowexecution", "--target", "local"]);
    let output = command
        .env("E2E_DATASTORAGE_BIN", &other)
        .output()
        .expect("the tool starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(
        said.contains("rebuilt: changed") && said.contains("used again: same binaries"),
        "{said}"
    );
    assert_eq!(
        processes(&before["E2E_RUN"]).len(),
        3,
        "the old two are gone, the new two and the fake run"
    );
    place.run(&["down"]);
    assert_eq!(processes(&before["E2E_RUN"]), Vec::<String>::new());
}

#[test]
fn an_up_that_fails_leaves_what_stood_before() {
    let place = Place::new();
    let (before, _) = place.up();
    let broken = place.0.path().join("broken");
    fs::write(&broken, "this is no program").expect("a file");
    fs::set_permissions(&broken, std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .expect("an executable file");
    let mut command = place.command(&["up", "workflowexecution", "--target", "local"]);
    let output = command
        .env("E2E_DATASTORAGE_BIN", &broken)
        .output()
        .expect("the tool starts");
    assert!(!output.status.success());
    let (after, said) = place.up();
    assert_eq!(before["E2E_RUN"], after["E2E_RUN"]);
    assert!(said.contains("used again: same binaries"), "{said}");
    place.run(&["down"]);
}

#[test]
fn two_runs_at_once_do_not_meet() {
    let places = [Place::new(), Place::new()];
    let environments: Vec<_> = std::thread::scope(|scope| {
        let running: Vec<_> = places
            .iter()
            .map(|place| scope.spawn(|| place.up().0))
            .collect();
        running
            .into_iter()
            .map(|run| run.join().expect("a run"))
            .collect()
    });
    emit(&environments[0]);
    assert_eq!((total(&environments[0]), total(&environments[1])), (1, 0));
    for place in &places {
        place.run(&["down"]);
    }
}

#[test]
fn a_run_killed_at_any_stage_is_removed_by_reap() {
    for stage in [
        "preflight",
        "deploy PostgreSQL",
        "migrate",
        "deploy Data Storage",
        "wait for Data Storage",
    ] {
        let place = Place::new();
        let log = place.0.path().join("log");
        let mut command = place.command(&["up", "workflowexecution", "--target", "local"]);
        let mut child = command
            .stdout(Stdio::null())
            .stderr(fs::File::create(&log).expect("a log"))
            .spawn()
            .expect("the tool starts");
        let began = Instant::now();
        while !fs::read_to_string(&log)
            .unwrap_or_default()
            .contains(&format!("… {stage}"))
        {
            assert!(
                began.elapsed() < Duration::from_mins(1),
                "the run never came to {stage}"
            );
            std::thread::sleep(Duration::from_millis(1));
        }
        kill(
            Pid::from_raw(child.id().try_into().expect("a process id")),
            Signal::SIGKILL,
        )
        .expect("the tool runs");
        child.wait().expect("the tool ends");
        let states = place.states();
        let runs: Vec<String> = states
            .iter()
            .filter_map(|state| state["run"].as_str().map(str::to_owned))
            .collect();
        place.run(&["reap"]);
        place.assert_clean(&runs, &servers(&states));
    }
}

#[test]
fn a_data_storage_that_ends_at_start_is_told_with_its_last_words() {
    let place = Place::new();
    let broken = place.0.path().join("broken");
    fs::write(
        &broken,
        "#!/bin/sh\necho 'configuration: no such queue directory' >&2\nexit 7\n",
    )
    .expect("a script");
    fs::set_permissions(&broken, std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .expect("an executable script");
    let mut command = place.command(&["up", "workflowexecution", "--target", "local"]);
    let output = command
        .env("E2E_DATASTORAGE_BIN", &broken)
        .output()
        .expect("the tool starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(4), "{said}");
    assert!(
        said.contains("datastorage ended at start")
            && said.contains("exit 7")
            && said.contains("no such queue directory"),
        "{said}"
    );
    assert_eq!(place.states(), Vec::<Value>::new());
}
