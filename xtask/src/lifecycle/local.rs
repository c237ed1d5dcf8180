//! The stages of a run without Docker: embedded PostgreSQL and Data Storage as processes of this machine (D8).

use std::path::Path;
use std::time::{Duration, Instant};

use embedded_postgres::{Installation, Options, Server as EmbeddedServer, Wanted, locate};
use tokio::runtime::Runtime;

use crate::database::{Database, Server};
use crate::datastorage::Config;
use crate::exit::{Exit, Failure};
use crate::image::{fingerprint, hex};
use crate::lifecycle::KEPT_FOR;
use crate::lifecycle::release;
use crate::lifecycle::session::{Level, Session};
use crate::paths::Paths;
use crate::process::{Door, tail_of};
use crate::state::{Resource, Run, write_private};
use crate::tools::cargo;

/// How long clean-up waits for a server that the user named; it may have gone for good.
const UNREACHABLE: Duration = Duration::from_secs(5);
/// The variable that tells Data Storage where to write the address it listens on.
const ADDRESS_FILE: &str = "DATASTORAGE_ADDRESS_FILE";
/// The database of the second Data Storage: every cluster has it, and nothing is ever applied to it here.
const UNMIGRATED: &str = "postgres";

/// PostgreSQL's binaries are there, fetched if need be.
pub fn preflight(session: &Session) -> Result<String, Failure> {
    if session.postgres_url.is_some() {
        return Ok("the PostgreSQL of --postgres-url".to_owned());
    }
    let found = installation(&session.door, &session.paths, |text| {
        session.report.note(text);
    })?;
    Ok(format!(
        "PostgreSQL {} in {}",
        found.version,
        found.bin.display()
    ))
}

/// Finds PostgreSQL's binaries in the order of D8, fetching them once; an installed PostgreSQL is the last resort and said aloud.
pub fn installation(
    door: &Door,
    paths: &Paths,
    say: impl Fn(&str),
) -> Result<Installation, Failure> {
    let cached = Wanted {
        installed: false,
        ..Wanted::default()
    };
    if let Ok(found) = locate(&cached) {
        return Ok(found);
    }
    say("fetching PostgreSQL's binaries, once");
    let fetched = cargo::run_package(door, paths, "postgres-fetch", &[], Duration::from_mins(10));
    door.cancel().check()?;
    match (fetched, locate(&cached)) {
        (Ok(_), Ok(found)) => Ok(found),
        (fetched, _) => {
            let why = fetched
                .err()
                .map(|failure| failure.what)
                .unwrap_or_default();
            let found = locate(&Wanted::default()).map_err(|error| {
                Failure::new(Exit::Preflight, format!("no PostgreSQL to run: {error}"))
                    .seen(why.clone())
                    .next(format!("connect to a package registry once, set {} to a PostgreSQL's bin directory, or pass --postgres-url", e2e_env::POSTGRES_BIN))
            })?;
            say(&format!(
                "could not fetch PostgreSQL ({}): using the installed {} in {}",
                why.lines().next().unwrap_or_default(),
                found.version,
                found.bin.display()
            ));
            Ok(found)
        }
    }
}

/// Starts PostgreSQL, or uses the server again that an earlier run kept.
pub fn deploy_postgres(session: &Session) -> Result<String, Failure> {
    if let Some(url) = &session.postgres_url {
        return adopt(session, url);
    }
    let found = installation(&session.door, &session.paths, |text| {
        session.report.note(text);
    })?;
    let made_from = fingerprint(&[&found.version, &found.bin.display().to_string()]);
    let why = session.why_made(Level::Postgres);
    let kept = session
        .is_made_from(Level::Postgres, &made_from)
        .then(|| kept_postgres(session))
        .flatten();
    let (database, note) = if let Some(database) = kept {
        (database, ", used again: same binaries")
    } else {
        forget(session)?;
        (
            start_postgres(&found, &session.run, &session.runtime, &session.password)?,
            why,
        )
    };
    session.made_from(Level::Postgres, &made_from)?;
    let note = format!(
        "PostgreSQL {} on port {}{note}",
        found.version, database.port
    );
    session.made.unmigrated.get_or_init(|| Database {
        name: UNMIGRATED.to_owned(),
        ..database.clone()
    });
    session.made.database.get_or_init(|| database);
    Ok(note)
}

