//! One migration, and the objects of a schema that it declares.

use std::fmt;

use serde::Serialize;

use crate::sql::Effects;

/// What kind of object a migration declares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ObjectKind {
    /// A table or a partition.
    Table,
    /// A function; its name is unique, as the schema overloads none.
    Function,
    /// An index that not everybody who has its table needs: no part of the table's shape, and selected by its own name.
    Index,
    /// A view.
    View,
}

impl ObjectKind {
    /// Every kind, with the word that a header has for it.
    pub(crate) const ALL: [(&'static str, Self); 4] = [
        ("table", Self::Table),
        ("function", Self::Function),
        ("index", Self::Index),
        ("view", Self::View),
    ];
}

/// A declared object of the schema, without its schema name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Object {
    /// What it is.
    pub kind: ObjectKind,
    /// Unquoted name.
    pub name: String,
}

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = ObjectKind::ALL.iter().find(|(_, kind)| *kind == self.kind);
        write!(f, "{} {}", word.map_or("", |(word, _)| word), self.name)
    }
}

/// How a migration's statements meet transactions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// All statements and the ledger's row in one transaction.
    Transaction,
    /// A step per statement, its progress kept in the ledger.
    Steps,
}

/// One migration, as its files say.
#[derive(Clone, Debug)]
pub struct Migration {
    /// Name in the ledger: the file's name without number and suffix.
    pub id: String,
    /// Name of the up file, for messages.
    pub file: String,
    /// Identities of the migrations that must have run before.
    pub requires: Vec<String>,
    /// Objects whose shape it makes or changes.
    pub provides: Vec<Object>,
    /// Transaction or steps.
    pub mode: Mode,
    /// SQL that applies it.
    pub up: String,
    /// SQL that reverts it, unless it is irreversible.
    pub down: Option<String>,
    /// Why it cannot be reverted.
    pub irreversible: Option<String>,
    /// Table whose partitions are kept ahead of the clock by the function `ensure_<table>_partitions`.
    pub partitions: Option<String>,
    /// SHA-256, in hexadecimal, of the up file's tokens: comments, white space and line ends do not count.
    pub checksum: String,
    /// Line of the file on which `up` begins, counted from 0.
    pub(crate) first_line: usize,
    /// What sending `up` must take care of.
    pub(crate) effects: Effects,
}

impl Migration {
    /// Name of the file that holds `down`.
    pub(crate) fn down_file(&self) -> String {
        match self.file.strip_suffix(".up.sql") {
            Some(stem) => format!("{stem}.down.sql"),
            None => self.file.clone(),
        }
    }
}
