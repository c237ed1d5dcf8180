//! A running server: start, kill, restart, stop, leave behind, take over.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use postgres_protocol::escape::{escape_identifier, escape_literal};
use rand::RngExt;
use rand::distr::Alphanumeric;
use tokio_postgres::NoTls;

use crate::account::Account;
use crate::address::{Address, Credentials};
use crate::cluster::{self, append_configuration};
use crate::detached::{Detached, seconds_now};
use crate::instance::{Instance, end};
use crate::launch::{await_ready, socket_config, start_on_a_port};
use crate::postmaster::Postmaster;
use crate::watcher::Watcher;
use crate::{Error, Installation, Options};

/// How long a sweep may hold an instance that it leaves alone.
const SWEEP: Duration = Duration::from_secs(1);

/// A private PostgreSQL server; dropping it stops it and removes its data.
///
/// Dropping blocks the thread for some 20 ms, [`Server::stop`] does not. A value in a `static` is never dropped, and its
/// server ends all the same when the process does.
pub struct Server {
    instance: Instance,
    installation: Installation,
    account: Account,
    address: Address,
    credentials: Credentials,
    database: String,
    deadline: Duration,
    postmaster: Postmaster,
    /// `None` for a server that is not, or no longer, this process's to end.
    watcher: Option<Watcher>,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            instance,
            installation,
            address,
            postmaster,
            ..
        } = self;
        let mut debug = f.debug_struct("Server");
        debug
            .field("directory", &instance.directory)
            .field("version", &installation.version);
        debug
            .field("address", address)
            .field("pid", &postmaster.pid())
            .finish_non_exhaustive()
    }
}

impl Server {
    /// Starts a fresh server and returns when it answers and its password is set.
    ///
    /// The first call for a kind of cluster makes the template (half a second); others copy it.
    pub async fn start(installation: &Installation, options: Options) -> Result<Self, Error> {
        options.check()?;
        let account = Account::current()?;
        let (instance, watcher) = prepare(installation, &options, &account).await?;
        let started = match start_on_a_port(&instance, installation, &options, &account).await {
            Ok(started) => started,
            Err(error) => {
                // The watcher would do it, a little later; the first error is the one to report.
                end(&instance.directory).ok();
                watcher.release();
                return Err(error);
            }
        };
        let (address, postmaster) = started;
        let password = options.password.unwrap_or_else(random_password);
        let server = Self {
            instance,
            installation: installation.clone(),
            account,
            address,
            credentials: Credentials {
                user: options.user,
                password,
            },
            database: options.database,
            deadline: options.deadline,
            postmaster,
            watcher: Some(watcher),
        };
        server.set_password().await?;
        Ok(server)
    }

    /// Takes over a server that [`Server::detach`] left; it is started again if it died in the meantime.
    ///
    /// Refused while another process owns it, and when a sweep has removed it. After any other failure it is still detached.
    pub async fn attach(directory: &Path) -> Result<Self, Error> {
        // A sweep that only looks whether it has expired holds it for a moment.
        let asked = Instant::now();
        let adopted = loop {
            match Instance::adopt(directory)? {
                None if directory.exists() && asked.elapsed() < SWEEP => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                adopted => break adopted,
            }
        };
        let Some(instance) = adopted else {
            let detail = "another process owns it now".to_owned();
            return Err(Error::NotDetached {
                directory: directory.to_owned(),
                detail,
            });
        };
        let Detached {
            installation,
            address,
            credentials,
            database,
            deadline,
            ..
        } = Detached::read(directory)?;
        let account = Account::current()?;
        let postmaster = match Postmaster::find(&instance.data()) {
            Some(running) => running,
            None => Postmaster::spawn(&installation, &instance.data(), &instance.log(), &account)?,
        };
        let mut server = Self {
            instance,
            installation,
            account,
            address,
            credentials,
            database,
            deadline,
            postmaster,
            // Until it answers it stays what it was, and a failure loses nothing.
            watcher: None,
        };
        // One that was found may have been about to end.
        match server.ready().await {
            Err(Error::Exited { .. }) => server.restart().await?,
            done => done?,
        }
        Detached::remove_record(directory)?;
        server.watcher = Some(Watcher::start(directory)?);
        Ok(server)
    }

    /// Leaves the server running without an owner until `lifetime` is over; a sweep after that ends it.
    ///
    /// `label` says what it serves. [`crate::detached()`] finds it again.
    pub fn detach(mut self, label: &str, lifetime: Duration) -> Result<Detached, Error> {
        let detached = Detached {
            directory: self.instance.directory.clone(),
            label: label.to_owned(),
            expires: seconds_now().saturating_add(lifetime.as_secs()),
            installation: self.installation.clone(),
            deadline: self.deadline,
            address: self.address.clone(),
            credentials: self.credentials.clone(),
            database: self.database.clone(),
        };
        detached.write()?;
        if let Some(watcher) = self.watcher.take() {
            watcher.release();
        }
        Ok(detached)
    }

    /// Kills the server's processes with SIGKILL and keeps its data (D9); returns when they are gone.
    pub async fn kill(&mut self) -> Result<(), Error> {
        self.postmaster.kill_all().await?;
        self.postmaster
            .remove_stale_locks(&self.instance.data(), self.socket_directory());
        Ok(())
    }

