//! The account that PostgreSQL runs as: ourselves, or for root `postgres`, else `nobody`.

use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::unistd::{User, geteuid};

use crate::Error;

/// Accounts tried for root, in this order.
const FOR_ROOT: [&str; 2] = ["postgres", "nobody"];
/// Variables that a child keeps; `PG*` and the rest would change what it does.
const KEPT: [&str; 3] = ["LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "LOCPATH"];

/// Who runs the server; `None` means this process's own user.
#[derive(Debug, Clone)]
pub(crate) struct Account(Option<User>);

impl Account {
    /// Returns the account for this process's effective user.
    pub(crate) fn current() -> Result<Self, Error> {
        if !geteuid().is_root() {
            return Ok(Self(None));
        }
        FOR_ROOT
            .iter()
            .find_map(|name| User::from_name(name).ok().flatten())
            .map(|user| Self(Some(user)))
            .ok_or(Error::NoAccount)
    }

    /// Returns a command that runs `program` as this account, in `/`, with a clean environment and no input.
    ///
    /// It has its own process group, so that Ctrl-C reaches the owner only, who stops the server in order.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("LC_ALL", "C")
            .env("TZ", "UTC");
        command.envs(
            KEPT.iter()
                .filter_map(|name| std::env::var_os(name).map(|value| (name, value))),
        );
        command
            .current_dir("/")
            .stdin(Stdio::null())
            .process_group(0);
        if let Some(user) = &self.0 {
            command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
        }
        command
    }

    /// Makes the account the owner of `path`.
    pub(crate) fn chown(&self, path: &Path) -> Result<(), Error> {
        match &self.0 {
            None => Ok(()),
            Some(user) => {
                std::os::unix::fs::lchown(path, Some(user.uid.as_raw()), Some(user.gid.as_raw()))
                    .map_err(Error::io("change the owner of", path))
            }
        }
    }

    /// Checks that the account may search every directory above `path`.
    ///
    /// Without this, the dynamic linker's "cannot open shared object file" is all that a user of `/root` would see.
    pub(crate) fn check_reach(&self, path: &Path) -> Result<(), Error> {
        let Some(user) = &self.0 else { return Ok(()) };
        let closed = path.ancestors().skip(1).find(|directory| {
            std::fs::metadata(directory).is_ok_and(|found| {
                use std::os::unix::fs::MetadataExt;
                found.uid() != user.uid.as_raw() && found.permissions().mode() & 0o001 == 0
            })
        });
        match closed {
            None => Ok(()),
            Some(closed) => Err(Error::Unreachable {
                account: user.name.clone(),
                path: path.to_owned(),
                closed: closed.to_owned(),
            }),
        }
    }
}
