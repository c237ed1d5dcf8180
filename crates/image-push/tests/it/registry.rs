//! Pushes to real registries and to fakes.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use serde_json::{Value, json};

use crate::fake::{Fault, answering, listen, way};
use crate::program::{Home, noise, sum};
use crate::server::{ACCOUNT, Server};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

#[test]
fn an_image_is_named_by_its_digest_and_pushed_again_sends_nothing() {
    let (home, server) = (Home::new(), Server::open());
    let registry = format!("{}/team/e2e", server.host);
    let archive = home.archive("one.tar", &[b"below", &noise(100_000)]);
    let first = home.push(&registry, &archive, &[]);
    let [(bytes, 2, 0)] = first.pushed()[..] else {
        panic!("{first:?}");
    };
    assert!(bytes > 100_000, "{bytes}");
    let reference = first.answers[0]["reference"].as_str().expect("a name");
    let digest = reference
        .strip_prefix(&format!("{registry}/datastorage@"))
        .expect("the whole name");

    // What the registry keeps is what the name says, under a tag too, so that it is not cleaned away.
    let tag = format!("e2e-{}", &digest["sha256:".len()..][..12]);
    for name in [digest, &tag] {
        let path = format!("/v2/team/e2e/datastorage/manifests/{name}");
        let (status, answer) = server.get(&path, MANIFEST);
        assert_eq!(status, "HTTP/1.1 200 OK", "{name}");
        let (_, manifest) = answer.split_once("\r\n\r\n").expect("a body");
        assert_eq!(sum(manifest.as_bytes()), digest);
        let manifest: Value = serde_json::from_str(manifest).expect("JSON");
        assert_eq!(manifest["layers"].as_array().map(Vec::len), Some(2));
    }
    let again = home.push(&registry, &archive, &[]);
    assert_eq!(again.pushed(), [(0, 0, 2)]);
    assert_eq!(again.answers[0]["reference"], reference);
}

#[test]
fn a_layer_that_the_registry_has_is_sent_neither_for_a_changed_image_nor_for_another_repository() {
    let (home, server) = (Home::new(), Server::open());
    let base = noise(200_000);
    let one = home.archive("one.tar", &[&base, b"one"]);
    let two = home.archive("two.tar", &[&base, b"two"]);
    home.push(&server.host, &one, &[]).pushed();
    let changed = home.push(&server.host, &two, &[]).pushed();
    assert!(
        matches!(changed[..], [(bytes, 1, 1)] if bytes < 5_000),
        "{changed:?}"
    );
    // In one request the registry takes it over from the one repository into the other.
    let both = [(&*one, "datastorage"), (&*two, "relay")];
    let other = home.push_all(&server.host, &both, &[]).pushed();
    assert_eq!(other[0], (0, 0, 2));
    assert!(
        matches!(other[1], (bytes, 1, 1) if bytes < 5_000),
        "{other:?}"
    );
}

#[test]
fn who_pushes_is_told_what_is_wrong_with_the_account_and_no_password_is_shown() {
    let (home, server) = (Home::new(), Server::with_accounts());
    let archive = home.archive("one.tar", &[b"one"]);
    let check = ["check", "--registry", &server.host];
    let secret = ["pull-secret", "--registry", &server.host];

    for refused in [home.run(&check), home.push(&server.host, &archive, &[])] {
        let (what, hint) = refused.failed("refused");
        assert!(
            what.contains("asks who pushes") && what.contains("no credentials for it"),
            "{what}"
        );
        assert_eq!(hint, format!("docker login {}", server.host));
    }
    assert_eq!(home.run(&secret).said, "{\"auths\":{}}\n");

    home.log_in(&server.host, (ACCOUNT.0, "wr0ng"));
    let refused = home.push(&server.host, &archive, &[]);
    let (what, _) = refused.failed("refused");
    assert!(
        what.contains("the account is that of ") && what.contains(".docker/config.json"),
        "{what}"
    );
    assert!(!refused.said.contains("wr0ng"));
    assert_eq!(server.tags(), 0);

    home.log_in(&server.host, ACCOUNT);
    assert!(home.run(&check).ok);
    let pushed = home.push(&server.host, &archive, &[]);
    assert_eq!(pushed.pushed()[0].1, 1);
    assert!(!pushed.said.contains(ACCOUNT.1));
    let auths = home.run(&secret).answers[0]["auths"].clone();
    assert_eq!(
        auths,
        json!({&server.host: {"auth": "cHVzaGVyOnMzY3JldA=="}})
    );
}

