//! A team's own services without Docker: entries of its own table, suites in any language, several at once.

use std::fs;

use serde_json::Value;

use crate::place::processes;
use crate::team::{STORAGE, Team, entry, junit};

#[test]
fn a_suite_in_any_language_runs_beside_the_teams_own_process_and_its_junit_file_is_read() {
    let script = format!(
        "curl --fail --silent --retry 20 --retry-connrefused --retry-delay 1 $SERVICE_URL/hello > got && echo $GREETING >> got\n\
         curl --fail --silent $DATASTORAGE_URL/health/ready >> got && {}",
        junit(
            "widget",
            "<testcase classname='Widget' name='greets'/><testcase name='later'><skipped/></testcase>"
        )
    );
    let server = "import http.server, os\nhost, port = os.environ['LISTEN_ADDRESS'].split(':')\n\
                  class Hello(http.server.BaseHTTPRequestHandler):\n    def do_GET(self):\n        self.send_response(200)\n        \
                  self.end_headers()\n        self.wfile.write(os.environ['E2E_SERVICE'].encode() + b'\\n')\n\
                  http.server.HTTPServer((host, int(port)), Hello).serve_forever()\n";
    let more = "process = [\"python3\", \"server.py\"]\nenv = { GREETING = \"from the table\" }";
    let team = Team::new(&[entry(
        "widget",
        &format!("{STORAGE}, \"own\""),
        more,
        &script,
    )]);
    fs::write(team.dir.path().join("server.py"), server).expect("a program");
    let (code, _, stderr) = team.run(&["e2e", "widget", "--target", "local"]);
    assert_eq!(code, 0, "{stderr}");
    assert!(stderr.contains("1 passed, 1 skipped"), "{stderr}");
    let got = team.read("got");
    assert!(
        got.starts_with("widget\nfrom the table\n") && got.contains("ready"),
        "{got}"
    );
    let events = fs::read_dir(team.place.0.path().join("e2e"))
        .expect("runs")
        .flatten();
    let log: String = events
        .filter_map(|run| fs::read_to_string(run.path().join("events.jsonl")).ok())
        .collect();
    let test = log
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .find(|event| event["event"] == "test")
        .expect("the suite's test is in the log");
    assert_eq!(
        (test["name"].as_str(), test["outcome"].as_str()),
        (Some("Widget greets"), Some("ok"))
    );
    assert_eq!(team.place.states(), Vec::<Value>::new());
}

#[test]
fn a_failing_service_does_not_stop_the_others_and_is_named_with_its_test() {
    let fails = format!(
        "{}; exit 1",
        junit(
            "red",
            "<testcase name='counts'><failure message='event_outcome: expected success'/></testcase>"
        )
    );
    let passes = junit("green", "<testcase name='counts'/>");
    let team = Team::new(&[
        entry("red", STORAGE, "", &fails),
        entry("green", STORAGE, "", &passes),
    ]);
    let (code, _, stderr) = team.run(&["e2e", "red", "green", "--target", "local"]);
    assert_eq!(code, 1, "{stderr}");
    assert!(
        stderr.contains("error: red: run suite: 1 of 1 tests failed: counts")
            && stderr.contains("event_outcome: expected success"),
        "{stderr}"
    );
    let line = |name: &str| {
        stderr
            .lines()
            .find(|line| line.starts_with(&format!("{name} ")))
            .unwrap_or_default()
            .to_owned()
    };
    assert!(line("red").contains("failed: run suite"), "{stderr}");
    assert!(line("green").contains("1 passed"), "{stderr}");
    assert_eq!(team.place.states(), Vec::<Value>::new());
}

#[test]
fn services_of_one_run_have_databases_of_their_own() {
    let body = r#"[{"event_category":"workflow","event_action":"workflow.started","event_outcome":"success","resource_type":"WorkflowExecution","correlation_id":"test-123"}]"#;
    let emits = format!(
        "curl --fail --silent -H 'content-type: application/json' -d '{body}' $DATASTORAGE_URL/api/v1/audit/events/batch && echo $DATABASE_URL > one && {}",
        junit("one", "<testcase name='emits'/>")
    );
    let other = format!(
        "while [ ! -e one ]; do sleep 0.05; done; echo $DATABASE_URL > two; curl --fail --silent $DATASTORAGE_URL/api/v1/audit/events > seen && {}",
        junit("two", "<testcase name='sees nothing'/>")
    );
    let team = Team::new(&[
        entry("one", STORAGE, "", &emits),
        entry("two", STORAGE, "", &other),
    ]);
    let (code, _, stderr) = team.run(&["e2e", "one", "two", "--target", "local"]);
    assert_eq!(code, 0, "{stderr}");
    let page: Value = serde_json::from_str(&team.read("seen")).expect("a page of events");
    assert_eq!(
        page["pagination"]["total"], 0,
        "the other service's event is not there"
    );
    assert!(
        team.read("one").contains("/action_history_one")
            && team.read("two").contains("/action_history_two")
    );
}

