//! How well a workflow version fits a search beyond the mandatory labels, with the weights of the existing service.
//!
//! Weights are whole thousandths, so that sums are exact and equal scores are equal.

use datastorage_api::{CustomLabels, DetectedLabels, WorkflowSearchFilters};

use crate::store::{Candidate, Found};

/// What fitting the mandatory labels is worth, of [`MOST`].
const BASE: u32 = 5_000;
/// The best score.
const MOST: u32 = 10_000;
/// A custom label of which a value is shared.
const CUSTOM: u32 = 50;
/// A custom label of which any value is asked for: half of [`CUSTOM`], which the existing service rounds to hundredths.
const CUSTOM_WILDCARD: u32 = 30;
/// A `GitOps` label that contradicts.
const CONTRADICTION: u32 = 100;

/// A text that asks for, or means, any value.
const ANY: &str = "*";

/// What a search found.
pub(super) struct Ranked {
    /// The best, best first; fewer than were asked for where they are large.
    pub(super) best: Vec<(Score, Found)>,
    /// How many fit in all.
    pub(super) total: usize,
}

/// Boost and penalty of a version in thousandths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Score {
    boost: u32,
    penalty: u32,
}

impl Score {
    pub(super) fn of(filters: &WorkflowSearchFilters, candidate: &Candidate) -> Self {
        let nothing = DetectedLabels::default();
        let asked = Known(filters.detected_labels.as_ref().unwrap_or(&nothing));
        let has = Known(&candidate.detected_labels);
        Self {
            boost: detected(asked, has) + custom(&filters.custom_labels, &candidate.custom_labels),
            penalty: contradictions(asked, has),
        }
    }

    /// In ten-thousandths of the best score.
    pub(super) fn points(self) -> u32 {
        (BASE + self.boost).saturating_sub(self.penalty).min(MOST)
    }

    /// From 0 to 1.
    pub(super) fn value(self) -> f64 {
        f64::from(self.points()) / f64::from(MOST)
    }

    pub(super) fn boost(self) -> f64 {
        f64::from(self.boost) / 1000.0
    }

    pub(super) fn penalty(self) -> f64 {
        f64::from(self.penalty) / 1000.0
    }
}

/// Detected labels without those whose detection failed.
#[derive(Clone, Copy)]
struct Known<'a>(&'a DetectedLabels);

impl<'a> Known<'a> {
    fn flag(self, name: &str, label: impl FnOnce(&DetectedLabels) -> Option<bool>) -> Option<bool> {
        label(self.0).filter(|_| self.knows(name))
    }

    fn text(
        self,
        name: &str,
        label: impl FnOnce(&'a DetectedLabels) -> &'a Option<String>,
    ) -> Option<&'a str> {
        label(self.0).as_deref().filter(|_| self.knows(name))
    }

    fn git_ops_managed(self) -> Option<bool> {
        self.flag("gitOpsManaged", |labels| labels.git_ops_managed)
    }

    fn git_ops_tool(self) -> Option<&'a str> {
        self.text("gitOpsTool", |labels| &labels.git_ops_tool)
    }

    fn service_mesh(self) -> Option<&'a str> {
        self.text("serviceMesh", |labels| &labels.service_mesh)
    }

    /// The labels that only raise the score, with their weights.
    fn flags(self) -> [(Option<bool>, u32); 6] {
        [
            (self.git_ops_managed(), 100),
            (self.flag("pdbProtected", |labels| labels.pdb_protected), 50),
            (
                self.flag("networkIsolated", |labels| labels.network_isolated),
                30,
            ),
            (self.flag("helmManaged", |labels| labels.helm_managed), 20),
            (self.flag("stateful", |labels| labels.stateful), 20),
            (self.flag("hpaEnabled", |labels| labels.hpa_enabled), 20),
        ]
    }

    fn knows(self, name: &str) -> bool {
        self.0.failed_detections.iter().all(|failed| failed != name)
    }
}

fn detected(asked: Known<'_>, has: Known<'_>) -> u32 {
    let flags: u32 = asked
        .flags()
        .into_iter()
        .zip(has.flags())
        .filter(|((asked, _), (has, _))| *asked == Some(true) && *has == Some(true))
        .map(|((_, weight), _)| weight)
        .sum();
    flags
        + tool(asked.git_ops_tool(), has.git_ops_tool(), 100)
        + tool(asked.service_mesh(), has.service_mesh(), 50)
}

/// The whole weight for the same tool, half of it where any is asked for.
fn tool(asked: Option<&str>, has: Option<&str>, weight: u32) -> u32 {
    match (asked, has) {
        (Some(ANY), Some(_)) => weight / 2,
        (Some(asked), Some(has)) if asked == has => weight,
        _ => 0,
    }
}

fn custom(asked: &CustomLabels, has: &CustomLabels) -> u32 {
    asked
        .iter()
        .filter_map(|(name, asked)| Some((asked, has.get(name)?)))
        .map(|(asked, has)| {
            if asked
                .iter()
                .any(|value| value != ANY && has.contains(value))
            {
                CUSTOM
            } else if asked.iter().any(|value| value == ANY) {
                CUSTOM_WILDCARD
            } else {
                0
            }
        })
        .sum()
}

