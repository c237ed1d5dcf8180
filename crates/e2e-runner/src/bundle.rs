//! The bundle of ready programs that this tool may lie in: `bundle.json` beside it names them, so that nothing is built (D4).

use std::fs::Metadata;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::exit::{Exit, Failure};
use crate::fingerprint::hex;

/// The file that says what a bundle holds.
pub const FILE: &str = "bundle.json";
/// The program of a bundle that holds the suites of the built-in services.
pub const SUITES: &str = "e2e-suites";
/// The program of a bundle that fetches PostgreSQL's binaries.
pub const FETCHER: &str = "postgres-fetch";
/// The program of a bundle that pushes images to a registry.
pub const PUSHER: &str = "image-push";

/// What a bundle holds, and what it was built from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bundle {
    /// The version of the workspace.
    pub version: String,
    /// The commit that it was built from.
    pub commit: String,
    /// The machines that its programs run on, as the compiler names them.
    pub target: String,
    /// The time of that commit, or what `SOURCE_DATE_EPOCH` said.
    pub built: jiff::Timestamp,
    /// The programs beside the file, this tool among them.
    pub programs: Vec<Program>,
    /// The directory that it lies in.
    #[serde(skip)]
    pub dir: PathBuf,
}

/// A program of a bundle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    /// The name of its file.
    pub name: String,
    /// Its size in bytes.
    pub size: u64,
    /// Its SHA-256 in hexadecimal digits.
    pub sha256: String,
}

impl Program {
    /// A program as it is.
    pub fn new(name: &str, content: &[u8]) -> Self {
        Self {
            name: name.to_owned(),
            size: content.len() as u64,
            sha256: hex(content),
        }
    }
}

impl Bundle {
    /// The bundle that this tool lies in, if it lies in one; one that is not whole is an error, for what would run instead?
    pub fn beside() -> Result<Option<Self>, Failure> {
        let bundle = Self::named()?;
        bundle.as_ref().map_or(Ok(()), Self::is_whole)?;
        Ok(bundle)
    }

    /// The same, whole or not.
    pub fn named() -> Result<Option<Self>, Failure> {
        match std::env::current_exe() {
            Ok(tool) => Self::of(&tool),
            // Replaced while it runs: what lies there now is not what this tool came with.
            Err(_) => Ok(None),
        }
    }

    /// The bundle that names a program beside it, links to that followed.
    fn of(tool: &Path) -> Result<Option<Self>, Failure> {
        let Ok(tool) = tool.canonicalize() else {
            return Ok(None);
        };
        let (Some(dir), Some(name)) = (tool.parent(), tool.file_name()) else {
            return Ok(None);
        };
        let text = match std::fs::read_to_string(dir.join(FILE)) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(broken(dir, &format!("{FILE} cannot be read: {error}"))),
        };
        let bundle: Self = serde_json::from_str(&text)
            .map_err(|error| broken(dir, &format!("{FILE} cannot be read: {error}")))?;
        // Another program's file of that name is none of ours.
        if !bundle.programs.iter().any(|known| *known.name == *name) {
            return Ok(None);
        }
        let dir = dir.to_owned();
        Ok(Some(Self { dir, ..bundle }))
    }

    /// Whether all that it names is there, as large as it says: what a cut download or a mixed directory would not be.
    fn is_whole(&self) -> Result<(), Failure> {
        for Program { name, size, .. } in &self.programs {
            let found = std::fs::metadata(self.dir.join(name));
            let why = match found {
                Ok(found) if found.len() == *size && is_executable(&found) => continue,
                Ok(found) if found.len() == *size => {
                    format!("{name} may not be executed (`chmod +x`)")
                }
                Ok(found) => format!("{name} has {} bytes, not {size}", found.len()),
                Err(error) => format!("{name}: {error}"),
            };
            return Err(broken(&self.dir, &why));
        }
        Ok(())
    }

    /// Where a program of the bundle lies, if it holds one of that name.
    pub fn program(&self, name: &str) -> Option<PathBuf> {
        let known = self.programs.iter().find(|program| program.name == name)?;
        Some(self.dir.join(&known.name))
    }

    /// Whether a program is, byte for byte, what the bundle says, and may be executed.
    pub fn is_intact(&self, program: &Program) -> bool {
        let file = self.dir.join(&program.name);
        std::fs::metadata(&file).is_ok_and(|found| is_executable(&found))
            && std::fs::read(&file)
                .is_ok_and(|content| Program::new(&program.name, &content) == *program)
    }

    /// The bundle in a few words.
    pub fn describe(&self) -> String {
        let commit = self.commit.get(..12).unwrap_or(&self.commit);
        format!(
            "the bundle {} ({commit}) in {}",
            self.version,
            self.dir.display()
        )
    }
}

