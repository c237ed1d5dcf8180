//! What a client proves, whom it trusts, and that no token shows.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Json, Router,
    http::{HeaderMap, StatusCode},
    response::IntoResponse,
    routing::get,
};
use datastorage_client::{Access, Client, Error, QueryAuditEvents};
use tempfile::TempDir;
use testkit::{datastorage::Service, postgres, tls::Authority, wait};
use tokio::net::TcpListener;

const OLD: &str = "the-old-one-0123456789-0123456789";
const NEW: &str = "the-new-one-0123456789-0123456789";
const SOON: Duration = Duration::from_secs(30);

/// A server that lets in whoever sends the token that is valid, and notes what came.
struct Guarded {
    url: String,
    valid: Arc<Mutex<&'static str>>,
    seen: Arc<Mutex<Vec<Option<String>>>>,
}

impl Guarded {
    async fn start() -> Self {
        let (valid, seen) = (Arc::new(Mutex::new(OLD)), Arc::new(Mutex::new(Vec::new())));
        let (wanted, noted) = (Arc::clone(&valid), Arc::clone(&seen));
        let answer = move |headers: HeaderMap| async move {
            let given = headers.get("authorization");
            let given = given.map(|value| value.to_str().expect("text").to_owned());
            let wanted = format!("Bearer {}", wanted.lock().expect("whole"));
            let right = given.as_deref() == Some(&wanted);
            noted.lock().expect("whole").push(given);
            if right {
                Json(serde_json::json!({"status": "alive"})).into_response()
            } else {
                let problem = serde_json::json!({"type": "x/unauthorized", "title": "Unauthorized", "status": 401, "detail": "no"});
                (StatusCode::UNAUTHORIZED, Json(problem)).into_response()
            }
        };
        let router = Router::new().route("/health/live", get(answer));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("its address"));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, valid, seen }
    }
}

fn token_file(directory: &TempDir, text: &str) -> Access {
    let file = directory.path().join("token");
    std::fs::write(&file, text).expect("written");
    Access {
        token_file: Some(file),
        ..Access::default()
    }
}

#[tokio::test]
async fn the_token_of_the_file_is_sent_and_after_a_401_the_one_that_it_holds_by_then() {
    let server = Guarded::start().await;
    let directory = tempfile::tempdir().expect("a directory");
    let access = token_file(&directory, &format!("\n {OLD} \n{NEW}\n"));
    let client = Client::with_access(&server.url, &access).expect("a client");
    client.get_liveness().await.expect("let in");
    *server.valid.lock().expect("whole") = NEW;
    let refused = client.get_liveness().await.expect_err("the old one");
    assert_eq!(refused.status(), Some(401));
    assert!(
        refused.to_string().contains(Access::TOKEN_FILE),
        "{refused}"
    );
    token_file(&directory, NEW);
    client.get_liveness().await.expect("let in at once");
    // A file that is of no use for a while leaves what it held.
    token_file(&directory, "");
    wait::until("the file to be looked at again", SOON, async || {
        client.get_liveness().await.map(|_| ())
    })
    .await;
    for text in [
        format!("{client:?}"),
        refused.to_string(),
        format!("{refused:?}"),
    ] {
        assert!(!text.contains(OLD) && !text.contains(NEW), "{text}");
    }
}

#[tokio::test]
async fn a_client_without_a_token_sends_none() {
    let server = Guarded::start().await;
    let client = Client::new(&server.url).expect("a client");
    client.get_liveness().await.expect_err("nothing proven");
    assert_eq!(*server.seen.lock().expect("whole"), [None]);
}

