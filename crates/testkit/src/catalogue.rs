//! Workflows of the catalogue and searches for them, and records of notifications, as JSON: valid unless a test says otherwise.

use serde_json::{Value, json};

/// Returns a version of a workflow that treats `component`.
pub fn workflow(name: &str, version: &str, component: &str) -> Value {
    json!({
        "workflow_name": name,
        "version": version,
        "name": format!("{name} {version}"),
        "description": "Restarts what runs out of memory.",
        "content": "steps: []",
        "content_hash": "a".repeat(64),
        "execution_engine": "tekton",
        "status": "active",
        "labels": labels(component),
    })
}

/// Returns a search that finds the workflows for `component`.
pub fn search(component: &str) -> Value {
    json!({"filters": labels(component), "top_k": 5})
}

/// Returns the record of a notification that was sent.
pub fn notification(remediation: &str, notification: &str) -> Value {
    json!({
        "remediation_id": remediation,
        "notification_id": notification,
        "recipient": "#ops",
        "channel": "slack",
        "message_summary": "the deployment was restarted",
        "status": "sent",
        "sent_at": jiff::Timestamp::now().to_string(),
        "escalation_level": 1,
    })
}

fn labels(component: &str) -> Value {
    json!({
        "signal_type": "OOMKilled",
        "severity": "high",
        "component": component,
        "environment": "production",
        "priority": "P1",
    })
}
