//! What holds for every migration and every mix of profiles: proved on the catalogues of real servers.

use migrations::{Config, Revert, Selection, apply, revert};
use testkit::postgres::{Database, empty_database};

use crate::fingerprint::{assert_same, fingerprint};
use crate::{fresh, run};

/// Profiles and groups, one name for each that resolves to the same migrations.
fn distinct() -> Vec<String> {
    let catalogue = migrations::catalogue();
    let mut seen = std::collections::BTreeMap::new();
    for name in catalogue.profiles() {
        let ids: Vec<&str> = catalogue
            .resolve(&Selection::profile(name))
            .unwrap()
            .into_iter()
            .map(|migration| migration.id.as_str())
            .collect();
        seen.entry(ids).or_insert_with(|| name.to_owned());
    }
    seen.into_values().collect()
}

async fn whole() -> Database {
    testkit::postgres::database("all").await
}

#[tokio::test]
async fn every_migration_may_run_twice() {
    let (database, config) = fresh().await;
    for migration in migrations::catalogue().migrations() {
        let table = migration
            .provides
            .iter()
            .find(|object| object.kind == migrations::ObjectKind::Table);
        let selection = table.map_or_else(Selection::all, |table| {
            Selection::tables([table.name.clone()])
        });
        let once = config.clone().select(selection);
        apply(&once).await.unwrap();
        let first = fingerprint(&database).await;
        run(
            &database,
            &format!("DELETE FROM schema_ledger WHERE id = '{}'", migration.id),
        )
        .await;
        let report = apply(&once)
            .await
            .unwrap_or_else(|error| panic!("{} does not run twice: {error}", migration.id));
        assert_eq!(
            report
                .applied
                .iter()
                .map(|applied| applied.id.as_str())
                .collect::<Vec<_>>(),
            [migration.id.as_str()]
        );
        assert_same(&first, &fingerprint(&database).await, &migration.id);
    }
}

#[tokio::test]
async fn one_by_one_gives_what_all_at_once_gives() {
    let expected = fingerprint(&whole().await).await;
    let (database, config) = fresh().await;
    for table in migrations::catalogue().tables() {
        apply(&config.clone().tables([table])).await.unwrap();
    }
    apply(&config).await.unwrap();
    assert_same(&expected, &fingerprint(&database).await, "table by table");
}

/// Every pair in both orders: the second adds exactly what the union of both has.
#[tokio::test]
async fn any_two_profiles_in_either_order_give_the_same_schema() {
    for first in &distinct() {
        for second in distinct().iter().filter(|second| *second > first) {
            let both = Selection::profile(first.as_str()).and_profile(second.as_str());
            let expected = applied(&[both]).await;
            for order in [[first, second], [second, first]] {
                let found = applied(&order.map(|name| Selection::profile(name.as_str()))).await;
                assert_same(&expected, &found, &format!("{order:?}"));
            }
        }
    }
}

async fn applied(selections: &[Selection]) -> std::collections::BTreeSet<String> {
    let database = empty_database().await;
    for selection in selections {
        apply(&Config::new(database.url()).select(selection.clone()))
            .await
            .unwrap();
    }
    fingerprint(&database).await
}

/// Down to each point and up again.
#[tokio::test]
async fn up_down_up_returns_to_the_same_schema() {
    let expected = fingerprint(&whole().await).await;
    let database = whole().await;
    let config = Config::new(database.url());
    let catalogue = migrations::catalogue();
    for migration in catalogue.migrations() {
        if migration.irreversible.is_some() {
            continue;
        }
        let report = revert(&config, &Revert::Ids(vec![migration.id.clone()]))
            .await
            .unwrap();
        assert_eq!(
            report.reverted.last().map(|last| last.id.as_str()),
            Some(migration.id.as_str())
        );
        apply(&config).await.unwrap();
        assert_same(&expected, &fingerprint(&database).await, &migration.id);
    }
}

#[tokio::test]
async fn down_to_the_ground_leaves_an_empty_schema() {
    let database = whole().await;
    let config = Config::new(database.url());
    let count = migrations::catalogue().migrations().len();
    assert_eq!(
        revert(&config, &Revert::All).await.unwrap().reverted.len(),
        count
    );
    assert_eq!(
        fingerprint(&database).await,
        std::collections::BTreeSet::new()
    );
    assert_eq!(apply(&config).await.unwrap().applied.len(), count);
    assert_same(
        &fingerprint(&whole().await).await,
        &fingerprint(&database).await,
        "after all the way down",
    );
}
