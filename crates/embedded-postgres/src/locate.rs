//! Where PostgreSQL's binaries are found (D8).

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::account::Account;
use crate::{Error, installation_directory};

/// Versions that `postgres-fetch` has a checksum for, the default first: the same major as the deployed image.
pub const PINNED_VERSIONS: [&str; 3] = ["16.15.0", "17.11.0", "18.6.0"];

/// Oldest major version that the migrations are known to run on.
const OLDEST_MAJOR: u32 = 15;

/// What the caller would like to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Version in the cache, one of [`PINNED_VERSIONS`] unless the caller filled the cache itself.
    pub version: String,
    /// Whether a PostgreSQL of this machine, 15 or newer, will do. Its use should be said aloud: [`Installation`] prints it.
    pub installed: bool,
}

impl Default for Wanted {
    /// The first of [`PINNED_VERSIONS`], and nothing installed: ask so first, run the fetcher, then ask for less.
    fn default() -> Self {
        Self {
            version: PINNED_VERSIONS[0].to_owned(),
            installed: false,
        }
    }
}

/// Where an [`Installation`] came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Source {
    /// `E2E_POSTGRES_BIN`.
    Environment,
    /// The cache that `postgres-fetch` fills.
    Cache,
    /// A PostgreSQL of this machine.
    Installed,
}

/// Binaries that were seen to run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Installation {
    /// Directory that holds `initdb` and `postgres`, with symbolic links resolved.
    pub bin: PathBuf,
    /// As `postgres --version` says it, for example `16.15`.
    pub version: String,
    /// Its first number.
    pub major: u32,
    /// Where it came from.
    pub source: Source,
}

impl Installation {
    /// Returns what is in the directory `bin`, after `postgres --version` ran as the account that will run the server.
    pub fn inspect(bin: &Path, source: Source) -> Result<Self, Error> {
        inspect(bin, source, &Account::current()?)
    }
}

impl fmt::Display for Installation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let source = match self.source {
            Source::Environment => e2e_env::POSTGRES_BIN,
            Source::Cache => "cache",
            Source::Installed => "installed on this machine",
        };
        write!(
            f,
            "PostgreSQL {} ({source}, {})",
            self.version,
            self.bin.display()
        )
    }
}

/// Finds PostgreSQL: `E2E_POSTGRES_BIN`, else the cache, else (where [`Wanted::installed`] allows it) this machine's own.
///
/// A set `E2E_POSTGRES_BIN` decides: if it does not work that is the error, and nothing else is tried.
pub fn locate(wanted: &Wanted) -> Result<Installation, Error> {
    let account = Account::current()?;
    if let Some(bin) = std::env::var_os(e2e_env::POSTGRES_BIN).filter(|value| !value.is_empty()) {
        let bin = PathBuf::from(bin);
        if !is_bin_directory(&bin) {
            let detail = format!(
                "{} must name a directory that holds initdb and postgres",
                e2e_env::POSTGRES_BIN
            );
            return Err(Error::Unusable { bin, detail });
        }
        return inspect(&bin, Source::Environment, &account);
    }
    let cached = installation_directory(&wanted.version).join("bin");
    if is_bin_directory(&cached) {
        return inspect(&cached, Source::Cache, &account);
    }
    let mut looked = format!("{} (not set), {}", e2e_env::POSTGRES_BIN, cached.display());
    if wanted.installed {
        if let Some(found) = installed(&wanted.version, &account) {
            return Ok(found);
        }
        looked.push_str(", the usual directories of this machine and PATH");
    }
    Err(Error::NotFound {
        wanted: wanted.version.clone(),
        looked,
    })
}

/// Returns the best installation of this machine: the wanted major if it is there, else the newest.
fn installed(version: &str, account: &Account) -> Option<Installation> {
    let wanted_major = leading_number(version);
    installed_candidates()
        .iter()
        .filter(|bin| is_bin_directory(bin))
        .filter_map(|bin| inspect(bin, Source::Installed, account).ok())
        .max_by_key(|found| (Some(found.major) == wanted_major, found.major))
}

fn installed_candidates() -> Vec<PathBuf> {
    let families = [
        ("/usr/lib/postgresql", ""),
        ("/usr", "pgsql-"),
        ("/opt/homebrew/opt", "postgresql@"),
        ("/usr/local/opt", "postgresql@"),
    ];
    let versioned = families.into_iter().flat_map(|(parent, prefix)| {
        let entries = std::fs::read_dir(parent).into_iter().flatten().flatten();
        entries
            .filter(move |entry| entry.file_name().to_string_lossy().starts_with(prefix))
            .map(|entry| entry.path().join("bin"))
    });
    let path = std::env::var_os("PATH").unwrap_or_default();
    // A link such as /usr/local/bin/postgres leads to the directory that also holds the server's other files.
    let linked = std::env::split_paths(&path).filter_map(|directory| {
        directory
            .join("postgres")
            .canonicalize()
            .ok()?
            .parent()
            .map(Path::to_owned)
    });
    versioned.chain(linked).collect()
}

fn is_bin_directory(bin: &Path) -> bool {
    ["initdb", "postgres"]
        .iter()
        .all(|program| bin.join(program).is_file())
}

/// Runs `postgres --version` as the account that will run the server, which also shows that the account can.
fn inspect(bin: &Path, source: Source, account: &Account) -> Result<Installation, Error> {
    let bin = bin.canonicalize().map_err(Error::io("resolve", bin))?;
    account.check_reach(&bin.join("postgres"))?;
    let unusable = |detail: String| Error::Unusable {
        bin: bin.clone(),
        detail,
    };
    let output = account
        .command(bin.join("postgres"))
        .arg("--version")
        .output()
        .map_err(|error| unusable(format!("postgres does not start: {error}")))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(unusable(format!(
            "`postgres --version` ended with {}: {}",
            output.status,
            said.trim()
        )));
    }
    let line = String::from_utf8_lossy(&output.stdout);
    // "postgres (PostgreSQL) 16.15" or "postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)"
    let version = line
        .split_whitespace()
        .nth(2)
        .unwrap_or_default()
        .to_owned();
    match leading_number(&version) {
        Some(major) if major >= OLDEST_MAJOR => Ok(Installation {
            bin,
            version,
            major,
            source,
        }),
        Some(major) => Err(unusable(format!(
            "version {major} is older than {OLDEST_MAJOR}; use {OLDEST_MAJOR} or newer"
        ))),
        None => Err(unusable(format!(
            "`postgres --version` said {:?}, which names no version",
            line.trim()
        ))),
    }
}

fn leading_number(version: &str) -> Option<u32> {
    let end = version
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(version.len());
    version[..end].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::leading_number;

    #[test]
    fn the_major_version_is_the_leading_number() {
        let read = ["16.15", "17", "18beta1", "devel", ""].map(leading_number);
        assert_eq!(read, [Some(16), Some(17), Some(18), None, None]);
    }
}
