//! The tunnel by which this machine reaches the run's Services: its end in the cluster, deployed; its end here, a process of the run.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use crate::exit::{Exit, Failure};
use crate::run::cluster::shared::Shared;
use crate::run::forward::{self, Spec};
use crate::run::kubernetes::access::{home, kubeconfig, kubectl};
use crate::run::kubernetes::apply::ensure;
use crate::run::kubernetes::manifests;
use crate::run::kubernetes::pods::{Pods, await_pods};
use crate::run::layer::Layer;
use crate::run::session::Session;

/// The end of the tunnel in the cluster.
pub const RELAY: &str = "tunnel-relay";
/// How often the tunnel's process is looked at.
const LOOK: Duration = Duration::from_millis(500);
/// Where it listens, in its pod alone: as its manifest says.
const PORT: u16 = 18_070;

/// Deploys the tunnel's end in the cluster, waits for it, and starts the one here.
pub fn open(session: &Session, deadline: Duration) -> Result<String, Failure> {
    let namespace = home(session);
    let Some(image) = session.artifacts.tunnel_image.get() else {
        // Of an environment that is up, its end there was deployed with it.
        start(session)?;
        return Ok(format!("to {RELAY} in {namespace}"));
    };
    let file = "kind/manifests/tunnel.yaml";
    let mut objects = manifests::read(manifests::TUNNEL, file, &|_| None)?;
    manifests::pin_images(&mut objects, |_| Some(image.clone()));
    let level = Layer::Tunnel.into();
    let note = ensure(session, &Shared, namespace, level, &objects)?;
    let pods = Pods {
        namespace,
        app: RELAY,
        count: 1,
        level,
        dir: session.run.dir(),
    };
    await_pods(session, &pods, deadline, || Ok(false))?;
    start(session)?;
    Ok(format!("to {RELAY} in {namespace}{note}"))
}

/// Starts the end here unless it runs.
pub fn start(session: &Session) -> Result<(), Failure> {
    forward::start(&session.runner, session.run.dir(), &relay(session))
}

/// Does something through the tunnel, keeps that running, and says afterwards what happened to it meanwhile.
pub fn watched(
    session: &Session,
    work: impl FnOnce() -> Result<String, Failure>,
) -> Result<String, Failure> {
    let (since, dir) = (Timestamp::now(), session.run.dir());
    let is_over = AtomicBool::new(false);
    let result = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) && !session.runner.cancel().is_raised() {
                // What cannot be started again is told by what needs it.
                drop(forward::ensure(&session.runner, dir));
                std::thread::sleep(LOOK);
            }
        });
        // Whatever becomes of the work, the other thread ends with it.
        let result = catch_unwind(AssertUnwindSafe(work));
        is_over.store(true, Ordering::Relaxed);
        result.unwrap_or_else(|panic| resume_unwind(panic))
    });
    let found = forward::interruptions(dir, since);
    if found.cuts > 0 || found.may_be_noticed() {
        session.report.note(&format!(
            "the port-forward to {RELAY} was {found}: {}",
            dir.join(forward::JOURNAL).display()
        ));
    }
    result.map_err(|failure| {
        if let Some(removed) = removed(session) {
            return removed.detail(failure.to_string());
        }
        if !found.may_be_noticed() {
            return failure;
        }
        let detail = failure.detail.clone().unwrap_or_default();
        let cut = format!("the port-forward to {RELAY} was {found} meanwhile");
        failure.detail(format!("{detail}\n{cut}").trim_start())
    })
}

/// The failure of a run whose namespace somebody else is removing.
fn removed(session: &Session) -> Option<Failure> {
    let names = session.namespaces.names(session.is_shared());
    let kubectl = kubectl(session, "default");
    let gone = names.into_iter().find(|name| {
        let is_active = |namespace: &Value| namespace["status"]["phase"] == "Active";
        let asked = kubectl.named("namespace", &[name]);
        asked.is_ok_and(|there| !there.iter().any(is_active))
    })?;
    let what = format!("the namespace {gone} is being removed, and not by this run");
    Some(Failure::new(Exit::Setup, what).hint(format!(
        "ask who removes namespaces of {}: `kubectl get events --namespace {gone}` may say it",
        session.context()
    )))
}

/// Where the end in the cluster is.
pub fn relay(session: &Session) -> Spec {
    Spec {
        kubeconfig: kubeconfig(session),
        namespace: home(session).to_owned(),
        pod: RELAY.to_owned(),
        relay_port: PORT,
        away: None,
        forwards: Vec::new(),
    }
}
