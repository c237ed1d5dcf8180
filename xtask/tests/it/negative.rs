//! Negative controls: a suite whose Data Storage answers with one event too few, one too many, two in the wrong order or another value fails,
//! and says where.
//!
//! The suites run as they are, against real environments; only what they read goes through a proxy. Each runs the test whose answers are altered.

use std::process::Command;

use e2e_runner::tools::cargo::SUITES;
use serde_json::{Value, json};
use testkit::altering::AlteringProxy;
use tokio::runtime::Runtime;

use crate::place::{Place, built};

/// A suite and one of its tests.
struct Control {
    service: &'static str,
    test: &'static str,
    /// How many events the test expects.
    events: usize,
    /// Where in the newest of them another value is put, as a JSON pointer (RFC 6901), and the value.
    altered: [(&'static str, Value); 2],
}

/// What the proxy does to a page of events, newest first.
type Fault = Box<dyn Fn(&mut Vec<Value>) + Send + Sync>;

impl Control {
    /// Holds the suite against a Data Storage that answers as it should, and against each fault.
    fn hold(self) {
        let place = Place::new();
        let (environment, _) =
            place.run(&["up", self.service, "--target", "local", "--format", "env"]);
        let environment: Vec<_> = environment
            .lines()
            .filter_map(|line| line.split_once('='))
            .collect();
        let run = |fault: Fault| self.run(&environment, fault);

        let (passed, said) = run(Box::new(|_| {}));
        assert!(passed, "{} fails without a fault: {said}", self.service);
        let events = self.events;
        let count = |found: usize| {
            (
                format!("count: expected {events} "),
                format!("found {found} "),
            )
        };
        let drop: Fault = Box::new(|events| drop(events.remove(0)));
        self.assert_red(run(drop), count(events - 1));
        let double: Fault = Box::new(|events| events.insert(0, events[0].clone()));
        self.assert_red(run(double), count(events + 1));
        if events > 1 {
            let swap: Fault = Box::new(|events| events.swap(0, 1));
            let named = ("event_type: expected ".to_owned(), "found".to_owned());
            self.assert_red(run(swap), named);
        }
        for (pointer, value) in &self.altered {
            let field = pointer[1..].replace('/', ".");
            let named = (format!("{field}: expected "), format!("found {value}"));
            let (pointer, value) = (*pointer, value.clone());
            let alter: Fault = Box::new(move |events| {
                let field = events[0]
                    .pointer_mut(pointer)
                    .expect("the event has the field");
                assert_ne!(*field, value, "the fault changes something");
                *field = value.clone();
            });
            self.assert_red(run(alter), named);
        }
        place.run(&["down"]);
    }

    /// Runs the test on the environment, with `fault` between it and Data Storage; returns whether it passed and what it said.
    fn run(&self, environment: &[(&str, &str)], fault: Fault) -> (bool, String) {
        let runtime = Runtime::new().expect("a runtime");
        let (_, datastorage) = environment
            .iter()
            .find(|(name, _)| *name == e2e_env::DATASTORAGE_URL)
            .expect("Data Storage's address");
        let proxy = runtime.block_on(AlteringProxy::start(datastorage, move |path, page| {
            if path == "/api/v1/audit/events"
                && let Some(events) = page["data"].as_array_mut()
            {
                fault(events);
            }
        }));
        let output = Command::new(built(SUITES))
            .args(["--exact", &format!("{}::{}", self.service, self.test)])
            .envs(environment.iter().copied())
            .env(e2e_env::DATASTORAGE_URL, proxy.url())
            .output()
            .expect("the suites start");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            said.contains("running 1 test"),
            "{}::{} is gone: {said}",
            self.service,
            self.test
        );
        (output.status.success(), said)
    }

    fn assert_red(&self, (passed, said): (bool, String), (named, found): (String, String)) {
        assert!(!passed, "{} notices nothing of `{named}`", self.service);
        let line = said
            .lines()
            .find(|line| line.trim_start().starts_with(&named));
        assert!(
            line.is_some_and(|line| line.contains(&found)),
            "{} does not say `{named}… {found}`: {said}",
            self.service
        );
    }
}

#[test]
fn workflowexecution_notices_a_changed_answer() {
    Control {
        service: "workflowexecution",
        test: "a_failed_workflow_says_why",
        events: 2,
        altered: [
            ("/event_outcome", json!("success")),
            ("/event_data/failure_reason", json!("TaskFailed")),
        ],
    }
    .hold();
}

#[test]
fn datastorage_notices_a_changed_answer() {
    Control {
        service: "datastorage",
        test: "the_short_form_is_stored_and_every_violation_of_the_full_form_is_named",
        events: 1,
        altered: [
            ("/version", json!("1.1")),
            ("/event_type", json!("workflow.failed")),
        ],
    }
    .hold();
}

#[test]
fn gateway_notices_a_changed_answer() {
    Control {
        service: "gateway",
        test: "a_new_signal_has_exactly_two_events",
        events: 2,
        altered: [
            ("/actor_id", json!("crd-deleter")),
            ("/event_data/gateway/resource_kind", json!("Node")),
        ],
    }
    .hold();
}

#[test]
fn aianalysis_notices_a_changed_answer() {
    Control {
        service: "aianalysis",
        test: "a_completed_analysis_has_phases_call_policy_and_decision",
        events: 7,
        altered: [
            ("/correlation_id", json!("another")),
            ("/event_data/approval_required", json!(true)),
        ],
    }
    .hold();
}

#[test]
fn notification_notices_a_changed_answer() {
    Control {
        service: "notification",
        test: "of_mixed_channels_one_delivery_succeeds_and_one_fails",
        events: 2,
        altered: [
            ("/event_action", json!("failed")),
            ("/event_data/error_type", json!("timeout")),
        ],
    }
    .hold();
}

#[test]
fn remediationorchestrator_notices_a_changed_answer() {
    Control {
        service: "remediationorchestrator",
        test: "a_failed_remediation_says_in_which_phase_and_why",
        events: 6,
        altered: [
            ("/event_outcome", json!("success")),
            ("/event_data/failure_phase", json!("Pending")),
        ],
    }
    .hold();
}

#[test]
fn signalprocessing_notices_a_changed_answer() {
    Control {
        service: "signalprocessing",
        test: "a_processed_signal_has_enrichment_classification_and_business_fields",
        events: 8,
        altered: [
            ("/duration_ms", json!(181)),
            ("/event_data/priority", json!("P0")),
        ],
    }
    .hold();
}
