//! What an operator sees of a store.

use std::time::Duration;

use metrics_exporter_prometheus::PrometheusBuilder;
use testkit::wait;

use crate::server::{DEADLINE, Reply, Server, directory, event, numbers, open, quick};

/// The value of a metric of the service `test`.
fn value(rendered: &str, name: &str) -> f64 {
    let prefix = format!("{name}{{service=\"test\"}} ");
    let line = rendered.lines().find_map(|line| line.strip_prefix(&prefix));
    line.unwrap_or_else(|| panic!("no {name} in:\n{rendered}"))
        .parse()
        .expect("a number")
}

fn assert_value(rendered: &str, name: &str, expected: f64) {
    let found = value(rendered, name);
    assert!(
        (found - expected).abs() < 1e-9,
        "{name} is {found}, not {expected}"
    );
}

#[tokio::test]
async fn the_metrics_count_what_is_accepted_written_waiting_parked_and_refused() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let (server, directory) = (Server::start(|_| Reply::Refuse(503)).await, directory());
    let store = metrics::with_local_recorder(&recorder, || open(&server.url(), quick(&directory)));
    for number in 0..30 {
        store.store(event(number)).expect("accepted");
    }
    store
        .store(event(30).action(""))
        .expect_err("breaks the contract");
    let waiting = wait::until("a failed attempt to be counted", DEADLINE, async || {
        store.flush(Duration::from_millis(50)).await;
        let rendered = recorder.handle().render();
        if value(&rendered, "audit_batches_failed_total") > 0.0 {
            Ok(rendered)
        } else {
            Err(rendered)
        }
    })
    .await;
    assert_value(&waiting, "audit_events_buffered_total", 30.0);
    assert_value(&waiting, "audit_events_dropped_total", 1.0);
    assert_value(&waiting, "audit_events_written_total", 0.0);
    assert_value(&waiting, "audit_buffer_size", 30.0);
    assert_value(&waiting, "audit_buffer_capacity", 30_000.0);
    assert_value(&waiting, "audit_buffer_utilization_ratio", 0.001);
    assert_value(&waiting, "audit_journal_depth", 30.0);
    assert!(value(&waiting, "audit_journal_oldest_age_seconds") > 0.0);
    assert!(value(&waiting, "audit_journal_bytes") > 30.0 * 100.0);

    server.now(|events| {
        if numbers(events).contains(&7) {
            Reply::Refuse(400)
        } else {
            Reply::Commit
        }
    });
    store.close(DEADLINE).await.expect("nothing lost");
    let done = recorder.handle().render();
    assert_value(&done, "audit_events_written_total", 29.0);
    assert_value(&done, "audit_events_parked_total", 1.0);
    assert_value(&done, "audit_journal_depth", 0.0);
    assert_value(&done, "audit_journal_oldest_age_seconds", 0.0);
    assert!(value(&done, "audit_write_duration_seconds_count") > 0.0);
}
