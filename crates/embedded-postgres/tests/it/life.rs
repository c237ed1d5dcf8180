//! From start to stop, in order.

use std::net::TcpListener;

use embedded_postgres::{Durability, Error, Options, Server, Tcp};

use crate::{exists, installation, query};

#[tokio::test]
async fn a_server_has_the_user_the_database_and_a_password_that_counts() {
    let server = Server::start(&installation(), Options::default())
        .await
        .unwrap();
    assert_eq!(
        query(&server.url("action_history"), "SELECT current_user")
            .await
            .unwrap(),
        "slm_user"
    );
    assert_eq!(
        query(&server.url("postgres"), "SELECT current_database()")
            .await
            .unwrap(),
        "postgres"
    );
    let wrong = server.url("postgres").replace(server.password(), "wrong");
    let refused = query(&wrong, "SELECT 1").await.unwrap_err();
    assert_eq!(
        refused.code(),
        Some(&tokio_postgres::error::SqlState::INVALID_PASSWORD)
    );
    let without = query(&server.url_without_password("postgres"), "SELECT 1").await;
    assert!(without.is_err(), "a login without a password must fail");
}

#[tokio::test]
async fn every_server_is_a_fresh_one_beside_the_others() {
    let installation = installation();
    let start = || Server::start(&installation, Options::default());
    let (one, other, third) = tokio::join!(start(), start(), start());
    let (one, other, third) = (one.unwrap(), other.unwrap(), third.unwrap());
    query(&one.url("action_history"), "CREATE TABLE mine ()")
        .await
        .unwrap();
    for elsewhere in [&other, &third] {
        let seen = query(
            &elsewhere.url("action_history"),
            "SELECT to_regclass('mine') IS NULL",
        )
        .await
        .unwrap();
        assert_eq!(seen, "t");
    }
}

#[tokio::test]
async fn stop_and_drop_leave_neither_process_nor_directory() {
    let installation = installation();
    let stopped = Server::start(&installation, Options::default())
        .await
        .unwrap();
    let dropped = Server::start(&installation, Options::default())
        .await
        .unwrap();
    let left = [
        (stopped.pid(), stopped.directory().to_owned()),
        (dropped.pid(), dropped.directory().to_owned()),
    ];
    stopped.stop().await.unwrap();
    drop(dropped);
    for (pid, directory) in left {
        assert!(
            !exists(pid) && !directory.exists(),
            "{pid} {}",
            directory.display()
        );
    }
}

#[tokio::test]
async fn a_taken_port_is_an_error_that_names_it() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let refused = Server::start(
        &installation(),
        Options {
            tcp: Tcp::Port(port),
            ..Options::default()
        },
    )
    .await
    .unwrap_err();
    assert!(
        matches!(&refused, Error::PortTaken { port: taken, .. } if *taken == port),
        "{refused}"
    );
    assert!(
        refused.to_string().contains("Address already in use"),
        "{refused}"
    );
}

#[tokio::test]
async fn a_fixed_port_is_served_when_it_is_free() {
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let server = Server::start(
        &installation(),
        Options {
            tcp: Tcp::Port(port),
            ..Options::default()
        },
    )
    .await
    .unwrap();
    assert_eq!(server.port(), Some(port));
    assert_eq!(
        query(&server.url("postgres"), "SHOW port").await.unwrap(),
        port.to_string()
    );
}

#[tokio::test]
async fn without_tcp_the_url_leads_to_the_unix_socket() {
    let server = Server::start(
        &installation(),
        Options {
            tcp: Tcp::Off,
            ..Options::default()
        },
    )
    .await
    .unwrap();
    assert_eq!(server.port(), None);
    assert_eq!(
        query(&server.url("postgres"), "SELECT inet_server_addr() IS NULL")
            .await
            .unwrap(),
        "t"
    );
    assert_eq!(
        query(&server.url("postgres"), "SHOW listen_addresses")
            .await
            .unwrap(),
        ""
    );
}

#[tokio::test]
async fn settings_reach_the_server() {
    let options = Options {
        max_connections: 7,
        client_connection_check_interval: Some(std::time::Duration::from_millis(250)),
        settings: vec![("application_name".into(), "it's here".into())],
        ..Options::default()
    };
    let server = Server::start(&installation(), options).await.unwrap();
    let show = async |name: &str| {
        query(&server.url("postgres"), &format!("SHOW {name}"))
            .await
            .unwrap()
    };
    assert_eq!(show("max_connections").await, "7");
    assert_eq!(show("client_connection_check_interval").await, "250ms");
    assert_eq!(show("synchronous_commit").await, "on");
    assert_eq!(show("fsync").await, "off");
    assert_eq!(show("application_name").await, "it's here");
}

#[tokio::test]
async fn a_durable_server_keeps_its_promises_on_disk() {
    let options = Options {
        durability: Durability::Durable,
        ..Options::default()
    };
    let server = Server::start(&installation(), options).await.unwrap();
    let show = async |name: &str| {
        query(&server.url("postgres"), &format!("SHOW {name}"))
            .await
            .unwrap()
    };
    assert_eq!(
        [
            show("fsync").await,
            show("full_page_writes").await,
            show("synchronous_commit").await
        ],
        ["on", "on", "on"]
    );
    assert_eq!(
        [show("wal_segment_size").await, show("max_wal_size").await],
        ["16MB", "1GB"]
    );
    assert!(
        server
            .directory()
            .starts_with(embedded_postgres::cache_directory()),
        "{server:?}"
    );
}

#[tokio::test]
async fn a_setting_that_postgresql_refuses_is_reported_with_postgresqls_message() {
    let options = Options {
        settings: vec![("shared_buffers".into(), "plenty".into())],
        ..Options::default()
    };
    let refused = Server::start(&installation(), options).await.unwrap_err();
    assert!(matches!(refused, Error::Exited { .. }), "{refused:?}");
    assert!(refused.to_string().contains("shared_buffers"), "{refused}");
}

#[tokio::test]
async fn the_password_is_in_no_command_line_and_in_no_log() {
    let options = Options {
        password: Some("un-guessable'\\1".into()),
        ..Options::default()
    };
    let server = Server::start(&installation(), options).await.unwrap();
    query(&server.url("postgres"), "SELECT 1").await.unwrap();
    let log = std::fs::read_to_string(server.log_path()).unwrap();
    assert!(!log.contains("un-guessable"), "{log}");
    assert!(!format!("{server:?}").contains("un-guessable"));
    let processes = std::process::Command::new("ps")
        .args(["-eo", "args"])
        .output()
        .unwrap();
    assert!(!String::from_utf8_lossy(&processes.stdout).contains("un-guessable"));
}

#[tokio::test]
async fn odd_names_are_names_all_the_same() {
    let options = Options {
        user: "odd user".into(),
        database: "a \"b\" c".into(),
        ..Options::default()
    };
    let server = Server::start(&installation(), options).await.unwrap();
    let seen = query(
        &server.url("a \"b\" c"),
        "SELECT current_user || '@' || current_database()",
    )
    .await
    .unwrap();
    assert_eq!(seen, "odd user@a \"b\" c");
}

#[tokio::test]
async fn a_path_too_long_for_a_socket_is_refused_before_anything_is_created() {
    let long = tempfile::tempdir().unwrap().path().join("d".repeat(100));
    let options = Options {
        data_root: Some(long.clone()),
        ..Options::default()
    };
    let refused = Server::start(&installation(), options).await.unwrap_err();
    assert!(
        refused.to_string().contains("too long for a unix socket"),
        "{refused}"
    );
}
