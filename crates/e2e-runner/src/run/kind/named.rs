//! The names of the run's own cluster and of its node.

use crate::run::session::Session;
use crate::tools::kind;

/// The name of the run's cluster.
pub fn cluster(session: &Session) -> String {
    kind::cluster(&session.run.id())
}

/// The container that is its node.
pub fn node(session: &Session) -> String {
    kind::node(&cluster(session))
}
