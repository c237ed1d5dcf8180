//! Nothing green about nothing, and a way on from what was found.

use migrator::{Error, apply, drift, plan, verify};

use crate::{fresh, goose, run, value};

const TABLES: &str = "-- +goose Up\nCREATE TABLE t (a int);\n-- +goose Down\nDROP TABLE t;\n";

#[tokio::test]
async fn a_team_s_tables_are_looked_for_and_one_that_was_dropped_is_made_again() {
    let (database, config) = fresh().await;
    let config = config.catalogue(goose(&[
        ("1_t.sql", TABLES),
        ("2_b.sql", "-- +goose Up\nALTER TABLE t ADD b int;\n"),
    ]));
    let error = verify(&config).await.unwrap_err();
    assert!(
        matches!(&error, Error::MissingTable { again, .. } if again.is_empty()),
        "{error}"
    );
    apply(&config).await.unwrap();
    assert_eq!(verify(&config).await.unwrap().tables, ["t"]);
    run(&database, "DROP TABLE t").await;
    let Error::MissingTable { again, .. } = verify(&config).await.unwrap_err() else {
        panic!("the table is gone")
    };
    assert_eq!(again, ["1_t", "2_b"]);
    assert_eq!(
        apply(&config.clone().again(again))
            .await
            .unwrap()
            .applied
            .len(),
        2
    );
    verify(&config).await.unwrap();
    assert_eq!(
        value(
            &database,
            "SELECT count(*) FROM information_schema.columns WHERE table_name = 't'"
        )
        .await,
        "2"
    );
}

#[tokio::test]
async fn what_compares_nothing_says_so() {
    let (_database, config) = fresh().await;
    let config = config.catalogue(goose(&[("1_s.sql", "-- +goose Up\nSELECT 1;\n")]));
    let error = verify(&config).await.unwrap_err();
    assert!(
        matches!(&error, Error::Pending { migration, .. } if migration == "1_s"),
        "{error}"
    );
    apply(&config).await.unwrap();
    let error = verify(&config).await.unwrap_err();
    assert!(matches!(error, Error::NothingToCompare { .. }), "{error}");
    let error = drift(&config).await.unwrap_err();
    assert!(matches!(error, Error::NothingToCompare { .. }), "{error}");
}

#[tokio::test]
async fn a_file_that_comes_late_is_told() {
    let (_database, config) = fresh().await;
    let third = ("3_c.sql", "-- +goose Up\nSELECT 3;\n");
    let first = ("1_a.sql", "-- +goose Up\nSELECT 1;\n");
    apply(&config.clone().catalogue(goose(&[first, third])))
        .await
        .unwrap();
    let late = config.catalogue(goose(&[
        first,
        ("2_b.sql", "-- +goose Up\nSELECT 2;\n"),
        third,
    ]));
    assert_eq!(plan(&late).await.unwrap().warnings.len(), 1);
    let report = apply(&late).await.unwrap();
    assert_eq!(
        report.warnings,
        ["2_b.sql comes before 3_c, which is applied already: it runs after it"]
    );
}

#[tokio::test]
async fn the_hash_of_a_plan_covers_all_that_runs() {
    let (_database, config) = fresh().await;
    let hash = async |files: &[(&str, &str)]| {
        plan(&config.clone().catalogue(goose(files)))
            .await
            .unwrap()
            .hash
    };
    let base = hash(&[("1_t.sql", TABLES)]).await;
    assert_eq!(base, hash(&[("1_t.sql", TABLES)]).await);
    assert_ne!(
        base,
        hash(&[("1_t.sql", &format!("-- +goose NO TRANSACTION\n{TABLES}"))]).await
    );
    assert_ne!(
        base,
        hash(&[(
            "1_t.sql",
            &TABLES.replace("DROP TABLE t", "DROP TABLE t CASCADE")
        )])
        .await
    );
    assert_ne!(
        base,
        hash(&[
            ("1_t.sql", TABLES),
            ("2_u.sql", "-- +goose Up\nSELECT 1;\n")
        ])
        .await
    );
}

#[tokio::test]
async fn an_approved_plan_is_compared_again_under_the_lock() {
    let (database, config) = fresh().await;
    let first = ("1_t.sql", TABLES);
    let config = config.catalogue(goose(&[
        first,
        (
            "2_u.sql",
            "-- +goose NO TRANSACTION\n-- +goose Up\nCREATE TABLE u (a int);\n",
        ),
    ]));
    apply(&config.clone().catalogue(goose(&[first])))
        .await
        .unwrap();
    let approved = plan(&config).await.unwrap();
    assert_eq!(approved.steps.len(), 1);
    let holder = database.connect().await;
    // The engine's own lock class, and the key of the migrations.
    let class = i32::from_be_bytes(*b"MIGR");
    holder
        .batch_execute(&format!("SELECT pg_advisory_lock({class}, {class})"))
        .await
        .unwrap();
    let waiting = config.clone().only_plan(&approved.hash);
    let waiting = tokio::spawn(async move { apply(&waiting).await });
    while value(&database, "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'advisory' AND datname = current_database()").await == "0" {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    holder
        .batch_execute(
            "DROP TABLE t; UPDATE schema_ledger SET reverted_at = now() WHERE id = '1_t'",
        )
        .await
        .unwrap();
    holder
        .batch_execute(&format!("SELECT pg_advisory_unlock({class}, {class})"))
        .await
        .unwrap();
    let error = waiting.await.unwrap().unwrap_err();
    assert!(matches!(error, Error::PlanChanged { .. }), "{error}");
    assert_eq!(
        value(
            &database,
            "SELECT to_regclass('t') IS NULL AND to_regclass('u') IS NULL"
        )
        .await,
        "t"
    );
}
