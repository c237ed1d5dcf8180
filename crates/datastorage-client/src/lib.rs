//! Typed client of Data Storage: the operations and types are generated from its OpenAPI document, the transport and the errors are here.
//!
//! **Invariant:** this crate never sees the server (D1); what both share is the contract in `datastorage-api`.
//!
//! Modules, each may import those after it: `operations`, `client`, `receipt`, `types`, `error`

mod client;
mod error;
#[expect(clippy::pedantic, reason = "generated, its documentation is the document's")]
#[path = "generated/operations.rs"]
#[rustfmt::skip]
mod operations;
mod receipt;
#[expect(clippy::pedantic, missing_docs, reason = "generated, described in the document")]
#[path = "generated/types.rs"]
#[rustfmt::skip]
pub mod types;

pub use client::{Checked, Client, DEFAULT_DEADLINE, Written};
pub use error::{Error, Problem};
pub use operations::*;