fn is_executable(file: &Metadata) -> bool {
    file.permissions().mode() & 0o111 != 0
}

fn broken(dir: &Path, why: &str) -> Failure {
    let what = format!("the bundle in {} is broken: {why}", dir.display());
    Failure::new(Exit::Preflight, what).hint(
        "unpack its archive anew, after `sha256sum --check --ignore-missing SHA256SUMS` beside that",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(file: &Path, mode: u32) {
        std::fs::set_permissions(file, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    fn bundle(programs: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let programs = programs.iter().map(|(name, content)| {
            std::fs::write(dir.path().join(name), content).unwrap();
            mode(&dir.path().join(name), 0o755);
            Program::new(name, content.as_bytes())
        });
        let bundle = Bundle {
            version: "1.2.3".to_owned(),
            commit: "0123456789abcdef".to_owned(),
            target: "x86_64-unknown-linux-gnu".to_owned(),
            built: jiff::Timestamp::UNIX_EPOCH,
            programs: programs.collect(),
            dir: PathBuf::new(),
        };
        let text = serde_json::to_string(&bundle).unwrap();
        std::fs::write(dir.path().join(FILE), text).unwrap();
        dir
    }

    #[test]
    fn a_tool_finds_the_programs_beside_it_even_by_a_link() {
        let dir = bundle(&[("xtask", "tool"), ("datastorage", "service")]);
        let elsewhere = tempfile::tempdir().unwrap();
        let link = elsewhere.path().join("e2e");
        std::os::unix::fs::symlink(dir.path().join("xtask"), &link).unwrap();
        let found = Bundle::of(&link).unwrap().unwrap();
        let place = dir.path().canonicalize().unwrap();
        assert_eq!(
            found.program("datastorage"),
            Some(place.join("datastorage"))
        );
        assert_eq!(found.program("service-fake"), None);
        assert!(
            found
                .describe()
                .starts_with("the bundle 1.2.3 (0123456789ab) in ")
        );
        assert!(
            found
                .programs
                .iter()
                .all(|program| found.is_intact(program))
        );
    }

    #[test]
    fn a_tool_without_a_bundle_or_beside_that_of_another_program_has_none() {
        let dir = bundle(&[("other", "tool")]);
        for name in ["xtask", "gone"] {
            std::fs::write(dir.path().join("xtask"), "tool").unwrap();
            assert_eq!(Bundle::of(&dir.path().join(name)).unwrap(), None);
        }
        std::fs::remove_file(dir.path().join(FILE)).unwrap();
        assert_eq!(Bundle::of(&dir.path().join("other")).unwrap(), None);
    }

    #[test]
    fn a_bundle_that_is_not_whole_is_told_by_the_name_of_what_is_wrong() {
        let dir = bundle(&[("xtask", "tool"), ("datastorage", "service")]);
        let told = |dir: &tempfile::TempDir| {
            let found = Bundle::of(&dir.path().join("xtask"));
            let failure = found
                .and_then(|found| found.unwrap().is_whole())
                .unwrap_err();
            assert_eq!(failure.exit, Exit::Preflight);
            assert!(failure.hint.is_some());
            failure.summary
        };
        std::fs::write(dir.path().join("datastorage"), "cut").unwrap();
        assert!(told(&dir).ends_with("datastorage has 3 bytes, not 7"));
        std::fs::remove_file(dir.path().join("datastorage")).unwrap();
        assert!(told(&dir).contains("datastorage: No such file"));
        std::fs::write(dir.path().join(FILE), "{").unwrap();
        assert!(told(&dir).contains("bundle.json cannot be read"));
        // As one without the permission to read it, which root has.
        std::fs::remove_file(dir.path().join(FILE)).unwrap();
        std::fs::create_dir(dir.path().join(FILE)).unwrap();
        assert!(told(&dir).contains("bundle.json cannot be read"));
    }

    #[test]
    fn a_program_of_the_same_size_with_other_bytes_is_not_intact() {
        let dir = bundle(&[("xtask", "tool")]);
        std::fs::write(dir.path().join("xtask"), "loot").unwrap();
        let found = Bundle::of(&dir.path().join("xtask")).unwrap().unwrap();
        assert!(!found.is_intact(&found.programs[0]));
    }

    #[test]
    fn a_program_that_may_not_be_executed_is_not_intact_and_its_bundle_not_whole() {
        let dir = bundle(&[("xtask", "tool")]);
        let found = Bundle::of(&dir.path().join("xtask")).unwrap().unwrap();
        assert!(found.is_intact(&found.programs[0]));
        mode(&dir.path().join("xtask"), 0o644);
        assert!(!found.is_intact(&found.programs[0]));
        let told = found.is_whole().unwrap_err().summary;
        assert!(
            told.ends_with("xtask may not be executed (`chmod +x`)"),
            "{told}"
        );
    }
}
