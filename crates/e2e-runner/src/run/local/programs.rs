//! Data Storage, doubles and a team's own services as processes of this machine, each in a directory of its own (D8).

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::PoisonError;
use std::time::Duration;

use crate::exit::Failure;
use crate::fingerprint::{fingerprint, hex};
use crate::run::datastorage_config::Config;
use crate::run::local::launch::{Address, Launch};
use crate::run::local::postgres::integration;
use crate::run::reuse::Level;
use crate::run::service_run::Tenant;
use crate::run::session::Session;
use crate::state::{Resource, write_private};
use crate::table::Component;
use crate::tools::postgres_url::Database;

/// Starts Data Storage, and a second one on the empty database where the service wants it, each on a port that the system
/// chooses; uses them again if an earlier run kept them and they are the same.
pub fn deploy_datastorage(
    session: &Session,
    tenant: &Tenant,
    deadline: Duration,
) -> Result<String, Failure> {
    let binary = Session::made(&session.made.datastorage, "the Data Storage binary")?;
    let mut wanted = vec![("datastorage", session.database(tenant)?, &tenant.url)];
    if tenant.service.has(Component::Unmigrated) {
        wanted.push((
            "datastorage-unmigrated",
            session.unmigrated()?,
            &tenant.unmigrated_url,
        ));
    }
    let configs: Vec<_> = wanted
        .iter()
        .map(|(name, database, _)| config(session, tenant, name, database).yaml())
        .collect();
    let made_from = fingerprint(&[&content(session, binary)?, &configs.concat()]);
    let answering = |name: &str| Launch::answering(&tenant.dir.join(name));
    if session.is_made_from(Level::DataStorage, Some(tenant), &made_from)
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
            Session::made(&tenant.url, "its address")?
        ));
    }
    let why = session.why_made(Level::DataStorage, Some(tenant));
    for (name, database, slot) in wanted {
        let url = start_datastorage(session, tenant, name, &database, deadline)?;
        slot.get_or_init(|| url);
    }
    session.made_from(Level::DataStorage, Some(tenant), &made_from)?;
    Ok(format!(
        "{}{why}",
        Session::made(&tenant.url, "its address")?
    ))
}

/// What a binary is, for a fingerprint; services of one run share its reading.
fn content(session: &Session, binary: &Path) -> Result<String, Failure> {
    let contents = &session.made.contents;
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
    tenant: &'a Tenant,
    name: &str,
    database: &'a Database,
) -> Config<'a> {
    let dir = tenant.dir.join(name);
    // The tier's number is the first one's; the second is reached by its variable only.
    let port = integration(session)
        .filter(|_| name == "datastorage")
        .map_or(0, |ports| ports.datastorage);
    Config {
        listen: ("127.0.0.1", port),
        database: (
            &database.host,
            database.port,
            &database.name,
            &database.user,
        ),
        secrets: dir.join("db-secrets.yaml"),
        queue: dir.join("queue"),
        profile: &tenant.service.profile,
    }
}

