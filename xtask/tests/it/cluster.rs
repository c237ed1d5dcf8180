//! An existing cluster is chosen by a name that is allowed, and what a run would lack there is said before anything is made.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;
use snapbox::{assert_data_eq, str};
use testkit::fake_tool::FakeTools;

use crate::{output, xtask};

/// kubectl as far as an existing cluster is looked at. A right that a line of the file "denied" names is not given.
const KUBECTL: &str = r#"
answer() { [ ! -e "$FAKE_STATE/$1" ] || { cat "$FAKE_STATE/$1" >&2; exit 1; }; }
case "$*" in
  "config view --output json") cat "$FAKE_STATE/view" ;;
  *"version --output json") answer silent; echo '{"clientVersion":{"gitVersion":"v1.34.4"},"serverVersion":{"gitVersion":"v1.34.1"}}' ;;
  *"version --client"*) echo '{"clientVersion":{"gitVersion":"v1.34.4"}}' ;;
  *"auth whoami"*) echo '{"status":{"userInfo":{"username":"jo"}}}' ;;
  *create*) answer mute; cat > "$FAKE_STATE/asked"; python3 -c "
import json, os
state = os.environ['FAKE_STATE']
denied = open(state + '/denied').read().split('\n') if os.path.exists(state + '/denied') else []
for review in json.load(open(state + '/asked'))['items']:
    asked = review['spec']['resourceAttributes']
    review['status'] = {'allowed': asked['verb'] + ' ' + asked['resource'] not in denied}
    print(json.dumps(review))" ;;
  *"get namespace"*) answer nowhere; cat "$FAKE_STATE/namespace" ;;
  *"get resourcequotas"*) cat "$FAKE_STATE/quotas" ;;
  *) echo "the fake kubectl does not know: $*" >&2; exit 64 ;;
esac
"#;
const VIEW: &str = r#"{"contexts":[{"name":"team-staging","context":{"cluster":"c","user":"u"}},
    {"name":"half","context":{"cluster":"c","user":"gone"}}],
  "clusters":[{"name":"c","cluster":{"server":"https://10.0.0.1:6443"}}],
  "users":[{"name":"u","user":{"token":"REDACTED"}}]}"#;
const NAMESPACE: &str = r#"{"metadata":{"labels":{"pod-security.kubernetes.io/enforce":"restricted"}},"status":{"phase":"Active"}}"#;
const QUOTAS: &str = r#"{"items":[{"kind":"ResourceQuota","metadata":{"name":"few"},"status":{"hard":{"pods":"4"},"used":{"pods":"4"}}}]}"#;

struct Desk {
    tools: FakeTools,
    dir: tempfile::TempDir,
}

impl Desk {
    fn new(configuration: &str) -> Self {
        let tools = FakeTools::new().tool("kubectl", KUBECTL);
        let tools = tools.tool("docker", "exit 1").tool("kind", "exit 1");
        let desk = Self {
            tools,
            dir: tempfile::tempdir().expect("a temporary directory"),
        };
        for (name, text) in [
            ("view", VIEW),
            ("namespace", NAMESPACE),
            ("quotas", QUOTAS),
            ("home/.kube/config", "users: []\n"),
            ("home/.config/kubernaut-e2e/config.toml", configuration),
        ] {
            desk.write(name, text);
        }
        desk
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a directory")).expect("it can be made");
        fs::write(path, text).expect("the directory is writable");
        // Whatever the umask of this machine is.
        if name.contains(".toml") {
            self.chmod(name, 0o600);
        }
    }

    fn chmod(&self, name: &str, mode: u32) {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = fs::Permissions::from_mode(mode);
        fs::set_permissions(self.path(name), mode).expect("it is its own");
    }

    fn run(&self, args: &[&str]) -> (i32, String, String) {
        output(
            xtask(args)
                .env("PATH", self.tools.path())
                .env("FAKE_STATE", self.dir.path())
                .env("HOME", self.path("home"))
                .env("CARGO_TARGET_DIR", self.path("target"))
                .env_remove("KUBECONFIG")
                .env_remove("XDG_CONFIG_HOME"),
        )
    }

