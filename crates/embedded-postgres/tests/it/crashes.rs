//! `kill -9` of the server, of its owner, of its watcher.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use embedded_postgres::{Options, Server, sweep};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::{exists, installation, query};

#[tokio::test]
async fn committed_rows_outlive_a_killed_server() {
    let mut server = Server::start(&installation(), Options::default())
        .await
        .unwrap();
    let url = server.url("action_history");
    query(&url, "CREATE TABLE kept AS SELECT generate_series(1, 1000)")
        .await
        .unwrap();
    let pid = server.pid();
    server.kill().await.unwrap();
    assert!(!exists(pid) && !server.is_running());
    assert!(
        query(&url, "SELECT 1").await.is_err(),
        "nobody should answer"
    );
    server.restart().await.unwrap();
    assert_eq!(
        query(&url, "SELECT count(*) FROM kept").await.unwrap(),
        "1000"
    );
}

#[tokio::test]
async fn a_killed_server_takes_its_busy_backends_along() {
    let mut server = Server::start(&installation(), Options::default())
        .await
        .unwrap();
    let url = server.url("postgres");
    let busy = tokio::spawn(async move { query(&url, "SELECT pg_sleep(600)").await });
    let url = server.url("postgres");
    let backend = loop {
        let statement = "SELECT pid FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%'";
        let pid = query(&url, statement).await.unwrap();
        if !pid.is_empty() {
            break pid.parse::<i32>().unwrap();
        }
    };
    server.kill().await.unwrap();
    assert!(!exists(backend));
    assert!(busy.await.unwrap().is_err());
}

#[tokio::test]
async fn a_server_that_was_killed_leaves_nothing_when_dropped() {
    let mut server = Server::start(&installation(), Options::default())
        .await
        .unwrap();
    let directory = server.directory().to_owned();
    let segment = shared_memory_of(&directory).expect("a running server has a System V segment");
    server.kill().await.unwrap();
    drop(server);
    assert!(!directory.exists());
    let segments = std::fs::read_to_string("/proc/sysvipc/shm").unwrap();
    assert!(
        !segments.lines().any(|line| line
            .split_whitespace()
            .take(2)
            .eq(segment.split_whitespace())),
        "{segments}"
    );
}

#[tokio::test]
async fn an_owner_killed_with_its_watcher_is_swept_up_after() {
    let (mut owner, pid, directory) = owner_process();
    // Its watcher first, so that only the sweep is left.
    for watcher in watchers_of(&directory) {
        kill(Pid::from_raw(watcher), Signal::SIGKILL).unwrap();
    }
    owner.kill().unwrap();
    owner.wait().unwrap();
    assert!(exists(pid), "without its watcher the server stays");
    let swept = sweep(&[]).unwrap();
    // Another test may have swept first; either way both are gone.
    assert!(
        swept.contains(&directory) || !directory.exists(),
        "{swept:?}"
    );
    assert!(!exists(pid) && !directory.exists());
}

