//! What is released: a version of the workspace, at a commit.

use std::fs;

use anyhow::Context as _;
use e2e_runner::exit::{Exit, Failure};
use e2e_runner::paths::Paths;
use e2e_runner::process::Runner;
use e2e_runner::settings;
use e2e_runner::tools::release;

/// A release: what its files are named for and made from.
#[derive(Debug)]
pub(super) struct Release {
    pub(super) version: String,
    pub(super) commit: String,
    /// In seconds since 1970.
    pub(super) time: u64,
    pub(super) built: jiff::Timestamp,
}

/// What is released: the version of the workspace at its commit.
pub(super) fn release(
    runner: &Runner,
    paths: &Paths,
    tag: Option<&str>,
) -> anyhow::Result<Release> {
    let commit = release::commit(runner, paths)?;
    let manifest = fs::read_to_string(paths.source.join("Cargo.toml"))?;
    let manifest: toml::Table = manifest.parse().context("Cargo.toml of the workspace")?;
    let version = manifest["workspace"]["package"]["version"].as_str();
    let version = version.context("the workspace has no version")?;
    let wrong = |what: String, hint: &str| Failure::new(Exit::Usage, what).hint(hint);
    if let Some(tag) = tag {
        if *tag != format!("v{version}") {
            let what = format!("the tag is {tag}, and the version of the workspace {version}");
            let hint = "correct `version` in the workspace's Cargo.toml, or tag it so";
            return Err(wrong(what, hint).into());
        }
        if commit.changed {
            let what = format!("files were changed since the commit {}", commit.id);
            return Err(wrong(what, "commit them, or release without --tag").into());
        }
    }
    // A changed checkout is no version of anything.
    let changed = if commit.changed { "-dirty" } else { "" };
    let time = match settings::source_date() {
        Some(text) => text.parse().map_err(|_| {
            wrong(
                format!("SOURCE_DATE_EPOCH is {text}"),
                "give seconds since 1970",
            )
        })?,
        None => commit.time,
    };
    Ok(Release {
        version: format!("{version}{changed}"),
        commit: commit.id,
        time: u64::try_from(time).unwrap_or_default(),
        built: jiff::Timestamp::from_second(time).context("the time of the commit")?,
    })
}
