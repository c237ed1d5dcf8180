//! What a file does to its session is gone for the next one; unqualified names are those of the database.

use migrator::{Config, apply};

use crate::{files, fresh, goose, run, value};

/// Files that change something, each with a query that the next file must answer as if it had been alone.
const CHANGES: [(&str, &str); 12] = [
    ("SET ROLE team", "current_user"),
    ("SET SESSION AUTHORIZATION team", "session_user"),
    ("SET search_path = app", "current_setting('search_path')"),
    (
        "SELECT set_config('search_path', '', false)",
        "current_setting('search_path')",
    ),
    (
        "SET default_tablespace = 'pg_default'",
        "current_setting('default_tablespace')",
    ),
    (
        "SET check_function_bodies = off",
        "current_setting('check_function_bodies')",
    ),
    ("SET row_security = off", "current_setting('row_security')"),
    ("SET lock_timeout = 1", "current_setting('lock_timeout')"),
    ("SET standard_conforming_strings = off", "length('a\\nb')"),
    ("SET timezone = 'Asia/Tokyo'", "current_setting('timezone')"),
    (
        "DO 'BEGIN SET my.tenant = 7; END'",
        "current_setting('my.tenant', true)",
    ),
    ("RESET ALL", "current_setting('lock_timeout')"),
];

#[tokio::test]
async fn what_a_file_changes_is_as_it_was_for_the_next_one() {
    for (change, query) in CHANGES {
        let seen = |name| {
            format!(
                "-- +goose Up\nCREATE TABLE {name} AS SELECT coalesce(nullif({query}::text, ''), 'nothing') AS seen;\n"
            )
        };
        let (alone, after) = (seen("alone"), seen("after"));
        let (database, config) = fresh().await;
        run(&database, "CREATE SCHEMA app; DROP ROLE IF EXISTS team; CREATE ROLE team; GRANT ALL ON SCHEMA public TO team").await;
        let change = format!("-- +goose Up\n{change};\n");
        let catalogue = goose(&[
            ("1_alone.sql", &alone),
            ("2_change.sql", &change),
            ("3_after.sql", &after),
        ]);
        let report = apply(&config.catalogue(catalogue))
            .await
            .unwrap_or_else(|error| panic!("{change}: {error}"));
        assert_eq!(report.applied.len(), 3);
        assert_eq!(
            value(
                &database,
                "SELECT (SELECT seen FROM public.alone) = (SELECT seen FROM public.after)"
            )
            .await,
            "t",
            "{change}"
        );
        run(&database, "DROP OWNED BY team; DROP ROLE team").await;
    }
}

#[tokio::test]
async fn what_a_file_defers_happens_under_its_own_settings() {
    let (database, config) = fresh().await;
    run(
        &database,
        "DROP ROLE IF EXISTS deferring; CREATE ROLE deferring",
    )
    .await;
    let file = "-- +goose Up\nCREATE SCHEMA app;\nSET search_path = app;\nCREATE TABLE t (a int);\nCREATE TABLE log (a text);\n\
        CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN\n\
          INSERT INTO log VALUES (current_setting('search_path') || ' as ' || current_user); RETURN NULL; END $$;\n\
        CREATE CONSTRAINT TRIGGER later AFTER INSERT ON t DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION f();\n\
        GRANT USAGE ON SCHEMA app TO deferring;\nGRANT INSERT ON t, log TO deferring;\nSET ROLE deferring;\nINSERT INTO t VALUES (1);\n";
    apply(&config.catalogue(goose(&[("1_t.sql", file)])))
        .await
        .unwrap();
    assert_eq!(
        value(&database, "SELECT a FROM app.log").await,
        "app as deferring"
    );
    run(&database, "DROP OWNED BY deferring; DROP ROLE deferring").await;
}

