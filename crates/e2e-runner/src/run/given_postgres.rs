//! A PostgreSQL server that the user names: databases of the run on it, dropped by whoever ends the run. The same for every target.

use std::path::Path;
use std::time::Duration;

use migrations::Error;

use crate::exit::Failure;
use crate::process::Runner;
use crate::run::plan::Target;
use crate::run::service_run::ServiceRun;
use crate::run::session::Session;
use crate::state::{Resource, write_private};
use crate::tools::migrate;

/// The file of a run's directory with the server's URL, its password in it.
pub const URL_FILE: &str = "postgres-url";
/// How long clean-up waits for the server; it may have gone for good.
const UNREACHABLE: Duration = Duration::from_secs(5);

/// What to do about a server that the cluster alone may reach.
const ONE_ADDRESS: &str = "this machine makes the databases and pods use them, by one address: give one that both reach, \
                           or leave --postgres-url out, and a server is deployed for the run";

/// Records the databases of the run, one for each service and an empty one, and makes the empty one.
pub fn adopt(session: &Session) -> Result<String, Failure> {
    let server = session
        .postgres_url
        .as_ref()
        .ok_or_else(|| Failure::setup("internal error in xtask (please report): no server"))?;
    let maintenance = server.clone().with_database("postgres").secret();
    let config = migrate::config(&session.runner, &maintenance);
    let failed = |error: Error| migrate::failure(&error, session.runner.cancel());
    // Before anything is recorded: a server that cannot be reached now could not be cleaned either.
    session
        .runtime
        .block_on(migrations::probe(&config))
        .map_err(|error| match (session.place, &error) {
            (Target::Cluster, Error::PostgresNotReady { .. }) => failed(error).hint(ONE_ADDRESS),
            _ => failed(error),
        })?;
    let secret = session.run.dir().join(URL_FILE);
    write_private(&secret, maintenance.as_bytes()).map_err(Failure::setup)?;
    let databases = session.service_runs.iter();
    let databases = databases.map(|service_run| service_run.database.as_str());
    let unmigrated = session.unmigrated_name();
    for database in databases.chain([unmigrated.as_str()]) {
        let resource = Resource::Database {
            name: database.to_owned(),
            url_file: secret.clone(),
        };
        session.run.will_make(resource).map_err(Failure::setup)?;
    }
    let make = async {
        // What a run left whose state is on a machine that is gone.
        let expired = migrations::drop_expired(&config).await?;
        migrations::create_leased(&config, &unmigrated, session.lifetime).await?;
        Ok(expired)
    };
    let expired = session.runtime.block_on(make).map_err(failed)?;
    if !expired.is_empty() {
        let expired = expired.join(", ");
        session.report.note(&format!(
            "dropped what had expired on the server: {expired}"
        ));
    }
    Ok(session
        .artifacts
        .server
        .get_or_init(|| server.clone())
        .to_string())
}

/// Makes the database of a service, a clone of its profile's template, which goes with its last clone.
pub fn clone_database(
    session: &Session,
    service_run: &ServiceRun,
    deadline: Duration,
) -> Result<String, Failure> {
    let config = migrate::config(&session.runner, &session.database(service_run)?.secret())
        .profile(&service_run.service.profile)
        .deadline(deadline);
    let cancel = session.runner.cancel();
    migrate::bounded(&session.runtime, config, cancel, async |config| {
        migrations::clone_leased(&config, &service_run.database, session.lifetime).await
    })
}

/// Lets the databases live as long as the environment that is kept. A server that is away fails nothing that is kept: it may be why.
pub fn prolong(session: &Session, lifetime: Duration) {
    let Some(server) = &session.postgres_url else {
        return;
    };
    let config = migrate::config(&session.runner, &server.secret()).deadline(UNREACHABLE);
    let renew = async {
        for resource in session.run.state().resources {
            if let Resource::Database { name, .. } = resource {
                migrations::renew_lease(&config, &name, lifetime).await?;
            }
        }
        Ok::<_, Error>(())
    };
    if let Err(error) = session.runtime.block_on(renew) {
        session.report.note(&format!(
            "the databases may be dropped as expired before the environment: {error}"
        ));
    }
}

/// Drops a database on the server whose URL the file holds.
pub fn drop_database(runner: &Runner, name: &str, url_file: &Path) -> Result<(), String> {
    let url = std::fs::read_to_string(url_file)
        .map_err(|error| format!("cannot read {}: {error}", url_file.display()))?;
    let runtime = migrate::runtime().map_err(|error| error.to_string())?;
    let config = migrate::config(runner, &url).deadline(UNREACHABLE);
    let gone = async {
        migrations::drop_database(&config, name).await?;
        // With the last clone of a template that too.
        migrations::drop_expired(&config).await
    };
    runtime
        .block_on(gone)
        .map(drop)
        .map_err(|error| error.to_string())
}
