//! The tables say what the document says, and bad bodies get all their faults named.

use serde_json::{Value, json};

use super::*;
use crate::notification::NOTIFICATION;
use crate::workflow::{DETECTED_LABELS, DISABLE, LABELS, SEARCH, SEARCH_FILTERS, UPDATE, WORKFLOW};

fn document() -> Value {
    serde_saphyr::from_str(crate::OPENAPI).expect("the document is YAML")
}

/// The schema that a reference of the document points to, or the schema itself.
fn resolve<'a>(document: &'a Value, schema: &'a Value) -> &'a Value {
    match schema["$ref"].as_str() {
        Some(reference) => document
            .pointer(reference.trim_start_matches('#'))
            .expect("the reference resolves"),
        None => schema,
    }
}

/// The schema that a kind represents, as the document writes it.
fn schema_of(kind: Kind) -> Value {
    let text = |least: usize, most: usize| {
        let mut schema = json!({"type": "string"});
        if least > 0 {
            schema["minLength"] = least.into();
        }
        if most < usize::MAX {
            schema["maxLength"] = most.into();
        }
        schema
    };
    match kind {
        Kind::Text(least, most) => text(least, most),
        Kind::OneOf(words) => json!({"type": "string", "enum": words}),
        Kind::Uuid => json!({"type": "string", "format": "uuid"}),
        Kind::Time => json!({"type": "string", "format": "date-time"}),
        Kind::Integer(least, most) => {
            let mut schema = json!({"type": "integer", "format": "int32"});
            if least > i32::MIN {
                schema["minimum"] = least.into();
            }
            if most < i32::MAX {
                schema["maximum"] = most.into();
            }
            schema
        }
        Kind::UnitInterval => {
            json!({"type": "number", "format": "double", "minimum": 0, "maximum": 1})
        }
        Kind::Boolean => json!({"type": "boolean"}),
        Kind::AnyObject => json!({"type": "object", "additionalProperties": true}),
        Kind::Object(_) => json!({"type": "object"}),
        Kind::List(item) => json!({"type": "array", "items": schema_of(*item)}),
        Kind::MapOf(item) => json!({"type": "object", "additionalProperties": schema_of(*item)}),
    }
}

fn compare(document: &Value, name: &str, rules: &[Rule]) {
    let schema = &document["components"]["schemas"][name];
    let properties = schema["properties"].as_object().expect("properties");
    let mut declared: Vec<_> = properties.keys().map(String::as_str).collect();
    let mut known: Vec<_> = rules.iter().map(|rule| rule.name).collect();
    declared.sort_unstable();
    known.sort_unstable();
    assert_eq!(declared, known, "members of {name}");
    let none = Vec::new();
    let required = schema["required"].as_array().unwrap_or(&none);
    for rule in rules {
        let place = format!("{name}.{}", rule.name);
        let mut property = resolve(document, &properties[rule.name]).clone();
        let members = property.as_object_mut().expect("a schema");
        let nullable = members.remove("nullable") == Some(Value::Bool(true));
        let presence = match (required.contains(&rule.name.into()), nullable) {
            (true, _) => Presence::Required,
            (false, true) => Presence::Nullable,
            (false, false) => Presence::Optional,
        };
        assert_eq!(presence, rule.presence, "{place}");
        for aside in ["description", "example", "default"] {
            members.remove(aside);
        }
        if let Kind::Object(_) = rule.kind {
            // Compared by its own name.
            property = json!({"type": property["type"]});
        }
        if let Some(items) = property.get_mut("items") {
            *items = resolve(document, items).clone();
        }
        assert_eq!(property, schema_of(rule.kind), "{place}");
    }
}

#[test]
fn the_tables_are_the_schemas_of_the_document() {
    let document = document();
    for (name, rules) in [
        ("NotificationAudit", NOTIFICATION),
        ("RemediationWorkflow", WORKFLOW),
        ("MandatoryLabels", LABELS),
        ("DetectedLabels", DETECTED_LABELS),
        ("WorkflowUpdateRequest", UPDATE),
        ("WorkflowDisableRequest", DISABLE),
        ("WorkflowSearchRequest", SEARCH),
        ("WorkflowSearchFilters", SEARCH_FILTERS),
    ] {
        compare(&document, name, rules);
    }
}

fn violations(body: &Value, rules: &[Rule]) -> Vec<String> {
    match parse::<Value>(body.to_string().as_bytes(), rules) {
        Err(SubmissionError::Fields { errors, .. }) => errors
            .iter()
            .map(|(field, what)| format!("{field} {what}"))
            .collect(),
        other => panic!("expected violations, got {other:?}"),
    }
}

#[test]
fn every_violation_is_named_by_its_path() {
    let body = json!({
        "filters": {
            "signal_type": "", "severity": "urgent", "component": 5, "priority": "*",
            "custom_labels": {"team": ["a", 7]}, "detected_labels": {"stateful": "yes"}, "status": ["gone"]
        },
        "top_k": 0, "min_score": 1.5, "remediation_id": "x".repeat(256)
    });
    assert_eq!(
        violations(&body, SEARCH),
        [
            "filters.component must be a string",
            "filters.custom_labels.team[1] must be a string",
            "filters.detected_labels.stateful must be true or false",
            "filters.environment is required",
            "filters.priority must be one of P0, P1, P2, P3",
            "filters.severity must be one of critical, high, medium, low",
            "filters.signal_type must not be empty",
            "filters.status[0] must be one of active, disabled, deprecated, archived",
            "min_score must be a number from 0 to 1",
            "remediation_id must have at most 255 characters, has 256",
            "top_k must be a whole number from 1 to 100",
        ]
    );
}

#[test]
fn what_postgresql_cannot_store_is_refused() {
    let nul = json!({"labels": {"a\0": [], "b": ["\0"]}, "free": {"deep": [{"x": "\0"}]}, "time": "0000-12-31T23:59:59Z"});
    let rules = [
        optional("labels", Kind::MapOf(&Kind::List(&TEXT))),
        optional("free", Kind::AnyObject),
        optional("time", Kind::Time),
    ];
    assert_eq!(
        violations(&nul, &rules),
        [
            "free must not hold U+0000",
            "labels must not hold U+0000",
            "labels.b[0] must not hold U+0000",
            "time must not lie before the year 1",
        ]
    );
    for (free, expected) in [
        (
            "1e99999",
            "free must not hold a number beyond 1.8e308, or whose exponent is not from -324 to 308",
        ),
        (
            "1e-20000",
            "free must not hold a number beyond 1.8e308, or whose exponent is not from -324 to 308",
        ),
        (r#""\ud800""#, "free must not hold half a surrogate pair"),
        (
            &format!("{}{}", "[".repeat(200), "]".repeat(200)),
            "free must nest at most 128 levels",
        ),
    ] {
        let body = format!(r#"{{"free": {{"x": {free}}}}}"#);
        let error = parse::<Value>(body.as_bytes(), &rules).expect_err(&body);
        assert_eq!(error.to_string(), expected);
    }
}

#[test]
fn a_body_of_another_kind_says_what_was_expected() {
    for (body, expected) in [
        ("[]", "the body must be an object"),
        (
            "",
            "the body is not JSON: EOF while parsing a value at line 1 column 0",
        ),
    ] {
        let error = parse::<Value>(body.as_bytes(), UPDATE).expect_err(body);
        assert_eq!(error.to_string(), expected);
    }
    let twice = crate::parse_workflow_disable(br#"{"reason": "a", "reason": "b"}"#);
    assert!(
        twice
            .expect_err("given twice")
            .to_string()
            .starts_with("duplicate field")
    );
}
