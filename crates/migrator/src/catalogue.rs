//! The migrations that exist: parsed, checked and ordered once, independent of any database.
//!
//! A migration is a pair of files, `NNNN_<id>.up.sql` and `NNNN_<id>.down.sql`. The comment lines at the top of the first
//! declare what the engine must know (`key: value, value`); the number only orders.

use std::collections::{BTreeMap, BTreeSet};

use sha2::{Digest, Sha256};

use crate::error::{CatalogueError, Error};
use crate::history::{History, Shapes};
use crate::migration::{Migration, Mode, Object, ObjectKind};
use crate::selection::{Profiles, Selection};
use crate::sql::{self, Effects, Kind, Lines, Problem, Scan};

/// Every migration of one source, in an order in which each comes after what it requires.
#[derive(Clone, Debug)]
pub struct Catalogue {
    pub(crate) source: String,
    pub(crate) migrations: Vec<Migration>,
    pub(crate) profiles: Profiles,
    /// Shapes to compare with; empty where none are recorded.
    pub(crate) history: History,
    /// Remarks about the files that people should read; nothing is wrong enough to stop.
    pub(crate) warnings: Vec<String>,
    /// SQL that creates what belongs to the whole server.
    pub(crate) roles: Option<String>,
    pub(crate) unmanaged: Option<Unmanaged>,
    /// Whether the files are in goose's format: they declare nothing, and their unqualified names are those of the search path that the
    /// database, the role or the URL gives.
    pub(crate) goose: bool,
}

/// How tables of another tool, which kept no ledger, are recognised.
#[derive(Clone, Debug)]
pub(crate) struct Unmanaged {
    /// A table that both make.
    pub(crate) table: String,
    /// A query for the name of an object that only the other tool makes.
    pub(crate) evidence: String,
}

