//! One report of runs on several versions of Kubernetes: a table of versions and services, with the logs behind it.

use std::fmt::Write as _;

use crate::event::{Failed, Outcome};
use crate::github;
use crate::html::STYLE;
use crate::junit;
use crate::log::{Log, Stage};
use crate::services::fates;
use crate::text::{cell, duration, escaped};

/// The runs together.
#[derive(Debug, Default)]
pub struct Versions {
    /// Their name.
    pub name: String,
    /// Each run, in the order they were asked for.
    pub runs: Vec<VersionRun>,
}

/// The run on one version.
#[derive(Debug, Default)]
pub struct VersionRun {
    /// The version.
    pub kubernetes: String,
    /// Its directory; none where there was no run.
    pub dir: Option<String>,
    /// What happened; of what did not run, why.
    pub log: Log,
}

/// One line of the table: a service on a version.
#[derive(Debug)]
pub struct Row {
    /// The version.
    pub kubernetes: String,
    /// The service.
    pub service: String,
    /// Whether its suites passed.
    pub passed: bool,
    /// What became of it.
    pub told: String,
    /// How long its suites took.
    pub suites: Option<f64>,
    /// How long the whole run took; none where there was none.
    pub run: Option<f64>,
    /// The run's directory; none where there was none.
    pub dir: Option<String>,
}

impl VersionRun {
    /// A version on which nothing ran.
    pub fn without_run(
        kubernetes: &str,
        services: &[String],
        outcome: Outcome,
        exit: u8,
        failure: Failed,
    ) -> Self {
        let stage = Stage {
            name: "preflight".to_owned(),
            outcome: Some(outcome),
            ended: Some(0.0),
            note: failure.summary.clone(),
            ..Stage::default()
        };
        Self {
            kubernetes: kubernetes.to_owned(),
            dir: None,
            log: Log {
                run: format!("Kubernetes {kubernetes}"),
                target: "kind".to_owned(),
                why: "nothing was made".to_owned(),
                services: services.to_vec(),
                kubernetes: Some(kubernetes.to_owned()),
                stages: vec![stage],
                failure: Some(failure),
                exit: Some(exit),
                ..Log::default()
            },
        }
    }
}

impl Versions {
    /// The table.
    pub fn rows(&self) -> Vec<Row> {
        let of = |run: &VersionRun| {
            let fates = fates(&run.log);
            // Every suite is green and the run is not, as where it left something behind.
            let is_red = run.log.exit != Some(0) && fates.iter().all(|fate| fate.passed);
            let rows = fates.into_iter().map(|fate| Row {
                kubernetes: run.kubernetes.clone(),
                service: fate.service,
                passed: fate.passed && !is_red,
                told: if is_red {
                    format!("{}; the run {}", fate.told, run.log.verdict())
                } else {
                    fate.told
                },
                suites: fate.suites,
                run: run.dir.as_ref().map(|_| run.log.seconds),
                dir: run.dir.clone(),
            });
            rows.collect::<Vec<_>>()
        };
        self.runs.iter().flat_map(of).collect()
    }

    /// The versions on which not everything passed.
    pub fn failed(&self) -> Vec<&str> {
        let failed = self.runs.iter().filter(|run| run.log.exit != Some(0));
        failed.map(|run| run.kubernetes.as_str()).collect()
    }

    /// How it went, in a line.
    pub fn verdict(&self) -> String {
        let failed = self.failed();
        match failed.len() {
            0 => format!("passed on {} versions of Kubernetes", self.runs.len()),
            some => format!(
                "{some} of {} versions of Kubernetes failed: {}",
                self.runs.len(),
                failed.join(", ")
            ),
        }
    }