/// Both sides know and say different things; a tool that is any contradicts none.
fn contradictions(asked: Known<'_>, has: Known<'_>) -> u32 {
    let managed = matches!((asked.git_ops_managed(), has.git_ops_managed()), (Some(asked), Some(has)) if asked != has);
    let tool = matches!((asked.git_ops_tool(), has.git_ops_tool()), (Some(asked), Some(has)) if asked != has && asked != ANY && has != ANY);
    (u32::from(managed) + u32::from(tool)) * CONTRADICTION
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use uuid::Uuid;

    use super::*;

    /// Boost and penalty in thousandths, score in ten-thousandths.
    fn score(name: &str, asked: &Value, has: &Value) -> (u32, u32, u32) {
        let filters = json!({"signal_type": "OOMKilled", "severity": "high", "component": "pod", "environment": "production",
            "priority": "P1", name: asked});
        let mut candidate =
            json!({"workflow_id": Uuid::nil(), "custom_labels": {}, "detected_labels": {}});
        candidate[name] = has.clone();
        let score = Score::of(
            &serde_json::from_value(filters).expect("filters"),
            &serde_json::from_value(candidate).expect("a candidate"),
        );
        (score.boost, score.penalty, score.points())
    }

    fn detected(asked: &Value, has: &Value) -> (u32, u32, u32) {
        score("detected_labels", asked, has)
    }

    #[test]
    fn the_mandatory_labels_alone_are_half_of_the_best_score() {
        assert_eq!(detected(&json!({}), &json!({})), (0, 0, 5000));
    }

    #[test]
    fn each_detected_label_has_its_weight() {
        for (label, weight) in [
            (json!({"gitOpsManaged": true}), 100),
            (json!({"gitOpsTool": "argocd"}), 100),
            (json!({"pdbProtected": true}), 50),
            (json!({"serviceMesh": "istio"}), 50),
            (json!({"networkIsolated": true}), 30),
            (json!({"helmManaged": true}), 20),
            (json!({"stateful": true}), 20),
            (json!({"hpaEnabled": true}), 20),
        ] {
            assert_eq!(
                detected(&label, &label),
                (weight, 0, 5000 + weight),
                "{label}"
            );
        }
        let all = json!({"gitOpsManaged": true, "gitOpsTool": "flux", "pdbProtected": true, "serviceMesh": "linkerd",
            "networkIsolated": true, "helmManaged": true, "stateful": true, "hpaEnabled": true});
        assert_eq!(detected(&all, &all), (390, 0, 5390));
    }

    #[test]
    fn asking_for_any_tool_counts_half() {
        let any = json!({"gitOpsTool": "*", "serviceMesh": "*"});
        assert_eq!(detected(&any, &json!({"gitOpsTool": "flux"})).0, 50);
        assert_eq!(detected(&any, &json!({"serviceMesh": "istio"})).0, 25);
        assert_eq!(detected(&any, &json!({})).0, 0);
    }

    #[test]
    fn labels_that_are_false_or_absent_neither_raise_nor_lower() {
        let neutral = (0, 0, 5000);
        let asked = json!({"stateful": false, "gitOpsManaged": true});
        assert_eq!(detected(&asked, &json!({"stateful": false})), neutral);
        assert_eq!(detected(&asked, &json!({"pdbProtected": true})), neutral);
    }

    #[test]
    fn contradicting_gitops_labels_cost_a_tenth_each() {
        let asked = json!({"gitOpsManaged": true, "gitOpsTool": "argocd"});
        let contrary = json!({"gitOpsManaged": false, "gitOpsTool": "flux"});
        assert_eq!(detected(&asked, &contrary), (0, 200, 4800));
        assert_eq!(detected(&asked, &json!({"gitOpsTool": "*"})), (0, 0, 5000));
    }

    #[test]
    fn a_label_whose_detection_failed_is_unknown() {
        let asked = json!({"gitOpsManaged": true, "failed_detections": ["gitOpsManaged"]});
        assert_eq!(
            detected(&asked, &json!({"gitOpsManaged": false})),
            (0, 0, 5000)
        );
    }

    #[test]
    fn custom_labels_count_exact_or_as_wildcards() {
        let has = json!({"team": ["payments", "checkout"], "region": ["eu"]});
        for (asked, boost) in [
            (json!({"team": ["checkout"]}), 50),
            (json!({"team": ["*"]}), 30),
            (json!({"team": ["checkout"], "region": ["eu"]}), 100),
            (json!({"team": ["other"], "zone": ["*"]}), 0),
        ] {
            assert_eq!(score("custom_labels", &asked, &has).0, boost, "{asked}");
        }
    }

    #[test]
    fn the_best_score_is_one() {
        let many = (0..200).map(|label| (format!("label{label}"), json!(["x"])));
        let many = Value::Object(many.collect());
        assert_eq!(score("custom_labels", &many, &many).2, MOST);
    }
}
