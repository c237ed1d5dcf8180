//! A team's own migrations in goose's format: `NNNN_name.sql` with `-- +goose Up`, `Down`, `StatementBegin`, `StatementEnd`,
//! `NO TRANSACTION` and `ENVSUB`.
//!
//! The annotations for statements are checked and not needed: the scanner of this crate knows where a statement ends, so a DO block
//! outside them is whole. A migration's identity is its file's whole name, as two files may share a number.
//!
//! A file means what goose makes of it, or is refused with its line. A file without `NO TRANSACTION` is one transaction here as there,
//! so a BEGIN or COMMIT in it is dropped with a warning: where all of it succeeds, what it leaves is the same, and where it fails,
//! nothing is left. What that would not hold for is refused: ROLLBACK, two-phase commit, and a COMMIT in the middle that ends a
//! SET LOCAL or what a temporary table does on commit.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use crate::catalogue::{Catalogue, checksum, readable};
use crate::envsub::{self, Lookup};
use crate::error::{CatalogueError, Error};
use crate::history::History;
use crate::migration::{Migration, Mode};
use crate::selection::Profiles;
use crate::sql::{self, Control, Effects, Kind, Lines, Scan, Statement, Token};

/// Reads migrations in goose's format.
pub struct GooseReader<'a> {
    source: String,
    variables: Box<Lookup<'a>>,
    proceed: Box<dyn Fn() -> Result<(), Error> + 'a>,
}

impl fmt::Debug for GooseReader<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GooseReader")
            .field("source", &self.source)
            .finish_non_exhaustive()
    }
}

impl<'a> GooseReader<'a> {
    /// A reader of files whose rows in the ledger are `source`'s. For it no environment variable is set, and nothing ends it early.
    pub fn new(source: impl Into<String>) -> Self {
        Self {
            source: source.into(),
            variables: Box::new(|_| None),
            proceed: Box::new(|| Ok(())),
        }
    }

    /// Gives the environment variables that a file between `-- +goose ENVSUB ON` and `OFF` may name.
    ///
    /// A migration's checksum is that of the text before substitution: another value later is no change of the file.
    #[must_use]
    pub fn variables(mut self, lookup: impl Fn(&str) -> Option<String> + 'a) -> Self {
        self.variables = Box::new(lookup);
        self
    }

    /// Asks before each file whether to go on; what it fails with ends the reading. For a deadline, or a signal.
    #[must_use]
    pub fn proceed_if(mut self, proceed: impl Fn() -> Result<(), Error> + 'a) -> Self {
        self.proceed = Box::new(proceed);
        self
    }

    /// Reads every `.sql` file of a directory that begins with a number; other `.sql` files are left out with a warning.
    ///
    /// The files run in the order of their numbers, then names.
    ///
    /// # Errors
    /// [`Error::Catalogue`] for a directory or file that cannot be read, for one without migrations, for a migration written in Go
    /// and for each file that the server or goose would not take as it is.
    pub fn directory(&self, directory: &Path) -> Result<Catalogue, Error> {
        let found = Found::in_directory(directory)?;
        if let [first, others @ ..] = found.go.as_slice() {
            let others = match others {
                [] => String::new(),
                others => format!(" (so are {})", others.join(", ")),
            };
            let reason = format!(
                "is a migration written in Go{others}, which only goose can run; write it as SQL under its number, or run this directory with goose"
            );
            return Err(CatalogueError::new(first, reason).into());
        }
        if !found.sql.iter().any(|name| begins_with_digit(name)) {
            let reason = found.nothing(directory);
            return Err(CatalogueError::new(&directory.display().to_string(), reason).into());
        }
        let mut files = Vec::new();
        for name in found.sql {
            (self.proceed)()?;
            let text = read(&directory.join(&name))?;
            files.push((name, text));
        }
        self.files(files)
    }

