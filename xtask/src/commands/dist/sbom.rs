//! The bill of materials (`CycloneDX` 1.6): every package that is compiled into a program of the bundle, by what cargo says of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::Context as _;
use e2e_runner::exit::Exit;
use e2e_runner::paths::Paths;
use e2e_runner::process::Runner;
use e2e_runner::settings::cargo;
use e2e_runner::tools::cargo::STATIC_TARGET;
use e2e_runner::tools::release::PACKAGES;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::commands::dist::origin::Release;

/// The package whose tests are a program: only of it are the dependencies of tests among what is compiled in.
const SUITES: &str = "e2e";

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    resolve: Resolve,
}

#[derive(Deserialize)]
struct Package {
    id: String,
    name: String,
    version: String,
    license: Option<String>,
    source: Option<String>,
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
    deps: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    pkg: String,
    dep_kinds: Vec<Kind>,
}

#[derive(Deserialize)]
struct Kind {
    kind: Option<String>,
}

/// A component and the names of those that it needs.
type Components = BTreeMap<String, (Value, BTreeSet<String>)>;

/// The document.
pub(super) fn bom(runner: &Runner, paths: &Paths, release: &Release) -> anyhow::Result<Value> {
    let asked = runner
        .command(cargo())
        .args(["metadata", "--format-version", "1", "--locked"])
        .args(["--filter-platform", STATIC_TARGET])
        .dir(&paths.source);
    let asked = asked.read();
    let said = asked.map_err(|error| error.into_failure(Exit::Setup, runner.cancel()))?;
    let metadata = serde_json::from_str(&said).context("cargo metadata")?;
    let checksums = checksums(&paths.source.join("Cargo.lock"))?;
    let programs = [PACKAGES.as_slice(), &[SUITES]].concat();
    let components = compiled(&metadata, &programs, &checksums);
    let name = "kubernaut-e2e";
    let depends = components
        .iter()
        .map(|(name, (_, needs))| json!({"ref": name, "dependsOn": needs}));
    Ok(json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "timestamp": release.built,
            "component": {
                "type": "application",
                "bom-ref": name,
                "name": name,
                "version": release.version,
                "licenses": [{"license": {"id": "Apache-2.0"}}],
                "properties": [{"name": "git:commit", "value": release.commit}],
            },
        },
        "dependencies": depends.collect::<Vec<_>>(),
        "components": components.values().map(|(component, _)| component).collect::<Vec<_>>(),
    }))
}

/// The checksum of each package of a lock file, by name and version.
fn checksums(lock: &Path) -> anyhow::Result<BTreeMap<String, String>> {
    #[derive(Deserialize)]
    struct Lock {
        package: Vec<Locked>,
    }
    #[derive(Deserialize)]
    struct Locked {
        name: String,
        version: String,
        checksum: Option<String>,
    }
    let text =
        fs::read_to_string(lock).with_context(|| format!("cannot read {}", lock.display()))?;
    let lock: Lock = toml::from_str(&text).with_context(|| lock.display().to_string())?;
    let known = lock.package.into_iter().filter_map(|package| {
        let name = format!("{}@{}", package.name, package.version);
        Some((name, package.checksum?))
    });
    Ok(known.collect())
}

/// What is compiled into programs, or builds them: their packages and all that those need, but for tests.
fn compiled(
    metadata: &Metadata,
    programs: &[&str],
    checksums: &BTreeMap<String, String>,
) -> Components {
    let packages: BTreeMap<&str, &Package> = metadata
        .packages
        .iter()
        .map(|package| (&*package.id, package))
        .collect();
    let nodes: BTreeMap<&str, &Node> = metadata
        .resolve
        .nodes
        .iter()
        .map(|node| (&*node.id, node))
        .collect();
    let of_workspace = |package: &&&Package| package.source.is_none();
    let roots = packages.values().filter(of_workspace);
    let mut left: Vec<&str> = roots
        .filter(|package| programs.contains(&&*package.name))
        .map(|package| &*package.id)
        .collect();
    let mut components = Components::new();
    while let Some(id) = left.pop() {
        let (Some(package), Some(node)) = (packages.get(id), nodes.get(id)) else {
            continue;
        };
        let name = reference(package);
        if components.contains_key(&name) {
            continue;
        }
        let counts = |kind: &Kind| kind.kind.as_deref() != Some("dev") || package.name == SUITES;
        let needs = node.deps.iter();
        let needs = needs.filter(|dependency| dependency.dep_kinds.iter().any(counts));
        let needs: Vec<&str> = needs.map(|dependency| &*dependency.pkg).collect();
        let refs = needs
            .iter()
            .filter_map(|id| Some(reference(packages.get(id)?)));
        components.insert(name, (component(package, checksums), refs.collect()));
        left.extend(needs);
    }
    components
}

