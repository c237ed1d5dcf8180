//! The shape of an object as PostgreSQL itself describes it, and how two shapes differ (D18).

use std::fmt;

use serde::Serialize;

/// One place in which an object differs from what the migrations make.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The object, such as `table audit_events`.
    pub object: String,
    /// The part of it, such as `columns.event_id`; empty for the whole object.
    pub part: String,
    /// What the migrations make; `None` where they make nothing.
    pub expected: Option<String>,
    /// What is there; `None` where nothing is.
    pub found: Option<String>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = if self.part.is_empty() {
            self.object.clone()
        } else {
            format!("{} {}", self.object, self.part)
        };
        match (&self.expected, &self.found) {
            (Some(expected), Some(found)) => {
                write!(f, "{name}: expected {expected}, found {found}")
            }
            (Some(expected), None) => write!(f, "{name}: missing, expected {expected}"),
            (None, Some(found)) => write!(f, "{name}: unexpected, found {found}"),
            (None, None) => write!(f, "{name}: differs"),
        }
    }
}
