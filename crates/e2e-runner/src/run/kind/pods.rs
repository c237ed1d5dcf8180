//! Pods of what was applied: waited for, and their logs followed from the start.

use std::path::Path;
use std::time::Duration;

use crate::exit::Failure;
use crate::run::kind::access::kubectl;
use crate::run::kind::apply::MADE_FROM;
use crate::run::reuse::Layer;
use crate::run::service_run::ServiceRun;
use crate::run::session::Session;
use crate::state::processes;
use crate::tools::kubectl::pods::{Expected, Strictness};

/// An application's pods.
pub struct Pods<'a> {
    /// Their namespace.
    pub namespace: &'a str,
    /// The value of their label `app`.
    pub app: &'a str,
    /// How many there are.
    pub count: u16,
    /// What applied them, and for whom.
    pub level: (Layer, Option<&'a ServiceRun>),
    /// Where their logs go.
    pub dir: &'a Path,
}

/// Follows a pod's log. The kubelet gives none before it has seen the container run, up to a second after it does.
pub const FOLLOW: &str =
    "for _ in $(seq 50); do \"$@\" 2>/dev/null && exit; sleep 0.1; done; exec \"$@\"";

/// Waits until the pods of what was applied last are ready, or until `look`, asked once there is such a pod, says that they serve.
/// Each one's log is followed from its start into a file, so that its log is there even if the pod is gone when something fails; what an
/// earlier run left is not followed twice.
pub fn await_pods(
    session: &Session,
    pods: &Pods<'_>,
    deadline: Duration,
    mut look: impl FnMut() -> Result<bool, Failure>,
) -> Result<String, Failure> {
    let whose = format!("log of {}/{}", pods.namespace, pods.app);
    let followed = session.is_reused(pods.level.0, pods.level.1)
        && !processes::labelled(session.run.dir(), &whose).is_empty();
    if followed && look()? {
        return Ok(pods.app.to_owned());
    }
    let kubectl = kubectl(session, pods.namespace);
    let log = pods.dir.join(format!("{}.log", pods.app));
    let follow = |pod: &str| {
        let logs = ["logs", "--follow", "--all-containers", "--tail", "-1", pod];
        // Several write into one file.
        let whose_line: &[&str] = if pods.count > 1 { &["--prefix"] } else { &[] };
        if !followed {
            let process = kubectl
                .command()
                .args(logs)
                .args(whose_line)
                .in_shell(FOLLOW);
            // Without it the log is still read when something fails.
            drop(process.label(&whose).spawn(&log));
        }
    };
    let made_from = session.fingerprint(pods.level.0, pods.level.1);
    let selector = format!("app={},{MADE_FROM}={made_from}", pods.app);
    let expected = Expected {
        label: &selector,
        count: pods.count,
        strictness: Strictness::Strict,
    };
    let tell = |text: &str| session.report.note(text);
    kubectl.await_ready(&expected, deadline, follow, tell, look)
}
