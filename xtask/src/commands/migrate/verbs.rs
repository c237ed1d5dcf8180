//! What each verb asks of the library, and how its answer looks.

use migrations::{Config, Error, MonthState, Report, Revert};
use serde::Serialize;
use serde_json::{Value, json};

use super::flags::{Down, Partitions, Verb};
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
        Verb::Plan => {
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
            let text = format!(
                "verified: {} tables, {} objects as the migrations make them, partitions for today and tomorrow",
                verified.tables.len(),
                verified.objects
            );
            Output::new(Exit::Passed, text, &verified)
        }
        Verb::Down(down) => {
            let reverted = migrations::revert(config, &what(down)).await?;
            let text = format!("reverted {} migrations", reverted.reverted.len());
            Output::new(Exit::Passed, text, &reverted)
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

fn what(down: &Down) -> Revert {
    match down {
        Down { all: true, .. } => Revert::All,
        Down {
            last: Some(count), ..
        } => Revert::Last(*count),
        Down { ids, .. } => Revert::Ids(ids.clone()),
    }
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
