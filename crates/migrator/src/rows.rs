//! Rows as the simple protocol gives them: text by position.

use tokio_postgres::SimpleQueryRow;

/// Rows of one statement.
pub type Rows = Vec<SimpleQueryRow>;

/// A column as text; empty for null.
pub fn text(row: &SimpleQueryRow, column: usize) -> String {
    row.get(column).unwrap_or_default().to_owned()
}

/// The rows whose first column has this name.
pub(crate) fn named<'a>(sets: &'a [Rows], name: &str) -> Option<&'a [SimpleQueryRow]> {
    let named = |row: &SimpleQueryRow| {
        row.columns()
            .first()
            .is_some_and(|column| column.name() == name)
    };
    sets.iter()
        .find(|rows| rows.first().is_some_and(named))
        .map(Vec::as_slice)
}
