//! Load generators of other hands, against the same server: what they see of it, and what they cost themselves.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::Value;
use tokio::process::Command;

use super::client::post;
use super::options::{Generator, Options};

/// What a generator reports.
pub(crate) struct Seen {
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
}

impl Generator {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Oha => "oha",
            Self::Vegeta => "vegeta",
        }
    }

    /// As many connections as our own load has, each with one request at a time, all with the same body. Its events have no
    /// `event_id`: a repeat of one that has is no new event.
    pub(crate) async fn load(
        self,
        options: &Options,
        address: &str,
        size: usize,
    ) -> anyhow::Result<Seen> {
        let directory = tempfile::tempdir()?;
        let file = |name| directory.path().join(name);
        let (path, body) = post(0, 0, size, false);
        std::fs::write(file("body"), body)?;
        let url = format!("http://{address}{path}");
        let (clients, seconds) = (options.clients.to_string(), format!("{}s", options.seconds));
        let report = match self {
            Self::Oha => {
                let args = [
                    "--no-tui",
                    "--output-format",
                    "json",
                    "-c",
                    &clients,
                    "-z",
                    &seconds,
                ];
                let request = ["-m", "POST", "-T", "application/json", "-D", "body", &url];
                self.run(directory.path(), &[&args[..], &request].concat())
                    .await?
            }
            Self::Vegeta => {
                let target = format!("POST {url}\nContent-Type: application/json\n@body\n");
                std::fs::write(file("targets"), target)?;
                // As fast as it can, but not with more at a time.
                let rate = format!("-max-workers={clients}");
                let [workers, connections, duration] = [
                    ("workers", &clients),
                    ("connections", &clients),
                    ("duration", &seconds),
                ]
                .map(|(name, value)| format!("-{name}={value}"));
                let args = [
                    "attack",
                    "-rate=0",
                    &rate,
                    &workers,
                    &connections,
                    &duration,
                ];
                let files = ["-targets=targets", "-output=results"];
                self.run(directory.path(), &[&args[..], &files].concat())
                    .await?;
                self.run(directory.path(), &["report", "-type=json", "results"])
                    .await?
            }
        };
        let report: Value = serde_json::from_slice(&report)?;
        self.seen(&report).with_context(|| {
            format!("the report of {} is of another form: {report}", self.name())
        })?
    }

    async fn run(self, directory: &Path, args: &[&str]) -> anyhow::Result<Vec<u8>> {
        let ran = Command::new(self.name())
            .args(args)
            .current_dir(directory)
            .output()
            .await
            .with_context(|| {
                format!(
                    "{0} does not start: install it, or leave out --also {0}",
                    self.name()
                )
            })?;
        let said = String::from_utf8_lossy(&ran.stderr);
        ensure!(
            ran.status.success(),
            "{} ended with {}: {said}",
            self.name(),
            ran.status
        );
        Ok(ran.stdout)
    }

    /// The percentiles, if every answer was a 201; none if the report has not the members that are known.
    fn seen(self, report: &Value) -> Option<anyhow::Result<Seen>> {
        let (statuses, p50, p99) = match self {
            Self::Oha => {
                let [p50, p99] =
                    ["p50", "p99"].map(|name| report["latencyPercentiles"][name].as_f64());
                (&report["statusCodeDistribution"], p50?, p99?)
            }
            Self::Vegeta => {
                let [p50, p99] = ["50th", "99th"].map(|name| report["latencies"][name].as_f64());
                (&report["status_codes"], p50? / 1e9, p99? / 1e9)
            }
        };
        if statuses.as_object()?.keys().any(|status| status != "201") {
            return Some(Err(anyhow::anyhow!(
                "{} was answered with {statuses}",
                self.name()
            )));
        }
        let [p50, p99] = [p50, p99].map(Duration::from_secs_f64);
        Some(Ok(Seen { p50, p99 }))
    }
}
