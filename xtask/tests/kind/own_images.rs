//! Images of a team's own: built by go without Docker, from files, and by a Dockerfile that lies elsewhere and has arguments.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

const TABLE: &str = "[[service]]\nname = \"images\"\nprofile = \"gateway\"\nnamespace = \"images\"\ncomponents = [\"postgres\", \"own\"]\nports = {}\n\
    manifests = [\"deploy.yaml\"]\nsuite = { command = [\"sh\", \"suite.sh\"] }\nimages = [\n\
    { name = \"localhost/e2e-images-test-go\", build = { go = \"./cmd/answer\", env = { GOFLAGS = \"\", GOPROXY = \"off\" } } },\n\
    { name = \"localhost/e2e-images-test-files:e2e\", build = { files = { \"/bin/copy\" = \"bin/answer\", \"/etc/told\" = \"told\" }, entrypoint = [\"/bin/copy\", \"/etc/told/word\"] } },\n\
    { name = \"localhost/e2e-images-test-docker:e2e\", build = \"context\", dockerfile = \"docker/told.Dockerfile\", args = { WORD = \"WORD\" }, target = \"told\" },\n]\n";

/// It copies a file where it is given two, and else answers with what it was built from and what was copied.
const PROGRAM: &str = "package main\n\nimport (\n\t\"fmt\"\n\t\"net/http\"\n\t\"os\"\n)\n\nfunc main() {\n\tif len(os.Args) == 3 {\n\t\t\
    word, _ := os.ReadFile(os.Args[1])\n\t\tif err := os.WriteFile(os.Args[2], word, 0o644); err != nil {\n\t\t\tpanic(err)\n\t\t}\n\t\treturn\n\t}\n\t\
    http.HandleFunc(\"/\", func(w http.ResponseWriter, _ *http.Request) {\n\t\tfiles, _ := os.ReadFile(\"/shared/files\")\n\t\t\
    docker, _ := os.ReadFile(\"/shared/docker\")\n\t\tfmt.Fprintf(w, \"go: WORD, files: %s, docker: %s\\n\", files, docker)\n\t})\n\t\
    panic(http.ListenAndServe(\":8000\", nil))\n}\n";

const DEPLOY: &str = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: answer}\nspec:\n  selector: {matchLabels: {app: answer}}\n  template:\n    \
    metadata: {labels: {app: answer}}\n    spec:\n      terminationGracePeriodSeconds: 1\n      volumes: [{name: shared, emptyDir: {}}]\n      \
    initContainers:\n        - {name: files, image: 'localhost/e2e-images-test-files:e2e', args: [/shared/files], volumeMounts: [{name: shared, mountPath: /shared}]}\n        \
    - {name: docker, image: 'localhost/e2e-images-test-docker:e2e', command: [cp, /told, /shared/docker], volumeMounts: [{name: shared, mountPath: /shared}]}\n      \
    containers:\n        - name: main\n          image: localhost/e2e-images-test-go\n          imagePullPolicy: Never\n          \
    securityContext: {runAsNonRoot: true, readOnlyRootFilesystem: true}\n          volumeMounts: [{name: shared, mountPath: /shared}]\n---\n\
    apiVersion: v1\nkind: Service\nmetadata: {name: images}\nspec:\n  selector: {app: answer}\n  ports: [{port: 80, targetPort: 8000}]\n";

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
        let base = std::env::var("POSTGRES_IMAGE");
        let base = base.unwrap_or_else(|_| "postgres:16-alpine".to_owned());
        let dockerfile = format!(
            "FROM {base} AS told\nARG WORD\nRUN echo -n \"$WORD\" > /told && chmod 644 /told\nFROM told\nRUN false\n"
        );
        for (name, text) in [
            ("go.mod", "module example.io/images\n\ngo 1.21\n"),
            ("deploy.yaml", DEPLOY),
            ("suite.sh", "curl --silent --show-error $SERVICE_URL/\n"),
            ("docker/told.Dockerfile", &*dockerfile),
            ("context/empty", ""),
            ("told/word", "first"),
        ] {
            team.write(name, text);
        }
        team.say("first");
        let built = Command::new("go")
            .args(["build", "-o", "bin/answer", "./cmd/answer"])
            .current_dir(team.dir.path())
            .envs([("CGO_ENABLED", "0"), ("GOFLAGS", ""), ("GOPROXY", "off")])
            .status();
        assert!(built.expect("go is on PATH").success());
        team
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap_or(Path::new("/"))).expect("a directory");
        fs::write(path, text).expect("a file");
    }

    /// Changes the word that each of the images is built with.
    fn say(&self, word: &str) {
        self.write("cmd/answer/main.go", &PROGRAM.replace("WORD", word));
        self.write("told/word", word);
        let args = format!("WORD = \"{word}\"");
        self.write("services.toml", &TABLE.replace("WORD = \"WORD\"", &args));
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
        command
            .args(args)
            .arg("--services")
            .arg(self.dir.path().join("services.toml"))
            .env("CARGO_TARGET_DIR", self.place.path());
        command
    }

    /// Runs the suite on the kept environment, which it has to pass.
    fn passes(&self) -> String {
        let args = ["e2e", "images", "--target", "kind", "--keep", "always"];
        let Output { status, stderr, .. } = self.command(&args).output().expect("the tool starts");
        let said = String::from_utf8_lossy(&stderr).into_owned();
        assert_eq!(status.code(), Some(0), "{said}");
        said
    }
}

impl Drop for Team {
    fn drop(&mut self) {
        drop(self.command(&["down"]).output());
        let image = ["image", "rm", "localhost/e2e-images-test-docker:e2e"];
        drop(Command::new("docker").args(image).output());
    }
}

/// The id of an image of the host.
fn id(image: &str) -> Option<String> {
    let inspect = ["image", "inspect", "--format", "{{.Id}}", image];
    let output = Command::new("docker").args(inspect).output();
    let output = output.expect("docker is on PATH");
    let id = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    output.status.success().then_some(id)
}

#[test]
fn images_are_made_by_go_from_files_and_by_docker_and_a_rebuild_is_what_runs_and_all_that_stays() {
    let team = Team::new();
    let said = team.passes();
    assert!(
        said.contains("go: first, files: first, docker: first"),
        "{said}"
    );
    let first = id("localhost/e2e-images-test-docker:e2e").expect("what docker has built");

    team.say("second");
    let said = team.passes();
    assert!(
        said.contains("go: second, files: second, docker: second"),
        "{said}"
    );
    assert_eq!(id(&first), None, "the build before is left over");

    let said = team.passes();
    for image in ["go", "files:e2e", "docker:e2e"] {
        let image = format!("localhost/e2e-images-test-{image} is in the node already");
        assert!(said.contains(&image), "{said}");
    }
}
