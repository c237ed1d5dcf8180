//! What each service does, one file per service.
//!
//! A file has the cast, which is the names that a request can give, and the scenarios. Who acts, on what, with which outcome is not repeated
//! here: the builders of `audit-store` know it.

mod aianalysis;
mod gateway;
mod notification;
mod remediationorchestrator;
mod signalprocessing;
mod workflowexecution;

use crate::Scenario;

/// The services that can be played: all that emit, which is all but Data Storage.
pub const SERVICES: [&str; 6] = [
    "workflowexecution",
    "gateway",
    "aianalysis",
    "notification",
    "remediationorchestrator",
    "signalprocessing",
];

/// The scenarios of a service; none for a name that is not in [`SERVICES`].
pub fn of_service(name: &str) -> Option<Vec<Scenario>> {
    Some(match name {
        "workflowexecution" => workflowexecution::scenarios(),
        "gateway" => gateway::scenarios(),
        "aianalysis" => aianalysis::scenarios(),
        "notification" => notification::scenarios(),
        "remediationorchestrator" => remediationorchestrator::scenarios(),
        "signalprocessing" => signalprocessing::scenarios(),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Map;

    use super::*;

    #[test]
    fn every_service_has_scenarios_with_names_of_their_own_and_events_in_each() {
        for service in SERVICES {
            let scenarios = of_service(service).expect("a service of the list");
            let names: BTreeSet<_> = scenarios.iter().map(|scenario| scenario.name).collect();
            assert_eq!(names.len(), scenarios.len(), "{service}");
            for scenario in &scenarios {
                let events = scenario.events(Map::new()).expect("the default cast");
                assert!(!events.is_empty(), "{service} {}", scenario.name);
            }
        }
    }

    #[test]
    fn the_default_cast_can_be_given_back() {
        for scenario in SERVICES.into_iter().filter_map(of_service).flatten() {
            let names = scenario.names();
            let names = names.as_object().expect("names are an object").clone();
            scenario.events(names).expect(scenario.name);
        }
    }
}
