//! An image: its name in manifests, and where it comes from.

use std::path::PathBuf;

use serde::Deserialize;

/// Where an image comes from.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Image {
    /// Its name in the manifests.
    pub name: String,
    /// A directory that Docker builds it from, with the Dockerfile in it.
    pub build: Option<PathBuf>,
    /// An archive that `docker save` wrote.
    pub archive: Option<PathBuf>,
}

impl Image {
    /// What no type can say about it.
    pub(super) fn check(&self) -> Result<(), String> {
        if self.build.is_some() && self.archive.is_some() {
            return Err(format!(
                "the image {} has one source: `build` or `archive`",
                self.name
            ));
        }
        Ok(())
    }
}
