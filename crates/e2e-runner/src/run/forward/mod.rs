//! Reaching into a cluster: one supervised `kubectl port-forward` of a run to its relay, and the ports of this machine that lead through.
//!
//! Connections survive when the port-forward is cut: between the tunnel's process here and the relay there is one session that resumes
//! (crate `tunnel`). What does not survive: the tunnel's process killed with SIGKILL, the relay's pod gone, and five minutes without a
//! connection to the API server. Then connections are reset; [`forward`] starts the process again, on the same ports.
//!
//! Modules, each may import those after it: `supervisor`, `port_forward`, `journal`, `spec`

mod journal;
mod port_forward;
mod spec;
mod supervisor;

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::time::Duration;

use crate::exit::{Exit, Failure};
use crate::process::Runner;
use crate::run::session::TOOL;
use crate::state::locked;
use crate::state::processes::{end_labelled, labelled};
use crate::wait::{Look, Wait};

pub use journal::{Interruptions, JOURNAL, interruptions};
pub use spec::{SPEC, Spec, Target};
pub use supervisor::supervise;

use spec::Status;

/// What its process is recorded under.
const LABEL: &str = "tunnel";
/// Where its process prints.
const LOG: &str = "tunnel.log";
/// How long the relay has to answer when the tunnel is started.
const CONNECT: Duration = Duration::from_mins(1);
/// How long the tunnel's process has to listen on a port.
const LISTEN: Duration = Duration::from_secs(10);
/// Between two looks.
const STEP: Duration = Duration::from_millis(20);
/// How many ports are tried.
const TRIES: usize = 20;

/// Starts the tunnel of the run in `dir`, unless it runs to this relay, and waits until it has reached the relay. `relay` names no
/// forwards; those that the run has stay.
pub fn start(runner: &Runner, dir: &Path, relay: &Spec) -> Result<(), Failure> {
    let kept = with_spec(dir, |spec| {
        let forwards = spec.as_ref().map(|spec| spec.forwards.clone());
        let wanted = Spec {
            forwards: forwards.unwrap_or_default(),
            ..relay.clone()
        };
        let same = spec.as_ref() == Some(&wanted);
        if !same {
            wanted.write(dir)?;
        }
        Ok(same)
    })?;
    if !kept {
        // It is of another relay.
        end(dir)?;
    }
    ensure(runner, dir)?;
    connected(runner, dir)
}

/// Says which relay the tunnel of the run in `dir` will lead to, before that is there: ports of this machine can be had from now on.
pub fn prepare(dir: &Path, relay: &Spec) -> Result<(), Failure> {
    with_spec(dir, |spec| match spec {
        Some(_) => Ok(()),
        None => relay.write(dir),
    })
}

/// Whether the tunnel's process runs.
pub fn is_alive(dir: &Path) -> bool {
    pid(dir).is_some()
}

/// Starts the tunnel's process again where it has ended; whether it had. Its connections had been reset; its ports are the same.
pub fn ensure(runner: &Runner, dir: &Path) -> Result<bool, Failure> {
    with_spec(dir, |spec| {
        if spec.is_none() {
            return Err(no_tunnel(dir));
        }
        if is_alive(dir) {
            return Ok(false);
        }
        let tool = dir.join(TOOL);
        let runner = runner.clone().in_run(dir).map_err(Failure::setup)?;
        let command = runner.command(&tool).arg("tunnel").arg("--run").arg(dir);
        let spawned = command.label(LABEL).spawn(&dir.join(LOG));
        let child = spawned.map_err(|error| {
            error
                .into_failure(Exit::Setup, runner.cancel())
                .hint("the tunnel runs from the copy of this tool in the run's directory: start the run again")
        })?;
        drop(child);
        Ok(true)
    })
}

/// Ends the tunnel's process and its kubectl.
pub fn end(dir: &Path) -> Result<(), Failure> {
    for label in [LABEL, port_forward::LABEL] {
        end_labelled(dir, label).map_err(Failure::setup)?;
    }
    Ok(())
}

