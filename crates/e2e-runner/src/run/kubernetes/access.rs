//! How a run's cluster is reached: its kubeconfig, its namespaces.

use std::path::PathBuf;

use crate::run::plan::Target;
use crate::run::session::Session;
use crate::tools::kubectl::Kubectl;

/// The kubeconfig of the run's cluster.
pub fn kubeconfig(session: &Session) -> PathBuf {
    session.run.dir().join("kubeconfig")
}

/// kubectl in one of the run's namespaces.
pub fn kubectl(session: &Session, namespace: &str) -> Kubectl {
    let kubectl = Kubectl::new(session.runner.clone(), &kubeconfig(session), namespace);
    match session.place {
        Target::Cluster => kubectl.patient().managed_by(&session.run.id()),
        Target::Kind => kubectl.by(session.artifacts.api_server.of(&kubeconfig(session))),
        Target::Local => kubectl,
    }
}

/// The namespace of PostgreSQL: that of the only service, or one that all share.
pub fn home(session: &Session) -> &str {
    session.home()
}
