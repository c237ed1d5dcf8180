//! TLS to PostgreSQL, by every sslmode of its manual, against a server with a certificate of the tests' own authority.

use datastorage::clock::Clock;
use embedded_postgres::{Options, Server};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tempfile::TempDir;
use testkit::postgres::{Database, database_on, own_server};
use testkit::wait::until;

use crate::support::{SOON, Service, event};

const EVENTS: &str = "/api/v1/audit/events";

/// A server that speaks TLS as 127.0.0.1, a database on it, and PEM files of its authority and of a stranger.
struct Secured {
    _server: Server,
    database: Database,
    files: TempDir,
}

impl Secured {
    async fn start() -> Self {
        let server = own_server(Options::default()).await;
        let files = tempfile::tempdir().expect("a directory");
        let (authority, authority_pem) = authority();
        let (_, stranger_pem) = authority_named("stranger");
        for (name, pem) in [("authority", authority_pem), ("stranger", stranger_pem)] {
            std::fs::write(files.path().join(name), pem).expect("written");
        }
        let key = KeyPair::generate().expect("a key");
        let certificate = CertificateParams::new(vec!["127.0.0.1".to_owned()])
            .and_then(|params| params.signed_by(&key, &authority))
            .expect("a certificate");
        let database = database_on(&server, "audit").await;
        let client = database.connect().await;
        // Written by PostgreSQL itself, so that the key belongs to the account that it runs as.
        for (name, pem) in [
            ("server.crt", certificate.pem()),
            ("server.key", key.serialize_pem()),
        ] {
            let lines = pem.trim().replace('\n', "'), ('");
            client
                .batch_execute(&format!(
                    "COPY (VALUES ('{lines}')) TO PROGRAM 'umask 077 && cat > {name}'"
                ))
                .await
                .expect("written");
        }
        client
            .batch_execute("ALTER SYSTEM SET ssl = on")
            .await
            .expect("set");
        client
            .batch_execute("SELECT pg_reload_conf()")
            .await
            .expect("reloaded");
        until("the server to speak TLS", SOON, async || {
            let row = testkit::postgres::connect(database.url())
                .await
                .query_one("SHOW ssl", &[])
                .await
                .expect("a setting");
            match row.get::<_, &str>(0) {
                "on" => Ok(()),
                other => Err(other.to_owned()),
            }
        })
        .await;
        Self {
            _server: server,
            database,
            files,
        }
    }

    /// An instance that asks `host` in that mode, trusting the authority of that file.
    async fn service(&self, mode: &str, trusted: Option<&str>, host: &str) -> Service {
        let file = trusted.map(|name| self.files.path().join(name).display().to_string());
        let mut settings = vec![
            ("DATASTORAGE_DATABASE_SSL_MODE", mode),
            ("DATASTORAGE_DATABASE_HOST", host),
        ];
        settings.extend(
            file.as_deref()
                .map(|file| ("DATASTORAGE_DATABASE_SSL_ROOT_CERT", file)),
        );
        Service::with(self.database.url(), Clock::system(), &settings).await
    }

    /// Whether the connections of the running instance are encrypted; all are, or none is.
    async fn encrypted(&self) -> Vec<bool> {
        let sql = "SELECT DISTINCT ssl FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE application_name = 'datastorage'";
        let client = self.database.connect().await;
        let rows = client.query(sql, &[]).await.expect("rows");
        rows.iter().map(|row| row.get(0)).collect()
    }
}

fn authority() -> (Issuer<'static, KeyPair>, String) {
    authority_named("authority")
}

fn authority_named(name: &str) -> (Issuer<'static, KeyPair>, String) {
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
        .distinguished_name
        .push(rcgen::DnType::CommonName, name);
    let pem = params.self_signed(&key).expect("a certificate").pem();
    (Issuer::new(params, key), pem)
}

#[tokio::test(flavor = "multi_thread")]
async fn each_mode_encrypts_and_proves_what_the_manual_says() {
    let secured = Secured::start().await;
    for (mode, trusted, host, encrypted) in [
        ("disable", None, "127.0.0.1", false),
        ("allow", None, "127.0.0.1", true),
        ("prefer", Some("stranger"), "127.0.0.1", true),
        ("require", None, "127.0.0.1", true),
        ("verify-ca", Some("authority"), "localhost", true),
        ("verify-full", Some("authority"), "127.0.0.1", true),
    ] {
        let service = secured.service(mode, trusted, host).await;
        service.ready().await;
        service.post(EVENTS, &event(mode)).await.expect(201);
        service.get(EVENTS).await.expect(200);
        assert_eq!(secured.encrypted().await, [encrypted], "{mode}");
        service.stop().await;
    }
    for (mode, trusted, host) in [
        ("require", Some("stranger"), "127.0.0.1"),
        ("verify-ca", Some("stranger"), "127.0.0.1"),
        ("verify-full", Some("stranger"), "127.0.0.1"),
        ("verify-full", Some("authority"), "localhost"),
    ] {
        let service = secured.service(mode, trusted, host).await;
        let problem = service.get(EVENTS).await.expect(503).problem();
        let detail = problem.detail.expect("a detail");
        assert!(detail.contains("certificate"), "{mode} of {host}: {detail}");
        // Nothing is sent in the clear instead: the write waits in the queue.
        service.post(EVENTS, &event(mode)).await.expect(202);
        assert!(secured.encrypted().await.is_empty(), "{mode} of {host}");
        service.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_over_tls_is_cancelled_over_tls() {
    let secured = Secured::start().await;
    let service = secured
        .service("verify-full", Some("authority"), "127.0.0.1")
        .await;
    service.ready().await;
    let client = secured.database.connect().await;
    client
        .batch_execute("BEGIN; LOCK TABLE audit_events IN ACCESS EXCLUSIVE MODE")
        .await
        .expect("locked");
    service.get(EVENTS).await.expect(503);
    crate::queries::no_statement_waits(&secured.database).await;
    client.batch_execute("ROLLBACK").await.expect("unlocked");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_tls_is_used_by_prefer_and_refused_by_require() {
    let database = crate::support::audit_database().await;
    let with = async |mode| {
        let settings = [("DATASTORAGE_DATABASE_SSL_MODE", mode)];
        Service::with(database.url(), Clock::system(), &settings).await
    };
    with("prefer")
        .await
        .post(EVENTS, &event("plain"))
        .await
        .expect(201);
    let problem = with("require")
        .await
        .get(EVENTS)
        .await
        .expect(503)
        .problem();
    let detail = problem.detail.expect("a detail");
    assert!(detail.contains("TLS"), "{detail}");
}