/// The server that an earlier run kept, its life prolonged; none if it is gone.
fn kept_postgres(session: &Session) -> Option<Database> {
    let resources = session.run.state().resources;
    let dir = resources.iter().find_map(|resource| match resource {
        Resource::Postgres { dir } => Some(dir.clone()),
        _ => None,
    })?;
    let server = session
        .runtime
        .block_on(EmbeddedServer::attach(&dir))
        .ok()?;
    hand_over(server, &session.run, &session.runtime).ok()
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
        state.fingerprints.clear();
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
) -> Result<Database, Failure> {
    let options = Options {
        password: Some(password.to_owned()),
        client_connection_check_interval: Some(Duration::from_millis(500)),
        ..Options::default()
    };
    let server = runtime
        .block_on(EmbeddedServer::start(found, options))
        .map_err(Failure::setup)?;
    hand_over(server, run, runtime)
}

/// Leaves a server running without this process, recorded before it is left.
fn hand_over(server: EmbeddedServer, run: &Run, runtime: &Runtime) -> Result<Database, Failure> {
    let database = Database {
        host: "127.0.0.1".to_owned(),
        port: server
            .port()
            .ok_or_else(|| Failure::setup("the embedded PostgreSQL listens on no port"))?,
        user: server.user().to_owned(),
        name: server.database().to_owned(),
        password: server.password().to_owned(),
    };
    run.will_make(Resource::Postgres {
        dir: server.directory().to_owned(),
    })
    .map_err(Failure::setup)?;
    // Handing the server over ends the task that watches it, which needs the runtime.
    let _entered = runtime.enter();
    server.detach(&run.id(), KEPT_FOR).map_err(Failure::setup)?;
    Ok(database)
}

/// Makes two databases on the server that the user named; they are dropped with the run, whoever ends it.
fn adopt(session: &Session, url: &str) -> Result<String, Failure> {
    let server = Server::parse(url)?;
    let config = migrations::Config::new(server.secret_url("postgres"));
    let failed = |error| crate::commands::migrate::failure(&error, session.door.cancel());
    // Before anything is recorded: a server that cannot be reached now could not be cleaned either.
    session
        .runtime
        .block_on(migrations::probe(&config))
        .map_err(failed)?;
    let secret = session.run.dir().join("postgres-url");
    write_private(&secret, server.secret_url("postgres").as_bytes()).map_err(Failure::setup)?;
    let name = session.run.id().replace('-', "_");
    let unmigrated = format!("{name}_unmigrated");
    for database in [&name, &unmigrated] {
        let resource = Resource::Database {
            name: database.clone(),
            url_file: secret.clone(),
        };
        session.run.will_make(resource).map_err(Failure::setup)?;
        session
            .runtime
            .block_on(migrations::create_database(&config, database))
            .map_err(failed)?;
    }
    session
        .made
        .unmigrated
        .get_or_init(|| server.database(&unmigrated));
    Ok(session
        .made
        .database
        .get_or_init(|| server.database(&name))
        .url())
}

