//! What befalls a PostgreSQL server: its connections are ended, it is restarted, killed or frozen, a table is locked, its disk is full.

use std::os::unix::{fs::MetadataExt as _, process::CommandExt as _};
use std::process::Command;
use std::time::Duration;

use embedded_postgres::Server;

use crate::{postgres, wait};

/// Bound of every wait here.
const DEADLINE: Duration = Duration::from_mins(1);
/// Below the 16 MiB of a segment of the write-ahead log, and above all other files of a small database.
const LIMIT: u64 = 12 << 20;

/// Ends Data Storage's connections to the database of `url` that are at work (`pg_terminate_backend`); returns how many.
pub async fn terminate(url: &str) -> usize {
    let ended = postgres::connect(url)
        .await
        .query(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
             WHERE application_name = 'datastorage' AND datname = current_database() AND state <> 'idle'",
            &[],
        )
        .await
        .expect("a superuser may end connections");
    ended.len()
}

/// Ends all of Data Storage's connections to the database of `url`.
pub async fn end_connections(url: &str) {
    postgres::connect(url)
        .await
        .query(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
             WHERE application_name = 'datastorage' AND datname = current_database()",
            &[],
        )
        .await
        .expect("a superuser may end connections");
}

/// Restarts the server as `pg_ctl restart -m fast` does.
pub async fn restart_fast(server: &mut Server) {
    send("INT", server.pid());
    wait::until("the server to shut down", DEADLINE, async || {
        if server.is_running() {
            Err("it runs")
        } else {
            Ok(())
        }
    })
    .await;
    server.restart().await.expect("restarted");
}

/// Kills the server's processes and starts it again.
pub async fn crash(server: &mut Server) {
    server.kill().await.expect("killed");
    server.restart().await.expect("restarted");
}

/// Stops the server's processes for a time: connections stay open, and nothing answers.
pub async fn freeze(server: &Server, time: Duration) {
    let postmaster = server.pid();
    // The postmaster first, so that no process of its is born meanwhile.
    send("STOP", postmaster);
    let frozen = children(postmaster);
    let all = |name| {
        for pid in &frozen {
            // A backend may have ended.
            signal(name, *pid);
        }
    };
    all("STOP");
    tokio::time::sleep(time).await;
    all("CONT");
    send("CONT", postmaster);
}

/// Locks a table of the database of `url` against everybody for a time.
pub async fn lock_table(url: &str, table: &str, time: Duration) {
    let mut client = postgres::connect(url).await;
    let transaction = client.transaction().await.expect("a transaction");
    let lock = format!("LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE");
    transaction.batch_execute(&lock).await.expect("locked");
    tokio::time::sleep(time).await;
    transaction.rollback().await.expect("unlocked");
}

/// Lets the write-ahead log's disk be full under load until the server has ended, and starts it again with room.
///
/// The server's processes may write no file of a segment's size any more (`setrlimit(2)`, `RLIMIT_FSIZE`; PostgreSQL ignores the
/// signal), so that the next segment cannot be created: as with no room left, that is a PANIC of whoever commits.
pub async fn fill_wal_disk(server: &mut Server) {
    // Before the limit: a server that crashes at once takes no connection.
    let client = postgres::connect(&server.url("postgres")).await;
    let postmaster = server.pid();
    let account = std::fs::metadata(format!("/proc/{postmaster}")).expect("it runs");
    for pid in children(postmaster).into_iter().chain([postmaster]) {
        // As the account of these processes, since a container's root may not change the limits of others.
        let limited = Command::new("prlimit")
            .uid(account.uid())
            .gid(account.gid())
            .args(["--pid", &pid.to_string(), &format!("--fsize={LIMIT}:")])
            .output()
            .expect("prlimit (util-linux) is there");
        // A backend may have ended in between.
        assert!(
            limited.status.success() || !exists(pid),
            "prlimit: {}",
            String::from_utf8_lossy(&limited.stderr)
        );
    }
    // Segments that are there already are used up first.
    wait::until(
        "the write-ahead log to have no room",
        DEADLINE,
        async || {
            let switched =
                "SELECT pg_logical_emit_message(false, 'fill', 'x'); SELECT pg_switch_wal()";
            match client.batch_execute(switched).await {
                Ok(()) => Err("there is another segment"),
                Err(_) => Ok(()),
            }
        },
    )
    .await;
    // What the processes that are left do without their log is not the point; a restart ends them.
    server.kill().await.expect("killed");
    server.restart().await.expect("restarted");
}

fn send(name: &str, pid: i32) {
    assert!(signal(name, pid), "kill -{name} {pid} failed");
}

/// Whether the process got it: it may have ended.
fn signal(name: &str, pid: i32) -> bool {
    let sent = Command::new("kill")
        .args([format!("-{name}"), pid.to_string()])
        .output();
    sent.is_ok_and(|output| output.status.success())
}

fn exists(pid: i32) -> bool {
    std::path::Path::new(&format!("/proc/{pid}")).exists()
}

/// Ids of the processes whose parent is `pid` (`proc_pid_stat(5)`).
fn children(pid: i32) -> Vec<i32> {
    let processes = std::fs::read_dir("/proc").expect("/proc").flatten();
    processes
        .filter_map(|entry| {
            let id = entry.file_name().to_str()?.parse().ok()?;
            let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
            let (_, rest) = stat.rsplit_once(") ")?;
            let parent: i32 = rest.split(' ').nth(1)?.parse().ok()?;
            (parent == pid).then_some(id)
        })
        .collect()
}