    /// Starts the server again on the same data, port and password, and returns when it answers; ends it first if it runs.
    ///
    /// After a failure the data is still there and the call may be repeated.
    pub async fn restart(&mut self) -> Result<(), Error> {
        self.postmaster.quit();
        self.postmaster.wait().await?;
        self.spawn()?;
        self.await_recovery().await
    }

    /// Stops the server and removes its data.
    pub async fn stop(mut self) -> Result<(), Error> {
        self.postmaster.quit();
        self.postmaster.wait().await?;
        blocking(move || self.remove()).await
    }

    /// Returns the URL of `database`, with the password.
    pub fn url(&self, database: &str) -> String {
        self.address.url(&self.credentials, database).secret()
    }

    /// Returns the URL of `database` without the password, which goes into `PGPASSWORD`.
    pub fn url_without_password(&self, database: &str) -> String {
        self.address.url(&self.credentials, database).to_string()
    }

    /// Returns the name of the database that [`Options::database`] asked for.
    pub fn database(&self) -> &str {
        &self.database
    }

    /// Returns the superuser's name.
    pub fn user(&self) -> &str {
        &self.credentials.user
    }

    /// Returns the superuser's password.
    pub fn password(&self) -> &str {
        &self.credentials.password
    }

    /// Returns the port on 127.0.0.1, if the server listens there.
    pub fn port(&self) -> Option<u16> {
        self.address.tcp
    }

    /// Returns the directory of the unix socket; only the server's account and root may enter it.
    pub fn socket_directory(&self) -> &Path {
        &self.address.socket
    }

    /// Returns the process id of the postmaster, which stays the same until a restart.
    pub fn pid(&self) -> i32 {
        self.postmaster.pid()
    }

    /// Returns whether the postmaster is there.
    pub fn is_running(&mut self) -> bool {
        self.postmaster.ended().is_none()
    }

    /// Returns the path of the server's log, which goes when the server is removed.
    pub fn log_path(&self) -> PathBuf {
        self.instance.log()
    }

    /// Returns the server's own directory: data, socket and log.
    pub fn directory(&self) -> &Path {
        &self.instance.directory
    }

    async fn ready(&mut self) -> Result<(), Error> {
        await_ready(
            &mut self.postmaster,
            &self.address,
            &self.credentials.user,
            &self.instance.log(),
            self.deadline,
        )
        .await
    }

    fn spawn(&mut self) -> Result<(), Error> {
        let (data, log) = (self.instance.data(), self.instance.log());
        self.postmaster = Postmaster::spawn(&self.installation, &data, &log, &self.account)?;
        Ok(())
    }

    /// Returns when the server answers after a crash; what is left of the one before may take a moment to end.
    async fn await_recovery(&mut self) -> Result<(), Error> {
        let started = Instant::now();
        let lingers = |log: &str| {
            log.contains("shared memory block") || log.contains("\"postmaster.pid\" already exists")
        };
        loop {
            match self.ready().await {
                Err(Error::Exited { log, .. })
                    if lingers(&log) && started.elapsed() < self.deadline =>
                {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                    if Postmaster::find(&self.instance.data()).is_none() {
                        self.spawn()?;
                    }
                }
                done => return done,
            }
        }
    }

    async fn set_password(&self) -> Result<(), Error> {
        let refused = |source| Error::Sql {
            action: "set the password of its user",
            source,
        };
        let mut config = socket_config(&self.address, &self.credentials.user);
        // A statement that fails would be in the log, password and all.
        config.options("-c log_min_error_statement=panic -c log_statement=none -c log_min_duration_statement=-1");
        let (client, connection) = config.connect(NoTls).await.map_err(refused)?;
        let statement = format!(
            "ALTER ROLE {} PASSWORD {}",
            escape_identifier(&self.credentials.user),
            escape_literal(&self.credentials.password)
        );
        let work = async {
            let done = client.batch_execute(&statement).await;
            drop(client);
            done
        };
        let (done, ended) = tokio::join!(work, connection);
        done.and(ended).map_err(refused)
    }

    fn remove(&mut self) -> Result<(), Error> {
        let ended = end(&self.instance.directory);
        // Only what is removed needs no watcher: after an error it stays, and tries again when this process ends.
        if ended.is_ok()
            && let Some(watcher) = self.watcher.take()
        {
            watcher.release();
        }
        ended
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.watcher.is_some() {
            // No way to report it here; the watcher and the next sweep try again.
            self.postmaster
                .quit_and_wait()
                .and_then(|()| self.remove())
                .ok();
        }
    }
}

/// Creates the instance with its copy of the template cluster, watched from the first moment.
async fn prepare(
    installation: &Installation,
    options: &Options,
    account: &Account,
) -> Result<(Instance, Watcher), Error> {
    let (installation, options, account) = (installation.clone(), options.clone(), account.clone());
    let work = move || {
        let template = cluster::ensure(&installation, &options, &account)?;
        let instance = Instance::create(&options, &account)?;
        let watcher = Watcher::start(&instance.directory)?;
        cluster::copy(&template, &instance.data(), &account)?;
        append_configuration(&instance.data(), &options.configuration())?;
        Ok((instance, watcher))
    };
    blocking(work).await
}

/// Runs file work where it holds up no other task.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
    }
}

fn random_password() -> String {
    rand::rng()
        .sample_iter(Alphanumeric)
        .take(24)
        .map(char::from)
        .collect()
}
