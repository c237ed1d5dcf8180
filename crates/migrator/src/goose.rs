//! A team's own migrations in goose's format: `NNNN_name.sql` with `-- +goose Up`, `Down`, `StatementBegin`, `StatementEnd`
//! and `NO TRANSACTION`.
//!
//! The annotations for statements are read and not needed: the scanner of this crate knows where a statement ends, so a DO block
//! outside them is whole. A migration's identity is its file's whole name, as two files may share a number.

use std::collections::BTreeMap;
use std::path::Path;

use crate::catalogue::{Catalogue, checksum};
use crate::error::{CatalogueError, Error};
use crate::history::History;
use crate::migration::{Migration, Mode};
use crate::selection::Profiles;
use crate::sql::{self, Kind};

impl Catalogue {
    /// Reads every `.sql` file of a directory that begins with a number; the rest is left out with a warning.
    ///
    /// `source` is whose rows these are in the ledger. The files run in the order of their numbers, then names.
    ///
    /// # Errors
    /// [`Error::Catalogue`] for a directory or file that cannot be read and for a file without an Up section.
    pub fn from_goose_dir(source: &str, directory: &Path) -> Result<Self, Error> {
        let unreadable = |path: &Path, error: std::io::Error| {
            Error::from(CatalogueError::new(
                &path.display().to_string(),
                error.to_string(),
            ))
        };
        let mut files = Vec::new();
        for entry in std::fs::read_dir(directory).map_err(|error| unreadable(directory, error))? {
            let path = entry.map_err(|error| unreadable(directory, error))?.path();
            if path
                .extension()
                .is_some_and(|extension| extension.eq_ignore_ascii_case("sql"))
            {
                let text =
                    std::fs::read_to_string(&path).map_err(|error| unreadable(&path, error))?;
                let name = path
                    .file_name()
                    .map(|name| name.to_string_lossy().into_owned())
                    .unwrap_or_default();
                files.push((name, text));
            }
        }
        Self::from_goose_files(source, files)
    }

