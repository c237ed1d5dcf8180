//! `--coverage` on Kind: a Go service writes in its pod, its pods are back afterwards, and a run without it deploys the service as it is.

use std::fs;
use std::process::Command;

use crate::team::Team;

const TABLE: &str = "[[service]]\nname = \"covered\"\nprofile = \"gateway\"\nnamespace = \"covered\"\ncomponents = [\"postgres\", \"own\"]\nports = {}\n\
    manifests = [\"deploy.yaml\"]\nsuite = { command = [\"curl\", \"--silent\", \"--fail\", \"--show-error\", \"${SERVICE_URL}\"] }\n\
    images = [{ name = \"localhost/e2e-covered-go\", build = { go = \"./cmd/server\", env = { GOFLAGS = \"\", GOPROXY = \"off\" } } }]\n";

/// It answers with a word until it gets SIGTERM.
const MAIN: &str = "package main\n\nimport (\n\t\"context\"\n\t\"fmt\"\n\t\"net/http\"\n\t\"os/signal\"\n\t\"syscall\"\n\n\t\
    \"example.io/covered/word\"\n)\n\nfunc main() {\n\thttp.HandleFunc(\"/\", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, word.Of(1)) })\n\t\
    ended, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)\n\tdefer stop()\n\tserver := &http.Server{Addr: \":8000\"}\n\t\
    go server.ListenAndServe()\n\t<-ended.Done()\n\tserver.Shutdown(context.Background())\n}\n";
const WORD: &str = "package word\n\nfunc Of(n int) string {\n\tif n > 0 {\n\t\treturn \"asked\"\n\t}\n\treturn \"never\"\n}\n";

const DEPLOY: &str = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: server}\nspec:\n  selector: {matchLabels: {app: server}}\n  template:\n    \
    metadata: {labels: {app: server}}\n    spec:\n      terminationGracePeriodSeconds: 10\n      securityContext: {runAsUser: 65532}\n      containers:\n        \
    - name: main\n          image: localhost/e2e-covered-go\n          imagePullPolicy: Never\n          \
    securityContext: {runAsNonRoot: true, readOnlyRootFilesystem: true}\n          readinessProbe: {httpGet: {path: /, port: 8000}, periodSeconds: 1}\n---\n\
    apiVersion: v1\nkind: Service\nmetadata: {name: covered}\nspec:\n  selector: {app: server}\n  ports: [{port: 80, targetPort: 8000}]\n";

/// What kubectl prints of the service's deployment.
fn deployment(team: &Team, output: &str) -> String {
    let kubeconfig = team.kubeconfig().expect("an environment is kept");
    let get = ["--namespace", "covered", "get", "deployment", "server"];
    let kubectl = Command::new("kubectl")
        .arg("--kubeconfig")
        .arg(kubeconfig)
        .args(get)
        .args(["--output", output])
        .output();
    let output = kubectl.expect("kubectl is on PATH");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn what_a_service_covered_in_its_pods_is_collected_and_they_run_again_and_without_it_nothing_of_it_is_left()
 {
    let team = Team::new("covered", TABLE);
    for dir in ["cmd/server", "word"] {
        fs::create_dir_all(team.dir.path().join(dir)).expect("a directory");
    }
    team.write("go.mod", "module example.io/covered\n\ngo 1.21\n");
    team.write("cmd/server/main.go", MAIN);
    team.write("word/word.go", WORD);
    team.write("deploy.yaml", DEPLOY);
    let covered = [
        "e2e",
        "covered",
        "--target",
        "kind",
        "--keep",
        "always",
        "--coverage",
    ];
    for _ in 0..2 {
        let (code, said) = team.run(&covered);
        assert_eq!(code, Some(0), "{said}");
        let told = " % of statements in 2 packages, ";
        assert!(said.contains("coverage: ") && said.contains(told), "{said}");
        let kubeconfig = team.kubeconfig().expect("an environment is kept");
        let profile = kubeconfig.with_file_name("coverage").join("go.txt");
        let profile = fs::read_to_string(profile).expect("a profile");
        assert!(
            profile.contains("example.io/covered/word/word.go:4.11,6.3 1 1\n")
                && profile.contains("example.io/covered/word/word.go:7.2,7.16 1 0\n"),
            "{profile}"
        );
        assert_eq!(deployment(&team, "jsonpath={.status.readyReplicas}"), "1");
    }

    let said = team.passes();
    assert!(!said.contains("collect coverage"), "{said}");
    assert!(!deployment(&team, "json").contains("GOCOVERDIR"));

    // Without a handler Go ends on SIGTERM at once, and writes nothing.
    let deaf = MAIN.replace(
        "<-ended.Done()",
        "_ = ended\n\tstop()\n\t<-make(chan struct{})",
    );
    team.write("cmd/server/main.go", &deaf);
    let (code, said) = team.run(&covered);
    assert_eq!(code, Some(4), "{said}");
    assert!(
        said.contains("no program of covered wrote any coverage")
            && said.contains("main of covered/server-"),
        "{said}"
    );
}
