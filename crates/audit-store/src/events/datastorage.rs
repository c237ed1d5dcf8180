//! Events of Data Storage itself.

use datastorage_api::{EventCategory, EventOutcome};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::by_service;
use crate::Event;

/// A search in the workflow catalogue.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Search {
    /// What was asked.
    pub query: Value,
    /// What was found.
    pub results: Value,
    /// How, and how long it took.
    pub search_metadata: Value,
}

/// The catalogue was searched for a remediation.
pub fn search_completed(remediation_id: &str, search: &Search) -> Event {
    by_service(
        EventCategory::Workflow,
        "datastorage",
        "workflow.catalog.search_completed",
        EventOutcome::Success,
        remediation_id,
        search,
    )
}