    /// The table as text.
    pub fn text(&self) -> String {
        let mut lines = vec![
            [
                "kubernetes",
                "service",
                "suites",
                "run",
                "outcome",
                "directory",
            ]
            .map(str::to_owned),
        ];
        for row in self.rows() {
            let seconds = |seconds: Option<f64>| seconds.map_or("-".to_owned(), duration);
            lines.push([
                row.kubernetes,
                row.service,
                seconds(row.suites),
                seconds(row.run),
                row.told,
                row.dir.unwrap_or_else(|| "-".to_owned()),
            ]);
        }
        let width = |at: usize| {
            let cells = lines.iter().map(|line| line[at].chars().count());
            cells.max().unwrap_or_default()
        };
        let widths = [0, 1, 2, 3, 4].map(width);
        let mut text = String::new();
        for line in &lines {
            let mut row = String::new();
            for (at, (cell, width)) in line.iter().zip(widths).enumerate() {
                match at {
                    2 | 3 => write!(row, "{cell:>width$}  "),
                    _ => write!(row, "{cell:<width$}  "),
                }
                .unwrap_or_default();
            }
            writeln!(text, "{row}{}", line[5]).unwrap_or_default();
        }
        text
    }

    /// One JUnit document; each suite's name has its version.
    pub fn junit(&self) -> String {
        junit::together(&self.name, self.runs.iter().map(|run| &run.log))
    }

    /// One summary of a GitHub job.
    pub fn summary(&self) -> String {
        let mark = if self.failed().is_empty() {
            "✅"
        } else {
            "❌"
        };
        let mut text = format!("## {mark} {}: {}\n\n", self.name, self.verdict());
        text.push_str(
            "| Kubernetes | service | outcome | suites | run | |\n|---|---|---|---:|---:|---|\n",
        );
        for row in self.rows() {
            let seconds = |seconds: Option<f64>| seconds.map_or(String::new(), duration);
            let mark = if row.passed { "✅" } else { "❌" };
            writeln!(
                text,
                "| {} | {} | {mark} {} | {} | {} | {} |",
                cell(&row.kubernetes),
                cell(&row.service),
                cell(&row.told),
                seconds(row.suites),
                seconds(row.run),
                cell(row.dir.as_deref().unwrap_or("no run")),
            )
            .unwrap_or_default();
        }
        for run in &self.runs {
            let whole = github::summary(&run.log);
            writeln!(
                text,
                "\n<details><summary>Kubernetes {}</summary>\n\n{}\n</details>",
                escaped(&run.kubernetes),
                whole.trim_end()
            )
            .unwrap_or_default();
        }
        text
    }

    /// One page, with a link to each run's own; the directories of all lie beside each other.
    pub fn page(&self) -> String {
        let class = if self.failed().is_empty() {
            "passed"
        } else {
            "failed"
        };
        let (name, verdict) = (escaped(&self.name), escaped(&self.verdict()));
        let mut rows = String::new();
        for row in self.rows() {
            let (class, word) = if row.passed {
                ("passed", "passed")
            } else {
                ("failed", "failed")
            };
            let seconds = |seconds: Option<f64>| seconds.map_or(String::new(), duration);
            let link = row.dir.as_deref().and_then(own_name).map_or_else(
                || "no run".to_owned(),
                |run| {
                    let run = escaped(run);
                    format!("<a href=\"../{run}/report.html\">{run}</a>")
                },
            );
            writeln!(
                rows,
                "<tr><td>{}</td><td>{}</td><td><b class=\"{class}\">{word}</b> {}</td><td>{}</td><td>{}</td><td>{link}</td></tr>",
                escaped(&row.kubernetes),
                escaped(&row.service),
                escaped(row.told.strip_prefix(word).unwrap_or(&row.told).trim_start_matches([',', ':', ' '])),
                seconds(row.suites),
                seconds(row.run),
            )
            .unwrap_or_default();
        }
        let mut causes = String::new();
        for run in &self.runs {
            if let Some(failure) = &run.log.failure {
                let hint = match escaped(&failure.hint) {
                    none if none.is_empty() => String::new(),
                    hint => format!("<p class=\"next\"><b>Next:</b> {hint}</p>\n"),
                };
                writeln!(
                    causes,
                    "<section class=\"cause\"><h2>Kubernetes {}</h2>\n<p>{}</p>\n{hint}</section>",
                    escaped(&run.kubernetes),
                    escaped(&failure.summary)
                )
                .unwrap_or_default();
            }
        }
        format!(
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <meta name=\"color-scheme\" content=\"light dark\">\n<title>{name}: {verdict}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n\
             <header class=\"{class}\"><p class=\"verdict\">{verdict}</p><h1>{name}</h1></header>\n\
             <section><h2>Versions</h2>\n<table>\n<tr><th>Kubernetes</th><th>service</th><th>outcome</th><th>suites</th><th>run</th><th>report</th></tr>\n\
             {rows}</table>\n</section>\n{causes}</body>\n</html>\n"
        )
    }
}

