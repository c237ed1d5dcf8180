//! What each verb asks of the library, and how its answer looks.

use migrations::{Adopt, Config, Error, MonthState, Report, Revert};
use serde::Serialize;
use serde_json::{Value, json};

use super::confirm;
use super::flags::{self, Down, Partitions, Verb, What};
use e2e_runner::exit::Exit;
use e2e_runner::tools::migrate::summary;

/// An answer in both forms.
#[derive(Debug)]
pub struct Output {
    /// The code that goes with it.
    pub exit: Exit,
    /// For a person.
    pub text: String,
    /// For a program: the verb's part of the document.
    pub data: Value,
}

impl Output {
    fn new(exit: Exit, text: impl Into<String>, data: &impl Serialize) -> Self {
        Self {
            exit,
            text: text.into(),
            data: serde_json::to_value(data).unwrap_or_default(),
        }
    }
}

/// Asks the library.
pub async fn ask(verb: &Verb, config: &Config) -> Result<Output, Error> {
    Ok(match verb {
        Verb::Apply => applied(&migrations::apply(config).await?),
        // Answered from the files alone, before there is a database.
        Verb::New { .. } | Verb::Lint => Output::new(Exit::Usage, "no database is needed", &()),
        Verb::Plan { trace: true } => {
            let trace = migrations::trace(config).await?;
            let exit = if trace.has_failed() {
                Exit::Migration
            } else {
                Exit::Passed
            };
            Output::new(exit, trace.to_string(), &trace)
        }
        Verb::Plan { trace: false } => {
            let plan = migrations::plan(config).await?;
            Output::new(Exit::Passed, plan.to_string(), &plan)
        }
        Verb::Status => {
            let status = migrations::status(config).await?;
            let exit = if status.is_complete() {
                Exit::Passed
            } else {
                Exit::Pending
            };
            Output::new(exit, status.to_string(), &status)
        }
        Verb::Verify => {
            let verified = migrations::verify(config).await?;
            Output::new(Exit::Passed, verified.to_string(), &verified)
        }
        Verb::Down(down) => {
            return self::down(down, config).await;
        }
        Verb::Adopt(from) => adopted(&migrations::adopt(config, &whose(from)).await?),
        Verb::Baseline(baseline) => {
            adopted(&migrations::baseline(config, baseline.to.as_deref()).await?)
        }
        Verb::Drift => {
            let comparison = migrations::drift(config).await?;
            let lines: Vec<String> = comparison
                .differences
                .iter()
                .map(ToString::to_string)
                .collect();
            let (exit, text) = if lines.is_empty() {
                (
                    Exit::Passed,
                    format!(
                        "no drift: {} objects are as the migrations make them",
                        comparison.compared
                    ),
                )
            } else {
                (Exit::Drift, lines.join("\n"))
            };
            Output::new(exit, text, &comparison)
        }
        Verb::Partitions(Partitions { retire: true, plan }) => {
            let retirement = if *plan {
                migrations::retire_plan(config).await?
            } else {
                migrations::retire(config).await?
            };
            let busy = retirement.in_state(MonthState::Busy).next().is_some();
            let exit = if busy { Exit::Pending } else { Exit::Passed };
            Output::new(exit, retirement.to_string(), &retirement)
        }
        Verb::Partitions(_) => {
            let made = migrations::ensure_partitions(config).await?;
            let text = format!("created {} partitions", made.len());
            Output::new(Exit::Passed, text, &json!({ "partitions": made }))
        }
    })
}

/// The answer of a run that applied.
pub fn applied(report: &Report) -> Output {
    Output::new(Exit::Passed, summary(report), report)
}

fn adopted(adopted: &migrations::Adopted) -> Output {
    let mut text = format!(
        "recorded {} migrations as applied; {}",
        adopted.recorded.len(),
        adopted.compared
    );
    for id in &adopted.recorded {
        text.push_str("\n  ");
        text.push_str(id);
    }
    Output::new(Exit::Passed, text, adopted)
}

fn whose(adopt: &flags::Adopt) -> Adopt {
    match (&adopt.from, &adopt.from_goose) {
        (Some(source), _) => Adopt::Source(source.clone()),
        (None, Some(table)) => Adopt::Goose(Some(table.clone())),
        (None, None) => Adopt::Renamed,
    }
}

/// Shows what would be lost, and reverts exactly that once somebody agreed: by a flag, by the plan's hash, or when asked.
async fn down(down: &Down, config: &Config) -> Result<Output, Error> {
    let what = match &down.what {
        What { all: true, .. } => Revert::All,
        What {
            last: Some(count), ..
        } => Revert::Last(*count),
        What { ids, .. } => Revert::Ids(ids.clone()),
    };
    let plan = migrations::plan_revert(config, &what).await?;
    if down.plan || plan.reverts.is_empty() {
        return Ok(Output::new(Exit::Passed, plan.to_string(), &plan));
    }
    if !down.yes && !config.is_approved() {
        if !confirm::can_ask() {
            let text = format!(
                "{plan}nothing was reverted: nobody can be asked here; give --yes, or --only-plan {}",
                &plan.hash[..12]
            );
            return Ok(Output::new(Exit::Usage, text, &plan));
        }
        match confirm::is_confirmed(&plan.to_string(), config.cancellation()).await {
            Some(true) => {}
            Some(false) => return Ok(Output::new(Exit::Usage, "nothing was reverted", &plan)),
            None => {
                return Err(Error::Cancelled {
                    stage: "asking whether to revert".to_owned(),
                });
            }
        }
    }
    let config = if config.is_approved() {
        config.clone()
    } else {
        config.clone().only_plan(&plan.hash)
    };
    let reverted = migrations::revert(&config, &what).await?;
    let first = format!("reverted {} migrations", reverted.reverted.len());
    let losses = plan.losses.iter().map(|loss| format!("  {loss}"));
    let kept = reverted.kept.iter();
    let kept = kept.map(|id| format!("  {id} stays: migrations that are not selected need it"));
    let lines: Vec<String> = std::iter::once(first).chain(losses).chain(kept).collect();
    let text = lines.join("\n");
    Ok(Output::new(Exit::Passed, text, &reverted))
}

/// The one document that every verb prints with `--format json`; its schema is in migrations/README.md.
pub fn document(verb: &Verb, outcome: &Result<Output, (Exit, Option<&Error>, String)>) -> String {
    let document = match outcome {
        Ok(answer) => {
            json!({ "version": 1, "verb": verb.name(), "exit": answer.exit.code(), "result": answer.data })
        }
        Err((exit, error, message)) => json!({
            "version": 1,
            "verb": verb.name(),
            "exit": exit.code(),
            "error": {
                "kind": error.map_or("environment", Error::kind),
                "sqlstate": error.and_then(Error::sqlstate),
                "message": message,
                "details": error.map(details),
            }
        }),
    };
    serde_json::to_string_pretty(&document).unwrap_or_default()
}

fn details(error: &Error) -> Value {
    match error {
        Error::MigrationFailed(failure) => json!(failure),
        Error::Drift {
            migration,
            differences,
        } => json!({ "migration": migration, "differences": differences }),
        Error::LockTimeout { holder, .. } => json!({ "holder": holder }),
        _ => Value::Null,
    }
}
