//! The relay (D40): takes audit events on loopback for a service in any language, and sends them on through the store.
//!
//! Modules, each may import those after it: `server`, `routes`, `body`, `problem`

mod body;
mod problem;
mod routes;
mod server;

pub(crate) use server::serve;