    /// As [`GooseReader::directory`], from `(file name, text)` pairs.
    ///
    /// # Errors
    /// [`Error::Catalogue`] for each file that the server or goose would not take as it is.
    pub fn files(
        &self,
        files: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Catalogue, Error> {
        let mut warnings = Vec::new();
        let mut numbered: Vec<(u64, String, String)> = Vec::new();
        for (name, text) in files {
            if !begins_with_digit(&name) {
                warnings.push(format!(
                    "{name} is left out: its name begins with no number"
                ));
                continue;
            }
            let digits: String = name.chars().take_while(char::is_ascii_digit).collect();
            let number = digits.parse().map_err(|_| {
                let reason = "its number has more than 64 bits; give it a smaller one, such as a timestamp of 14 digits";
                CatalogueError::new(&name, reason)
            })?;
            numbered.push((number, name, text));
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
            (self.proceed)()?;
            let mut migration = self.parse(name, text, &mut warnings)?;
            migration.requires = migrations
                .last()
                .map(|previous| previous.id.clone())
                .into_iter()
                .collect();
            if let Some(twin) = migrations.last().filter(|other| other.id == migration.id) {
                let reason = format!(
                    "{} has the identity `{}` as well; rename one",
                    twin.file, twin.id
                );
                return Err(CatalogueError::new(name, reason).into());
            }
            if let Some(same) = contents.insert(migration.checksum.clone(), name.clone()) {
                warnings.push(format!("{name} has the same content as {same}; both run"));
            }
            migrations.push(migration);
        }
        Ok(Catalogue {
            source: self.source.clone(),
            migrations,
            profiles: Profiles::default(),
            history: History::default(),
            warnings,
            roles: None,
            unmanaged: None,
            goose: true,
        })
    }

    fn parse(
        &self,
        name: &str,
        text: &str,
        warnings: &mut Vec<String>,
    ) -> Result<Migration, Error> {
        let id = Path::new(name)
            .file_stem()
            .map(|stem| stem.to_string_lossy().into_owned())
            .unwrap_or_default();
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let text = text.replace("\r\n", "\n");
        let file = File::read(name, &text, &self.variables, warnings)?;
        let halves = file.halves(name)?;
        let up = readable(name, &halves.up)?;
        let concurrent = up.statements.iter().any(Statement::refuses_transaction);
        if concurrent && !halves.no_transaction {
            warnings.push(format!("{name} holds a statement that PostgreSQL refuses in a transaction; it runs in steps, as if it said NO TRANSACTION"));
        }
        let mode = if concurrent || halves.no_transaction {
            Mode::Steps
        } else {
            Mode::Transaction
        };
        let effects = Effects::of(&up);
        let mut kept = |half: &str, scan: &Scan<'_>| match mode {
            Mode::Transaction => one_transaction(name, half, &scan.statements, warnings),
            Mode::Steps => ended_transactions(name, &scan.statements).map(|()| half.to_owned()),
        };
        let applies = kept(&halves.up, &up)?;
        let down = halves
            .down
            .map(|down| kept(&down, &readable(name, &down)?))
            .transpose()?;
        Ok(Migration {
            id,
            file: name.to_owned(),
            requires: Vec::new(),
            provides: Vec::new(),
            mode,
            checksum: checksum(halves.unsubstituted.as_deref().unwrap_or(&applies)),
            up: applies,
            irreversible: down
                .is_none()
                .then(|| "its file has no `-- +goose Down` section".to_owned()),
            down,
            partitions: None,
            first_line: 0,
            effects,
        })
    }
}

impl Catalogue {
    /// The migrations of a directory in goose's format; short for [`GooseReader::directory`] without environment variables.
    ///
    /// # Errors
    /// As [`GooseReader::directory`].
    pub fn from_goose_dir(source: &str, directory: &Path) -> Result<Self, Error> {
        GooseReader::new(source).directory(directory)
    }

    /// As [`Catalogue::from_goose_dir`], from `(file name, text)` pairs; short for [`GooseReader::files`].
    ///
    /// # Errors
    /// As [`GooseReader::files`].
    pub fn from_goose_files(
        source: &str,
        files: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, Error> {
        GooseReader::new(source).files(files)
    }
}

fn begins_with_digit(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_digit())
}

fn has_extension(name: &str, wanted: &str) -> bool {
    let extension = Path::new(name).extension();
    extension.is_some_and(|extension| extension.eq_ignore_ascii_case(wanted))
}

/// Names in a directory.
#[derive(Default)]
struct Found {
    sql: Vec<String>,
    /// Migrations in Go, by goose's rule for their names.
    go: Vec<String>,
    /// Directories that hold `.sql` files.
    directories: Vec<String>,
    others: Vec<String>,
}