/// The name of a package within the document.
fn reference(package: &Package) -> String {
    format!("{}@{}", package.name, package.version)
}

fn component(package: &Package, checksums: &BTreeMap<String, String>) -> Value {
    let name = reference(package);
    let mut component = json!({
        "type": "library",
        "bom-ref": name,
        "name": package.name,
        "version": package.version,
    });
    // A package of this workspace is in no registry, so that an address there would be that of a stranger's.
    if package.source.is_some() {
        component["purl"] = format!("pkg:cargo/{name}").into();
    }
    if let Some(license) = &package.license {
        // As cargo wrote it before SPDX expressions.
        component["licenses"] = json!([{"expression": license.replace('/', " OR ")}]);
    }
    if let Some(checksum) = checksums.get(&name) {
        component["hashes"] = json!([{"alg": "SHA-256", "content": checksum}]);
    }
    component
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_programs_are_made_of_is_listed_and_what_only_their_tests_need_is_not() {
        let package = |id: &str, source: Value| json!({"id": id, "name": id, "version": "1.0.0", "license": "MIT/Apache-2.0", "source": source});
        let node = |id: &str, deps: &[(&str, Value)]| {
            let deps = deps
                .iter()
                .map(|(pkg, kind)| json!({"pkg": pkg, "dep_kinds": [{"kind": kind}]}));
            json!({"id": id, "deps": deps.collect::<Vec<_>>()})
        };
        let registry = Value::from("registry+https://example.io");
        let metadata = serde_json::from_value(json!({
            "packages": [
                package("xtask", Value::Null),
                package("e2e", Value::Null),
                package("serde", registry.clone()),
                package("snapbox", registry.clone()),
                package("tokio", registry.clone()),
                package("cc", registry),
            ],
            "resolve": {"nodes": [
                node("xtask", &[("serde", Value::Null), ("snapbox", "dev".into())]),
                node("e2e", &[("tokio", "dev".into())]),
                node("serde", &[("cc", "build".into()), ("snapbox", "dev".into())]),
                node("snapbox", &[]), node("tokio", &[]), node("cc", &[]),
            ]},
        }));
        let metadata = metadata.unwrap();
        let checksums = BTreeMap::from([("serde@1.0.0".to_owned(), "0a".to_owned())]);
        let components = compiled(&metadata, &["xtask", "e2e"], &checksums);
        let names: Vec<&str> = components.keys().map(|name| &**name).collect();
        assert_eq!(
            names,
            [
                "cc@1.0.0",
                "e2e@1.0.0",
                "serde@1.0.0",
                "tokio@1.0.0",
                "xtask@1.0.0"
            ]
        );
        let (serde, needs) = &components["serde@1.0.0"];
        assert_eq!(
            *serde,
            json!({
                "type": "library", "bom-ref": "serde@1.0.0", "name": "serde", "version": "1.0.0",
                "purl": "pkg:cargo/serde@1.0.0",
                "licenses": [{"expression": "MIT OR Apache-2.0"}],
                "hashes": [{"alg": "SHA-256", "content": "0a"}],
            })
        );
        assert_eq!(*needs, BTreeSet::from(["cc@1.0.0".to_owned()]));
        assert!(components["xtask@1.0.0"].0.get("purl").is_none());
    }
}
