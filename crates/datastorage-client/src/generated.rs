//! What `cargo run -p codegen -- client` makes from the OpenAPI document.

#[expect(clippy::pedantic, reason = "generated, its documentation is the document's")]
#[rustfmt::skip]
pub(crate) mod operations;
#[expect(clippy::pedantic, missing_docs, reason = "generated, described in the document")]
#[rustfmt::skip]
pub mod types;
