//! Where things lie: the checkout, cargo's target directory, the directories of runs.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use serde::Deserialize;

use crate::process::Door;

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
    /// The checkout this binary was built from, unless `E2E_SOURCE` names another (D4).
    pub fn find(door: &Door) -> anyhow::Result<Self> {
        let source = checkout();
        if !source.join("kind/services.toml").is_file() {
            bail!(
                "no checkout of this project at {}; set {} to one",
                source.display(),
                e2e_env::SOURCE
            );
        }
        let metadata = door
            .cmd(cargo())
            .args([
                "metadata",
                "--no-deps",
                "--offline",
                "--format-version",
                "1",
            ])
            .dir(&source)
            .read()
            .context("cargo cannot say where its target directory is")?;
        let metadata: Metadata = serde_json::from_str(&metadata)
            .context("cargo metadata answered something else than JSON")?;
        Ok(Self {
            source,
            target: metadata.target_directory,
        })
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

/// The checkout this binary was built from, unless `E2E_SOURCE` names another (D4).
pub fn checkout() -> PathBuf {
    let built_from = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .map(Path::to_owned)
        .unwrap_or_default();
    std::env::var_os(e2e_env::SOURCE).map_or(built_from, PathBuf::from)
}

/// The cargo that started this process, so that nested calls use the same toolchain.
pub fn cargo() -> std::ffi::OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}
