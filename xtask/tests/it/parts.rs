//! Parts of a team's table as processes of this machine: shared, reached by names, with commands around the suite.

use std::fs;

use crate::own::free_port;
use crate::team::{STORAGE, Team, bare, entry, junit};

/// Answers each request with a word of its command line.
const SERVER: &str = "import http.server, os, sys\n\
    class Word(http.server.BaseHTTPRequestHandler):\n    def do_GET(self):\n        self.send_response(200)\n        \
    self.end_headers()\n        self.wfile.write(sys.argv[2].encode())\n\
    http.server.HTTPServer(('127.0.0.1', int(sys.argv[1])), Word).serve_forever()\n";

/// A part that two services use, with a password.
const PART: &str = "[[part]]\nname = \"lookup\"\npasswords = [\"LOOKUP_PASSWORD\"]\n\
    publish = [{ env = \"LOOKUP_URL\" }]\nready = [{ http = \"/\" }]\n\
    process = [\"python3\", \"server.py\", \"${port:LOOKUP_URL}\", \"lookup of ${E2E_RUN}\"]\n\n";

fn team(more: &str, script: &str) -> Team {
    let first = entry("first", &format!("{STORAGE}, \"own\""), more, script);
    let part_and_first = format!("{PART}{first}");
    let second = entry(
        "second",
        STORAGE,
        "parts = [\"lookup\"]",
        &format!(
            "curl --silent $LOOKUP_URL > second; {}",
            junit("second", "<testcase name='asks'/>")
        ),
    );
    let team = Team::new(&[part_and_first, second]);
    fs::write(team.dir.path().join("server.py"), SERVER).expect("a program");
    team
}

#[test]
fn a_part_is_started_once_for_its_services_and_names_reach_commands_and_variables() {
    let more = "parts = [\"lookup\"]\nprocess = [\"python3\", \"server.py\", \"${port:OWN_URL}\", \"own\"]\nready_path = \"/\"\n\
        publish = [{ env = \"OWN_URL\" }]\nenv = { SEEN = \"at ${LOOKUP_URL}, ${E2E_UNSET_BY_ALL:-unset}\" }\n\
        certificates = [{ secret = \"tls\", hosts = [\"w\"] }]\n\
        before = [{ name = \"seed\", run = [\"sh\", \"-c\", \"echo one ${NAMESPACE} $LOOKUP_URL $(head -1 $CA_FILE | wc -l) $LOOKUP_PASSWORD > seeded\"] }]\n\
        after = [[\"sh\", \"-c\", \"echo after > after\"]]";
    let script = format!(
        "set -e; curl --silent $LOOKUP_URL > first; echo $SEEN >> first; curl --silent $SERVICE_URL >> first; {}; exit 1",
        junit("first", "<testcase name='asks'/>")
    );
    let team = team(more, &script);
    let (code, _, stderr) = team.run(&["e2e", "first", "second", "--target", "local"]);
    assert_eq!(code, 1, "{stderr}");
    assert_eq!(stderr.matches("✓ deploy lookup").count(), 1, "{stderr}");
    let (first, second) = (team.read("first"), team.read("second"));
    assert!(
        first.starts_with("lookup of ") && first.contains(&second),
        "{first} {second}"
    );
    assert!(
        first.contains("at http://127.0.0.1:") && first.contains(", unset\nown"),
        "{first}"
    );
    let seeded = team.read("seeded");
    let password = seeded.split_whitespace().last().expect("a password");
    assert!(
        seeded.starts_with("one first http://") && seeded.contains(" 1 ") && password.len() > 10,
        "{seeded}"
    );
    assert!(!stderr.contains(password), "a password is told");
    assert_eq!(team.read("after"), "after\n");
}

#[test]
fn a_part_has_its_number_in_the_integration_tier_and_whoever_has_it_is_told() {
    let [port, postgres, datastorage] = [(); 3].map(|()| free_port());
    let tier = format!("integration = {{ postgres = {postgres}, datastorage = {datastorage} }}");
    let entry = entry(
        "widget",
        STORAGE,
        &format!("parts = [\"lookup\"]\n{tier}"),
        "true",
    );
    let numbered = PART.replace(
        "env = \"LOOKUP_URL\"",
        &format!("env = \"LOOKUP_URL\", integration = {port}"),
    );
    let team = Team::new(&[format!("{numbered}{entry}")]);
    fs::write(team.dir.path().join("server.py"), SERVER).expect("a program");
    let up = ["up", "widget", "--ports", "integration"];
    let (code, stdout, stderr) = team.run(&up);
    assert_eq!(code, 0, "{stderr}");
    assert!(
        stdout.contains(&format!("LOOKUP_URL=http://127.0.0.1:{port}\n")),
        "{stdout}"
    );
    assert_eq!(team.run(&["down", "widget"]).0, 0);

    let _taken = std::net::TcpListener::bind(("127.0.0.1", port)).expect("the port");
    let (code, _, stderr) = team.run(&up);
    assert_eq!(code, 4, "{stderr}");
    assert!(
        stderr.contains(&format!(
            "LOOKUP_URL of lookup is port {port}, which cannot be had"
        )),
        "{stderr}"
    );
}

