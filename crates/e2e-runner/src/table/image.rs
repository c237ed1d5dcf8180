//! An image: its name in manifests, and what it is made from.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::names::{Unknown, expand, expand_map};

/// An image that a part's manifests name; pulled, where nothing says what it is made from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Image {
    /// Its name in the manifests.
    pub name: String,
    /// What it is built from.
    pub build: Option<Build>,
    /// The Dockerfile, where it is not the one in the directory `build`.
    pub dockerfile: Option<PathBuf>,
    /// Build arguments of the Dockerfile.
    pub args: BTreeMap<String, String>,
    /// The stage of the Dockerfile that is built, where it is not the last one.
    pub target: Option<String>,
    /// An archive that `docker save` wrote.
    pub archive: Option<PathBuf>,
    /// Whether its layers go into the prepared node image, which later clusters start from.
    pub prepared: bool,
}

/// What an image is built from.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(
    untagged,
    expecting = "`build` is a directory with a Dockerfile, or one of { go, dir, args, env }, { cargo, bin, dir, args }, { files, entrypoint }"
)]
pub enum Build {
    /// A directory, by Docker.
    Docker(PathBuf),
    /// A static program in Go, alone.
    Go(Go),
    /// A static program in Rust, alone.
    Cargo(Cargo),
    /// Files of this machine, and nothing else.
    Files(Files),
}

/// `{ go = "./cmd/gateway" }`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Go {
    /// The package of the program.
    pub go: String,
    /// The directory of its module.
    #[serde(default)]
    pub dir: PathBuf,
    /// Further arguments of `go build`.
    #[serde(default)]
    pub args: Vec<String>,
    /// Variables of `go build`.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
}

/// `{ cargo = "gateway" }`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cargo {
    /// The package.
    pub cargo: String,
    /// The program of it; that of the package's name, where it is left out.
    pub bin: Option<String>,
    /// The directory of its workspace.
    #[serde(default)]
    pub dir: PathBuf,
    /// Further arguments of `cargo build`.
    #[serde(default)]
    pub args: Vec<String>,
}

/// `{ files = { "/app/gateway" = "bin/gateway" }, entrypoint = ["/app/gateway"] }`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Files {
    /// Files and directories of this machine by their paths in the image.
    pub files: BTreeMap<String, PathBuf>,
    /// What runs, unless the manifests name a command.
    #[serde(default)]
    pub entrypoint: Vec<String>,
}

impl Image {
    /// Replaces the names in its texts.
    pub(super) fn expand(&mut self, value: &dyn Fn(&str) -> Option<String>) -> Result<(), Unknown> {
        let path = |path: &PathBuf| Ok(expand(&path.to_string_lossy(), value)?.into());
        self.name = expand(&self.name, value)?;
        self.args = expand_map(&self.args, value)?;
        if let Some(Build::Docker(dir)) = &self.build {
            self.build = Some(Build::Docker(path(dir)?));
        }
        self.archive = self.archive.as_ref().map(path).transpose()?;
        self.dockerfile = self.dockerfile.as_ref().map(path).transpose()?;
        Ok(())
    }

    /// Whether it is a program that this tool can build for this machine too.
    pub fn is_program(&self) -> bool {
        matches!(self.build, Some(Build::Go(_) | Build::Cargo(_)))
    }

    /// What no type can say about it.
    pub(super) fn check(&self) -> Result<(), String> {
        let wrong = |why: &str| Err(format!("the image {}: {why}", self.name));
        if self.name.is_empty() {
            return Err("an image has no `name`".to_owned());
        }
        if self.build.is_some() && self.archive.is_some() {
            return wrong("it has one source: `build` or `archive`");
        }
        let of_docker = self.dockerfile.is_some() || self.target.is_some() || !self.args.is_empty();
        if of_docker && !matches!(self.build, Some(Build::Docker(_))) {
            return wrong(
                "`dockerfile`, `args` and `target` belong to a `build` by Docker, whose text is the directory of its context",
            );
        }
        if self.prepared && self.build.is_some() {
            return wrong(
                "`prepared` is for an image that is pulled or in an archive: what is built changes, and a prepared node is made once",
            );
        }
        match &self.build {
            Some(Build::Go(go)) if go.go.is_empty() || go.go.ends_with("...") => {
                wrong("`go` names the one package that is the program, such as ./cmd/gateway")
            }
            Some(Build::Cargo(cargo)) if cargo.cargo.is_empty() => {
                wrong("`cargo` names the package that the program is of")
            }
            Some(Build::Files(files)) => files.check().or_else(|why| wrong(&why)),
            _ => Ok(()),
        }
    }

    /// Whether what it is made from is there, so that nothing is made in vain.
    pub fn sources(&self, root: &Path) -> Result<(), String> {
        let missing = |path: &Path, what: &str| {
            let path = path.display();
            Err(format!("its image {} {what} {path}", self.name))
        };
        if let Some(archive) = self.archive.as_ref().map(|path| root.join(path))
            && !archive.is_file()
        {
            return missing(&archive, "comes from an archive that is not there:");
        }
        let dir = match &self.build {
            None => return Ok(()),
            Some(Build::Docker(dir)) => dir,
            Some(Build::Go(go)) => &go.dir,
            Some(Build::Cargo(cargo)) => &cargo.dir,
            Some(Build::Files(files)) => {
                let sources = files.files.values().map(|path| root.join(path));
                return sources
                    .into_iter()
                    .find(|path| !path.exists())
                    .map_or(Ok(()), |path| {
                        missing(&path, "holds a file that is not there:")
                    });
            }
        };
        let dir = root.join(dir);
        if !dir.is_dir() {
            return missing(&dir, "is built in a directory that is not there:");
        }
        if matches!(self.build, Some(Build::Docker(_))) {
            let dockerfile = self.dockerfile(root, &dir);
            if !dockerfile.is_file() {
                return missing(&dockerfile, "is built by a Dockerfile that is not there:");
            }
        }
        if matches!(self.build, Some(Build::Cargo(_))) && !dir.join("Cargo.toml").is_file() {
            return missing(&dir, "is built by cargo, and there is no Cargo.toml in");
        }
        Ok(())
    }

