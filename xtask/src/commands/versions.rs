//! `e2e --kubernetes 1.32,1.34`: a run on a node of each version, one after the other, and one report of all.

use std::path::PathBuf;

use e2e_report::versions::{VersionRun, Versions};
use e2e_report::{Failed, Outcome};
use serde_json::{Value, json};

use crate::commands::args::{Format, Keep, TargetArgs};
use crate::commands::asked::Asked;
use crate::commands::ending;
use crate::terminal;
use e2e_runner::exit::{Exit, Failure, exit_of};
use e2e_runner::reports;
use e2e_runner::run;
use e2e_runner::run::node_version::NodeVersion;
use e2e_runner::settings;

/// Runs the plan on each version. What fails on one keeps no other from running; the first failure decides the exit code.
pub fn run(asked: &Asked<'_>, versions: &[NodeVersion], format: Format) -> anyhow::Result<Exit> {
    let mut all = Together {
        asked,
        versions: Versions {
            name: reports::together_name(&asked.plan.services),
            runs: Vec::new(),
        },
        documents: Vec::new(),
        failures: Vec::new(),
    };
    // All images first: what is missing is told at once, and not when another version has run for long.
    let brought: Vec<_> = versions.iter().map(|node| all.bring(node)).collect();
    for (node, brought) in versions.iter().zip(brought) {
        // A signal ends all of them.
        match asked.runner.cancel().check().and(brought) {
            Ok(()) => all.run(node),
            Err(failure) => all.without_run(node, failure),
        }
    }
    all.conclude(format)
}

/// What the runs have come to so far.
struct Together<'a> {
    asked: &'a Asked<'a>,
    versions: Versions,
    documents: Vec<Value>,
    failures: Vec<Failure>,
}

impl Together<'_> {
    fn bring(&self, node: &NodeVersion) -> Result<(), Failure> {
        let runner = self.asked.runner;
        runner.cancel().check()?;
        if !node.is_here(runner) {
            terminal::message(&format!("{}: pulling the image", node.describe()));
        }
        node.bring(runner).inspect_err(|failure| {
            if failure.exit == Exit::Preflight {
                terminal::message(&format!("Kubernetes {}: error: {failure}", node.version));
            }
        })
    }

    fn run(&mut self, node: &NodeVersion) {
        terminal::message(&node.describe());
        // Each has a cluster of its own: what is kept of another version would be taken apart for it.
        let place = TargetArgs {
            fresh: true,
            ..self.asked.args.clone()
        };
        let session = match self.asked.begin(Some(node.clone()), &place) {
            Ok(session) => session,
            Err(error) => {
                let failure = error.downcast::<Failure>();
                let failure = failure
                    .unwrap_or_else(|error| Failure::new(exit_of(&error), format!("{error:#}")));
                return self.without_run(node, failure);
            }
        };
        let ended = run::run(&session, &self.asked.plan, Keep::Never.into());
        let told = ending::tell(&session, &ended, true);
        self.documents.push(told.document);
        self.versions.runs.push(VersionRun {
            kubernetes: node.version.to_string(),
            dir: Some(session.run.dir().display().to_string()),
            log: told.log.unwrap_or_default(),
        });
        match ended.failure {
            Some(failure) => {
                terminal::message(&format!("Kubernetes {}: error: {failure}", node.version));
                self.failures.push(failure);
            }
            None => terminal::message(&format!("Kubernetes {}: passed", node.version)),
        }
    }

    /// A version that did not come to a run, with the reason.
    fn without_run(&mut self, node: &NodeVersion, failure: Failure) {
        let outcome = if self.asked.runner.cancel().is_raised() {
            Outcome::Stopped
        } else {
            Outcome::Failed
        };
        let version = node.version.to_string();
        self.documents.push(json!({
            "run": null,
            "kubernetes": version,
            "exit": failure.exit.code(),
            "failure": ending::failure(&failure),
        }));
        let failed = Failed {
            summary: failure.summary.clone(),
            detail: failure.detail.clone().unwrap_or_default(),
            hint: failure.hint.clone().unwrap_or_default(),
        };
        let (services, exit) = (&self.asked.plan.services, failure.exit.code());
        let run = VersionRun::without_run(&version, services, outcome, exit, failed);
        self.versions.runs.push(run);
        self.failures.push(failure);
    }

    /// Prints the table and makes the reports of all.
    fn conclude(self, format: Format) -> anyhow::Result<Exit> {
        let Self {
            asked,
            versions,
            documents,
            failures,
        } = self;
        terminal::message(versions.text().trim_end());
        let reports = reports::write_together(&versions, &asked.paths.runs());
        let reports = reports.unwrap_or_else(|error| {
            terminal::message(&format!("the reports could not be written: {error:#}"));
            Vec::new()
        });
        if let Some(page) = reports.first() {
            terminal::message(&format!("report: {}", page.display()));
        }
        ending::summarize(&versions.summary());
        let failure = together(asked, &versions, &failures, reports.first());
        if format == Format::Json {
            let document = json!({
                "exit": failure.as_ref().map_or(0, |failure| failure.exit.code()),
                "versions": documents,
                "reports": reports,
            });
            terminal::print(&format!("{document:#}"));
        }
        if let Some(failure) = failure {
            return Err(failure.into());
        }
        terminal::message(&versions.verdict());
        Ok(Exit::Passed)
    }
}

/// The failures of all as one, whose exit code is the first one's; what was left behind decides only where all else passed, and a
/// signal always.
fn together(
    asked: &Asked<'_>,
    versions: &Versions,
    failures: &[Failure],
    page: Option<&PathBuf>,
) -> Option<Failure> {
    let others = failures.iter().find(|it| it.exit != Exit::LeftBehind);
    let first = others.or(failures.first())?;
    let exit = asked.runner.cancel().exit().unwrap_or(first.exit);
    let failure = Failure::new(exit, versions.verdict());
    Some(match page {
        Some(page) => failure.hint(settings::named(&format!(
            "see {} and the directories of the runs",
            page.display()
        ))),
        None => failure,
    })
}
