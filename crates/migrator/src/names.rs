//! What a run calls its own things in a database: schema, ledger, role, lock.

use crate::sql::{identifier, literal};

/// Names that a configuration may change.
#[derive(Clone, Debug)]
pub(crate) struct Names {
    /// Where the migrations' objects and the ledger are.
    pub(crate) schema: String,
    /// Whether a caller chose `schema`.
    pub(crate) schema_chosen: bool,
    /// Whether the migrations' unqualified names are those of the database's own search path, unless a schema was chosen; `schema` is
    /// the ledger's alone then.
    pub(crate) own_search_path: bool,
    pub(crate) ledger: String,
    /// The role that the application works as.
    pub(crate) role: Option<String>,
    /// What the names of templates begin with.
    pub(crate) template: String,
    /// The first half of every lock's key.
    pub(crate) lock_class: i32,
}

impl Default for Names {
    fn default() -> Self {
        Self {
            schema: "public".to_owned(),
            schema_chosen: false,
            own_search_path: false,
            ledger: "schema_ledger".to_owned(),
            role: None,
            template: "template".to_owned(),
            lock_class: i32::from_be_bytes(*b"MIGR"),
        }
    }
}

impl Names {
    /// The ledger with its schema, as SQL.
    pub(crate) fn ledger(&self) -> String {
        self.in_schema(&self.ledger)
    }

    /// An object of the schema, as SQL.
    pub(crate) fn in_schema(&self, name: &str) -> String {
        format!("{}.{}", identifier(&self.schema), identifier(name))
    }

    /// The setting that makes unqualified names what the migrations take them for: those of the schema, or of the search path that the
    /// database, the role or the URL gives.
    pub(crate) fn search_path(&self) -> String {
        if self.own_search_path && !self.schema_chosen {
            "search_path = DEFAULT".to_owned()
        } else {
            format!("search_path = {}", identifier(&self.schema))
        }
    }

    /// An expression that is true where the application's role exists.
    pub(crate) fn has_role(&self) -> String {
        self.role.as_deref().map_or_else(
            || "false".to_owned(),
            |role| format!("to_regrole({}) IS NOT NULL", literal(&identifier(role))),
        )
    }

    /// The role whose recorded grants cannot be there, as it does not exist.
    pub(crate) fn absent_role(&self, has_role: bool) -> Option<&str> {
        self.role.as_deref().filter(|_| !has_role)
    }
}
