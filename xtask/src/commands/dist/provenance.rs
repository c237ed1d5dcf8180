//! Where the files of a release come from: an in-toto statement with SLSA's provenance (<https://slsa.dev/spec/v1.0/provenance>).

use std::fs;

use anyhow::Context as _;
use e2e_runner::exit::Exit;
use e2e_runner::fingerprint::hex;
use e2e_runner::paths::Paths;
use e2e_runner::process::Runner;
use e2e_runner::settings;
use e2e_runner::tools::cargo::STATIC_TARGET;
use serde_json::{Value, json};

use crate::commands::dist::origin::Release;

/// What the fields of `externalParameters` mean is said by the code of this verb.
const BUILD_TYPE: &str = "https://kubernaut.io/e2e/dist/v1";
/// Who built it where no workflow did: nobody whose word counts.
const BY_HAND: &str = "https://kubernaut.io/e2e/dist/by-hand";

/// The statement. Nobody has signed it: on GitHub the workflow attests the same files.
pub(super) fn statement(
    runner: &Runner,
    paths: &Paths,
    release: &Release,
    files: &[(String, Vec<u8>)],
) -> anyhow::Result<Value> {
    let command = runner.command("rustc").arg("--version").dir(&paths.source);
    let rustc = command.read();
    let rustc = rustc.map_err(|error| error.into_failure(Exit::Setup, runner.cancel()))?;
    let lock = fs::read(paths.source.join("Cargo.lock")).context("cannot read Cargo.lock")?;
    let (repository, builder, run) = settings::github_workflow()
        .unwrap_or_else(|| (String::new(), BY_HAND.to_owned(), String::new()));
    let subjects = files
        .iter()
        .map(|(name, content)| json!({"name": name, "digest": {"sha256": hex(content)}}));
    let mut source = json!({"name": "source", "digest": {"gitCommit": release.commit}});
    if !repository.is_empty() {
        source["uri"] = format!("git+{repository}@{}", release.commit).into();
    }
    let mut metadata = json!({});
    if !run.is_empty() {
        metadata["invocationId"] = run.into();
    }
    Ok(json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": subjects.collect::<Vec<_>>(),
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": {"version": release.version, "target": STATIC_TARGET},
                "internalParameters": {"rustc": rustc},
                "resolvedDependencies": [
                    source,
                    {"name": "Cargo.lock", "digest": {"sha256": hex(&lock)}},
                ],
            },
            "runDetails": {"builder": {"id": builder}, "metadata": metadata},
        },
    }))
}
