//! The document and the constants beside it say the same.

use std::collections::BTreeSet;

use datastorage_api::{
    EventCategory, EventOutcome, OPENAPI, ProblemDetails, ProblemType, limits, paths,
};
use serde_json::Value;

fn document() -> Value {
    serde_saphyr::from_str(OPENAPI).expect("the document is YAML")
}

fn references(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            if let Some(Value::String(reference)) = map.get("$ref") {
                found.insert(reference.clone());
            }
            map.values().for_each(|value| references(value, found));
        }
        Value::Array(list) => list.iter().for_each(|value| references(value, found)),
        _ => {}
    }
}

#[test]
fn every_reference_resolves_and_every_schema_is_used() {
    let document = document();
    let mut found = BTreeSet::new();
    references(&document, &mut found);
    for reference in &found {
        let pointer = reference.trim_start_matches('#');
        assert!(
            document.pointer(pointer).is_some(),
            "{reference} points nowhere"
        );
    }
    for kind in ["schemas", "responses", "parameters"] {
        for name in document["components"][kind]
            .as_object()
            .expect("a map")
            .keys()
        {
            assert!(
                found.contains(&format!("#/components/{kind}/{name}")),
                "{kind}/{name} is used nowhere"
            );
        }
    }
}

#[test]
fn the_paths_of_the_document_are_the_constants() {
    let document = document();
    let written: BTreeSet<_> = document["paths"]
        .as_object()
        .expect("a map")
        .keys()
        .map(String::as_str)
        .collect();
    let constants = BTreeSet::from([
        paths::AUDIT_EVENTS,
        paths::AUDIT_EVENTS_BATCH,
        paths::NOTIFICATIONS,
        paths::WORKFLOWS,
        paths::WORKFLOWS_SEARCH,
        paths::WORKFLOW_VERSIONS,
        paths::WORKFLOW,
        paths::WORKFLOW_DISABLE,
        paths::RATE_INCIDENT_TYPE,
        paths::RATE_WORKFLOW,
        paths::RATE_DIMENSIONS,
        paths::INCIDENTS,
        paths::INCIDENTS_RATE,
        paths::QUEUE_PARKED,
        paths::QUEUE_PARKED_ENTRY,
        paths::QUEUE_REDRIVE,
        paths::HEALTH,
        paths::HEALTH_READY,
        paths::HEALTH_LIVE,
        paths::METRICS,
    ]);
    assert_eq!(written, constants);
}

#[test]
fn the_limits_of_both_forms_are_the_constants() {
    let document = document();
    for form in ["AuditEventRequest", "AuditEventShortForm"] {
        let properties = &document["components"]["schemas"][form]["properties"];
        for (field, limit) in [
            ("version", limits::VERSION),
            ("event_type", limits::EVENT_TYPE),
            ("event_action", limits::EVENT_ACTION),
            ("correlation_id", limits::CORRELATION_ID),
            ("actor_type", limits::ACTOR_TYPE),
            ("actor_id", limits::ACTOR_ID),
            ("resource_type", limits::RESOURCE_TYPE),
            ("resource_id", limits::RESOURCE_ID),
            ("namespace", limits::NAMESPACE),
            ("cluster_name", limits::CLUSTER_NAME),
            ("severity", limits::SEVERITY),
        ] {
            let property = &properties[field];
            assert!(
                property.is_null() || property["maxLength"] == limit,
                "{form}.{field}: {property}"
            );
        }
    }
    let batch = &document["paths"][paths::AUDIT_EVENTS_BATCH]["post"]["requestBody"]["content"]["application/json"]
        ["schema"];
    assert_eq!(batch["maxItems"], limits::BATCH_EVENTS);
    let limit = &document["components"]["parameters"]["AuditLimit"]["schema"];
    assert_eq!(
        (&limit["maximum"], &limit["default"]),
        (&limits::PAGE.into(), &limits::DEFAULT_PAGE.into())
    );
}

#[test]
fn the_values_of_both_enums_are_the_types_values() {
    let schemas = &document()["components"]["schemas"];
    assert_eq!(
        schemas["EventCategory"]["enum"],
        serde_json::json!(EventCategory::ALL.map(EventCategory::as_str))
    );
    assert_eq!(
        schemas["EventOutcome"]["enum"],
        serde_json::json!(EventOutcome::ALL.map(EventOutcome::as_str))
    );
    assert_eq!(
        schemas["EventCategory"]["enum"],
        serde_json::json!(EventCategory::ALL)
    );
}

#[test]
fn a_problem_round_trips_with_extensions_it_does_not_know() {
    let mut problem = ProblemDetails::new(ProblemType::Conflict, "taken");
    problem
        .extensions
        .insert("since".to_owned(), "yesterday".into());
    let json = serde_json::to_string(&problem).expect("JSON");
    assert_eq!(
        serde_json::from_str::<ProblemDetails>(&json).expect("a problem"),
        problem
    );
    assert_eq!(problem.name(), "conflict");
}
