//! Databases with a time, and templates that go with their last clone.

use std::time::Duration;

use embedded_postgres::{Options, Server};
use migrations::{Config, clone_leased, create_leased, drop_database, drop_expired, renew_lease};
use testkit::postgres::{connect, own_server};
use testkit::wait::until;

const HOUR: Duration = Duration::from_hours(1);

fn config(server: &Server) -> Config {
    Config::new(server.url("postgres")).profile("gateway")
}

/// The databases that the server does not begin with.
async fn databases(server: &Server) -> Vec<String> {
    let client = connect(&server.url("postgres")).await;
    let sql = "SELECT datname FROM pg_database WHERE datname <> ALL ($1) ORDER BY datname";
    let own = ["postgres", "template0", "template1", server.database()];
    let rows = client.query(sql, &[&&own[..]]).await.expect("rows");
    rows.iter().map(|row| row.get(0)).collect()
}

#[tokio::test]
async fn a_template_goes_with_its_last_clone_and_not_before() {
    let server = own_server(Options::default()).await;
    let config = config(&server);
    let template = clone_leased(&config, "one", HOUR).await.expect("a clone");
    assert_eq!(
        clone_leased(&config, "two", HOUR).await.expect("a clone"),
        template
    );
    // As a run does that keeps its environment.
    renew_lease(&config, "two", HOUR).await.expect("renewed");
    let two = Config::new(server.url("two")).profile("gateway");
    migrations::verify(&two)
        .await
        .expect("a database as it is without a template");
    drop_database(&config, "one").await.expect("dropped");
    assert_eq!(
        drop_expired(&config).await.expect("looked"),
        Vec::<String>::new()
    );
    drop_database(&config, "two").await.expect("dropped");
    assert_eq!(drop_expired(&config).await.expect("looked"), [template]);
    assert_eq!(databases(&server).await, Vec::<String>::new());
}

#[tokio::test]
async fn what_has_expired_is_dropped_by_whoever_comes_later_unless_somebody_is_connected() {
    let server = own_server(Options::default()).await;
    let config = config(&server);
    clone_leased(&config, "left", Duration::ZERO)
        .await
        .expect("a clone");
    create_leased(&config, "used", Duration::ZERO)
        .await
        .expect("a database");
    create_leased(&config, "current", HOUR)
        .await
        .expect("a database");
    migrations::create_database(&config, "theirs")
        .await
        .expect("a database");
    let client = connect(&server.url("used")).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let dropped = drop_expired(&config).await.expect("looked");
    assert_eq!(dropped.len(), 2, "{dropped:?}");
    assert_eq!(databases(&server).await, ["current", "theirs", "used"]);
    drop(client);
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_that_end_break_none_that_clones() {
    let server = own_server(Options::default()).await;
    let url = server.url("postgres");
    let runs = (0..3).map(|number| {
        let config = Config::new(&url).profile("gateway");
        tokio::spawn(async move {
            for _ in 0..12 {
                let name = format!("run{number}");
                clone_leased(&config, &name, HOUR).await.expect("a clone");
                drop_database(&config, &name).await.expect("dropped");
                drop_expired(&config).await.expect("looked");
            }
        })
    });
    for run in runs.collect::<Vec<_>>() {
        run.await.expect("a run");
    }
    drop_expired(&config(&server)).await.expect("looked");
    assert_eq!(databases(&server).await, Vec::<String>::new());
}

#[tokio::test]
async fn users_of_one_server_share_no_template_and_drop_nothing_of_each_other() {
    let server = own_server(Options::default()).await;
    let client = connect(&server.url("postgres")).await;
    let roles =
        "CREATE ROLE one LOGIN CREATEDB PASSWORD 'p'; CREATE ROLE two LOGIN CREATEDB PASSWORD 'p'";
    client.batch_execute(roles).await.expect("roles");
    let port = server.port().expect("a port");
    let user = |name: &str| {
        Config::new(format!("postgres://{name}:p@127.0.0.1:{port}/{name}")).profile("gateway")
    };
    let (one, two) = (user("one"), user("two"));
    let of_one = clone_leased(&one, "one", Duration::ZERO)
        .await
        .expect("a clone");
    let of_two = clone_leased(&two, "two", HOUR).await.expect("a clone");
    assert_ne!(of_one, of_two);
    let verified = migrations::verify(&two).await.expect("its own tables");
    assert!(!verified.tables.is_empty());
    tokio::time::sleep(Duration::from_secs(2)).await;
    let nothing = Vec::<String>::new();
    assert_eq!(drop_expired(&two).await.expect("looked"), nothing);
    assert_eq!(drop_expired(&one).await.expect("looked").len(), 2);
    assert_eq!(databases(&server).await, [of_two, "two".to_owned()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clone_whose_template_goes_under_its_hands_begins_anew() {
    let server = own_server(Options::default()).await;
    let config = config(&server);
    let template = clone_leased(&config, "one", HOUR).await.expect("a clone");
    let client = connect(&server.url("postgres")).await;
    // Still seen by who looks for it, and held against who clones it.
    let gone = format!("BEGIN; ALTER DATABASE {template} RENAME TO gone");
    client.batch_execute(&gone).await.expect("renamed");
    let cloning = tokio::spawn(async move { clone_leased(&config, "two", HOUR).await });
    let watcher = connect(&server.url("postgres")).await;
    let question = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE 'CREATE DATABASE%'";
    until("the clone to wait", Duration::from_secs(20), async || {
        let row = watcher.query_one(question, &[]).await.expect("a number");
        match row.get::<_, i64>(0) {
            1 => Ok(()),
            other => Err(other.to_string()),
        }
    })
    .await;
    client.batch_execute("COMMIT").await.expect("committed");
    let again = cloning.await.expect("a task").expect("a clone");
    assert_eq!(again, template);
}
