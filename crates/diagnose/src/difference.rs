//! A difference between what is there and what the migrations make, reported as a cause with the statements that remove it: those that
//! make something, and those that a person decides.

use migrator::Difference;
use migrator::examine::Shapes;

use crate::cause::{Cause, Finding, Repair, quoted};

/// A difference with its cause and what removes it.
pub(crate) fn finding_of(
    difference: &Difference,
    expected: &Shapes,
    files: Vec<String>,
) -> Finding {
    let Difference {
        object,
        part,
        expected: want,
        found: have,
    } = difference;
    let table = object.strip_prefix("table ").unwrap_or(object);
    let (kind, name) = part.split_once(' ').unwrap_or((part, ""));
    let of = |name: &str| format!("{object}, {kind} {name}");
    let alter = |what: String| format!("ALTER TABLE {} {what}", quoted(table));
    let finding = match (kind, want, have) {
        ("", ..) => {
            let gone = if object.starts_with("table ") {
                Cause::MissingTable
            } else {
                Cause::Drift
            };
            let mut finding = Finding::new(
                gone,
                object.clone(),
                format!("{object} is gone although its migration is applied"),
            )
            .repair(Repair::Files(files));
            if is_partitioned(expected, object) {
                // Its partitions went with it.
                finding = finding.repair(Repair::Partitions);
            }
            finding
        }
        ("column", Some(want), None) => {
            let summary = format!("{object} has no column {name}");
            Finding::new(Cause::MissingColumn, of(name), summary).repair(Repair::Sql(alter(
                format!("ADD COLUMN {} {want}", quoted(name)),
            )))
        }
        ("column", Some(want), Some(have)) => column(object, name, want, have),
        ("column", None, Some(have)) => {
            let (_, required, default) = column_parts(have);
            let cause = if required && default.is_none() {
                Cause::Constraint
            } else {
                Cause::Drift
            };
            let summary = format!("{object} has a column {name} that no migration makes");
            Finding::new(cause, of(name), summary).repair(Repair::Person(alter(format!(
                "DROP COLUMN {}",
                quoted(name)
            ))))
        }
        ("constraint", Some(want), have) => {
            let summary = format!("{object} lacks its constraint {name}");
            let mut finding = Finding::new(Cause::Constraint, of(name), summary);
            if have.is_some() {
                let drop = alter(format!("DROP CONSTRAINT {}", quoted(name)));
                finding = finding.repair(Repair::Person(drop));
            }
            finding.repair(Repair::Sql(alter(format!(
                "ADD CONSTRAINT {} {want}",
                quoted(name)
            ))))
        }
        ("constraint", None, _) => {
            let summary = format!("{object} has a constraint {name} that no migration makes");
            Finding::new(Cause::Constraint, of(name), summary).repair(Repair::Person(alter(
                format!("DROP CONSTRAINT {}", quoted(name)),
            )))
        }
        ("grant", Some(_), _) => {
            let summary = format!("{name} lacks privileges on {object}");
            Finding::new(Cause::Permission, of(name), summary).repair(Repair::Files(files))
        }
        ("index", want, have) => {
            let summary = format!("an index of {object} differs: {name}");
            let mut finding = Finding::new(Cause::Drift, of(name), summary);
            if have.is_some() {
                finding = finding.repair(Repair::Person(format!("DROP INDEX {}", quoted(name))));
            }
            match want {
                // Recorded as of the parent alone; without ONLY the partitions get theirs.
                Some(want) => finding.repair(Repair::Sql(want.replacen(" ON ONLY ", " ON ", 1))),
                None => finding,
            }
        }
        ("trigger", None, Some(_)) => {
            let summary = format!("{object} has a trigger {name} that no migration makes");
            Finding::new(Cause::Drift, of(name), summary).repair(Repair::Person(format!(
                "DROP TRIGGER {} ON {}",
                quoted(name),
                quoted(table)
            )))
        }
        _ => {
            let summary = format!("{object} differs: {part}");
            Finding::new(Cause::Drift, format!("{object}, {part}"), summary)
                .repair(Repair::Files(files))
        }
    };
    finding.evidence(difference.to_string())
}

fn is_partitioned(expected: &Shapes, object: &str) -> bool {
    let kind = expected.get(object).and_then(|shape| shape.get("kind"));
    kind.is_some_and(|kind| kind.contains("partitioned by"))
}

