//! The stages of a run without Docker: embedded PostgreSQL, Data Storage and services as processes of this machine (D8).

use std::path::Path;
use std::time::Duration;

use embedded_postgres::{Installation, Options, Server as EmbeddedServer, Tcp};
use tokio::runtime::Runtime;

use postgres_url::PostgresUrl;

use crate::exit::{Exit, Failure};
use crate::fingerprint::fingerprint;
use crate::table::service::Component;
use crate::tools::postgres::address;

use crate::run::check;
use crate::run::layer::Layer;
use crate::run::local::installation;
use crate::run::plan::Step;
use crate::run::session::Session;
use crate::state::{KEPT_FOR, Resource, Run};

/// Connections that PostgreSQL takes: enough for the pools of as many services as a run can hold.
const CONNECTIONS: u16 = 400;

/// PostgreSQL's binaries are there, or the program that fetches them is.
pub fn preflight(session: &Session) -> Result<String, Failure> {
    if session.integration && integration(session).is_none() {
        let what = format!(
            "{} has no ports of an integration tier",
            session.service_runs[0].service.name
        );
        return Err(Failure::new(Exit::Usage, what)
            .hint("add `integration` to its entry in the table of services"));
    }
    // Of an environment that is used again its own programs have them.
    if session.run.state().fingerprints.is_empty() {
        for service_run in &session.service_runs {
            check::fixed_ports(&service_run.service)?;
        }
    }
    if session.postgres_url.is_some() {
        return Ok("the PostgreSQL of --postgres-url".to_owned());
    }
    if session.having(Component::Postgres).next().is_none() {
        return Ok("no PostgreSQL is needed".to_owned());
    }
    let (runner, paths, artifacts) = (&session.runner, &session.paths, &session.artifacts);
    if let Some(found) = installation::find(|text| session.report.note(text))? {
        let note = format!("PostgreSQL {} in {}", found.version, found.bin.display());
        artifacts.installation.get_or_init(|| found);
        return Ok(note);
    }
    let lines = session.lines(&Step::Preflight.into());
    let fetcher = installation::build_fetcher(runner, paths, lines)?;
    artifacts.fetcher.get_or_init(|| fetcher);
    Ok("no PostgreSQL is here: it is fetched while the programs compile".to_owned())
}

/// Starts PostgreSQL, or uses the server again that an earlier run kept.
pub fn deploy_postgres(session: &Session) -> Result<String, Failure> {
    let found = match (
        session.artifacts.installation.get(),
        session.artifacts.fetcher.get(),
    ) {
        (Some(found), _) => found.clone(),
        (None, Some(fetcher)) => {
            let lines = session.lines(&Step::DeployPostgres.into());
            installation::fetch(&session.runner, fetcher, lines)?
        }
        (None, None) => installation::find_or_fetch(&session.runner, &session.paths, |text| {
            session.report.note(text);
        })?,
    };
    let made_from = server_fingerprint(&found);
    let why = session.rebuild_reason(Layer::Postgres.into());
    let kept = if session.fingerprint_matches(Layer::Postgres.into(), &made_from) {
        kept_postgres(session)?
    } else {
        None
    };
    let (server, note) = if let Some(server) = kept {
        (server, ", used again: same binaries")
    } else {
        forget(session)?;
        let port = integration(session).map(|ports| ports.postgres);
        let server = start_postgres(
            &found,
            &session.run,
            &session.runtime,
            &session.password,
            port,
            session.lifetime,
        )?;
        session.record_fingerprint(Layer::Postgres.into(), &made_from)?;
        (server, why)
    };
    let (_, port) = address(&server)?;
    let note = format!("PostgreSQL {} on port {port}{note}", found.version);
    session.artifacts.server.get_or_init(|| server);
    Ok(note)
}

/// What an embedded server is made from.
pub fn server_fingerprint(found: &Installation) -> String {
    fingerprint(&[&found.version, &found.bin.display().to_string()])
}

/// The ports of the integration tier, where they were asked for.
pub fn integration(session: &Session) -> Option<crate::table::service::Integration> {
    session.service_runs[0]
        .service
        .integration
        .filter(|_| session.integration)
}

/// The server that an earlier run kept, its life prolonged; none if it does not run any more.
fn kept_postgres(session: &Session) -> Result<Option<PostgresUrl>, Failure> {
    let resources = session.run.state().resources;
    let dir = resources.iter().find_map(|resource| match resource {
        Resource::Postgres { dir } => Some(dir.clone()),
        _ => None,
    });
    let Some(dir) = dir else {
        return Ok(None);
    };
    match session.runtime.block_on(EmbeddedServer::attach(&dir)) {
        Ok(server) => {
            let (run, runtime) = (&session.run, &session.runtime);
            hand_over(server, run, runtime, session.lifetime).map(Some)
        }
        Err(_) => Ok(None),
    }
}

