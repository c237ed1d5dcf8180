//! What a run waits for: until Data Storage or a service says that it is ready, or until it is certain that it never will be.

use std::io::{ErrorKind, Read as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::PoisonError;
use std::time::Duration;

use crate::exit::{Exit, Failure};
use crate::run::service_run::ServiceRun;
use crate::run::session::Session;
use crate::tools::health::{Health, Verdict};
use crate::wait::{Look, Wait};

/// How long a connection on this machine may take.
const CONNECT: Duration = Duration::from_millis(500);
/// How long it must stay open to count; a proxy without anybody behind it ends it sooner.
const KEPT_OPEN: Duration = Duration::from_millis(200);

/// Waits until Data Storage itself says that it is ready, on the path that the suite takes.
pub fn for_datastorage(
    session: &Session,
    service_run: &ServiceRun,
    deadline: Duration,
) -> Result<String, Failure> {
    let base = Session::artifact(&service_run.url, "Data Storage's address")?;
    let health = Health::of("Data Storage", base);
    await_answer(session, "Data Storage", health, deadline).map(|()| base.to_owned())
}

/// Waits until the service or its fake says that it is ready.
pub fn for_service(
    session: &Session,
    service_run: &ServiceRun,
    deadline: Duration,
) -> Result<String, Failure> {
    match service_run.service_url.get() {
        Some(base) => {
            let mut health = Health::of(&service_run.service.name, base);
            if let Some(path) = &service_run.service.own.ready_path {
                health = health.on(base, path);
            }
            await_answer(session, &service_run.service.name, health, deadline)
                .map(|()| base.to_owned())
        }
        None => Ok("it publishes no port".to_owned()),
    }
}

/// Waits until something behind an address keeps a connection open. Docker's proxy accepts one before anybody listens in the cluster, and
/// ends it at once.
pub fn for_address(
    session: &Session,
    what: &str,
    url: &str,
    deadline: Duration,
) -> Result<String, Failure> {
    let address = url.trim_start_matches("http://");
    let wait = Wait {
        what: &format!("{what} did not answer"),
        deadline,
        interval: Duration::from_millis(50),
    };
    wait.until(session.runner.cancel(), || {
        Ok(match listens(address) {
            Ok(()) => Look::Ready(()),
            Err(why) => Look::NotYet(format!("{address}: {why}")),
        })
    })?;
    Ok(url.to_owned())
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