#[tokio::test]
async fn a_server_ends_with_a_killed_owner() {
    let (mut owner, pid, directory) = owner_process();
    owner.kill().unwrap();
    owner.wait().unwrap();
    let started = Instant::now();
    while exists(pid) || directory.exists() {
        assert!(
            started.elapsed() < Duration::from_secs(30),
            "{pid} or {} is still there",
            directory.display()
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_sweep_leaves_living_owners_alone() {
    let server = Server::start(&installation(), Options::default())
        .await
        .unwrap();
    let swept = sweep(&[]).unwrap();
    assert!(!swept.contains(&server.directory().to_owned()));
    assert_eq!(
        query(&server.url("postgres"), "SELECT 1").await.unwrap(),
        "1"
    );
}

#[tokio::test]
async fn a_start_that_is_cancelled_leaves_nothing() {
    let root = tempfile::Builder::new()
        .prefix("pg")
        .tempdir_in("/var/tmp")
        .unwrap();
    open_to_all(root.path());
    let installation = installation();
    for milliseconds in [1, 10, 30, 60, 90] {
        let options = Options {
            data_root: Some(root.path().join("r")),
            ..Options::default()
        };
        let start = Server::start(&installation, options);
        drop(tokio::time::timeout(Duration::from_millis(milliseconds), start).await);
    }
    let started = Instant::now();
    let left = || -> Vec<PathBuf> {
        let entries = std::fs::read_dir(root.path().join("r"))
            .into_iter()
            .flatten()
            .flatten();
        entries
            .map(|entry| entry.path())
            .filter(|path| path.is_dir())
            .collect()
    };
    while !left().is_empty() {
        assert!(
            started.elapsed() < Duration::from_secs(30),
            "{:?} is still there",
            left()
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_template_whose_creation_was_killed_is_created_again() {
    let cache = empty_cache();
    let mut killed = start_owner(Some(cache.path()));
    let started = Instant::now();
    while !templates(cache.path())
        .iter()
        .any(|template| unfinished(template))
    {
        assert!(
            started.elapsed() < Duration::from_secs(30),
            "initdb did not begin: {:?}",
            templates(cache.path())
        );
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    killed.kill().unwrap();
    killed.wait().unwrap();
    assert!(
        templates(cache.path())
            .iter()
            .all(|template| unfinished(template)),
        "it was killed too late"
    );

    let mut owner = start_owner(Some(cache.path()));
    let (pid, _) = owned_by(&mut owner);
    assert!(exists(pid));
    owner.kill().unwrap();
    owner.wait().unwrap();
    let made = templates(cache.path());
    assert!(made.len() == 1 && !unfinished(&made[0]), "{made:?}");
}

#[tokio::test]
async fn owners_that_start_together_with_an_empty_cache_share_one_template() {
    let cache = empty_cache();
    let mut owners: Vec<Child> = (0..4).map(|_| start_owner(Some(cache.path()))).collect();
    let mut directories: Vec<PathBuf> = owners.iter_mut().map(|owner| owned_by(owner).1).collect();
    for owner in &mut owners {
        owner.kill().unwrap();
        owner.wait().unwrap();
    }
    directories.sort();
    directories.dedup();
    assert_eq!(directories.len(), 4);
    assert_eq!(
        templates(cache.path()).len(),
        1,
        "{:?}",
        templates(cache.path())
    );
}

fn open_to_all(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

/// Starts this test binary again as the owner of a server.
fn start_owner(cache: Option<&Path>) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([
        "crashes::own_a_server_until_killed",
        "--exact",
        "--nocapture",
    ]);
    command
        .env("OWN_A_SERVER", "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    if let Some(cache) = cache {
        command
            .env("E2E_CACHE_DIR", cache)
            .env("E2E_POSTGRES_BIN", installation().bin);
    }
    command.spawn().unwrap()
}

/// Returns the pid and the directory of an owner's server once it runs.
fn owned_by(owner: &mut Child) -> (i32, PathBuf) {
    let lines = BufReader::new(owner.stdout.take().unwrap()).lines();
    let found = lines.map_while(Result::ok).find_map(|line| {
        let (pid, directory) = line.split_once("owns ")?.1.split_once(' ')?;
        Some((pid.parse().unwrap(), PathBuf::from(directory)))
    });
    found.expect("the owner process names its server")
}

fn owner_process() -> (Child, i32, PathBuf) {
    let mut owner = start_owner(None);
    let (pid, directory) = owned_by(&mut owner);
    (owner, pid, directory)
}

/// Returns a cache directory that root's servers can reach.
fn empty_cache() -> tempfile::TempDir {
    let cache = tempfile::Builder::new()
        .prefix("cache")
        .tempdir_in("/var/tmp")
        .unwrap();
    open_to_all(cache.path());
    cache
}

/// Returns the template clusters in a cache, finished or not.
fn templates(cache: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(cache.join("clusters"))
        .into_iter()
        .flatten()
        .flatten();
    entries
        .map(|entry| entry.path())
        .filter(|path| path.is_dir())
        .collect()
}

fn unfinished(template: &Path) -> bool {
    template
        .extension()
        .is_some_and(|extension| extension == "part")
}

/// The owner that the tests above kill. By itself it proves that the owner's words are true.
#[tokio::test]
async fn own_a_server_until_killed() {
    let server = Server::start(&installation(), Options::default())
        .await
        .unwrap();
    println!("\nowns {} {}", server.pid(), server.directory().display());
    assert!(exists(server.pid()) && server.directory().is_dir());
    if std::env::var_os("OWN_A_SERVER").is_some() {
        tokio::time::sleep(Duration::from_mins(2)).await;
    }
}

fn watchers_of(directory: &Path) -> Vec<i32> {
    let pattern = format!("postgres-watcher {}", directory.display());
    let processes = Command::new("ps")
        .args(["-eo", "pid,args"])
        .output()
        .unwrap();
    let text = String::from_utf8(processes.stdout).unwrap();
    let watchers: Vec<i32> = text
        .lines()
        .filter(|line| line.contains(&pattern))
        .map(|line| line.split_whitespace().next().unwrap().parse().unwrap())
        .collect();
    assert!(
        !watchers.is_empty(),
        "no watcher found for {}",
        directory.display()
    );
    watchers
}

/// Returns "key id" of a server's System V segment.
fn shared_memory_of(directory: &Path) -> Option<String> {
    let text = std::fs::read_to_string(directory.join("data/postmaster.pid")).ok()?;
    let line = text.lines().nth(6)?;
    Some(line.split_whitespace().collect::<Vec<_>>().join(" "))
}