#[test]
fn a_kept_environment_has_no_evidence_of_an_earlier_failure_and_its_ports_are_its_own() {
    let port = free_port();
    let own = format!("{STORAGE}, \"own\"");
    let more = "process = [\"python3\", \"server.py\", \"${port:SERVICE_URL}\", \"own\"]\nready_path = \"/\"";
    let hook = "before = [{ name = \"seed\", run = [\"echo\", \"seeded\"] }]";
    let table = |more: &str, script: &str| {
        let ports = format!("ports = {{ policy = \"fixed\", service = {port} }}");
        bare("widget", &own, more, script).replace("ports = {}", &ports)
    };
    let team = Team::new(&[table(&format!("{more}\n{hook}"), "exit 1")]);
    fs::write(team.dir.path().join("server.py"), SERVER).expect("a program");
    let e2e = ["e2e", "widget", "--target", "local", "--keep", "always"];
    let (code, _, said) = team.run(&e2e);
    assert_eq!(code, 1, "{said}");
    for file in ["verdict.txt", "before-seed.log"] {
        assert_ne!(team.of_run(file), "", "{file}");
    }
    let (_, stdout, stderr) = team.run(&["doctor"]);
    assert!(
        format!("{stdout}{stderr}").contains(&format!("{port} of widget is its own environment's")),
        "{stdout}{stderr}"
    );
    fs::write(team.dir.path().join("services.toml"), table(more, "true")).expect("a table");
    let (code, _, said) = team.run(&e2e);
    assert_eq!(code, 0, "{said}");
    for file in ["verdict.txt", "before-seed.log"] {
        assert_eq!(team.of_run(file), "", "{file}");
    }
    assert_ne!(team.of_run("datastorage.log"), "");

    // A signal to a run on it ends that run, and leaves it.
    let signal = "before = [[\"sh\", \"-c\", \"kill -INT $PPID; sleep 60\"]]";
    let interrupted = table(&format!("{more}\n{signal}"), "true");
    fs::write(team.dir.path().join("services.toml"), interrupted).expect("a table");
    let (code, _, said) = team.run(&e2e);
    assert_eq!(code, 130, "{said}");
    let (code, _, said) = team.run(&["test", "widget"]);
    assert_eq!(code, 0, "{said}");
    assert_eq!(team.run(&["down"]).0, 0);
}

#[test]
fn a_password_is_in_no_line_that_is_shown_and_in_the_shell_that_asks_for_it() {
    let suite = |cases: &str| {
        format!(
            "test -e again && {} && exit; touch again; {}; exit 1",
            junit("widget", "<testcase name='a'/>"),
            junit("widget", cases)
        )
    };
    let first = suite("<testcase name='a'><failure message='no: '$LOOKUP_PASSWORD/></testcase>");
    let entry = entry(
        "widget",
        "\"postgres\"",
        "parts = [\"lookup\"]",
        &first.replace("'$LOOKUP_PASSWORD", "$LOOKUP_PASSWORD'"),
    );
    let entry = entry.replace("junit = ", "retries = 1, junit = ");
    let talks = PART.replace("\"lookup of ${E2E_RUN}\"", "\"${LOOKUP_PASSWORD}\"");
    let team = Team::new(&[format!("{talks}{entry}")]);
    let server = format!("import sys; print('password', sys.argv[2], flush=True)\n{SERVER}");
    fs::write(team.dir.path().join("server.py"), server).expect("a program");
    let (code, _, told) = team.run(&["e2e", "widget", "--target", "local", "--keep", "always"]);
    assert_eq!(code, 0, "{told}");
    let password = team.of_run("private/password-LOOKUP_PASSWORD");
    assert!(password.len() > 10, "{password}");
    assert!(told.contains("flaky") && told.contains("no: ***"), "{told}");
    let (_, logs, _) = team.run(&["logs", "widget"]);
    for shown in [&told, &logs] {
        assert!(!shown.contains(&password), "{shown}");
    }
    assert!(logs.contains("password ***"), "{logs}");
    let (_, up, said) = team.run(&["up", "widget", "--target", "local"]);
    let asked = format!("{up}\nprintf %s \"$LOOKUP_PASSWORD\"");
    let shell = std::process::Command::new("sh")
        .args(["-c", &asked])
        .output()
        .expect("a shell");
    assert_eq!(
        String::from_utf8_lossy(&shell.stdout),
        password,
        "{up} {said}"
    );
    assert_eq!(team.run(&["down"]).0, 0);
}

