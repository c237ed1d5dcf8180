//! The bill of materials (`CycloneDX` 1.6): every package that is compiled for a program of the bundle, by what cargo says of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::Context as _;
use e2e_runner::exit::Exit;
use e2e_runner::paths::Paths;
use e2e_runner::process::Runner;
use e2e_runner::settings::cargo;
use e2e_runner::tools::cargo::{STATIC_TARGET, features};
use e2e_runner::tools::release::together;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::commands::dist::origin::Release;

/// The package whose tests are a program: only of it are the dependencies of tests among what is compiled.
const SUITES: &str = "e2e";
/// What the document is about.
const BUNDLE: &str = "kubernaut-e2e";

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    version: String,
    license: Option<String>,
    source: Option<String>,
}

/// The names of packages, and of those that each needs.
type Needs = BTreeMap<String, BTreeSet<String>>;

/// The document.
pub(super) fn bom(runner: &Runner, paths: &Paths, release: &Release) -> anyhow::Result<Value> {
    let ask = |args: &[&str]| {
        let asked = runner.command(cargo()).args(args).dir(&paths.source).read();
        asked.map_err(|error| error.into_failure(Exit::Setup, runner.cancel()))
    };
    // Of all features: a program may be built with one that is off by default.
    let all = [
        "metadata",
        "--format-version",
        "1",
        "--locked",
        "--all-features",
    ];
    let said = ask(&all)?;
    let metadata = serde_json::from_str(&said).context("cargo metadata")?;
    let checksums = checksums(&paths.source.join("Cargo.lock"))?;
    // What metadata says is needed has optional dependencies that no build has; the tree is what one compiles. Packages are asked for as
    // they are built: what one call builds shares its features.
    let mut needs = Needs::new();
    let suites = ("normal,build,dev", &[SUITES][..]);
    let calls = together().map(|packages| ("normal,build", packages));
    for (edges, packages) in calls.into_iter().chain([suites]) {
        let mut args = vec!["tree", "--locked", "--prefix", "depth", "--format", " {p}"];
        args.extend(["--edges", edges, "--target", STATIC_TARGET]);
        args.extend(packages.iter().flat_map(|package| ["--package", package]));
        args.extend(features(packages));
        add(&mut needs, &ask(&args)?);
    }
    let components = components(&metadata, &needs, &checksums)?;
    let depends = needs
        .iter()
        .map(|(name, needs)| json!({"ref": name, "dependsOn": needs}));
    Ok(json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "timestamp": release.built,
            "component": {
                "type": "application",
                "bom-ref": BUNDLE,
                "name": BUNDLE,
                "version": release.version,
                "licenses": [{"license": {"id": "Apache-2.0"}}],
                "properties": [{"name": "git:commit", "value": release.commit}],
            },
        },
        "dependencies": depends.collect::<Vec<_>>(),
        "components": components,
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

/// Adds what `cargo tree --prefix depth` says: how deep a package is, its name, its version. The first of all needs what is not deep.
fn add(needs: &mut Needs, tree: &str) {
    let mut above = vec![BUNDLE.to_owned()];
    for line in tree.lines() {
        let mut words = line.split_whitespace();
        let depth = words.next().and_then(|depth| depth.parse::<usize>().ok());
        let version = |word: &str| word.strip_prefix('v').map(str::to_owned);
        let (Some(depth), Some(name), Some(version)) =
            (depth, words.next(), words.next().and_then(version))
        else {
            continue;
        };
        let name = reference(name, &version);
        above.truncate(depth + 1);
        if let Some(needing) = above.last() {
            needs
                .entry(needing.clone())
                .or_default()
                .insert(name.clone());
        }
        // One that was shown before is shown without what it needs.
        needs.entry(name.clone()).or_default();
        above.push(name);
    }
}

/// What cargo says of each package that is needed.
fn components(
    metadata: &Metadata,
    needs: &Needs,
    checksums: &BTreeMap<String, String>,
) -> anyhow::Result<Vec<Value>> {
    let packages: BTreeMap<String, &Package> = metadata
        .packages
        .iter()
        .map(|package| (reference(&package.name, &package.version), package))
        .collect();
    let needed = needs.keys().filter(|name| *name != BUNDLE);
    let components = needed.map(|name| {
        let package = packages.get(name);
        let package = package.with_context(|| {
            format!("cargo metadata does not list {name}, which cargo tree does: run dist again")
        })?;
        Ok(component(package, checksums))
    });
    components.collect()
}

/// The name of a package within the document.
fn reference(name: &str, version: &str) -> String {
    format!("{name}@{version}")
}

fn component(package: &Package, checksums: &BTreeMap<String, String>) -> Value {
    let name = reference(&package.name, &package.version);
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
    fn what_is_compiled_for_programs_is_listed_with_what_it_needs() {
        let package = |name: &str, source: Value| json!({"name": name, "version": "1.0.0", "license": "MIT/Apache-2.0", "source": source});
        let registry = Value::from("registry+https://example.io");
        let metadata = serde_json::from_value(json!({
            "packages": [
                package("xtask", Value::Null),
                package("e2e", Value::Null),
                package("serde", registry.clone()),
                package("optional", registry.clone()),
                package("cc", registry),
            ],
        }));
        let metadata = metadata.unwrap();
        let mut needs = Needs::new();
        add(
            &mut needs,
            "0 xtask v1.0.0 (/a place)\n1 serde v1.0.0 (proc-macro)\n2 cc v1.0.0\n1 cc v1.0.0\n",
        );
        add(
            &mut needs,
            "0 e2e v1.0.0 (/a place)\n1 serde v1.0.0 (proc-macro) (*)\n\n0 xtask v1.0.0 (/a place) (*)\n",
        );
        let set = |names: &[&str]| names.iter().map(|name| format!("{name}@1.0.0")).collect();
        let expected: Needs = [
            (BUNDLE.to_owned(), set(&["e2e", "xtask"])),
            ("cc@1.0.0".to_owned(), set(&[])),
            ("e2e@1.0.0".to_owned(), set(&["serde"])),
            ("serde@1.0.0".to_owned(), set(&["cc"])),
            ("xtask@1.0.0".to_owned(), set(&["cc", "serde"])),
        ]
        .into();
        assert_eq!(needs, expected);
        let checksums = BTreeMap::from([("serde@1.0.0".to_owned(), "0a".to_owned())]);
        let listed = components(&metadata, &needs, &checksums).unwrap();
        let names: Vec<&Value> = listed.iter().map(|component| &component["name"]).collect();
        assert_eq!(names, ["cc", "e2e", "serde", "xtask"]);
        assert_eq!(
            listed[2],
            json!({
                "type": "library", "bom-ref": "serde@1.0.0", "name": "serde", "version": "1.0.0",
                "purl": "pkg:cargo/serde@1.0.0",
                "licenses": [{"expression": "MIT OR Apache-2.0"}],
                "hashes": [{"alg": "SHA-256", "content": "0a"}],
            })
        );
        assert!(listed[3].get("purl").is_none());
        needs.entry("other@1.0.0".to_owned()).or_default();
        let unknown = components(&metadata, &needs, &checksums).unwrap_err();
        assert!(unknown.to_string().contains("other@1.0.0"), "{unknown}");
    }
}
