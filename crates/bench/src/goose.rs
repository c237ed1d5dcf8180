//! The real goose, from its Go module: installed once below the target directory, started as its users start it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::Context as _;

/// What is compared with.
pub const VERSION: &str = "v3.24.1";
/// Drivers that PostgreSQL does not need; without them it builds in seconds.
const TAGS: &str =
    "-tags=no_clickhouse no_libsql no_mssql no_mysql no_sqlite3 no_vertica no_ydb no_duckdb";

/// An installed goose.
#[derive(Clone, Debug)]
pub struct Goose(PathBuf);

impl Goose {
    /// The program that `GOOSE` names, else that of the PATH, else one that `go install` makes.
    ///
    /// # Errors
    /// If there is no `go`, or it cannot fetch or build the module; what it printed is in the error.
    pub fn find() -> anyhow::Result<Self> {
        if let Some(program) = std::env::var_os("GOOSE") {
            return Ok(Self(program.into()));
        }
        if let Some(program) = on_path("goose") {
            return Ok(Self(program));
        }
        let directory = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../target/goose")
            .join(VERSION);
        let program = directory.join("goose");
        if !program.is_file() {
            let module = format!("github.com/pressly/goose/v3/cmd/goose@{VERSION}");
            let install = Command::new("go")
                .args(["install", TAGS, &module])
                .env("GOBIN", &directory)
                .output()
                .context(
                    "goose is installed by `go`; install Go or goose, or name a goose in GOOSE",
                )?;
            let said = String::from_utf8_lossy(&install.stderr);
            anyhow::ensure!(install.status.success(), "go install {module}: {said}");
        }
        Ok(Self(program))
    }

    /// Runs a verb on a directory and a database.
    ///
    /// # Errors
    /// If the process cannot be started; what it answers, also a failure, is the output.
    pub fn run(&self, directory: &Path, url: &str, verb: &[&str]) -> std::io::Result<Output> {
        Command::new(&self.0)
            .arg("-dir")
            .arg(directory)
            .args(verb)
            .env("GOOSE_DRIVER", "postgres")
            .env("GOOSE_DBSTRING", url)
            .output()
    }
}

/// A program of the PATH.
pub fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|directory| directory.join(name))
        .find(|file| file.is_file())
}
