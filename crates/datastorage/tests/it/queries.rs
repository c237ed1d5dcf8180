//! GET pages of audit events.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use testkit::wait::until;

use crate::support::{SOON, Service, audit_database, event, event_at, with};

const EVENTS: &str = "/api/v1/audit/events";

fn ids(page: &Value) -> Vec<String> {
    page["data"]
        .as_array()
        .expect("data")
        .iter()
        .map(|row| row["correlation_id"].as_str().expect("text").to_owned())
        .collect()
}

/// 25 events, a second apart, the highest number the newest; every fifth shares its time with its neighbour.
async fn filled() -> (testkit::postgres::Database, Service) {
    let database = audit_database().await;
    let service = Service::start(database.url()).await;
    let start = Timestamp::now() - SignedDuration::from_secs(3600);
    let batch: Vec<_> = (0..25)
        .map(|n: i64| {
            let time = start + SignedDuration::from_secs(n - i64::from(n % 5 == 4));
            let (category, outcome) = if n % 2 == 0 { ("gateway", "success") } else { ("workflow", "failure") };
            with(event_at(&format!("q-{n:02}"), time), json!({"event_category": category, "event_outcome": outcome, "severity": format!("s{}", n % 3),
                "resource_type": "Pod", "resource_id": format!("pod-{}", n % 4), "actor_type": "service", "actor_id": format!("a-{}", n % 2)}))
        })
        .collect();
    service
        .post("/api/v1/audit/events/batch", &json!(batch))
        .await
        .expect(201);
    (database, service)
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_come_newest_first_with_an_exact_total() {
    let (_database, service) = filled().await;
    let page = service
        .get(&format!("{EVENTS}?limit=10&offset=20"))
        .await
        .expect(200)
        .body;
    assert_eq!(
        page["pagination"],
        json!({"limit": 10, "offset": 20, "total": 25, "has_more": false, "next_cursor": null})
    );
    assert_eq!(ids(&page).len(), 5);
    let page = service.get(EVENTS).await.expect(200).body;
    assert_eq!(
        (
            &page["pagination"]["limit"],
            &page["pagination"]["has_more"]
        ),
        (&json!(50), &json!(false))
    );
    let times: Vec<_> = page["data"]
        .as_array()
        .expect("data")
        .iter()
        .map(|row| {
            (
                row["event_timestamp"]
                    .as_str()
                    .expect("text")
                    .parse::<Timestamp>()
                    .expect("a time"),
                row["event_id"].to_string(),
            )
        })
        .collect();
    assert!(times.is_sorted_by(|a, b| a > b), "{times:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_walks_all_events_once_while_others_are_written() {
    let (_database, service) = filled().await;
    let mut seen = Vec::new();
    let mut path = format!("{EVENTS}?limit=4");
    loop {
        let page = service.get(&path).await.expect(200).body;
        assert_eq!(
            (
                page["pagination"]["total"].as_i64(),
                page["pagination"]["offset"].as_i64()
            ),
            (Some(25), i64::try_from(seen.len()).ok())
        );
        seen.extend(ids(&page));
        service
            .post(EVENTS, &event_at("newer", Timestamp::now()))
            .await
            .expect(201);
        let Some(cursor) = page["pagination"]["next_cursor"].as_str() else {
            break;
        };
        path = format!("{EVENTS}?limit=4&cursor={cursor}");
    }
    assert_eq!(seen.len(), 25);
    assert_eq!(seen.iter().collect::<BTreeSet<_>>().len(), 25);
}

#[tokio::test(flavor = "multi_thread")]
async fn filters_are_combined_with_and() {
    let (_database, service) = filled().await;
    for (query, expected) in [
        ("correlation_id=q-07", 1),
        ("event_category=gateway", 13),
        ("event_category=gateway&event_outcome=failure", 0),
        ("event_outcome=failure&severity=s0", 4),
        ("event_type=workflow.started", 25),
        ("event_type=nosuch", 0),
        ("resource_type=Pod&resource_id=pod-1", 6),
        ("resource_type=Node&resource_id=pod-1", 0),
        ("actor_type=service&actor_id=a-0", 13),
        ("actor_type=service&actor_id=a-0&resource_id=pod-1", 0),
        ("since=24h", 25),
        ("since=30m", 0),
        ("until=30m", 25),
        ("since=1d&until=2026-01-01", 0),
        ("unknown=parameter", 25),
    ] {
        let page = service
            .get(&format!("{EVENTS}?{query}"))
            .await
            .expect(200)
            .body;
        assert_eq!(page["pagination"]["total"], expected, "{query}");
        assert_eq!(
            page["data"].as_array().map(Vec::len),
            Some(expected),
            "{query}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bounds_of_time_are_inclusive() {
    let database = audit_database().await;
    let service = Service::start(database.url()).await;
    let time = Timestamp::from_second(Timestamp::now().as_second() - 60).expect("a time");
    service
        .post(EVENTS, &event_at("edge", time))
        .await
        .expect(201);
    let page = service
        .get(&format!("{EVENTS}?since={time}&until={time}"))
        .await
        .expect(200)
        .body;
    assert_eq!(ids(&page), ["edge"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_parameters_are_named_together() {
    let (_database, service) = filled().await;
    for (query, fields) in [
        (
            "limit=0&offset=-1&event_outcome=banana&since=junk&correlation_id=",
            vec![
                "correlation_id",
                "event_outcome",
                "limit",
                "offset",
                "since",
            ],
        ),
        ("limit=1001", vec!["limit"]),
        ("limit=abc", vec!["limit"]),
        ("cursor=junk", vec!["cursor"]),
        (
            "cursor=1-660bcee56dd6c-019b3109590040008000000000000001-2-1&offset=3",
            vec!["cursor"],
        ),
        ("event_type=%00", vec!["event_type"]),
        ("event_type=%ff", vec!["query"]),
    ] {
        let problem = service
            .get(&format!("{EVENTS}?{query}"))
            .await
            .expect(400)
            .problem();
        assert_eq!(
            problem
                .field_errors
                .iter()
                .map(|(field, _)| field.to_owned())
                .collect::<Vec<_>>(),
            fields,
            "{query}"
        );
    }
    let service = &service;
    let detail = |query: &'static str| async move {
        service
            .get(&format!("{EVENTS}?{query}"))
            .await
            .problem()
            .detail
            .unwrap_or_default()
    };
    assert!(detail("limit=0").await.contains("limit must be at least 1"));
    assert!(
        detail("limit=5000")
            .await
            .contains("limit must be at most 1000")
    );
    assert!(
        detail("offset=-1")
            .await
            .contains("offset must be at least 0")
    );
    assert!(detail("until=junk").await.contains("invalid time format"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_has_every_field_of_the_event() {
    let database = audit_database().await;
    let service = Service::start(database.url()).await;
    let sent = with(
        event_at("whole", Timestamp::now()),
        json!({"actor_type": "external", "actor_id": "prometheus", "resource_type": "Signal", "resource_id": "r-1", "namespace": "default",
            "cluster_name": "c-1", "severity": "critical", "duration_ms": 0}),
    );
    service.post(EVENTS, &sent).await.expect(201);
    let row = &service.get(EVENTS).await.expect(200).body["data"][0];
    for (field, value) in sent.as_object().expect("an object") {
        if field != "event_timestamp" {
            assert_eq!(&row[field], value, "{field}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_that_takes_too_long_is_cancelled_and_is_not_an_outage() {
    let (database, service) = filled().await;
    let client = database.connect().await;
    client
        .batch_execute("BEGIN; LOCK TABLE audit_events IN ACCESS EXCLUSIVE MODE")
        .await
        .expect("locked");
    let problem = service.get(EVENTS).await.expect(503).problem();
    assert_eq!(
        problem.kind,
        Some(datastorage_api::DatabaseErrorKind::Timeout)
    );
    assert_eq!(
        service.metric("datastorage_database_available").await,
        Some(1.0)
    );
    no_statement_waits(&database).await;
    client.batch_execute("ROLLBACK").await.expect("unlocked");
    service.get(EVENTS).await.expect(200);
}

/// Returns when no statement in the database waits for a lock: the one that did was cancelled.
pub(crate) async fn no_statement_waits(database: &testkit::postgres::Database) {
    let other = database.connect().await;
    until("the statement to be cancelled", SOON, async || {
        let waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
        match other.query_one(waiting, &[]).await.expect("a count").get::<_, i64>(0) {
            0 => Ok(()),
            count => Err(format!("{count} statements wait")),
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_large_events_ends_early_and_the_cursor_reaches_them_all() {
    let database = audit_database().await;
    let service = Service::start(database.url()).await;
    service.ready().await;
    let now = Timestamp::now();
    let mut expected = Vec::new();
    for number in 0..70_i64 {
        let time = now - SignedDuration::from_secs(number);
        // One is larger than a page, and that many small ones that a page takes several statements.
        let length = match number {
            7 => 5_000_000,
            3..12 => 700_000,
            _ => 10,
        };
        let data = json!({"event_data": {"number": number, "text": "x".repeat(length)}});
        let large = with(event_at("large", time), data);
        service.post(EVENTS, &large).await.expect(201);
        expected.push(number);
    }
    let mut found = Vec::new();
    let mut next = String::new();
    loop {
        let path = format!("{EVENTS}?correlation_id=large&limit=1000{next}");
        let page = service.get(&path).await.expect(200).body;
        let data = page["data"].as_array().expect("events");
        let bytes: usize = data.iter().map(|event| event.to_string().len()).sum();
        assert!(bytes <= 2 << 20 || data.len() == 1, "{bytes} bytes");
        assert_eq!(page["pagination"]["total"], 70);
        assert_eq!(page["pagination"]["offset"], found.len());
        let numbers = data
            .iter()
            .map(|event| event["event_data"]["number"].as_i64().expect("ours"));
        found.extend(numbers);
        match page["pagination"]["next_cursor"].as_str() {
            Some(cursor) => {
                assert_eq!(page["pagination"]["has_more"], true);
                assert!(!data.is_empty(), "a page with nothing on it leads nowhere");
                next = format!("&cursor={cursor}");
            }
            None => break,
        }
    }
    assert_eq!(found, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_whose_numbers_would_grow_beyond_reading_is_refused() {
    let database = audit_database().await;
    let service = Service::start(database.url()).await;
    let bomb = |count: usize| {
        let event = event("bomb").to_string();
        let numbers = format!("{{\"a\":[{}1]}}", "1e15990,".repeat(count));
        event.replace("{\"phase\":\"Running\"}", &numbers)
    };
    let refused = service
        .post_text(EVENTS, &bomb(10_000))
        .await
        .expect(400)
        .problem();
    assert!(
        refused
            .field_errors
            .iter()
            .any(|(field, _)| field == "event_data"),
        "{refused:?}"
    );
    // What a double holds, so that any reader of JSON reads it.
    let readable = bomb(3000).replace("1e15990", "1e300");
    service.post_text(EVENTS, &readable).await.expect(201);
    let path = format!("{EVENTS}?correlation_id=bomb");
    let page = service.get(&path).await.expect(200).body;
    assert_eq!(page["data"].as_array().map(Vec::len), Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_is_read_by_every_server_on_the_database_and_a_forged_one_by_none() {
    let database = audit_database().await;
    let service = Service::start(database.url()).await;
    for id in ["a", "b", "c"] {
        service.post(EVENTS, &event(id)).await.expect(201);
    }
    let first = service
        .get(&format!("{EVENTS}?limit=1"))
        .await
        .expect(200)
        .body;
    let cursor = first["pagination"]["next_cursor"]
        .as_str()
        .expect("a cursor");
    service.stop().await;
    let other = Service::start(database.url()).await;
    let second = other
        .get(&format!("{EVENTS}?limit=1&cursor={cursor}"))
        .await
        .expect(200)
        .body;
    assert_eq!(second["data"][0]["correlation_id"], "b");
    let mut parts: Vec<_> = cursor.split('-').collect();
    parts[3] = "7";
    let forged = parts.join("-");
    let answer = other.get(&format!("{EVENTS}?cursor={forged}")).await;
    let problem = answer.expect(400).problem();
    assert!(problem.detail.expect("a detail").contains("invalid cursor"));
}