#[test]
fn a_suite_kills_parts_of_its_own_environment_and_they_come_back_under_the_same_address() {
    let alive =
        "curl --fail --silent --retry 50 --retry-connrefused --retry-delay 1 --retry-max-time 20";
    let script = format!(
        "set -e; $E2E_TOOL kill datastorage; {alive} $DATASTORAGE_URL/health/live; $E2E_TOOL kill postgres\n\
         until curl --fail --silent $DATASTORAGE_URL/health/ready; do sleep 0.1; done\n{}",
        junit("widget", "<testcase name='survives'/>")
    );
    let team = Team::new(&[entry("widget", STORAGE, "", &script)]);
    let (code, _, stderr) = team.run(&["e2e", "widget", "--target", "local"]);
    assert_eq!(code, 0, "{stderr}");
    assert!(
        stderr.contains("killed Data Storage of widget-")
            && stderr.contains("killed PostgreSQL of widget-"),
        "{stderr}"
    );
    let run = stderr
        .lines()
        .find_map(|line| line.strip_prefix("run "))
        .and_then(|line| line.split(' ').next());
    assert_eq!(processes(run.expect("a run")), Vec::<String>::new());
}

#[test]
fn a_server_that_several_services_share_is_not_killed() {
    let passes = |name: &str| junit(name, "<testcase name='passes'/>");
    let asks = format!("! $E2E_TOOL kill postgres && {}", passes("one"));
    let team = Team::new(&[
        entry("one", STORAGE, "", &asks),
        entry("two", STORAGE, "", &passes("two")),
    ]);
    let (code, _, stderr) = team.run(&["e2e", "one", "two", "--target", "local"]);
    assert_eq!(code, 0, "{stderr}");
    assert!(stderr.contains("serves 2 services"), "{stderr}");
}

#[test]
fn the_integration_tier_gets_the_numbers_that_its_suites_know() {
    let ports = [free_port(), free_port()];
    let more = format!(
        "integration = {{ postgres = {}, datastorage = {} }}",
        ports[0], ports[1]
    );
    let team = Team::new(&[entry("widget", STORAGE, &more, "true")]);
    let (code, stdout, stderr) = team.run(&["up", "widget", "--ports", "integration"]);
    assert_eq!(code, 0, "{stderr}");
    assert!(
        stdout.contains(&format!("DATASTORAGE_URL=http://127.0.0.1:{}\n", ports[1]))
            && stdout.contains(&format!("@127.0.0.1:{}/", ports[0])),
        "{stdout}"
    );
    let (code, _, stderr) = team.run(&["up", "widget", "--ports", "integration"]);
    assert_eq!(
        code, 4,
        "a second one cannot have the same numbers: {stderr}"
    );
    assert!(stderr.contains(&ports[0].to_string()), "{stderr}");
    assert_eq!(team.run(&["down", "widget"]).0, 0);
    assert_eq!(team.place.states(), Vec::<Value>::new());
}

pub(crate) fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address").port()
}

#[test]
fn a_junit_file_that_is_missing_is_a_failure_and_not_a_pass() {
    let team = Team::new(&[entry("widget", STORAGE, "", "true")]);
    let (code, _, stderr) = team.run(&["e2e", "widget", "--target", "local"]);
    assert_eq!(code, 1, "{stderr}");
    assert!(
        stderr.contains("passed and wrote no widget.xml"),
        "{stderr}"
    );
}

#[test]
fn editors_check_a_table_by_the_published_schema_as_the_tool_does() {
    let schema: Value =
        serde_json::from_str(include_str!("../../../kind/services.schema.json")).expect("JSON");
    let schema = jsonschema::validator_for(&schema).expect("a schema");
    let table = |text: &str| toml::from_str::<Value>(text).expect("TOML");
    let own = include_str!("../../../kind/services.toml");
    let wrong: Vec<_> = schema
        .iter_errors(&table(own))
        .map(|error| error.to_string())
        .collect();
    assert_eq!(wrong, Vec::<String>::new());
    let good = entry("widget", STORAGE, "manifests = [\"deploy\"]", "true")
        .replace("\"datastorage\"]", "\"datastorage\", \"own\"]");
    assert!(schema.is_valid(&table(&good)), "{good}");
    assert_eq!(
        Team::new(std::slice::from_ref(&good)).run(&["services"]).0,
        0
    );
    for (from, to) in [
        ("name = \"widget\"", "name = \"Widget\""),
        ("ports = {}", "ports = { policy = \"maybe\" }"),
        ("command = ", "comand = "),
        ("profile = \"gateway\"\n", ""),
    ] {
        let bad = good.replace(from, to);
        assert!(!schema.is_valid(&table(&bad)), "{bad}");
        assert_eq!(Team::new(&[bad]).run(&["services"]).0, 2, "{to}");
    }
}