impl Catalogue {
    /// Migrations from `(file name, text)` pairs in this project's own format, with profiles as in `profiles.toml`.
    ///
    /// Files without a leading number are left out. `source` is whose rows these are in the ledger.
    pub fn from_files<'a>(
        source: &str,
        files: impl IntoIterator<Item = (&'a str, &'a str)>,
        profiles: &str,
    ) -> Result<Self, Error> {
        let files: BTreeMap<&str, &str> = files.into_iter().collect();
        let mut migrations = Vec::new();
        for (name, text) in &files {
            let Some(stem) = name.strip_suffix(".up.sql") else {
                continue;
            };
            let down_name = format!("{stem}.down.sql");
            let down = files.get(down_name.as_str()).map(|text| (*text).to_owned());
            migrations.push(parse(name, stem, text, down)?);
        }
        for name in files
            .keys()
            .filter(|name| name.starts_with(|c: char| c.is_ascii_digit()))
        {
            let paired = name
                .strip_suffix(".down.sql")
                .is_some_and(|stem| files.contains_key(format!("{stem}.up.sql").as_str()));
            if !name.ends_with(".up.sql") && !paired {
                return Err(CatalogueError::new(
                    name,
                    "belongs to no migration; its name must be NNNN_<id>.up.sql or .down.sql",
                )
                .into());
            }
        }
        let catalogue = Self {
            source: source.to_owned(),
            migrations: ordered(migrations)?,
            profiles: Profiles::parse(profiles)?,
            history: History::default(),
            warnings: Vec::new(),
            roles: None,
            unmanaged: None,
            goose: false,
        };
        catalogue.check_order()?;
        catalogue.check_partitions()?;
        catalogue.profiles.check(&catalogue.names(|_| true))?;
        Ok(catalogue)
    }

    /// The same migrations as another source in the ledger.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<String>) -> Self {
        self.source = source.into();
        self
    }

    /// The same migrations with the shapes of a `schema.json`, as [`crate::record_shapes`] makes it.
    pub fn with_shapes(mut self, json: &str) -> Result<Self, Error> {
        self.history = History::parse(json).map_err(|error| {
            CatalogueError::new("schema.json", format!("{error}; record the shapes again"))
        })?;
        // An alias may stand for an index, which only the shapes know.
        let objects = self.names(|_| true);
        let is_known =
            |name: &str| objects.contains(name) || self.history.table_of_index(name).is_some();
        self.profiles.check_aliases(is_known)?;
        Ok(self)
    }

    /// The same migrations without any shape to compare with.
    #[must_use]
    pub fn without_shapes(mut self) -> Self {
        self.history = History::default();
        self
    }

    /// The same migrations for an application with a role of its own: `sql` creates it unless it is there.
    ///
    /// Roles belong to the whole server, so the statements run in the database `postgres`, under a lock there, before the first
    /// migration. They are never reverted, and a login that may not run them goes on with a warning.
    #[must_use]
    pub fn with_roles(mut self, sql: impl Into<String>) -> Self {
        self.roles = Some(sql.into());
        self
    }

    /// The same migrations for a schema that another tool also created, and kept no ledger: what it left is refused and not adopted.
    ///
    /// `table` is one that both make; where it is there and the ledger has no row, `evidence` is asked: a query whose one answer is
    /// the name of an object that only the other tool makes, or null. Where `table` is not there, all tables are taken to be new.
    #[must_use]
    pub fn refuse_unmanaged(
        mut self,
        table: impl Into<String>,
        evidence: impl Into<String>,
    ) -> Self {
        self.unmanaged = Some(Unmanaged {
            table: table.into(),
            evidence: evidence.into(),
        });
        self
    }

    /// The first `count` migrations, in order.
    pub(crate) fn only_first(&self, count: usize) -> Self {
        let mut first = self.clone();
        first.migrations.truncate(count);
        first
    }

    /// Two migrations that touch one object must be ordered by `requires`, or two profiles could apply them in two orders.
    fn check_order(&self) -> Result<(), Error> {
        for (index, later) in self.migrations.iter().enumerate() {
            let before = self.required_by(later);
            let unordered = self.migrations[..index]
                .iter()
                .filter(|earlier| !before.contains(earlier.id.as_str()))
                .find_map(|earlier| {
                    earlier
                        .provides
                        .iter()
                        .find(|object| later.provides.contains(object))
                        .map(|object| (earlier, object))
                });
            if let Some((earlier, object)) = unordered {
                let reason = format!(
                    "it touches {object} as {} does; add `-- requires: {}`",
                    earlier.file, earlier.id
                );
                return Err(CatalogueError::new(&later.file, reason).into());
            }
        }
        Ok(())
    }

    /// A table whose partitions are kept needs the function that every run ends with.
    fn check_partitions(&self) -> Result<(), Error> {
        let functions = self.names(|kind| kind == ObjectKind::Function);
        for migration in &self.migrations {
            let Some(table) = &migration.partitions else {
                continue;
            };
            let function = format!("ensure_{table}_partitions");
            if !functions.contains(function.as_str()) {
                let reason = format!(
                    "it declares `partitions: {table}`, and no file provides function {function}"
                );
                return Err(CatalogueError::new(&migration.file, reason).into());
            }
        }
        Ok(())
    }

    /// Identities of everything that must have run before `migration`.
    fn required_by(&self, migration: &Migration) -> BTreeSet<&str> {
        let mut found: BTreeSet<&str> = BTreeSet::new();
        let mut open: Vec<&str> = self
            .get(&migration.id)
            .into_iter()
            .flat_map(|own| &own.requires)
            .map(String::as_str)
            .collect();
        while let Some(id) = open.pop() {
            if found.insert(id) {
                open.extend(
                    self.get(id)
                        .into_iter()
                        .flat_map(|required| &required.requires)
                        .map(String::as_str),
                );
            }
        }
        found
    }

    /// Migrations in the order in which they run.
    pub fn migrations(&self) -> &[Migration] {
        &self.migrations
    }

    /// The migration with this identity.
    pub fn get(&self, id: &str) -> Option<&Migration> {
        self.migrations.iter().find(|migration| migration.id == id)
    }

    /// Names of the profiles, then of the groups, each in the file's alphabetical order.
    pub fn profiles(&self) -> impl Iterator<Item = &str> {
        self.profiles.names()
    }

    /// Whose rows these are in the ledger.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// What people should know about the files, one sentence each.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Tables of the selection whose partitions are kept ahead of the clock.
    pub fn partitioned_tables(&self, selection: &Selection) -> Result<Vec<&str>, Error> {
        Ok(self
            .resolve(selection)?
            .into_iter()
            .filter_map(|migration| migration.partitions.as_deref())
            .collect())
    }

    /// Every table that some migration declares.
    pub fn tables(&self) -> BTreeSet<&str> {
        self.names(|kind| kind == ObjectKind::Table)
    }

    /// Indexes that are objects of their own, and so no part of their tables' shapes.
    pub(crate) fn own_indexes(&self) -> BTreeSet<&str> {
        self.names(|kind| kind == ObjectKind::Index)
    }

    /// Every object of those kinds that some migration declares.
    fn names(&self, wanted: impl Fn(ObjectKind) -> bool) -> BTreeSet<&str> {
        self.migrations
            .iter()
            .flat_map(|migration| &migration.provides)
            .filter(|object| wanted(object.kind))
            .map(|object| object.name.as_str())
            .collect()
    }

    /// The migrations that `selection` needs: its objects' own and, before each, what it requires; in catalogue order.
    ///
    /// # Errors
    /// [`Error::UnknownProfile`] and [`Error::UnknownTable`], each listing the names that exist.
    pub fn resolve(&self, selection: &Selection) -> Result<Vec<&Migration>, Error> {
        Ok(match self.named_tables(selection)? {
            Some(tables) => self.closure(&tables),
            None => self.migrations().iter().collect(),
        })
    }

    /// The tables that `selection` names; `None` means all.
    fn named_tables<'a>(
        &'a self,
        selection: &'a Selection,
    ) -> Result<Option<BTreeSet<&'a str>>, Error> {
        if *selection == Selection::all() {
            return Ok(None);
        }
        let mut roots = BTreeSet::new();
        for name in &selection.profiles {
            match self.profiles.roots(name)? {
                Some(tables) => roots.extend(tables),
                None => return Ok(None),
            }
        }
        let objects = self.names(|_| true);
        for name in &selection.tables {
            let real = self.profiles.real_name(name);
            // An index that is no object of its own stands for its table.
            let root = objects.get(real).copied();
            let Some(root) = root.or_else(|| self.history.table_of_index(real)) else {
                let known = self.names(|kind| kind != ObjectKind::Function);
                return Err(Error::UnknownTable {
                    name: name.clone(),
                    known: known.into_iter().map(str::to_owned).collect(),
                });
            };
            roots.insert(root);
        }
        Ok(Some(roots))
    }

    /// The migrations that touch what `selection` names; the rest of [`Catalogue::resolve`] is only what these require.
    pub(crate) fn roots(&self, selection: &Selection) -> Result<BTreeSet<&str>, Error> {
        let selected = self.resolve(selection)?;
        let Some(tables) = self.named_tables(selection)? else {
            return Ok(selected
                .iter()
                .map(|migration| migration.id.as_str())
                .collect());
        };
        let touches = |migration: &&&Migration| {
            migration
                .provides
                .iter()
                .any(|object| tables.contains(object.name.as_str()))
        };
        Ok(selected
            .iter()
            .filter(touches)
            .map(|migration| migration.id.as_str())
            .collect())
    }

    fn closure(&self, roots: &BTreeSet<&str>) -> Vec<&Migration> {
        let provides_a_root = |migration: &Migration| {
            let mut provided = migration.provides.iter();
            provided.any(|object| roots.contains(object.name.as_str()))
        };
        // Backwards: everything that requires a migration comes after it.
        let mut needed: BTreeSet<&str> = BTreeSet::new();
        for migration in self.migrations().iter().rev() {
            if needed.contains(migration.id.as_str()) || provides_a_root(migration) {
                needed.insert(&migration.id);
                needed.extend(migration.requires.iter().map(String::as_str));
            }
        }
        self.migrations()
            .iter()
            .filter(|migration| needed.contains(migration.id.as_str()))
            .collect()
    }

    /// Each object whose latest recorded shape has this part, and what it has there.
    pub(crate) fn parts(&self, part: &str) -> impl Iterator<Item = (String, String)> {
        let objects: BTreeSet<&Object> = self
            .migrations()
            .iter()
            .flat_map(|migration| &migration.provides)
            .collect();
        let shapes = self.expected(objects, |_| true, None);
        let found = shapes
            .into_iter()
            .map(|(object, mut shape)| (object, shape.remove(part)));
        found
            .filter_map(|(object, text)| Some((object, text?)))
            .collect::<Vec<_>>()
            .into_iter()
    }

    /// Whether any migration must leave a recorded shape.
    pub(crate) fn has_shapes(&self) -> bool {
        !self.history.is_empty()
    }

    /// The shapes that `objects` have once the migrations for which `ran` holds did run; objects without a recorded shape are
    /// left out. Grants to `absent_role` are left out too.
    pub fn expected<'a>(
        &self,
        objects: impl IntoIterator<Item = &'a Object>,
        ran: impl Fn(&str) -> bool,
        absent_role: Option<&str>,
    ) -> Shapes {
        let mut shapes = Shapes::new();
        for object in objects.into_iter().map(ToString::to_string) {
            let Some(after) = self.history.of(&object) else {
                continue;
            };
            let latest = self
                .migrations()
                .iter()
                .rev()
                .find(|migration| after.contains_key(&migration.id) && ran(&migration.id));
            let Some(shape) = latest.and_then(|migration| after.get(&migration.id)) else {
                continue;
            };
            let mut shape = shape.clone();
            if let Some(role) = absent_role {
                shape.remove(&format!("grant {role}"));
            }
            shapes.insert(object, shape);
        }
        shapes
    }
}

