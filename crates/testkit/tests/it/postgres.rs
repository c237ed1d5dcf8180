//! Databases are a test's own, and gone afterwards.

use testkit::postgres::{connect, database, database_on, empty_database, own_server, server};

async fn text(client: &tokio_postgres::Client, statement: &str) -> Option<String> {
    client.query_one(statement, &[]).await.unwrap().get(0)
}

#[tokio::test]
async fn an_empty_database_has_no_tables_and_goes_with_its_handle() {
    let database = empty_database().await;
    let client = database.connect().await;
    let tables = "SELECT string_agg(relname, ',') FROM pg_stat_user_tables";
    assert_eq!(text(&client, tables).await, None);
    let name = database.name().to_owned();
    drop(database);
    let left = format!("SELECT string_agg(datname, ',') FROM pg_database WHERE datname = '{name}'");
    assert_eq!(
        text(&connect(&server().await.url("postgres")).await, &left).await,
        None
    );
}

#[tokio::test]
async fn two_databases_of_a_profile_have_its_tables_and_nothing_in_common() {
    let (one, other) = tokio::join!(database("workflowexecution"), database("workflowexecution"));
    let (one, other) = (one.connect().await, other.connect().await);
    let events = "SELECT to_regclass('audit_events')::text";
    assert_eq!(text(&one, events).await.as_deref(), Some("audit_events"));
    assert_eq!(text(&other, events).await.as_deref(), Some("audit_events"));
    one.batch_execute("CREATE TABLE mine ()").await.unwrap();
    assert_eq!(text(&other, "SELECT to_regclass('mine')::text").await, None);
}

#[tokio::test]
async fn a_database_on_a_server_of_the_tests_own_outlives_its_crash() {
    let mut server = own_server(embedded_postgres::Options::default()).await;
    let database = database_on(&server, "workflowexecution").await;
    server.kill().await.unwrap();
    server.restart().await.unwrap();
    let events = text(
        &database.connect().await,
        "SELECT to_regclass('audit_events')::text",
    )
    .await;
    assert_eq!(events.as_deref(), Some("audit_events"));
}
