//! What a person and a CI system see of a red suite: the cause, the next move, every report, no password.

use std::fs;
use std::process::{Child, Command, Stdio};

use postgres_url::PostgresUrl;
use serde_json::Value;
use testkit::postgres::empty_database;

use crate::migrate::wait;
use crate::team::{STORAGE, Team, bare, entry, executable, junit};

fn red_case(name: &str) -> String {
    let cases = "<testcase name='audit'><failure message='got failure'/></testcase><testcase name='other'/>";
    format!("{}; exit 1", junit(name, cases))
}

const LOCAL: [&str; 4] = ["e2e", "widget", "--target", "local"];

#[test]
fn up_and_test_report_a_red_suite_as_e2e_does() {
    let team = Team::new(&[entry("widget", STORAGE, "", &red_case("widget"))]);
    let summary = team.dir.path().join("summary");
    let on_github = |args: &[&str]| {
        team.run_with(args, |command| {
            command
                .env("GITHUB_ACTIONS", "true")
                .env("GITHUB_STEP_SUMMARY", &summary);
        })
    };
    let (code, _, stderr) = on_github(&["up", "widget", "--target", "local"]);
    assert_eq!(code, 0, "{stderr}");
    fs::write(&summary, "").expect("an empty summary");
    let (code, stdout, stderr) = on_github(&["test", "widget", "--format", "json"]);
    assert_eq!(code, 1, "{stderr}");
    let document: Value = serde_json::from_str(&stdout).expect("nothing but the document");
    assert_eq!(document["exit"], 1);
    assert!(
        stderr.contains("error: run suite: 1 of 2 tests failed: audit"),
        "{stderr}"
    );
    assert!(stderr.contains("::error title=audit failed"), "{stderr}");
    let text = team.read("summary");
    assert!(
        text.contains(": tests failed") && text.contains("1 tests passed, 0 flaky, 1 failed"),
        "{text}"
    );
    let junit = team.of_run("junit.xml");
    assert!(
        junit.contains("failures=\"1\"") && junit.contains("got failure"),
        "{junit}"
    );
    assert!(team.of_run("verdict.txt").contains("1 of 2 tests failed"));
    let (code, _, stderr) = team.run(&["report"]);
    assert_eq!(code, 0, "{stderr}");
    assert!(team.of_run("summary.md").contains(": tests failed"));
    assert_eq!(team.place.states().len(), 1, "the environment is as it was");
    assert_eq!(team.run(&["down", "widget"]).0, 0);
}

#[test]
fn a_chatty_red_suite_keeps_all_of_its_reports() {
    let script = format!(
        "seq 1 40000 | sed \"s/^/a line of a chatty end-to-end suite, number /\"; {}",
        red_case("widget")
    );
    let team = Team::new(&[entry("widget", STORAGE, "", &script)]);
    let (code, _, stderr) = team.run(&LOCAL);
    assert_eq!(code, 1, "{stderr}");
    for (report, part) in [
        ("report.html", "got failure"),
        ("junit.xml", "failures=\"1\""),
        ("summary.md", "tests failed"),
        ("suite.log", "number 40000"),
    ] {
        assert!(team.of_run(report).contains(part), "{report}: {stderr}");
    }
    assert!(team.of_run("events.jsonl").lines().count() < 2_000);
}

#[test]
fn a_suite_that_dies_before_its_file_is_told_by_its_status_and_its_last_lines() {
    let compile = "echo \"./audit_test.go:17: undefined: dsClient\"; exit 2";
    let team = Team::new(&[
        entry("compile", STORAGE, "", compile),
        bare("killed", STORAGE, "", "echo working; kill -9 $$"),
    ]);
    let (code, _, stderr) = team.run(&["e2e", "compile", "--target", "local"]);
    assert_eq!(code, 1, "{stderr}");
    let last = stderr.split("error: ").last().unwrap_or_default();
    assert!(
        last.contains("ended with exit 2 before it wrote compile.xml")
            && last.contains("detail: ./audit_test.go:17: undefined: dsClient"),
        "{last}"
    );
    let (code, _, stderr) = team.run(&["e2e", "killed", "--target", "local"]);
    assert_eq!(code, 1, "{stderr}");
    assert!(stderr.contains("ended with signal 9 (SIGKILL)"), "{stderr}");
}

