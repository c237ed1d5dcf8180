//! Reads the body of a write: the full form or the short form (D30), every violation named.

use jiff::Timestamp;
use serde::de::{IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::error::Category;
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::event::check_timestamp;
use crate::field::{FieldErrors, parse_uuid};
use crate::{AuditEventRequest, EventCategory, EventData, EventOutcome, limits, time};

/// Why a body is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SubmissionError {
    /// The body as a whole is not what the operation takes.
    Body(String),
    /// Fields of the event, or of the batch's events, break the contract.
    Fields {
        /// The first event of a batch that is wrong; none for a single event.
        first: Option<usize>,
        /// Every violation.
        errors: FieldErrors,
    },
}

impl std::fmt::Display for SubmissionError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Body(what) => f.write_str(what),
            Self::Fields {
                first: None,
                errors,
            } => errors.fmt(f),
            Self::Fields {
                first: Some(index),
                errors,
            } => {
                let prefix = format!("[{index}]");
                let own = errors
                    .iter()
                    .filter_map(|(path, what)| Some((path.strip_prefix(&prefix)?, what)));
                let text: Vec<_> = own
                    .map(|(field, what)| {
                        format!("{} {what}", field.trim_start_matches('.'))
                            .trim_start()
                            .to_owned()
                    })
                    .collect();
                write!(f, "event at index {index}: {}", text.join(", "))
            }
        }
    }
}

impl std::error::Error for SubmissionError {}

/// Reads one event, valid at time `now`.
pub fn parse_event(body: &[u8], now: Timestamp) -> Result<AuditEventRequest, SubmissionError> {
    let fields = |errors| SubmissionError::Fields {
        first: None,
        errors,
    };
    // What is wrong with a body as a whole is found by reading it again.
    if let Ok(text) = std::str::from_utf8(body)
        && text.trim_ascii_start().starts_with('{')
        && let Ok(members) = serde_json::from_str(text)
    {
        return parse_members(&members, now).map_err(fields);
    }
    let raw: &RawValue = serde_json::from_slice(body).map_err(|error| not_json(&error))?;
    parse_one(raw, now).map_err(fields)
}

/// Reads a batch: at least one event, at most [`limits::BATCH_EVENTS`], all valid at time `now`.
pub fn parse_batch(body: &[u8], now: Timestamp) -> Result<Vec<AuditEventRequest>, SubmissionError> {
    let Items { items, count } =
        serde_json::from_slice(body).map_err(|error| match error.classify() {
            Category::Data => {
                SubmissionError::Body("the body must be an array of events".to_owned())
            }
            _ => not_json(&error),
        })?;
    if count == 0 {
        return Err(SubmissionError::Body("batch cannot be empty".to_owned()));
    }
    if count > limits::BATCH_EVENTS {
        return Err(SubmissionError::Body(format!(
            "a batch has at most {} events, this one has {count}",
            limits::BATCH_EVENTS,
        )));
    }
    let mut events = Vec::with_capacity(items.len());
    let mut first = None;
    let mut errors = FieldErrors::default();
    for (index, raw) in items.into_iter().enumerate() {
        match parse_one(raw, now) {
            Ok(event) => events.push(event),
            Err(own) => {
                first.get_or_insert(index);
                errors.absorb(index, own);
            }
        }
    }
    if first.is_some() {
        Err(SubmissionError::Fields { first, errors })
    } else {
        Ok(events)
    }
}

/// The items of an array: all are counted, and those beyond a batch's are not kept.
struct Items<'a> {
    items: Vec<&'a RawValue>,
    count: usize,
}

impl<'de: 'a, 'a> Deserialize<'de> for Items<'a> {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        json.deserialize_seq(ItemsVisitor)
    }
}

struct ItemsVisitor;

impl<'de> Visitor<'de> for ItemsVisitor {
    type Value = Items<'de>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an array of events")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Items<'de>, A::Error> {
        let mut items = Vec::new();
        while items.len() < limits::BATCH_EVENTS
            && let Some(item) = array.next_element()?
        {
            items.push(item);
        }
        let mut count = items.len();
        while array.next_element::<IgnoredAny>()?.is_some() {
            count += 1;
        }
        Ok(Items { items, count })
    }
}

fn not_json(error: &serde_json::Error) -> SubmissionError {
    SubmissionError::Body(format!("the body is not JSON: {error}"))
}

