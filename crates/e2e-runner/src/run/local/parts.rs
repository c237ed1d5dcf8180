//! A part as a process of this machine: its ports, its variables, its start.

use std::net::TcpListener;
use std::sync::PoisonError;
use std::time::Duration;

use crate::exit::{Exit, Failure};
use crate::names::{Seen, Unknown, expand_command, expand_map};
use crate::run::local::coverage;
use crate::run::local::launch::{Address, ProcessSpec};
use crate::run::part_run::PartRun;
use crate::run::session::Session;
use crate::state::processes::end_labelled;
use crate::table::part::Publish;
use crate::table::service::Policy;

/// Starts the process of a part. What a team's command runs is not known here: it is always started anew.
pub fn deploy(
    session: &Session,
    part_run: &PartRun,
    deadline: Duration,
) -> Result<String, Failure> {
    let part = &part_run.part;
    if part.process.is_empty() {
        return Ok("not started: its entry in the table has no `process`".to_owned());
    }
    let dir = coverage::directory(part_run);
    // What an earlier run keeps has the ports that it is to have again.
    end_labelled(session.run.dir(), &dir.display().to_string()).map_err(Failure::setup)?;
    let service_run = session.user_of(part_run);
    let mut ports = Vec::new();
    for publish in &part.publish {
        ports.push((publish, port(session, part_run, publish)?));
    }
    let address = |port: &u16| format!("127.0.0.1:{port}");
    let published = ports
        .iter()
        .map(|(publish, port)| (publish.env.clone(), publish.url(&address(port))));
    part_run.published.get_or_init(|| published.collect());
    let listen = ports.first().map(|(_, port)| address(port));
    let value = |name: &str| match name {
        e2e_env::fake::LISTEN_ADDRESS => listen.clone(),
        _ => session.value(service_run, Seen::Here, name),
    };
    let unknown = |unknown: Unknown| part_run.unknown(&unknown);
    let mut env = session.secret_environment(service_run);
    env.extend(expand_map(&part.env, &value).map_err(unknown)?);
    if let Some(listen) = &listen {
        env.insert(e2e_env::fake::LISTEN_ADDRESS.to_owned(), listen.clone());
    }
    session.run.make_directory(&dir).map_err(Failure::setup)?;
    coverage::prepare(session, part_run, &dir, &mut env)?;
    let launch = ProcessSpec {
        name: part.name.clone(),
        cwd: Some(part.root.clone()),
        log: part_run.dir.join(format!("{}.log", part.name)),
        command: expand_command(&part.process, &value).map_err(unknown)?,
        env,
        address: Address::Given(listen.clone().unwrap_or_default()),
        dir,
    };
    let why = session.rebuild_reason(part_run.level());
    start(session, &launch, deadline)?;
    session.record_fingerprint(part_run.level(), "")?;
    let told = part_run.first_address().unwrap_or("it publishes no port");
    Ok(format!("{told}{why}"))
}

/// A port of this machine: the integration tier's, else the part's own where it is free, else any, unless its service insists on it.
fn port(session: &Session, part_run: &PartRun, publish: &Publish) -> Result<u16, Failure> {
    let ports = &session.user_of(part_run).service.ports;
    let is_fixed = part_run.part.is_service && ports.policy == Policy::Fixed;
    let tier = publish.integration.filter(|_| session.integration);
    if let Some(port) = tier.or(publish.host.filter(|_| is_fixed)) {
        let bound = TcpListener::bind(("127.0.0.1", port));
        return bound.map(|_| port).map_err(|error| {
            let (variable, name) = (&publish.env, &part_run.part.name);
            let what = format!("{variable} of {name} is port {port}, which cannot be had: {error}");
            Failure::new(Exit::Setup, what).hint(format!(
                "end what has it (`ss -ltnp 'sport = :{port}'`), or change it in the table of services"
            ))
        });
    }
    let own = publish
        .host
        .and_then(|port| TcpListener::bind(("127.0.0.1", port)).ok());
    let bound = own.map_or_else(|| TcpListener::bind(("127.0.0.1", 0)), Ok);
    Ok(bound
        .and_then(|listener| listener.local_addr())
        .map_err(Failure::setup)?
        .port())
}

/// Starts a program and keeps it for those who watch whether it lives.
pub fn start(
    session: &Session,
    launch: &ProcessSpec,
    deadline: Duration,
) -> Result<String, Failure> {
    let (child, url) = launch.start(&session.run, &session.runner, deadline)?;
    session
        .artifacts
        .children
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(child);
    Ok(url)
}
