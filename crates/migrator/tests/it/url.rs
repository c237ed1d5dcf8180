//! What the options of a URL do on a real server, and what is said of one that cannot be used.

use std::sync::Arc;
use std::time::Duration;

use migrator::{Config, Error, apply, status};

use crate::{files, fresh, run, value};

#[tokio::test]
async fn a_server_is_used_only_if_it_is_what_target_session_attrs_asks_for() {
    let (database, config) = fresh().await;
    let of = |options: &str| Config::new(format!("{}?{options}", database.url()), files(&[]));
    for (options, fits) in [
        ("target_session_attrs=read-write", true),
        ("target_session_attrs=any", true),
        (
            "target_session_attrs=read-write&options=-cdefault_transaction_read_only%3Don",
            false,
        ),
        ("target_session_attrs=read-only", false),
    ] {
        let outcome = status(&of(options).deadline(Duration::from_secs(2))).await;
        assert_eq!(outcome.is_ok(), fits, "{options}: {outcome:?}");
        if let Err(error) = outcome {
            assert!(
                error.to_string().contains("target_session_attrs"),
                "{error}"
            );
        }
    }
    drop(config);
}

#[tokio::test]
async fn the_next_host_is_taken_where_one_does_not_answer() {
    let (database, _) = fresh().await;
    let (before, after) = database.url().split_once("127.0.0.1:").unwrap();
    let two = format!("{before}127.0.0.1:9,127.0.0.1:{after}");
    assert!(status(&Config::new(two, files(&[]))).await.is_ok());
    let by_address = format!("{before}db.invalid:{after}?hostaddr=127.0.0.1");
    assert!(status(&Config::new(by_address, files(&[]))).await.is_ok());
}

#[tokio::test]
async fn a_name_is_looked_up_as_the_caller_says_and_every_address_of_it_is_tried() {
    let (database, _) = fresh().await;
    let url = database.url().replace("127.0.0.1", "db.invalid");
    let config = Config::new(url, files(&[])).look_up(Arc::new(|name| {
        assert_eq!(name, "db.invalid");
        Ok(["127.9.9.9", "127.0.0.1"]
            .map(|address| address.parse().unwrap())
            .to_vec())
    }));
    assert!(status(&config).await.is_ok());
    let failing = config.look_up(Arc::new(|_| Err(std::io::Error::other("nobody knows it"))));
    let error = status(&failing.deadline(Duration::from_secs(2))).await;
    let error = error.unwrap_err().to_string();
    assert!(
        error.contains("db.invalid") && error.contains("nobody knows it"),
        "{error}"
    );
}

#[tokio::test]
async fn a_server_that_accepts_and_is_silent_is_waited_for_as_long_as_connect_timeout_says() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let url = format!("postgres://u@127.0.0.1:{port}/d?connect_timeout=1");
    let config = Config::new(url, files(&[])).deadline(Duration::from_hours(1));
    let error = status(&config).await.unwrap_err();
    let Error::PostgresNotReady { last, .. } = &error else {
        panic!("{error}")
    };
    assert!(!last.contains("within 0.0 s"), "{error}");
}

#[tokio::test]
async fn a_search_path_in_the_url_is_the_one_of_the_session() {
    let (database, _) = fresh().await;
    let url = format!("{}?search_path=app%2C%20public", database.url());
    let config = Config::new(url, files(&[]));
    let session = migrator::examine::Run::bounded(&config, |run| async move {
        let session = migrator::examine::Session::open(&run).await?;
        let sets = session.query("asking", "SHOW search_path").await?;
        session.close().await;
        Ok(sets[0][0].get(0).map(str::to_owned))
    });
    assert_eq!(session.await.unwrap().as_deref(), Some("app, public"));
}

#[tokio::test]
async fn a_login_without_its_password_is_a_refused_login() {
    let (database, _) = fresh().await;
    run(&database, "CREATE ROLE needs_password LOGIN PASSWORD 'p'").await;
    let (_, host) = database.url().split_once('@').unwrap();
    let url = format!("postgres://needs_password@{host}");
    let error = apply(&Config::new(url, files(&[]))).await.unwrap_err();
    assert!(matches!(error, Error::AuthFailed { .. }), "{error}");
    assert!(error.to_string().contains("none was given"), "{error}");
    run(&database, "DROP ROLE needs_password").await;
}

#[tokio::test]
async fn a_read_only_database_is_answered_with_the_primarys_address() {
    let (database, _) = fresh().await;
    let url = format!(
        "{}?options=-cdefault_transaction_read_only%3Don",
        database.url()
    );
    let up = (
        "0001_t.up.sql",
        "-- provides: table t\nCREATE TABLE IF NOT EXISTS t (a int);\n",
    );
    let down = ("0001_t.down.sql", "DROP TABLE IF EXISTS t;");
    let error = apply(&Config::new(url, files(&[up, down])))
        .await
        .unwrap_err();
    assert_eq!(error.sqlstate(), Some("25006"));
    assert!(
        error.to_string().contains("give the primary's address"),
        "{error}"
    );
}

#[tokio::test]
async fn a_ledger_of_another_tool_and_a_schema_without_privilege_are_named() {
    let (database, config) = fresh().await;
    let up = (
        "0001_t.up.sql",
        "-- provides: table t\nCREATE TABLE IF NOT EXISTS t (a int);\n",
    );
    let down = ("0001_t.down.sql", "DROP TABLE IF EXISTS t;");
    let config = config.catalogue(files(&[up, down]));
    run(&database, "CREATE TABLE schema_ledger (version int)").await;
    let error = apply(&config).await.unwrap_err().to_string();
    assert!(
        error.contains("schema_ledger") && error.contains("another"),
        "{error}"
    );
    assert!(!error.contains("requires"), "{error}");
    run(&database, "DROP TABLE schema_ledger").await;

    run(&database, "DROP ROLE IF EXISTS onlooker; CREATE ROLE onlooker LOGIN PASSWORD 'p'; REVOKE CREATE ON SCHEMA public FROM PUBLIC").await;
    let (_, host) = database.url().split_once('@').unwrap();
    let url = format!("postgres://onlooker:p@{host}");
    let refused = apply(&Config::new(url, files(&[up, down])))
        .await
        .unwrap_err();
    let Error::PermissionDenied { stage, .. } = &refused else {
        panic!("{refused}")
    };
    assert_eq!(stage, "making the ledger");
    assert_eq!(
        value(&database, "SELECT to_regclass('t') IS NULL").await,
        "t"
    );
    run(&database, "DROP ROLE onlooker").await;
}
