//! `kubectl port-forward` to the relay: how it is called, and what it says.

use tunnel::DialError;

use crate::process::{Command, Runner};
use crate::run::forward::spec::Spec;
use crate::tools::kubectl::Kubectl;

/// What its processes are recorded under.
pub(super) const LABEL: &str = "tunnel-kubectl";
/// What it prints before the port that it listens on.
const LISTENS: &str = "Forwarding from 127.0.0.1:";
/// What the cause begins with where the relay's pod is gone.
const GONE: &str = "the relay is gone: ";

/// The command: a port of its own choice to the relay's.
pub(super) fn command(runner: &Runner, spec: &Spec) -> Command {
    Kubectl::new(runner.clone(), &spec.kubeconfig, &spec.namespace)
        .command()
        .args(["port-forward", "--address", "127.0.0.1"])
        .arg(format!("pod/{}", spec.pod))
        .arg(format!(":{}", spec.relay_port))
        .label(LABEL)
}

/// The port that it listens on, once it has said so.
pub(super) fn local_port(printed: &str) -> Option<u16> {
    let mut lines = printed.lines();
    let rest = lines.find_map(|line| line.split_once(LISTENS).map(|(_, rest)| rest))?;
    let (port, _) = rest.split_once(' ')?;
    port.parse().ok()
}

/// What it said instead, as the cause; whether the pod will not come back is in it.
pub(super) fn failed(spec: &Spec, said: &str) -> DialError {
    let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
    let is_over = ["Succeeded", "Failed"].map(|phase| format!("Current status={phase}"));
    let is_gone =
        said.contains("(NotFound)") || is_over.iter().any(|phase| said.contains(phase.as_str()));
    let what = if is_gone { GONE } else { "" };
    let why = format!("{what}{}: {said}", spec.relay());
    DialError { why, is_gone }
}

/// Whether a cause is that the relay's pod is gone.
pub(super) fn is_gone(why: &str) -> bool {
    why.starts_with(GONE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_is_read_once_its_line_is_whole() {
        let line = "Forwarding from 127.0.0.1:43567 -> 18070\nHandling connection for 43567\n";
        assert_eq!(local_port(line), Some(43567));
        assert_eq!(local_port("Forwarding from 127.0.0.1:435"), None);
        assert_eq!(local_port("running 1 test\nerror"), None);
    }

    #[test]
    fn a_pod_that_is_gone_is_told_from_one_that_cannot_be_reached() {
        let spec = Spec {
            kubeconfig: "kubeconfig".into(),
            namespace: "run".to_owned(),
            pod: "tunnel-relay".to_owned(),
            relay_port: 18070,
            away: None,
            forwards: Vec::new(),
        };
        for (said, gone) in [
            (
                "Error from server (NotFound): pods \"tunnel-relay\" not found",
                true,
            ),
            (
                "error: unable to forward port because pod is not running. Current status=Failed",
                true,
            ),
            (
                "error: unable to forward port because pod is not running. Current status=Pending",
                false,
            ),
            (
                "The connection to the server 127.0.0.1:1 was refused - did you specify the right host or port?",
                false,
            ),
        ] {
            let failed = failed(&spec, said);
            assert_eq!(
                (failed.is_gone, is_gone(&failed.why)),
                (gone, gone),
                "{said}"
            );
            assert!(
                failed
                    .why
                    .contains("relay pod tunnel-relay in namespace run")
            );
            assert!(failed.why.ends_with(said));
        }
    }
}
