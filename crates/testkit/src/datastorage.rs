//! The real Data Storage as a process of its own, on a real PostgreSQL.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command},
    sync::OnceLock,
    time::Duration,
};

use tempfile::TempDir;
use tokio_postgres::config::Host;

use crate::postgres::Database;
use crate::wait;

/// Longest time to start.
const DEADLINE: Duration = Duration::from_secs(30);

/// A Data Storage process; dropping it kills it.
#[derive(Debug)]
pub struct Service {
    database_url: String,
    profile: String,
    /// Further settings, by the names of their variables.
    settings: Vec<(&'static str, String)>,
    /// Host and port, the same after every restart.
    address: String,
    directory: TempDir,
    child: Child,
}

impl Service {
    /// Starts Data Storage for the audit profile on `database`, which may be empty, and waits until it listens.
    pub async fn start(database: &Database) -> Self {
        Self::serving("audit", database).await
    }

    /// As [`Service::start`], for another profile.
    pub async fn serving(profile: &str, database: &Database) -> Self {
        Self::with_settings(profile, database, Vec::new()).await
    }

    /// As [`Service::serving`], with further settings such as `("DATASTORAGE_DATABASE_MAX_OPEN_CONNS", "1".to_owned())`.
    pub async fn with_settings(
        profile: &str,
        database: &Database,
        settings: Vec<(&'static str, String)>,
    ) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let child = spawn(
            database.url(),
            profile,
            &settings,
            "127.0.0.1:0",
            directory.path(),
        );
        let mut service = Self {
            database_url: database.url().to_owned(),
            profile: profile.to_owned(),
            settings,
            address: String::new(),
            directory,
            child,
        };
        service.address = service.listening().await;
        service
    }

    /// Returns its base URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The kernel's high-water mark of the process's resident memory, in KiB; none where the system does not show it.
    pub fn peak_memory_kib(&self) -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).ok()?;
        let peak = status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:"))?;
        peak.trim().trim_end_matches(" kB").parse().ok()
    }

    /// Ends the process as `kill -9` does.
    pub fn kill(&mut self) {
        self.child.kill().expect("kill Data Storage");
        self.child.wait().expect("reap Data Storage");
    }

    /// Starts it again, at the same address and with the queue that it left.
    pub async fn restart(&mut self) {
        self.child = spawn(
            &self.database_url,
            &self.profile,
            &self.settings,
            &self.address,
            self.directory.path(),
        );
        self.listening().await;
    }

    async fn listening(&mut self) -> String {
        let file = self.directory.path().join("address");
        let address = wait::until("Data Storage to listen", DEADLINE, async || {
            if let Ok(Some(status)) = self.child.try_wait() {
                panic!("Data Storage ended with {status}: {}", self.log());
            }
            fs::read_to_string(&file).map_err(|error| format!("{error}; its log: {}", self.log()))
        })
        .await;
        fs::remove_file(&file).expect("our own file");
        address.trim().to_owned()
    }

    fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // It may have been killed by the test.
        self.child.kill().unwrap_or_default();
        self.child.wait().expect("reap Data Storage");
    }
}

fn spawn(
    database_url: &str,
    profile: &str,
    settings: &[(&str, String)],
    address: &str,
    directory: &Path,
) -> Child {
    let database: tokio_postgres::Config = database_url.parse().expect("a database URL");
    let Some(Host::Tcp(host)) = database.get_hosts().first() else {
        panic!("{database_url} names no host")
    };
    let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
    let (server_host, server_port) = address.split_once(':').expect("host:port");
    let log = File::create(directory.join("log")).expect("a log file");
    Command::new(binary())
        .env_remove("CONFIG_PATH")
        .env("DATASTORAGE_SERVER_HOST", server_host)
        .env("DATASTORAGE_SERVER_PORT", server_port)
        .env("DATASTORAGE_SCHEMA_PROFILE", profile)
        .env("DATASTORAGE_SERVER_DRAIN_PAUSE", "0s")
        .env("DATASTORAGE_DATABASE_HOST", host)
        .env(
            "DATASTORAGE_DATABASE_PORT",
            database.get_ports()[0].to_string(),
        )
        .env("DATASTORAGE_DATABASE_NAME", text(database.get_dbname()))
        .env("DATASTORAGE_DATABASE_USER", text(database.get_user()))
        .env(
            "DATASTORAGE_DATABASE_PASSWORD",
            String::from_utf8_lossy(database.get_password().unwrap_or_default()).as_ref(),
        )
        .env("DATASTORAGE_QUEUE_DIRECTORY", directory.join("queue"))
        .env("DATASTORAGE_ADDRESS_FILE", directory.join("address"))
        .envs(settings.iter().map(|(name, value)| (name, value)))
        .stdout(log.try_clone().expect("a second handle"))
        .stderr(log)
        .spawn()
        .expect("start Data Storage")
}

/// Returns the binary, built once: by the environment (D4), else by cargo, beside this test.
fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        if let Some(given) = std::env::var_os("E2E_DATASTORAGE_BIN") {
            return given.into();
        }
        let own = std::env::current_exe().expect("this test's path");
        let profile = own
            .ancestors()
            .nth(2)
            .expect("target/<profile>/deps/<test>");
        let mut cargo = Command::new(env!("CARGO"));
        cargo
            .args(["build", "--quiet", "--package", "datastorage"])
            .arg("--target-dir")
            .arg(profile.parent().expect("target"));
        if profile.ends_with("release") {
            cargo.arg("--release");
        }
        let built = cargo
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .status()
            .expect("run cargo");
        assert!(
            built.success(),
            "Data Storage does not build: run `cargo build -p datastorage` and read why"
        );
        profile.join("datastorage")
    })
}
