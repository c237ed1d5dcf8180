//! Where things lie: the checkout, cargo's target directory, the directories of runs.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::Deserialize;

use crate::exit::{Exit, Failure};
use crate::process::{Error, Runner};
use crate::settings::{self, cargo};

/// Named locations, found once.
#[derive(Clone, Debug)]
pub struct Paths {
    /// The checkout that Data Storage and the suites are built from.
    pub source: PathBuf,
    /// Cargo's target directory for that checkout.
    pub target: PathBuf,
}

#[derive(Deserialize)]
struct Metadata {
    target_directory: PathBuf,
}

impl Paths {
    /// The checkout and its target directory. Where there is no checkout, what runs leave goes to a state directory of the user
    /// (XDG Base Directory Specification), and only what is ready can be run.
    pub fn find(runner: &Runner) -> anyhow::Result<Self> {
        let source = checkout();
        if !source.join("kind/services.toml").is_file() {
            let target = state_directory();
            return Ok(Self { source, target });
        }
        let metadata = runner
            .command(cargo())
            .args([
                "metadata",
                "--no-deps",
                "--offline",
                "--format-version",
                "1",
            ])
            .dir(&source)
            .read();
        let metadata = match metadata {
            Ok(metadata) => metadata,
            // Clean-up has to work without cargo too; nothing is built then.
            Err(Error::NotFound { .. }) => {
                let target = settings::target_directory();
                let target = target.unwrap_or_else(|| source.join("target"));
                return Ok(Self { source, target });
            }
            Err(error) => return Err(error.into_failure(Exit::Preflight, runner.cancel()).into()),
        };
        let metadata: Metadata = serde_json::from_str(&metadata)
            .context("cargo metadata answered something else than JSON")?;
        Ok(Self {
            source,
            target: metadata.target_directory,
        })
    }

    /// Fails where there is no checkout to build a program from, naming what replaces it.
    pub fn can_build(&self, instead: &str) -> Result<(), Failure> {
        if self.source.is_dir() {
            return Ok(());
        }
        let what = format!(
            "there is no checkout of this project at {} to build from",
            self.source.display()
        );
        Err(Failure::new(Exit::Preflight, what)
            .hint(format!("set {} to one, or {instead}", e2e_env::SOURCE)))
    }

    /// The file that remembers how long stages take.
    pub fn history(&self) -> PathBuf {
        self.runs().join("history.json")
    }

    /// The directory that holds every run's own.
    pub fn runs(&self) -> PathBuf {
        self.target.join("e2e")
    }
}

/// The checkout that `E2E_SOURCE` names, else the one that the user is in, else the one that this binary was built from (D4).
pub fn checkout() -> PathBuf {
    let built_from = || {
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .ancestors()
            .nth(2)
            .map(Path::to_owned)
            .unwrap_or_default()
    };
    let around = || {
        let here = std::env::current_dir().ok()?;
        here.ancestors()
            .find(|dir| is_checkout(dir))
            .map(Path::to_owned)
    };
    settings::source()
        .or_else(around)
        .unwrap_or_else(built_from)
}

/// Whether a directory is a checkout of this project.
fn is_checkout(dir: &Path) -> bool {
    [
        "kind/services.toml",
        "xtask/Cargo.toml",
        "crates/e2e-runner/Cargo.toml",
    ]
    .iter()
    .all(|file| dir.join(file).is_file())
}

fn state_directory() -> PathBuf {
    settings::state_home()
        .unwrap_or_else(std::env::temp_dir)
        .join("kubernaut-e2e")
}
