//! The cluster that `initdb` makes once and every server is a copy of.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use postgres_protocol::escape::escape_identifier;
use sha2::{Digest, Sha256};

use crate::account::Account;
use crate::cache::{FileLock, cache_directory, ensure_own_directory};
use crate::{Durability, Error, Installation, Options};

/// initdb takes half a second; a machine under load may take twenty times that, and others may be in the queue.
const LOCK_DEADLINE: Duration = Duration::from_mins(2);

/// The socket is in a directory that only the server's account may enter, so `trust` there lets nobody else in.
const HOST_BASED_AUTHENTICATION: &str =
    "local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n";

/// Returns the prepared cluster for these options, which is created on first use.
///
/// Users and databases are part of it: copying them costs less than creating them in each new server.
pub(crate) fn ensure(
    installation: &Installation,
    options: &Options,
    account: &Account,
) -> Result<PathBuf, Error> {
    // Segments of 1 MB make the copy 15 MB smaller; figures come from the size that everybody has.
    let segment_megabytes = match options.durability {
        Durability::Fast => 1,
        Durability::Durable => 16,
    };
    let arguments = [
        format!("--username={}", options.user),
        format!("--wal-segsize={segment_megabytes}"),
        // `C` sorts like the official Alpine image, whose libc knows no other order.
        "--no-locale".to_owned(),
        "--encoding=UTF8".to_owned(),
        "--auth=trust".to_owned(),
        "--no-sync".to_owned(),
        "--no-instructions".to_owned(),
    ];
    let parent = cache_directory().join("clusters");
    ensure_own_directory(&parent)?;
    let name = format!(
        "{}-{}",
        installation.version,
        fingerprint(installation, options, &arguments)
    );
    let ready = parent.join(&name);
    if ready.is_dir() {
        return Ok(ready);
    }
    let _lock = FileLock::take(&parent.join(format!("{name}.lock")), LOCK_DEADLINE)?;
    if ready.is_dir() {
        return Ok(ready);
    }
    let part = parent.join(format!("{name}.part"));
    remove(&part)?;
    let created = make(&part, installation, options, &arguments, account).and_then(|()| {
        fs::rename(&part, &ready).map_err(Error::io("move the template cluster to", &ready))
    });
    match created {
        Ok(()) => Ok(ready),
        Err(error) => {
            // The first error is the one to report; what is left of the part is removed by the next attempt.
            remove(&part).ok();
            Err(error)
        }
    }
}

