//! The remediation orchestrator: a remediation goes through its phases, waits for an approval, is blocked, or needs a person.

use audit_store::Event;
use audit_store::events::remediationorchestrator::{
    Approval, Block, Completion, Request, Review, approval_approved, approval_expired,
    approval_rejected, approval_requested, lifecycle_completed, lifecycle_started, manual_review,
    phase_transitioned, routing_blocked,
};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::scenario::{Scenario, unique};

#[derive(Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Cast {
    /// UID of the `RemediationRequest`, which correlates.
    uid: String,
    /// Its name.
    request: String,
    namespace: String,
    workflow_id: String,
    /// Who approves or rejects.
    decided_by: String,
    failure_phase: String,
    failure_reason: String,
}

impl Default for Cast {
    fn default() -> Self {
        Self {
            uid: uuid::Uuid::new_v4().to_string(),
            request: unique("rr"),
            namespace: "payments".to_owned(),
            workflow_id: "restart-deployment".to_owned(),
            decided_by: "jane@example.com".to_owned(),
            failure_phase: "Executing".to_owned(),
            failure_reason: "the workflow failed".to_owned(),
        }
    }
}

pub(super) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new(
            "remediated",
            "a remediation goes through its phases to its end",
            |cast: &Cast| {
                let completion = Completion {
                    outcome: "Remediated".to_owned(),
                    duration_ms: 95_000,
                    ..Completion::default()
                };
                cast.lifecycle("Completed", &completion)
            },
        ),
        Scenario::new(
            "failed",
            "a remediation fails while its workflow runs",
            |cast: &Cast| {
                let completion = Completion {
                    outcome: "Failed".to_owned(),
                    duration_ms: 41_000,
                    failure_phase: Some(cast.failure_phase.clone()),
                    failure_reason: Some(cast.failure_reason.clone()),
                };
                cast.lifecycle("Failed", &completion)
            },
        ),
        Scenario::new(
            "approved",
            "someone is asked for approval and gives it",
            |cast: &Cast| {
                vec![
                    cast.requested(),
                    approval_approved(&cast.request(), &cast.decision("Approved")),
                ]
            },
        ),
        Scenario::new(
            "rejected",
            "someone is asked for approval and refuses it",
            |cast: &Cast| {
                vec![
                    cast.requested(),
                    approval_rejected(&cast.request(), &cast.decision("Rejected")),
                ]
            },
        ),
        Scenario::new(
            "expired",
            "someone is asked for approval and does not answer",
            |cast: &Cast| {
                vec![
                    cast.requested(),
                    approval_expired(&cast.request(), &cast.approval()),
                ]
            },
        ),
        Scenario::new(
            "manual-review",
            "no workflow fits, so a person has to look",
            |cast: &Cast| vec![lifecycle_started(&cast.request()), cast.review()],
        ),
        Scenario::new(
            "blocked",
            "the same resource was treated a moment ago, so the remediation waits",
            |cast: &Cast| vec![lifecycle_started(&cast.request()), cast.blocked()],
        ),
    ]
}

impl Cast {
    /// The start, a transition into each further phase with `last` as the last of them, and the end.
    fn lifecycle(&self, last: &str, completion: &Completion) -> Vec<Event> {
        let request = self.request();
        let phases = ["Pending", "Processing", "Analyzing", "Executing", last];
        let transitions = phases
            .windows(2)
            .map(|step| phase_transitioned(&request, step[0], step[1]));
        [lifecycle_started(&request)]
            .into_iter()
            .chain(transitions)
            .chain([lifecycle_completed(&request, completion)])
            .collect()
    }

    fn requested(&self) -> Event {
        approval_requested(&self.request(), &self.approval())
    }

    fn review(&self) -> Event {
        let review = Review {
            reason: "WorkflowResolutionFailed".to_owned(),
            sub_reason: "NoMatchingWorkflows".to_owned(),
            notification_name: format!("{}-review", self.request),
        };
        manual_review(&self.request(), &review)
    }

    fn blocked(&self) -> Event {
        let block = Block {
            block_reason: "RecentlyRemediated".to_owned(),
            block_message: "the deployment was restarted 40s ago".to_owned(),
            requeue_after_seconds: 260,
            blocked_until: Timestamp::now()
                .checked_add(SignedDuration::from_secs(260))
                .ok(),
        };
        routing_blocked(&self.request(), &block)
    }

    fn request(&self) -> Request {
        Request {
            uid: self.uid.clone(),
            rr_name: self.request.clone(),
            namespace: self.namespace.clone(),
        }
    }

    fn approval(&self) -> Approval {
        Approval {
            rar_name: format!("rar-{}", self.request),
            workflow_id: self.workflow_id.clone(),
            confidence: 0.62,
            required_by: Timestamp::now()
                .checked_add(SignedDuration::from_mins(15))
                .ok(),
            ..Approval::default()
        }
    }

    fn decision(&self, decision: &str) -> Approval {
        Approval {
            decision: Some(decision.to_owned()),
            decided_by: Some(self.decided_by.clone()),
            message: Some("seen on the dashboard".to_owned()),
            ..self.approval()
        }
    }
}
