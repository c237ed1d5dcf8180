//! How the run's cluster is reached: its name, its kubeconfig, its namespaces.

use std::path::PathBuf;

use crate::run::session::Session;
use crate::tools::kind;
use crate::tools::kubectl::Kubectl;

/// The name of the run's cluster.
pub fn cluster(session: &Session) -> String {
    kind::cluster(&session.run.id())
}

/// The kubeconfig of the run's cluster.
pub fn kubeconfig(session: &Session) -> PathBuf {
    session.run.dir().join("kubeconfig")
}

/// kubectl in one of the run's namespaces.
pub fn kubectl(session: &Session, namespace: &str) -> Kubectl {
    Kubectl::new(session.runner.clone(), &kubeconfig(session), namespace)
}

/// The namespace of PostgreSQL: that of the only service, or one that all share.
pub fn home(session: &Session) -> &str {
    session.home()
}
