//! A Data Storage that asks who calls: whoever is not let in loses nothing.

use std::time::Duration;

use audit_store::{Access, Config};
use datastorage_client::{Client, QueryAuditEvents};
use metrics_exporter_prometheus::PrometheusBuilder;
use testkit::{datastorage::Service, postgres};

use crate::server::{DEADLINE, directory, event, flush_until, open, quick};

const VALID: &str = "the-valid-one-0123456789-0123456789";
const WRONG: &str = "the-wrong-one-0123456789-0123456789";

#[tokio::test]
async fn events_wait_while_the_store_is_not_let_in_and_are_sent_once_its_token_is_mended() {
    let directory = directory();
    let (valid, own) = (directory.path().join("valid"), directory.path().join("own"));
    std::fs::write(&valid, VALID).expect("written");
    std::fs::write(&own, WRONG).expect("written");
    let database = postgres::database("audit").await;
    let settings = vec![("DATASTORAGE_AUTH_TOKEN_FILE", valid.display().to_string())];
    let service = Service::with_settings("audit", &database, settings).await;
    let access = Access {
        token_file: Some(own.clone()),
        ..Access::default()
    };
    let config = Config {
        access: access.clone(),
        ..quick(&directory)
    };
    let recorder = PrometheusBuilder::new().build_recorder();
    let store = metrics::with_local_recorder(&recorder, || open(&service.url(), config));
    for number in 0..3 {
        store.store(event(number)).expect("accepted");
    }
    let waiting = flush_until(&store, "the store not to be let in", |report| {
        report.is_refused_access()
    })
    .await;
    assert_eq!(
        (
            waiting.journalled,
            waiting.parked,
            waiting.lost,
            waiting.stored
        ),
        (3, 0, 0, 0)
    );
    let why = waiting.blocked_by.expect("a reason").to_string();
    assert!(
        why.contains("401") && why.contains(Access::TOKEN_FILE),
        "{why}"
    );
    assert!(!why.contains(WRONG), "{why}");
    let refused = "audit_access_refused{service=\"test\"}";
    let shows = |value: u8| {
        recorder
            .handle()
            .render()
            .contains(&format!("{refused} {value}"))
    };
    assert!(shows(1));

    std::fs::write(&own, VALID).expect("written");
    flush_until(&store, "all to be stored", |report| report.stored == 3).await;
    let client = Client::with_access(&service.url(), &access).expect("a client");
    let query = QueryAuditEvents::default();
    let page = client.query_audit_events(&query).await.expect("a page");
    assert_eq!(page.data.len(), 3);
    let report = store.close(DEADLINE.min(Duration::from_secs(10))).await;
    assert!(report.expect("nothing is lost").is_complete());
    assert!(shows(0));
}
