//! The builders make what the services have emitted so far, and all of it keeps to the contract.

use std::collections::BTreeSet;

use datastorage_api::EventOutcome::{Failure, Pending, Success};
use jiff::Timestamp;
use serde_json::Value;
use uuid::Uuid;

use super::*;

fn every_event() -> Vec<Event> {
    let execution = workflowexecution::Execution {
        execution_name: "wfe-1".into(),
        ..Default::default()
    };
    let signal = gateway::Signal {
        fingerprint: "f".into(),
        ..Default::default()
    };
    let crd = gateway::RemediationRequest {
        signal_fingerprint: "f".into(),
        ..Default::default()
    };
    let message = notification::Message::default();
    let request = remediationorchestrator::Request {
        uid: "uid".into(),
        rr_name: "rr".into(),
        namespace: "ns".into(),
    };
    let approval = remediationorchestrator::Approval {
        decided_by: Some("jane".into()),
        ..Default::default()
    };
    let processing = signalprocessing::Signal::default();
    let analysis = aianalysis::Analysis {
        remediation_id: "r",
        name: "a",
        namespace: "ns",
    };
    vec![
        workflowexecution::started(None, &execution),
        workflowexecution::completed(Some("label"), &execution),
        workflowexecution::failed(None, &execution),
        gateway::signal_received("prometheus", "rr", &signal),
        gateway::signal_deduplicated("kubernetes", "rr", &signal),
        gateway::crd_created("rr", &crd),
        gateway::crd_creation_failed(&crd),
        notification::sent("rr", &message),
        notification::failed("rr", &message, "timeout", "no answer"),
        notification::acknowledged("rr", &message),
        notification::escalated("rr", &message, "no answer"),
        remediationorchestrator::lifecycle_started(&request),
        remediationorchestrator::lifecycle_completed(
            &request,
            &remediationorchestrator::Completion::default(),
        ),
        remediationorchestrator::phase_transitioned(&request, "Pending", "Processing"),
        remediationorchestrator::approval_requested(&request, &approval),
        remediationorchestrator::approval_approved(&request, &approval),
        remediationorchestrator::approval_rejected(&request, &approval),
        remediationorchestrator::approval_expired(&request, &approval),
        remediationorchestrator::manual_review(
            &request,
            &remediationorchestrator::Review::default(),
        ),
        remediationorchestrator::routing_blocked(
            &request,
            &remediationorchestrator::Block::default(),
        ),
        signalprocessing::signal_processed("rr", &processing, true),
        signalprocessing::phase_transition("rr", &processing, "Pending", "Enriching"),
        signalprocessing::classification_decision("rr", &processing),
        signalprocessing::business_classified("rr", &processing),
        signalprocessing::enrichment_completed("rr", &processing),
        signalprocessing::error_occurred("rr", &processing, "no such namespace"),
        aianalysis::analysis_completed(analysis, &aianalysis::Completion::default(), true),
        aianalysis::phase_transition(analysis, &aianalysis::PhaseTransition::default()),
        aianalysis::holmesgpt_call(analysis, &aianalysis::HolmesGptCall::default()),
        aianalysis::approval_decision(analysis, &aianalysis::ApprovalDecision::default()),
        aianalysis::rego_evaluation(analysis, &aianalysis::RegoEvaluation::default()),
        aianalysis::error_occurred(analysis, &aianalysis::Failure::default()),
        holmesgpt::llm_request("r", &holmesgpt::LlmRequest::default()),
        holmesgpt::llm_response("r", &holmesgpt::LlmResponse::default()),
        holmesgpt::llm_tool_call("r", &holmesgpt::LlmToolCall::default()),
        holmesgpt::workflow_validation_attempt("r", &holmesgpt::ValidationAttempt::default()),
        datastorage::search_completed("r", &datastorage::Search::default()),
    ]
}

