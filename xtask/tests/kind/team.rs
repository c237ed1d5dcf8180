//! A team's own table, image and suite, run by the tool on a kept environment.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

const ANSWER: &str = "perl -MIO::Socket::INET -e 'my $s = IO::Socket::INET->new(Listen => 9, LocalPort => 8000, ReuseAddr => 1); \
    open my $f, \"<\", \"/build\"; my $b = <$f>; while (my $c = $s->accept) { print $c \"HTTP/1.0 200 OK\\r\\n\\r\\n$b\"; close $c }' \
    || while :; do (printf 'HTTP/1.0 200 OK\\r\\n\\r\\n'; cat /build) | nc -l -p 8000; done\n";

/// A team's directory, with a target directory of its own; the environment is removed at the end.
pub(crate) struct Team {
    pub(crate) service: &'static str,
    pub(crate) dir: tempfile::TempDir,
    pub(crate) place: tempfile::TempDir,
}

impl Team {
    /// A team with this table, whose `image` answers each connection with the file `/build` in it.
    pub(crate) fn new(service: &'static str, table: &str) -> Self {
        let team = Self {
            service,
            dir: tempfile::tempdir().expect("a directory"),
            place: tempfile::tempdir().expect("a directory"),
        };
        team.write("services.toml", table);
        fs::create_dir(team.dir.path().join("image")).expect("a directory");
        let base = std::env::var("POSTGRES_IMAGE");
        let base = base.unwrap_or_else(|_| "postgres:16-alpine".to_owned());
        let dockerfile = format!("FROM {base}\nCOPY answer.sh build /\n");
        team.write("image/Dockerfile", &dockerfile);
        team.write("image/answer.sh", ANSWER);
        team
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        fs::write(self.dir.path().join(name), text).expect("a file");
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
        command
            .args(args)
            .args(["--services"])
            .arg(self.dir.path().join("services.toml"))
            .env("CARGO_TARGET_DIR", self.place.path());
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> (Option<i32>, String) {
        let Output { status, stderr, .. } = self.command(args).output().expect("the tool starts");
        (status.code(), String::from_utf8_lossy(&stderr).into_owned())
    }

    /// Runs the suite on the kept environment, which it has to pass.
    pub(crate) fn passes(&self) -> String {
        let args = ["e2e", self.service, "--target", "kind", "--keep", "always"];
        let (code, said) = self.run(&args);
        assert_eq!(code, Some(0), "{said}");
        said
    }

    /// The file by which the environment is reached.
    pub(crate) fn kubeconfig(&self) -> Option<PathBuf> {
        let runs = fs::read_dir(self.place.path().join("e2e")).ok()?.flatten();
        runs.map(|run| run.path().join("kubeconfig"))
            .find(|file| file.exists())
    }
}

impl Drop for Team {
    fn drop(&mut self) {
        let down = self.command(&["down"]).output();
        drop(down);
        let image = format!("localhost/e2e-{}-test:e2e", self.service);
        let remove = ["image", "rm", "--force", &image];
        drop(Command::new("docker").args(remove).output());
    }
}
