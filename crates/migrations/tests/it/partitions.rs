//! The months around today, made by whoever looks first.

use migrations::{Config, ensure_partitions};
use testkit::postgres::database;

use crate::{INSERT_EVENT, run, value};

const COUNT: &str = "SELECT count(*) FROM pg_inherits WHERE inhparent = 'audit_events'::regclass";

#[tokio::test]
async fn a_missing_month_is_created_again_and_only_that() {
    let database = database("audit").await;
    let config = Config::new(database.url()).profile("audit");
    assert_eq!(
        ensure_partitions(&config).await.unwrap(),
        Vec::<String>::new()
    );
    let month = value(
        &database,
        "SELECT 'audit_events_y' || to_char(now() AT TIME ZONE 'UTC', 'YYYY\"m\"MM')",
    )
    .await;
    run(&database, &format!("DROP TABLE {month}")).await;
    // The run with nothing else to do notices as well.
    let report = migrations::apply(&config).await.unwrap();
    assert_eq!(report.partitions, [month]);
}

#[tokio::test]
async fn months_cross_the_year_and_know_nothing_of_time_zones() {
    let database = database("audit").await;
    let sql = "SET timezone = 'Pacific/Kiritimati'; SELECT string_agg(name, ' ') FROM ensure_audit_events_partitions('2030-11-30 23:59:59+00', 3) AS name";
    let made = value(&database, sql).await;
    assert_eq!(
        made,
        "audit_events_y2030m10 audit_events_y2030m11 audit_events_y2030m12 audit_events_y2031m01 audit_events_y2031m02"
    );
    let bound = value(&database, "SELECT pg_get_expr(relpartbound, oid) FROM pg_class WHERE relname = 'audit_events_y2030m12'").await;
    assert_eq!(bound, "FOR VALUES FROM ('2030-12-01') TO ('2031-01-01')");
}

#[tokio::test]
async fn a_month_that_another_name_covers_is_left_alone() {
    let database = database("audit").await;
    run(&database, "CREATE TABLE by_hand PARTITION OF audit_events FOR VALUES FROM ('2040-02-01') TO ('2040-03-01')").await;
    let made = value(
        &database,
        "SELECT count(*) FROM ensure_audit_events_partitions('2040-02-10', 0)",
    )
    .await;
    assert_eq!(made, "1", "only the month before");
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_calls_create_each_month_once() {
    let database = database("audit").await;
    let before: u32 = value(&database, COUNT).await.parse().unwrap();
    let url = database.url().to_owned();
    let looks: Vec<_> = (0..12)
        .map(|_| {
            let url = url.clone();
            tokio::spawn(async move {
                let client = testkit::postgres::connect(&url).await;
                client
                    .batch_execute("SELECT ensure_audit_events_partitions('2050-06-01', 3)")
                    .await
            })
        })
        .collect();
    for look in looks {
        look.await.unwrap().unwrap();
    }
    assert_eq!(value(&database, COUNT).await, (before + 5).to_string());
}

#[tokio::test]
async fn making_partitions_does_not_wait_for_writers() {
    let database = database("audit").await;
    let mut client = database.connect().await;
    let writer = client.transaction().await.unwrap();
    writer.batch_execute(INSERT_EVENT).await.unwrap();
    // The function gives up after 5 s if it has to wait.
    assert_eq!(
        value(
            &database,
            "SELECT count(*) FROM ensure_audit_events_partitions('2060-06-01', 0)"
        )
        .await,
        "2"
    );
    writer.commit().await.unwrap();
}

#[tokio::test]
async fn a_month_that_was_detached_stays_so() {
    let database = database("audit").await;
    let config = Config::new(database.url()).profile("audit");
    let month = value(&database, "SELECT 'audit_events_y' || to_char(now() AT TIME ZONE 'UTC' + interval '2 months', 'YYYY\"m\"MM')").await;
    run(
        &database,
        &format!("ALTER TABLE audit_events DETACH PARTITION {month}"),
    )
    .await;
    assert_eq!(
        ensure_partitions(&config).await.unwrap(),
        Vec::<String>::new()
    );
    let attached = format!("SELECT relispartition FROM pg_class WHERE relname = '{month}'");
    assert_eq!(value(&database, &attached).await, "f");
}

#[tokio::test]
async fn a_partition_of_another_width_covers_the_months_that_it_reaches_into() {
    let database = database("audit").await;
    run(&database, "CREATE TABLE a_quarter PARTITION OF audit_events FOR VALUES FROM ('2040-01-01') TO ('2040-04-01')").await;
    run(&database, "CREATE TABLE ten_days PARTITION OF audit_events FOR VALUES FROM ('2040-05-10') TO ('2040-05-20')").await;
    let made = value(
        &database,
        "SELECT string_agg(name, ' ') FROM ensure_audit_events_partitions('2040-02-10', 4) AS name",
    )
    .await;
    assert_eq!(made, "audit_events_y2040m04 audit_events_y2040m06");
}

#[tokio::test]
async fn under_repeatable_read_what_another_made_meanwhile_is_no_error() {
    let database = database("audit").await;
    let client = database.connect().await;
    client
        .batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM audit_events")
        .await
        .unwrap();
    run(
        &database,
        "SELECT ensure_audit_events_partitions('2070-06-01', 0)",
    )
    .await;
    let rows = client
        .query(
            "SELECT ensure_audit_events_partitions('2070-06-01', 1)",
            &[],
        )
        .await
        .unwrap();
    let made: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    assert_eq!(made, ["audit_events_y2070m07"]);
    client.batch_execute("COMMIT").await.unwrap();
}

#[tokio::test]
async fn a_login_that_is_not_the_owner_makes_no_month_far_from_now() {
    let database = database("audit").await;
    let login = format!("far_{}", database.name());
    let sql = format!("CREATE ROLE {login} LOGIN PASSWORD 'secret' IN ROLE datastorage_app");
    run(&database, &sql).await;
    let (_, rest) = database.url().split_once('@').unwrap();
    let client = testkit::postgres::connect(&format!("postgres://{login}:secret@{rest}")).await;
    let error = client
        .batch_execute("SELECT ensure_audit_events_partitions('2090-01-01', 0)")
        .await
        .unwrap_err();
    assert_eq!(
        error.code().map(tokio_postgres::error::SqlState::code),
        Some("22023")
    );
    client
        .batch_execute("SELECT ensure_audit_events_partitions(now() + interval '6 months', 0)")
        .await
        .unwrap();
    drop(client);
    run(&database, &format!("DROP ROLE {login}")).await;
}