/// The last part of a directory's path: the run's identity.
fn own_name(dir: &str) -> Option<&str> {
    dir.trim_end_matches('/').rsplit('/').next()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two() -> Versions {
        let green = Log::parse(concat!(
            r#"{"seconds":0,"event":"run","run":"gateway-1","target":"kind","why":"--target kind"}"#,
            "\n",
            r#"{"seconds":0,"event":"about","services":["gateway"],"kubernetes":"1.34"}"#,
            "\n",
            r#"{"seconds":1,"event":"stage-started","stage":"run suite"}"#,
            "\n",
            r#"{"seconds":3,"event":"test","service":"gateway","name":"t","outcome":"ok"}"#,
            "\n",
            r#"{"seconds":3,"event":"stage-ended","stage":"run suite","outcome":"ok","took":2,"note":""}"#,
            "\n",
            r#"{"seconds":4,"event":"ended","exit":0}"#
        ));
        let missing = Failed {
            summary: "the image <a> is not here".to_owned(),
            detail: String::new(),
            hint: "pull it".to_owned(),
        };
        let services = ["gateway".to_owned()];
        Versions {
            name: "gateway-kubernetes-1".to_owned(),
            runs: vec![
                VersionRun::without_run("1.32", &services, Outcome::Failed, 3, missing),
                VersionRun {
                    kubernetes: "1.34".to_owned(),
                    dir: Some("/target/e2e/gateway-1".to_owned()),
                    log: green,
                },
            ],
        }
    }

    #[test]
    fn a_version_without_a_run_is_red_in_every_report_and_the_other_green() {
        let two = two();
        assert_eq!(
            two.text(),
            "kubernetes  service  suites    run  outcome                                       directory\n\
             1.32        gateway       -      -  failed: preflight: the image <a> is not here  -\n\
             1.34        gateway   2.0 s  4.0 s  passed, 1 test                                /target/e2e/gateway-1\n"
        );
        assert_eq!(two.verdict(), "1 of 2 versions of Kubernetes failed: 1.32");
        let junit = two.junit();
        assert!(
            junit.contains("<testsuites name=\"gateway-kubernetes-1\" tests=\"3\" failures=\"0\" errors=\"1\" time=\"4.000\">"),
            "{junit}"
        );
        for name in [
            "stages on Kubernetes 1.32",
            "stages on Kubernetes 1.34",
            "gateway on Kubernetes 1.34",
        ] {
            assert!(
                junit.contains(&format!("<testsuite name=\"{name}\"")),
                "{junit}"
            );
        }
        let page = two.page();
        assert!(
            page.contains("<a href=\"../gateway-1/report.html\">") && page.contains("pull it"),
            "{page}"
        );
        assert!(page.contains("the image &lt;a&gt; is not here"), "{page}");
        let summary = two.summary();
        assert!(
            summary.contains("| 1.32 | gateway | ❌ failed: preflight"),
            "{summary}"
        );
        assert!(
            summary.contains("| 1.34 | gateway | ✅ passed, 1 test | 2.0 s | 4.0 s |"),
            "{summary}"
        );
    }
}