#[test]
fn credentials_come_from_a_helper_too_and_what_a_failing_one_prints_is_not_shown() {
    let (home, server) = (Home::new(), Server::with_accounts());
    let helpers = json!({"credHelpers": {&server.host: "test"}});
    home.file(".config/containers/auth.json", helpers.to_string());
    let helper = |script: &str| {
        // By another process: what another test starts at this moment must not have it open for writing.
        let text = home.file("helper", format!("#!/bin/sh\nread server\n{script}\n"));
        let file = text.with_file_name("docker-credential-test");
        let copied = Command::new("cp").arg(text).arg(&file).status();
        assert!(copied.expect("cp starts").success());
        fs::set_permissions(file, fs::Permissions::from_mode(0o755)).expect("it is ours");
    };
    let check = || home.run(&["check", "--registry", &server.host]);
    helper("echo '{\"Username\":\"pusher\",\"Secret\":\"s3cret\"}'");
    let ended = check();
    assert!(ended.ok, "{ended:?}");
    helper("echo s3cret; echo s3cret >&2; exit 1");
    let ended = check();
    let (what, _) = ended.failed("refused");
    assert!(
        what.contains("docker-credential-test, which it names") && what.contains("failed"),
        "{what}"
    );
    assert!(!ended.said.contains("s3cret"));
}

#[test]
fn a_registry_with_an_authority_of_its_own_is_trusted_once_its_certificate_is_where_podman_has_it()
{
    let (home, (server, authority)) = (Home::new(), Server::with_tls());
    let check = ["check", "--registry", &server.host];
    let (what, hint) = home.run(&check).failed("untrusted");
    assert!(what.contains("UnknownIssuer"), "{what}");
    let place = format!(".config/containers/certs.d/{}/ca.crt", server.host);
    assert!(hint.contains(&place), "{hint}");
    // Not even with the permission to do without TLS.
    let insecure = [&check[..], &["--insecure-registry"]].concat();
    home.run(&insecure).failed("untrusted");

    home.file(&place, fs::read(authority).expect("a certificate"));
    let archive = home.archive("one.tar", &[b"one"]);
    assert_eq!(home.push(&server.host, &archive, &[]).pushed()[0].1, 1);
    home.file(&place, "no certificate");
    home.run(&check).failed("untrusted");
}

#[test]
fn a_registry_without_tls_that_is_not_this_machine_needs_a_permission() {
    let (home, server) = (Home::new(), Server::elsewhere());
    let check = ["check", "--registry", &server.host];
    let (what, hint) = home.run(&check).failed("untrusted");
    assert!(what.ends_with("answers without TLS"), "{what}");
    assert!(hint.contains("--insecure-registry"), "{hint}");
    // Not by a proxy, which this environment names.
    let refused = home.run(&[&check[..], &["--insecure-registry"]].concat());
    let (what, hint) = refused.failed("unreachable");
    assert!(
        what.contains("127.0.0.1:9") || hint.contains("PROXY"),
        "{what} {hint}"
    );
}

#[test]
fn what_a_registry_says_when_it_refuses_is_told() {
    let home = Home::new();
    let archive = home.archive("one.tar", &[b"one"]);
    let denied = json!({"errors": [{"code": "DENIED", "message": "plan ended"}]}).to_string();
    let full = json!({"errors": [{"code": "UNKNOWN", "message": "unknown error", "detail": {"Err": "no space left on device"}}]});
    let unknown = json!({"errors": [{"code": "NAME_UNKNOWN", "message": "make it first"}]});
    let read_only = json!({"errors": [{"code": "UNSUPPORTED", "message": "read-only"}]});
    for (status, body, kind, told, move_) in [
        (
            403,
            denied,
            "refused",
            "plan ended",
            "get the right to push",
        ),
        (
            500,
            full.to_string(),
            "registry-failed",
            "no space left",
            "make room",
        ),
        (
            404,
            unknown.to_string(),
            "unknown-repository",
            "make it first",
            "make the repository",
        ),
        (
            405,
            read_only.to_string(),
            "refused",
            "read-only",
            "a mirror, or read-only",
        ),
        (
            404,
            "<html>".to_owned(),
            "unknown-registry",
            "it answers 404",
            "look at the name",
        ),
    ] {
        let host = answering(move |request| match &*request.method {
            "GET" => (200, String::new(), "{}".to_owned()),
            "HEAD" => (404, String::new(), String::new()),
            _ => (status, String::new(), body.clone()),
        });
        for ended in [
            home.push(&host, &archive, &[]),
            home.run(&["check", "--registry", &host]),
        ] {
            let (what, hint) = ended.failed(kind);
            assert!(what.contains(told) && hint.contains(move_), "{what} {hint}");
        }
    }
}

