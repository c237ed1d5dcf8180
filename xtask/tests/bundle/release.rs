//! The files of a release: checksums that are right, an image, a bill of materials and a statement that say what was built.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::process::Command;

use e2e_runner::fingerprint::hex;
use serde_json::Value;

use crate::installed::{Installed, dist, file, output};

fn json(ending: &str) -> Value {
    serde_json::from_slice(&fs::read(file(ending)).expect("a file")).expect("JSON")
}

#[test]
fn every_file_has_its_checksum_and_the_statement_names_those_that_were_built() {
    let sums = fs::read_to_string(dist().join("SHA256SUMS")).expect("checksums");
    let sums: BTreeMap<&str, &str> = sums
        .lines()
        .map(|line| line.split_once("  ").expect("a sum and a name"))
        .map(|(sum, name)| (name, sum))
        .collect();
    for (name, sum) in &sums {
        assert_eq!(
            hex(&fs::read(dist().join(name)).expect("a file")),
            *sum,
            "{name}"
        );
    }
    let files = fs::read_dir(dist()).expect("the release").flatten();
    let files = files.filter(|file| file.path().is_file()).count();
    assert_eq!(files, sums.len() + 1, "every file but the list itself");

    // <https://slsa.dev/spec/v1.0/provenance>, the fields that a verifier asks for.
    let statement = json(".intoto.json");
    assert_eq!(statement["_type"], "https://in-toto.io/Statement/v1");
    assert_eq!(statement["predicateType"], "https://slsa.dev/provenance/v1");
    let subjects = statement["subject"].as_array().expect("subjects");
    assert_eq!(subjects.len(), 3);
    for subject in subjects {
        let name = subject["name"].as_str().expect("a name");
        assert_eq!(subject["digest"]["sha256"], sums[name], "{name}");
    }
    let definition = &statement["predicate"]["buildDefinition"];
    assert!(definition["buildType"].is_string() && definition["externalParameters"].is_object());
    assert!(definition["resolvedDependencies"][0]["digest"]["gitCommit"].is_string());
    assert!(statement["predicate"]["runDetails"]["builder"]["id"].is_string());
}

#[test]
fn the_bill_of_materials_has_every_package_with_version_licence_and_checksum() {
    let bom = json(".cdx.json");
    // <https://cyclonedx.org/docs/1.6/json/>: what the schema requires, and what its readers look for.
    assert_eq!(
        (&bom["bomFormat"], &bom["specVersion"]),
        (&"CycloneDX".into(), &"1.6".into())
    );
    assert_eq!(bom["version"], 1);
    let components = bom["components"].as_array().expect("components");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    for component in components {
        assert_eq!(component["type"], "library");
        for field in ["name", "version", "bom-ref"] {
            assert!(!text(&component[field]).is_empty(), "{field}: {component}");
        }
        assert!(
            component["licenses"][0]["expression"].is_string(),
            "{component}"
        );
        if component.get("purl").is_some() {
            assert!(
                text(&component["purl"]).starts_with("pkg:cargo/"),
                "{component}"
            );
            assert_eq!(
                text(&component["hashes"][0]["content"]).len(),
                64,
                "{component}"
            );
        }
    }
    let named = |name: &str| components.iter().any(|component| component["name"] == name);
    for name in [
        "xtask",
        "datastorage",
        "e2e",
        "postgres-fetch",
        "image-push",
        "oci-client",
        "tokio",
        "clap",
        "axum",
    ] {
        assert!(named(name), "{name}");
    }
    assert!(!named("snapbox"), "only tests need it");
    let of_bundle = &bom["metadata"]["component"];
    let refs: Vec<String> = components
        .iter()
        .chain([of_bundle])
        .map(|component| text(&component["bom-ref"]))
        .collect();
    let dependencies = bom["dependencies"].as_array().expect("dependencies");
    let told: Vec<String> = dependencies.iter().map(|one| text(&one["ref"])).collect();
    assert!(refs.iter().all(|name| told.contains(name)), "{told:?}");
    for dependency in dependencies {
        let needs = dependency["dependsOn"].as_array().expect("names");
        for name in needs.iter().chain([&dependency["ref"]]) {
            assert!(refs.contains(&text(name)), "{name} is no component");
        }
    }
}

#[test]
fn the_image_holds_the_data_storage_of_the_bundle() {
    let image = fs::File::open(file(&format!("{}.tar.gz", arch()))).expect("the image");
    let mut image = tar::Archive::new(flate2::read::GzDecoder::new(image));
    let mut parts = BTreeMap::new();
    for entry in image.entries().expect("an archive") {
        let mut entry = entry.expect("an entry");
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).expect("a file");
        parts.insert(entry.path().expect("a path").display().to_string(), bytes);
    }
    let manifest: Value = serde_json::from_slice(&parts["manifest.json"]).expect("JSON");
    let name = manifest[0]["RepoTags"][0].as_str().expect("a name");
    assert!(
        name.starts_with("localhost/kubernaut-datastorage:"),
        "{name}"
    );
    let mut layer = tar::Archive::new(&parts["layer.tar"][..]);
    let mut entry = layer
        .entries()
        .expect("an archive")
        .next()
        .expect("a file")
        .expect("a file");
    let mut program = Vec::new();
    entry.read_to_end(&mut program).expect("a program");
    let installed = Installed::new();
    assert_eq!(
        hex(&program),
        hex(&fs::read(installed.dir().join("datastorage")).expect("a program"))
    );
}

fn arch() -> &'static str {
    if cfg!(target_arch = "aarch64") {
        "arm64"
    } else {
        "amd64"
    }
}

#[test]
fn every_program_of_the_bundle_is_static_holds_no_path_of_the_checkout_and_starts() {
    let installed = Installed::new();
    let bundle = fs::read_to_string(installed.dir().join("bundle.json")).expect("bundle.json");
    let bundle: Value = serde_json::from_str(&bundle).expect("JSON");
    let checkout = env!("CARGO_MANIFEST_DIR")
        .trim_end_matches("/xtask")
        .as_bytes();
    for program in bundle["programs"].as_array().expect("programs") {
        let name = program["name"].as_str().expect("a name");
        let path = installed.dir().join(name);
        let content = fs::read(&path).expect("a program");
        assert!(!e2e_runner::tools::elf::is_dynamic(&content), "{name}");
        let names = content.windows(checkout.len()).any(|part| part == checkout);
        assert!(!names, "{name} names the checkout");
        let mut command = Command::new(&path);
        installed.isolate(&mut command);
        // Data Storage alone has no flags: it says what it was not told.
        let (_, said, wrong) = output(command.arg("--help"));
        let said = (said + &wrong).to_lowercase();
        let starts = ["usage", "configuration"]
            .iter()
            .any(|word| said.contains(word));
        assert!(starts, "{name}: {said}");
    }
}

#[test]
fn a_tag_of_another_version_is_refused_before_anything_is_built() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    let (code, _, said) = output(command.args(["dist", "--tag", "v0.0.0-none"]));
    assert_eq!(code, Some(2), "{said}");
    assert!(
        said.contains("v0.0.0-none") && said.contains("version"),
        "{said}"
    );
}
