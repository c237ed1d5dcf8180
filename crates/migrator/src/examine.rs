//! For programs that need more than [`crate::verify`]: the session, the ledger and the shapes that this crate itself works with.
//!
//! This follows the engine and changes with it more often than the rest of the crate.

pub use crate::history::{Shape, Shapes, compare};
pub use crate::ledger::{Entry, Ledger, Progress, State};
pub use crate::rows::{Rows, text};
pub use crate::session::{Run, Session};
pub use crate::shape::read as read_shapes;
pub use crate::sql::{identifier, literal};
pub use crate::view::{View, locked};