/// The embedded server answered before its stage ended; nothing is left to wait for.
pub fn await_postgres(session: &Session) -> Result<String, Failure> {
    Session::made(&session.made.database, "the database").map(Database::url)
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

/// Drops a database on the server whose URL the file holds.
pub fn drop_database(name: &str, url_file: &Path) -> Result<(), String> {
    let url = std::fs::read_to_string(url_file)
        .map_err(|error| format!("cannot read {}: {error}", url_file.display()))?;
    let runtime = crate::lifecycle::session::runtime().map_err(|error| error.to_string())?;
    runtime
        .block_on(migrations::drop_database(
            &migrations::Config::new(url).deadline(UNREACHABLE),
            name,
        ))
        .map_err(|error| error.to_string())
}

/// Starts Data Storage, and a second one on the empty database, each on a port that the system chooses; uses both again if an
/// earlier run kept them and they are the same.
pub fn deploy_datastorage(session: &Session, deadline: Duration) -> Result<String, Failure> {
    let binary = Session::made(&session.made.datastorage, "the Data Storage binary")?;
    let content = std::fs::read(binary)
        .map_err(|error| Failure::setup(format!("cannot read {}: {error}", binary.display())))?;
    let pair = [
        (
            "datastorage",
            Session::made(&session.made.database, "the database")?,
        ),
        (
            "datastorage-unmigrated",
            Session::made(&session.made.unmigrated, "the empty database")?,
        ),
    ];
    let configs = pair.map(|(name, database)| config(session, name, database).yaml());
    let made_from = fingerprint(&[&hex(&content), &configs[0], &configs[1]]);
    let answering = pair.map(|(name, _)| answering(&session.run.dir().join(name)));
    if let [Some(url), Some(unmigrated)] = answering
        && session.is_made_from(Level::DataStorage, &made_from)
    {
        session.made.unmigrated_url.get_or_init(|| unmigrated);
        return Ok(format!(
            "{} is used again: same binary and configuration",
            session.made.url.get_or_init(|| url)
        ));
    }
    let why = session.why_made(Level::DataStorage);
    let [url, unmigrated] = pair.map(|(name, database)| start(session, name, database, deadline));
    let (url, unmigrated) = (url?, unmigrated?);
    session.made_from(Level::DataStorage, &made_from)?;
    session.made.unmigrated_url.get_or_init(|| unmigrated);
    Ok(format!("{}{why}", session.made.url.get_or_init(|| url)))
}

/// The address of a Data Storage that an earlier run kept, if it still answers there.
fn answering(dir: &Path) -> Option<String> {
    let address = std::fs::read_to_string(dir.join("address")).ok()?;
    let url = format!("http://{}", address.trim());
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_global(Some(Duration::from_secs(1)))
        .build()
        .into();
    agent
        .get(format!("{url}/health/live"))
        .call()
        .ok()
        .map(|_| url)
}

fn config<'a>(session: &'a Session, name: &str, database: &'a Database) -> Config<'a> {
    let dir = session.run.dir().join(name);
    Config {
        listen: ("127.0.0.1", 0),
        database: (
            &database.host,
            database.port,
            &database.name,
            &database.user,
        ),
        secrets: dir.join("db-secrets.yaml"),
        queue: dir.join("queue"),
        profile: &session.service.profile,
    }
}

fn start(
    session: &Session,
    name: &str,
    database: &Database,
    deadline: Duration,
) -> Result<String, Failure> {
    let binary = Session::made(&session.made.datastorage, "the Data Storage binary")?;
    let dir = session.run.dir().join(name);
    let (config_path, secrets, address) = (
        dir.join("config.yaml"),
        dir.join("db-secrets.yaml"),
        dir.join("address"),
    );
    let config = config(session, name, database);
    session
        .run
        .will_make(Resource::Directory { path: dir.clone() })
        .map_err(Failure::setup)?;
    std::fs::create_dir_all(&dir)
        .map_err(|error| Failure::setup(format!("cannot make {}: {error}", dir.display())))?;
    write_private(
        &secrets,
        crate::datastorage::secrets(&database.user, &database.password).as_bytes(),
    )
    .map_err(Failure::setup)?;
    write_private(&config_path, config.yaml().as_bytes()).map_err(Failure::setup)?;
    // An earlier run may have kept one that is not the same; its address would be taken for this one's.
    release::end_processes(&release::mark(ADDRESS_FILE, &address.display().to_string()))
        .map_err(Failure::setup)?;
    drop(std::fs::remove_file(&address));
    let log = session.run.dir().join(format!("{name}.log"));
    let child = session
        .door
        .cmd(binary)
        .env("CONFIG_PATH", &config_path)
        .env(ADDRESS_FILE, &address)
        .spawn(&log)
        .map_err(|error| error.into_failure(Exit::Setup, session.door.cancel()))?;
    let began = Instant::now();
    loop {
        if let Ok(address) = std::fs::read_to_string(&address) {
            session
                .made
                .children
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner)
                .push(child);
            return Ok(format!("http://{}", address.trim()));
        }
        session.door.cancel().check()?;
        if let Some(how) = child.died() {
            return Err(Failure::new(Exit::Setup, format!("{name} ended at start"))
                .seen(how)
                .next(format!("its whole log is {}", log.display())));
        }
        if began.elapsed() > deadline {
            return Err(Failure::new(
                Exit::Deadline,
                format!("{name} did not listen within {} s", deadline.as_secs()),
            )
            .seen(tail_of(&log)));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}
