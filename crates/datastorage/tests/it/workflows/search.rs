//! The search: what fits, in which order, and how many.

use serde_json::{Value, json};
use testkit::postgres::Database;

use super::{SEARCH, catalogue, column, filters, register, workflow};
use crate::support::{Service, with};

/// A catalogue of versions that fit [`filters`] well, badly, or not at all; oldest first.
async fn searchable() -> (Database, Service) {
    let (database, service) = catalogue().await;
    let gitops = json!({"gitOpsManaged": true, "gitOpsTool": "argocd"});
    let flux = json!({"gitOpsManaged": false, "gitOpsTool": "flux"});
    for (name, members) in [
        ("plain", json!({})),
        (
            "gitops",
            json!({"detected_labels": gitops, "custom_labels": {"team": ["a"]}}),
        ),
        ("contrary", json!({"detected_labels": flux})),
        (
            "any",
            json!({"labels": with(filters(), json!({"component": "*"}))}),
        ),
        (
            "elsewhere",
            json!({"labels": with(filters(), json!({"environment": "staging"}))}),
        ),
        ("old", json!({"status": "disabled"})),
    ] {
        register(&service, &with(workflow(name, "1"), members)).await;
    }
    (database, service)
}

/// A search for what `gitops` of [`searchable`] has, with further members of the request.
async fn search(service: &Service, more: Value) -> Value {
    let request = with(json!({"filters": asked()}), more);
    service.post(SEARCH, &request).await.expect(200).body
}

fn asked() -> Value {
    with(
        filters(),
        json!({"detected_labels": {"gitOpsManaged": true, "gitOpsTool": "argocd"}, "custom_labels": {"team": ["a"]}}),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_search_ranks_the_latest_active_versions_that_fit() {
    let (_database, service) = searchable().await;
    let found = search(&service, json!({})).await;
    let workflows = &found["workflows"];
    assert_eq!(
        column(workflows, "title"),
        ["gitops 1", "any 1", "plain 1", "contrary 1"]
    );
    let scores = [0.525, 0.5, 0.5, 0.48];
    assert_eq!(column(workflows, "final_score"), scores);
    assert_eq!(column(workflows, "confidence"), scores);
    assert_eq!(column(workflows, "rank"), [1, 2, 3, 4]);
    assert_eq!(column(workflows, "label_boost"), [0.25, 0.0, 0.0, 0.0]);
    assert_eq!(column(workflows, "label_penalty"), [0.0, 0.0, 0.0, 0.2]);
    assert_eq!(found["filters"], asked());
    assert_eq!(found["total_results"], 4);

    let archived = with(workflow("gitops", "2"), json!({"status": "archived"}));
    register(&service, &archived).await;
    assert_eq!(search(&service, json!({})).await["total_results"], 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_search_is_narrowed_by_count_score_and_status() {
    let (_database, service) = searchable().await;
    for (more, titles, total) in [
        (json!({"top_k": 1}), vec!["gitops 1"], 4),
        (json!({"min_score": 0.51}), vec!["gitops 1"], 1),
        (
            json!({"include_disabled": true}),
            vec!["gitops 1", "old 1", "any 1", "plain 1", "contrary 1"],
            5,
        ),
        (
            json!({"filters": with(asked(), json!({"status": ["disabled"]}))}),
            vec!["old 1"],
            1,
        ),
    ] {
        let found = search(&service, more.clone()).await;
        assert_eq!(column(&found["workflows"], "title"), titles, "{more}");
        assert_eq!(found["total_results"], total, "{more}");
    }
}