#[test]
fn the_next_move_of_a_red_run_names_files_that_exist_and_a_kept_environment() {
    let team = Team::new(&[bare("widget", STORAGE, "", "echo boom; exit 1")]);
    let (code, _, stderr) = team.run(&LOCAL);
    assert_eq!(code, 1, "{stderr}");
    let hint = stderr.lines().last().unwrap_or_default();
    assert!(
        hint.starts_with("  hint: see ")
            && hint.ends_with("e2e widget --target local --keep on-failure"),
        "{hint}"
    );
    let verdict = hint.split_whitespace().nth(2).unwrap_or_default();
    assert!(
        fs::read_to_string(verdict).is_ok_and(|text| text.contains("boom")),
        "{hint}"
    );

    let keep = [&LOCAL[..], &["--keep", "on-failure"]].concat();
    let (code, _, stderr) = team.run(&keep);
    assert_eq!(code, 1, "{stderr}");
    for part in [
        "kept: widget-",
        "password: ",
        "remove:   ",
        " down widget",
        "expires:  in ",
        "the environment is kept",
    ] {
        assert!(stderr.contains(part), "no {part}: {stderr}");
    }
    assert_eq!(team.run(&["down"]).0, 0);
}

#[test]
fn a_process_that_a_suite_leaves_behind_is_a_note_and_ends_with_the_environment() {
    let script = "sleep 3217 & echo $! > pid; echo done";
    let team = Team::new(&[bare("widget", STORAGE, "", script)]);
    let (code, _, stderr) = team.run(&LOCAL);
    assert_eq!(code, 0, "{stderr}");
    assert!(
        stderr.contains("left a process in the background"),
        "{stderr}"
    );
    // One that has ended and that nobody has waited for has no command line any more.
    let command = format!("/proc/{}/cmdline", team.read("pid").trim());
    let command = fs::read_to_string(command).unwrap_or_default();
    assert!(!command.contains("3217"), "it still runs");
}

#[test]
fn a_suite_may_end_by_itself_when_its_deadline_comes() {
    let script =
        "trap \"echo cleaned > cleaned; exit 1\" TERM; echo up; while :; do sleep 0.1; done";
    let entry = bare("widget", STORAGE, "", script);
    let entry = entry.replace("command =", "deadline_seconds = 1, command =");
    let team = Team::new(&[entry]);
    let (code, _, stderr) = team.run(&LOCAL);
    assert_eq!(code, 6, "{stderr}");
    assert_eq!(team.read("cleaned"), "cleaned\n");
}

#[test]
fn no_file_of_a_run_that_passes_holds_the_password_and_no_screen_of_one_that_fails() {
    let script = "echo PW=$PGPASSWORD; mkdir -p $E2E_EVIDENCE_DIR/sub; echo $PGPASSWORD > $E2E_EVIDENCE_DIR/sub/x.log\n\
                  echo \"{\\\"pw\\\": \\\"$PGPASSWORD\\\"}\" > $E2E_EVIDENCE_DIR/dump.json; printf %s $PGPASSWORD > secret; exit ${RC:-0}";
    let team = Team::new(&[bare("widget", STORAGE, "", script)]);
    let (code, stdout, stderr) = team.run(&LOCAL);
    assert_eq!(code, 0, "{stderr}");
    let secret = team.read("secret");
    assert_eq!(secret.len(), 24);
    for file in [
        "suite.log",
        "events.jsonl",
        "report.html",
        "commands.log",
        "sub/x.log",
        "dump.json",
    ] {
        let text = team.of_run(file);
        assert!(
            !text.is_empty() && !text.contains(&secret),
            "{file}: {text}"
        );
    }
    assert!(!stdout.contains(&secret) && !stderr.contains(&secret));
    let (code, stdout, stderr) = team.run_with(&LOCAL, |command| {
        command.env("RC", "1");
    });
    assert_eq!(code, 1, "{stderr}");
    let secret = team.read("secret");
    assert!(
        !stdout.contains(&secret) && !stderr.contains(&secret),
        "{stderr}"
    );
    let dump: Value = serde_json::from_str(&team.of_run("dump.json")).expect("JSON");
    assert_eq!(dump["pw"], "***");
}

