//! Servers that were left running on purpose, for a later process to find.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::address::{Address, Credentials};
use crate::roots::{default_roots, directories};
use crate::{Error, Installation};

const FILE: &str = "detached.json";

/// A server that runs without an owner until it expires.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Detached {
    /// Its directory, which names it.
    #[serde(skip)]
    pub directory: PathBuf,
    /// What it serves, as whoever detached it described it.
    pub label: String,
    /// When a sweep may end it, in seconds since 1970.
    pub(crate) expires: u64,
    pub(crate) installation: Installation,
    pub(crate) deadline: Duration,
    pub(crate) database: String,
    pub(crate) address: Address,
    pub(crate) credentials: Credentials,
}

impl Detached {
    /// Returns the URL of `database` on this server, with the password.
    pub fn url(&self, database: &str) -> String {
        self.address.url(&self.credentials, database).secret()
    }

    /// Returns the URL of `database` without the password.
    pub fn url_without_password(&self, database: &str) -> String {
        self.address.url(&self.credentials, database).to_string()
    }

    /// Returns the password of the server's user.
    pub fn password(&self) -> &str {
        &self.credentials.password
    }

    /// Returns the port on 127.0.0.1, if it listens there.
    pub fn port(&self) -> Option<u16> {
        self.address.tcp
    }

    /// Returns when a sweep may end it.
    pub fn expires(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(self.expires)
    }

    pub(crate) fn is_expired(&self) -> bool {
        seconds_now() >= self.expires
    }

    /// Reads what [`crate::Server::detach`] left in an instance directory.
    pub fn read(directory: &Path) -> Result<Self, Error> {
        let path = directory.join(FILE);
        let refused = |detail: String| Error::NotDetached {
            directory: directory.to_owned(),
            detail,
        };
        let text = fs::read_to_string(&path)
            .map_err(|error| refused(format!("{}: {error}", path.display())))?;
        let read: Self = serde_json::from_str(&text)
            .map_err(|error| refused(format!("{}: {error}", path.display())))?;
        Ok(Self {
            directory: directory.to_owned(),
            ..read
        })
    }

    /// Writes the state, whole or not at all, readable by this user only.
    pub(crate) fn write(&self) -> Result<(), Error> {
        let (part, path) = (
            self.directory.join("detached.part"),
            self.directory.join(FILE),
        );
        let text =
            serde_json::to_string(self).map_err(|error| Error::io("write", &path)(error.into()))?;
        let file = fs::File::options()
            .create(true)
            .write(true)
            .truncate(true)
            .mode(0o600)
            .open(&part);
        file.and_then(|mut file| file.write_all(text.as_bytes()))
            .and_then(|()| fs::rename(&part, &path))
            .map_err(Error::io("write", &path))
    }

    pub(crate) fn remove_record(directory: &Path) -> Result<(), Error> {
        let path = directory.join(FILE);
        fs::remove_file(&path).map_err(Error::io("remove", &path))
    }
}

/// Returns this user's detached servers in the default data roots and in `further` ones, expired ones included.
pub fn detached(further: &[PathBuf]) -> Result<Vec<Detached>, Error> {
    let mut found = Vec::new();
    for root in default_roots()
        .iter()
        .chain(further)
        .filter(|root| root.is_dir())
    {
        found.extend(
            directories(root)?
                .iter()
                .filter_map(|directory| Detached::read(directory).ok()),
        );
    }
    Ok(found)
}

pub(crate) fn seconds_now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs()
}
