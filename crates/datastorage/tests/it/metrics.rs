//! The metrics as Prometheus and existing dashboards read them.

use std::collections::BTreeSet;

use serde_json::json;

use crate::support::{Service, audit_database, event};

const EVENTS: &str = "/api/v1/audit/events";

#[tokio::test(flavor = "multi_thread")]
async fn every_metric_says_what_it_is() {
    let database = audit_database().await;
    let service = Service::start(database.url()).await;
    service.ready().await;
    service.post(EVENTS, &event("one")).await.expect(201);
    service.post(EVENTS, &json!({"a": 1})).await.expect(400);
    service.get(EVENTS).await.expect(200);
    let answer = service.get("/metrics").await.expect(200);
    let text = answer.body.as_str().expect("text");
    let named = |prefix: &str| -> BTreeSet<&str> {
        text.lines()
            .filter_map(|line| line.strip_prefix(prefix))
            .filter_map(|rest| rest.split(' ').next())
            .collect()
    };
    let (helps, types) = (named("# HELP "), named("# TYPE "));
    assert_eq!(helps, types);
    assert!(types.contains("datastorage_write_total"), "{types:?}");
    for line in text
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
    {
        let name = line.split(['{', ' ']).next().expect("a name");
        let parts = ["_bucket", "_sum", "_count"];
        let family = parts.iter().find_map(|part| name.strip_suffix(part));
        let known = |name: &str| types.contains(name);
        assert!(known(name) || family.is_some_and(known), "{line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_process_is_measured_by_the_names_of_prometheus_own_clients() {
    let database = audit_database().await;
    let service = Service::start(database.url()).await;
    for (name, least, most) in [
        ("process_cpu_seconds_total", 0.0, 1e9),
        ("process_open_fds", 3.0, 1e6),
        ("process_max_fds", 3.0, 1e12),
        ("process_resident_memory_bytes", 1e6, 1e12),
        ("process_virtual_memory_bytes", 1e6, 1e15),
        // From 2020 to 2286.
        ("process_start_time_seconds", 1.6e9, 1e10),
    ] {
        let value = service.metric(name).await.unwrap_or(-1.0);
        assert!((least..most).contains(&value), "{name} {value}");
    }
}