#[test]
fn without_a_checkout_ready_programs_are_run_and_what_is_missing_is_named() {
    let (nowhere, home) = (
        "/nonexistent/checkout",
        tempfile::tempdir().expect("a temporary directory"),
    );
    let team = Team::new(&[entry(
        "widget",
        STORAGE,
        "",
        &junit("widget", "<testcase name='passes'/>"),
    )]);
    let run = |remove: &str| {
        let mut command = team.place.command(&["e2e", "widget", "--target", "local"]);
        command
            .env("E2E_SERVICES", team.dir.path().join("services.toml"))
            .env("E2E_SOURCE", nowhere)
            .env("XDG_STATE_HOME", home.path());
        let output = command
            .env_remove(remove)
            .output()
            .expect("the tool starts");
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    };
    let (code, said) = run("E2E_NOTHING");
    assert_eq!(code, Some(0), "{said}");
    assert!(
        home.path().join("kubernaut-e2e/e2e").is_dir(),
        "its runs are in the state directory"
    );
    let (code, said) = run("E2E_DATASTORAGE_BIN");
    assert_eq!(code, Some(3), "{said}");
    for named in [
        nowhere,
        "E2E_SOURCE",
        "E2E_DATASTORAGE_BIN",
        "DATASTORAGE_IMAGE",
    ] {
        assert!(said.contains(named), "{named}: {said}");
    }
}

#[test]
fn a_suite_that_is_repeated_shows_what_passes_only_at_times() {
    // Every second time one of its tests fails.
    let script = "n=$(cat count 2>/dev/null || echo 0); n=$((n + 1)); echo $n > count\n\
                  if [ $((n % 2)) = 0 ]; then odd=\"<failure>stale lease</failure>\"; fi\n\
                  echo \"<testsuite><testcase name='steady'/><testcase name='lease'>$odd</testcase></testsuite>\" > widget.xml\n\
                  [ -z \"$odd\" ]";
    let team = Team::new(&[entry("widget", STORAGE, "", script)]);
    let e2e = ["e2e", "widget", "--target", "local", "--repeat", "5"];
    let (code, _, stderr) = team.run(&e2e);
    assert_eq!(code, 1, "{stderr}");
    assert!(
        stderr.contains("failed in 2 of 5 runs; first failure: "),
        "{stderr}"
    );
    let runs = fs::read_dir(team.place.0.path().join("e2e")).expect("runs");
    let junit = runs
        .flatten()
        .find_map(|run| fs::read_to_string(run.path().join("junit.xml")).ok())
        .expect("a JUnit report");
    assert!(
        junit.contains("<flakyFailure type=\"test\" message=\"failed 2 of 5 times: stale lease\">"),
        "{junit}"
    );
    let (_, flakes, _) = team.run(&["flakes"]);
    assert_eq!(
        flakes,
        "widget lease\n    failed 2 of the last 5 times: .F.F.\n"
    );

    let (code, _, stderr) = team.run(&[&e2e[..], &["--until-fail"]].concat());
    assert_eq!((code, team.read("count").as_str()), (1, "6\n"), "{stderr}");
}

#[test]
fn a_team_s_process_is_ready_on_its_own_path_and_its_suite_calls_the_tool_that_started_the_run() {
    let server = "import http.server, os\nhost, port = os.environ['LISTEN_ADDRESS'].split(':')\n\
                  class Health(http.server.BaseHTTPRequestHandler):\n    def do_GET(self):\n        self.send_response(200 if self.path == '/healthz' else 404)\n        \
                  self.end_headers()\n\
                  http.server.HTTPServer((host, int(port)), Health).serve_forever()\n";
    let more = "process = [\"python3\", \"server.py\"]\nready_path = \"/healthz\"";
    // As a build would do in the middle of a run: the program at the path that the run was started by is another now.
    let script = format!(
        "cp $E2E_TOOL tool; $E2E_TOOL status && {}",
        junit("widget", "<testcase name='asks'/>")
    );
    let team = Team::new(&[entry(
        "widget",
        &format!("{STORAGE}, \"own\""),
        more,
        &script,
    )]);
    fs::write(team.dir.path().join("server.py"), server).expect("a program");
    let tool = team.dir.path().join("xtask-of-the-run");
    fs::copy(env!("CARGO_BIN_EXE_xtask"), &tool).expect("a copy of the tool");
    let mut command = std::process::Command::new(&tool);
    let like = team.command(&["e2e", "widget", "--target", "local"]);
    command.args(like.get_args());
    command.envs(
        like.get_envs()
            .filter_map(|(name, value)| Some((name, value?))),
    );
    let mut run = command
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("the tool starts");
    fs::remove_file(&tool).expect("the tool is replaced");
    fs::write(&tool, "this is no program").expect("a file");
    assert_eq!(run.wait().expect("an end").code(), Some(0));
    let kept = fs::read(team.dir.path().join("tool")).expect("the tool of the run");
    assert_eq!(
        kept,
        fs::read(env!("CARGO_BIN_EXE_xtask")).expect("the tool")
    );
}
