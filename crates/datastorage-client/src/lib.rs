//! Typed client of Data Storage: the operations and types are generated from its OpenAPI document, the transport and the errors are here.
//!
//! **Invariant:** this crate never sees the server (D1); what both share is the contract in `datastorage-api`.

mod client;
mod error;
mod generated;
mod receipt;

pub use client::{Checked, Client, DEFAULT_DEADLINE, Written};
pub use error::{Error, Problem};
pub use generated::{operations::*, types};