impl Found {
    fn in_directory(directory: &Path) -> Result<Self, Error> {
        let mut found = Self::default();
        for name in names(directory)? {
            if has_extension(&name, "sql") {
                found.sql.push(name);
            } else if begins_with_digit(&name)
                && name.contains('_')
                && has_extension(&name, "go")
                && !name.ends_with("_test.go")
            {
                found.go.push(name);
            } else if names(&directory.join(&name))
                .is_ok_and(|inside| inside.iter().any(|name| has_extension(name, "sql")))
            {
                found.directories.push(name);
            } else {
                found.others.push(name);
            }
        }
        Ok(found)
    }

    /// Why a directory without a numbered file holds no migrations, and what to do.
    fn nothing(&self, directory: &Path) -> String {
        let flyway = self
            .sql
            .iter()
            .find(|name| name.starts_with(['V', 'U', 'R', 'B']) && name.contains("__"));
        let shown = |names: &[String]| names[..names.len().min(5)].join(", ");
        if let Some(name) = flyway {
            return format!(
                "holds Flyway's migrations, such as {name}; name them as goose does (1_name.sql) and begin each with `-- +goose Up`"
            );
        }
        if let [first, ..] = self.directories.as_slice() {
            return format!(
                "holds no migration itself, and directories with .sql files: {}; give one of them, such as {}",
                shown(&self.directories),
                directory.join(first).display()
            );
        }
        let all = [self.sql.as_slice(), &self.others].concat();
        let holds = match all.as_slice() {
            [] => "is empty".to_owned(),
            all => format!("holds {} and no migration", shown(all)),
        };
        format!(
            "{holds}; give a directory with files such as 001_name.sql, each with `-- +goose Up`"
        )
    }
}

fn unreadable(path: &Path, reason: impl fmt::Display) -> Error {
    CatalogueError::new(&path.display().to_string(), reason.to_string()).into()
}

/// Names of what is in a directory, sorted.
fn names(directory: &Path) -> Result<Vec<String>, Error> {
    let entries = std::fs::read_dir(directory).map_err(|error| unreadable(directory, error))?;
    let mut names = entries
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<std::io::Result<Vec<_>>>()
        .map_err(|error| unreadable(directory, error))?;
    names.sort();
    Ok(names)
}

fn read(path: &Path) -> Result<String, Error> {
    if path.is_dir() {
        return Err(unreadable(
            path,
            "is a directory with the name of a file; rename it",
        ));
    }
    let bytes = std::fs::read(path).map_err(|error| match std::fs::read_link(path) {
        Ok(target) if error.kind() == std::io::ErrorKind::NotFound => unreadable(
            path,
            format!(
                "is a link to {}, which is not there; remove it, or put the file there",
                target.display()
            ),
        ),
        _ => unreadable(path, error),
    })?;
    String::from_utf8(bytes).map_err(|error| {
        let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = valid.split(|byte| *byte == b'\n').count();
        unreadable(
            path,
            format!("line {line}: it is not UTF-8; save it in that encoding"),
        )
    })
}

fn invalid(name: &str, line: usize, reason: impl fmt::Display) -> Error {
    CatalogueError::new(name, format!("line {}: {reason}", line + 1)).into()
}

/// A file's lines with their variables in place.
struct File<'a> {
    raw: Vec<&'a str>,
    text: String,
    /// Where each line begins in `text`; a value may have brought newlines of its own.
    starts: Vec<usize>,
    substituted: bool,
}

impl<'a> File<'a> {
    fn read(
        name: &str,
        text: &'a str,
        variables: &Lookup<'_>,
        warnings: &mut Vec<String>,
    ) -> Result<Self, Error> {
        let raw: Vec<&str> = text.lines().collect();
        let mut file = Self {
            text: String::with_capacity(text.len() + 1),
            starts: Vec::with_capacity(raw.len()),
            substituted: false,
            raw,
        };
        let mut on = false;
        for (number, line) in file.raw.iter().enumerate() {
            file.starts.push(file.text.len());
            match annotation(line).as_deref() {
                Some("ENVSUB ON") => on = true,
                Some("ENVSUB OFF") => on = false,
                _ => {}
            }
            if on && !line.trim_start().starts_with("--") {
                file.substituted = true;
                let mut unset = Vec::new();
                let expanded = envsub::expand(line, variables, &mut unset)
                    .map_err(|reason| invalid(name, number, reason))?;
                warnings.extend(unset.iter().map(|variable| {
                    format!(
                        "{name}:{}: the environment variable {variable} is not set; nothing stands in its place",
                        number + 1
                    )
                }));
                file.text.push_str(&expanded);
            } else {
                file.text.push_str(line);
            }
            file.text.push('\n');
        }
        Ok(file)
    }

