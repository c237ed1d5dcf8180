//! Root's servers, and what a closed directory does to them.

use std::os::unix::fs::{MetadataExt, PermissionsExt};

use embedded_postgres::{Error, Options, Server};
use nix::unistd::geteuid;

use crate::installation;

#[tokio::test]
async fn no_server_runs_as_root() {
    let server = Server::start(&installation(), Options::default())
        .await
        .unwrap();
    let process = std::fs::metadata(format!("/proc/{}", server.pid())).unwrap();
    assert_ne!(process.uid(), 0);
    if !geteuid().is_root() {
        assert_eq!(process.uid(), geteuid().as_raw());
    }
}

#[tokio::test]
async fn the_data_and_the_socket_are_closed_to_others() {
    let server = Server::start(&installation(), Options::default())
        .await
        .unwrap();
    for name in ["data", "socket"] {
        let mode = server
            .directory()
            .join(name)
            .metadata()
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o700, "{name}");
    }
}

#[tokio::test]
async fn a_data_root_that_others_can_write_to_is_refused() {
    let root = tempfile::tempdir().unwrap();
    std::fs::set_permissions(root.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
    let options = Options {
        data_root: Some(root.path().to_owned()),
        ..Options::default()
    };
    let refused = Server::start(&installation(), options).await.unwrap_err();
    assert!(matches!(refused, Error::Unsafe { .. }), "{refused}");
}

#[tokio::test]
async fn a_data_root_that_the_servers_account_cannot_reach_is_refused_by_name() {
    let closed = tempfile::tempdir().unwrap();
    std::fs::set_permissions(closed.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
    let options = Options {
        data_root: Some(closed.path().join("data")),
        ..Options::default()
    };
    let started = Server::start(&installation(), options).await;
    if geteuid().is_root() {
        let refused = started.unwrap_err();
        assert!(
            matches!(&refused, Error::Unreachable { closed: found, .. } if found == closed.path()),
            "{refused}"
        );
    } else {
        assert!(
            started.is_ok(),
            "a user's own server runs as the user: {started:?}"
        );
    }
}
