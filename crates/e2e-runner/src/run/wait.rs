//! What a run waits for: until Data Storage or a service says that it is ready, or until it is certain that it never will be.

use std::io::{ErrorKind, Read as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use crate::exit::{Exit, Failure};
use crate::names::{Seen, expand_command};
use crate::run::part_run::PartRun;
use crate::run::service_run::ServiceRun;
use crate::run::session::Session;
use crate::table::part::Ready;
use crate::tools::health::{Health, LIVE, READY, Verdict};
use crate::wait::{Look, Wait};

/// The Data Storage without tables, in messages.
const UNMIGRATED: &str = "the Data Storage on an empty database";
/// How long a connection on this machine may take.
const CONNECT: Duration = Duration::from_millis(500);
/// Between two looks at what is asked of the API server or of a command.
const PAUSE: Duration = Duration::from_millis(500);
/// How long one look of a command may take.
const LOOK: Duration = Duration::from_secs(20);
/// How long it must stay open to count; a proxy without anybody behind it ends it sooner.
const KEPT_OPEN: Duration = Duration::from_millis(200);

/// Waits until Data Storage itself says that it is ready, on the path that the suite takes.
pub fn for_datastorage(
    session: &Session,
    service_run: &ServiceRun,
    deadline: Duration,
) -> Result<String, Failure> {
    let storage = session.storage_of(service_run);
    let base = Session::artifact(&storage.url, "Data Storage's address")?;
    let began = Instant::now();
    let health = Health::of("Data Storage", base);
    await_answer(session, "Data Storage", health, deadline)?;
    if let Some(health) = unmigrated_health(storage) {
        let left = deadline.saturating_sub(began.elapsed());
        await_answer(session, UNMIGRATED, health, left)?;
    }
    Ok(base.to_owned())
}

/// What the Data Storage on an empty database says, where the service has one: it is never ready, but has to live before a suite asks it.
pub fn unmigrated_health(service_run: &ServiceRun) -> Option<Health> {
    let url = service_run.unmigrated_url.get()?;
    Some(Health::of(UNMIGRATED, url).on(url, LIVE))
}

/// Waits until the fake of a service says that it is ready.
pub fn for_service(
    session: &Session,
    service_run: &ServiceRun,
    deadline: Duration,
) -> Result<String, Failure> {
    match service_run.service_url.get() {
        Some(base) => {
            let health = Health::of(&service_run.service.name, base);
            await_answer(session, &service_run.service.name, health, deadline)
                .map(|()| base.to_owned())
        }
        None => Ok("it publishes no port".to_owned()),
    }
}

/// Waits until a part that is a process of this machine is ready: by what its table says, else by its published ports.
pub fn for_part(
    session: &Session,
    part_run: &PartRun,
    deadline: Duration,
) -> Result<String, Failure> {
    let part = &part_run.part;
    if part.process.is_empty() {
        return Ok("not started: it has no `process`".to_owned());
    }
    let began = Instant::now();
    let left = || deadline.saturating_sub(began.elapsed());
    let first = part.publish.first();
    let first = first.and_then(|publish| part_run.address(&publish.env));
    let asks = |ready: &&Ready| matches!(ready, Ready::Http(_) | Ready::Tcp(_) | Ready::Run(_));
    let asked: Vec<_> = part.ready.iter().filter(asks).collect();
    for ready in &asked {
        for_ready(session, part_run, ready, left())?;
    }
    // A service of before says so on a path of its own.
    let path = part.ready_path.as_deref();
    let path = path.or((part.is_service && asked.is_empty()).then_some(READY));
    if let (Some(path), Some(address)) = (path, first) {
        let base = format!("http://{}", authority(address));
        let health = Health::of(&part.name, &base).on(&base, path);
        await_answer(session, &part.name, health, left())?;
    }
    let answered = path.and(part.publish.first());
    for_published(
        session,
        part_run,
        answered.map(|publish| &*publish.env),
        left(),
    )?;
    Ok(first.unwrap_or("it publishes no port").to_owned())
}

/// Waits until each published port of a part keeps a connection that nothing asks: neither its table, nor who has had an answer of it.
pub fn for_published(
    session: &Session,
    part_run: &PartRun,
    answered: Option<&str>,
    deadline: Duration,
) -> Result<(), Failure> {
    let part = &part_run.part;
    let began = Instant::now();
    let first = part.publish.first().map(|publish| &*publish.env);
    let asked = |variable: &str| {
        part.ready.iter().any(|ready| match ready {
            Ready::Http(http) => http.on.as_deref().or(first) == Some(variable),
            Ready::Tcp(tcp) => tcp.tcp == variable,
            _ => false,
        })
    };
    for (variable, address) in part_run.published.get().into_iter().flatten() {
        if !asked(variable) && answered != Some(variable) {
            let left = deadline.saturating_sub(began.elapsed());
            for_address(session, &part.name, address, left)?;
        }
    }
    Ok(())
}

/// Waits until something behind an address keeps a connection open. Docker's proxy accepts one before anybody listens in the cluster, and
/// ends it at once.
pub fn for_address(
    session: &Session,
    what: &str,
    url: &str,
    deadline: Duration,
) -> Result<String, Failure> {
    let address = authority(url);
    let wait = Wait {
        what: &format!("{what} did not answer"),
        deadline,
        interval: Duration::from_millis(50),
    };
    wait.until(session.runner.cancel(), || {
        check_children(session)?;
        Ok(match listens(address) {
            Ok(()) => Look::Ready(()),
            Err(why) => Look::NotYet(format!("{address}: {why}")),
        })
    })?;
    Ok(url.to_owned())
}

/// The `host:port` of a URL (RFC 3986, "Authority"), or of what is one already.
fn authority(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let rest = rest
        .split_once('/')
        .map_or(rest, |(authority, _)| authority);
    rest.rsplit_once('@').map_or(rest, |(_, host)| host)
}

fn listens(address: &str) -> Result<(), String> {
    let address: SocketAddr = address
        .parse()
        .map_err(|_| "is no address of this machine".to_owned())?;
    let connect = TcpStream::connect_timeout(&address, CONNECT);
    let mut stream = connect.map_err(|error| error.to_string())?;
    stream
        .set_read_timeout(Some(KEPT_OPEN))
        .map_err(|error| error.to_string())?;
    match stream.read(&mut [0]) {
        Ok(0) => Err("the connection was ended at once".to_owned()),
        Ok(_) => Ok(()),
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => Ok(()),
        Err(error) => Err(error.to_string()),
    }
}

/// Waits for what a part is asked on either target: a request, a connection, a command.
pub fn for_ready(
    session: &Session,
    part_run: &PartRun,
    ready: &Ready,
    deadline: Duration,
) -> Result<(), Failure> {
    let part = &part_run.part;
    match ready {
        Ready::Http(http) => {
            let first = part.publish.first().map(|publish| &publish.env);
            let variable = http.on.as_ref().or(first);
            let address = variable.and_then(|variable| part_run.address(variable));
            let address = address.map(authority);
            let base = format!("http://{}", address.unwrap_or_default());
            let health = Health::of(&part.name, &base).on(&base, &http.http);
            await_answer(session, &part.name, health, deadline)
        }
        Ready::Tcp(tcp) => {
            let address = part_run.address(&tcp.tcp).unwrap_or_default();
            for_address(session, &part.name, address, deadline).map(drop)
        }
        Ready::Run(command) => {
            let service_run = session.user_of(part_run);
            let value = |name: &str| session.value(service_run, Seen::Here, name);
            let words = expand_command(&command.run, &value).map_err(|unknown| {
                let what = format!(
                    "{}: `ready` of `{}`: nothing is named ${{{}}}",
                    part.table, part.name, unknown.0
                );
                Failure::new(Exit::Usage, what).hint("correct it in the table of services")
            })?;
            let Some((program, args)) = words.split_first() else {
                return Ok(());
            };
            let environment = session.secret_environment(service_run);
            let what = format!("`{}` did not pass", command.run.join(" "));
            poll(session, &what, deadline, || {
                let command = session.runner.command(program).args(args);
                let command = command.dir(&part.root).deadline(LOOK);
                let command = environment
                    .iter()
                    .fold(command, |command, (name, value)| command.env(name, value));
                command.read().map(drop).map_err(|error| error.to_string())
            })
        }
        _ => Ok(()),
    }
}

/// Looks until there is no complaint any more.
pub fn poll(
    session: &Session,
    what: &str,
    deadline: Duration,
    mut look: impl FnMut() -> Result<(), String>,
) -> Result<(), Failure> {
    let wait = Wait {
        what,
        deadline,
        interval: PAUSE,
    };
    wait.until(session.runner.cancel(), || {
        Ok(match look() {
            Ok(()) => Look::Ready(()),
            Err(seen) => Look::NotYet(seen),
        })
    })
}

fn await_answer(
    session: &Session,
    what: &str,
    mut health: Health,
    deadline: Duration,
) -> Result<(), Failure> {
    let wait = Wait {
        what: &format!("{what} was not ready"),
        deadline,
        interval: Duration::from_millis(25),
    };
    wait.until(session.runner.cancel(), || {
        if check_once(session, &mut health)? {
            return Ok(Look::Ready(()));
        }
        check_children(session)?;
        Ok(Look::NotYet(health.seen()))
    })
}

/// One look at a service's readiness: whether it is ready; fails once it is certain that it will not be.
pub fn check_once(session: &Session, health: &mut Health) -> Result<bool, Failure> {
    match health.ask() {
        Verdict::Ready => Ok(true),
        Verdict::Unrecoverable(failure) => Err(failure),
        Verdict::Wait(worth_telling) => {
            worth_telling.inspect(|text| session.report.note(text));
            Ok(false)
        }
    }
}

/// Fails as soon as a process that the run depends on has ended.
fn check_children(session: &Session) -> Result<(), Failure> {
    let children = session
        .artifacts
        .children
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    for child in children.iter() {
        if let Some(how) = child.died() {
            let what = format!(
                "{} (pid {}) ended before it was ready",
                child.name(),
                child.pid()
            );
            return Err(Failure::new(Exit::Setup, what).detail(how));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_proxy_that_ends_every_connection_at_once_is_nobody() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        std::thread::scope(|scope| {
            scope.spawn(|| drop(listener.accept()));
            assert!(listens(&address).unwrap_err().contains("ended at once"));
        });
        assert_eq!(listens(&address), Ok(()), "the backlog keeps it open");
        drop(listener);
        assert!(listens(&address).is_err());
    }
}
