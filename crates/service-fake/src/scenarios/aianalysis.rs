//! The AI analysis controller: it asks the model's service, evaluates the approval policy, and completes or fails.

use audit_store::Event;
use audit_store::events::aianalysis::{
    Analysis, ApprovalDecision, Completion, Failure, HolmesGptCall, PhaseTransition,
    RegoEvaluation, analysis_completed, approval_decision, error_occurred, holmesgpt_call,
    phase_transition, rego_evaluation,
};
use serde::{Deserialize, Serialize};

use crate::scenario::{Scenario, unique};

#[derive(Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Cast {
    /// `spec.remediationID`, which correlates.
    remediation_id: String,
    /// Name of the `AIAnalysis`.
    name: String,
    namespace: String,
    environment: String,
    /// The workflow that the model chooses.
    workflow_id: String,
    confidence: f64,
    error: String,
}

impl Default for Cast {
    fn default() -> Self {
        Self {
            remediation_id: unique("rr"),
            name: unique("aianalysis"),
            namespace: "kubernaut-system".to_owned(),
            environment: "staging".to_owned(),
            workflow_id: "restart-deployment".to_owned(),
            confidence: 0.92,
            error: "HolmesGPT-API answered 503".to_owned(),
        }
    }
}

pub(super) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new(
            "completed",
            "the model finds a workflow, and the policy approves it",
            |cast: &Cast| cast.completed(&cast.evaluated("approved"), false),
        ),
        Scenario::new(
            "approval-required",
            "the model finds a workflow, and the policy wants a person's approval",
            |cast: &Cast| cast.completed(&cast.evaluated("requires_approval"), true),
        ),
        Scenario::new(
            "degraded",
            "the policy cannot be evaluated, so a person's approval is wanted",
            |cast: &Cast| {
                let evaluation = RegoEvaluation {
                    degraded: true,
                    reason: Some("policy_not_found".to_owned()),
                    ..cast.evaluated("requires_approval")
                };
                cast.completed(&evaluation, true)
            },
        ),
        Scenario::new(
            "failed",
            "the model's service does not answer",
            |cast: &Cast| cast.failed(),
        ),
    ]
}

impl Cast {
    fn completed(&self, evaluation: &RegoEvaluation, needs_approval: bool) -> Vec<Event> {
        let analysis = self.analysis();
        vec![
            self.enters("Pending", "Investigating"),
            self.calls("/api/v1/incident/analyze", 200),
            self.enters("Investigating", "Analyzing"),
            rego_evaluation(analysis, evaluation),
            approval_decision(analysis, &self.decision(needs_approval)),
            self.enters("Analyzing", "Completed"),
            analysis_completed(
                analysis,
                &self.completion(needs_approval, evaluation.degraded),
                true,
            ),
        ]
    }

    fn failed(&self) -> Vec<Event> {
        let analysis = self.analysis();
        let failure = Failure {
            phase: "Investigating".to_owned(),
            error: self.error.clone(),
        };
        let completion = Completion {
            phase: "Failed".to_owned(),
            reason: Some("APIError".to_owned()),
            sub_reason: Some("MaxRetriesExceeded".to_owned()),
            ..Completion::default()
        };
        vec![
            self.enters("Pending", "Investigating"),
            self.calls("/api/v1/incident/analyze", 503),
            error_occurred(analysis, &failure).severity("error"),
            self.enters("Investigating", "Failed"),
            analysis_completed(analysis, &completion, false),
        ]
    }

    fn enters(&self, old_phase: &str, new_phase: &str) -> Event {
        let transition = PhaseTransition {
            old_phase: old_phase.to_owned(),
            new_phase: new_phase.to_owned(),
        };
        phase_transition(self.analysis(), &transition)
    }

    fn calls(&self, endpoint: &str, http_status_code: u16) -> Event {
        let call = HolmesGptCall {
            endpoint: endpoint.to_owned(),
            http_status_code,
            duration_ms: 1_840,
        };
        holmesgpt_call(self.analysis(), &call)
    }

    fn evaluated(&self, outcome: &str) -> RegoEvaluation {
        RegoEvaluation {
            outcome: outcome.to_owned(),
            degraded: false,
            duration_ms: 4,
            reason: Some(format!("{} policy", self.environment)),
        }
    }

    fn decision(&self, needs_approval: bool) -> ApprovalDecision {
        let (decision, reason) = if needs_approval {
            ("requires_approval", "the policy asks for a person")
        } else {
            ("auto_approved", "the policy approves")
        };
        ApprovalDecision {
            approval_required: needs_approval,
            approval_reason: reason.to_owned(),
            auto_approved: !needs_approval,
            decision: decision.to_owned(),
            environment: self.environment.clone(),
            confidence: Some(self.confidence),
            workflow_id: Some(self.workflow_id.clone()),
        }
    }

    fn completion(&self, needs_approval: bool, degraded: bool) -> Completion {
        Completion {
            phase: "Completed".to_owned(),
            approval_required: needs_approval,
            approval_reason: needs_approval.then(|| "the policy asks for a person".to_owned()),
            degraded_mode: degraded,
            warnings_count: 0,
            confidence: Some(self.confidence),
            workflow_id: Some(self.workflow_id.clone()),
            target_in_owner_chain: Some(true),
            reason: None,
            sub_reason: None,
        }
    }

    fn analysis(&self) -> Analysis<'_> {
        Analysis {
            remediation_id: &self.remediation_id,
            name: &self.name,
            namespace: &self.namespace,
        }
    }
}