    /// The Dockerfile of a build in a directory.
    pub fn dockerfile(&self, root: &Path, dir: &Path) -> PathBuf {
        match &self.dockerfile {
            Some(path) => root.join(path),
            None => dir.join("Dockerfile"),
        }
    }
}

impl Files {
    fn check(&self) -> Result<(), String> {
        if self.files.is_empty() {
            return Err("`files` is empty".to_owned());
        }
        for path in self.files.keys() {
            let inside = path.strip_prefix('/').is_some_and(|inner| {
                let inner = inner.strip_suffix('/').unwrap_or(inner);
                inner.is_empty()
                    || inner
                        .split('/')
                        .all(|part| !["", ".", ".."].contains(&part))
            });
            if !inside {
                return Err(format!(
                    "{path} of its `files` is no absolute path in the image"
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Image, String> {
        let image: Image = toml::from_str(text).map_err(|error| error.to_string())?;
        image.check().map(|()| image)
    }

    #[test]
    fn an_image_is_built_by_docker_by_go_by_cargo_from_files_or_not_at_all() {
        for build in [
            "\".\"\ndockerfile = \"docker/x.Dockerfile\"\nargs = { GOFLAGS = \"-cover\" }\ntarget = \"runtime\"",
            "{ go = \"./cmd/x\", dir = \"module\", args = [\"-tags=x\"], env = { GOFLAGS = \"\" } }",
            "{ cargo = \"x\", bin = \"y\", dir = \"workspace\", args = [\"--locked\"] }",
            "{ files = { \"/app/x\" = \"bin/x\", \"/\" = \"root\", \"/etc/\" = \"etc\" }, entrypoint = [\"/app/x\"] }",
        ] {
            let image = read(&format!("name = \"x\"\nbuild = {build}\n"));
            assert!(
                image.clone().is_ok_and(|image| image.build.is_some()),
                "{image:?}"
            );
        }
        let archive = read("name = \"x\"\narchive = \"x.tar\"\nprepared = true").unwrap();
        assert!(archive.prepared && archive.build.is_none());
        assert!(read("name = \"redis:7\"").is_ok());
    }

    #[test]
    fn what_makes_no_sense_is_refused_in_words() {
        for (text, why) in [
            ("build = { go = \"./x\", tags = [] }", "{ go, dir"),
            ("biuld = \".\"", "biuld"),
            ("build = \".\"\narchive = \"x.tar\"", "one source"),
            ("dockerfile = \"Dockerfile\"", "by Docker"),
            ("build = { go = \"./x\" }\ntarget = \"y\"", "by Docker"),
            ("archive = \"x.tar\"\nargs = { A = \"b\" }", "by Docker"),
            ("build = \".\"\nprepared = true", "`prepared`"),
            ("build = { go = \"./cmd/...\" }", "one package"),
            ("build = { cargo = \"\" }", "the package"),
            ("build = { files = {} }", "empty"),
            (
                "build = { files = { \"app/x\" = \"x\" } }",
                "app/x of its `files`",
            ),
            (
                "build = { files = { \"/app/../x\" = \"x\" } }",
                "no absolute path",
            ),
        ] {
            let told = read(&format!("name = \"localhost/x\"\n{text}\n")).unwrap_err();
            assert!(told.contains(why), "{text}: {told}");
        }
        assert!(read("").unwrap_err().contains("no `name`"));
    }

    #[test]
    fn what_an_image_is_made_from_has_to_be_there() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str| {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        };
        for (source, made, missing) in [
            ("archive = \"x.tar\"", "x.tar", "archive"),
            ("build = \"d\"", "d/Dockerfile", "directory"),
            (
                "build = \"d\"\ndockerfile = \"f/x.Dockerfile\"",
                "f/x.Dockerfile",
                "f/x.Dockerfile",
            ),
            (
                "build = { go = \"./cmd/x\", dir = \"g\" }",
                "g/go.mod",
                "directory",
            ),
            (
                "build = { cargo = \"x\", dir = \"c\" }",
                "c/Cargo.toml",
                "directory",
            ),
            (
                "build = { cargo = \"x\", dir = \"d\" }",
                "d/Cargo.toml",
                "no Cargo.toml",
            ),
            (
                "build = { files = { \"/x\" = \"bin/x\" } }",
                "bin/x",
                "bin/x",
            ),
        ] {
            let image = read(&format!("name = \"x\"\n{source}")).unwrap();
            let told = image.sources(root.path()).unwrap_err();
            assert!(told.contains(missing), "{source}: {told}");
            write(made);
            assert_eq!(image.sources(root.path()), Ok(()), "{source}");
        }
        assert_eq!(
            read("name = \"redis:7\"").unwrap().sources(root.path()),
            Ok(())
        );
    }
}
