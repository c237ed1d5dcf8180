//! Audit events of the AI analysis controller, and the workflow catalogue that it chooses from.

use serde_json::{Value, json};
use testkit::catalogue::search;
use testkit::events::{unique, with};

use crate::audit::{SOME, check, check_complete, correlated, event, found};
use crate::catalogue::{register, searched};
use crate::fault::{self, Component};
use crate::service::play;

fn names() -> Value {
    json!({"remediation_id": unique("rr"), "name": unique("analysis"), "namespace": "shop", "environment": "production",
        "workflow_id": "scale-up", "confidence": 0.75})
}

/// What every event of an analysis has.
fn of_analysis(names: &Value, event_type: &str, outcome: &str, data: &Value) -> Value {
    let common = json!({
        "event_category": "analysis", "correlation_id": names["remediation_id"], "actor_type": "service", "actor_id": "aianalysis-controller",
        "resource_type": "AIAnalysis", "resource_id": names["name"], "namespace": "shop",
    });
    let own = json!({"event_type": format!("aianalysis.{event_type}"), "event_outcome": outcome, "event_data": data});
    event(&common, own)
}

fn transition(names: &Value, from: &str, to: &str) -> Value {
    of_analysis(
        names,
        "phase.transition",
        "success",
        &json!({"old_phase": from, "new_phase": to}),
    )
}

fn call(names: &Value, outcome: &str, status: u16) -> Value {
    let data = json!({"endpoint": "/api/v1/incident/analyze", "http_status_code": status, "duration_ms": SOME});
    with(
        of_analysis(names, "holmesgpt.call", outcome, &data),
        json!({"duration_ms": SOME}),
    )
}

/// The events of an analysis that found a workflow.
fn completed(names: &Value, needs_approval: bool, degraded: bool) -> [Value; 7] {
    let (evaluated, decision) = if needs_approval {
        ("requires_approval", "requires_approval")
    } else {
        ("approved", "auto_approved")
    };
    let evaluation = json!({"outcome": evaluated, "degraded": degraded, "reason": SOME});
    let evaluation_outcome = if degraded { "failure" } else { "success" };
    let decision = json!({
        "approval_required": needs_approval, "approval_reason": SOME, "auto_approved": !needs_approval, "decision": decision,
        "environment": "production", "confidence": 0.75, "workflow_id": "scale-up",
    });
    let completion = json!({
        "phase": "Completed", "approval_required": needs_approval, "degraded_mode": degraded, "warnings_count": 0, "confidence": 0.75,
        "workflow_id": "scale-up", "target_in_owner_chain": true,
    });
    [
        transition(names, "Pending", "Investigating"),
        call(names, "success", 200),
        transition(names, "Investigating", "Analyzing"),
        of_analysis(names, "rego.evaluation", evaluation_outcome, &evaluation),
        of_analysis(names, "approval.decision", "success", &decision),
        transition(names, "Analyzing", "Completed"),
        of_analysis(names, "analysis.completed", "success", &completion),
    ]
}

/// Plays a scenario and holds its events against what is expected of them.
async fn plays(scenario: &str, names: &Value, expected: &[Value]) {
    let played = play(scenario, names).await;
    let events = found(&correlated(names["remediation_id"].as_str().unwrap())).await;
    check(&events, expected);
    check_complete(&events, &played.emitted);
}

#[tokio::test]
async fn a_completed_analysis_has_phases_call_policy_and_decision() {
    let names = names();
    plays("completed", &names, &completed(&names, false, false)).await;
}

#[tokio::test]
async fn an_analysis_that_needs_approval_says_so_in_decision_and_completion() {
    let names = names();
    plays("approval-required", &names, &completed(&names, true, false)).await;
}

#[tokio::test]
async fn a_policy_that_cannot_be_evaluated_is_reported_as_degraded() {
    let names = names();
    plays("degraded", &names, &completed(&names, true, true)).await;
}

#[tokio::test]
async fn a_failed_analysis_says_which_call_failed_and_why() {
    let names = with(names(), json!({"error": "no route to host"}));
    let failure = json!({"phase": "Investigating", "error": "no route to host"});
    let completion = json!({"phase": "Failed", "reason": SOME, "sub_reason": SOME});
    let expected = [
        transition(&names, "Pending", "Investigating"),
        call(&names, "failure", 503),
        of_analysis(&names, "error.occurred", "failure", &failure),
        transition(&names, "Investigating", "Failed"),
        of_analysis(&names, "analysis.completed", "failure", &completion),
    ];
    plays("failed", &names, &expected).await;
}

#[tokio::test]
async fn a_registered_workflow_is_found_by_its_labels() {
    let _undisturbed = fault::none().await;
    let component = unique("component");
    let workflow = register(&unique("restart"), "1.0.0", &component).await;
    let found = searched(&search(&component)).await;
    assert_eq!(
        found
            .iter()
            .map(|result| result.workflow_id)
            .collect::<Vec<_>>(),
        [workflow.workflow_id.unwrap()]
    );
    assert_eq!(
        (found[0].rank, found[0].title.as_str()),
        (1, workflow.name.as_str())
    );
}

/// Has a component killed in the middle of a scenario.
pub(crate) async fn survives(component: Component) {
    fault::survives(component, "completed", &names()).await;
}

#[tokio::test]
async fn nothing_is_lost_when_data_storage_is_killed_in_the_middle() {
    survives(Component::DataStorage).await;
}

#[tokio::test]
async fn nothing_is_lost_when_the_controller_is_killed_in_the_middle() {
    survives(Component::Service).await;
}
