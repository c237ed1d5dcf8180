//! Databases with the schema already in them: built once per content, cloned in milliseconds.
//!
//! A template is named by the SHA-256 of what is in it, so a changed file or another ledger makes another one. `datistemplate` is set last:
//! a template that carries it is complete, one without it was interrupted while being built and is built again.

use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio::sync::Mutex;
use tokio::time::sleep;

use crate::apply::apply;
use crate::catalogue::hex;
use crate::config::Config;
use crate::error::Error;
use crate::ledger;
use crate::lock::{self, Key};
use crate::partitions::ensure_partitions;
use crate::rows::text;
use crate::session::{Run, Session};
use crate::sql::{identifier, literal};

/// Takes back the limit under which the template's lock was waited for: databases are made on the same connection.
const NO_LIMIT: &str = "RESET lock_timeout";

/// How often a clone is tried while somebody is connected to the template (SQLSTATE 55006, after the server's own 5 s).
const ATTEMPTS: u32 = 3;

/// A finished template; its clones are independent databases.
pub struct Template {
    config: Config,
    name: String,
    /// How the server copies files: with fsync off, `FILE_COPY` is the faster by half; with it on, `WAL_LOG` avoids two checkpoints.
    strategy: &'static str,
    /// UTC month of the newest partitions inside, as `YYYY-MM`.
    month: String,
    session: Mutex<Option<Session>>,
}

/// Finds or builds the template of the run's selection on the run's server.
///
/// Any number of processes may ask at once: one builds, the others wait.
///
/// # Errors
/// As [`crate::apply`]; the user must be allowed to create databases.
pub async fn template(config: &Config) -> Result<Template, Error> {
    let config = config.on_maintenance_database();
    Run::bounded(&config.clone(), |run| async move {
        let name = name(&config)?;
        let session = Session::open(&run).await?;
        let fsync = session.query("asking for fsync", "SHOW fsync").await?;
        let strategy = match fsync
            .first()
            .and_then(|rows| rows.first())
            .and_then(|row| row.get(0))
        {
            Some("off") => "FILE_COPY",
            _ => "WAL_LOG",
        };
        let month = match find(&session, &name).await? {
            Some(month) => month,
            None => build(&run, &session, &config, &name, strategy).await?,
        };
        Ok(Template {
            config,
            name,
            strategy,
            month,
            session: Mutex::new(Some(session)),
        })
    })
    .await
}

fn name(config: &Config) -> Result<String, Error> {
    let mut hasher = Sha256::new();
    let names = &config.names;
    hasher.update(format!(
        "{} {} {:?} {}\n{:?}\n",
        env!("CARGO_PKG_VERSION"),
        config.catalogue.source(),
        names.schema,
        ledger::make(names, names.role.is_some()),
        config.catalogue.roles
    ));
    for migration in config.catalogue.resolve(&config.selection)? {
        // The checksum leaves out comments, and with them the header's lines.
        hasher.update(format!(
            "{} {} {:?} {:?} {:?} {:?}\n",
            migration.id,
            migration.checksum,
            migration.mode,
            migration.requires,
            migration.partitions,
            migration.down
        ));
    }
    Ok(format!(
        "{}_{}",
        names.template,
        &hex(&hasher.finalize())[..24]
    ))
}

/// The month in the comment of a finished template.
async fn find(session: &Session, name: &str) -> Result<Option<String>, Error> {
    let sql = format!(
        "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = {} AND datistemplate",
        literal(name)
    );
    let sets = session.query("looking for the template", &sql).await?;
    Ok(sets
        .first()
        .and_then(|rows| rows.first())
        .map(|row| text(row, 0)))
}

async fn build(
    run: &Arc<Run>,
    session: &Session,
    config: &Config,
    name: &str,
    strategy: &str,
) -> Result<String, Error> {
    let key = Key::of(session.names(), name);
    lock::acquire_key(run, session, key, Duration::from_secs(1), "", NO_LIMIT).await?;
    if let Some(month) = find(session, name).await? {
        session
            .query("releasing the template's lock", &key.release())
            .await?;
        return Ok(month);
    }
    let quoted = identifier(name);
    session
        .query(
            "dropping an unfinished template",
            &format!("DROP DATABASE IF EXISTS {quoted} WITH (FORCE)"),
        )
        .await?;
    session
        .query(
            "creating the template",
            &format!("CREATE DATABASE {quoted} STRATEGY {strategy}"),
        )
        .await?;
    let own = config.on_database(name);
    Box::pin(apply(&own)).await?;
    // The first connection after the migrations leaves a file of cached catalogues, which every clone inherits.
    Session::open_on(run, &own.target).await?.close().await;
    let month = this_month(session).await?;
    session
        .query(
            "describing the template",
            &format!("COMMENT ON DATABASE {quoted} IS {}", literal(&month)),
        )
        .await?;
    session
        .query(
            "finishing the template",
            &format!("ALTER DATABASE {quoted} IS_TEMPLATE true ALLOW_CONNECTIONS false"),
        )
        .await?;
    session
        .query("releasing the template's lock", &key.release())
        .await?;
    Ok(month)
}

async fn this_month(session: &Session) -> Result<String, Error> {
    let sets = session
        .query(
            "asking for the month",
            "SELECT to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM')",
        )
        .await?;
    Ok(sets
        .first()
        .and_then(|rows| rows.first())
        .map(|row| text(row, 0))
        .unwrap_or_default())
}

impl Template {
    /// Name of the template's own database.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Creates database `name` with everything that the template holds, and partitions around today.
    ///
    /// # Errors
    /// [`Error::Database`] with SQLSTATE 42P04 if `name` exists; 55006 if the template stays in use.
    pub async fn clone_as(&self, name: &str) -> Result<(), Error> {
        let sql = format!(
            "CREATE DATABASE {} TEMPLATE {} STRATEGY {}",
            identifier(name),
            identifier(&self.name),
            self.strategy
        );
        let month = self.on_server("cloning the template", &sql).await?;
        if month != self.month {
            ensure_partitions(&self.config.on_database(name)).await?;
        }
        Ok(())
    }

    /// Drops a clone, whoever is still connected to it.
    ///
    /// # Errors
    /// Those of connecting and [`Error::PermissionDenied`].
    pub async fn drop_clone(&self, name: &str) -> Result<(), Error> {
        let sql = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", identifier(name));
        self.on_server("dropping a clone", &sql).await.map(drop)
    }

    /// Runs one statement on the kept connection, opened again if the server was restarted; returns the server's UTC month.
    async fn on_server(&self, stage: &'static str, sql: &str) -> Result<String, Error> {
        Run::bounded(&self.config, |run| async move {
            let mut kept = self.session.lock().await;
            for attempt in 1.. {
                let session = match kept.take() {
                    Some(session) => session,
                    None => Session::open(&run).await?,
                };
                match session.query(stage, sql).await {
                    Ok(_) => {
                        let month = this_month(&session).await;
                        *kept = Some(session);
                        return month;
                    }
                    Err(Error::ConnectionLost { .. }) if attempt < ATTEMPTS => {}
                    Err(Error::Database { sqlstate, .. })
                        if sqlstate == "55006" && attempt < ATTEMPTS =>
                    {
                        *kept = Some(session);
                        sleep(Duration::from_millis(100)).await;
                    }
                    Err(error) => {
                        *kept = Some(session);
                        return Err(error);
                    }
                }
            }
            unreachable!("the loop returns")
        })
        .await
    }
}
