//! What the client makes of each kind of answer.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{ConnectInfo, Path, RawQuery},
    http::{HeaderMap, StatusCode},
    routing::{get, patch, post},
};
use datastorage_client::{
    Client, Error, QueryAuditEvents, Written,
    types::{AuditEventRequest, DatabaseErrorKind, WorkflowDisableRequest},
};
use tokio::net::TcpListener;

async fn serve(router: Router) -> Client {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("its address");
    let service = router.into_make_service_with_connect_info::<std::net::SocketAddr>();
    tokio::spawn(async move { axum::serve(listener, service).await });
    Client::new(&format!("http://{address}/")).expect("a client")
}

fn batch_answers(status: StatusCode, body: &'static str) -> Router {
    Router::new().route(
        "/api/v1/audit/events/batch",
        post(move || async move { (status, [("retry-after", "3")], body) }),
    )
}

const ID: &str = "019b3109-5900-7000-8000-000000000001";

/// An event whose id the answers of these tests name.
fn event() -> AuditEventRequest {
    let event = serde_json::json!({"event_id": ID, "version": "1.0", "event_type": "workflow.started",
        "event_timestamp": "2025-12-18T09:58:55Z", "event_category": "workflow", "event_action": "started",
        "event_outcome": "success", "correlation_id": "c", "event_data": {}});
    serde_json::from_value(event).expect("the full form")
}

#[tokio::test]
async fn a_201_is_committed_and_a_202_is_queued() {
    let client = serve(batch_answers(
        StatusCode::CREATED,
        r#"{"event_ids":["019b3109-5900-7000-8000-000000000001"],"message":"1 audit events created successfully"}"#,
    ))
    .await;
    let answer = client
        .create_audit_events_batch(&[event()])
        .await
        .expect("201");
    assert_eq!(answer.committed().expect("committed").event_ids.len(), 1);

    let client = serve(batch_answers(
        StatusCode::ACCEPTED,
        r#"{"status":"accepted","message":"audit event queued for async processing"}"#,
    ))
    .await;
    let answer = client
        .create_audit_events_batch(&[event()])
        .await
        .expect("202");
    assert!(matches!(answer, Written::Queued(accepted) if accepted.message.contains("queued")));
}

#[tokio::test]
async fn no_other_status_settles_a_write_whatever_its_body_says() {
    let receipt = r#"{"event_ids":["019b3109-5900-7000-8000-000000000001"],"message":"1 audit events created successfully"}"#;
    for status in [
        200, 203, 204, 205, 206, 299, 300, 301, 302, 303, 304, 307, 308,
    ] {
        let code = StatusCode::from_u16(status).expect("a status");
        let client = serve(batch_answers(code, receipt)).await;
        let error = client
            .create_audit_events_batch(&[event()])
            .await
            .expect_err("not a documented answer");
        assert_eq!(error.status(), Some(status), "{error}");
    }
}

