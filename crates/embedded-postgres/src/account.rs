//! The account that PostgreSQL runs as: ourselves, or for root `postgres`, else `nobody`.

use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::unistd::geteuid;

use crate::Error;

/// Accounts tried for root, in this order.
const FOR_ROOT: [&str; 2] = ["postgres", "nobody"];
/// Where accounts of the machine itself are (passwd(5)). Read as a file: a static program that asks the C library would load the
/// machine's modules for it (nsswitch.conf(5)), which may be of another version than the library in it.
const ACCOUNTS: &str = "/etc/passwd";
/// Variables that a child keeps; `PG*` and the rest would change what it does.
const KEPT: [&str; 3] = ["LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "LOCPATH"];

#[derive(Debug, Clone, PartialEq, Eq)]
struct User {
    name: String,
    uid: u32,
    gid: u32,
}

impl User {
    /// The account of that name among lines of passwd(5).
    fn find(accounts: &str, name: &str) -> Option<Self> {
        accounts.lines().find_map(|line| {
            let mut fields = line.split(':');
            let found = fields.next().filter(|found| *found == name)?;
            let mut numbers = fields.skip(1).map(str::parse);
            Some(Self {
                name: found.to_owned(),
                uid: numbers.next()?.ok()?,
                gid: numbers.next()?.ok()?,
            })
        })
    }
}

/// Who runs the server; `None` means this process's own user.
#[derive(Debug, Clone)]
pub(crate) struct Account(Option<User>);

impl Account {
    /// Returns the account for this process's effective user.
    pub(crate) fn current() -> Result<Self, Error> {
        if !geteuid().is_root() {
            return Ok(Self(None));
        }
        let accounts =
            std::fs::read_to_string(ACCOUNTS).map_err(Error::io("read", Path::new(ACCOUNTS)))?;
        FOR_ROOT
            .iter()
            .find_map(|name| User::find(&accounts, name))
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
            command.uid(user.uid).gid(user.gid);
        }
        command
    }

    /// Makes the account the owner of `path`.
    pub(crate) fn chown(&self, path: &Path) -> Result<(), Error> {
        match &self.0 {
            None => Ok(()),
            Some(user) => std::os::unix::fs::lchown(path, Some(user.uid), Some(user.gid))
                .map_err(Error::io("change the owner of", path)),
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
                found.uid() != user.uid && found.permissions().mode() & 0o001 == 0
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_is_found_by_its_whole_name_and_a_line_that_is_none_is_passed_over() {
        let accounts = "root:x:0:0:root:/root:/bin/sh\npostgres-old:x:9:9::/:\npostgres:x:no:4::/:\n\npostgres:x:101:104:PostgreSQL administrator,,,:/var/lib/postgresql:/bin/bash\n";
        let found = User::find(accounts, "postgres").map(|user| (user.uid, user.gid));
        assert_eq!(found, Some((101, 104)));
        assert_eq!(User::find(accounts, "nobody"), None);
    }
}
