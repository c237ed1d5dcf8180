//! The crates that are of use elsewhere pack, and a program outside this workspace builds on what is in the packages.
//!
//! The programs are the crates' own examples, as their packages hold them. And what a run compiles is compiled once.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// What is packed: the three crates and those of this workspace that they depend on.
const PACKAGES: [&str; 7] = [
    "audit-store",
    "datastorage-api",
    "datastorage-client",
    "e2e-env",
    "embedded-postgres",
    "migrator",
    "postgres-url",
];

/// Packages outside this workspace, one for each example, which find the packed crates in place of the registry's.
struct Outside {
    /// Kept from one test run to the next, so that the registry's crates are built once.
    root: PathBuf,
}

impl Outside {
    fn new() -> Self {
        let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join("packages");
        let unpacked = root.join("unpacked");
        if unpacked.exists() {
            fs::remove_dir_all(&unpacked).expect("what an earlier run unpacked is removed");
        }
        fs::create_dir_all(&unpacked).expect("a directory for packages");
        let outside = Self { root };
        let mut pack = outside.cargo(Path::new(env!("CARGO_MANIFEST_DIR")));
        pack.args(["package", "--no-verify", "--allow-dirty"]);
        for package in PACKAGES {
            pack.args(["--package", package]);
        }
        succeeds(&mut pack);
        for package in PACKAGES {
            let archive = format!("package/{package}-{}.crate", env!("CARGO_PKG_VERSION"));
            // Not with the times in the archive: those are the same in each, and cargo would not see what has changed.
            let mut tar = Command::new("tar");
            tar.arg("xzmf")
                .arg(outside.root.join("target").join(archive));
            succeeds(tar.arg("-C").arg(&unpacked));
        }
        outside
    }

    /// Runs example `name` of `package`, built with `dependencies` beside it, and returns what it printed.
    fn run(
        &self,
        package: &str,
        name: &str,
        dependencies: &str,
        configure: impl FnOnce(&mut Command),
    ) -> String {
        let version = env!("CARGO_PKG_VERSION");
        let directory = self.root.join(name);
        fs::create_dir_all(&directory).expect("a directory for the program");
        let patches: String = PACKAGES
            .map(|package| {
                format!("{package} = {{ path = \"../unpacked/{package}-{version}\" }}\n")
            })
            .concat();
        let manifest = format!(
            "[package]\nname = \"{name}\"\nedition = \"2024\"\n\n[workspace]\n\n\
             [[bin]]\nname = \"{name}\"\npath = \"../unpacked/{package}-{version}/examples/{name}.rs\"\n\n\
             [dependencies]\n{package} = \"{version}\"\n{dependencies}\n\n[patch.crates-io]\n{patches}"
        );
        fs::write(directory.join("Cargo.toml"), manifest).expect("a manifest");
        // The versions that this workspace is tested with.
        let lock = Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.lock");
        fs::copy(lock, directory.join("Cargo.lock")).expect("a lock file");
        let mut run = self.cargo(&directory);
        run.args(["run", "--quiet", "--"]);
        configure(&mut run);
        succeeds(&mut run)
    }

    fn cargo(&self, directory: &Path) -> Command {
        let mut command =
            Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned()));
        command.current_dir(directory);
        command.env("CARGO_TARGET_DIR", self.root.join("target"));
        command
    }
}

fn succeeds(command: &mut Command) -> String {
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().expect("the program starts");
    let stderr = String::from_utf8_lossy(&stderr);
    assert!(status.success(), "{command:?}: {status}\n{stderr}");
    String::from_utf8_lossy(&stdout).into_owned()
}

#[test]
fn a_program_outside_the_workspace_builds_on_each_packed_crate_and_runs() {
    let outside = Outside::new();
    let work = tempfile::tempdir().expect("a directory");
    let tokio = r#"tokio = { version = "1", features = ["macros", "rt"] }"#;

    let goose = "-- +goose Up\nCREATE TABLE t (id int);\n-- +goose Down\nDROP TABLE t;\n";
    fs::write(work.path().join("00001_orders.sql"), goose).expect("a migration");
    let planned = outside.run("migrator", "plan", "", |command| {
        command.arg(work.path());
    });
    assert_eq!(planned, "00001_orders (00001_orders.sql)\n");

    let installation = testkit::postgres::installation();
    let served = outside.run("embedded-postgres", "server", tokio, |command| {
        command.env(e2e_env::POSTGRES_BIN, &installation.bin);
    });
    assert!(
        served.contains(&installation.version) && served.contains("\npostgres://"),
        "{served}"
    );

    let api = format!(
        "datastorage-api = \"{}\"\n{tokio}",
        env!("CARGO_PKG_VERSION")
    );
    let accepted = outside.run("audit-store", "journal", &api, |command| {
        command
            .args(["http://127.0.0.1:9"])
            .arg(work.path().join("journal"));
    });
    assert_eq!(accepted, "0 stored, 1 journalled\n");
}

/// The features of each dependency in a call of cargo for these packages, as cargo resolves them.
fn features(edges: &str, packages: &[&str]) -> BTreeMap<String, BTreeSet<String>> {
    let mut cargo = Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned()));
    cargo.current_dir(env!("CARGO_MANIFEST_DIR"));
    cargo.args(["tree", "--offline", "--prefix", "none", "--edges", edges]);
    cargo.args(["--format", "{p}|{f}"]);
    for package in packages {
        cargo.args(["--package", package]);
    }
    let tree = succeeds(&mut cargo);
    let mut features: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    // An empty line stands between the trees of two packages.
    for line in tree.lines().filter(|line| !line.is_empty()) {
        let (package, of) = line.split_once('|').expect("the format that was asked for");
        // `tokio v1.54.1`, and after it where it lies, what it is, or that it was shown before.
        let package: Vec<_> = package.split_whitespace().take(2).collect();
        let of = of.trim_end_matches(" (*)").split(',').map(str::to_owned);
        features.entry(package.join(" ")).or_default().extend(of);
    }
    features
}

#[test]
fn what_a_run_compiles_has_the_features_that_the_tool_was_compiled_with() {
    let tool = features("normal,build", &["xtask"]);
    for (edges, packages) in [
        (
            "normal,build",
            &[
                "one-build",
                "datastorage",
                "service-fake",
                "audit-emit",
                "tunnel-relay",
            ][..],
        ),
        ("normal,build", &["one-build", "postgres-fetch"]),
        ("normal,build,dev", &["one-build", "e2e"]),
        (
            "normal,build,dev",
            &[
                "one-build",
                "e2e",
                "datastorage",
                "service-fake",
                "audit-emit",
            ],
        ),
    ] {
        for (package, of) in features(edges, packages) {
            let Some(tools) = tool.get(&package) else {
                continue;
            };
            let differ: Vec<_> = tools.symmetric_difference(&of).collect();
            assert!(
                differ.is_empty(),
                "{package} would be compiled twice, for the tool and for {packages:?}, which differ in {differ:?}: add it with \
                 these features to the dependencies of crates/one-build"
            );
        }
    }
}