    /// As [`Catalogue::from_goose_dir`], from `(file name, text)` pairs.
    pub fn from_goose_files(
        source: &str,
        files: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, Error> {
        let mut warnings = Vec::new();
        let mut numbered: Vec<(u64, String, String)> = Vec::new();
        for (name, text) in files {
            let digits: String = name.chars().take_while(char::is_ascii_digit).collect();
            match digits.parse() {
                Ok(number) => numbered.push((number, name, text)),
                Err(_) => warnings.push(format!(
                    "{name} is left out: its name begins with no number"
                )),
            }
        }
        numbered.sort();
        for pair in numbered.windows(2).filter(|pair| pair[0].0 == pair[1].0) {
            warnings.push(format!(
                "{} and {} share the number {}; they run in this order",
                pair[0].1, pair[1].1, pair[0].0
            ));
        }
        let mut migrations: Vec<Migration> = Vec::new();
        let mut contents: BTreeMap<String, String> = BTreeMap::new();
        for (_, name, text) in &numbered {
            let mut migration = parse(name, text, &mut warnings)?;
            migration.requires = migrations
                .last()
                .map(|previous| previous.id.clone())
                .into_iter()
                .collect();
            if let Some(same) = contents.insert(migration.checksum.clone(), name.clone()) {
                warnings.push(format!("{name} has the same content as {same}; both run"));
            }
            migrations.push(migration);
        }
        Ok(Self {
            source: source.to_owned(),
            migrations,
            profiles: Profiles::default(),
            history: History::default(),
            warnings,
            roles: None,
            unmanaged: None,
            goose: true,
        })
    }
}

/// Both halves of a file, each with everything else blanked, so that lines keep their numbers.
struct Halves {
    up: String,
    down: Option<String>,
    no_transaction: bool,
}

fn parse(name: &str, text: &str, warnings: &mut Vec<String>) -> Result<Migration, Error> {
    let id = Path::new(name)
        .file_stem()
        .map(|stem| stem.to_string_lossy().into_owned())
        .unwrap_or_default();
    let halves = split(name, &text.replace("\r\n", "\n"))?;
    let concurrent = sql::statements(&halves.up)
        .iter()
        .any(sql::Statement::refuses_transaction);
    if concurrent && !halves.no_transaction {
        warnings.push(format!("{name} holds a statement that PostgreSQL refuses in a transaction; it runs in steps, as if it said NO TRANSACTION"));
    }
    let (mode, up) = if concurrent || halves.no_transaction {
        (Mode::Steps, halves.up)
    } else {
        (
            Mode::Transaction,
            without_transaction_control(name, &halves.up, warnings),
        )
    };
    let down = halves.down.map(|down| match mode {
        Mode::Transaction => without_transaction_control(name, &down, warnings),
        Mode::Steps => down,
    });
    Ok(Migration {
        id,
        file: name.to_owned(),
        requires: Vec::new(),
        provides: Vec::new(),
        mode,
        checksum: checksum(&up),
        up,
        irreversible: down
            .is_none()
            .then(|| "its file has no `-- +goose Down` section".to_owned()),
        down,
        partitions: None,
        first_line: 0,
    })
}

fn split(name: &str, text: &str) -> Result<Halves, Error> {
    let invalid = |line: usize, reason: String| {
        Error::from(CatalogueError::new(
            name,
            format!("line {}: {reason}", line + 1),
        ))
    };
    let (mut up, mut down) = (String::new(), String::new());
    let (mut seen_up, mut seen_down, mut no_transaction) = (false, false, false);
    let quoted = lines_inside_literals(text);
    for (number, line) in text.lines().enumerate() {
        let annotation = annotation(line).filter(|_| !quoted.contains(&number));
        match annotation.as_deref() {
            Some("UP") if !seen_up && !seen_down => seen_up = true,
            Some("DOWN") if seen_up && !seen_down => seen_down = true,
            Some("NO TRANSACTION") => no_transaction = true,
            Some("STATEMENTBEGIN" | "STATEMENTEND") => {}
            Some(other) => {
                return Err(invalid(
                    number,
                    format!("`-- +goose {other}` is unknown or in the wrong place"),
                ));
            }
            None if seen_down => down.push_str(line),
            None if seen_up => up.push_str(line),
            None => {}
        }
        up.push('\n');
        down.push('\n');
    }
    if !seen_up {
        return Err(invalid(
            0,
            "no `-- +goose Up` section; add the line before the statements".to_owned(),
        ));
    }
    Ok(Halves {
        up,
        down: seen_down.then_some(down),
        no_transaction,
    })
}

fn annotation(line: &str) -> Option<String> {
    let rest = line
        .trim()
        .strip_prefix("--")?
        .trim_start()
        .strip_prefix("+goose")?;
    Some(
        rest.split_whitespace()
            .collect::<Vec<_>>()
            .join(" ")
            .to_ascii_uppercase(),
    )
}

/// Lines, counted from 0, that begin inside a string or a body: what looks like an annotation there is text.
fn lines_inside_literals(text: &str) -> std::collections::BTreeSet<usize> {
    let mut lines = std::collections::BTreeSet::new();
    for token in sql::tokens(text)
        .into_iter()
        .filter(|token| token.kind == Kind::Quoted)
    {
        let first = text[..token.range.start].matches('\n').count();
        let inside = text[token.range].matches('\n').count();
        lines.extend(first + 1..=first + inside);
    }
    lines
}

/// A COMMIT inside would end the engine's transaction early, half of the file outside it: dropped, and said.
fn without_transaction_control(name: &str, text: &str, warnings: &mut Vec<String>) -> String {
    let mut kept = text.to_owned();
    for statement in sql::statements(text)
        .iter()
        .filter(|statement| statement.controls_transaction())
    {
        let line = text[..statement.start].matches('\n').count() + 1;
        warnings.push(format!(
            "{name}:{line}: `{}` is dropped: the whole file is one transaction",
            statement.text
        ));
        let blank: String = statement
            .text
            .chars()
            .map(|c| if c == '\n' { '\n' } else { ' ' })
            .collect();
        // Blanks are as long in bytes only where the statement is ASCII, which its keywords and options are.
        kept.replace_range(
            statement.start..statement.start + statement.text.len(),
            &format!("{blank:<width$}", width = statement.text.len()),
        );
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn catalogue(files: &[(&str, &str)]) -> Result<Catalogue, Error> {
        Catalogue::from_goose_files(
            "team",
            files
                .iter()
                .map(|(name, text)| ((*name).to_owned(), (*text).to_owned())),
        )
    }

    #[test]
    fn both_halves_keep_their_lines() {
        let text =
            "-- +goose Up\nCREATE TABLE t (a int);\n-- +goose Down\nDROP TABLE IF NOT EXISTS t;\n";
        let catalogue = catalogue(&[("001_t.sql", text)]).unwrap();
        let migration = &catalogue.migrations()[0];
        assert_eq!(migration.up, "\nCREATE TABLE t (a int);\n\n\n");
        assert_eq!(
            migration.down.as_deref(),
            Some("\n\n\nDROP TABLE IF NOT EXISTS t;\n")
        );
    }

    #[test]
    fn a_stray_commit_is_dropped_and_said() {
        let text = "-- +goose Up\nBEGIN;\nCREATE TABLE t (a int);\nCOMMIT;\n";
        let catalogue = catalogue(&[("001_t.sql", text)]).unwrap();
        assert!(!catalogue.migrations()[0].up.contains("COMMIT"));
        assert_eq!(
            catalogue.warnings()[1],
            "001_t.sql:4: `COMMIT` is dropped: the whole file is one transaction"
        );
    }

    #[test]
    fn files_that_share_a_number_or_a_content_both_run() {
        let same = "-- +goose Up\nSELECT 1;\n";
        let catalogue = catalogue(&[
            ("2_b.sql", same),
            ("2_a.sql", same),
            ("10_c.sql", "-- +goose Up\nSELECT 2;\n"),
            ("notes.sql", "x"),
        ])
        .unwrap();
        let ids: Vec<&str> = catalogue
            .migrations()
            .iter()
            .map(|migration| migration.id.as_str())
            .collect();
        assert_eq!(ids, ["2_a", "2_b", "10_c"]);
        assert_eq!(catalogue.warnings().len(), 3);
    }

    #[test]
    fn an_annotation_inside_a_body_is_text() {
        let text = "-- +goose Up\nCREATE FUNCTION f() RETURNS text LANGUAGE sql AS $$ SELECT '\n-- +goose Down\n' $$;\n";
        let catalogue = catalogue(&[("001_f.sql", text)]).unwrap();
        assert!(catalogue.migrations()[0].up.contains("+goose Down"));
        assert_eq!(catalogue.migrations()[0].down, None);
    }

    #[test]
    fn a_file_without_an_up_section_is_refused() {
        let error = catalogue(&[("001_t.sql", "CREATE TABLE t (a int);")]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "migrations: 001_t.sql: line 1: no `-- +goose Up` section; add the line before the statements"
        );
    }
}
