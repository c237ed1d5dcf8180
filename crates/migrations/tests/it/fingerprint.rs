//! A look at the catalogues of its own, apart from the library's: what two databases must have in common to be the same.

use std::collections::BTreeSet;

use testkit::postgres::Database;

/// Columns without their order, defaults, constraints, indexes, triggers, functions, sequences and grants of the schema. The
/// ledger and what the clock made are left out.
const SQL: &str = r"
WITH relation AS (
    SELECT c.oid, c.relname, c.relkind, c.relacl, c.relpartbound FROM pg_class c
    WHERE c.relnamespace = 'public'::regnamespace AND c.relname NOT LIKE 'schema\_ledger%'
      AND NOT (c.relispartition AND c.relname !~ '_y2025m12|_y2026m01')
)
SELECT 'relation ' || relname || ' ' || relkind::text || coalesce(' ' || pg_get_expr(relpartbound, oid), '') FROM relation
UNION ALL SELECT 'column ' || r.relname || '.' || a.attname || ' ' || format_type(a.atttypid, a.atttypmod) || ' ' || a.attnotnull::text
    || coalesce(' ' || pg_get_expr(d.adbin, d.adrelid), '') || a.attidentity::text
    FROM relation r JOIN pg_attribute a ON a.attrelid = r.oid AND a.attnum > 0 AND NOT a.attisdropped
    LEFT JOIN pg_attrdef d ON d.adrelid = r.oid AND d.adnum = a.attnum WHERE r.relkind IN ('r', 'p')
UNION ALL SELECT 'constraint ' || r.relname || '.' || c.conname || ' ' || pg_get_constraintdef(c.oid)
    FROM relation r JOIN pg_constraint c ON c.conrelid = r.oid WHERE c.contype <> 'n'
UNION ALL SELECT 'index ' || pg_get_indexdef(x.indexrelid) || ' ' || x.indisvalid::text FROM relation r JOIN pg_index x ON x.indrelid = r.oid
UNION ALL SELECT 'trigger ' || pg_get_triggerdef(t.oid) || ' ' || t.tgenabled::text FROM relation r JOIN pg_trigger t ON t.tgrelid = r.oid AND NOT t.tgisinternal
UNION ALL SELECT 'view ' || r.relname || pg_get_viewdef(r.oid) FROM relation r WHERE r.relkind = 'v'
UNION ALL SELECT 'function ' || pg_get_functiondef(p.oid) || coalesce(' ' || p.proacl::text, '') FROM pg_proc p WHERE p.pronamespace = 'public'::regnamespace
UNION ALL SELECT 'comment ' || r.relname || ' ' || d.objsubid || ' ' || d.description FROM relation r
    JOIN pg_description d ON d.objoid = r.oid AND d.classoid = 'pg_class'::regclass
UNION ALL SELECT 'grant ' || r.relname || ' ' || r.relacl::text FROM relation r WHERE r.relacl IS NOT NULL
";

/// One line per fact.
pub(crate) async fn fingerprint(database: &Database) -> BTreeSet<String> {
    database
        .connect()
        .await
        .query(SQL, &[])
        .await
        .unwrap()
        .into_iter()
        .map(|row| row.get(0))
        .collect()
}

/// Fails with the facts that only one of two databases has.
pub(crate) fn assert_same(expected: &BTreeSet<String>, found: &BTreeSet<String>, what: &str) {
    let missing: Vec<&String> = expected.difference(found).collect();
    let further: Vec<&String> = found.difference(expected).collect();
    assert!(
        missing.is_empty() && further.is_empty(),
        "{what}: missing {missing:#?}, further {further:#?}"
    );
}

/// The comparer must see what it is there to see.
#[tokio::test]
async fn two_schemas_that_differ_have_different_fingerprints() {
    let database = testkit::postgres::database("all").await;
    let before = fingerprint(&database).await;
    let client = database.connect().await;
    let changes = [
        "ALTER TABLE audit_events ALTER COLUMN severity SET DEFAULT 'info'",
        "ALTER TABLE audit_events ALTER COLUMN resource_name SET NOT NULL",
        "ALTER TABLE audit_events ADD COLUMN extra integer",
        "DROP INDEX idx_audit_events_event_type",
        "CREATE INDEX another ON audit_events (namespace)",
        "ALTER TABLE notification_audit DROP CONSTRAINT notification_audit_status_check",
        "ALTER TABLE notification_audit DISABLE TRIGGER trg_notification_audit_updated_at",
        "GRANT DELETE ON audit_events TO datastorage_app",
        "ALTER FUNCTION ensure_audit_events_partitions(timestamptz, integer) SECURITY INVOKER",
        "DROP TABLE audit_events_y2025m12",
        "CREATE OR REPLACE VIEW incident_summary_view AS SELECT 'x'::varchar(20) AS severity, 1::bigint AS incident_count",
        "COMMENT ON COLUMN audit_events.event_date IS NULL",
    ];
    for change in changes {
        client
            .batch_execute(&format!("BEGIN; {change}"))
            .await
            .unwrap();
        let rows = client.query(SQL, &[]).await.unwrap();
        let after: BTreeSet<String> = rows.into_iter().map(|row| row.get(0)).collect();
        client.batch_execute("ROLLBACK").await.unwrap();
        assert!(after != before, "not seen: {change}");
    }
}
