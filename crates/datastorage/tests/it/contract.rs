//! The OpenAPI document, held against what the server routes and answers.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use jsonschema::{Draft, Validator};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Answer, Service, http, send};

/// The document as JSON, `nullable` turned into JSON Schema's own words.
pub(crate) static DOCUMENT: LazyLock<Value> = LazyLock::new(|| {
    let mut document: Value =
        serde_saphyr::from_str(datastorage_api::OPENAPI).expect("the document is YAML");
    map_schemas(&mut document, &|schema| {
        if schema.remove("nullable") == Some(Value::Bool(true)) {
            let kind = schema["type"].take();
            schema.insert("type".to_owned(), json!([kind, "null"]));
            if let Some(Value::Array(words)) = schema.get_mut("enum") {
                words.push(Value::Null);
            }
        }
    });
    document
});

/// The same for answers: a member that the document does not name is a fault, but in a problem, which may have extensions.
static CLOSED: LazyLock<Value> = LazyLock::new(|| {
    let mut document = DOCUMENT.clone();
    map_schemas(&mut document, &|schema| {
        let problem = schema
            .get("properties")
            .is_some_and(|properties| properties.get("field_errors").is_some());
        if !problem {
            schema.entry("additionalProperties").or_insert(json!(false));
        }
    });
    document
});

/// Applies `change` to every schema that says its type.
fn map_schemas(value: &mut Value, change: &impl Fn(&mut serde_json::Map<String, Value>)) {
    match value {
        Value::Object(members) => {
            members
                .values_mut()
                .for_each(|member| map_schemas(member, change));
            let of_object =
                members.get("type") == Some(&json!("object")) && members.contains_key("properties");
            let nullable = members.get("type").is_some_and(Value::is_string)
                && members.contains_key("nullable");
            if of_object || nullable {
                change(members);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| map_schemas(item, change)),
        _ => {}
    }
}

/// What a reference points to, or the value itself.
pub(crate) fn resolve(value: &Value) -> &Value {
    match value["$ref"].as_str() {
        Some(reference) => DOCUMENT
            .pointer(reference.trim_start_matches('#'))
            .expect("the reference resolves"),
        None => value,
    }
}

/// A validator of the schema; references in it point into `document`.
fn validator_in(document: &Value, schema: &Value) -> Validator {
    jsonschema::options()
        .with_draft(Draft::Draft7)
        .should_validate_formats(true)
        .build(&json!({"allOf": [schema], "components": document["components"]}))
        .expect("a schema")
}

/// A validator of a request's schema.
pub(crate) fn validator(schema: &Value) -> Validator {
    validator_in(&DOCUMENT, schema)
}

/// The validator of an answer's schema, made once.
fn answer_validator(schema: &Value) -> Arc<Validator> {
    static MADE: Mutex<BTreeMap<String, Arc<Validator>>> = Mutex::new(BTreeMap::new());
    let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
    let validator = made
        .entry(schema.to_string())
        .or_insert_with(|| Arc::new(validator_in(&CLOSED, schema)));
    Arc::clone(validator)
}

/// The template that a path is an instance of; one without parameters goes first.
fn template(path: &str) -> Option<&'static str> {
    let fits = |template: &&str| {
        template.split('/').count() == path.split('/').count()
            && template
                .split('/')
                .zip(path.split('/'))
                .all(|(template, segment)| {
                    template == segment || template.starts_with('{') && !segment.is_empty()
                })
    };
    let paths = DOCUMENT["paths"].as_object().expect("paths");
    paths
        .keys()
        .map(String::as_str)
        .filter(fits)
        .min_by_key(|template| template.matches('{').count())
}

/// Panics unless the document declares this answer: its status, its media type, and every member of its body.
pub(crate) fn check(method: &str, path: &str, answer: &Answer) {
    let status = answer.status.as_u16();
    let operation =
        template(path).and_then(|template| DOCUMENT["paths"][template].get(method.to_lowercase()));
    let problem = json!({"application/problem+json": {"schema": {"$ref": "#/components/schemas/ProblemDetails"}}});
    let content = if let Some(operation) = operation {
        let response = operation["responses"].get(status.to_string());
        let response = response
            .unwrap_or_else(|| panic!("{method} {path}: {status} is not declared: {answer:?}"));
        &resolve(response)["content"]
    } else {
        assert!(
            matches!(status, 404 | 405),
            "{method} {path} is not in the document: {answer:?}"
        );
        &problem
    };
    let media_type = answer.content_type.split(';').next().unwrap_or_default();
    let declared = content.get(media_type).unwrap_or_else(|| {
        panic!("{method} {path}: {status} as {media_type:?} is not declared: {answer:?}")
    });
    let validator = answer_validator(&declared["schema"]);
    let errors: Vec<_> = validator
        .iter_errors(&answer.body)
        .map(|error| format!("{} {error}", error.instance_path()))
        .collect();
    assert!(
        errors.is_empty(),
        "{method} {path}: the body of this {status} breaks its schema: {errors:#?}\n{answer:?}"
    );
    if status == 503 && media_type == "application/problem+json" {
        assert!(
            answer.retry_after.is_some(),
            "{method} {path}: no Retry-After: {answer:?}"
        );
    }
}

/// A path of the template.
pub(crate) fn instance(template: &str) -> String {
    template
        .replace("{workflow_id}", "0193b3a0-0000-7000-8000-000000000000")
        .replace("{workflow_name}", "unknown")
}

#[tokio::test(flavor = "multi_thread")]
async fn every_operation_of_the_document_is_routed_and_no_other_method_is() {
    let database = testkit::postgres::database("datastorage").await;
    let service = Service::of_profile(database.url(), "datastorage").await;
    for (template, item) in DOCUMENT["paths"].as_object().expect("paths") {
        let path = instance(template);
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"] {
            let request = http().request(
                Method::from_bytes(method.as_bytes()).expect("a method"),
                service.url(&path),
            );
            let answer = send(request).await;
            let declared = item.get(method.to_lowercase()).is_some();
            assert_eq!(
                answer.status != 405,
                declared,
                "{method} {template}: {answer:?}"
            );
            let unknown_path = json!(format!("there is no {path}"));
            assert_ne!(answer.body["detail"], unknown_path, "{method} {template}");
        }
    }
    for path in [
        "/",
        "/api/v1",
        "/api/v1/incidents/1",
        "/api/v1/audit/events/",
        "/api/v1/audit/events/1",
        "/api/v1/workflows/by-name/x",
        "/api/v1/workflows/x/y",
        "/health/",
    ] {
        let problem = service.get(path).await.expect(404).problem();
        assert_eq!(problem.instance.as_deref(), Some(path));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_outside_the_profile_are_a_503_that_names_them() {
    let database = testkit::postgres::database("workflowexecution").await;
    let service = Service::of_profile(database.url(), "workflowexecution").await;
    for (path, table) in [
        ("/api/v1/workflows", "remediation_workflow_catalog"),
        (
            "/api/v1/workflows/by-name/x/versions",
            "remediation_workflow_catalog",
        ),
    ] {
        let problem = service.get(path).await.expect(503).problem();
        assert_eq!(problem.relation.as_deref(), Some(table));
    }
    let answer = service
        .post("/api/v1/audit/notifications", &json!({}))
        .await
        .expect(503);
    assert_eq!(
        answer.problem().relation.as_deref(),
        Some("notification_audit")
    );
}