#[test]
fn the_output_of_up_is_evaluated_by_a_shell() {
    let more = "env = { GREETING = \"it's $HOME; a b\" }";
    let team = Team::new(&[bare("widget", STORAGE, more, "true")]);
    let script = "eval \"$(\"$0\" up widget --target local)\" && \
                  printf '%s|%s|%s|' \"$GREETING\" \"$E2E_SERVICE\" \"${#PGPASSWORD}\" && env | grep -c ^DATABASE_URL=";
    let tool = team.command(&[]);
    let variables = tool
        .get_envs()
        .filter_map(|(name, value)| Some((name, value?)));
    let output = Command::new("sh")
        .args(["-c", script])
        .arg(tool.get_program())
        .envs(variables)
        .output()
        .expect("a shell");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(
        text,
        "it's $HOME; a b|widget|24|1\n",
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(team.run(&["down"]).0, 0);
}

#[test]
fn the_result_of_a_run_is_a_document_for_programs() {
    let team = Team::new(&[entry("widget", STORAGE, "", &red_case("widget"))]);
    let (code, stdout, _) = team.run(&[&LOCAL[..], &["--format", "json"]].concat());
    let document: Value = serde_json::from_str(&stdout).expect("JSON");
    assert_eq!((code, document["exit"].as_i64()), (1, Some(1)));
    let summary = document["failure"]["summary"].as_str();
    assert!(summary.is_some_and(|text| text.contains("audit")));
    assert_eq!(document["kept"], false);
}

#[test]
fn data_that_cannot_be_written_is_an_error() {
    let team = Team::new(&[bare("widget", STORAGE, "", "true")]);
    let full = fs::OpenOptions::new()
        .write(true)
        .open("/dev/full")
        .expect("a full device");
    let output = team
        .command(&["ci", "matrix"])
        .stdout(full)
        .stderr(Stdio::piped())
        .spawn()
        .and_then(Child::wait_with_output)
        .expect("the tool starts");
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    let code = output.status.code();
    assert_eq!(code, Some(4), "{stderr}");
    assert!(
        stderr.contains("standard output could not be written"),
        "{stderr}"
    );
}

#[test]
fn a_proxy_of_the_environment_is_not_asked_for_this_machine() {
    let team = Team::new(&[bare("widget", STORAGE, "", "true")]);
    let (code, _, stderr) = team.run_with(&LOCAL, |command| {
        for name in [
            "HTTP_PROXY",
            "http_proxy",
            "HTTPS_PROXY",
            "https_proxy",
            "ALL_PROXY",
        ] {
            command.env(name, "http://127.0.0.1:9");
        }
    });
    assert_eq!(code, 0, "{stderr}");
}

#[test]
fn what_the_table_says_wrongly_is_found_with_nothing_made() {
    let entry = |name: &str| bare(name, STORAGE, "", "true");
    let team = Team::new(&[
        entry("profile").replace("profile = \"gateway\"", "profile = \"gatewy\""),
        entry("program").replace("\"sh\", \"-c\"", "\"no-such-ginkgo\", \"-c\""),
    ]);
    for (service, expected, told) in [
        ("profile", 2, "did you mean `gateway`?"),
        ("program", 3, "`no-such-ginkgo` is required and not on PATH"),
    ] {
        let (code, _, stderr) = team.run(&["e2e", service, "--target", "local"]);
        assert_eq!(code, expected, "{stderr}");
        assert!(stderr.contains(told), "{stderr}");
    }
    assert!(
        !team.place.0.path().join("e2e").exists(),
        "something was made"
    );
}

#[test]
fn a_command_beside_its_table_runs_from_any_directory() {
    let entry = bare("widget", STORAGE, "", "true");
    let entry = entry.replace("[\"sh\", \"-c\", '''true''']", "[\"./run.sh\"]");
    let team = Team::new(&[entry]);
    let elsewhere = tempfile::tempdir().expect("a directory");
    for (dir, word) in [(team.dir.path(), "right"), (elsewhere.path(), "wrong")] {
        let script = format!("#!/bin/sh\necho {word} one\n");
        executable(&dir.join("run.sh"), &script);
    }
    let (code, _, stderr) = team.run_with(&LOCAL, |command| {
        command.current_dir(elsewhere.path());
    });
    assert_eq!(code, 0, "{stderr}");
    assert!(
        stderr.contains("right one") && !stderr.contains("wrong one"),
        "{stderr}"
    );
}

#[test]
fn a_server_of_one_s_own_may_have_any_user_and_password_and_its_options_are_not_dropped() {
    const USER: &str = "app \"user\"@/#";
    const PASSWORD: &str = "a/b@c#d:e%20 f";
    let database = wait(empty_database());
    let role = format!(
        "CREATE ROLE {} LOGIN CREATEDB PASSWORD '{PASSWORD}'",
        "\"app \"\"user\"\"@/#\""
    );
    wait(testkit::postgres::run(
        &database,
        &format!("DROP ROLE IF EXISTS \"app \"\"user\"\"@/#\"; {role}"),
    ));
    let there: PostgresUrl = database.url().parse().expect("a URL");
    let (host, port) = there.only_host().expect("a host");
    let url = PostgresUrl::new(USER, host, port).to_string();
    let script = format!("[ \"$PGPASSWORD\" = \"{PASSWORD}\" ] && echo \"PW=$PGPASSWORD\"");
    let team = Team::new(&[bare("widget", STORAGE, "", &script)]);
    let with_password = |args: &[&str]| {
        team.run_with(args, |command| {
            command.env("PGPASSWORD", PASSWORD);
        })
    };
    let up = ["up", "widget", "--target", "local", "--postgres-url"];
    let (code, stdout, stderr) = with_password(&[&up[..], &[&url]].concat());
    assert_eq!(code, 0, "{stderr}");
    assert!(!stdout.contains(PASSWORD) && !stderr.contains(PASSWORD));
    let (_, stdout, stderr) = team.run(&["diagnose", "widget"]);
    assert!(stdout.contains("ok     connection"), "{stdout}{stderr}");
    let (code, _, stderr) = team.run(&["test", "widget"]);
    assert_eq!(code, 0, "{stderr}");
    assert!(stderr.contains("PW=***"), "{stderr}");
    // Nobody but its owner kills that server.
    let (code, _, stderr) = team.run(&["kill", "postgres", "--service", "widget"]);
    assert_eq!(code, 3, "{stderr}");
    assert!(stderr.contains("--postgres-url named one"), "{stderr}");
    assert_eq!(team.run(&["down", "widget"]).0, 0);

    for (option, told) in [
        ("sslmode=verify-full", "sslmode=verify-full"),
        ("target_session_attrs=any", "`target_session_attrs`"),
    ] {
        let url = format!("{url}?{option}");
        let (code, _, stderr) = with_password(&[&up[..], &[&url]].concat());
        assert_eq!(code, 2, "{stderr}");
        assert!(stderr.contains(told), "{stderr}");
    }
}

#[test]
fn an_installed_tool_names_itself_as_its_user_types_it_and_leaves_a_suite_s_words_alone() {
    let script = "echo run cargo xtask now; exit 1";
    let team = Team::new(&[bare("widget", STORAGE, "", script)]);
    let (code, _, stderr) = team.run_with(&LOCAL, |command| {
        // What cargo sets for a program that it runs.
        command.env_remove("CARGO_PKG_NAME");
    });
    assert_eq!(code, 1, "{stderr}");
    assert!(
        stderr.contains("look into the environment: xtask e2e widget --target local --keep"),
        "{stderr}"
    );
    assert!(stderr.contains("    run cargo xtask now\n"), "{stderr}");
    assert!(team.of_run("suite.log").contains("run cargo xtask now"));
    let summary = team.of_run("summary.md");
    assert!(
        summary.contains("environment: xtask e2e widget"),
        "{summary}"
    );
}
