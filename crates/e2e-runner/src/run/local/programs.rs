//! Data Storage, fakes and a team's own services as processes of this machine, each in a directory of its own (D8).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::PoisonError;
use std::time::Duration;

use postgres_url::PostgresUrl;

use crate::exit::Failure;
use crate::fingerprint::{fingerprint, hex};
use crate::run::datastorage_config::{Config, NO_PAUSE, NO_TLS};
use crate::run::layer::Layer;
use crate::run::local::launch::{Address, ProcessSpec};
use crate::run::local::parts::{self, start};
use crate::run::local::postgres::integration;
use crate::run::plan::{self, Target};
use crate::run::service_run::ServiceRun;
use crate::run::session::Session;
use crate::state::write_private;
use crate::table::service::{Component, Policy};
use crate::tools::postgres;

/// Starts Data Storage, and a second one on the empty database where the service wants it, each on a port that the system
/// chooses; uses them again if an earlier run kept them and they are the same.
pub fn deploy_datastorage(
    session: &Session,
    service_run: &ServiceRun,
    deadline: Duration,
) -> Result<String, Failure> {
    let binary = Session::artifact(&session.artifacts.datastorage, "the Data Storage binary")?;
    if let Some(told) = plan::replicas(&service_run.service, Target::Local) {
        session.report.note(&told);
    }
    let mut wanted = vec![(
        "datastorage",
        session.database(service_run)?,
        &service_run.url,
    )];
    if service_run.service.has(Component::Unmigrated) {
        wanted.push((
            "datastorage-unmigrated",
            session.unmigrated()?,
            &service_run.unmigrated_url,
        ));
    }
    let configs: Vec<_> = wanted
        .iter()
        .map(|(name, database, _)| Ok(config(session, service_run, name, database)?.yaml()))
        .collect::<Result<_, Failure>>()?;
    let made_from = fingerprint(&[&content(session, binary)?, &configs.concat()]);
    let answering = |name: &str| ProcessSpec::answering(&service_run.dir.join(name));
    if session.fingerprint_matches(service_run.level(Layer::DataStorage), &made_from)
        && let Some(urls) = wanted
            .iter()
            .map(|(name, ..)| answering(name))
            .collect::<Option<Vec<_>>>()
    {
        for ((.., slot), url) in wanted.iter().zip(urls) {
            slot.get_or_init(|| url);
        }
        return Ok(format!(
            "{} is used again: same binary and configuration",
            Session::artifact(&service_run.url, "its address")?
        ));
    }
    let why = session.rebuild_reason(service_run.level(Layer::DataStorage));
    for (name, database, slot) in wanted {
        let url = start_datastorage(session, service_run, name, &database, deadline)?;
        slot.get_or_init(|| url);
    }
    session.record_fingerprint(service_run.level(Layer::DataStorage), &made_from)?;
    Ok(format!(
        "{}{why}",
        Session::artifact(&service_run.url, "its address")?
    ))
}

/// What a binary is, for a fingerprint; services of one run share its reading.
fn content(session: &Session, binary: &Path) -> Result<String, Failure> {
    let contents = &session.artifacts.contents;
    let mut known = contents.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(content) = known.get(binary) {
        return Ok(content.clone());
    }
    let bytes = std::fs::read(binary)
        .map_err(|error| Failure::setup(format!("cannot read {}: {error}", binary.display())))?;
    let content = hex(&bytes);
    known.insert(binary.to_owned(), content.clone());
    Ok(content)
}

fn config<'a>(
    session: &'a Session,
    service_run: &'a ServiceRun,
    name: &str,
    database: &'a PostgresUrl,
) -> Result<Config<'a>, Failure> {
    let dir = service_run.dir.join(name);
    // The tier's number, or one that the service insists on, is the first one's; the second is reached by its variable only.
    let ports = &service_run.service.ports;
    let fixed = ports.datastorage.filter(|_| ports.policy == Policy::Fixed);
    let port = integration(session)
        .map(|ports| ports.datastorage)
        .or(fixed)
        .filter(|_| name == "datastorage")
        .unwrap_or(0);
    let (host, database_port) = postgres::address(database)?;
    Ok(Config {
        listen: ("127.0.0.1", port),
        database: (
            host,
            database_port,
            database.database().unwrap_or_default(),
            database.user().unwrap_or_default(),
        ),
        tls: session.postgres_url.as_ref().map_or(NO_TLS, |server| {
            let authority = postgres::authority(server).map(Path::to_owned);
            (postgres::ssl_mode(server), authority)
        }),
        secrets: dir.join("db-secrets.yaml"),
        queue: dir.join("queue"),
        tokens: session.token_file(service_run),
        profile: &service_run.service.profile,
        drain_pause: NO_PAUSE,
    })
}

fn start_datastorage(
    session: &Session,
    service_run: &ServiceRun,
    name: &str,
    database: &PostgresUrl,
    deadline: Duration,
) -> Result<String, Failure> {
    let binary = Session::artifact(&session.artifacts.datastorage, "the Data Storage binary")?;
    let dir = own_directory(session, service_run, name)?;
    let secrets = crate::run::datastorage_config::secrets(
        database.user().unwrap_or_default(),
        database.password().unwrap_or_default(),
    );
    write_private(&dir.join("db-secrets.yaml"), secrets.as_bytes()).map_err(Failure::setup)?;
    let config_path = dir.join("config.yaml");
    write_private(
        &config_path,
        config(session, service_run, name, database)?
            .yaml()
            .as_bytes(),
    )
    .map_err(Failure::setup)?;
    let launch = ProcessSpec {
        name: name.to_owned(),
        cwd: None,
        log: service_run.dir.join(format!("{name}.log")),
        command: vec![binary.display().to_string()],
        env: BTreeMap::from([("CONFIG_PATH".to_owned(), config_path.display().to_string())]),
        address: Address::Written {
            file: "DATASTORAGE_ADDRESS_FILE".to_owned(),
            again: "DATASTORAGE_SERVER_PORT".to_owned(),
            whole: false,
        },
        dir,
    };
    start(session, &launch, deadline)
}

