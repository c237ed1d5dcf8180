//! What a run calls its own things is configuration.

use migrator::{Catalogue, Revert, apply, record_shapes, revert, status, verify};

use crate::{fresh, run, value};

const FILES: [(&str, &str); 2] = [
    (
        "0001_orders.up.sql",
        "-- provides: table orders\nCREATE TABLE IF NOT EXISTS orders (id bigint PRIMARY KEY);\n\
         GRANT SELECT ON orders TO \"a shop\";",
    ),
    ("0001_orders.down.sql", "DROP TABLE IF EXISTS orders;"),
];
const ROLE: &str =
    "DO $$ BEGIN CREATE ROLE \"a shop\" NOLOGIN; EXCEPTION WHEN duplicate_object THEN END $$;";

#[tokio::test]
async fn another_schema_ledger_role_and_lock_serve_as_well() {
    let (database, config) = fresh().await;
    let (other, twin) = fresh().await;
    for database in [&database, &other] {
        run(database, "CREATE SCHEMA \"Shop's\"").await;
    }
    let catalogue = Catalogue::from_files("shop", FILES, "")
        .unwrap()
        .with_roles(ROLE);
    let named = |config: migrator::Config| {
        config
            .schema("Shop's")
            .ledger("applied \"here\"")
            .role("a shop")
            .lock_class(7)
    };
    let shapes = record_shapes(&named(twin.catalogue(catalogue.clone())))
        .await
        .unwrap();
    assert!(shapes.contains("grant a shop"), "{shapes}");
    let config = named(config).catalogue(catalogue.with_shapes(&shapes).unwrap());

    let holder = database.connect().await;
    holder
        .batch_execute("SELECT pg_advisory_lock(7, 1296648018)")
        .await
        .unwrap();
    let waiting = apply(&config.clone().deadline(std::time::Duration::from_secs(1))).await;
    assert!(
        matches!(waiting, Err(migrator::Error::LockTimeout { .. })),
        "{waiting:?}"
    );
    drop(holder);

    assert_eq!(apply(&config).await.unwrap().applied.len(), 1);
    assert_eq!(apply(&config).await.unwrap().up_to_date, 1);
    verify(&config).await.unwrap();
    assert!(status(&config).await.unwrap().is_complete());
    let placed = "SELECT to_regclass('\"Shop''s\".orders') IS NOT NULL AND to_regclass('public.orders') IS NULL \
                  AND to_regclass('public.schema_ledger') IS NULL \
                  AND has_table_privilege('a shop', '\"Shop''s\".\"applied \"\"here\"\"\"', 'SELECT') \
                  AND (SELECT count(*) = 1 FROM \"Shop's\".\"applied \"\"here\"\"\")";
    assert_eq!(value(&database, placed).await, "t");

    run(
        &database,
        "ALTER TABLE \"Shop's\".orders ADD COLUMN more integer",
    )
    .await;
    assert!(
        matches!(verify(&config).await, Err(migrator::Error::Drift { .. })),
        "a shape in another schema is compared"
    );
    revert(&config, &Revert::All).await.unwrap();
    assert_eq!(
        value(
            &database,
            "SELECT to_regclass('\"Shop''s\".orders') IS NULL"
        )
        .await,
        "t"
    );
}
