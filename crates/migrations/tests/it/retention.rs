//! Whole months past their retention leave the table, and nothing else does.

use std::time::Duration;

use migrations::{Config, Error, MonthState, ensure_partitions, retire, retire_plan, verify};
use testkit::postgres::{Database, database};

use crate::{run, value};

/// A month each: an event past its retention, one kept longer beside such a one, one kept for ever, a held one, and none.
const EVENTS: &str = "
    SELECT ensure_audit_events_partitions('2020-02-15', 0), ensure_audit_events_partitions('2020-04-15', 0);
    SELECT ensure_audit_events_partitions('2020-05-15', 0);
    INSERT INTO audit_events (event_timestamp, event_date, event_type, event_category, event_action, event_outcome,
        actor_type, actor_id, resource_type, resource_id, correlation_id, event_data, retention_days)
    SELECT day, day, 't', 'c', 'a', 'success', 'x', 'x', 'r', 'r', correlation_id, '{}', days
    FROM (VALUES ('2020-01-05'::date, 'past', 90), ('2020-02-05', 'short', 90), ('2020-02-06', 'long', 20000),
        ('2020-03-05', 'ever', NULL), ('2020-04-05', 'court', 90)) AS event (day, correlation_id, days);
    INSERT INTO audit_retention_holds (correlation_id, reason) VALUES ('court', 'case 7')";

async fn filled() -> (Database, Config) {
    let database = database("datastorage").await;
    run(&database, EVENTS).await;
    let config = Config::new(database.url())
        .profile("datastorage")
        .deadline(Duration::from_mins(1));
    (database, config)
}

fn states(retirement: &migrations::Retirement) -> Vec<(&str, MonthState)> {
    let months = retirement
        .months
        .iter()
        .filter(|month| month.partition.starts_with("audit_events_y2020"));
    months
        .map(|month| {
            (
                month.partition.trim_start_matches("audit_events_y"),
                month.state,
            )
        })
        .collect()
}

#[tokio::test]
async fn a_month_past_its_retention_is_detached_with_its_rows_and_others_stay() {
    let (database, config) = filled().await;
    let expected = |first| {
        vec![
            ("2020m01", first),
            ("2020m02", MonthState::Kept),
            ("2020m03", MonthState::Kept),
            ("2020m04", MonthState::Held),
            ("2020m05", MonthState::Kept),
        ]
    };
    // An empty month is kept as long as one with an event of the default retention.
    let planned = retire_plan(&config).await.unwrap();
    let empty = planned
        .months
        .iter()
        .find(|month| month.partition.ends_with("2020m05"))
        .unwrap();
    assert_eq!(empty.kept_until, "2027-05-30");
    assert_eq!(states(&planned), expected(MonthState::Due));
    assert_eq!(
        value(&database, "SELECT count(*) FROM audit_events").await,
        "5",
        "a plan changes nothing"
    );

    assert_eq!(
        states(&retire(&config).await.unwrap()),
        expected(MonthState::Retired)
    );
    assert_eq!(
        value(&database, "SELECT count(*) FROM audit_events").await,
        "4"
    );
    assert_eq!(
        value(
            &database,
            "SELECT correlation_id FROM audit_events_y2020m01"
        )
        .await,
        "past"
    );
    assert_eq!(
        states(&retire(&config).await.unwrap()),
        expected(MonthState::Retired)[1..]
    );
    verify(&config).await.unwrap();

    // Nobody attaches it again.
    let made = value(
        &database,
        "SELECT count(*) FROM ensure_audit_events_partitions('2020-01-15', 0)",
    )
    .await;
    assert_eq!(made, "1", "only the month before");
    assert_eq!(
        value(&database, "SELECT count(*) FROM audit_events").await,
        "4"
    );
}

#[tokio::test]
async fn a_hold_that_is_released_holds_no_longer() {
    let (database, config) = filled().await;
    retire(&config).await.unwrap();
    run(
        &database,
        "UPDATE audit_retention_holds SET released_at = now()",
    )
    .await;
    let planned = retire(&config).await.unwrap();
    let retired: Vec<&str> = planned
        .in_state(MonthState::Retired)
        .map(|month| month.partition.as_str())
        .collect();
    assert_eq!(retired, ["audit_events_y2020m04"]);
}

#[tokio::test]
async fn a_month_in_use_is_left_and_said() {
    let (database, config) = filled().await;
    let mut other = database.connect().await;
    let reading = other.transaction().await.unwrap();
    reading
        .batch_execute("SELECT count(*) FROM audit_events")
        .await
        .unwrap();
    assert_eq!(
        states(&retire(&config).await.unwrap())[0],
        ("2020m01", MonthState::Busy)
    );
    reading.commit().await.unwrap();
    assert_eq!(
        states(&retire(&config).await.unwrap())[0],
        ("2020m01", MonthState::Retired)
    );
}

#[tokio::test]
async fn a_hold_that_comes_after_the_plan_is_seen_behind_the_lock() {
    let (database, _config) = filled().await;
    run(
        &database,
        "INSERT INTO audit_retention_holds (correlation_id, reason) VALUES ('past', 'case 8')",
    )
    .await;
    let retired = value(
        &database,
        "SELECT retire_audit_events_partition('audit_events_y2020m01')",
    )
    .await;
    assert_eq!(retired, "f");
    assert_eq!(
        value(&database, "SELECT count(*) FROM audit_events").await,
        "5"
    );
}

#[tokio::test]
async fn a_database_without_the_retention_says_what_it_lacks() {
    let database = database("gateway").await;
    let config = Config::new(database.url()).profile("gateway");
    let error = retire(&config).await.unwrap_err();
    assert!(
        matches!(error, Error::MissingTable { .. })
            && error.to_string().contains("retire_<table>_partition"),
        "{error}"
    );
    ensure_partitions(&config).await.unwrap();
}