/// The members of an event as they stand in the body, so that one wrong type does not hide the next.
#[derive(Deserialize)]
struct Members<'a> {
    #[serde(borrow)]
    event_id: Option<&'a RawValue>,
    #[serde(borrow)]
    version: Option<&'a RawValue>,
    #[serde(borrow)]
    event_type: Option<&'a RawValue>,
    #[serde(borrow)]
    event_timestamp: Option<&'a RawValue>,
    #[serde(borrow)]
    event_category: Option<&'a RawValue>,
    #[serde(borrow)]
    event_action: Option<&'a RawValue>,
    #[serde(borrow)]
    event_outcome: Option<&'a RawValue>,
    #[serde(borrow)]
    correlation_id: Option<&'a RawValue>,
    #[serde(borrow)]
    event_data: Option<&'a RawValue>,
    #[serde(borrow)]
    actor_type: Option<&'a RawValue>,
    #[serde(borrow)]
    actor_id: Option<&'a RawValue>,
    #[serde(borrow)]
    resource_type: Option<&'a RawValue>,
    #[serde(borrow)]
    resource_id: Option<&'a RawValue>,
    #[serde(borrow)]
    parent_event_id: Option<&'a RawValue>,
    #[serde(borrow)]
    namespace: Option<&'a RawValue>,
    #[serde(borrow)]
    cluster_name: Option<&'a RawValue>,
    #[serde(borrow)]
    severity: Option<&'a RawValue>,
    #[serde(borrow)]
    duration_ms: Option<&'a RawValue>,
}

/// Turns members into typed values and notes what is wrong on the way.
struct Reader {
    errors: FieldErrors,
}

impl Reader {
    fn typed<'a, T: Deserialize<'a>>(
        &mut self,
        field: &str,
        raw: Option<&'a RawValue>,
        kind: &str,
    ) -> Option<T> {
        let value = serde_json::from_str(raw?.get());
        value
            .map_err(|_| self.errors.add(field, format_args!("must be {kind}")))
            .ok()
    }

    fn text(&mut self, field: &str, raw: Option<&RawValue>) -> Option<String> {
        self.typed(field, raw, "a string")
    }

    fn uuid(&mut self, field: &str, raw: Option<&RawValue>) -> Option<Uuid> {
        let text = self.text(field, raw)?;
        let uuid = parse_uuid(&text);
        if uuid.is_none() {
            self.errors.add(field, "must be a UUID");
        }
        uuid
    }

    fn required<T: Default>(&mut self, field: &str, raw: Option<&RawValue>, value: Option<T>) -> T {
        if raw.is_none() {
            self.errors.add(field, "is required");
        }
        value.unwrap_or_default()
    }

    fn one_of<T: Copy>(
        &mut self,
        field: &str,
        raw: Option<&RawValue>,
        all: &[T],
        name: fn(T) -> &'static str,
    ) -> T {
        let text = self.text(field, raw);
        let text = self.required(field, raw, text);
        let found = all.iter().copied().find(|value| name(*value) == text);
        if found.is_none() && raw.is_some() {
            let names: Vec<_> = all.iter().copied().map(name).collect();
            self.errors
                .add(field, format_args!("must be one of {}", names.join(", ")));
        }
        found.unwrap_or(all[0])
    }
}

fn parse_one(raw: &RawValue, now: Timestamp) -> Result<AuditEventRequest, FieldErrors> {
    let mut errors = FieldErrors::default();
    match serde_json::from_str(raw.get()) {
        Ok(members) if raw.get().starts_with('{') => return parse_members(&members, now),
        Ok(_) => errors.add("", "an event must be an object"),
        Err(error) => {
            let duplicate = error.to_string();
            let what = duplicate
                .split(" at line")
                .next()
                .filter(|text| text.starts_with("duplicate"))
                .unwrap_or("an event must be an object");
            errors.add("", what);
        }
    }
    Err(errors)
}