#[tokio::test]
async fn a_201_that_does_not_name_the_events_that_were_sent_settles_nothing() {
    let other = "019b3109-5900-7000-8000-000000000002";
    for body in [
        String::new(),
        "<html>captive portal</html>".to_owned(),
        r#"{"message":"stored"}"#.to_owned(),
        r#"{"event_ids":[],"message":"stored"}"#.to_owned(),
        format!(r#"{{"event_ids":["{other}"],"message":"stored"}}"#),
        format!(r#"{{"event_ids":["{ID}","{other}"],"message":"stored"}}"#),
    ] {
        let client = serve(batch_answers(StatusCode::CREATED, body.clone().leak())).await;
        let id = ID.parse().expect("a uuid");
        let typed = client.create_audit_events_batch(&[event()]).await;
        let ready = serde_json::to_vec(&[event()]).expect("JSON").into();
        let ready = client
            .create_audit_events_batch_json(ready, &[Some(id)])
            .await;
        for error in [typed.expect_err(&body), ready.expect_err(&body)] {
            assert!(
                matches!(error, Error::Decode { status: 201, .. }),
                "{body}: {error}"
            );
        }
    }
}

#[tokio::test]
async fn a_single_event_and_a_notification_must_be_named_in_their_answers_too() {
    let single = r#"{"event_id":"019b3109-5900-7000-8000-000000000002","event_timestamp":"2025-12-18T09:58:55Z","message":"stored"}"#;
    let router = Router::new().route(
        "/api/v1/audit/events",
        post(move || async move { (StatusCode::CREATED, single) }),
    );
    let error = serve(router)
        .await
        .create_audit_event(&event())
        .await
        .expect_err("another event");
    assert!(error.to_string().contains("in place of"), "{error}");

    let record = serde_json::json!({"remediation_id": "r", "notification_id": "n-1", "recipient": "a@example.com",
        "channel": "email", "message_summary": "s", "status": "sent", "sent_at": "2025-12-18T09:58:55Z", "escalation_level": 0});
    let mut stored = record.clone();
    stored["notification_id"] = "n-2".into();
    stored["id"] = 1.into();
    stored["created_at"] = "2025-12-18T09:58:55Z".into();
    stored["updated_at"] = "2025-12-18T09:58:55Z".into();
    let stored = stored.to_string();
    let router = Router::new().route(
        "/api/v1/audit/notifications",
        post(move || async move { (StatusCode::CREATED, stored) }),
    );
    let record = serde_json::from_value(record).expect("a record");
    let error = serve(router)
        .await
        .create_notification_audit(&record)
        .await
        .expect_err("another record");
    assert!(error.to_string().contains("n-2"), "{error}");
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let followed = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&followed);
    let router = Router::new()
        .route(
            "/api/v1/audit/events/batch",
            post(|| async { (StatusCode::FOUND, [("location", "/health/live")]) }),
        )
        .route(
            "/health/live",
            get(move || async move {
                counted.fetch_add(1, Ordering::Relaxed);
                r#"{"status":"alive"}"#
            }),
        );
    let client = serve(router).await;
    let error = client
        .create_audit_events_batch(&[event()])
        .await
        .expect_err("a redirect");
    assert_eq!(error.status(), Some(302), "{error}");
    assert_eq!(followed.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn an_endless_answer_is_cut_off() {
    let router = Router::new().route(
        "/api/v1/audit/events/batch",
        post(|| async {
            let chunk = Bytes::from(vec![b'x'; 1 << 20]);
            let chunks =
                futures_util::stream::repeat_with(move || Ok::<_, std::io::Error>(chunk.clone()));
            (StatusCode::CREATED, Body::from_stream(chunks))
        }),
    );
    let client = serve(router).await.with_deadline(Duration::from_mins(1));
    let error = client
        .create_audit_events_batch(&[event()])
        .await
        .expect_err("too much");
    assert!(
        error.to_string().contains("more than 67108864 bytes"),
        "{error}"
    );
}

#[tokio::test]
async fn a_problem_keeps_all_that_the_server_said() {
    let body = r#"{"type":"https://kubernaut.io/problems/service-unavailable","title":"Service Unavailable","status":503,"detail":"apply the migrations",
        "kind":"relation_missing","sqlstate":"42P01","relation":"audit_events","field_errors":{"[0].version":"is required"},"trace":"abc"}"#;
    let client = serve(batch_answers(StatusCode::SERVICE_UNAVAILABLE, body)).await;
    let error = client
        .create_audit_events_batch(&[])
        .await
        .expect_err("503");
    let problem = error.problem().expect("a problem");
    assert_eq!(problem.status, 503);
    assert_eq!(problem.retry_after, Some(Duration::from_secs(3)));
    assert_eq!(
        problem.details.kind,
        Some(DatabaseErrorKind::RelationMissing)
    );
    assert_eq!(problem.details.extensions["trace"], "abc");
    let text = error.to_string();
    for part in [
        "503 service-unavailable",
        "apply the migrations",
        "[0].version: is required",
        "relation audit_events",
        "SQLSTATE 42P01",
    ] {
        assert!(text.contains(part), "{part} is missing in: {text}");
    }
}

#[tokio::test]
async fn an_answer_outside_the_contract_is_a_decode_error_with_its_start() {
    let client = serve(batch_answers(
        StatusCode::BAD_GATEWAY,
        "<html>upstream is gone</html>",
    ))
    .await;
    let error = client
        .create_audit_events_batch(&[])
        .await
        .expect_err("502");
    assert_eq!(error.status(), Some(502));
    assert!(
        matches!(&error, Error::Decode { excerpt, .. } if excerpt.contains("upstream is gone")),
        "{error}"
    );

    let client = serve(batch_answers(StatusCode::CREATED, "[]")).await;
    let error = client
        .create_audit_events_batch(&[])
        .await
        .expect_err("another body");
    assert!(
        matches!(error, Error::Decode { status: 201, .. }),
        "{error}"
    );
}

#[tokio::test]
async fn an_absent_server_is_a_transport_error_that_names_the_call() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("its address");
    drop(listener);
    let client = Client::new(&format!("http://{address}")).expect("a client");
    let error = client.get_readiness().await.expect_err("nobody listens");
    assert!(matches!(error, Error::Transport { .. }), "{error}");
    assert!(
        error
            .to_string()
            .contains(&format!("GET http://{address}/health/ready")),
        "{error}"
    );
}

#[tokio::test]
async fn a_silent_server_is_a_timeout() {
    let silent = Router::new().route("/health/live", get(std::future::pending::<&'static str>));
    let client = serve(silent).await.with_deadline(Duration::from_millis(50));
    let error = client.get_liveness().await.expect_err("no answer");
    assert!(matches!(error, Error::Timeout { .. }), "{error}");
}

#[tokio::test]
async fn a_failed_check_is_an_answer() {
    let body = r#"{"status":"not_ready","reason":"schema_incomplete","profile":"audit","missing":["table audit_events"]}"#;
    let router = Router::new().route(
        "/health/ready",
        get(move || async move { (StatusCode::SERVICE_UNAVAILABLE, body) }),
    );
    let check = serve(router)
        .await
        .get_readiness()
        .await
        .expect("an answer");
    assert!(!check.passed);
    assert_eq!(check.body.missing, ["table audit_events"]);
}

#[tokio::test]
async fn absent_query_members_are_not_sent_and_values_are_escaped() {
    let router = Router::new().route(
        "/api/v1/audit/events",
        get(|RawQuery(query): RawQuery| async move {
            (StatusCode::IM_A_TEAPOT, query.unwrap_or_default())
        }),
    );
    let query = QueryAuditEvents {
        correlation_id: Some("a&b=ä".to_owned()),
        limit: Some(5),
        ..QueryAuditEvents::default()
    };
    let error = serve(router)
        .await
        .query_audit_events(&query)
        .await
        .expect_err("418");
    assert!(
        error
            .to_string()
            .ends_with("correlation_id=a%26b%3D%C3%A4&limit=5"),
        "{error}"
    );
}

#[tokio::test]
async fn a_path_parameter_stays_one_segment() {
    let router = Router::new().route(
        "/api/v1/workflows/by-name/{name}/versions",
        get(|Path(name): Path<String>| async move {
            format!(r#"{{"workflow_name":{name:?},"versions":[],"total":0}}"#)
        }),
    );
    let answer = serve(router)
        .await
        .list_workflow_versions("a/b c?")
        .await
        .expect("200");
    assert_eq!(answer.workflow_name, "a/b c?");
}

#[tokio::test]
async fn an_optional_body_may_be_left_out() {
    let router = Router::new().route(
        "/api/v1/workflows/{id}/disable",
        patch(|body: String| async move { (StatusCode::IM_A_TEAPOT, format!("<{body}>")) }),
    );
    let client = serve(router).await;
    let id = "019b3109-5900-7000-8000-000000000001"
        .parse()
        .expect("a uuid");
    let error = client.disable_workflow(id, None).await.expect_err("418");
    assert!(error.to_string().ends_with("<>"), "{error}");
    let body = WorkflowDisableRequest {
        reason: Some("broken".to_owned()),
        updated_by: None,
    };
    let error = client
        .disable_workflow(id, Some(&body))
        .await
        .expect_err("418");
    assert!(
        error.to_string().ends_with(r#"<{"reason":"broken"}>"#),
        "{error}"
    );
}

#[tokio::test]
async fn calls_in_a_row_use_one_connection_and_name_the_client() {
    let peers = Arc::new(std::sync::Mutex::new(std::collections::BTreeSet::new()));
    let calls = Arc::new(AtomicUsize::new(0));
    let (seen, counted) = (Arc::clone(&peers), Arc::clone(&calls));
    let router = Router::new().route(
        "/metrics",
        get(move |ConnectInfo(peer): ConnectInfo<std::net::SocketAddr>, headers: HeaderMap| async move {
            seen.lock().expect("no panic holds it").insert(peer);
            counted.fetch_add(1, Ordering::Relaxed);
            headers["user-agent"].to_str().expect("text").to_owned()
        }),
    );
    let client = serve(router).await;
    for _ in 0..5 {
        assert!(
            client
                .get_metrics()
                .await
                .expect("200")
                .starts_with("datastorage-client/")
        );
    }
    assert_eq!(
        (
            calls.load(Ordering::Relaxed),
            peers.lock().expect("no panic holds it").len()
        ),
        (5, 1)
    );
}

#[test]
fn a_base_url_that_cannot_work_is_refused_at_once_and_shows_no_password() {
    for (url, part) in [
        ("localhost:8080", "only http"),
        ("ftp://me:secret@host", "only http"),
        ("", "relative URL"),
    ] {
        let error = Client::new(url).expect_err(url).to_string();
        assert!(
            error.contains(part) && error.contains("http://host:port"),
            "{error}"
        );
        assert!(!error.contains("secret"), "{error}");
    }
}
