//! Remarks on migration files that need no database: what would not survive a second run, destroy data, or escape the proofs.
//!
//! Files in goose's format run once and declare nothing, so of them only what loses rows for good is remarked on: their Down sections
//! say what is meant to be undone.

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

/// Every remark on the catalogue's files; none means that they may run twice, lose nothing, and are recorded. In files of goose's format,
/// only what loses rows without a Down section is remarked on.
pub fn lint(catalogue: &Catalogue) -> Vec<Finding> {
    let mut findings = Vec::new();
    for migration in catalogue.migrations() {
        name(migration, &mut findings);
        recorded(catalogue, migration, &mut findings);
        for statement in sql::statements(&migration.up) {
            let line = migration.first_line + statement.line + 1;
            let mut add = |rule, text: String| {
                findings.push(Finding {
                    file: migration.file.clone(),
                    line,
                    rule,
                    text,
                });
            };
            if catalogue.goose {
                let forever = destructive(&statement).filter(|_| migration.down.is_none());
                if let Some(what) = forever {
                    let text = format!(
                        "{what} loses rows, and the file has no Down section that says how to go back; add one"
                    );
                    add("destructive", text);
                }
                continue;
            }
            if let Some(text) = not_repeatable(&statement) {
                add("repeatable", text);
            }
            if let Some(what) = destructive(&statement) {
                let text = format!(
                    "{what} loses rows when it runs again or by mistake; move it to the down file, or guard it"
                );
                add("destructive", text);
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
        "ALTER" => altered(statement),
        "INSERT" if !has(&["ON", "CONFLICT"]) && !has(&["NOT", "EXISTS"]) => {
            Some("write ON CONFLICT DO NOTHING".to_owned())
        }
        "UPDATE" if !has(&["WHERE"]) => {
            Some("write a WHERE that holds for no row once it has run".to_owned())
        }
        _ => None,
    }
}

/// How to write an ALTER so that it may run twice.
fn altered(statement: &Statement<'_>) -> Option<String> {
    let table = statement.begins(&["ALTER", "TABLE"]);
    let rewrites = actions(statement).map(|(action, what, guarded)| match (action, what) {
        _ if guarded => None,
        ("ADD", "VALUE") if !table => Some("write ADD VALUE IF NOT EXISTS"),
        ("ADD", "CONSTRAINT" | "PRIMARY" | "UNIQUE" | "CHECK" | "FOREIGN" | "EXCLUDE") => {
            Some("guard ADD CONSTRAINT by a DO block that looks in pg_constraint")
        }
        ("ADD", "GENERATED") => Some("guard ADD GENERATED by a DO block that looks first"),
        ("ADD", _) if table => Some("write ADD COLUMN IF NOT EXISTS"),
        ("DROP", "CONSTRAINT") => Some("write DROP CONSTRAINT IF EXISTS"),
        ("DROP", "DEFAULT" | "NOT") => None,
        ("DROP", "IDENTITY" | "EXPRESSION") => Some("write IF EXISTS behind it"),
        ("DROP", _) if table => Some("write DROP COLUMN IF EXISTS"),
        ("RENAME", _) => Some("guard RENAME by a DO block that looks first"),
        _ => None,
    });
    rewrites.flatten().next().map(str::to_owned)
}

/// The actions of an ALTER: their word, the next one, and whether IF EXISTS or IF NOT EXISTS guards them. A name in quotes is no word.
fn actions<'a>(statement: &'a Statement<'_>) -> impl Iterator<Item = (&'a str, &'a str, bool)> {
    let words = &statement.words;
    let word = |index: usize| words.get(index).map_or("", String::as_str);
    (2..words.len())
        .filter(move |&index| matches!(word(index), "ADD" | "DROP" | "RENAME"))
        .map(move |index| {
            let guarded = word(index + 1) == "IF" || word(index + 2) == "IF";
            (word(index), word(index + 1), guarded)
        })
}

fn destructive(statement: &Statement<'_>) -> Option<&'static str> {
    let word = |index: usize| statement.words.get(index).map_or("", String::as_str);
    let cascades = || statement.words.iter().any(|word| word == "CASCADE");
    match (word(0), word(1)) {
        ("DROP", "TABLE" | "SCHEMA" | "DATABASE" | "OWNED" | "SEQUENCE" | "MATERIALIZED") => {
            Some("DROP")
        }
        // What uses it goes with it, columns included.
        ("DROP", "TYPE" | "DOMAIN" | "EXTENSION") if cascades() => Some("DROP … CASCADE"),
        ("TRUNCATE", _) => Some("TRUNCATE"),
        ("DELETE", _) => Some("DELETE"),
        ("ALTER", "TABLE" | "TYPE") if actions(statement).any(drops_column) => Some("DROP COLUMN"),
        _ => None,
    }
}

fn drops_column((action, what, _): (&str, &str, bool)) -> bool {
    let keeps = ["CONSTRAINT", "DEFAULT", "NOT", "IDENTITY", "EXPRESSION"];
    action == "DROP" && !keeps.contains(&what)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(findings: &[Finding]) -> Vec<(usize, &str)> {
        findings
            .iter()
            .filter(|finding| finding.rule != "recorded")
            .map(|finding| (finding.line, finding.rule))
            .collect()
    }

    fn of_own(sql: &str) -> Vec<Finding> {
        let up = format!("-- provides: table t\n{sql}");
        let files = [
            ("0001_t.up.sql", up.as_str()),
            ("0001_t.down.sql", "DROP TABLE t;"),
        ];
        lint(&Catalogue::from_files("shop", files, "").unwrap())
    }

    #[test]
    fn what_may_not_run_twice_is_remarked_on() {
        for sql in [
            "ALTER TABLE t ADD tenant text;",
            "ALTER TABLE t ADD COLUMN IF NOT EXISTS a text, ADD b text;",
            "ALTER TABLE t ADD PRIMARY KEY (a);",
            "ALTER TYPE mood ADD VALUE 'fine';",
            "UPDATE t SET a = a + 1;",
        ] {
            assert_eq!(rules(&of_own(sql)), [(2, "repeatable")], "{sql}");
        }
        for sql in [
            "ALTER TABLE t ADD IF NOT EXISTS tenant text;",
            "ALTER TYPE mood ADD VALUE IF NOT EXISTS 'fine';",
            "ALTER TABLE t ALTER COLUMN a DROP NOT NULL, ALTER b DROP DEFAULT;",
            "UPDATE t SET a = 1 WHERE a IS NULL;",
        ] {
            assert_eq!(rules(&of_own(sql)), [], "{sql}");
        }
    }

    #[test]
    fn what_loses_rows_is_remarked_on() {
        for sql in [
            "ALTER TABLE t DROP COLUMN IF EXISTS a;",
            "ALTER TABLE t DROP IF EXISTS \"a\";",
            "DROP MATERIALIZED VIEW IF EXISTS v;",
            "DROP TYPE IF EXISTS mood CASCADE;",
            "TRUNCATE t;",
        ] {
            assert_eq!(rules(&of_own(sql)), [(2, "destructive")], "{sql}");
        }
        assert_eq!(
            rules(&of_own("ALTER TABLE t DROP CONSTRAINT IF EXISTS c;")),
            []
        );
    }

    #[test]
    fn of_gooses_files_only_what_is_lost_for_good_is_remarked_on() {
        let files = [
            ("1_t.sql", "-- +goose Up\nCREATE TABLE t (a int);\n"),
            (
                "2_kept.sql",
                "-- +goose Up\nDROP TABLE t;\n-- +goose Down\nCREATE TABLE t (a int);\n",
            ),
            ("3_lost.sql", "-- +goose Up\n\nALTER TABLE t DROP a;\n"),
        ];
        let files = files.map(|(name, text)| (name.to_owned(), text.to_owned()));
        let catalogue = Catalogue::from_goose_files("team", files).unwrap();
        let findings = lint(&catalogue);
        assert_eq!(rules(&findings), [(3, "destructive")]);
        assert_eq!(findings[0].file, "3_lost.sql");
    }
}