#[test]
fn files_of_no_use_are_said_by_name_and_not_quoted() {
    let directory = tempfile::tempdir().expect("a directory");
    let nowhere = || Some(PathBuf::from("/nowhere/file"));
    let nothing = directory.path().join("nothing");
    std::fs::write(&nothing, "hunter2 and more").expect("written");
    for (url, access, part) in [
        (
            "http://a",
            token_file(&directory, "hunter2 hunter2"),
            "token",
        ),
        ("http://a", token_file(&directory, "\n"), "it holds none"),
        (
            "http://a",
            Access {
                token_file: nowhere(),
                ..Access::default()
            },
            "/nowhere/file",
        ),
        (
            "http://a",
            Access {
                ca_file: nowhere(),
                ..Access::default()
            },
            "give an https URL",
        ),
        (
            "https://a",
            Access {
                ca_file: nowhere(),
                ..Access::default()
            },
            "/nowhere/file",
        ),
        (
            "https://a",
            Access {
                ca_file: Some(nothing),
                ..Access::default()
            },
            "holds no certificate",
        ),
    ] {
        let error = Client::with_access(url, &access).expect_err(part);
        assert!(matches!(error, Error::Access(_)), "{error:?}");
        let text = error.to_string();
        assert!(text.contains(part) && !text.contains("hunter2"), "{text}");
    }
}

#[test]
fn the_variables_name_the_files_and_an_empty_one_none() {
    let access = Access::from_variables(|name| match name {
        "DATASTORAGE_TOKEN_FILE" => Some("/a".to_owned()),
        "DATASTORAGE_CA_FILE" => Some(String::new()),
        "DATASTORAGE_CLIENT_CERT_FILE" => Some("/c".to_owned()),
        "DATASTORAGE_CLIENT_KEY_FILE" => Some("/k".to_owned()),
        _ => None,
    });
    let path = |text| Some(PathBuf::from(text));
    let expected = Access {
        token_file: path("/a"),
        ca_file: None,
        client_cert: path("/c"),
        client_key: path("/k"),
    };
    assert_eq!(access, expected);
}

fn write(directory: &Path, name: &str, text: &str) -> PathBuf {
    let file = directory.join(name);
    std::fs::write(&file, text).expect("written");
    file
}

#[tokio::test]
async fn over_https_it_trusts_the_authority_of_its_file_and_shows_its_certificate() {
    let directory = tempfile::tempdir().expect("a directory");
    let (authority, stranger) = (Authority::named("authority"), Authority::named("stranger"));
    let pair = |authority: &Authority, name: &str| {
        let (certificate, key) = authority.certificate("127.0.0.1");
        (
            write(directory.path(), &format!("{name}.crt"), &certificate),
            write(directory.path(), &format!("{name}.key"), &key),
        )
    };
    let (server, own, strange) = (
        pair(&authority, "server"),
        pair(&authority, "own"),
        pair(&stranger, "strange"),
    );
    let known = write(directory.path(), "known.pem", authority.pem());
    let unknown = write(directory.path(), "unknown.pem", stranger.pem());
    let text = |path: &PathBuf| path.display().to_string();
    let settings = vec![
        ("DATASTORAGE_TLS_CERTIFICATE_FILE", text(&server.0)),
        ("DATASTORAGE_TLS_KEY_FILE", text(&server.1)),
        ("DATASTORAGE_TLS_CLIENT_CA_FILE", text(&known)),
    ];
    let database = postgres::database("audit").await;
    let service = Service::with_settings("audit", &database, settings).await;
    let url = service.url().replace("http://", "https://");
    let ask = async |ca: &PathBuf, pair: Option<&(PathBuf, PathBuf)>| {
        let access = Access {
            token_file: None,
            ca_file: Some(ca.clone()),
            client_cert: pair.map(|pair| pair.0.clone()),
            client_key: pair.map(|pair| pair.1.clone()),
        };
        let client = Client::with_access(&url, &access).expect("a client");
        client
            .query_audit_events(&QueryAuditEvents::default())
            .await
            .map(|page| page.data.len())
    };
    assert_eq!(ask(&known, Some(&own)).await.expect("let in"), 0);
    let unproven = ask(&known, None).await.expect_err("no certificate");
    assert_eq!(unproven.status(), Some(401), "{unproven}");
    let refused = ask(&known, Some(&strange)).await.expect_err("a stranger's");
    assert!(matches!(refused, Error::Transport { .. }), "{refused}");
    let untrusted = ask(&unknown, Some(&own)).await.expect_err("not trusted");
    assert!(untrusted.to_string().contains("certificate"), "{untrusted}");
}
