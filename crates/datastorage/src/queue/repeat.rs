//! Whether an event repeats one that waits in the queue.

use datastorage_api::{EventData, NewEvent};
use serde_json::Value;

/// Bytes of `event_data` up to which trees of it are compared; larger ones are left to the database.
const COMPARED: usize = 1 << 20;

/// How an event relates to another of the same id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Likeness {
    /// It says the same.
    Same,
    /// It says something else.
    Other,
    /// Only the text of its `event_data` differs, in the order of members or the form of numbers as far as can be seen here:
    /// PostgreSQL compares them exactly when it stores them.
    Unsure,
}

/// Compares two events.
pub(super) fn likeness(one: &NewEvent, two: &NewEvent) -> Likeness {
    if one == two {
        return Likeness::Same;
    }
    if !same_apart_from_data(one, two) {
        return Likeness::Other;
    }
    if one
        .event_data
        .as_str()
        .len()
        .max(two.event_data.as_str().len())
        > COMPARED
    {
        return Likeness::Unsure;
    }
    match (tree(&one.event_data), tree(&two.event_data)) {
        (Some(one), Some(two)) if !alike(&one, &two) => Likeness::Other,
        _ => Likeness::Unsure,
    }
}

fn same_apart_from_data(one: &NewEvent, two: &NewEvent) -> bool {
    let bare = |event: &NewEvent| NewEvent {
        event_data: EventData::empty(),
        ..event.clone()
    };
    bare(one) == bare(two)
}

fn tree(data: &EventData) -> Option<Value> {
    data.parse().ok()
}

/// Whether two values may be equal: numbers are compared as far as 64 bits hold them.
fn alike(one: &Value, two: &Value) -> bool {
    match (one, two) {
        (Value::Number(one), Value::Number(two)) => one.as_f64() == two.as_f64(),
        (Value::Array(one), Value::Array(two)) => {
            one.len() == two.len() && one.iter().zip(two).all(|(one, two)| alike(one, two))
        }
        (Value::Object(one), Value::Object(two)) => {
            one.len() == two.len()
                && one
                    .iter()
                    .all(|(name, one)| two.get(name).is_some_and(|two| alike(one, two)))
        }
        (one, two) => one == two,
    }
}

#[cfg(test)]
mod tests {
    use datastorage_api::parse_event;
    use uuid::Uuid;

    use super::*;

    fn event(data: &str, action: &str) -> NewEvent {
        let body = format!(
            r#"{{"version": "1.0", "event_type": "a.b", "event_timestamp": "2026-01-02T03:04:05Z", "event_category": "workflow",
            "event_action": "{action}", "event_outcome": "success", "correlation_id": "c", "event_data": {data}}}"#
        );
        let now = "2026-01-02T03:04:05Z".parse().expect("a time");
        let event = parse_event(body.as_bytes(), now).expect("an event");
        event.into_stored(Uuid::nil)
    }

    #[test]
    fn events_are_the_same_other_or_left_to_the_database() {
        let first = event(r#"{"a": 1, "b": [true]}"#, "b");
        for (other, expected) in [
            (event(r#"{"a": 1, "b": [true]}"#, "b"), Likeness::Same),
            (event(r#"{"a": 1, "b": [true]}"#, "c"), Likeness::Other),
            (event(r#"{"a": 2, "b": [true]}"#, "b"), Likeness::Other),
            (event(r#"{"a": 1}"#, "b"), Likeness::Other),
            (event(r#"{"b": [true], "a": 1.0}"#, "b"), Likeness::Unsure),
        ] {
            assert_eq!(likeness(&first, &other), expected, "{other:?}");
        }
    }
}
