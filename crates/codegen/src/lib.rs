//! Writes the checked-in files that are made from another file of the workspace.
//!
//! What is made is checked in, so that a build needs none of these libraries, a review sees every change, and a test fails when the two differ.
//!
//! Modules, each may import those after it: `client`, `schema`

pub mod client;
pub mod schema;

use std::{fs, path::Path};

use anyhow::Context as _;

/// A file made by this package.
#[derive(Debug)]
pub struct Generated {
    /// Path below the root of the workspace.
    pub path: &'static str,
    /// The whole text.
    pub text: String,
}

/// The root of the workspace that this package was built in.
pub fn workspace() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// Writes `files` below `root`.
pub fn write(root: &Path, files: &[Generated]) -> anyhow::Result<()> {
    for Generated { path, text } in files {
        fs::write(root.join(path), text).with_context(|| format!("write {path}"))?;
    }
    Ok(())
}
