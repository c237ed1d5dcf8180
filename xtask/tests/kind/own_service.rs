//! A team's service on an environment that is kept: what runs is what was built last, and what should be there is there.

use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Command, Output};

/// The built-in name, a second namespace, no `ready`: the tool has to find out by itself what it waits for.
const TABLE: &str = "[[service]]\nname = \"workflowexecution\"\nprofile = \"gateway\"\nnamespace = \"kubernaut-system\"\n\
    components = [\"postgres\", \"own\"]\nports = { policy = \"fixed\", service = PORT }\nmanifests = [\"deploy.yaml\"]\n\
    images = [{ name = \"localhost/e2e-own-service-test:e2e\", build = \"image\" }]\nsuite = { command = [\"sh\", \"suite.sh\"] }\n";

/// It answers each connection with what was built into its image, and takes its time to end.
const DEPLOY: &str = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: controller}\nspec:\n  selector: {matchLabels: {app: controller}}\n  \
    template:\n    metadata: {labels: {app: controller}}\n    spec:\n      terminationGracePeriodSeconds: 4\n      containers:\n        \
    - name: main\n          image: localhost/e2e-own-service-test:e2e\n          imagePullPolicy: Never\n          command: [sh, /answer.sh]\n---\n\
    apiVersion: v1\nkind: Service\nmetadata: {name: workflowexecution}\nspec:\n  selector: {app: controller}\n  ports: [{port: 80, targetPort: 8000}]\n";

const ELSEWHERE: &str = "---\napiVersion: v1\nkind: Namespace\nmetadata: {name: kubernaut-workflows}\n---\n\
    apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings, namespace: kubernaut-workflows}\ndata: {a: b}\n";

const ANSWER: &str = "perl -MIO::Socket::INET -e 'my $s = IO::Socket::INET->new(Listen => 9, LocalPort => 8000, ReuseAddr => 1); \
    open my $f, \"<\", \"/build\"; my $b = <$f>; while (my $c = $s->accept) { print $c \"HTTP/1.0 200 OK\\r\\n\\r\\n$b\"; close $c }' \
    || while :; do (printf 'HTTP/1.0 200 OK\\r\\n\\r\\n'; cat /build) | nc -l -p 8000; done\n";

/// What a suite sees: which build answers, how many pods there are, and what is in the other namespace.
const SUITE: &str = "set -e\ncurl --silent --show-error $SERVICE_URL/\n\
    kubectl --namespace $E2E_NAMESPACE get pods --selector app=controller --output name\n\
    echo elsewhere: $(kubectl --namespace kubernaut-workflows get configmap settings --ignore-not-found --output name)\n";

/// A team's directory, with a target directory of its own; the environment is removed at the end.
struct Team {
    dir: tempfile::TempDir,
    place: tempfile::TempDir,
}

impl Team {
    fn new() -> Self {
        let team = Self {
            dir: tempfile::tempdir().expect("a directory"),
            place: tempfile::tempdir().expect("a directory"),
        };
        let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let port = free.expect("a free port").port();
        team.write("services.toml", &TABLE.replace("PORT", &port.to_string()));
        fs::create_dir(team.dir.path().join("image")).expect("a directory");
        let base = std::env::var("POSTGRES_IMAGE");
        let base = base.unwrap_or_else(|_| "postgres:16-alpine".to_owned());
        let dockerfile = format!("FROM {base}\nCOPY answer.sh build /\n");
        team.write("image/Dockerfile", &dockerfile);
        team.write("image/answer.sh", ANSWER);
        team
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.dir.path().join(name), text).expect("a file");
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
        command
            .args(args)
            .args(["--services"])
            .arg(self.dir.path().join("services.toml"))
            .env("CARGO_TARGET_DIR", self.place.path());
        command
    }

    fn run(&self, args: &[&str]) -> (Option<i32>, String) {
        let Output { status, stderr, .. } = self.command(args).output().expect("the tool starts");
        (status.code(), String::from_utf8_lossy(&stderr).into_owned())
    }

    /// Runs the suite on the kept environment, which it has to pass.
    fn passes(&self) -> String {
        let args = [
            "e2e",
            "workflowexecution",
            "--target",
            "kind",
            "--keep",
            "always",
        ];
        let (code, said) = self.run(&args);
        assert_eq!(code, Some(0), "{said}");
        said
    }

    /// The file by which the environment is reached.
    fn kubeconfig(&self) -> Option<PathBuf> {
        let runs = fs::read_dir(self.place.path().join("e2e")).ok()?.flatten();
        runs.map(|run| run.path().join("kubeconfig"))
            .find(|file| file.exists())
    }
}

impl Drop for Team {
    fn drop(&mut self) {
        let down = self.command(&["down"]).output();
        drop(down);
        let image = [
            "image",
            "rm",
            "--force",
            "localhost/e2e-own-service-test:e2e",
        ];
        drop(Command::new("docker").args(image).output());
    }
}

#[test]
fn what_runs_on_a_kept_environment_is_what_was_built_and_what_the_manifests_say() {
    let team = Team::new();
    let both = format!("{DEPLOY}{ELSEWHERE}");
    team.write("deploy.yaml", &both);
    team.write("suite.sh", SUITE);
    team.write("image/build", "the first build\n");
    let said = team.passes();
    assert!(
        said.contains("workflowexecution is the one of") && said.contains("the first build"),
        "{said}"
    );
    assert!(said.contains("elsewhere: configmap/settings"), "{said}");

    // The same tag, another content: neither the old image nor the old pod is tested.
    team.write("image/build", "the second build\n");
    let damage = "kubectl --namespace $E2E_NAMESPACE scale deployment controller --replicas 0\n\
        kubectl --namespace kubernaut-workflows delete configmap settings\n";
    team.write("suite.sh", &format!("{SUITE}{damage}"));
    let said = team.passes();
    assert!(
        said.contains("the second build") && !said.contains("the first build"),
        "{said}"
    );
    assert_eq!(said.matches("pod/controller-").count(), 1, "{said}");

    // The suite before has scaled the service down and removed what it needs.
    team.write("suite.sh", SUITE);
    let said = team.passes();
    assert!(
        said.contains("put back") && said.contains("elsewhere: configmap/settings"),
        "{said}"
    );

    team.write("deploy.yaml", DEPLOY);
    team.write("suite.sh", &SUITE.replace("elsewhere", "left"));
    let said = team.passes();
    assert!(
        said.contains("left: \n") || said.contains("left:\n"),
        "{said}"
    );

    // A build of before, which the node has, under the name of the one after it.
    team.write("image/build", "the first build\n");
    team.write("suite.sh", &SUITE.replace("kubernaut-workflows", "default"));
    let said = team.passes();
    assert!(said.contains("the first build"), "{said}");

    // An `up` that fails leaves what stood before, whose fixed port is no other's.
    team.write("deploy.yaml", &DEPLOY.replace("apps/v1", "apps/v9"));
    let (code, said) = team.run(&["up", "workflowexecution", "--target", "kind"]);
    assert_eq!(code, Some(4), "{said}");
    assert!(team.kubeconfig().is_some(), "{said}");
    team.write("deploy.yaml", DEPLOY);
    let (code, said) = team.run(&["up", "workflowexecution", "--target", "kind"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("is used again: same configuration"), "{said}");
}
