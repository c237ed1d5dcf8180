//! A real pgbouncer: in session mode it is as good as the server, in transaction mode it is refused.
//!
//! Behind the feature `pgbouncer`, for machines that have the program: `cargo xtask test` turns it on there.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use embedded_postgres::Server;
use migrations::{Config, Error, Revert, apply, revert, verify};
use testkit::postgres::{Database, empty_database_on};
use testkit::wait::until;

use crate::pooler::trusting_server;
use crate::value;

/// `nobody` on every Linux: pgbouncer does not run as root.
const NOBODY: u32 = 65534;

/// Ends with the test, whichever way that ends.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// A pgbouncer before a server of its own, with one database.
struct Pooled {
    program: Program,
    url: String,
    database: Database,
    server: Server,
    _directories: [tempfile::TempDir; 2],
}

impl Pooled {
    /// Settings as in <https://www.pgbouncer.org/config.html>.
    async fn start(mode: &str, pool_size: u32) -> Self {
        let (server, trust) = trusting_server().await;
        let database = empty_database_on(&server).await;
        let port = free_port();
        let user = server.user();
        let settings = format!(
            "[databases]\n* = host=127.0.0.1 port={} user={user}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n\
             unix_socket_dir =\nauth_type = any\npool_mode = {mode}\ndefault_pool_size = {pool_size}\n",
            server.port().unwrap()
        );
        let directory = tempfile::tempdir().unwrap();
        let open = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(directory.path(), open).unwrap();
        let file = directory.path().join("pgbouncer.ini");
        std::fs::write(&file, settings).unwrap();
        let mut command = Command::new("pgbouncer");
        // Debian keeps it where only administrators look.
        let path = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{path}:/usr/sbin")).arg(&file);
        if std::fs::metadata("/proc/self").unwrap().uid() == 0 {
            command.uid(NOBODY).gid(NOBODY);
        }
        let child = command
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("pgbouncer is installed, for example by `apt-get install pgbouncer`");
        let url = format!("postgres://{user}@127.0.0.1:{port}/{}", database.name());
        let answers = async || {
            tokio::net::TcpStream::connect(("127.0.0.1", port))
                .await
                .map(drop)
        };
        until("pgbouncer to listen", Duration::from_secs(20), answers).await;
        Self {
            program: Program(child),
            url,
            database,
            server,
            _directories: [trust, directory],
        }
    }

    fn config(&self) -> Config {
        Config::new(&self.url)
            .profile("audit")
            .deadline(Duration::from_mins(1))
    }

    async fn stop(self) {
        drop(self.program);
        drop(self.database);
        self.server.stop().await.unwrap();
    }
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

const LOCKS: &str = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'";

#[tokio::test]
async fn pgbouncer_in_session_mode_is_as_good_as_the_server() {
    let pooled = Pooled::start("session", 20).await;
    let runs: Vec<_> = (0..4)
        .map(|_| {
            let config = pooled.config();
            tokio::spawn(async move { apply(&config).await })
        })
        .collect();
    let mut applied = 0;
    for run in runs {
        applied += run.await.unwrap().unwrap().applied.len();
    }
    assert_eq!(applied, 3, "each migration is applied by one run");
    verify(&pooled.config()).await.unwrap();
    let reverted = revert(&pooled.config(), &Revert::All).await.unwrap();
    assert_eq!(reverted.reverted.len(), 3);
    assert_eq!(apply(&pooled.config()).await.unwrap().applied.len(), 3);
    assert_eq!(value(&pooled.database, LOCKS).await, "0");
    pooled.stop().await;
}

/// The pooler's one connection is ours as long as our session lasts: nobody else gets in, which is what a session is.
#[tokio::test]
async fn pgbouncer_in_session_mode_needs_no_second_connection() {
    let pooled = Pooled::start("session", 1).await;
    for applied in [3, 0] {
        let report = apply(&pooled.config()).await.unwrap();
        assert_eq!(report.applied.len(), applied);
    }
    pooled.stop().await;
}

#[tokio::test]
async fn pgbouncer_in_transaction_mode_is_refused_before_anything_is_created() {
    // One server connection, which all share; and several, of which an idle client is given the one it had.
    for pool_size in [1, 20] {
        let pooled = Pooled::start("transaction", pool_size).await;
        for _ in 0..5 {
            let error = apply(&pooled.config()).await.unwrap_err();
            assert!(matches!(error, Error::PoolerRefused { .. }), "{error}");
        }
        let error = revert(&pooled.config(), &Revert::All).await.unwrap_err();
        assert!(matches!(error, Error::PoolerRefused { .. }), "{error}");
        let nothing =
            "SELECT to_regclass('schema_ledger') IS NULL AND to_regclass('audit_events') IS NULL";
        assert_eq!(value(&pooled.database, nothing).await, "t");
        assert_eq!(value(&pooled.database, LOCKS).await, "0");
        pooled.stop().await;
    }
}

/// Among many connections a run may take its own process for one that nobody shares; its one message is safe there all the same.
#[tokio::test]
async fn many_runs_at_once_behind_pgbouncer_in_transaction_mode_are_refused_or_whole() {
    let pooled = Pooled::start("transaction", 20).await;
    let runs: Vec<_> = (0..10)
        .map(|_| {
            let config = pooled.config();
            tokio::spawn(async move { apply(&config).await })
        })
        .collect();
    let mut applied = 0;
    for run in runs {
        match run.await.unwrap() {
            Ok(report) => applied += report.applied.len(),
            Err(error) => assert!(matches!(error, Error::PoolerRefused { .. }), "{error}"),
        }
    }
    assert!(applied == 0 || applied == 3, "{applied} applied");
    assert_eq!(value(&pooled.database, LOCKS).await, "0");
    pooled.stop().await;
}
