//! Remarks on migration files that need no database: what would not survive a second run, destroy data, or escape the proofs.

use std::fmt;

use serde::Serialize;

use crate::catalogue::Catalogue;
use crate::migration::Migration;
use crate::sql::{self, Statement};

/// One remark on a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Name of the file.
    pub file: String,
    /// Line, counted from 1.
    pub line: usize,
    /// Stable name of the rule.
    pub rule: &'static str,
    /// What to do.
    pub text: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}:{}: {} ({})",
            self.file, self.line, self.text, self.rule
        )
    }
}

/// Every remark on the catalogue's files; none means that they may run twice, lose nothing, and are recorded.
pub fn lint(catalogue: &Catalogue) -> Vec<Finding> {
    let mut findings = Vec::new();
    for migration in catalogue.migrations() {
        name(migration, &mut findings);
        recorded(catalogue, migration, &mut findings);
        for statement in sql::statements(&migration.up) {
            let line = migration.up[..statement.start].matches('\n').count() + 1;
            let mut add = |rule, text: String| {
                findings.push(Finding {
                    file: migration.file.clone(),
                    line,
                    rule,
                    text,
                });
            };
            if let Some(text) = not_repeatable(&statement) {
                add("repeatable", text);
            }
            if let Some(word) = destructive(&statement) {
                add(
                    "destructive",
                    format!(
                        "{word} loses rows when it runs again or by mistake; move it to the down file, or guard it"
                    ),
                );
            }
        }
    }
    findings
}

fn name(migration: &Migration, findings: &mut Vec<Finding>) {
    let named = migration.provides.is_empty()
        || migration.provides.iter().any(|object| {
            migration.id.starts_with(&object.name) || object.name.ends_with(&migration.id)
        });
    if !named {
        let text = format!(
            "`{}` begins with none of the objects that it provides; name it after its table",
            migration.id
        );
        findings.push(Finding {
            file: migration.file.clone(),
            line: 1,
            rule: "name",
            text,
        });
    }
}

/// A shape that is not recorded is never compared.
fn recorded(catalogue: &Catalogue, migration: &Migration, findings: &mut Vec<Finding>) {
    let expected = catalogue.expected(&migration.provides, |id| id == migration.id, None);
    for object in migration
        .provides
        .iter()
        .filter(|object| !expected.contains_key(&object.to_string()))
    {
        let text = format!("the shape of {object} is not in the record; record the shapes again");
        findings.push(Finding {
            file: migration.file.clone(),
            line: 1,
            rule: "recorded",
            text,
        });
    }
}

/// How to write the statement so that it may run twice.
fn not_repeatable(statement: &Statement<'_>) -> Option<String> {
    let has = |words: &[&str]| {
        statement
            .words
            .windows(words.len())
            .any(|window| window == words)
    };
    let word = |index: usize| statement.words.get(index).map_or("", String::as_str);
    let object = match word(1) {
        "UNIQUE" | "MATERIALIZED" | "UNLOGGED" | "OR" => word(if word(1) == "OR" { 3 } else { 2 }),
        other => other,
    };
    match word(0) {
        "CREATE" => match object {
            "FUNCTION" | "PROCEDURE" | "VIEW" | "TRIGGER" | "RULE" if !has(&["OR", "REPLACE"]) => {
                Some(format!("write CREATE OR REPLACE {object}"))
            }
            "TABLE" | "INDEX" | "SCHEMA" | "SEQUENCE" | "EXTENSION"
                if !has(&["IF", "NOT", "EXISTS"]) =>
            {
                Some(format!("write CREATE {object} IF NOT EXISTS"))
            }
            "TYPE" | "DOMAIN" | "ROLE" | "POLICY" => Some(format!(
                "guard CREATE {object} by a DO block that looks first"
            )),
            _ => None,
        },
        "DROP" if !has(&["IF", "EXISTS"]) => Some(format!("write DROP {object} IF EXISTS")),
        "ALTER" if has(&["ADD", "COLUMN"]) && !has(&["ADD", "COLUMN", "IF", "NOT", "EXISTS"]) => {
            Some("write ADD COLUMN IF NOT EXISTS".to_owned())
        }
        "ALTER" if has(&["ADD", "CONSTRAINT"]) => {
            Some("guard ADD CONSTRAINT by a DO block that looks in pg_constraint".to_owned())
        }
        "ALTER" if has(&["RENAME"]) => {
            Some("guard RENAME by a DO block that looks first".to_owned())
        }
        "INSERT" if !has(&["ON", "CONFLICT"]) && !has(&["NOT", "EXISTS"]) => {
            Some("write ON CONFLICT DO NOTHING".to_owned())
        }
        _ => None,
    }
}

fn destructive(statement: &Statement<'_>) -> Option<&'static str> {
    if statement.begins(&["DROP", "TABLE"]) || statement.begins(&["DROP", "SCHEMA"]) {
        Some("DROP")
    } else if statement.begins(&["TRUNCATE"]) {
        Some("TRUNCATE")
    } else if statement.begins(&["DELETE"]) {
        Some("DELETE")
    } else {
        None
    }
}