/// Lets the embedded server of an environment that is up live as long as the session needs it.
pub fn prolong(session: &Session) -> Result<(), Failure> {
    let servers = session.run.state().resources.into_iter();
    let mut servers = servers.filter(|resource| matches!(resource, Resource::Postgres { .. }));
    if servers.next().is_some() && kept_postgres(session)?.is_none() {
        let what = format!(
            "the PostgreSQL of {} does not run any more",
            session.run.id()
        );
        return Err(Failure::new(Exit::Setup, what).hint(format!(
            "remove what is left with `cargo xtask down {}`, and start it again",
            session.run.state().services.join(" ")
        )));
    }
    Ok(())
}

/// Removes what an earlier run kept and this one cannot use: with the server goes everything on it.
fn forget(session: &Session) -> Result<(), Failure> {
    let state = session.run.state();
    for resource in &state.resources {
        if let Resource::Postgres { dir } = resource {
            stop_postgres(dir).map_err(Failure::setup)?;
        }
    }
    let gone = |state: &mut crate::state::State| {
        // Parts are processes of their own, and may be started already.
        let of_part = format!("{}/", Layer::Part.word());
        state
            .fingerprints
            .retain(|layer, _| layer.starts_with(&of_part));
        state.applied.clear();
        state
            .resources
            .retain(|resource| !matches!(resource, Resource::Postgres { .. }));
    };
    session.run.update(gone).map_err(Failure::setup)
}

/// Starts an embedded server for a run. From here on the run's state file answers for it, not this process.
pub fn start_postgres(
    found: &Installation,
    run: &Run,
    runtime: &Runtime,
    password: &str,
    port: Option<u16>,
    lifetime: Duration,
) -> Result<PostgresUrl, Failure> {
    let options = Options {
        password: Some(password.to_owned()),
        tcp: port.map_or(Tcp::AnyPort, Tcp::Port),
        max_connections: CONNECTIONS,
        client_connection_check_interval: Some(Duration::from_millis(500)),
        ..Options::default()
    };
    let server = runtime
        .block_on(EmbeddedServer::start(found, options))
        .map_err(Failure::setup)?;
    hand_over(server, run, runtime, lifetime)
}

/// Leaves a server running without this process, recorded before it is left.
fn hand_over(
    server: EmbeddedServer,
    run: &Run,
    runtime: &Runtime,
    lifetime: Duration,
) -> Result<PostgresUrl, Failure> {
    let port = server
        .port()
        .ok_or_else(|| Failure::setup("the embedded PostgreSQL listens on no port"))?;
    let url = PostgresUrl::new(server.user(), "127.0.0.1", port)
        .with_database(server.database())
        .with_password(server.password());
    run.will_make(Resource::Postgres {
        dir: server.directory().to_owned(),
    })
    .map_err(Failure::setup)?;
    // Handing the server over ends the task that watches it, which needs the runtime.
    let _entered = runtime.enter();
    server.detach(&run.id(), lifetime).map_err(Failure::setup)?;
    Ok(url)
}

/// The embedded server answered before its stage ended; nothing is left to wait for.
pub fn await_postgres(session: &Session) -> Result<String, Failure> {
    Session::artifact(&session.artifacts.server, "the PostgreSQL server")
        .map(PostgresUrl::to_string)
}

/// Kills the embedded server of a run with SIGKILL and starts it again on the same data and port (D9).
pub fn kill_postgres(run: &Run) -> Result<(), Failure> {
    let runtime = crate::tools::migrate::runtime().map_err(Failure::setup)?;
    // As long as the run that it is of may take.
    let left = run.state().expires.duration_since(jiff::Timestamp::now());
    let left = Duration::try_from(left).unwrap_or_default();
    for resource in run.state().resources {
        if let Resource::Postgres { dir } = resource {
            let killed = runtime.block_on(async {
                let mut server = EmbeddedServer::attach(&dir).await?;
                server.kill().await?;
                server.restart().await?;
                Ok::<_, embedded_postgres::Error>(server)
            });
            let _entered = runtime.enter();
            // The state file is not touched: the run that wrote it may be under way.
            return killed
                .and_then(|server| server.detach(&run.id(), left.max(KEPT_FOR)))
                .map(drop)
                .map_err(Failure::setup);
        }
    }
    Err(Failure::new(
        Exit::Preflight,
        "this run has no PostgreSQL of its own",
    ))
}

/// Stops an embedded server by its directory and removes it; one that is gone is no error.
pub fn stop_postgres(dir: &Path) -> Result<(), String> {
    if !dir.exists() {
        return Ok(());
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| error.to_string())?;
    runtime
        .block_on(async { EmbeddedServer::attach(dir).await?.stop().await })
        .map_err(|error| format!("{error:#}"))
}
