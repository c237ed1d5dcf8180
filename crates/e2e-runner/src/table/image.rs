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
    /// What it is made from has to be there.
    pub fn sources(&self, root: &std::path::Path) -> Result<(), String> {
        if let Some(dir) = self.build.as_ref().map(|dir| root.join(dir))
            && !dir.join("Dockerfile").is_file()
        {
            let dir = dir.display();
            return Err(format!(
                "its image {} is built from {dir}, which has no Dockerfile",
                self.name
            ));
        }
        if let Some(archive) = self.archive.as_ref().map(|path| root.join(path))
            && !archive.is_file()
        {
            let archive = archive.display();
            return Err(format!(
                "its image {} comes from {archive}, which is not there",
                self.name
            ));
        }
        Ok(())
    }

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
