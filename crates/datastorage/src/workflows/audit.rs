//! The catalogue's own audit events: a change's is committed with it, a search's is written after the answer.

use std::sync::Arc;
use std::time::Duration;

use datastorage_api::time::to_microseconds;
use datastorage_api::{
    EventCategory, EventData, EventOutcome, NewEvent, NewWorkflow, WorkflowSearchRequest,
};
use serde::Serialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::score::Ranked;
use crate::app::App;
use crate::audit::Writer;
use crate::outcome::Outcome;
use crate::store::ChangedWorkflow;

/// A version was registered.
pub(super) fn created(app: &App, id: Uuid, workflow: &NewWorkflow) -> Option<NewEvent> {
    let data = json!({
        "workflow_id": id,
        "workflow_name": workflow.workflow_name,
        "version": workflow.version,
        "name": workflow.name,
        "status": workflow.status,
        "content_hash": workflow.content_hash,
        "execution_engine": workflow.execution_engine,
        "labels": workflow.labels,
    });
    let event = Own {
        event_type: "datastorage.workflow.created",
        action: "created",
        resource_type: "Workflow",
        duration_ms: None,
    };
    event.about(app, Some(id.to_string()), &data)
}

/// A version was changed; `change` is what was asked for.
pub(super) fn updated(app: &App, changed: &ChangedWorkflow, change: &Value) -> Option<NewEvent> {
    let data = json!({
        "workflow_id": changed.workflow_id,
        "workflow_name": changed.workflow_name,
        "version": changed.version,
        "status": changed.status,
        "updated_fields": change,
    });
    let event = Own {
        event_type: "datastorage.workflow.updated",
        action: "updated",
        resource_type: "Workflow",
        duration_ms: None,
    };
    event.about(app, Some(changed.workflow_id.to_string()), &data)
}

/// Writes that a search was answered; the answer does not wait for it.
pub(super) fn searched(
    app: &Arc<App>,
    writer: Writer,
    request: &WorkflowSearchRequest,
    ranked: &Ranked,
    took: Duration,
) {
    let found: Vec<_> = ranked
        .best
        .iter()
        .zip(1..)
        .map(|((score, found), rank)| {
            json!({
                "workflow_id": found.workflow_id,
                "title": found.name,
                "version": found.version,
                "description": found.description,
                "owner": found.owner,
                "maintainer": found.maintainer,
                "labels": found.labels,
                "rank": rank,
                "scoring": {
                    "confidence": score.value(),
                    "final_score": score.value(),
                    "label_boost": score.boost(),
                    "label_penalty": score.penalty(),
                },
            })
        })
        .collect();
    let duration_ms = i32::try_from(took.as_millis()).unwrap_or(i32::MAX);
    let data = json!({
        "query": request,
        "results": {
            "total_found": ranked.total,
            "returned": found.len(),
            "workflows": found,
        },
        "search_metadata": {
            "duration_ms": duration_ms,
            "top_k": request.top_k,
            "min_score": request.min_score,
        },
    });
    let event = Own {
        event_type: "workflow.catalog.search_completed",
        action: "search_completed",
        resource_type: "workflow_catalog",
        duration_ms: Some(duration_ms),
    };
    let correlation_id = request.remediation_id.clone().filter(|id| !id.is_empty());
    let Some(event) = event.about(app, correlation_id, &data) else {
        return;
    };
    let app = Arc::clone(app);
    tokio::spawn(async move {
        let (category, time) = (event.event_category, event.event_timestamp);
        let outcome = writer.write(vec![event]).await;
        app.metrics
            .events_written(category, time, app.clock.now(), &outcome);
        if !matches!(outcome, Outcome::Stored | Outcome::Queued) {
            app.metrics.own_event_lost();
            tracing::warn!(?outcome, "the audit event of a search is lost");
        }
    });
}

/// What differs between the kinds of own events.
struct Own {
    event_type: &'static str,
    action: &'static str,
    resource_type: &'static str,
    duration_ms: Option<i32>,
}

impl Own {
    /// The event, correlated by itself where there is nothing else; none where the profile has no audit trail.
    fn about(
        self,
        app: &App,
        correlation_id: Option<String>,
        data: &impl Serialize,
    ) -> Option<NewEvent> {
        if !app.requirements.holds("audit_events") {
            return None;
        }
        let event_id = App::new_id();
        let correlation_id = correlation_id.unwrap_or_else(|| event_id.to_string());
        Some(NewEvent {
            event_id,
            event_version: "1.0".to_owned(),
            event_type: self.event_type.to_owned(),
            event_timestamp: to_microseconds(app.clock.now()),
            event_category: EventCategory::Workflow,
            event_action: self.action.to_owned(),
            event_outcome: EventOutcome::Success,
            actor_type: "service".to_owned(),
            actor_id: "datastorage".to_owned(),
            resource_type: self.resource_type.to_owned(),
            resource_id: correlation_id.clone(),
            correlation_id,
            parent_event_id: None,
            namespace: None,
            cluster_name: None,
            event_data: EventData::new(data).unwrap_or_default(),
            severity: "info".to_owned(),
            duration_ms: self.duration_ms,
        })
    }
}
