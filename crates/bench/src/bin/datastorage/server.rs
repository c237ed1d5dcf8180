//! The server as a process of its own.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use embedded_postgres::Server;

use super::options::Options;

/// The server as a process of its own; dropped, it is killed.
pub(crate) struct DataStorage {
    pub(crate) child: Child,
    pub(crate) address: String,
    _directory: tempfile::TempDir,
}

impl DataStorage {
    pub(crate) async fn start(options: &Options, postgres: &Server) -> anyhow::Result<Self> {
        let binary = match &options.server {
            Some(path) => path.clone(),
            None => build()?,
        };
        let directory = tempfile::tempdir()?;
        let file = directory.path().join("address");
        let child = Command::new(&binary)
            .env_clear()
            .env("DATASTORAGE_DATABASE_HOST", "127.0.0.1")
            .env(
                "DATASTORAGE_DATABASE_PORT",
                postgres.port().context("PostgreSQL listens")?.to_string(),
            )
            .env("DATASTORAGE_DATABASE_NAME", postgres.database())
            .env("DATASTORAGE_DATABASE_USER", postgres.user())
            .env("DATASTORAGE_DATABASE_PASSWORD", postgres.password())
            .env("DATASTORAGE_SERVER_HOST", "127.0.0.1")
            .env("DATASTORAGE_SERVER_PORT", "0")
            .env("DATASTORAGE_LOGGING_LEVEL", "warn")
            .env("DATASTORAGE_DATABASE_STATEMENT_TIMEOUT", "60s")
            .env("DATASTORAGE_SERVER_WRITE_TIMEOUT", "60s")
            .env(
                "DATASTORAGE_QUEUE_DIRECTORY",
                directory.path().join("queue"),
            )
            .env("DATASTORAGE_ADDRESS_FILE", &file)
            .stdin(Stdio::null())
            .spawn()
            .with_context(|| format!("{} does not start", binary.display()))?;
        let address = address(&file).await?;
        Ok(Self {
            child,
            address,
            _directory: directory,
        })
    }

    /// The kernel's high-water mark of resident memory.
    pub(crate) fn peak_memory_kib(&self) -> anyhow::Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:"))
            .context("VmHWM in /proc")?;
        Ok(line.trim().trim_end_matches(" kB").parse()?)
    }
}

impl Drop for DataStorage {
    fn drop(&mut self) {
        if self.child.kill().is_ok() {
            drop(self.child.wait());
        }
    }
}

/// The address in the file, once it is there.
pub(crate) async fn address(file: &Path) -> anyhow::Result<String> {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        match std::fs::read_to_string(file) {
            Ok(address) => return Ok(address),
            Err(_) if Instant::now() < deadline => {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            Err(error) => bail!(
                "the server did not listen within 10 s: {}: {error}",
                file.display()
            ),
        }
    }
}

/// Builds the server in release form; it lies beside this program.
fn build() -> anyhow::Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut cargo = Command::new(cargo);
    cargo.args(["build", "--release", "--quiet", "--package", "datastorage"]);
    bench::tool::clean(&mut cargo);
    let built = cargo
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status()
        .context("cargo does not start; name a server with --server")?;
    ensure!(
        built.success(),
        "the server does not build; name one with --server"
    );
    let program = std::env::current_exe()?;
    Ok(program.with_file_name("datastorage"))
}
