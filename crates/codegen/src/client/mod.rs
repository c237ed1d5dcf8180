//! The typed client of Data Storage, from its OpenAPI document: types by typify, one method for each operation by `operations`.
//!
//! progenitor does not take the document as it is: it has one body type for all successes, where 201 and 202 differ, and reports errors in a type
//! of its own. The methods are few and small, so they are written here, to the client's own error type.

mod document;
mod operations;
mod types;

use anyhow::Context as _;
use proc_macro2::TokenStream;

use crate::Generated;

const TYPES: &str = "crates/datastorage-client/src/generated/types.rs";
const OPERATIONS: &str = "crates/datastorage-client/src/generated/operations.rs";

/// Creates the client's files.
pub fn generate() -> anyhow::Result<Vec<Generated>> {
    let document = document::Document::parse(datastorage_api::OPENAPI)?;
    Ok(vec![
        Generated {
            path: TYPES,
            text: print(
                "The schemas of the OpenAPI document.",
                types::emit(&document)?,
            )?,
        },
        Generated {
            path: OPERATIONS,
            text: print(
                "The operations of the OpenAPI document.",
                operations::emit(&document)?,
            )?,
        },
    ])
}

fn print(duty: &str, tokens: TokenStream) -> anyhow::Result<String> {
    let file = syn::parse2(tokens)
        .context("the generated code does not parse: a defect of this package")?;
    Ok(format!(
        "//! {duty}\n//!\n//! Made by `cargo run -p codegen -- client`; edit the document instead.\n\n{}",
        prettyplease::unparse(&file)
    ))
}
