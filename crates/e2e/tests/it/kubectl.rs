//! kubectl on the run's cluster, for what a suite asks of Kubernetes itself.

use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use crate::environment::variable;

/// Longest time for it to end.
const DEADLINE: Duration = Duration::from_mins(3);

/// Runs kubectl in the run's namespace, and returns what it printed.
pub(crate) async fn kubectl(args: &[&str]) -> String {
    let output = Command::new("kubectl")
        .args(["--kubeconfig", &variable(e2e_env::KUBECONFIG)])
        .args(["--namespace", &variable(e2e_env::NAMESPACE)])
        .args(args)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let said = args.join(" ");
    let output = tokio::time::timeout(DEADLINE, output).await;
    let output =
        output.unwrap_or_else(|_| panic!("`kubectl {said}` did not end within {DEADLINE:?}"));
    let output = output.unwrap_or_else(|error| panic!("`kubectl` does not start: {error}"));
    assert!(
        output.status.success(),
        "`kubectl {said}` ended with {}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}
