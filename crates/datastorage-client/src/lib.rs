//! Typed client of Data Storage: the operations and types are generated from its OpenAPI document, the transport and the errors are here.
//!
//! ```no_run
//! use datastorage_client::{Client, QueryAuditEvents, Written};
//!
//! # async fn example(event: datastorage_client::types::AuditEventRequest) -> Result<(), datastorage_client::Error> {
//! let client = Client::new("http://localhost:8080")?;
//! match client.create_audit_event(&event).await? {
//!     Written::Committed(answer) => println!("{} is stored", answer.event_id),
//!     // In the server's queue: send it again under the same event_id to learn of its commit.
//!     Written::Queued(answer) => println!("{}", answer.message),
//! }
//! let query = QueryAuditEvents {
//!     correlation_id: Some("remediation-7".to_owned()),
//!     ..QueryAuditEvents::default()
//! };
//! for event in client.query_audit_events(&query).await?.data {
//!     println!("{} {}", event.event_timestamp, event.event_type);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Only the documented answers count: a write is committed by a 201 that names what was sent, and queued by a 202; anything else,
//! redirects and other 2xx included, is an error, after which the write may or may not have taken effect.
//!
//! **Invariant:** this crate never sees the server (D1); what both share is the contract in `datastorage-api`.
//!
//! Modules, each may import those after it: `operations`, `client`, `connector`, `tls`, `token`, `access`, `receipt`, `types`, `error`

mod access;
mod client;
mod connector;
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
mod tls;
mod token;

pub use access::Access;
pub use client::{Checked, Client, DEFAULT_DEADLINE, RawAnswer, Written};
pub use error::{Error, Problem};
pub use hyper::Method;
pub use operations::*;