#[tokio::test]
async fn the_search_path_of_the_database_is_where_a_teams_tables_go() {
    let (database, _) = fresh().await;
    let name = database.name().to_owned();
    run(
        &database,
        &format!("CREATE SCHEMA app; ALTER DATABASE \"{name}\" SET search_path = app, public"),
    )
    .await;
    let catalogue = goose(&[
        (
            "001_t.sql",
            "-- +goose Up\nCREATE TABLE t (a int);\n-- +goose Down\nDROP TABLE t;\n",
        ),
        (
            "002_set.sql",
            "-- +goose Up\nSET search_path = public;\nCREATE TABLE u (a int);\n",
        ),
        ("003_v.sql", "-- +goose Up\nCREATE TABLE v (a int);\n"),
        (
            "004_i.sql",
            "-- +goose NO TRANSACTION\n-- +goose Up\nCREATE INDEX CONCURRENTLY i ON v (a);\n",
        ),
    ]);
    let config = Config::new(database.url(), catalogue.clone());
    apply(&config).await.unwrap();
    let placed = "SELECT concat_ws(',', to_regclass('app.t'), to_regclass('public.u'), to_regclass('app.v'), to_regclass('app.i'), \
                  to_regclass('public.schema_ledger')) FROM set_config('search_path', '', false)";
    assert_eq!(
        value(&database, placed).await,
        "app.t,public.u,app.v,app.i,public.schema_ledger"
    );
    // A schema that the caller chooses is where they go instead.
    let (other, _) = fresh().await;
    run(&other, "CREATE SCHEMA chosen").await;
    apply(&Config::new(other.url(), catalogue).schema("chosen"))
        .await
        .unwrap();
    assert_eq!(value(&other, "SELECT to_regclass('chosen.t') IS NOT NULL AND to_regclass('chosen.schema_ledger') IS NOT NULL").await, "t");
}

#[tokio::test]
async fn files_of_the_own_format_are_in_their_schema_whatever_the_search_path() {
    let (database, _) = fresh().await;
    let name = database.name().to_owned();
    run(
        &database,
        &format!("CREATE SCHEMA app; ALTER DATABASE \"{name}\" SET search_path = app"),
    )
    .await;
    let catalogue = files(&[
        (
            "0001_t.up.sql",
            "-- provides: table t\nCREATE TABLE IF NOT EXISTS t (a int);",
        ),
        ("0001_t.down.sql", "DROP TABLE t;"),
    ]);
    apply(&Config::new(database.url(), catalogue))
        .await
        .unwrap();
    assert_eq!(
        value(&database, "SELECT to_regclass('public.t') IS NOT NULL").await,
        "t"
    );
}

#[tokio::test]
async fn a_database_without_schema_public_takes_a_team_s_files_in_another() {
    let (database, config) = fresh().await;
    run(&database, "DROP SCHEMA public; CREATE SCHEMA app").await;
    let name = value(&database, "SELECT current_database()").await;
    run(
        &database,
        &format!("ALTER DATABASE \"{name}\" SET search_path = app"),
    )
    .await;
    let config = config.catalogue(goose(&[(
        "1_t.sql",
        "-- +goose Up\nCREATE TABLE t (a int);\n-- +goose Down\nDROP TABLE t;\n",
    )]));
    let error = apply(&config).await.unwrap_err();
    assert!(
        error.to_string().contains("name another with `--schema`"),
        "{error}"
    );
    let config = config.schema("app");
    apply(&config).await.unwrap();
    assert_eq!(
        value(&database, "SELECT to_regclass('app.t') IS NOT NULL AND to_regclass('app.schema_ledger') IS NOT NULL").await,
        "t"
    );
    assert_eq!(
        migrator::revert(&config, &migrator::Revert::All)
            .await
            .unwrap()
            .reverted
            .len(),
        1
    );
}

#[tokio::test]
async fn a_file_that_gives_up_the_lock_is_told_from_a_pooler() {
    let (_database, config) = fresh().await;
    let config = config.catalogue(goose(&[(
        "1_t.sql",
        "-- +goose Up\nSELECT pg_advisory_unlock_all();\n",
    )]));
    let error = apply(&config).await.unwrap_err();
    assert!(matches!(error, migrator::Error::LockLost), "{error}");
}