    fn line(&self, number: usize) -> &str {
        let end = self.starts.get(number + 1).copied();
        &self.text[self.starts[number]..end.unwrap_or(self.text.len()) - 1]
    }

    fn halves(&self, name: &str) -> Result<Halves, Error> {
        let tokens = sql::tokens(&self.text);
        let mut inside = Inside::of(&tokens);
        let (mut up, mut down, mut unsubstituted) = (String::new(), String::new(), String::new());
        let mut place = Place::default();
        for (number, raw) in self.raw.iter().enumerate() {
            let annotation = match inside.at(self.starts[number]) {
                Some(Kind::Rows) if annotation(raw).is_some() => {
                    return Err(invalid(
                        name,
                        number,
                        format!(
                            "`{}` is among the rows of a COPY; end them with a line `\\.`",
                            raw.trim()
                        ),
                    ));
                }
                Some(_) => None,
                None => annotation(raw),
            };
            if let Some(annotation) = annotation {
                place.meet(&annotation, number).map_err(|reason| {
                    invalid(name, number, format!("`{}` {reason}", raw.trim()))
                })?;
            } else if place.seen_down {
                down.push_str(self.line(number));
            } else if place.seen_up.is_some() {
                up.push_str(self.line(number));
                unsubstituted.push_str(raw);
            }
            up.push('\n');
            down.push('\n');
            unsubstituted.push('\n');
        }
        if let Some(begun) = place.begun {
            return Err(invalid(
                name,
                begun,
                "`-- +goose StatementBegin` is never ended; add `-- +goose StatementEnd` after the statement",
            ));
        }
        let Some(begin) = place.seen_up else {
            return Err(invalid(
                name,
                0,
                "no `-- +goose Up` section; add the line before the statements",
            ));
        };
        let first = tokens.iter().find(|token| token.kind != Kind::Comment);
        if let Some(early) = first.filter(|token| token.range.start < self.starts[begin]) {
            return Err(invalid(
                name,
                Lines::of(&self.text).at(early.range.start),
                "this stands before `-- +goose Up` and would not run; move it behind that line",
            ));
        }
        Ok(Halves {
            up,
            down: place.seen_down.then_some(down),
            unsubstituted: self.substituted.then_some(unsubstituted),
            no_transaction: place.no_transaction,
        })
    }
}

/// Both halves of a file, each with everything else blanked, so that lines keep their numbers.
struct Halves {
    up: String,
    down: Option<String>,
    /// `up` before its variables were put in, where there are any.
    unsubstituted: Option<String>,
    no_transaction: bool,
}

/// What annotations were met so far.
#[derive(Default)]
struct Place {
    seen_up: Option<usize>,
    seen_down: bool,
    /// Line of the `StatementBegin` that is not ended.
    begun: Option<usize>,
    no_transaction: bool,
}

impl Place {
    fn meet(&mut self, annotation: &str, line: usize) -> Result<(), String> {
        match (annotation, self.begun) {
            ("NO TRANSACTION", _) => self.no_transaction = true,
            ("ENVSUB ON" | "ENVSUB OFF", _) => {}
            ("STATEMENTEND", Some(_)) => self.begun = None,
            ("STATEMENTEND", None) => {
                return Err("ends no `-- +goose StatementBegin`; remove it".to_owned());
            }
            ("UP" | "DOWN" | "STATEMENTBEGIN", Some(begun)) => {
                return Err(format!(
                    "stands inside the StatementBegin of line {}; add `-- +goose StatementEnd` before it",
                    begun + 1
                ));
            }
            ("UP", None) if self.seen_up.is_none() => self.seen_up = Some(line),
            ("UP", None) => {
                return Err("is the second one; a file has one Up section".to_owned());
            }
            ("DOWN" | "STATEMENTBEGIN", None) if self.seen_up.is_none() => {
                return Err("stands before `-- +goose Up`; move it behind that line".to_owned());
            }
            ("DOWN", None) if self.seen_down => {
                return Err("is the second one; a file has one Down section".to_owned());
            }
            ("DOWN", None) => self.seen_down = true,
            ("STATEMENTBEGIN", None) => self.begun = Some(line),
            _ => {
                return Err(
                    "is unknown; known are Up, Down, StatementBegin, StatementEnd, NO TRANSACTION, ENVSUB ON and ENVSUB OFF"
                        .to_owned(),
                );
            }
        }
        Ok(())
    }
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

/// Tells of growing offsets at which lines begin whether that is inside a string, a body or rows: what looks like an annotation there
/// is text.
struct Inside<'a>(std::iter::Peekable<std::slice::Iter<'a, Token>>);