fn parse(name: &str, stem: &str, text: &str, down: Option<String>) -> Result<Migration, Error> {
    let text = text.trim_start_matches('\u{feff}');
    let invalid = |reason: String| Error::from(CatalogueError::new(name, reason));
    let id = match stem.split_once('_') {
        Some((number, id))
            if number.len() == 4
                && number.bytes().all(|b| b.is_ascii_digit())
                && !id.is_empty() =>
        {
            id
        }
        _ => {
            return Err(invalid(
                "its name must be NNNN_<id>.up.sql with a number of four digits".into(),
            ));
        }
    };
    let header = Header::parse(text).map_err(invalid)?;
    if header.provides.is_empty() {
        return Err(invalid(
            "its header declares no `-- provides: table <name>`".into(),
        ));
    }
    match (&down, &header.irreversible) {
        (None, None) => {
            return Err(invalid(format!(
                "{stem}.down.sql is missing; write it, or declare `-- irreversible: <reason>`"
            )));
        }
        (Some(_), Some(_)) => {
            return Err(invalid(
                "it is declared irreversible and has a down file; keep one".into(),
            ));
        }
        _ => {}
    }
    let up = readable(name, text)?;
    check_statements(name, &up, header.mode)?;
    if let Some(down) = &down {
        let file = format!("{stem}.down.sql");
        check_statements(&file, &readable(&file, down)?, header.mode)?;
    }
    Ok(Migration {
        id: id.to_owned(),
        file: name.to_owned(),
        requires: header.requires,
        provides: header.provides,
        mode: header.mode,
        checksum: checksum(text),
        up: text.to_owned(),
        down,
        irreversible: header.irreversible,
        partitions: header.partitions,
        first_line: 0,
        effects: Effects::of(&up),
    })
}