fn fingerprint(installation: &Installation, options: &Options, arguments: &[String]) -> String {
    let mut hash = Sha256::new();
    let bin = installation.bin.to_string_lossy();
    let parts = [
        bin.as_ref(),
        &installation.version,
        &options.database,
        HOST_BASED_AUTHENTICATION,
    ];
    for part in parts
        .into_iter()
        .chain(arguments.iter().map(String::as_str))
    {
        hash.update(part.as_bytes());
        hash.update([0]);
    }
    hash.finalize()
        .iter()
        .take(6)
        .fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

fn make(
    data: &Path,
    installation: &Installation,
    options: &Options,
    arguments: &[String],
    account: &Account,
) -> Result<(), Error> {
    account.check_reach(data)?;
    make_private_directory(data, account)?;
    let initdb = installation.bin.join("initdb");
    run(
        account
            .command(&initdb)
            .arg("--pgdata")
            .arg(data)
            .args(arguments),
        &initdb,
        "",
    )?;
    if !["postgres", "template1"].contains(&options.database.as_str()) {
        let postgres = installation.bin.join("postgres");
        let name = escape_identifier(&options.database);
        let mut single_user = account.command(&postgres);
        single_user
            .arg("--single")
            .arg("-D")
            .arg(data)
            .arg("-F")
            .arg("template1");
        run(
            &mut single_user,
            &postgres,
            &format!("CREATE DATABASE {name}\n"),
        )?;
    }
    fs::write(data.join("pg_hba.conf"), HOST_BASED_AUTHENTICATION)
        .map_err(Error::io("write pg_hba.conf in", data))?;
    // The template outlives this boot; one that a crash of the machine emptied would be copied for ever.
    run(
        account
            .command(&initdb)
            .arg("--sync-only")
            .arg("--pgdata")
            .arg(data),
        &initdb,
        "",
    )
}

/// Creates a directory that only the server's account may enter.
pub(crate) fn make_private_directory(path: &Path, account: &Account) -> Result<(), Error> {
    fs::DirBuilder::new()
        .mode(0o700)
        .create(path)
        .map_err(Error::io("create the directory", path))?;
    account.chown(path)
}

fn run(command: &mut Command, program: &Path, input: &str) -> Result<(), Error> {
    let failed = |detail: String| Error::Cluster {
        program: program.to_owned(),
        detail,
    };
    let spawned = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = spawned.map_err(|error| failed(format!("it does not start: {error}")))?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program that ended early says why in its output.
        stdin.write_all(input.as_bytes()).ok();
    }
    let Output {
        status,
        stdout,
        stderr,
    } = child
        .wait_with_output()
        .map_err(|error| failed(error.to_string()))?;
    let said = format!(
        "{}\n{}",
        String::from_utf8_lossy(&stdout),
        String::from_utf8_lossy(&stderr)
    );
    // A single-user server ends with 0 whatever became of its statements.
    if status.success()
        && !["ERROR: ", "FATAL: "]
            .iter()
            .any(|word| said.contains(word))
    {
        return Ok(());
    }
    // A container's arbitrary user (OpenShift) has no entry in /etc/passwd, and initdb insists on one.
    let nameless = said.contains("could not look up effective user ID");
    let hint = if nameless {
        "\nadd this user to /etc/passwd or use a PostgreSQL server that runs already"
    } else {
        ""
    };
    Err(failed(format!("{status}\n{}{hint}", tail(&said, 12))))
}

/// Returns the last `count` lines of `text` that are not empty.
pub(crate) fn tail(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

/// Removes a directory if it is there.
pub(crate) fn remove(path: &Path) -> Result<(), Error> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::io("remove", path)(error))
        }
        _ => Ok(()),
    }
}

/// Copies the template to `data`, which must not exist, with everything owned by the server's account.
///
/// A thread for each of its thirty directories: the four databases in it are copied side by side.
pub(crate) fn copy(template: &Path, data: &Path, account: &Account) -> Result<(), Error> {
    make_private_directory(data, account)?;
    let entries = fs::read_dir(template).map_err(Error::io("read", template))?;
    std::thread::scope(|scope| {
        let mut below = Vec::new();
        for entry in entries {
            let entry = entry.map_err(Error::io("read", template))?;
            let (from, to) = (entry.path(), data.join(entry.file_name()));
            if entry
                .file_type()
                .map_err(Error::io("inspect", &from))?
                .is_dir()
            {
                below.push(scope.spawn(move || copy(&from, &to, account)));
            } else {
                fs::copy(&from, &to).map_err(Error::io("copy the template cluster to", &to))?;
                account.chown(&to)?;
            }
        }
        below
            .into_iter()
            .try_for_each(|copied| match copied.join() {
                Ok(done) => done,
                Err(panicked) => std::panic::resume_unwind(panicked),
            })
    })
}

/// Adds settings to a cluster's `postgresql.conf`; the last of a name counts.
pub(crate) fn append_configuration(data: &Path, text: &str) -> Result<(), Error> {
    let path = data.join("postgresql.conf");
    let file = fs::File::options().append(true).open(&path);
    file.and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(Error::io("write", &path))
}

/// Opens the server's log for appending; the server gets it as its output, so its account needs no access to the file.
pub(crate) fn open_log(path: &Path) -> Result<File, Error> {
    File::options()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(path)
        .map_err(Error::io("open the server log", path))
}
