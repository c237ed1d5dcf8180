//! What proves who calls, and who this server is: files that are read again when they change, so that nothing restarts for a rotation.
//!
//! Modules, each may import those after it: `listener`, `tokens`, `watched`

mod listener;
mod tokens;
mod watched;

pub(crate) use listener::{Files, listener};
pub(crate) use tokens::{Tokens, tokens};
pub(crate) use watched::{Look, Watched};
