//! The bundle of this checkout, made once for all tests here, and where it is installed: a machine without Rust.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

/// What no directory of the PATH has.
const COMPILERS: [&str; 5] = ["cargo", "rustc", "rustup", "rustdoc", "cargo-clippy"];

/// The directory with the files of a release of this checkout; `E2E_TEST_DIST` names one that is made already.
pub(crate) fn dist() -> &'static Path {
    static MADE: OnceLock<PathBuf> = OnceLock::new();
    MADE.get_or_init(|| {
        if let Some(made) = std::env::var_os("E2E_TEST_DIST") {
            return made.into();
        }
        let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join("dist");
        drop(fs::remove_dir_all(&out));
        let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
        let (code, _, said) = output(command.args(["dist", "--out"]).arg(&out));
        assert_eq!(code, Some(0), "{said}");
        out
    })
}

/// The only file of a release whose name ends so.
pub(crate) fn file(ending: &str) -> PathBuf {
    let files = fs::read_dir(dist()).expect("the release").flatten();
    let mut files = files.map(|file| file.path()).filter(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("kubernaut-") && name.ends_with(ending)
    });
    let found = files.next();
    assert_eq!(files.next(), None, "another file ends with {ending}");
    found.expect("a file of the release")
}

/// A machine on which nothing but the bundle was installed.
pub(crate) struct Installed {
    root: tempfile::TempDir,
    pub(crate) tool: PathBuf,
}

impl Installed {
    /// Unpacks the archive into an empty directory.
    pub(crate) fn new() -> Self {
        let archive = file("linux-gnu.tar.gz");
        let root = tempfile::tempdir().expect("a directory");
        let opened = fs::File::open(&archive).expect("the archive");
        let mut unpacked = tar::Archive::new(flate2::read::GzDecoder::new(opened));
        unpacked
            .unpack(root.path().join("opt"))
            .expect("it unpacks");
        let name = archive.file_name().expect("a name").to_string_lossy();
        let name = name.trim_end_matches(".tar.gz");
        let tool = root.path().join("opt").join(name).join("xtask");
        fs::create_dir(root.path().join("empty")).expect("a directory");
        Self { root, tool }
    }

    pub(crate) fn dir(&self) -> &Path {
        self.tool.parent().expect("a directory")
    }

    /// Gives a command the variables of that machine: no cargo, and a place of its own for what runs leave.
    pub(crate) fn isolate(&self, command: &mut Command) {
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            let of_rust = text.starts_with("CARGO") || text.starts_with("RUST");
            if of_rust || ["E2E_SOURCE", "GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY"].contains(&&*text)
            {
                command.env_remove(&name);
            }
        }
        command
            .env("PATH", self.path())
            .env("XDG_STATE_HOME", self.root.path().join("state"))
            .current_dir(self.root.path().join("empty"));
    }

    /// The tool with arguments, started nowhere in particular.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.tool);
        self.isolate(&mut command);
        command.args(args);
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> (Option<i32>, String, String) {
        output(&mut self.command(args))
    }

    /// The PATH of this process without Rust: a directory that has a compiler is replaced by one of links to all else in it.
    fn path(&self) -> OsString {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let dirs = std::env::split_paths(&path)
            .enumerate()
            .map(|(number, dir)| {
                if !COMPILERS.iter().any(|name| dir.join(name).exists()) {
                    return dir;
                }
                let links = self.root.path().join(format!("path-{number}"));
                if fs::create_dir(&links).is_ok() {
                    for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
                        let name = entry.file_name();
                        if !COMPILERS.iter().any(|compiler| name == *compiler) {
                            symlink(entry.path(), links.join(name)).expect("a link");
                        }
                    }
                }
                links
            });
        std::env::join_paths(dirs).expect("a PATH")
    }

    /// No command of the runs so far was cargo or a compiler of Rust, and there were commands.
    pub(crate) fn assert_nothing_was_compiled(&self) {
        let runs = fs::read_dir(self.root.path().join("state/kubernaut-e2e/e2e"));
        let runs = runs.expect("runs").flatten().map(|run| run.path());
        let logs = runs.filter_map(|run| fs::read_to_string(run.join("commands.log")).ok());
        let commands: String = logs.collect();
        assert!(!commands.is_empty(), "no command was logged");
        for word in COMPILERS {
            assert!(!commands.contains(word), "{word}: {commands}");
        }
    }
}

/// A team's repository: a copy of the example, outside the checkout.
pub(crate) struct Team(tempfile::TempDir);

impl Team {
    pub(crate) fn copied() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let checkout = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        copy(
            &checkout.join("kind/examples/greeter"),
            &dir.path().join("greeter"),
        );
        Self(dir)
    }

    /// A command within the repository, with its table.
    pub(crate) fn enter<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        let place = self.0.path().join("greeter");
        command.env("E2E_SERVICES", place.join("services.toml"));
        command.current_dir(place)
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a directory");
    for entry in fs::read_dir(from).expect("a directory").flatten() {
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).expect("a copy");
        }
    }
}

/// Runs a command and returns its exit code and both streams.
pub(crate) fn output(command: &mut Command) -> (Option<i32>, String, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().expect("the tool starts");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (status.code(), text(stdout), text(stderr))
}