/// A column whose type, default or obligation differs.
fn column(object: &str, name: &str, want: &str, have: &str) -> Finding {
    let table = object.strip_prefix("table ").unwrap_or(object);
    let ((want_type, required, default), (have_type, must, preset)) =
        (column_parts(want), column_parts(have));
    let column = quoted(name);
    let alter =
        |what: String| format!("ALTER TABLE {} ALTER COLUMN {column} {what}", quoted(table));
    let mut finding = if want_type == have_type {
        let summary = format!("column {name} of {object} is constrained in another way");
        Finding::new(
            Cause::Constraint,
            format!("{object}, column {name}"),
            summary,
        )
    } else {
        let summary =
            format!("column {name} of {object} is {have_type}, the migrations make it {want_type}");
        Finding::new(
            Cause::TypeMismatch,
            format!("{object}, column {name}"),
            summary,
        )
        .repair(Repair::Person(alter(format!(
            "TYPE {want_type} USING {column}::text::{want_type}"
        ))))
    };
    if required != must {
        finding = finding.repair(if required {
            Repair::Sql(alter("SET NOT NULL".to_owned()))
        } else {
            Repair::Person(alter("DROP NOT NULL".to_owned()))
        });
    }
    if default != preset {
        finding = finding.repair(match (default, preset) {
            (Some(default), None) => Repair::Sql(alter(format!("SET DEFAULT {default}"))),
            (Some(default), Some(_)) => Repair::Person(alter(format!("SET DEFAULT {default}"))),
            (None, _) => Repair::Person(alter("DROP DEFAULT".to_owned())),
        });
    }
    finding
}

/// Type, whether it is NOT NULL, and default, of a column as `shape.sql` writes it.
fn column_parts(shape: &str) -> (&str, bool, Option<&str>) {
    let (rest, default) = match shape.split_once(" default ") {
        Some((rest, default)) => (rest, Some(default)),
        None => (shape, None),
    };
    match rest.strip_suffix(" not null") {
        Some(kind) => (kind, true, default),
        None => (rest, false, default),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cause_and_repair(
        part: &str,
        want: Option<&str>,
        have: Option<&str>,
    ) -> (Cause, Vec<Repair>) {
        let difference = Difference {
            object: "table t".to_owned(),
            part: part.to_owned(),
            expected: want.map(str::to_owned),
            found: have.map(str::to_owned),
        };
        let finding = finding_of(
            &difference,
            &Shapes::new(),
            vec!["0001_t.up.sql".to_owned()],
        );
        (finding.cause, finding.repair)
    }

    fn sql(text: &str) -> Repair {
        Repair::Sql(text.to_owned())
    }

    fn person(text: &str) -> Repair {
        Repair::Person(text.to_owned())
    }

    #[test]
    fn what_takes_something_away_is_a_persons_and_so_is_what_follows_it() {
        assert_eq!(
            cause_and_repair(
                "index i",
                Some("CREATE INDEX i ON t (a)"),
                Some("CREATE INDEX i ON t (b)")
            )
            .1,
            [person("DROP INDEX i"), person("CREATE INDEX i ON t (a)")]
        );
        assert_eq!(
            cause_and_repair("constraint c", Some("CHECK (a)"), Some("CHECK (b)")).1,
            [
                person("ALTER TABLE t DROP CONSTRAINT c"),
                person("ALTER TABLE t ADD CONSTRAINT c CHECK (a)")
            ]
        );
        assert_eq!(
            cause_and_repair("trigger g", None, Some("CREATE TRIGGER g")).1,
            [person("DROP TRIGGER g ON t")]
        );
        assert_eq!(
            cause_and_repair(
                "column n",
                Some("integer not null default 1"),
                Some("integer")
            )
            .1,
            [
                sql("ALTER TABLE t ALTER COLUMN n SET NOT NULL"),
                sql("ALTER TABLE t ALTER COLUMN n SET DEFAULT 1")
            ]
        );
        assert_eq!(
            cause_and_repair("column extra", None, Some("text")).1,
            [person("ALTER TABLE t DROP COLUMN extra")]
        );
    }

    #[test]
    fn a_difference_becomes_a_cause_and_the_statement_that_removes_it() {
        let wide = "character varying(20) not null default 'a b'::text";
        assert_eq!(
            cause_and_repair("column Odd", Some(wide), None),
            (
                Cause::MissingColumn,
                vec![sql(&format!("ALTER TABLE t ADD COLUMN \"Odd\" {wide}"))]
            )
        );
        assert_eq!(
            cause_and_repair("column n", Some("integer"), Some("text not null")),
            (
                Cause::TypeMismatch,
                vec![
                    person("ALTER TABLE t ALTER COLUMN n TYPE integer USING n::text::integer"),
                    person("ALTER TABLE t ALTER COLUMN n DROP NOT NULL"),
                ]
            )
        );
        assert_eq!(
            cause_and_repair("constraint c", None, Some("CHECK (false)")),
            (
                Cause::Constraint,
                vec![person("ALTER TABLE t DROP CONSTRAINT c")]
            )
        );
        assert_eq!(
            cause_and_repair("column extra", None, Some("text not null")).0,
            Cause::Constraint
        );
        assert_eq!(
            cause_and_repair("column extra", None, Some("text")).0,
            Cause::Drift
        );
    }
}
