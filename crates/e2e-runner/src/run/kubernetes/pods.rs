//! Pods of what was applied: waited for, and their logs followed from the start.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::exit::Failure;
use crate::run::kubernetes::access::{home, kubectl};
use crate::run::kubernetes::apply::{MADE_FROM, earlier_pods};
use crate::run::layer::Level;
use crate::run::plan::Target;
use crate::run::session::Session;
use crate::state::processes;
use crate::tools::kubectl::pods::{Expected, Strictness};
use crate::wait::{Look, Wait};

/// An application's pods.
pub struct Pods<'a> {
    /// Their namespace.
    pub namespace: &'a str,
    /// The value of their label `app`.
    pub app: &'a str,
    /// How many there are.
    pub count: u16,
    /// What applied them, and for whom.
    pub level: Level<'a>,
    /// Where their logs go.
    pub dir: &'a Path,
}

/// Follows a pod's log. The kubelet gives none before it has seen the container run, up to a second after it does, and each attempt takes
/// the processors a tenth of a second while they are wanted most; from the start it comes whenever it is asked for.
pub const FOLLOW: &str =
    "for _ in $(seq 20); do \"$@\" 2>/dev/null && exit; sleep 0.4; done; exec \"$@\"";

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
    let followed =
        session.is_reused(pods.level) && !processes::labelled(session.run.dir(), &whose).is_empty();
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
    let made_from = session.fingerprint(pods.level);
    let selector = format!("app={},{MADE_FROM}={made_from}", pods.app);
    let expected = Expected {
        label: &selector,
        count: pods.count,
        strictness: Strictness::Strict,
        room: session.guest.as_ref().map(|guest| guest.wait_for_room),
    };
    let tell = |text: &str| session.report.note(text);
    let began = Instant::now();
    let ready = kubectl.await_ready(&expected, deadline, follow, tell, look)?;
    await_earlier_gone(
        session,
        pods.level,
        deadline.saturating_sub(began.elapsed()),
    )?;
    Ok(ready)
}

/// Waits until no pod runs any more that a layer of this run was made of earlier: as long as one does it answers too, and a suite may
/// test it instead of what was built.
pub fn await_earlier_gone(
    session: &Session,
    level: Level<'_>,
    deadline: Duration,
) -> Result<(), Failure> {
    if session.is_reused(level) {
        return Ok(());
    }
    // A guest sees its own namespaces alone.
    let everywhere = session.place == Target::Kind;
    let namespaces = if everywhere {
        vec![home(session).to_owned()]
    } else {
        session.namespaces.names(session.is_shared())
    };
    let selector = earlier_pods(session, level);
    let wait = Wait {
        what: &format!("pods of an earlier {} still ran", level.layer.word()),
        deadline,
        interval: Duration::from_millis(200),
    };
    wait.until(session.runner.cancel(), || {
        let there = namespaces.iter();
        let there = there.map(|name| kubectl(session, name).pods(&selector, everywhere));
        let there = there.collect::<Result<Vec<_>, _>>()?.concat();
        Ok(if there.is_empty() {
            Look::Ready(())
        } else {
            Look::NotYet(format!("{} are being ended", there.join(", ")))
        })
    })
}