fn parse_members(members: &Members<'_>, now: Timestamp) -> Result<AuditEventRequest, FieldErrors> {
    let mut read = Reader {
        errors: FieldErrors::default(),
    };
    let full = members.version.is_some() || members.event_type.is_some();
    let event_id = read.uuid("event_id", members.event_id);
    let event_category = read.one_of(
        "event_category",
        members.event_category,
        &EventCategory::ALL,
        EventCategory::as_str,
    );
    let event_outcome = read.one_of(
        "event_outcome",
        members.event_outcome,
        &EventOutcome::ALL,
        EventOutcome::as_str,
    );
    let event_action = read.text("event_action", members.event_action);
    let event_action = read.required("event_action", members.event_action, event_action);
    let correlation_id = read.text("correlation_id", members.correlation_id);
    let correlation_id = read.required("correlation_id", members.correlation_id, correlation_id);
    let resource_type = read.text("resource_type", members.resource_type);

    let (version, event_type) = if full {
        let version = read.text("version", members.version);
        let event_type = read.text("event_type", members.event_type);
        (
            read.required("version", members.version, version),
            read.required("event_type", members.event_type, event_type),
        )
    } else {
        if resource_type.as_deref().is_none_or(str::is_empty)
            && members.resource_type.is_none_or(|raw| raw.get() == "\"\"")
        {
            read.errors.add("resource_type", SHORT_FORM_HINT);
        }
        (
            "1.0".to_owned(),
            short_form_type(event_category, &event_action),
        )
    };
    let event_timestamp = read_timestamp(&mut read, members, full, event_id, now);
    let event_data = read_event_data(&mut read, members, full);

    let event = AuditEventRequest {
        event_id,
        version,
        event_type,
        event_timestamp: event_timestamp.unwrap_or(now),
        event_category,
        event_action,
        event_outcome,
        correlation_id,
        event_data,
        actor_type: read.text("actor_type", members.actor_type),
        actor_id: read.text("actor_id", members.actor_id),
        resource_type,
        resource_id: read.text("resource_id", members.resource_id),
        parent_event_id: read.uuid("parent_event_id", members.parent_event_id),
        namespace: read.text("namespace", members.namespace),
        cluster_name: read.text("cluster_name", members.cluster_name),
        severity: read.text("severity", members.severity),
        duration_ms: read.typed("duration_ms", members.duration_ms, "a 32-bit integer"),
    };
    check_values(&mut read.errors, &event, now);
    read.errors.or(event)
}

const SHORT_FORM_HINT: &str = "is required in the short form; the full form has version, event_type, event_timestamp and event_data";

/// The action where it holds a dot, else category and action (D30).
fn short_form_type(category: EventCategory, action: &str) -> String {
    if action.contains('.') {
        action.to_owned()
    } else {
        format!("{}.{action}", category.as_str())
    }
}

fn read_timestamp(
    read: &mut Reader,
    members: &Members<'_>,
    full: bool,
    event_id: Option<Uuid>,
    now: Timestamp,
) -> Option<Timestamp> {
    let field = "event_timestamp";
    if let Some(raw) = members.event_timestamp {
        let text = read.text(field, Some(raw))?;
        let time = time::parse_rfc3339(&text);
        if time.is_none() {
            read.errors.add(
                field,
                "must be an RFC 3339 time with a zone, such as 2025-12-18T10:00:00Z",
            );
        }
        return time;
    }
    if full {
        read.errors.add(field, "is required");
        return None;
    }
    Some(event_id.and_then(version_7_time).unwrap_or(now))
}

/// The time in a `UUIDv7` (RFC 9562, 5.7).
fn version_7_time(id: Uuid) -> Option<Timestamp> {
    let (seconds, nanoseconds) = id
        .get_timestamp()
        .filter(|_| id.get_version_num() == 7)?
        .to_unix();
    Timestamp::new(
        i64::try_from(seconds).ok()?,
        i32::try_from(nanoseconds).ok()?,
    )
    .ok()
}

fn read_event_data(read: &mut Reader, members: &Members<'_>, full: bool) -> EventData {
    let Some(raw) = members.event_data else {
        if full {
            read.errors.add("event_data", "is required");
        }
        return EventData::empty();
    };
    EventData::from_raw(raw.to_owned()).unwrap_or_else(|error| {
        read.errors.add("event_data", error);
        EventData::empty()
    })
}

/// Checks the values of fields that are there and of the right type.
fn check_values(errors: &mut FieldErrors, event: &AuditEventRequest, now: Timestamp) {
    let mut of_values = FieldErrors::default();
    event.check_texts(&mut of_values);
    check_timestamp(
        &mut of_values,
        event.event_timestamp,
        now,
        event.event_id.is_some(),
    );
    let typed: Vec<_> = of_values
        .iter()
        .filter(|(field, _)| errors.iter().all(|(known, _)| known != *field))
        .collect();
    for (field, what) in typed {
        errors.add(field, what);
    }
}

#[cfg(test)]
mod tests;