/// The address on this machine that leads to `host:port` in the cluster: `wanted` where that port is free, else another; for the same
/// target always the same. Starts the tunnel's process where it has ended.
pub fn forward(
    runner: &Runner,
    dir: &Path,
    host: &str,
    port: u16,
    mut wanted: Option<u16>,
) -> Result<SocketAddr, Failure> {
    let mut refused = String::new();
    for _ in 0..TRIES {
        let (local, is_new) = with_spec(dir, |spec| {
            let mut spec = spec.ok_or_else(|| no_tunnel(dir))?;
            let known = spec.forwards.iter();
            let mut known = known.filter(|target| target.host == host && target.port == port);
            if let Some(target) = known.next() {
                return Ok((target.local, false));
            }
            let local = lease(&spec, wanted.take())?;
            spec.forwards.push(Target {
                local,
                host: host.to_owned(),
                port,
            });
            spec.write(dir)?;
            Ok((local, true))
        })?;
        ensure(runner, dir)?;
        match listening(runner, dir, local)? {
            None => return Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, local))),
            Some(why) if is_new => {
                // Somebody was faster.
                refused = why;
                with_spec(dir, |spec| {
                    let mut spec = spec.ok_or_else(|| no_tunnel(dir))?;
                    spec.forwards.retain(|target| target.local != local);
                    spec.write(dir)
                })?;
            }
            Some(why) => {
                let what =
                    format!("127.0.0.1:{local}, which led to {host}:{port}, is taken: {why}");
                return Err(Failure::new(Exit::Setup, what).hint(format!(
                    "`ss -Hltnp 'sport = :{local}'` names its owner: end that, or start the run again"
                )));
            }
        }
    }
    let what = format!("no port of this machine could be had for {host}:{port}: {refused}");
    Err(Failure::new(Exit::Setup, what)
        .hint("run `cargo xtask reap`, and end what listens on 127.0.0.1"))
}

/// Works on what a run's tunnel forwards, while nobody else does.
fn with_spec<T>(
    dir: &Path,
    work: impl FnOnce(Option<Spec>) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let worked = locked(&dir.join(SPEC), || {
        let spec = Spec::read(dir);
        let spec = spec.map_err(|error| {
            Failure::setup(format!("cannot read {}: {error}", dir.join(SPEC).display()))
        });
        work(spec?)
    });
    worked.map_err(Failure::setup)?
}

fn no_tunnel(dir: &Path) -> Failure {
    let what = format!("the run in {} has no tunnel into a cluster", dir.display());
    Failure::new(Exit::Setup, what).hint("start the run again")
}

fn pid(dir: &Path) -> Option<i32> {
    labelled(dir, LABEL).last().map(|process| process.pid)
}

/// A port that is free now, `wanted` if that is. Below those that the system gives to outgoing connections, so that none of these takes
/// it while the tunnel's process is started again.
fn lease(spec: &Spec, wanted: Option<u16>) -> Result<u16, Failure> {
    let is_free = |port: u16| {
        spec.forwards.iter().all(|target| target.local != port)
            && TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
    };
    if let Some(port) = wanted.filter(|port| is_free(*port)) {
        return Ok(port);
    }
    // ip(7), ip_local_port_range.
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range");
    let first: Option<u16> = range
        .ok()
        .and_then(|it| it.split_whitespace().next()?.parse().ok());
    let below = first.unwrap_or(32_768).max(2_048);
    let lowest = (below / 2).max(1_024);
    for _ in 0..200 {
        let port = rand::random_range(lowest..below);
        if is_free(port) {
            return Ok(port);
        }
    }
    let any = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|socket| socket.local_addr());
    any.map(|address| address.port()).map_err(Failure::setup)
}

/// Waits until the tunnel has reached the relay.
fn connected(runner: &Runner, dir: &Path) -> Result<(), Failure> {
    let wait = Wait {
        what: "the relay was not reached",
        deadline: CONNECT,
        interval: STEP,
    };
    wait.until(runner.cancel(), || {
        Ok(match status(dir)? {
            Some(status) if status.is_connected => Look::Ready(()),
            Some(status) => Look::NotYet(status.trouble),
            None => Look::NotYet(String::new()),
        })
    })
}

/// Waits until the tunnel listens on a port; why it cannot, if it cannot.
fn listening(runner: &Runner, dir: &Path, port: u16) -> Result<Option<String>, Failure> {
    let what = format!("the tunnel did not listen on 127.0.0.1:{port}");
    let wait = Wait {
        what: &what,
        deadline: LISTEN,
        interval: STEP,
    };
    wait.until(runner.cancel(), || {
        let Some(status) = status(dir)? else {
            return Ok(Look::NotYet(String::new()));
        };
        if status.listening.contains(&port) {
            return Ok(Look::Ready(None));
        }
        Ok(match status.refused.get(&port) {
            Some(why) => Look::Ready(Some(why.clone())),
            None => Look::NotYet(status.trouble),
        })
    })
}

/// What the tunnel's process says; a failure where it has ended.
fn status(dir: &Path) -> Result<Option<Status>, Failure> {
    if let Some(pid) = pid(dir) {
        return Ok(Status::of(dir, pid));
    }
    let why = Status::last(dir).and_then(|status| status.ended);
    let why = why.unwrap_or_else(|| crate::process::tail_of(&dir.join(LOG)));
    let what = "the tunnel into the cluster has ended";
    Err(Failure::new(Exit::Setup, what).detail(why).hint(format!(
        "{} says what happened before",
        dir.join(JOURNAL).display()
    )))
}