/// As the registries of GitHub, Google and Docker do it.
#[test]
fn a_token_is_got_for_an_account_from_where_the_registry_says() {
    let home = Home::new();
    let itself = Arc::new(OnceLock::new());
    let realm = Arc::clone(&itself);
    let host = answering(move |request| {
        let path = request.path.split('?').next().unwrap_or_default();
        let none = String::new;
        match (path, &*request.authorization) {
            ("/token", "Basic cHVzaGVyOnMzY3JldA==") => {
                let scope = "scope=repository%3Ateam%2Fe2e-check%3Apull%2Cpush";
                assert!(request.path.contains(scope), "{}", request.path);
                (200, none(), json!({"token": "t0ken"}).to_string())
            }
            ("/token", _) => (401, none(), "no such account".to_owned()),
            (_, "Bearer t0ken") if request.method == "POST" => {
                (202, "Location: /v2/upload\r\n".to_owned(), none())
            }
            (_, "Bearer t0ken") => (201, "Location: /v2/done\r\n".to_owned(), none()),
            _ => {
                let host: &String = realm.get().expect("it listens");
                let bearer = format!("Bearer realm=\"http://{host}/token\",service=\"x\"");
                (401, format!("WWW-Authenticate: {bearer}\r\n"), none())
            }
        }
    });
    itself.set(host.clone()).expect("once");
    let check = || home.run(&["check", "--registry", &format!("{host}/team")]);
    let (what, hint) = check().failed("refused");
    assert!(what.contains("gives none (\"no such account\")"), "{what}");
    assert_eq!(hint, format!("docker login {host}"));
    home.log_in(&host, ACCOUNT);
    let ended = check();
    assert!(ended.ok, "{ended:?}");
}

#[test]
fn a_registry_that_does_not_answer_is_given_up_in_time() {
    let home = Home::new();
    let host = listen(|stream| {
        std::thread::park();
        drop(stream);
    });
    let ended = home.run(&["check", "--registry", &host, "--patience", "1"]);
    let (what, _) = ended.failed("timed-out");
    assert_eq!(what, format!("{host} did not answer within 1 s"));
}

#[test]
fn what_is_no_registry_or_away_is_told_by_its_name() {
    let home = Home::new();
    for (registry, kind) in [
        ("127.0.0.1:1", "unreachable"),
        ("no-such-host.invalid", "unreachable"),
        ("https://registry.example", "request"),
        ("registry.example/Team", "request"),
    ] {
        let (what, hint) = home.run(&["check", "--registry", registry]).failed(kind);
        let name = registry.trim_start_matches("registry.example/");
        assert!(what.contains(name) && !hint.is_empty(), "{what}");
    }
}

#[test]
fn nothing_is_sent_of_images_one_of_which_is_broken() {
    let (home, server) = (Home::new(), Server::open());
    let good = home.archive("good.tar", &[b"one"]);
    let broken = home.file("broken.tar", &fs::read(&good).expect("it")[..700]);
    let both = [(&*good, "good"), (&*broken, "broken")];
    let (what, _) = home
        .push_all(&server.host, &both, &[])
        .failed("broken-archive");
    assert!(what.contains("broken.tar"), "{what}");
    assert_eq!(server.tags(), 0);
}

#[test]
fn a_push_that_was_killed_half_way_leaves_no_image_and_the_next_one_makes_it() {
    let (home, server) = (Home::new(), Server::open());
    let archive = home.archive("one.tar", &[b"below", &noise(3_000_000)]);
    let (host, stalled) = way(&server.host, Fault::Stall, 1_000_000, 1);
    let mut process = home.start(&host, &[(&archive, "datastorage")], &[]);
    let half_way = stalled.recv_timeout(Duration::from_mins(1));
    half_way.expect("it is half-way");
    process.kill().expect("it runs");
    process.wait().expect("it ends");
    assert_eq!(server.tags(), 0);

    let pushed = home.push(&server.host, &archive, &[]).pushed();
    // The layer that had arrived is not sent again.
    assert_eq!((pushed[0].1, pushed[0].2), (1, 1));
    assert_eq!(server.tags(), 1);
}

#[test]
fn a_connection_that_breaks_is_tried_again_and_given_up_after_a_few_times() {
    let (home, server) = (Home::new(), Server::open());
    let archive = home.archive("one.tar", &[&noise(3_000_000)]);
    let (host, broken) = way(&server.host, Fault::Cut, 1_000_000, 2);
    assert_eq!(home.push(&host, &archive, &[]).pushed()[0].1, 1);
    assert_eq!(broken.try_iter().count(), 2);

    let archive = home.archive("two.tar", &[&noise(2_900_000)]);
    let (host, broken) = way(&server.host, Fault::Cut, 1_000_000, usize::MAX);
    let (what, _) = home.push(&host, &archive, &[]).failed("cut-off");
    assert!(what.contains("each of 4 times"), "{what}");
    assert_eq!(broken.try_iter().count(), 4);
    assert_eq!(server.tags(), 1);
}
