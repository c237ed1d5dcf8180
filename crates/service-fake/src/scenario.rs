//! A scenario: a named function from names to the events that a service emits, in order.

use audit_store::Event;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};
use uuid::Uuid;

/// Something that a service does, as a sequence of its audit events.
pub struct Scenario {
    /// By which it is asked for.
    pub name: &'static str,
    /// What happens in it.
    pub about: &'static str,
    defaults: fn() -> Value,
    script: Script,
}

type Script = Box<dyn Fn(Value) -> serde_json::Result<Vec<Event>> + Send + Sync>;

/// The steps of a scenario to play, counted from 1, both included; each event is one.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Steps {
    from: Option<usize>,
    to: Option<usize>,
}

impl Scenario {
    /// A scenario whose cast, the names in it, is `C`; what a request leaves out is as in its default.
    pub(crate) fn new<C>(
        name: &'static str,
        about: &'static str,
        script: fn(&C) -> Vec<Event>,
    ) -> Self
    where
        C: Default + DeserializeOwned + Serialize + 'static,
    {
        Self {
            name,
            about,
            defaults: || serde_json::to_value(C::default()).unwrap_or_default(),
            script: Box::new(move |names| Ok(script(&serde_json::from_value(names)?))),
        }
    }

    /// The names that can be given, each with what it is otherwise.
    pub fn names(&self) -> Value {
        (self.defaults)()
    }

    /// The scenario's events with `names` in them; fails on a name that the scenario does not have, or of another type.
    pub fn events(&self, names: Map<String, Value>) -> serde_json::Result<Vec<Event>> {
        (self.script)(Value::Object(names))
    }
}

impl Steps {
    /// Leaves of `events` the asked ones.
    pub(crate) fn of(self, events: Vec<Event>) -> Vec<Event> {
        let from = self.from.unwrap_or(1).max(1);
        let to = self.to.unwrap_or(usize::MAX);
        (1..)
            .zip(events)
            .filter(|(step, _)| (from..=to).contains(step))
            .map(|(_, event)| event)
            .collect()
    }
}

/// A name that nothing else has; it begins with `prefix`.
pub(crate) fn unique(prefix: &str) -> String {
    format!("{prefix}-{}", Uuid::now_v7().simple())
}