/// Starts the service itself, or its fake, beside its Data Storage.
pub fn deploy_service(
    session: &Session,
    service_run: &ServiceRun,
    deadline: Duration,
) -> Result<String, Failure> {
    if service_run.service.has(Component::Fake) {
        return deploy_fake(session, service_run, deadline);
    }
    let note = parts::deploy(session, &service_run.own, deadline)?;
    service_run.publish_own();
    Ok(note)
}

/// The directory of the service: Data Storage's own has that name where it is the service.
const SERVICE: &str = "service";
/// The directory of the relay beside it.
const RELAY: &str = "relay";

/// Starts the fake of a service, with a relay before Data Storage where it has one.
fn deploy_fake(
    session: &Session,
    service_run: &ServiceRun,
    deadline: Duration,
) -> Result<String, Failure> {
    let service = &service_run.service;
    let binary = Session::artifact(&session.artifacts.fake, "the fake's binary")?;
    let datastorage = Session::artifact(&service_run.url, "Data Storage's address")?;
    let relay = if service.has(Component::Relay) {
        let relay = Session::artifact(&session.artifacts.relay, "the relay's binary")?;
        Some((relay, content(session, relay)?))
    } else {
        None
    };
    let of_relay = relay.as_ref().map_or("", |(_, content)| content);
    let made_from = fingerprint(&[&content(session, binary)?, datastorage, of_relay]);
    let answering = |name: &str| ProcessSpec::answering(&service_run.dir.join(name));
    if session.fingerprint_matches(service_run.level(Layer::Service), &made_from)
        && (relay.is_none() || answering(RELAY).is_some())
        && let Some(url) = answering(SERVICE)
    {
        return Ok(format!(
            "{} is used again: same binary and Data Storage",
            service_run.service_url.get_or_init(|| url)
        ));
    }
    let why = session.rebuild_reason(service_run.level(Layer::Service));
    let dir = own_directory(session, service_run, SERVICE)?;
    let text = |value: &str| value.to_owned();
    let mut env = BTreeMap::from([
        (text(e2e_env::fake::SERVICE), text(&service.name)),
        (text(e2e_env::DATASTORAGE_URL), datastorage.clone()),
        (text(e2e_env::fake::LISTEN_ADDRESS), text("127.0.0.1:0")),
    ]);
    if let Some((relay, _)) = relay {
        let url = start_relay(session, service_run, relay, deadline)?;
        env.insert(text(e2e_env::DATASTORAGE_URL), url);
    } else {
        let journal = dir.join("journal").display().to_string();
        env.insert(text(e2e_env::fake::AUDIT_JOURNAL_DIR), journal);
        if let Some(token) = session.token_file(service_run) {
            let token = token.display().to_string();
            env.insert(text(e2e_env::DATASTORAGE_TOKEN_FILE), token);
        }
    }
    let launch = ProcessSpec {
        name: service.name.clone(),
        cwd: None,
        log: service_run.dir.join(format!("{}.log", service.name)),
        command: vec![binary.display().to_string()],
        env,
        address: Address::Written {
            file: text(e2e_env::fake::ADDRESS_FILE),
            again: text(e2e_env::fake::LISTEN_ADDRESS),
            whole: true,
        },
        dir,
    };
    let url = start(session, &launch, deadline)?;
    session.record_fingerprint(service_run.level(Layer::Service), &made_from)?;
    Ok(format!(
        "{}{why}",
        service_run.service_url.get_or_init(|| url)
    ))
}

/// Starts a relay before a service's Data Storage, and returns its base URL.
fn start_relay(
    session: &Session,
    service_run: &ServiceRun,
    binary: &Path,
    deadline: Duration,
) -> Result<String, Failure> {
    use e2e_env::relay::{ADDRESS_FILE, JOURNAL_DIR, LINGER, LISTEN, SERVICE};
    let datastorage = Session::artifact(&service_run.url, "Data Storage's address")?;
    let dir = own_directory(session, service_run, RELAY)?;
    let token = session
        .token_file(service_run)
        .map(|file| file.display().to_string());
    let journal = dir.join("journal").display().to_string();
    let env = [
        (SERVICE, service_run.service.name.as_str()),
        (LISTEN, "127.0.0.1:0"),
        // The fake ends at the same time, and emits on request only.
        (LINGER, "0s"),
        (JOURNAL_DIR, &journal),
        (e2e_env::DATASTORAGE_URL, datastorage),
    ];
    let token = token.map(|token| (e2e_env::DATASTORAGE_TOKEN_FILE.to_owned(), token));
    let launch = ProcessSpec {
        name: RELAY.to_owned(),
        cwd: None,
        log: service_run.dir.join("relay.log"),
        command: vec![binary.display().to_string(), "serve".to_owned()],
        env: env
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into_iter()
            .chain(token)
            .collect(),
        address: Address::Written {
            file: ADDRESS_FILE.to_owned(),
            again: LISTEN.to_owned(),
            whole: true,
        },
        dir,
    };
    start(session, &launch, deadline)
}

/// The directory of one of a service's programs, recorded before it is made.
fn own_directory(
    session: &Session,
    service_run: &ServiceRun,
    name: &str,
) -> Result<PathBuf, Failure> {
    let dir = service_run.dir.join(name);
    session.run.make_directory(&dir).map_err(Failure::setup)?;
    Ok(dir)
}
