//! What cargo wrote about what it made: in its messages, in the dep-info files of its units, in the output of build scripts. From it
//! follows what a call depends on.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::inputs::Inputs;
use crate::process::Command;

/// A message of cargo on one thing that it made, or found made (The Cargo Book, "JSON messages").
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Message {
    reason: String,
    package_id: String,
    manifest_path: Option<PathBuf>,
    filenames: Vec<PathBuf>,
    executable: Option<PathBuf>,
    out_dir: Option<PathBuf>,
    target: Target,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Target {
    name: String,
}

impl Message {
    /// The executable with its name, where it is about one.
    pub(super) fn executable(&self) -> Option<(&str, &Path)> {
        let executable = self.executable.as_deref()?;
        (self.reason == "compiler-artifact").then_some((&self.target.name, executable))
    }

    /// Whether it is about a package of this name (The Cargo Book, "Package ID Specifications").
    pub(super) fn is_of(&self, package: &str) -> bool {
        let Some((place, rest)) = self.package_id.rsplit_once('#') else {
            return self.package_id.split(' ').next() == Some(package);
        };
        match rest.split_once('@') {
            Some((name, _)) => name == package,
            None => place.rsplit('/').next() == Some(package),
        }
    }

    /// Whether it is about a package that lies here, whose files may change: that of a registry is what its version says.
    fn is_of_path(&self) -> bool {
        self.package_id.starts_with("path+") || self.package_id.contains("(path+")
    }
}

/// What a call depends on beside its configuration, by what cargo said of all that it made. None where that cannot be told, such as of a
/// build script that names nothing: then cargo looks at every file of its package.
///
/// Returned apart: what was read, which may have changed meanwhile, and the executables, which were made just now.
pub(super) fn inputs(messages: &[Message], command: &Command) -> Option<(Inputs, Inputs)> {
    let mut found = Found {
        inputs: Inputs::default(),
        listed: BTreeMap::new(),
        command,
    };
    let mut manifests: BTreeMap<&str, &Path> = BTreeMap::new();
    for message in messages {
        if let Some(manifest) = &message.manifest_path {
            manifests.insert(&message.package_id, manifest);
        }
    }
    for message in messages.iter().filter(|message| message.is_of_path()) {
        let Some(manifest) = &message.manifest_path else {
            continue;
        };
        found.package(manifest.parent()?)?;
        for file in &message.filenames {
            found.unit(file, manifest.parent()?)?;
        }
    }
    for message in messages.iter().filter(|message| !message.is_of_path()) {
        // Its sources are what its version says, what it asks of the environment is not.
        message
            .filenames
            .iter()
            .for_each(|file| found.variables_of(file));
    }
    for message in messages {
        if let Some(out_dir) = &message.out_dir {
            let manifest = manifests.get(message.package_id.as_str());
            let package = manifest.and_then(|manifest| manifest.parent());
            found.build_script(out_dir, package, message.is_of_path())?;
        }
    }
    let mut made = messages.iter().filter_map(Message::executable);
    found.toolchain(made.next()?.1)?;
    let mut made = Inputs::default();
    for (_, executable) in messages.iter().filter_map(Message::executable) {
        executable.is_file().then(|| made.file(executable))?;
    }
    Some((found.inputs, made))
}

struct Found<'a> {
    inputs: Inputs,
    /// The dep-info files of each directory: thousands, looked at for every unit.
    listed: BTreeMap<PathBuf, Vec<PathBuf>>,
    command: &'a Command,
}