fn start_datastorage(
    session: &Session,
    tenant: &Tenant,
    name: &str,
    database: &Database,
    deadline: Duration,
) -> Result<String, Failure> {
    let binary = Session::made(&session.made.datastorage, "the Data Storage binary")?;
    let dir = own_directory(session, tenant, name)?;
    let secrets = crate::run::datastorage_config::secrets(&database.user, &database.password);
    write_private(&dir.join("db-secrets.yaml"), secrets.as_bytes()).map_err(Failure::setup)?;
    let config_path = dir.join("config.yaml");
    write_private(
        &config_path,
        config(session, tenant, name, database).yaml().as_bytes(),
    )
    .map_err(Failure::setup)?;
    let launch = Launch {
        name: name.to_owned(),
        cwd: None,
        log: tenant.dir.join(format!("{name}.log")),
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

/// Starts the service itself, or its double, beside its Data Storage.
pub fn deploy_service(
    session: &Session,
    tenant: &Tenant,
    deadline: Duration,
) -> Result<String, Failure> {
    let service = &tenant.service;
    if service.has(Component::Own) && service.process.is_empty() {
        return Ok("the table names no process for it on this machine".to_owned());
    }
    let name = service.name.as_str();
    // Data Storage's own directory has that name where it is the service.
    let dir = own_directory(session, tenant, "service")?;
    let log = tenant.dir.join(format!("{name}.log"));
    let (made_from, launch) = if service.has(Component::Double) {
        let binary = Session::made(&session.made.double, "the double's binary")?;
        let datastorage = Session::made(&tenant.url, "Data Storage's address")?;
        let text = |value: &str| value.to_owned();
        let env = BTreeMap::from([
            (text(e2e_env::double::SERVICE), text(name)),
            (text(e2e_env::DATASTORAGE_URL), datastorage.clone()),
            (text(e2e_env::double::LISTEN_ADDRESS), text("127.0.0.1:0")),
            (
                text(e2e_env::double::AUDIT_JOURNAL_DIR),
                dir.join("journal").display().to_string(),
            ),
        ]);
        let launch = Launch {
            name: text(name),
            cwd: None,
            log,
            command: vec![binary.display().to_string()],
            env,
            address: Address::Written {
                file: text(e2e_env::double::ADDRESS_FILE),
                again: text(e2e_env::double::LISTEN_ADDRESS),
                whole: true,
            },
            dir: dir.clone(),
        };
        (
            fingerprint(&[&content(session, binary)?, datastorage]),
            launch,
        )
    } else {
        let address = format!("127.0.0.1:{}", free_port(service.ports.service)?);
        let mut env = session.environment(tenant);
        env.insert(e2e_env::PGPASSWORD.to_owned(), session.password());
        env.insert(e2e_env::double::LISTEN_ADDRESS.to_owned(), address.clone());
        let launch = Launch {
            name: name.to_owned(),
            cwd: Some(service.root.clone()),
            log,
            command: service.process.clone(),
            env,
            address: Address::Given(address),
            dir: dir.clone(),
        };
        // What a team's command runs is not known here: it is always started anew.
        (String::new(), launch)
    };
    if service.has(Component::Double)
        && session.is_made_from(Level::Service, Some(tenant), &made_from)
        && let Some(url) = Launch::answering(&dir)
    {
        return Ok(format!(
            "{} is used again: same binary and Data Storage",
            tenant.service_url.get_or_init(|| url)
        ));
    }
    let why = session.why_made(Level::Service, Some(tenant));
    let url = start(session, &launch, deadline)?;
    session.made_from(Level::Service, Some(tenant), &made_from)?;
    Ok(format!("{}{why}", tenant.service_url.get_or_init(|| url)))
}

/// A port of this machine: the wanted one where it is free, else any.
fn free_port(wanted: Option<u16>) -> Result<u16, Failure> {
    let bound = wanted.and_then(|port| TcpListener::bind(("127.0.0.1", port)).ok());
    let bound = bound.map_or_else(|| TcpListener::bind(("127.0.0.1", 0)), Ok);
    Ok(bound
        .and_then(|listener| listener.local_addr())
        .map_err(Failure::setup)?
        .port())
}

/// The directory of one of a service's programs, recorded before it is made.
fn own_directory(session: &Session, tenant: &Tenant, name: &str) -> Result<PathBuf, Failure> {
    let dir = tenant.dir.join(name);
    session
        .run
        .will_make(Resource::Directory { path: dir.clone() })
        .map_err(Failure::setup)?;
    std::fs::create_dir_all(&dir)
        .map_err(|error| Failure::setup(format!("cannot make {}: {error}", dir.display())))?;
    Ok(dir)
}

fn start(session: &Session, launch: &Launch, deadline: Duration) -> Result<String, Failure> {
    let (child, url) = launch.start(&session.door, deadline)?;
    session
        .made
        .children
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(child);
    Ok(url)
}
