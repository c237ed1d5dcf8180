//! Servers that outlive their owner on purpose.

use std::time::Duration;

use embedded_postgres::{Detached, Error, Options, Server, detached, sweep};

use crate::{exists, installation, query};

const HOUR: Duration = Duration::from_hours(1);

#[tokio::test]
async fn a_detached_server_is_found_used_and_taken_over() {
    let server = Server::start(&installation(), Options::default())
        .await
        .unwrap();
    query(&server.url("action_history"), "CREATE TABLE kept ()")
        .await
        .unwrap();
    let (pid, password) = (server.pid(), server.password().to_owned());
    let left = server.detach("gateway", HOUR).unwrap();
    assert!(exists(pid));
    assert!(
        !sweep(&[]).unwrap().contains(&left.directory),
        "it has an hour to live"
    );

    let found = detached(&[])
        .unwrap()
        .into_iter()
        .find(|found| found.directory == left.directory)
        .unwrap();
    assert_eq!(
        (found.label.as_str(), found.password(), found.port()),
        ("gateway", password.as_str(), left.port())
    );
    assert!(!found.url_without_password("x").contains(&password));
    assert_eq!(
        query(
            &found.url("action_history"),
            "SELECT to_regclass('kept') IS NULL"
        )
        .await
        .unwrap(),
        "f"
    );

    let server = Server::attach(&found.directory).await.unwrap();
    assert_eq!((server.pid(), server.database()), (pid, "action_history"));
    let again = Server::attach(&found.directory).await.unwrap_err();
    assert!(
        matches!(&again, Error::NotDetached { detail, .. } if detail.contains("another process")),
        "{again}"
    );
    server.stop().await.unwrap();
    assert!(!exists(pid) && !left.directory.exists());
}

#[tokio::test]
async fn a_detached_server_that_died_is_started_again_with_its_data() {
    let server = Server::start(&installation(), Options::default())
        .await
        .unwrap();
    query(&server.url("action_history"), "CREATE TABLE kept ()")
        .await
        .unwrap();
    let pid = server.pid();
    let left = server.detach("test", HOUR).unwrap();
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(pid),
        nix::sys::signal::Signal::SIGKILL,
    )
    .unwrap();
    let server = Server::attach(&left.directory).await.unwrap();
    assert_ne!(server.pid(), pid);
    assert_eq!(
        query(
            &left.url("action_history"),
            "SELECT to_regclass('kept') IS NULL"
        )
        .await
        .unwrap(),
        "f"
    );
}

#[tokio::test]
async fn a_take_over_that_fails_loses_nothing() {
    let server = Server::start(&installation(), Options::default())
        .await
        .unwrap();
    query(&server.url("action_history"), "CREATE TABLE kept ()")
        .await
        .unwrap();
    let pid = nix::unistd::Pid::from_raw(server.pid());
    let left = server.detach("test", HOUR).unwrap();
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
    // Its port is free as soon as it is gone.
    let taken = loop {
        match std::net::TcpListener::bind(("127.0.0.1", left.port().unwrap())) {
            Ok(listener) => break listener,
            Err(_) => tokio::time::sleep(Duration::from_millis(1)).await,
        }
    };
    let failed = Server::attach(&left.directory).await.unwrap_err();
    assert!(matches!(failed, Error::PortTaken { .. }), "{failed}");
    drop(taken);
    let server = Server::attach(&left.directory).await.unwrap();
    assert_eq!(
        query(
            &server.url("action_history"),
            "SELECT to_regclass('kept') IS NULL"
        )
        .await
        .unwrap(),
        "f"
    );
}

#[tokio::test]
async fn a_detached_server_ends_with_its_lifetime() {
    let server = Server::start(&installation(), Options::default())
        .await
        .unwrap();
    let pid = server.pid();
    let left = server.detach("test", Duration::ZERO).unwrap();
    sweep(&[]).unwrap();
    assert!(!exists(pid) && !left.directory.exists());
    let gone = Server::attach(&left.directory).await.unwrap_err();
    assert!(
        gone.to_string()
            .contains(&left.directory.display().to_string()),
        "{gone}"
    );
}

#[tokio::test]
async fn the_state_of_a_detached_server_is_for_its_user_only() {
    use std::os::unix::fs::PermissionsExt;
    let server = Server::start(&installation(), Options::default())
        .await
        .unwrap();
    let left = server.detach("test", HOUR).unwrap();
    let mode = left
        .directory
        .join("detached.json")
        .metadata()
        .unwrap()
        .permissions()
        .mode();
    let debug = format!("{:?}", Detached::read(&left.directory).unwrap());
    Server::attach(&left.directory)
        .await
        .unwrap()
        .stop()
        .await
        .unwrap();
    assert_eq!(mode & 0o777, 0o600);
    assert!(!debug.contains(left.password()), "{debug}");
}
