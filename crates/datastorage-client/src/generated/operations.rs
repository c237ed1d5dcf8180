//! The operations of the OpenAPI document.
//!
//! Made by `cargo run -p codegen -- client`; edit the document instead.

use hyper::Method;
use serde::Serialize;
use uuid::Uuid;
use crate::{Checked, Client, Error, Written, client::segment, types::*};
impl Client {
    /// Read audit events, newest first.
    ///
    /// Filters are combined with AND. Order is event_timestamp, then event_id, both descending. A page ends at limit or 2 MiB,
    /// whichever comes first; an event that is larger comes alone. has_more and next_cursor say whether events follow.
    ///
    /// `GET /api/v1/audit/events`
    pub async fn query_audit_events(
        &self,
        query: &QueryAuditEvents,
    ) -> Result<AuditEventsQueryResponse, Error> {
        self.call(Method::GET, "/api/v1/audit/events").query(query)?.answer(200u16).await
    }
    /// Store one audit event.
    ///
    /// `POST /api/v1/audit/events`
    pub async fn create_audit_event(
        &self,
        body: &AuditEventRequest,
    ) -> Result<Written<AuditEventResponse>, Error> {
        self.call(Method::POST, "/api/v1/audit/events").json(body)?.written(body).await
    }
    /// Store several audit events, all or none.
    ///
    /// `POST /api/v1/audit/events/batch`
    pub async fn create_audit_events_batch(
        &self,
        body: &[AuditEventRequest],
    ) -> Result<Written<AuditEventBatchResponse>, Error> {
        self.call(Method::POST, "/api/v1/audit/events/batch")
            .json(body)?
            .written(body)
            .await
    }
    /// Store the record of one notification.
    ///
    /// `POST /api/v1/audit/notifications`
    pub async fn create_notification_audit(
        &self,
        body: &NotificationAudit,
    ) -> Result<Written<NotificationAuditResponse>, Error> {
        self.call(Method::POST, "/api/v1/audit/notifications")
            .json(body)?
            .written(body)
            .await
    }
    /// Actions on resources, newest first.
    ///
    /// `GET /api/v1/incidents`
    pub async fn list_incidents(
        &self,
        query: &ListIncidents,
    ) -> Result<IncidentsResponse, Error> {
        self.call(Method::GET, "/api/v1/incidents").query(query)?.answer(200u16).await
    }
    /// How often an action or a workflow succeeded, at any time.
    ///
    /// `GET /api/v1/incidents/aggregate/success-rate`
    pub async fn get_incident_success_rate(
        &self,
        query: &GetIncidentSuccessRate,
    ) -> Result<IncidentSuccessRateResponse, Error> {
        self.call(Method::GET, "/api/v1/incidents/aggregate/success-rate")
            .query(query)?
            .answer(200u16)
            .await
    }
    /// Queued writes that the database refused for good or that cannot be read, oldest first.
    ///
    /// They count against the bounds of the queue until they are re-driven or deleted. An answer ends early when its entries are
    /// large; `has_more` says that some follow.
    ///
    /// `GET /api/v1/queue/parked`
    pub async fn list_parked_entries(
        &self,
        query: &ListParkedEntries,
    ) -> Result<ParkedEntriesResponse, Error> {
        self.call(Method::GET, "/api/v1/queue/parked").query(query)?.answer(200u16).await
    }
    /// Put parked writes back into the queue.
    ///
    /// `POST /api/v1/queue/parked/redrive`
    pub async fn redrive_parked_entries(&self) -> Result<RedriveResponse, Error> {
        self.call(Method::POST, "/api/v1/queue/parked/redrive").answer(200u16).await
    }
    /// Forget a parked write for good.
    ///
    /// `DELETE /api/v1/queue/parked/{id}`
    pub async fn delete_parked_entry(&self, id: &str) -> Result<ParkedEntry, Error> {
        self.call(Method::DELETE, format!("/api/v1/queue/parked/{}", segment(& id)))
            .answer(200u16)
            .await
    }
    /// How often what was done about a type of incident succeeded.
    ///
    /// `GET /api/v1/success-rate/incident-type`
    pub async fn get_success_rate_by_incident_type(
        &self,
        query: &GetSuccessRateByIncidentType,
    ) -> Result<SuccessRateResponse, Error> {
        self.call(Method::GET, "/api/v1/success-rate/incident-type")
            .query(query)?
            .answer(200u16)
            .await
    }
    /// How often what fits all the given dimensions succeeded.
    ///
    /// `GET /api/v1/success-rate/multi-dimensional`
    pub async fn get_success_rate_by_dimensions(
        &self,
        query: &GetSuccessRateByDimensions,
    ) -> Result<SuccessRateResponse, Error> {
        self.call(Method::GET, "/api/v1/success-rate/multi-dimensional")
            .query(query)?
            .answer(200u16)
            .await
    }
    /// How often a workflow succeeded.
    ///
    /// `GET /api/v1/success-rate/workflow`
    pub async fn get_success_rate_by_workflow(
        &self,
        query: &GetSuccessRateByWorkflow,
    ) -> Result<SuccessRateResponse, Error> {
        self.call(Method::GET, "/api/v1/success-rate/workflow")
            .query(query)?
            .answer(200u16)
            .await
    }
    /// List workflow versions, newest first.
    ///
    /// A page ends at limit or 2 MiB, whichever comes first; has_more says whether versions follow.
    ///
    /// `GET /api/v1/workflows`
    pub async fn list_workflows(
        &self,
        query: &ListWorkflows,
    ) -> Result<WorkflowListResponse, Error> {
        self.call(Method::GET, "/api/v1/workflows").query(query)?.answer(200u16).await
    }
    /// Register a version of a workflow.
    ///
    /// The new version becomes the latest of its workflow_name.
    ///
    /// `POST /api/v1/workflows`
    pub async fn create_workflow(
        &self,
        body: &RemediationWorkflow,
    ) -> Result<RemediationWorkflow, Error> {
        self.call(Method::POST, "/api/v1/workflows").json(body)?.answer(201u16).await
    }
    /// All versions of a workflow, newest first.
    ///
    /// The list ends at 2 MiB, with has_more.
    ///
    /// `GET /api/v1/workflows/by-name/{workflow_name}/versions`
    pub async fn list_workflow_versions(
        &self,
        workflow_name: &str,
    ) -> Result<WorkflowVersionsResponse, Error> {
        self.call(
                Method::GET,
                format!(
                    "/api/v1/workflows/by-name/{}/versions", segment(& workflow_name)
                ),
            )
            .answer(200u16)
            .await
    }
    /// Rank workflows by how well their labels fit.
    ///
    /// Finds the latest versions that fit the five mandatory labels (a `*` of the catalogue fits any component or priority) and have
    /// an accepted status. The score is (5 + boost - penalty) / 10, at most 1: a detected label that both sides have raises it by
    /// 0.10 (gitOpsManaged, gitOpsTool), 0.05 (pdbProtected, serviceMesh), 0.03 (networkIsolated) or 0.02 (helmManaged, stateful,
    /// hpaEnabled), a tool asked for as `*` by half of that; a custom label by 0.05, asked for as `*` by 0.03; each contradiction in
    /// gitOpsManaged and gitOpsTool lowers it by 0.10. Of equal scores the newer version goes first.
    ///
    /// `POST /api/v1/workflows/search`
    pub async fn search_workflows(
        &self,
        body: &WorkflowSearchRequest,
    ) -> Result<WorkflowSearchResponse, Error> {
        self.call(Method::POST, "/api/v1/workflows/search")
            .json(body)?
            .answer(200u16)
            .await
    }
    /// One workflow version.
    ///
    /// `GET /api/v1/workflows/{workflow_id}`
    pub async fn get_workflow_by_id(
        &self,
        workflow_id: Uuid,
    ) -> Result<RemediationWorkflow, Error> {
        self.call(Method::GET, format!("/api/v1/workflows/{}", segment(& workflow_id)))
            .answer(200u16)
            .await
    }
    /// Change the status of a workflow version.
    ///
    /// A version is immutable but for its status; description, content or labels in the body are a 400.
    ///
    /// `PATCH /api/v1/workflows/{workflow_id}`
    pub async fn update_workflow(
        &self,
        workflow_id: Uuid,
        body: &WorkflowUpdateRequest,
    ) -> Result<RemediationWorkflow, Error> {
        self.call(Method::PATCH, format!("/api/v1/workflows/{}", segment(& workflow_id)))
            .json(body)?
            .answer(200u16)
            .await
    }
    /// Take a workflow version out of the search.
    ///
    /// `PATCH /api/v1/workflows/{workflow_id}/disable`
    pub async fn disable_workflow(
        &self,
        workflow_id: Uuid,
        body: Option<&WorkflowDisableRequest>,
    ) -> Result<RemediationWorkflow, Error> {
        self.call(
                Method::PATCH,
                format!("/api/v1/workflows/{}/disable", segment(& workflow_id)),
            )
            .maybe_json(body)?
            .answer(200u16)
            .await
    }
    /// Whether the database answers.
    ///
    /// `GET /health`
    pub async fn get_health(&self) -> Result<Checked<HealthStatus>, Error> {
        self.call(Method::GET, "/health").checked().await
    }
    /// Whether the process runs.
    ///
    /// `GET /health/live`
    pub async fn get_liveness(&self) -> Result<LivenessStatus, Error> {
        self.call(Method::GET, "/health/live").answer(200u16).await
    }
    /// Whether the instance can commit what its schema profile serves.
    ///
    /// Answered within a second; a database that does not answer by then counts as unreachable.
    ///
    /// `GET /health/ready`
    pub async fn get_readiness(&self) -> Result<Checked<ReadinessStatus>, Error> {
        self.call(Method::GET, "/health/ready").checked().await
    }
    /// Metrics in the Prometheus text format.
    ///
    /// `GET /metrics`
    pub async fn get_metrics(&self) -> Result<String, Error> {
        self.call(Method::GET, "/metrics").text(200u16).await
    }
}
/// What [`Client::query_audit_events`] asks for; absent members take the server's defaults.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct QueryAuditEvents {
    /// Equality.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event_type: Option<String>,
    /// Equality.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event_category: Option<String>,
    /// Equality.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event_outcome: Option<EventOutcome>,
    /// Equality.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub severity: Option<String>,
    /// Equality.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<String>,
    /// Equality.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource_type: Option<String>,
    /// Equality.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource_id: Option<String>,
    /// Equality.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actor_type: Option<String>,
    /// Equality.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actor_id: Option<String>,
    /// Earliest event_timestamp (inclusive). A span before now (`24h`, `90m`, `7d`, `1.5d`), an RFC 3339 time, or `2025-12-18T10:00:00` or `2025-12-18` in UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// Latest event_timestamp (inclusive), in the forms of `since`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// Default 50.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<i32>,
    /// Default 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offset: Option<i64>,
    /** The next_cursor of the page before, from any server on the same database. Stays fast at any depth; not together with
offset. One that no server wrote is a 400.
*/
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}
/// What [`Client::list_incidents`] asks for; absent members take the server's defaults.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct ListIncidents {
    /// The signal that was answered
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signal_name: Option<String>,
    /// Its severity
    #[serde(skip_serializing_if = "Option::is_none")]
    pub severity: Option<String>,
    /// What was done
    #[serde(skip_serializing_if = "Option::is_none")]
    pub action_type: Option<String>,
    /// Default 100.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<i32>,
    /// Default 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offset: Option<i64>,
}
/// What [`Client::get_incident_success_rate`] asks for; absent members take the server's defaults.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct GetIncidentSuccessRate {
    /// The id of the action or of the workflow
    pub workflow_id: String,
}
/// What [`Client::list_parked_entries`] asks for; absent members take the server's defaults.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct ListParkedEntries {
    /// Default 50.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<i32>,
    /// The id of the last entry of the page before
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<i64>,
}
/// What [`Client::get_success_rate_by_incident_type`] asks for; absent members take the server's defaults.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct GetSuccessRateByIncidentType {
    /// The type of incident
    pub incident_type: String,
    /// How far back executions are counted, in hours (`24h`) or days (`7d`); at most 99999 of them
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_range: Option<String>,
    /// Executions from which min_samples_met is true
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_samples: Option<i32>,
}
/// What [`Client::get_success_rate_by_dimensions`] asks for; absent members take the server's defaults.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct GetSuccessRateByDimensions {
    /// One dimension at least must be given
    #[serde(skip_serializing_if = "Option::is_none")]
    pub incident_type: Option<String>,
    /// The workflow
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workflow_id: Option<String>,
    /// Only beside workflow_id
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workflow_version: Option<String>,
    /// The type of action
    #[serde(skip_serializing_if = "Option::is_none")]
    pub action_type: Option<String>,
    /// How far back executions are counted, in hours (`24h`) or days (`7d`); at most 99999 of them
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_range: Option<String>,
    /// Executions from which min_samples_met is true
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_samples: Option<i32>,
}
/// What [`Client::get_success_rate_by_workflow`] asks for; absent members take the server's defaults.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct GetSuccessRateByWorkflow {
    /// The workflow
    pub workflow_id: String,
    /// One version of it; all without
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workflow_version: Option<String>,
    /// How far back executions are counted, in hours (`24h`) or days (`7d`); at most 99999 of them
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_range: Option<String>,
    /// Executions from which min_samples_met is true
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_samples: Option<i32>,
}
/// What [`Client::list_workflows`] asks for; absent members take the server's defaults.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct ListWorkflows {
    /// Equality.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<WorkflowStatus>,
    /// Equality.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub environment: Option<String>,
    /// Equality.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<String>,
    /// Equality.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub component: Option<String>,
    /// Default 100.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<i32>,
    /// Default 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offset: Option<i64>,
}
