//! Where manifests come from: files, URLs, commands, charts.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

/// Where manifests come from.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(
    untagged,
    expecting = "manifests are a path, a URL, { file, verbatim }, { run, dir }, or { chart, release, values, set }"
)]
pub enum Source {
    /// A file, a directory, a kustomization; or a URL, which is taken as it is.
    Named(String),
    /// A file whose `${NAMES}` may be left alone.
    File(File),
    /// A command whose standard output they are.
    Output(Output),
    /// A Helm chart.
    Chart(Chart),
}

/// A file, a directory or a kustomization.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// Its path.
    pub file: PathBuf,
    /// Whether its `${NAMES}` stay as they are written.
    #[serde(default)]
    pub verbatim: bool,
}

/// A command that prints manifests.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Output {
    /// Program and arguments.
    pub run: Vec<String>,
    /// Where it runs.
    #[serde(default)]
    pub dir: PathBuf,
}

/// A Helm chart, rendered by `helm template`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Chart {
    /// A directory or an archive; or what `helm template` takes for a chart, such as `oci://…`.
    pub chart: String,
    /// The release's name; the part's, where it is left out.
    pub release: Option<String>,
    /// The chart's repository, where `chart` is a name in one.
    pub repository: Option<String>,
    /// Its version.
    pub version: Option<String>,
    /// Files of values.
    #[serde(default)]
    pub values: Vec<PathBuf>,
    /// Single values, by path.
    #[serde(default)]
    pub set: BTreeMap<String, serde_json::Value>,
}

/// The files that make a directory a kustomization.
const KUSTOMIZATIONS: [&str; 3] = ["kustomization.yaml", "kustomization.yml", "Kustomization"];

/// Whether manifests are fetched.
pub fn is_url(text: &str) -> bool {
    text.starts_with("https://") || text.starts_with("http://")
}

/// Whether a directory is a kustomization.
pub fn is_kustomization(path: &Path) -> bool {
    KUSTOMIZATIONS.iter().any(|name| path.join(name).is_file())
}

/// The manifests of a directory in the order of their names; of a file, itself.
pub fn manifests_of(path: &Path) -> std::io::Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let entries = std::fs::read_dir(path)?.flatten().map(|entry| entry.path());
    let mut files: Vec<PathBuf> = entries.filter(|file| is_manifest(file)).collect();
    files.sort();
    Ok(files)
}

fn is_manifest(file: &Path) -> bool {
    let extension = file.extension().and_then(|extension| extension.to_str());
    extension.is_some_and(|extension| ["yaml", "yml", "json"].contains(&extension))
}