impl<'a> Inside<'a> {
    fn of(tokens: &'a [Token]) -> Self {
        Self(tokens.iter().peekable())
    }

    fn at(&mut self, offset: usize) -> Option<Kind> {
        while self.0.next_if(|token| token.range.end <= offset).is_some() {}
        let token = self.0.peek()?;
        match token.kind {
            Kind::Quoted if token.range.start < offset => Some(Kind::Quoted),
            Kind::Rows if token.range.start <= offset => Some(Kind::Rows),
            _ => None,
        }
    }
}

/// The text of a file that is one transaction, without the BEGIN and COMMIT of its own.
fn one_transaction(
    name: &str,
    text: &str,
    statements: &[Statement<'_>],
    warnings: &mut Vec<String>,
) -> Result<String, Error> {
    let mut kept = String::with_capacity(text.len());
    let mut done = 0;
    let mut bound: Option<&Statement<'_>> = None;
    for (index, statement) in statements.iter().enumerate() {
        let Some(control) = statement.control() else {
            bound = bound.or(statement.is_bound_to_its_transaction().then_some(statement));
            continue;
        };
        let refused = |reason: String| invalid(name, statement.line, reason);
        match (control, bound) {
            (Control::Rollback, _) => {
                return Err(refused(format!(
                    "`{}` would undo what stands before it, and the whole file is one transaction; remove both, or declare `-- +goose NO TRANSACTION`",
                    statement.text
                )));
            }
            (Control::TwoPhase, _) => return Err(two_phase(name, statement)),
            (Control::Commit, Some(bound)) if index + 1 < statements.len() => {
                return Err(refused(format!(
                    "`{}` would end what line {} does until the transaction ends, and more follows; the whole file is one transaction: split the file here, or declare `-- +goose NO TRANSACTION`",
                    statement.text,
                    bound.line + 1
                )));
            }
            _ => {}
        }
        warnings.push(format!(
            "{name}:{}: `{}` is dropped: the whole file is one transaction",
            statement.line + 1,
            statement.text
        ));
        let end = statement.start + statement.text.len();
        kept.push_str(&text[done..statement.start]);
        kept.extend(
            statement
                .text
                .bytes()
                .map(|byte| if byte == b'\n' { '\n' } else { ' ' }),
        );
        done = end;
    }
    kept.push_str(&text[done..]);
    Ok(kept)
}

fn two_phase(name: &str, statement: &Statement<'_>) -> Error {
    let reason = format!(
        "`{}` leaves a transaction to be ended by somebody else; remove it",
        statement.text
    );
    invalid(name, statement.line, reason)
}

/// What a file that is no transaction itself begins, it must end.
fn ended_transactions(name: &str, statements: &[Statement<'_>]) -> Result<(), Error> {
    let mut open: Option<&Statement<'_>> = None;
    for statement in statements {
        match statement.control() {
            Some(Control::Begin) => open = open.or(Some(statement)),
            Some(Control::Rollback) if open.is_none() => {
                return Err(invalid(
                    name,
                    statement.line,
                    format!(
                        "`{}` has no BEGIN before it and would undo nothing; remove it, or begin a transaction",
                        statement.text
                    ),
                ));
            }
            Some(Control::Commit | Control::Rollback) => {
                open = statement.chains().then_some(statement);
            }
            Some(Control::TwoPhase) => return Err(two_phase(name, statement)),
            None => {}
        }
    }
    open.map_or(Ok(()), |open| {
        Err(invalid(
            name,
            open.line,
            format!(
                "`{}` has no COMMIT or ROLLBACK after it; add one",
                open.text
            ),
        ))
    })
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
