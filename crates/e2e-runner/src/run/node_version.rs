//! The versions of Kubernetes that a run is asked for, each with the node image that is to have it.
//!
//! Which image kind has for a version depends on the release of kind, and is named by digest in its release notes: a list here would be
//! of yesterday. So an image is named by whoever knows it, or by what is there.

use std::time::Duration;

use crate::exit::{Exit, Failure};
use crate::kubernetes_version::Version;
use crate::process::Runner;
use crate::settings;
use crate::table::Table;
use crate::tools::{docker, kind};

/// Where kind publishes its node images.
const REPOSITORY: &str = "kindest/node";
/// How long one may take to come: about 1 GB.
const PULLED_WITHIN: Duration = Duration::from_mins(15);

/// A version that is asked for, with its node image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeVersion {
    /// The version.
    pub version: Version,
    /// The image.
    pub image: String,
    /// Who names that image for it.
    pub source: String,
}

/// The node image of each version, in the order they are asked for.
pub fn choose(
    runner: &Runner,
    table: &Table,
    versions: &[Version],
) -> Result<Vec<NodeVersion>, Failure> {
    let mut chosen: Vec<NodeVersion> = Vec::new();
    for version in versions {
        let node = choose_one(runner, table, *version)?;
        if chosen.iter().any(|other| other.version == *version) {
            let what = format!("Kubernetes {version} is asked for twice");
            return Err(Failure::new(Exit::Usage, what).hint("name each version once"));
        }
        if let Some(other) = chosen.iter().find(|other| other.image == node.image) {
            let what = format!(
                "Kubernetes {} and {version} have the same node image, {}",
                other.version, node.image
            );
            return Err(Failure::new(Exit::Usage, what).hint("ask for one of the two"));
        }
        chosen.push(node);
    }
    Ok(chosen)
}

fn choose_one(runner: &Runner, table: &Table, version: Version) -> Result<NodeVersion, Failure> {
    let found = |image: String, source: String| NodeVersion {
        version,
        image,
        source,
    };
    // What is said of a patch version comes before what is said of all of its minor version.
    for said in [version, version.of_minor()] {
        if let Some((image, variable)) = settings::node_image_of(&said.to_string()) {
            return Ok(found(image, variable));
        }
        if let Some((image, place)) = table.node_image(said) {
            return Ok(found(image.to_owned(), format!("[kubernetes] of {place}")));
        }
    }
    let has_it = |image: &str| Version::of_image(image).is_some_and(|it| version.is_met_by(it));
    if let Some(image) = settings::node_image().filter(|image| has_it(image)) {
        return Ok(found(image, "KIND_NODE_IMAGE".to_owned()));
    }
    if let Some(image) = kind::default_image(runner).filter(|image| has_it(image)) {
        return Ok(found(image, "kind's own".to_owned()));
    }
    let here = docker::tags(runner, REPOSITORY);
    let here = here.iter().map(|tag| format!("{REPOSITORY}:{tag}"));
    let newest = here
        .filter(|image| has_it(image))
        .max_by_key(|image| Version::of_image(image));
    if let Some(image) = newest {
        return Ok(found(image, "on this host".to_owned()));
    }
    if version.patch.is_some() {
        let image = format!("{REPOSITORY}:v{version}");
        return Ok(found(image, "as kind names its images".to_owned()));
    }
    let variable = settings::node_image_variable(&version.to_string());
    let kind = kind::version(runner).map_or_else(|_| "kind".to_owned(), |it| format!("kind {it}"));
    let what = format!(
        "no node image of Kubernetes {version} is known: {variable}, [kubernetes] of a table, KIND_NODE_IMAGE and {kind} name none, and no {REPOSITORY}:v{version}.… is here"
    );
    Err(Failure::new(Exit::Preflight, what).hint(format!(
        "set {variable} to the one that the release notes of {kind} list (https://github.com/kubernetes-sigs/kind/releases), or ask for a patch version: 1.{}.P means {REPOSITORY}:v1.{}.P",
        version.minor, version.minor
    )))
}

impl NodeVersion {
    /// Has the host have the image, before anything is made.
    pub fn bring(&self, runner: &Runner) -> Result<(), Failure> {
        let brought = docker::ensure_image(runner, &self.image, &self.names(), PULLED_WITHIN);
        brought.map(drop).map_err(|failure| Failure {
            exit: match failure.exit {
                Exit::Setup => Exit::Preflight,
                other => other,
            },
            ..failure
        })
    }

    /// Whether the host has it.
    pub fn is_here(&self, runner: &Runner) -> bool {
        docker::image_id(runner, &self.image).is_some()
    }

    /// Where another image is named for this version.
    pub fn names(&self) -> String {
        settings::node_image_variable(&self.version.to_string())
    }

    /// In a line.
    pub fn describe(&self) -> String {
        format!(
            "Kubernetes {} from {} ({})",
            self.version, self.image, self.source
        )
    }

    /// Fails where a node is of another version than was asked for.
    pub fn check(&self, what: &str, told: &str) -> Result<(), Failure> {
        let runs = Version::told(told);
        if runs.is_some_and(|runs| self.version.is_met_by(runs)) {
            return Ok(());
        }
        let what = format!(
            "Kubernetes {} was asked for, and {what} of {} is {told}",
            self.version, self.image
        );
        let (source, variable) = (&self.source, self.names());
        let hint = if *source == variable {
            format!("set {variable} to an image of Kubernetes {}", self.version)
        } else {
            format!(
                "correct what names it ({source}), or set {variable} to an image of Kubernetes {}",
                self.version
            )
        };
        Err(Failure::new(Exit::Setup, what).hint(hint))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_of_another_version_is_a_failure_that_names_both() {
        let node = NodeVersion {
            version: "1.33".parse().unwrap(),
            image: "localhost/node:v1.33.0".to_owned(),
            source: "KIND_NODE_IMAGE_1_33".to_owned(),
        };
        assert!(node.check("the API server", "v1.33.4").is_ok());
        let failure = node.check("the API server", "v1.34.4").unwrap_err();
        assert_eq!(
            failure.summary,
            "Kubernetes 1.33 was asked for, and the API server of localhost/node:v1.33.0 is v1.34.4"
        );
        assert!(node.check("the API server", "unheard").is_err());
    }
}
