//! cargo and git for a bundle: the static programs of this commit, and what it is.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use crate::bundle;
use crate::exit::{Exit, Failure};
use crate::paths::Paths;
use crate::process::Runner;
use crate::tools::cargo::{self, Form, Wanted};

/// The packages whose programs a bundle holds besides the suites, each with a program of its name. The first is the tool.
const PACKAGES: [&str; 7] = [
    "xtask",
    bundle::FETCHER,
    bundle::PUSHER,
    "datastorage",
    "service-fake",
    "audit-emit",
    "tunnel-relay",
];
/// The first of those that a run on Kind builds: by a call of their own, which compiles nothing that such a run has compiled.
const ON_KIND: usize = 3;
/// The one that pushes images: its HTTP client, with TLS, is none of the others'.
const PUSHER: usize = 2;

/// Tells the compiler which release the tool is of.
const RELEASE: &str = "E2E_RELEASE";

/// The packages of a bundle's programs, by the calls of cargo that build them: what one call builds shares its features.
pub fn together() -> [&'static [&'static str]; 3] {
    let (tool, others) = PACKAGES.split_at(PUSHER);
    let (pusher, on_kind) = others.split_at(ON_KIND - PUSHER);
    [tool, pusher, on_kind]
}

/// Builds every program of a bundle, static and in release form, with the names that they have there.
pub fn build(
    runner: &Runner,
    paths: &Paths,
    release: &str,
    mut on_line: impl FnMut(&str),
) -> Result<Vec<(&'static str, PathBuf)>, Failure> {
    if !cargo::BUILDS_STATIC {
        let what = "a bundle is built on Linux, on x86-64 or arm64";
        return Err(Failure::new(Exit::Preflight, what).hint("run it there, or in a container"));
    }
    let runner = &runner.clone().env(RELEASE, release);
    let mut built = Vec::new();
    for packages in together() {
        on_line(&format!("building {}", packages.join(", ")));
        let wanted = Wanted {
            programs: packages,
            suites: None,
        };
        let programs = released(runner, paths, wanted, &mut on_line)?;
        let named = packages
            .iter()
            .map(|package| (*package, programs[*package].clone()));
        built.extend(named);
    }
    on_line(&format!("building {}", bundle::SUITES));
    let wanted = Wanted {
        suites: Some(cargo::SUITES),
        ..Wanted::default()
    };
    let suites = released(runner, paths, wanted, &mut on_line)?;
    built.push((bundle::SUITES, suites[cargo::SUITES].clone()));
    Ok(built)
}

fn released(
    runner: &Runner,
    paths: &Paths,
    wanted: Wanted<'_>,
    on_line: impl FnMut(&str),
) -> Result<BTreeMap<String, PathBuf>, Failure> {
    let (form, longest) = (Form::Release, Duration::MAX);
    cargo::build(runner, paths, wanted, form, longest, on_line).map(|built| built.executables)
}

/// The commit of a checkout, the time of it in seconds since 1970, and whether the files are other than that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    /// Its name in hexadecimal digits.
    pub id: String,
    /// When it was made.
    pub time: i64,
    /// Whether files were changed, or added, since.
    pub changed: bool,
}

/// What git says of the checkout.
pub fn commit(runner: &Runner, paths: &Paths) -> Result<Commit, Failure> {
    let git = |args: &[&str]| {
        let command = runner.command("git").args(args).dir(&paths.source);
        let said = command.deadline(Duration::from_mins(1)).read();
        said.map_err(|error| {
            let place = paths.source.display();
            let failure = error.into_failure(Exit::Preflight, runner.cancel());
            let what = format!("no commit is known of {place}: {}", failure.summary);
            Failure::new(failure.exit, what)
                .hint("run it in a clone of the repository, with git installed")
        })
    };
    let said = git(&["log", "-1", "--format=%H %ct"])?;
    let (id, time) = said.trim().split_once(' ').unwrap_or_default();
    let changed = git(&["status", "--porcelain"])?;
    Ok(Commit {
        id: id.to_owned(),
        time: time.parse().map_err(Failure::setup)?,
        changed: !changed.trim().is_empty(),
    })
}
