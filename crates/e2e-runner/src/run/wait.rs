//! Waits of a run: until Data Storage or a service says that it is ready, or until it is certain that it never will be.

use std::sync::PoisonError;
use std::time::{Duration, Instant};

use crate::exit::{Exit, Failure};
use crate::process::Child;
use crate::run::service_run::Tenant;
use crate::run::session::Session;
use crate::tools::health::{Health, Verdict};

/// Waits until Data Storage itself says that it is ready, on the path that the suite takes.
pub fn for_datastorage(
    session: &Session,
    tenant: &Tenant,
    deadline: Duration,
) -> Result<String, Failure> {
    let base = Session::made(&tenant.url, "Data Storage's address")?;
    await_answer(session, "Data Storage", base, deadline)
}

/// Waits until the service or its double says that it is ready.
pub fn for_service(
    session: &Session,
    tenant: &Tenant,
    deadline: Duration,
) -> Result<String, Failure> {
    match tenant.service_url.get() {
        Some(base) => await_answer(session, &tenant.service.name, base, deadline),
        None => Ok("nothing of it listens".to_owned()),
    }
}

fn await_answer(
    session: &Session,
    what: &str,
    base: &str,
    deadline: Duration,
) -> Result<String, Failure> {
    let (began, mut health) = (Instant::now(), Health::of(what, base));
    while !look(session, &mut health)? {
        session.door.cancel().check()?;
        check_children(session)?;
        if began.elapsed() > deadline {
            let waited = format!("{what} was not ready after {} s", deadline.as_secs());
            return Err(Failure::new(Exit::Deadline, waited)
                .seen(health.seen())
                .next("its log lies beside the verdict"));
        }
        std::thread::sleep(Duration::from_millis(25));
    }
    Ok(base.to_owned())
}

/// One look at a service's readiness: whether it is ready; fails once it is certain that it will not be.
pub fn look(session: &Session, health: &mut Health) -> Result<bool, Failure> {
    match health.ask() {
        Verdict::Ready => Ok(true),
        Verdict::Hopeless(failure) => Err(failure),
        Verdict::Wait(worth_telling) => {
            worth_telling.inspect(|text| session.report.note(text));
            Ok(false)
        }
    }
}

/// Fails as soon as a process that the run depends on has ended.
fn check_children(session: &Session) -> Result<(), Failure> {
    let children = session
        .made
        .children
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    match children.iter().find_map(Child::died) {
        Some(how) => {
            Err(Failure::new(Exit::Setup, "a service ended while it was waited for").seen(how))
        }
        None => Ok(()),
    }
}
