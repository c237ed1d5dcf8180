//! Reads the shape of objects, as PostgreSQL itself prints it, and checks it inside a migration's transaction.

use tokio_postgres::SimpleQueryRow;

use crate::catalogue::Catalogue;
use crate::error::Error;
use crate::history::Shapes;
use crate::names::Names;
use crate::rows::text;
use crate::session::Session;
use crate::sql::{identifier, literal};

const QUERY: &str = include_str!("shape.sql");
/// Begins the text of the error by which the server reports that a shape differs.
const MARK: &str = "schema drift: ";

/// Shapes of `objects` as they are in the database; `catalogue` says which indexes are objects of their own.
pub async fn read(
    session: &Session,
    catalogue: &Catalogue,
    objects: &[String],
) -> Result<Shapes, Error> {
    let names: Vec<String> = objects.iter().map(|object| literal(object)).collect();
    let query =
        query(session.names(), catalogue).replace("$1", &format!("ARRAY[{}]", names.join(", ")));
    let sets = session.query("reading the catalogues", &query).await?;
    Ok(from_rows(sets.iter().flatten()))
}

fn query(names: &Names, catalogue: &Catalogue) -> String {
    let role = names.role.as_deref();
    let own = catalogue.own_indexes().into_iter().map(literal);
    let indexes = format!("ARRAY[{}]::text[]", own.collect::<Vec<_>>().join(", "));
    QUERY
        .replace("{indexes}", &indexes)
        .replace("{schema}", &literal(&identifier(&names.schema)))
        .replace("{role}", &role.map_or_else(|| "NULL".to_owned(), literal))
}

fn from_rows<'a>(rows: impl Iterator<Item = &'a SimpleQueryRow>) -> Shapes {
    let mut shapes = Shapes::new();
    for row in rows {
        shapes
            .entry(text(row, 0))
            .or_default()
            .insert(text(row, 1), text(row, 2));
    }
    shapes
}

/// Prepares [`check`] for a session: planning the query of the catalogues once is most of its cost.
pub(crate) fn prepare(names: &Names, catalogue: &Catalogue) -> String {
    let query = query(names, catalogue);
    // A cast that cannot succeed is the one way to fail inside a plain SELECT; the text carries what was found.
    format!(
        "PREPARE schema_shape(text[], jsonb) AS WITH part AS ({query}), \
         found AS (SELECT coalesce(jsonb_object_agg(object, parts), '{{}}') AS shapes FROM \
         (SELECT object, jsonb_object_agg(part, shape) AS parts FROM part GROUP BY object) AS by_object) \
         SELECT CASE WHEN shapes = $2 THEN 0 ELSE ('{MARK}' || shapes::text)::integer END FROM found"
    )
}

/// The statement that fails, inside the migration's transaction, unless the objects have these shapes.
pub(crate) fn check(expected: &Shapes) -> String {
    let names: Vec<String> = expected.keys().map(|object| literal(object)).collect();
    let json = serde_json::to_string(expected).unwrap_or_default();
    format!(
        "EXECUTE schema_shape(ARRAY[{}], {})",
        names.join(", "),
        literal(&json)
    )
}

/// What [`check`] found, if `message` is its failure.
pub(crate) fn found(message: &str) -> Option<Shapes> {
    let (_, json) = message.split_once(MARK)?;
    serde_json::Deserializer::from_str(json)
        .into_iter()
        .next()?
        .ok()
}

#[cfg(test)]
mod tests {
    use super::found;
    use crate::history::Shapes;

    fn shapes(json: &str) -> Shapes {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn what_was_found_is_read_from_the_servers_words() {
        let message = r#"invalid input syntax for type integer: "schema drift: {"table t": {"kind": "table"}}""#;
        assert_eq!(
            found(message),
            Some(shapes(r#"{"table t": {"kind": "table"}}"#))
        );
        assert_eq!(found("division by zero"), None);
    }
}
