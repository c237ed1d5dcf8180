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
