//! TLS by every sslmode of PostgreSQL's manual, against a server with a certificate of the tests' own authority.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use migrator::{Config, Encrypted, Encryptor, Error, apply};
use postgres_tls::{Connector, InvalidTls, Roots, Tls};
use testkit::postgres::Database;
use testkit::tls::Secured;

use crate::{files, fresh, value};

const FILE: (&str, &str) = (
    "0001_seen.up.sql",
    "-- provides: table seen\nCREATE TABLE IF NOT EXISTS seen AS SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid();\n",
);

/// What a program with this TLS library gives to the engine.
fn encryptor(mode: &str, root_cert: Option<&Path>) -> Result<Encryptor, InvalidTls> {
    let roots = root_cert.map(Roots::read).transpose()?;
    let connector = Connector::new(&Tls::new(mode.parse()?, roots)?)?;
    Ok(Arc::new(move |stream, host| {
        let connector = connector.clone();
        Box::pin(async move {
            let stream = connector.encrypt(stream, &host).await?;
            Ok(Encrypted {
                end_point: stream.end_point(),
                stream: Box::new(stream),
            })
        })
    }))
}

fn config(url: &str) -> Config {
    let down = ("0001_seen.down.sql", "DROP TABLE IF EXISTS seen;");
    Config::new(url, files(&[FILE, down]))
        .deadline(Duration::from_mins(1))
        .tls(|mode, root_cert| {
            encryptor(mode, root_cert).map_err(|error: InvalidTls| error.to_string())
        })
}

/// The URL of the database by that host, with options.
fn url(secured: &Secured, database: &Database, host: &str, mode: &str, root: &str) -> String {
    let url = database.url().replace("127.0.0.1", host);
    let url = format!("{url}?sslmode={mode}");
    match root {
        "" => url,
        name => format!("{url}&sslrootcert={}", secured.file(name).display()),
    }
}

#[tokio::test]
async fn each_mode_encrypts_and_proves_what_the_manual_says() {
    let secured = Secured::start().await;
    for (host, mode, root, encrypted) in [
        ("127.0.0.1", "disable", "", "f"),
        ("127.0.0.1", "allow", "", "t"),
        ("127.0.0.1", "prefer", "stranger", "t"),
        ("localhost", "require", "", "t"),
        ("localhost", "verify-ca", "authority", "t"),
        ("127.0.0.1", "verify-full", "authority", "t"),
    ] {
        let database = secured.empty_database().await;
        let url = url(&secured, &database, host, mode, root);
        let applied = apply(&config(&url)).await;
        applied.unwrap_or_else(|error| panic!("{mode}: {error}"));
        assert_eq!(
            value(&database, "SELECT ssl FROM seen").await,
            encrypted,
            "{mode}"
        );
    }
}

#[tokio::test]
async fn a_server_that_does_not_prove_what_it_must_is_refused_at_once_with_the_next_move() {
    let secured = Secured::start().await;
    let database = secured.empty_database().await;
    for (host, mode, root, next_move) in [
        ("127.0.0.1", "require", "stranger", "sslrootcert"),
        ("127.0.0.1", "verify-ca", "stranger", "sslrootcert"),
        ("127.0.0.1", "verify-full", "stranger", "sslrootcert"),
        (
            "localhost",
            "verify-full",
            "authority",
            "name that the certificate holds",
        ),
    ] {
        let url = url(&secured, &database, host, mode, root);
        let error = apply(&config(&url)).await.unwrap_err();
        assert!(matches!(error, Error::TlsRefused { .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains(&format!("sslmode={mode}")), "{text}");
        assert!(text.contains(next_move), "{text}");
    }
    for (mode, root, part) in [
        ("verify-full", "", "sslrootcert"),
        ("verify-full", "missing", "missing is not"),
    ] {
        let url = url(&secured, &database, "127.0.0.1", mode, root);
        let error = apply(&config(&url)).await.unwrap_err();
        assert!(matches!(error, Error::InvalidUrl { .. }), "{error}");
        assert!(error.to_string().contains(part), "{error}");
    }
}

#[tokio::test]
async fn a_server_without_tls_is_used_by_prefer_and_refused_by_require() {
    let (database, _) = fresh().await;
    apply(&config(database.url())).await.unwrap();
    assert_eq!(value(&database, "SELECT ssl FROM seen").await, "f");
    let error = apply(&config(&format!("{}?sslmode=require", database.url())))
        .await
        .unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, Error::TlsRefused { .. }), "{text}");
    assert!(
        text.contains("sslmode=require") && text.contains("ssl = on"),
        "{text}"
    );
}

#[tokio::test]
async fn a_server_that_lets_logins_in_only_with_tls_or_only_without_has_them_from_prefer() {
    let secured = Secured::start().await;
    let database = secured.empty_database().await;
    crate::run(&database, "CREATE ROLE app LOGIN SUPERUSER").await;
    let port = secured.server().port().unwrap();
    let as_app = format!("postgres://app@127.0.0.1:{port}/{}", database.name());
    for (kind, encrypted) in [("hostssl", "t"), ("hostnossl", "f")] {
        secured.only(kind).await;
        apply(&config(&as_app)).await.unwrap();
        assert_eq!(value(&database, "SELECT ssl FROM seen").await, encrypted);
        migrator::revert(&config(&as_app), &migrator::Revert::All)
            .await
            .unwrap();
    }
    secured.only("hostssl").await;
    let error = apply(&config(&format!("{as_app}?sslmode=disable")))
        .await
        .unwrap_err();
    assert!(matches!(error, Error::AuthFailed { .. }), "{error}");
    assert!(error.to_string().contains("sslmode=require"), "{error}");
}

#[tokio::test]
async fn a_login_with_a_password_is_bound_to_the_certificate() {
    let secured = Secured::start().await;
    let database = secured.empty_database().await;
    let url = url(&secured, &database, "127.0.0.1", "verify-full", "authority");
    apply(&config(&format!("{url}&channel_binding=require")))
        .await
        .unwrap();
    let plain = format!("{}?sslmode=disable&channel_binding=require", database.url());
    let error = apply(&config(&plain)).await.unwrap_err();
    assert!(matches!(error, Error::AuthFailed { .. }), "{error}");
}

#[tokio::test]
async fn a_statement_over_tls_is_cancelled_over_tls() {
    let secured = Secured::start().await;
    let database = secured.empty_database().await;
    let url = url(&secured, &database, "127.0.0.1", "verify-full", "authority");
    let slow = (
        "0001_slow.up.sql",
        "-- provides: table slow\nCREATE TABLE IF NOT EXISTS slow AS SELECT 1 AS a FROM pg_sleep(300);\n",
    );
    let down = ("0001_slow.down.sql", "DROP TABLE IF EXISTS slow;");
    let config = config(&url)
        .catalogue(files(&[slow, down]))
        .deadline(Duration::from_secs(2));
    let error = apply(&config).await.unwrap_err();
    assert!(matches!(error, Error::DeadlineExceeded { .. }), "{error}");
    let running = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(300)%' AND state = 'active' AND pid <> pg_backend_pid()";
    assert_eq!(value(&database, running).await, "0");
}