#[test]
fn every_builder_keeps_to_the_contract_and_makes_a_type_of_its_own() {
    let events = every_event();
    let types: BTreeSet<_> = events
        .iter()
        .map(|event| event.request.event_type.clone())
        .collect();
    assert_eq!(types.len(), events.len());
    for Event {
        mut request,
        data_error,
        ..
    } in events
    {
        assert_eq!(data_error, None, "{}", request.event_type);
        request.event_timestamp = Timestamp::now();
        request.event_id = Some(Uuid::now_v7());
        assert_eq!(
            request.validate(Timestamp::now()),
            Ok(()),
            "{}",
            request.event_type
        );
    }
}

fn data(event: &Event) -> Value {
    event.request.event_data.parse().expect("an object")
}

#[test]
fn an_execution_correlates_by_its_label_or_its_name() {
    let execution = workflowexecution::Execution {
        execution_name: "wfe-1".into(),
        failure_reason: Some("TaskFailed".into()),
        failure_message: Some("task x failed".into()),
        ..Default::default()
    };
    let failed = workflowexecution::failed(None, &execution);
    let request = &failed.request;
    assert_eq!(
        (request.event_action.as_str(), request.event_outcome),
        ("failed", Failure)
    );
    assert_eq!(request.correlation_id, "wfe-1");
    assert_eq!(
        (
            request.resource_type.as_deref(),
            request.resource_id.as_deref()
        ),
        (Some("WorkflowExecution"), Some("wfe-1"))
    );
    assert_eq!(data(&failed)["failure_reason"], "TaskFailed");
    assert_eq!(data(&failed).get("completed_at"), None);
    assert_eq!(
        workflowexecution::started(Some("label"), &execution)
            .request
            .correlation_id,
        "label"
    );
}

#[test]
fn the_gateway_nests_its_data_and_correlates_a_failure_by_fingerprint() {
    let signal = gateway::Signal {
        deduplication_status: gateway::Deduplication::Duplicate,
        ..Default::default()
    };
    let event = gateway::signal_deduplicated("prometheus", "rr-1", &signal);
    assert_eq!(data(&event)["gateway"]["deduplication_status"], "duplicate");
    assert_eq!(event.request.actor_type.as_deref(), Some("external"));
    let crd = gateway::RemediationRequest {
        signal_fingerprint: "f00d".into(),
        ..Default::default()
    };
    assert_eq!(
        gateway::crd_creation_failed(&crd).request.correlation_id,
        "f00d"
    );
}

#[test]
fn a_failed_delivery_has_the_action_sent_and_its_error_beside_the_message() {
    let message = notification::Message {
        kind: "escalation".into(),
        ..Default::default()
    };
    let event = notification::failed("rr", &message, "timeout", "no answer");
    assert_eq!(
        (
            event.request.event_action.as_str(),
            event.request.event_outcome
        ),
        ("sent", Failure)
    );
    assert_eq!(data(&event)["type"], "escalation");
    assert_eq!(data(&event)["error_type"], "timeout");
}

#[test]
fn a_user_is_the_actor_of_a_decision() {
    let request = remediationorchestrator::Request {
        uid: "uid".into(),
        ..Default::default()
    };
    let approval = remediationorchestrator::Approval {
        decided_by: Some("jane".into()),
        ..Default::default()
    };
    let event = remediationorchestrator::approval_approved(&request, &approval);
    assert_eq!(
        (
            event.request.actor_type.as_deref(),
            event.request.actor_id.as_deref()
        ),
        (Some("user"), Some("jane"))
    );
    assert_eq!(
        remediationorchestrator::lifecycle_started(&request)
            .request
            .event_outcome,
        Pending
    );
    assert_eq!(data(&event).get("uid"), None);
}

#[test]
fn an_answer_of_the_model_service_below_400_is_a_success() {
    let analysis = aianalysis::Analysis {
        remediation_id: "r",
        name: "a",
        namespace: "ns",
    };
    for (http_status_code, expected) in [(200, Success), (503, Failure)] {
        let call = aianalysis::HolmesGptCall {
            http_status_code,
            ..Default::default()
        };
        assert_eq!(
            aianalysis::holmesgpt_call(analysis, &call)
                .request
                .event_outcome,
            expected
        );
    }
}