    /// What `doctor` says of the cluster itself.
    fn doctor(&self, more: &[&str]) -> (i32, String) {
        let args = ["doctor", "gateway", "--target", "cluster"];
        let args = [&args[..], &["--context", "team-staging"], more].concat();
        let (code, page, said) = self.run(&args);
        let page = page.replace(&self.dir.path().display().to_string(), "/me");
        let of_machine = [
            "build ",
            "services ",
            "memory ",
            "disk",
            "earlier runs",
            "host names",
        ];
        let lines = page.lines().skip_while(|line| {
            let is = |word: &&str| line.get(9..).is_some_and(|rest| rest.starts_with(*word));
            of_machine.iter().any(is) || line.contains("  fix: ")
        });
        let page: Vec<&str> = lines.collect();
        (code, format!("{}\n{said}", page.join("\n")))
    }
}

#[test]
fn a_cluster_that_gives_all_that_a_run_needs_can_run() {
    let desk = Desk::new(
        "[clusters.team-staging]\nnamespaces = [\"team-a\"]\nregistry = \"r.example/e2e\"\n",
    );
    desk.write("quotas", r#"{"items":[]}"#);
    let (code, page) = desk.doctor(&[]);
    assert_eq!(code, 0, "{page}");
    assert_data_eq!(
        page,
        str![[r"
ok       context            `team-staging` is allowed by /me/home/.config/kubernaut-e2e/config.toml, line 1
ok       kubeconfig         /me/home/.kube/config, server https://10.0.0.1:6443
ok       kubectl            v1.34.4
ok       API server         https://10.0.0.1:6443 is v1.34.1
ok       namespace          team-a: Pod Security restricted
ok       rights             38 of the 38 that a run needs
ok       registry           r.example/e2e

cluster team-staging can run

"]]
    );
    assert!(!desk.path("target/e2e").exists(), "nothing is made");
}

#[test]
fn each_missing_right_is_a_line_and_the_last_has_what_an_administrator_can_apply() {
    let desk = Desk::new("[clusters.team-staging]\n");
    desk.write(
        "denied",
        "create namespaces\nget pods\nlist secrets\nwatch secrets",
    );
    let (code, page) = desk.doctor(&[]);
    assert_eq!(code, 3, "{page}");
    assert_data_eq!(
        page,
        str![[r"
...
ok       rights             [..] of the 42 that a run needs
PROBLEM  rights             missing: create namespaces
PROBLEM  rights             missing: get pods in every namespace
PROBLEM  rights             missing: get pods/log in every namespace
PROBLEM  rights             missing: list, watch secrets in every namespace
                            fix: let an administrator apply what `[..]xtask doctor gateway --target cluster --context team-staging --print-role` prints, or use a namespace in which you are administrator: --namespace NAME
...
cluster team-staging cannot run

"]]
    );
    let role = ["--context", "team-staging", "--print-role"];
    let (code, role, said) =
        desk.run(&[&["doctor", "gateway", "--target", "cluster"], &role[..]].concat());
    assert_eq!(code, 0, "{said}");
    assert!(
        role.contains("kind: ClusterRoleBinding") && role.contains("name: \"jo\""),
        "{role}"
    );
}

#[test]
fn a_namespace_that_is_given_shows_its_level_and_a_quota_that_is_full() {
    let desk = Desk::new("[clusters.team-staging]\nwait_for_room_seconds = 5\n");
    let (code, page) = desk.doctor(&["--namespace", "team-a"]);
    assert_eq!(code, 0, "{page}");
    assert!(
        page.contains(
            "warning  namespace          team-a: Pod Security restricted; quota few: pods 4/4\n"
        ) && page.contains(
            "fix: make room, for which a run waits up to 5 s: pods of the quota few: 4 of 4 used"
        ),
        "{page}"
    );
    desk.write(
        "nowhere",
        "Error from server (NotFound): namespaces \"team-a\" not found",
    );
    let (code, page) = desk.doctor(&["--namespace", "team-a"]);
    assert!(
        code == 3 && page.contains("PROBLEM  namespace          there is no namespace team-a"),
        "{page}"
    );
    fs::remove_file(desk.path("nowhere")).expect("it is there");
    desk.write("namespace", r#"{"status":{"phase":"Terminating"}}"#);
    let (code, page) = desk.doctor(&["--namespace", "team-a"]);
    assert!(
        code == 3 && page.contains("team-a is being removed"),
        "{page}"
    );
}

#[test]
fn a_server_that_does_not_answer_is_named_with_the_cause() {
    let desk = Desk::new("[clusters.team-staging]\n");
    for (said, told) in [
        (
            "Unable to connect to the server: tls: failed to verify certificate: x509: unknown authority",
            "its certificate is not trusted",
        ),
        (
            "error: You must be logged in to the server (Unauthorized)",
            "(401)",
        ),
        (
            "Unable to connect to the server: net/http: TLS handshake timeout",
            "it does not answer in time",
        ),
    ] {
        desk.write("silent", said);
        let (code, page) = desk.doctor(&[]);
        assert_eq!(code, 3, "{page}");
        let line = format!("PROBLEM  API server         https://10.0.0.1:6443: {told}");
        let told = page
            .lines()
            .find(|line| line.contains("API server"))
            .unwrap_or_default();
        assert!(page.contains("  fix: "), "{page}");
        assert!(
            page.replace("it does not accept who you say you are ", "")
                .contains(&line),
            "{told}"
        );
    }
}

#[test]
fn rights_that_cannot_be_asked_for_are_a_problem_and_not_taken_as_given() {
    let desk = Desk::new("[clusters.team-staging]\n");
    desk.write(
        "mute",
        "Error from server (Forbidden): selfsubjectaccessreviews is forbidden",
    );
    let (code, page) = desk.doctor(&[]);
    assert!(code == 3 && page.contains("system:basic-user"), "{page}");
}

#[test]
fn a_program_reads_whether_the_cluster_can_run() {
    let desk = Desk::new("[clusters.team-staging]\n");
    let args = ["doctor", "--target", "cluster", "--context", "team-staging"];
    let (code, text, said) = desk.run(&[&args[..], &["--format", "json"]].concat());
    assert_eq!(code, 0, "{said}");
    let document: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(document["result"]["cluster"], true);
    let checks = document["result"]["checks"].as_array().expect("checks");
    assert!(
        checks
            .iter()
            .any(|check| check["name"] == "API server" && check["target"] == "cluster")
    );
}

#[test]
fn a_context_is_allowed_by_name_in_the_user_s_file_or_in_a_table_and_is_always_named() {
    let desk = Desk::new("[clusters.other]\n");
    let up = |more: &[&str]| {
        let (code, _, said) = desk.run(&[&["up", "gateway", "--target", "cluster"], more].concat());
        assert_eq!(code, 2, "{said}");
        said.replace(&desk.dir.path().display().to_string(), "/me")
    };
    assert_data_eq!(
        up(&["--context", "team-staging"]),
        str![[r#"
error: runs may not use the context `team-staging`: allowed are `other` (/me/home/.config/kubernaut-e2e/config.toml, line 1)
  hint: to allow it, add the line [clusters."team-staging"] to /me/home/.config/kubernaut-e2e/config.toml, or for everybody who works with this repository to [..]kind/services.toml

"#]]
    );
    let unnamed = up(&[]);
    assert!(
        unnamed.contains("the current context is never taken")
            && unnamed.contains("allowed: other"),
        "{unnamed}"
    );
    desk.write("services.toml", "[clusters.team-staging]\n");
    let table = desk.path("services.toml").display().to_string();
    let by_table = ["e2e", "gateway", "--plan", "--services", &table];
    let by_table = [
        &by_table[..],
        &["--target", "cluster", "--context", "team-staging"],
    ]
    .concat();
    let (code, plan, said) = desk.run(&by_table);
    assert_eq!(code, 0, "{said}");
    assert!(plan.starts_with("plan for gateway on cluster"), "{plan}");
    let unnamed = up(&["--services", &table]);
    assert!(
        unnamed.contains("allowed: other, team-staging"),
        "{unnamed}"
    );
    assert!(!desk.path("target/e2e").exists(), "nothing is made");
}

#[test]
fn a_configuration_that_others_may_write_or_that_is_wrong_allows_nothing() {
    let desk = Desk::new("[clusters.team-staging]\nregistri = \"x\"\n");
    let refused = |desk: &Desk| {
        let args = [
            "up",
            "gateway",
            "--target",
            "cluster",
            "--context",
            "team-staging",
        ];
        let (code, _, said) = desk.run(&args);
        assert_eq!(code, 2, "{said}");
        said
    };
    let said = refused(&desk);
    assert!(
        said.contains("config.toml") && said.contains("did you mean `registry`?"),
        "{said}"
    );
    desk.write(
        "home/.config/kubernaut-e2e/config.toml",
        "[clusters.team-staging]\n",
    );
    desk.chmod("home/.config/kubernaut-e2e/config.toml", 0o666);
    let said = refused(&desk);
    assert!(
        said.contains("may be written by others") && said.contains("chmod go-w"),
        "{said}"
    );
}

#[test]
fn a_kubeconfig_has_to_be_there_with_all_that_the_context_names() {
    let desk = Desk::new("[clusters.team-staging]\n[clusters.half]\n[clusters.gone]\n");
    let refused = |more: &[&str], wanted: i32| {
        let (code, _, said) = desk.run(&[&["up", "gateway", "--target", "cluster"], more].concat());
        assert_eq!(code, wanted, "{said}");
        said
    };
    let said = refused(&["--context", "gone"], 2);
    assert!(
        said.contains("has no context `gone`") && said.contains("it has team-staging, half"),
        "{said}"
    );
    let said = refused(&["--context", "half"], 2);
    assert!(
        said.contains("names the user `gone`, which is not there"),
        "{said}"
    );
    let said = refused(
        &["--context", "team-staging", "--kubeconfig", "/no/such/file"],
        2,
    );
    assert!(
        said.contains("the kubeconfig /no/such/file is not there"),
        "{said}"
    );
    let exec = r#"{"exec":{"command":"no-such-login","installHint":"get it at x"}}"#;
    desk.write("view", &VIEW.replace(r#"{"token":"REDACTED"}"#, exec));
    let said = refused(&["--context", "team-staging"], 3);
    assert!(
        said.contains("`no-such-login`, which is not installed")
            && said.contains("hint: get it at x"),
        "{said}"
    );
    desk.write("view", VIEW);
    desk.write(
        "home/.kube/config",
        "users: [{name: u, user: {token: x}}]\n",
    );
    desk.chmod("home/.kube/config", 0o644);
    let plan = [
        "e2e",
        "gateway",
        "--plan",
        "--target",
        "cluster",
        "--context",
        "team-staging",
    ];
    let (code, _, said) = desk.run(&plan);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("may be read by others: chmod 600"), "{said}");
}

#[test]
fn what_is_for_an_existing_cluster_means_nothing_elsewhere() {
    let desk = Desk::new("");
    for (args, flag) in [
        (&["up", "gateway", "--context", "x"][..], "--context"),
        (
            &["e2e", "gateway", "--target", "kind", "--registry", "r"],
            "--registry",
        ),
        (
            &["e2e", "gateway", "--target", "local", "--namespace", "n"],
            "--namespace",
        ),
        (&["doctor", "--pull-secret"], "--pull-secret"),
        (&["doctor", "--kubeconfig", "f"], "--kubeconfig"),
        (&["doctor", "--print-role"], "--print-role"),
        (&["doctor", "gateway"], "a service"),
    ] {
        let (code, _, said) = desk.run(args);
        assert_eq!(code, 2, "{said}");
        assert!(
            said.contains(&format!("{flag} is for an existing cluster"))
                && said.contains("--target cluster"),
            "{said}"
        );
    }
    let (code, _, said) = desk.run(&[
        "e2e",
        "gateway",
        "--target",
        "cluster",
        "--context",
        "team-staging",
        "--namespace",
        "Bad",
    ]);
    assert!(code == 2 && said.contains("may not use"), "{said}");
    let desk = Desk::new("[clusters.team-staging]\n");
    for (flag, value, told) in [
        ("--namespace", "Bad", "RFC 1123"),
        ("--registry", "https://r", "HOST[:PORT][/PATH]"),
    ] {
        let args = [
            "up",
            "gateway",
            "--target",
            "cluster",
            "--context",
            "team-staging",
            flag,
            value,
        ];
        let (code, _, said) = desk.run(&args);
        assert!(code == 2 && said.contains(told), "{said}");
    }
}
