//! Audit events of the remediation orchestrator; the UID of the remediation request correlates.

use serde_json::{Value, json};
use testkit::events::{unique, with};

use crate::audit::{SOME, check, check_complete, correlated_in, event, found};
use crate::catalogue;
use crate::fault::{self, Component};
use crate::service::play;

fn names() -> Value {
    json!({"uid": unique("uid"), "request": unique("rr"), "namespace": "shop", "workflow_id": "scale-up", "decided_by": "ana@example.com"})
}

/// What every event of a remediation has.
fn remediation(names: &Value, own: &Value) -> Value {
    let common = json!({
        "event_category": "orchestration", "correlation_id": names["uid"], "actor_type": "service", "actor_id": "remediation-orchestrator",
        "resource_type": "RemediationRequest", "resource_id": names["request"], "namespace": "shop",
        "event_data": {"rr_name": names["request"], "namespace": "shop"},
    });
    event(&common, own.clone())
}

fn started() -> Value {
    json!({"event_type": "orchestrator.lifecycle.started", "event_action": "started", "event_outcome": "pending"})
}

fn transition(from: &str, to: &str) -> Value {
    json!({
        "event_type": "orchestrator.phase.transitioned", "event_action": "transitioned", "event_outcome": "success",
        "event_data": {"from_phase": from, "to_phase": to},
    })
}

/// Plays a scenario and holds its events against what is expected of them.
async fn plays(scenario: &str, names: &Value, expected: &[Value]) {
    let played = play(scenario, names).await;
    let events = found(&correlated_in(
        "orchestration",
        names["uid"].as_str().unwrap(),
    ))
    .await;
    let expected: Vec<_> = expected.iter().map(|own| remediation(names, own)).collect();
    check(&events, &expected);
    check_complete(&events, &played.emitted);
}

#[tokio::test]
async fn a_remediation_starts_pending_and_reports_each_phase_and_its_end() {
    let completed = json!({
        "event_type": "orchestrator.lifecycle.completed", "event_action": "completed", "event_outcome": "success", "duration_ms": 95_000,
        "event_data": {"outcome": "Remediated", "duration_ms": 95_000, "failure_phase": null, "failure_reason": null},
    });
    let expected = [
        started(),
        transition("Pending", "Processing"),
        transition("Processing", "Analyzing"),
        transition("Analyzing", "Executing"),
        transition("Executing", "Completed"),
        completed,
    ];
    plays("remediated", &names(), &expected).await;
}

#[tokio::test]
async fn a_failed_remediation_says_in_which_phase_and_why() {
    let reasons = json!({"failure_phase": "Analyzing", "failure_reason": "no answer of the model"});
    let completed = json!({
        "event_type": "orchestrator.lifecycle.completed", "event_outcome": "failure", "event_data": with(reasons.clone(), json!({"outcome": "Failed"})),
    });
    let expected = [
        started(),
        transition("Pending", "Processing"),
        transition("Processing", "Analyzing"),
        transition("Analyzing", "Executing"),
        transition("Executing", "Failed"),
        completed,
    ];
    plays("failed", &with(names(), reasons), &expected).await;
}

#[tokio::test]
async fn an_approval_is_asked_for_and_decided_by_a_user_or_nobody() {
    let asked = json!({
        "event_type": "orchestrator.approval.requested", "event_outcome": "pending",
        "event_data": {"rar_name": SOME, "workflow_id": "scale-up", "confidence": SOME, "required_by": SOME, "decision": null},
    });
    let user = json!({"actor_type": "user", "actor_id": "ana@example.com"});
    let decided = |scenario: &str, outcome: &str, decision: &str| {
        let data = json!({"decision": decision, "decided_by": "ana@example.com", "message": SOME});
        let own = json!({"event_type": format!("orchestrator.approval.{scenario}"), "event_outcome": outcome, "event_data": data});
        with(user.clone(), own)
    };
    let approved = decided("approved", "success", "Approved");
    plays("approved", &names(), &[asked.clone(), approved]).await;
    let rejected = decided("rejected", "failure", "Rejected");
    plays("rejected", &names(), &[asked.clone(), rejected]).await;
    let expired = json!({
        "event_type": "orchestrator.approval.expired", "event_outcome": "failure", "event_data": {"decision": null, "decided_by": null},
    });
    plays("expired", &names(), &[asked, expired]).await;
}

#[tokio::test]
async fn a_review_and_a_block_say_why() {
    let review = json!({
        "event_type": "orchestrator.remediation.manual_review", "event_outcome": "pending",
        "event_data": {"reason": "WorkflowResolutionFailed", "sub_reason": SOME, "notification_name": SOME},
    });
    plays("manual-review", &names(), &[started(), review]).await;
    let blocked = json!({
        "event_type": "orchestrator.routing.blocked", "event_outcome": "pending",
        "event_data": {"block_reason": "RecentlyRemediated", "block_message": SOME, "requeue_after_seconds": 260, "blocked_until": SOME},
    });
    plays("blocked", &names(), &[started(), blocked]).await;
}

/// Has a component killed in the middle of a scenario.
pub(crate) async fn survives(component: Component) {
    fault::survives(component, "remediated", &names()).await;
}

#[tokio::test]
async fn nothing_is_lost_when_data_storage_is_killed_in_the_middle() {
    survives(Component::DataStorage).await;
}

#[tokio::test]
async fn its_database_has_no_catalogue() {
    catalogue::is_absent().await;
}
