//! Events of the remediation orchestrator; the remediation request's UID correlates.

use datastorage_api::{EventCategory, EventOutcome};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{by_service, outcome};
use crate::Event;

const ACTOR: &str = "remediation-orchestrator";

/// The remediation request that an event is about.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Request {
    /// Its UID; not part of `event_data`.
    #[serde(skip)]
    pub uid: String,
    /// Its name.
    pub rr_name: String,
    /// Its namespace.
    pub namespace: String,
}

/// How a remediation ended.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Completion {
    /// Such as `Remediated`.
    pub outcome: String,
    /// How long it took.
    pub duration_ms: i32,
    /// The phase that failed; present for a failure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure_phase: Option<String>,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure_reason: Option<String>,
}

/// An approval that someone has to give.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Approval {
    /// Name of the approval request.
    pub rar_name: String,
    /// The workflow to approve.
    pub workflow_id: String,
    /// Confidence in it, 0 to 1.
    pub confidence: f64,
    /// When the answer is due.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub required_by: Option<Timestamp>,
    /// Such as `Approved`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decision: Option<String>,
    /// Who decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decided_by: Option<String>,
    /// What they said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// Why a person has to decide.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Review {
    /// Such as `WorkflowResolutionFailed`.
    pub reason: String,
    /// More exactly.
    pub sub_reason: String,
    /// The notification that asks for it.
    pub notification_name: String,
}

/// Why a remediation does not go on for now.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Block {
    /// Such as `RecentlyRemediated`.
    pub block_reason: String,
    /// For people.
    pub block_message: String,
    /// Seconds until it is looked at again.
    pub requeue_after_seconds: u64,
    /// Until when.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blocked_until: Option<Timestamp>,
}

#[derive(Serialize)]
struct Data<'a, T> {
    #[serde(flatten)]
    request: &'a Request,
    #[serde(flatten)]
    details: T,
}

#[derive(Serialize)]
struct Nothing {}

#[derive(Serialize)]
struct Transition<'a> {
    from_phase: &'a str,
    to_phase: &'a str,
}

/// The remediation began; its outcome is pending.
pub fn lifecycle_started(request: &Request) -> Event {
    event(
        "orchestrator.lifecycle.started",
        EventOutcome::Pending,
        request,
        Nothing {},
    )
}

/// The remediation ended, with success unless `failure_phase` or `failure_reason` is set.
pub fn lifecycle_completed(request: &Request, completion: &Completion) -> Event {
    let succeeded = completion.failure_phase.is_none() && completion.failure_reason.is_none();
    event(
        "orchestrator.lifecycle.completed",
        outcome(succeeded),
        request,
        completion,
    )
    .duration_ms(completion.duration_ms)
}

/// The remediation entered another phase.
pub fn phase_transitioned(request: &Request, from_phase: &str, to_phase: &str) -> Event {
    event(
        "orchestrator.phase.transitioned",
        EventOutcome::Success,
        request,
        Transition {
            from_phase,
            to_phase,
        },
    )
}

/// Someone is asked to approve.
pub fn approval_requested(request: &Request, approval: &Approval) -> Event {
    event(
        "orchestrator.approval.requested",
        EventOutcome::Pending,
        request,
        approval,
    )
}

/// `decided_by` approved; a user is the actor.
pub fn approval_approved(request: &Request, approval: &Approval) -> Event {
    decided(
        event(
            "orchestrator.approval.approved",
            EventOutcome::Success,
            request,
            approval,
        ),
        approval,
    )
}

/// `decided_by` rejected; a user is the actor.
pub fn approval_rejected(request: &Request, approval: &Approval) -> Event {
    decided(
        event(
            "orchestrator.approval.rejected",
            EventOutcome::Failure,
            request,
            approval,
        ),
        approval,
    )
}

/// Nobody answered in time.
pub fn approval_expired(request: &Request, approval: &Approval) -> Event {
    event(
        "orchestrator.approval.expired",
        EventOutcome::Failure,
        request,
        approval,
    )
}

/// A person has to decide.
pub fn manual_review(request: &Request, review: &Review) -> Event {
    event(
        "orchestrator.remediation.manual_review",
        EventOutcome::Pending,
        request,
        review,
    )
}

/// The remediation does not go on for now.
pub fn routing_blocked(request: &Request, block: &Block) -> Event {
    event(
        "orchestrator.routing.blocked",
        EventOutcome::Pending,
        request,
        block,
    )
}

fn event(
    event_type: &str,
    outcome: EventOutcome,
    request: &Request,
    details: impl Serialize,
) -> Event {
    by_service(
        EventCategory::Orchestration,
        ACTOR,
        event_type,
        outcome,
        &request.uid,
        &Data { request, details },
    )
    .resource("RemediationRequest", &request.rr_name)
    .namespace(&request.namespace)
}

fn decided(event: Event, approval: &Approval) -> Event {
    match &approval.decided_by {
        Some(user) => event.actor("user", user),
        None => event,
    }
}
