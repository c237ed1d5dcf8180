//! A team's own files beside the schema.

use migrations::apply;

use crate::{fresh, goose, value};

#[tokio::test]
async fn the_schema_and_a_teams_files_share_a_ledger() {
    let (database, config) = fresh().await;
    apply(&config.clone().profile("audit")).await.unwrap();
    let theirs = goose(&[(
        "001_view.sql",
        "-- +goose Up\nCREATE VIEW recent AS SELECT * FROM audit_events;\n",
    )]);
    apply(&config.clone().catalogue(theirs)).await.unwrap();
    assert_eq!(
        value(
            &database,
            "SELECT string_agg(DISTINCT source, ',') FROM schema_ledger"
        )
        .await,
        "kubernaut,team"
    );
    assert_eq!(apply(&config.profile("audit")).await.unwrap().up_to_date, 3);
}