/// Reads the SQL of a file, and refuses what the server could not read or would read as something else: the engine's own statements
/// follow it in one message.
pub(crate) fn readable<'a>(file: &str, text: &'a str) -> Result<Scan<'a>, Error> {
    let refused = |at: usize, reason: String| {
        let line = Lines::of(text).at(at) + 1;
        Err(CatalogueError::new(file, format!("line {line}: {reason}")).into())
    };
    if let Some(at) = text.find('\0') {
        return refused(at, "it holds a NUL, which no SQL may; remove it".to_owned());
    }
    let scan = sql::scan(text);
    if let Some((at, problem)) = scan.problem {
        let reason = match problem {
            Problem::Open("comment") => {
                "this comment is never closed; PostgreSQL's comments nest, so each `/*` needs its `*/`".to_owned()
            }
            Problem::Open(what) => format!("this {what} is never closed; close it"),
            Problem::Backslash => psql_command(&text[at..]),
            Problem::NoRows => {
                "COPY FROM STDIN has no rows; write them in the lines after it, ended by a line `\\.`, or use INSERT".to_owned()
            }
        };
        return refused(at, reason);
    }
    match scan
        .statements
        .iter()
        .find(|statement| statement.copies_out)
    {
        Some(copy) => refused(
            copy.start,
            "COPY to STDOUT has no receiver in a migration; remove it, or copy to a table"
                .to_owned(),
        ),
        None => Ok(scan),
    }
}

