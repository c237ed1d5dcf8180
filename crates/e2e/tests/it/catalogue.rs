//! The workflow catalogue, over Data Storage.

use datastorage_client::types::{RemediationWorkflow, WorkflowSearchRequest, WorkflowSearchResult};
use serde_json::Value;
use testkit::catalogue::{search, workflow};
use testkit::events::unique;

use crate::audit::assert_unavailable;
use crate::environment::{datastorage, variable};
use crate::{fault, tool};

/// The tool's exit code for an object of the schema that is not there.
const MISSING: i32 = 10;

/// Registers a version of a workflow for `component`.
pub(crate) async fn register(name: &str, version: &str, component: &str) -> RemediationWorkflow {
    let workflow = serde_json::from_value(workflow(name, version, component)).unwrap();
    let registered = datastorage().create_workflow(&workflow).await;
    registered.unwrap_or_else(|error| panic!("{error}"))
}

/// Returns what a search finds, best first.
pub(crate) async fn searched(search: &Value) -> Vec<WorkflowSearchResult> {
    let found = datastorage().search_workflows(&request(search)).await;
    found.unwrap_or_else(|error| panic!("{error}")).workflows
}

/// Checks that the database of this run has no catalogue: its service needs none, and runs with its own profile only.
pub(crate) async fn is_absent() {
    let _undisturbed = fault::none().await;
    let table = "remediation_workflow_catalog";
    let refused = datastorage()
        .search_workflows(&request(&search(&unique("component"))))
        .await;
    assert_unavailable(&refused.unwrap_err(), table);

    let database = variable(e2e_env::DATABASE_URL);
    let verified = tool::run(&[
        "migrate",
        "verify",
        "--tables",
        table,
        "--database-url",
        &database,
    ])
    .await;
    let said = String::from_utf8_lossy(&verified.stderr);
    assert_eq!(verified.status.code(), Some(MISSING), "{said}");
    assert!(
        said.contains(&format!("table {table} is missing")),
        "{said}"
    );
}

fn request(search: &Value) -> WorkflowSearchRequest {
    serde_json::from_value(search.clone()).unwrap_or_else(|error| panic!("{error} in {search}"))
}
