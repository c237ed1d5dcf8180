//! Where things lie: the checkout, cargo's target directory, the directories of runs.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::Context as _;
use embedded_postgres::own_cache_directory;
use serde::Deserialize;

use crate::bundle::Bundle;
use crate::cargo_settings;
use crate::exit::{Exit, Failure};
use crate::inputs::Kept;
use crate::process::{Error, Runner};
use crate::settings::{self, cargo};

/// The table of services, which every checkout has.
const TABLE: &str = "kind/services.toml";

/// The crate as this tool was compiled; a released one is the same from whatever checkout, and remembers none.
const BUILT_FROM: Option<&str> = match settings::RELEASE {
    Some(_) => None,
    None => Some(env!("CARGO_MANIFEST_DIR")),
};

/// The directory of the cache that keeps cargo's answers on where its target directories are.
const KEPT: &str = "target-directories";

/// Named locations, found once.
#[derive(Clone, Debug)]
pub struct Paths {
    /// The checkout that Data Storage and the suites are built from; of an installed tool the directory of that, which is none.
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
        Self::of(checkout(), runner)
    }

    /// Those of the checkout that this tool itself was built from; none of a released one.
    pub fn of_tool(runner: &Runner) -> anyhow::Result<Option<Self>> {
        built_from().map(|dir| Self::of(dir, runner)).transpose()
    }

    fn of(source: PathBuf, runner: &Runner) -> anyhow::Result<Self> {
        if !source.join(TABLE).is_file() {
            let target = state_directory();
            return Ok(Self { source, target });
        }
        let command = runner
            .command(cargo())
            .args([
                "metadata",
                "--no-deps",
                "--offline",
                "--format-version",
                "1",
            ])
            .dir(&source);
        let key = cargo_settings::key(&command, &source);
        let kept = own_cache_directory(KEPT).map(|dir| dir.join(key));
        let value_of = |name: &str| cargo_settings::value(&command, name);
        let known = |file: &PathBuf| Kept::<PathBuf>::read(file, value_of);
        if let Some(target) = kept.as_ref().ok().and_then(known) {
            return Ok(Self { source, target });
        }
        let (began, inputs) = (SystemTime::now(), cargo_settings::inputs(&command, &source));
        let metadata = match command.read() {
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
        let target = metadata.target_directory;
        if let (Ok(kept), Some(inputs)) = (kept, inputs)
            && inputs.are_older_than(began)
            && inputs.changed(value_of).is_none()
        {
            Kept::write(&kept, inputs, target.clone());
        }
        Ok(Self { source, target })
    }

    /// Fails where there is no checkout, for what works on one.
    pub fn has_checkout(&self) -> Result<(), Failure> {
        if self.source.join(TABLE).is_file() {
            return Ok(());
        }
        let place = self.source.display();
        let what = format!("this works on a checkout of this project, and {place} is none");
        let hint = format!("run it in one, or set {} to one", e2e_env::SOURCE);
        Err(Failure::new(Exit::Preflight, what).hint(hint))
    }

    /// Fails where there is no checkout to build a program from, or no cargo to build it by, naming what replaces it.
    pub fn can_build(&self, instead: &str) -> Result<(), Failure> {
        if self.source.join(TABLE).is_file() {
            return self.has_cargo(instead);
        }
        let source = e2e_env::SOURCE;
        let place = self.source.display();
        let (what, bundle) = if settings::RELEASE.is_some() && settings::source().is_none() {
            (
                format!(
                    "this tool has no bundle beside it in {place}, and no checkout of this project is around to build from"
                ),
                "unpack the archive kubernaut-e2e-… of its release and run the tool that lies in it, ",
            )
        } else {
            let what = format!("there is no checkout of this project at {place} to build from");
            (what, "")
        };
        let hint = format!("{bundle}set {source} to a checkout, or {instead}");
        Err(Failure::new(Exit::Preflight, what).hint(hint))
    }

    fn has_cargo(&self, instead: &str) -> Result<(), Failure> {
        let Err(error) = Runner::find(cargo(), None) else {
            return Ok(());
        };
        let place = self.source.display();
        let what = format!("{error}, and programs are built from the checkout {place}");
        let bundle = match Bundle::beside() {
            Ok(Some(_)) => format!(
                "{} to `{}` for the programs beside this tool, ",
                e2e_env::SOURCE,
                settings::BUNDLE
            ),
            _ => String::new(),
        };
        let hint =
            format!("set {bundle}PATH to one that has cargo (https://rustup.rs), or {instead}");
        Err(Failure::new(Exit::Preflight, what).hint(hint))
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

/// The checkout that this tool was built from.
fn built_from() -> Option<PathBuf> {
    let manifest = Path::new(BUILT_FROM?);
    manifest.ancestors().nth(2).map(Path::to_owned)
}

/// The checkout that a run builds from: the one that `E2E_SOURCE` names, else the one that the user is in, else the one that this tool
/// was built from (D4). In their place the directory of this tool, which is none, where it lies in a bundle or was released in one.
pub fn checkout() -> PathBuf {
    let beside = || {
        let tool = std::env::current_exe().ok()?;
        tool.parent().map(Path::to_owned)
    };
    chosen_checkout().unwrap_or_else(|| {
        let place = match Bundle::beside() {
            Ok(None) => built_from().or_else(beside),
            _ => beside(),
        };
        place.unwrap_or_default()
    })
}

/// The checkout that the user has chosen, by `E2E_SOURCE` or by being in it.
fn chosen_checkout() -> Option<PathBuf> {
    if settings::wants_bundle() {
        return None;
    }
    let around = || {
        let here = std::env::current_dir().ok()?;
        here.ancestors()
            .find(|dir| is_checkout(dir))
            .map(Path::to_owned)
    };
    settings::source().or_else(around)
}

/// The bundle that a run takes its programs from: the one that this tool lies in, unless the user has chosen a checkout (D4).
pub fn bundle() -> Result<Option<Bundle>, Failure> {
    if chosen_checkout().is_some() {
        return Ok(None);
    }
    let bundle = Bundle::beside()?;
    if bundle.is_none() && settings::wants_bundle() {
        let (source, word) = (e2e_env::SOURCE, settings::BUNDLE);
        let what = format!("{source} is `{word}`, and this tool lies in none");
        return Err(Failure::new(Exit::Preflight, what).hint(format!(
            "run the tool of an unpacked bundle, or unset {source}"
        )));
    }
    Ok(bundle)
}

/// A ready program of the bundle that a run takes its programs from, if there is one.
pub fn bundled(program: &str) -> Result<Option<PathBuf>, Failure> {
    Ok(bundle()?.and_then(|bundle| bundle.program(program)))
}

/// Whether a directory is a checkout of this project.
fn is_checkout(dir: &Path) -> bool {
    [TABLE, "xtask/Cargo.toml", "crates/e2e-runner/Cargo.toml"]
        .iter()
        .all(|file| dir.join(file).is_file())
}

fn state_directory() -> PathBuf {
    settings::state_home()
        .unwrap_or_else(std::env::temp_dir)
        .join("kubernaut-e2e")
}