/// What to do instead of a command of psql, which begins `rest`.
fn psql_command(rest: &str) -> String {
    let word = rest.split_whitespace().next().unwrap_or_default();
    let instead = match word {
        "\\copy" => {
            "write COPY … FROM STDIN with its rows in the lines after it, ended by a line `\\.`"
        }
        "\\i" | "\\ir" | "\\include" | "\\include_relative" => {
            "put that file's statements in its place"
        }
        "\\c" | "\\connect" => "remove it: a migration runs in the database of the run",
        "\\set" | "\\gset" => "write the value itself",
        "\\." => "remove it: it ends the rows of no COPY FROM STDIN",
        _ => "remove the line",
    };
    format!("`{word}` is a command of psql, not SQL; {instead}")
}

/// Refuses what would end the engine's transaction, or what PostgreSQL refuses inside one.
fn check_statements(file: &str, scan: &Scan<'_>, mode: Mode) -> Result<(), Error> {
    for statement in &scan.statements {
        let line = statement.line + 1;
        if statement.controls_transaction() {
            let reason = format!(
                "line {line}: the engine opens and ends transactions itself; remove `{}`",
                statement.text
            );
            return Err(CatalogueError::new(file, reason).into());
        }
        if mode == Mode::Transaction && statement.refuses_transaction() {
            let reason = format!(
                "line {line}: PostgreSQL refuses this inside a transaction; declare `-- transaction: none`"
            );
            return Err(CatalogueError::new(file, reason).into());
        }
    }
    Ok(())
}

/// What the comment lines at the top of a file declare.
struct Header {
    requires: Vec<String>,
    provides: Vec<Object>,
    mode: Mode,
    irreversible: Option<String>,
    partitions: Option<String>,
}

impl Header {
    fn parse(text: &str) -> Result<Self, String> {
        let mut header = Self {
            requires: Vec::new(),
            provides: Vec::new(),
            mode: Mode::Transaction,
            irreversible: None,
            partitions: None,
        };
        let mut seen = BTreeSet::new();
        for line in text
            .lines()
            .map_while(|line| line.trim_start_matches('\u{feff}').strip_prefix("--"))
        {
            let Some((key, value)) = line.trim().split_once(':') else {
                continue;
            };
            if !key.bytes().all(|b| b.is_ascii_lowercase() || b == b'-') {
                continue; // a sentence that happens to hold a colon
            }
            if !seen.insert(key) {
                return Err(format!("its header declares `{key}` twice"));
            }
            let value = value.trim();
            match key {
                "requires" => header.requires = list(value).map(str::to_owned).collect(),
                "provides" => {
                    header.provides = list(value).map(object).collect::<Result<_, _>>()?;
                }
                "transaction" if value == "none" => header.mode = Mode::Steps,
                "irreversible" if !value.is_empty() => header.irreversible = Some(value.to_owned()),
                "partitions" => header.partitions = Some(value.to_owned()),
                _ => {
                    return Err(format!(
                        "its header has `{key}: {value}`; known are requires, provides, transaction: none, irreversible: <reason>, partitions: <table>"
                    ));
                }
            }
        }
        Ok(header)
    }
}

