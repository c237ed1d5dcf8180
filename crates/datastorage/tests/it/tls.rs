//! TLS to PostgreSQL, by every sslmode of its manual, against a server with a certificate of the tests' own authority.

use datastorage::clock::Clock;
use testkit::postgres::{Database, database_on};

use crate::support::{Service, event};

const EVENTS: &str = "/api/v1/audit/events";

/// A server that speaks TLS as 127.0.0.1, and a database on it.
struct Secured {
    server: testkit::tls::Secured,
    database: Database,
}

impl Secured {
    async fn start() -> Self {
        let server = testkit::tls::Secured::start().await;
        let database = database_on(server.server(), "audit").await;
        Self { server, database }
    }

    /// An instance that asks `host` in that mode, trusting the authority of that file.
    async fn service(&self, mode: &str, trusted: Option<&str>, host: &str) -> Service {
        let file = trusted.map(|name| self.server.file(name).display().to_string());
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
