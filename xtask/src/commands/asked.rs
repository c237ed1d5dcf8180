//! A run as the command line asks for it: begun, as often as there are versions of Kubernetes, or only shown.

use std::time::Duration;

use crate::commands::args::TargetArgs;
use crate::commands::begin::{self, Where};
use crate::commands::environment::quoted;
use crate::terminal;
use e2e_runner::paths::Paths;
use e2e_runner::process::Runner;
use e2e_runner::run::history::History;
use e2e_runner::run::node_version::NodeVersion;
use e2e_runner::run::plan::Plan;
use e2e_runner::run::preview;
use e2e_runner::run::repeat::Repeat;
use e2e_runner::run::session::Session;
use e2e_runner::settings;
use e2e_runner::state::Run;
use e2e_runner::table::Chosen;

/// A run as it is asked for, once all of it is known to be possible.
#[derive(Debug)]
pub struct Asked<'a> {
    /// What starts processes.
    pub runner: &'a Runner,
    /// Where it is to run.
    pub args: &'a TargetArgs,
    /// Whether coverage is collected.
    pub coverage: bool,
    /// The services.
    pub chosen: Chosen,
    /// Its stages.
    pub plan: Plan,
    /// Where its directory and the checkout are.
    pub paths: Paths,
    /// Where it runs.
    pub place: Where,
    /// How often its suites run.
    pub repeat: Repeat,
    /// How long it may take, and be kept afterwards.
    pub lifetime: Duration,
    /// Which part of all services it runs, where several jobs share them.
    pub shard: Option<String>,
}

impl Asked<'_> {
    /// Begins it, on a version of Kubernetes if one is asked for.
    pub fn begin(
        &self,
        version: Option<NodeVersion>,
        place: &TargetArgs,
    ) -> anyhow::Result<Session> {
        // What stops one run, as its first failure does, stops no other; a signal does.
        let runner = self.runner.after(0);
        let session = begin::begin(
            &runner,
            self.chosen.clone(),
            self.place.clone(),
            place,
            false,
            (
                self.repeat,
                self.lifetime,
                Some(again(std::env::args().skip(1), version.as_ref())),
            ),
            self.paths.clone(),
        )?;
        Ok(session
            .with_coverage(self.coverage)
            .of_shard(self.shard.clone())
            .on_kubernetes(version))
    }

    /// Prints what it would do: once for what all versions have in common, then what each would use.
    pub fn preview(&self, versions: &[NodeVersion]) {
        let Self { runner, plan, .. } = self;
        let history = History::load(&self.paths.history());
        terminal::print(&preview::plan_table(plan, &history));
        if let Some(told) = preview::programs() {
            terminal::print(&told);
        }
        let several = versions.len() > 1;
        if several {
            let count = versions.len();
            terminal::print(&format!(
                "{count} runs, one after the other, each on a cluster of its own; one report"
            ));
        }
        let kept = Run::kept_together(&self.paths.runs(), &plan.services);
        let kept = kept.filter(|_| !self.args.fresh && !several);
        let reuse = |image| {
            let kept = kept.as_ref();
            preview::reuse_table(runner, kept, self.place.target, image, &self.chosen)
        };
        for version in versions {
            let here = if version.is_here(runner) {
                ""
            } else {
                ", which is not on this host and is pulled first"
            };
            terminal::print(&format!("{}{here}", version.describe()));
            terminal::print(&reuse(Some(version.image.clone())));
        }
        if versions.is_empty() {
            terminal::print(&reuse(settings::node_image()));
        }
    }
}

/// The command line as the user typed it, with the environment of a failure kept, on the version of Kubernetes that it was about.
fn again(mut args: impl Iterator<Item = String>, version: Option<&NodeVersion>) -> String {
    let left_out: &[&str] = if version.is_some() {
        &["--keep", "--kubernetes"]
    } else {
        &["--keep"]
    };
    let mut words = vec!["cargo xtask".to_owned()];
    while let Some(arg) = args.next() {
        let flag = arg.split('=').next().unwrap_or_default();
        if !left_out.contains(&flag) {
            words.push(quoted(&arg));
        } else if flag == arg {
            drop(args.next());
        }
    }
    words.extend(version.map(|node| format!("--kubernetes {}", node.version)));
    words.push("--keep on-failure".to_owned());
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_run_again_is_on_the_version_that_failed_and_keeps_it() {
        let node = NodeVersion {
            version: "1.32".parse().expect("a version"),
            image: String::new(),
            source: String::new(),
        };
        for typed in [
            "e2e gateway --kubernetes 1.32,1.34 --fresh",
            "e2e gateway --keep never --kubernetes=1.32,1.34 --fresh",
        ] {
            let args = || typed.split(' ').map(str::to_owned);
            assert_eq!(
                again(args(), Some(&node)),
                "cargo xtask e2e gateway --fresh --kubernetes 1.32 --keep on-failure"
            );
        }
        let args = "e2e gateway --keep=always".split(' ').map(str::to_owned);
        assert_eq!(
            again(args, None),
            "cargo xtask e2e gateway --keep on-failure"
        );
    }
}