fn list(value: &str) -> impl Iterator<Item = &str> {
    value
        .split(',')
        .map(str::trim)
        .filter(|item| !item.is_empty())
}

fn object(text: &str) -> Result<Object, String> {
    let named = text.split_once(' ').and_then(|(word, name)| {
        let (_, kind) = ObjectKind::ALL
            .into_iter()
            .find(|(known, _)| *known == word)?;
        Some(Object {
            kind,
            name: name.trim().to_owned(),
        })
    });
    named.ok_or_else(|| {
        let words = ObjectKind::ALL.map(|(word, _)| format!("`{word} <name>`"));
        format!("its header provides `{text}`; write {}", words.join(", "))
    })
}

/// SHA-256 over the tokens: what the server sees, and nothing that an editor may change.
///
/// Comments, white space, line ends and a last semicolon do not count; whether the file is one transaction does not either, as that
/// changes nothing about what was applied. A word in another case counts: inside a body only the server knows what it means.
pub(crate) fn checksum(text: &str) -> String {
    let text = text.replace("\r\n", "\n");
    let tokens = sql::tokens(&text);
    let counted = tokens.iter().filter(|token| token.kind != Kind::Comment);
    let last = tokens
        .iter()
        .rposition(|token| !matches!(token.kind, Kind::Comment | Kind::End));
    let end = last.map_or(0, |last| tokens[last].range.end);
    let mut hasher = Sha256::new();
    for token in counted.take_while(|token| token.range.start < end) {
        hasher.update(&text.as_bytes()[token.range.clone()]);
        hasher.update([0]);
    }
    hex(&hasher.finalize())
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    let digits = bytes.iter().map(|byte| format!("{byte:02x}"));
    digits.collect::<Vec<_>>().concat()
}

/// Orders by number, moving a migration back only as far as what it requires demands: the same set gives the same order.
fn ordered(mut waiting: Vec<Migration>) -> Result<Vec<Migration>, Error> {
    let mut ids = BTreeSet::new();
    for migration in &waiting {
        if !ids.insert(migration.id.clone()) {
            return Err(CatalogueError::new(
                &migration.file,
                format!("another file has the identity `{}`", migration.id),
            )
            .into());
        }
    }
    for migration in &waiting {
        if let Some(missing) = migration.requires.iter().find(|id| !ids.contains(*id)) {
            return Err(CatalogueError::new(
                &migration.file,
                format!("it requires `{missing}`, which is no migration"),
            )
            .into());
        }
    }
    let mut placed: Vec<Migration> = Vec::with_capacity(waiting.len());
    while !waiting.is_empty() {
        let ready = waiting.iter().position(|migration| {
            migration
                .requires
                .iter()
                .all(|id| placed.iter().any(|earlier| earlier.id == *id))
        });
        let Some(ready) = ready else {
            return Err(CatalogueError::new(
                &waiting[0].file,
                "it requires itself through others; break the circle".to_owned(),
            )
            .into());
        };
        placed.push(waiting.remove(ready));
    }
    Ok(placed)
}

#[cfg(test)]
mod tests {
    use super::Catalogue;

    #[test]
    fn what_a_header_or_an_alias_names_must_be_there() {
        let file = "-- provides: table t\n-- partitions: t\nCREATE TABLE IF NOT EXISTS t (a int);";
        let files = [
            ("0001_t.up.sql", file),
            ("0001_t.down.sql", "DROP TABLE t;"),
        ];
        let error = Catalogue::from_files("test", files, "").unwrap_err();
        assert_eq!(
            error.to_string(),
            "migrations: 0001_t.up.sql: it declares `partitions: t`, and no file provides function ensure_t_partitions"
        );
        let plain = file.replace("-- partitions: t\n", "");
        let files = [("0001_t.up.sql", plain.as_str()), files[1]];
        let aliased = Catalogue::from_files("test", files, "[aliases]\nold = \"u\"\n").unwrap();
        let error = aliased.with_shapes("{}").unwrap_err();
        assert!(
            error.to_string().contains("alias `old` stands for `u`"),
            "{error}"
        );
    }
}