impl Found<'_> {
    /// A file that is there.
    fn file(&mut self, path: &Path) -> Option<()> {
        path.exists().then(|| self.inputs.file(path))
    }

    /// A package's manifest, and the directories in which cargo finds its targets and its build script by their names.
    fn package(&mut self, dir: &Path) -> Option<()> {
        for place in ["", "src", "src/bin"] {
            self.inputs.listing(dir.join(place));
        }
        let manifest = dir.join("Cargo.toml");
        let text = std::fs::read_to_string(&manifest).ok()?;
        let text: toml::Table = text.parse().ok()?;
        let named = text
            .get("package")
            .and_then(|package| package.get("workspace"));
        let named = named
            .and_then(toml::Value::as_str)
            .map(|root| dir.join(root));
        // Its workspace, whose profiles, versions and patches are its own: the first one above it, or one that it names.
        for root in dir.ancestors().chain(named.as_deref()) {
            self.inputs.file(root.join("Cargo.toml"));
            self.inputs.file(root.join("Cargo.lock"));
        }
        self.file(&manifest)
    }

    /// The variables that a unit was compiled with, as far as its dep-info is there.
    fn variables_of(&mut self, made: &Path) {
        let DepInfo { own, variables } = self.dep_info(made);
        for file in own.iter().chain(&variables) {
            let text = std::fs::read_to_string(file).unwrap_or_default();
            self.variables_in(&text);
        }
    }

    fn variables_in(&mut self, dep_info: &str) {
        let lines = dep_info.lines();
        for variable in lines.filter_map(|line| line.strip_prefix("# env-dep:")) {
            let name = variable.split('=').next().unwrap_or(variable);
            self.inputs.variable(name, self.command.variable(name));
        }
    }

    /// The files and variables that a unit was compiled from, by the dep-info beside what it made (rustc, `--emit dep-info`).
    fn unit(&mut self, made: &Path, package: &Path) -> Option<()> {
        let DepInfo { own, variables } = self.dep_info(made);
        if own.is_empty() {
            return None;
        }
        for file in own.iter().chain(&variables) {
            let text = std::fs::read_to_string(file).ok()?;
            self.variables_in(&text);
            let rules = text.lines().filter(|_| own.contains(file));
            for (_, sources) in rules.filter_map(|line| line.split_once(": ")) {
                for source in words(sources) {
                    self.source(&source, package)?;
                }
            }
        }
        Some(())
    }

    /// A file that dep-info names: the compiler runs in the root of the workspace, where the lock file lies, or in the package.
    fn source(&mut self, path: &Path, package: &Path) -> Option<()> {
        if path.is_absolute() {
            return self.file(path);
        }
        let roots = package.ancestors();
        let roots = roots.filter(|root| root.join("Cargo.lock").is_file());
        let mut places = roots.chain([package]).map(|root| root.join(path));
        self.file(&places.find(|place| place.is_file())?)
    }

    /// What a build script said that it depends on (The Cargo Book, "Change Detection"): of a package of a registry only what lies beyond
    /// it, for the rest is what its version says.
    fn build_script(
        &mut self,
        out_dir: &Path,
        package: Option<&Path>,
        is_here: bool,
    ) -> Option<()> {
        let output = std::fs::read_to_string(out_dir.parent()?.join("output")).ok()?;
        let mut says = false;
        for line in output.lines() {
            let said = line.strip_prefix("cargo:");
            let Some(said) = said.map(|said| said.strip_prefix(':').unwrap_or(said)) else {
                continue;
            };
            if let Some(name) = said.strip_prefix("rerun-if-env-changed=") {
                says = true;
                self.inputs.variable(name, self.command.variable(name));
            } else if let Some(path) = said.strip_prefix("rerun-if-changed=") {
                says = true;
                let path = package.map_or_else(|| path.into(), |package| package.join(path));
                let is_own = package.is_some_and(|package| path.starts_with(package));
                if is_here {
                    path.exists().then(|| self.inputs.tree(path))?;
                } else if path.is_absolute() && !is_own && !path.starts_with(out_dir) {
                    self.inputs.tree(path);
                }
            }
        }
        (says || !is_here).then_some(())
    }

    /// The compiler itself, which cargo asked where it lies: a toolchain may be updated in its place.
    fn toolchain(&mut self, made: &Path) -> Option<()> {
        let mut above = made.ancestors();
        let asked = above.find_map(|dir| std::fs::read_to_string(dir.join(ASKED)).ok())?;
        let asked: serde_json::Value = serde_json::from_str(&asked).ok()?;
        let outputs = asked["outputs"].as_object()?.values();
        let printed = outputs.filter_map(|output| output["stdout"].as_str());
        let roots = printed.flat_map(str::lines).filter(|line| {
            let root = Path::new(line);
            root.is_absolute() && root.join("bin").is_dir()
        });
        for root in roots {
            self.inputs.file(Path::new(root).join("bin/rustc"));
            // Its libraries have other names with each version.
            self.inputs.listing(Path::new(root).join("lib"));
        }
        Some(())
    }
}

/// What cargo keeps of the compiler's answers, in the target directory.
const ASKED: &str = ".rustc_info.json";

/// The dep-info files of what a unit made.
struct DepInfo {
    /// Its own.
    own: Vec<PathBuf>,
    /// Those of the units that its name has, of other builds too, which only add to the variables that are looked at: the one that cargo
    /// writes for a program under its plain name holds files alone.
    variables: Vec<PathBuf>,
}

impl Found<'_> {
    fn dep_info(&mut self, made: &Path) -> DepInfo {
        let (dir, stem) = (made.parent(), made.file_stem());
        let (dir, stem) = (
            dir.unwrap_or(made),
            stem.unwrap_or_default().to_string_lossy(),
        );
        let name = stem.strip_prefix("lib").unwrap_or(&stem);
        if stem.starts_with("build-script-") || stem.starts_with("build_script_") {
            return DepInfo {
                own: self.with_prefix(dir, "build_script_"),
                variables: Vec::new(),
            };
        }
        let beside = [dir.join(format!("{stem}.d")), dir.join(format!("{name}.d"))];
        let units = format!("{}-", name.replace('-', "_"));
        DepInfo {
            own: beside.into_iter().filter(|path| path.is_file()).collect(),
            variables: self.with_prefix(&dir.join("deps"), &units),
        }
    }

    /// The dep-info files of a directory whose names begin so.
    fn with_prefix(&mut self, dir: &Path, prefix: &str) -> Vec<PathBuf> {
        let listed = self.listed.entry(dir.to_owned()).or_insert_with(|| {
            let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
            let paths = entries.map(|entry| entry.path());
            paths
                .filter(|path| path.extension().is_some_and(|ending| ending == "d"))
                .collect()
        });
        let is_one = |path: &&PathBuf| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with(prefix)
        };
        listed.iter().filter(is_one).cloned().collect()
    }
}

/// The paths of a rule of dep-info, in which a space within one has a backslash before it.
fn words(text: &str) -> Vec<PathBuf> {
    let joined = text.replace("\\ ", "\0");
    let words = joined.split_whitespace();
    words.map(|word| word.replace('\0', " ").into()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_is_known_in_every_form_of_its_id() {
        let of = |id: &str, package: &str| {
            let package_id = id.to_owned();
            let message = Message {
                package_id,
                ..Message::default()
            };
            message.is_of(package)
        };
        for id in [
            "path+file:///checkout/crates/e2e#0.1.0",
            "path+file:///checkout/suites#e2e@0.1.0",
            "registry+https://host/index#e2e@1.0.0",
            "e2e 0.1.0 (path+file:///checkout/crates/e2e)",
        ] {
            assert!(of(id, "e2e") && !of(id, "crates") && !of(id, "e2"), "{id}");
        }
    }
}
