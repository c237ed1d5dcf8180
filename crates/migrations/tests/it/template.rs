//! Templates: built once, complete or not there, cloned as often as wanted.

use migrations::{Config, apply, template, verify};
use testkit::postgres::{connect, empty_database, server};

use crate::value;

#[tokio::test]
async fn a_clone_is_what_a_migrated_database_is() {
    let server = server().await;
    let template = template(&Config::new(server.url("postgres")).profile("aianalysis"))
        .await
        .unwrap();
    template.clone_as("cloned").await.unwrap();
    verify(&Config::new(server.url("cloned")).profile("aianalysis"))
        .await
        .unwrap();
    let migrated = empty_database().await;
    apply(&Config::new(migrated.url()).profile("aianalysis"))
        .await
        .unwrap();
    let client = connect(&server.url("cloned")).await;
    assert_eq!(
        client
            .query_one("SELECT count(*) FROM schema_ledger", &[])
            .await
            .unwrap()
            .get::<_, i64>(0),
        5
    );
    drop(client);
    template.drop_clone("cloned").await.unwrap();
    let again = template.clone_as("cloned").await;
    again.unwrap();
    let rows = value(&migrated, "SELECT count(*) FROM schema_ledger").await;
    assert_eq!(rows, "5");
    template.drop_clone("cloned").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn many_who_ask_at_once_build_one_template() {
    let server = server().await;
    let asks: Vec<_> = (0..8)
        .map(|_| {
            let config = Config::new(server.url("postgres")).profile("notification-audit");
            tokio::spawn(async move {
                template(&config)
                    .await
                    .map(|template| template.name().to_owned())
            })
        })
        .collect();
    let mut names = std::collections::BTreeSet::new();
    for ask in asks {
        names.insert(ask.await.unwrap().unwrap());
    }
    assert_eq!(names.len(), 1);
}

#[tokio::test]
async fn a_template_whose_build_was_interrupted_is_built_again() {
    let server = server().await;
    let config = Config::new(server.url("postgres")).tables(["retention_operations"]);
    let first = template(&config).await.unwrap();
    let client = connect(&server.url("postgres")).await;
    // What a killed builder leaves: a database that is no template yet, half-way.
    client
        .batch_execute(&format!(
            "ALTER DATABASE \"{0}\" IS_TEMPLATE false ALLOW_CONNECTIONS true",
            first.name()
        ))
        .await
        .unwrap();
    connect(&server.url(first.name()))
        .await
        .batch_execute("DROP TABLE retention_operations")
        .await
        .unwrap();
    let second = template(&config).await.unwrap();
    assert_eq!(first.name(), second.name());
    second.clone_as("rebuilt").await.unwrap();
    verify(&Config::new(server.url("rebuilt")).tables(["retention_operations"]))
        .await
        .unwrap();
    second.drop_clone("rebuilt").await.unwrap();
}

#[tokio::test]
async fn another_selection_is_another_template_and_an_equal_one_the_same() {
    let config = Config::new(server().await.url("postgres"));
    let audit = template(&config.clone().profile("audit")).await.unwrap();
    let gateway = template(&config.clone().profile("gateway")).await.unwrap();
    let catalogue = template(&config.profile("catalog")).await.unwrap();
    assert_eq!(audit.name(), gateway.name());
    assert_ne!(audit.name(), catalogue.name());
}

#[tokio::test]
async fn a_clone_of_an_old_template_has_the_partitions_of_today() {
    let server = server().await;
    let config = Config::new(server.url("postgres")).tables(["resource_action_traces"]);
    let built = template(&config).await.unwrap();
    let client = connect(&server.url("postgres")).await;
    client
        .batch_execute(&format!(
            "ALTER DATABASE \"{}\" ALLOW_CONNECTIONS true",
            built.name()
        ))
        .await
        .unwrap();
    let inside = connect(&server.url(built.name())).await;
    let drop_all = "DO $$ DECLARE p regclass; BEGIN FOR p IN SELECT inhrelid FROM pg_inherits JOIN pg_class c ON c.oid = inhrelid \
        WHERE inhparent = 'resource_action_traces'::regclass AND c.relname !~ '_y2025m12|_y2026m01' LOOP EXECUTE format('DROP TABLE %s', p); END LOOP; END $$";
    inside.batch_execute(drop_all).await.unwrap();
    drop(inside);
    client.batch_execute(&format!("ALTER DATABASE \"{0}\" ALLOW_CONNECTIONS false; COMMENT ON DATABASE \"{0}\" IS '2001-01'", built.name())).await.unwrap();
    let old = template(&config).await.unwrap();
    old.clone_as("of_today").await.unwrap();
    verify(&Config::new(server.url("of_today")).tables(["resource_action_traces"]))
        .await
        .unwrap();
    old.drop_clone("of_today").await.unwrap();
}