#[test]
fn a_port_that_nobody_listens_on_is_waited_for_whatever_else_answers() {
    let more = "process = [\"python3\", \"server.py\", \"${port:ONE_URL}\", \"own\"]\nready_path = \"/\"\ndeadlines = { ready = 2 }\n\
        publish = [{ env = \"ONE_URL\" }, { env = \"TWO_URL\" }]";
    let team = team(more, "true");
    let (code, _, said) = team.run(&["e2e", "first", "--target", "local"]);
    assert_eq!(code, 6, "{said}");
    assert!(
        said.contains("wait for service: first did not answer after"),
        "{said}"
    );
}

#[test]
fn a_command_before_the_suite_that_fails_is_told_and_the_suite_does_not_run() {
    let more = "process = [\"python3\", \"server.py\", \"${port:SERVICE_URL}\", \"own\"]\nready_path = \"/\"\n\
        before = [{ name = \"seed\", run = [\"sh\", \"-c\", \"echo no such workflow; exit 7\"] }]\nafter = [[\"touch\", \"after\"]]";
    let team = team(more, "touch ran");
    let (code, _, stderr) = team.run(&["e2e", "first", "--target", "local"]);
    assert_eq!(code, 4, "{stderr}");
    assert!(
        stderr.contains(
            "error: before: seed: `sh -c echo no such workflow; exit 7` ended with exit 7"
        ) && stderr.contains("no such workflow\n")
            && stderr.contains("before-seed.log"),
        "{stderr}"
    );
    for file in ["ran", "after"] {
        assert!(!team.dir.path().join(file).exists(), "{file}");
    }
}

#[test]
fn a_name_that_stands_for_nothing_and_a_part_that_no_table_has_are_usage_errors_with_their_place() {
    let team_of = |more: &str| team(more, "true");
    let wrong = |team: &Team| {
        let (code, _, stderr) = team.run(&["e2e", "first", "--target", "local"]);
        assert_eq!(code, 2, "{stderr}");
        stderr
    };
    let process = "process = [\"python3\", \"server.py\", \"${port:OTHER}\", \"own\"]";
    let said = wrong(&team_of(process));
    assert!(
        said.contains("line 14: `first`: nothing is named ${port:OTHER}"),
        "{said}"
    );
    for (more, told) in [
        (
            "publish = [{ env = \"A\" }, { env = \"A\" }]",
            "`A` is a variable of it twice",
        ),
        (
            "publish = [{ env = \"DATABASE_URL\" }]",
            "`DATABASE_URL` is a variable of the tool",
        ),
        (
            "passwords = [\"HOME\"]",
            "`HOME` is a variable of the tool or of the shell",
        ),
        (
            "parts = [\"lookup\"]\npublish = [{ env = \"LOOKUP_URL\" }]",
            "its variable LOOKUP_URL is one of `first` as well",
        ),
        (
            "before = [[\"sh\", \"-c\", \"echo ${port:OWN_URL}\"]]",
            "${port:…} stands in a shell's script",
        ),
    ] {
        let said = wrong(&team_of(more));
        assert!(said.contains(told), "{told}: {said}");
    }
    let said = wrong(&team_of("parts = [\"lookpu\"]"));
    assert!(
        said.contains("wants the part `lookpu`") && said.contains("did you mean `lookup`?"),
        "{said}"
    );
    let said = wrong(&team_of("alone = true\npublish = [{ env = \"9\" }]"));
    assert!(said.contains("`9` is no name of a variable"), "{said}");
    // What real services of one namespace share they have to want alike; found on any machine, for nothing is made.
    let both = |more: &str| {
        entry("first", &format!("{STORAGE}, \"own\""), more, "true")
            .replace("namespace = \"first\"", "namespace = \"both\"")
    };
    let second = both("callers = \"token\"").replace("\"first\"", "\"second\"");
    let team = Team::new(&[both(""), second]);
    let (code, _, said) = team.run(&["e2e", "first", "second", "--target", "kind", "--plan"]);
    assert_eq!(code, 2, "{said}");
    assert!(
        said.contains(
            "run in the namespace both and would share its Data Storage, yet differ in `callers`"
        ),
        "{said}"
    );
    let team = team_of("alone = true");
    let (code, _, said) = team.run(&["e2e", "first", "second", "--target", "local"]);
    assert_eq!(code, 2, "{said}");
    assert!(
        said.contains("`first` is never with others in a run"),
        "{said}"
    );
}
