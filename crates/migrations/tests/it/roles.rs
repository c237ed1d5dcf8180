//! The application's role, where the login that migrates is no superuser, or the role came later.

use migrations::{Config, Error, apply, verify};
use testkit::postgres::{connect, empty_database_on, own_server, value};

use crate::{fresh, run};

/// The server's major version, and what its logins need to take a role.
async fn may_take(client: &tokio_postgres::Client) -> &'static str {
    let row = client
        .query_one("SELECT current_setting('server_version_num')::integer", &[])
        .await
        .unwrap();
    if row.get::<_, i32>(0) < 160_000 {
        "MEMBER"
    } else {
        "SET"
    }
}

/// The same URL for another login.
fn as_login(url: &str, login: &str) -> String {
    let (_, rest) = url.split_once('@').unwrap();
    format!("postgres://{login}:secret@{rest}")
}

/// A role belongs to the server, so each test that makes one has its own.
#[tokio::test]
async fn an_owner_who_may_create_roles_can_take_the_applications_role_afterwards() {
    let server = own_server(embedded_postgres::Options::default()).await;
    let database = empty_database_on(&server).await;
    let admin = database.connect().await;
    let sql = format!(
        "CREATE ROLE owner1 LOGIN CREATEROLE PASSWORD 'secret'; ALTER DATABASE \"{}\" OWNER TO owner1",
        database.name()
    );
    admin.batch_execute(&sql).await.unwrap();
    let config = Config::new(as_login(database.url(), "owner1")).profile("gateway");
    let report = apply(&config).await.unwrap();
    assert_eq!(report.warnings, Vec::<String>::new());
    let owner = connect(&as_login(database.url(), "owner1")).await;
    owner
        .batch_execute("SET ROLE datastorage_app; SELECT count(*) FROM audit_events")
        .await
        .unwrap();
    let refused = owner.batch_execute("DELETE FROM audit_events").await;
    assert!(refused.is_err(), "append-only");

    // Another owner on the same server found the role there, and may not give it to himself from PostgreSQL 16 on.
    let second = empty_database_on(&server).await;
    let sql = format!(
        "CREATE ROLE owner2 LOGIN PASSWORD 'secret'; ALTER DATABASE \"{}\" OWNER TO owner2",
        second.name()
    );
    admin.batch_execute(&sql).await.unwrap();
    let config = Config::new(as_login(second.url(), "owner2")).profile("gateway");
    for expected in [3, 0] {
        let report = apply(&config).await.unwrap();
        assert_eq!(report.applied.len(), expected);
        let [warning] = report.warnings.as_slice() else {
            panic!("{:?}", report.warnings)
        };
        assert!(
            warning.contains("run `GRANT \"datastorage_app\" TO \"owner2\"` as a superuser"),
            "{warning}"
        );
    }
    admin
        .batch_execute("GRANT \"datastorage_app\" TO \"owner2\"")
        .await
        .unwrap();
    assert_eq!(apply(&config).await.unwrap().warnings, Vec::<String>::new());
    let row = admin
        .query_one(
            &format!(
                "SELECT pg_has_role('owner2', 'datastorage_app', '{}')",
                may_take(&admin).await
            ),
            &[],
        )
        .await
        .unwrap();
    assert!(row.get::<_, bool>(0));
}

#[tokio::test]
async fn a_role_that_was_made_later_gets_its_privileges_from_the_next_run() {
    let server = own_server(embedded_postgres::Options::default()).await;
    let database = empty_database_on(&server).await;
    let admin = database.connect().await;
    let sql = format!(
        "CREATE ROLE owner1 LOGIN PASSWORD 'secret'; ALTER DATABASE \"{}\" OWNER TO owner1",
        database.name()
    );
    admin.batch_execute(&sql).await.unwrap();
    let config = Config::new(as_login(database.url(), "owner1")).profile("datastorage");
    let report = apply(&config).await.unwrap();
    assert!(
        report
            .warnings
            .iter()
            .any(|warning| warning.contains("cannot be created")),
        "{:?}",
        report.warnings
    );

    admin
        .batch_execute("CREATE ROLE datastorage_app NOLOGIN; GRANT datastorage_app TO owner1")
        .await
        .unwrap();
    let error = verify(&config).await.unwrap_err();
    assert!(matches!(error, Error::Drift { .. }), "{error}");
    let report = apply(&config).await.unwrap();
    assert_eq!((report.applied.len(), report.warnings), (0, Vec::new()));
    verify(&config).await.unwrap();
    admin
        .batch_execute("SET ROLE datastorage_app; SELECT count(*) FROM schema_ledger; SELECT ensure_audit_events_partitions()")
        .await
        .unwrap();
}

#[tokio::test]
async fn a_privilege_that_was_taken_away_comes_back_with_the_next_run() {
    let (database, config) = fresh().await;
    let config = config.profile("datastorage");
    apply(&config).await.unwrap();
    run(
        &database,
        "REVOKE INSERT ON notification_audit FROM datastorage_app",
    )
    .await;
    assert_eq!(apply(&config).await.unwrap().applied.len(), 0);
    let may = "SELECT has_table_privilege('datastorage_app', 'notification_audit', 'INSERT')";
    assert_eq!(value(&database, may).await, "t");
    verify(&config).await.unwrap();
}
