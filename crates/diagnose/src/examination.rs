//! What an examination works with.

use std::sync::Arc;

use migrator::Catalogue;
use migrator::examine::{Run, Session};

/// An open session, and what the database is compared with.
pub(crate) struct Examination {
    pub(crate) run: Arc<Run>,
    pub(crate) session: Session,
    pub(crate) catalogue: Arc<Catalogue>,
}
