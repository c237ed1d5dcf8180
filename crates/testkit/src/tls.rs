//! A PostgreSQL server that speaks TLS as 127.0.0.1, with a certificate of an authority of its own.

use std::path::PathBuf;
use std::time::Duration;

use embedded_postgres::{Options, Server};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tempfile::TempDir;

use crate::postgres::{Database, connect, empty_database_on, own_server};
use crate::wait::until;

/// How long a server may take to read its settings again.
const SOON: Duration = Duration::from_secs(20);

/// The server, a database on it, and PEM files of its authority and of a stranger.
pub struct Secured {
    server: Server,
    files: TempDir,
}

impl Secured {
    /// Starts it.
    pub async fn start() -> Self {
        let server = own_server(Options::default()).await;
        let files = tempfile::tempdir().expect("a directory");
        let (authority, authority_pem) = authority_named("authority");
        let (_, stranger_pem) = authority_named("stranger");
        for (name, pem) in [("authority", authority_pem), ("stranger", stranger_pem)] {
            std::fs::write(files.path().join(name), pem).expect("written");
        }
        let key = KeyPair::generate().expect("a key");
        let certificate = CertificateParams::new(vec!["127.0.0.1".to_owned()])
            .and_then(|params| params.signed_by(&key, &authority))
            .expect("a certificate");
        let secured = Self { server, files };
        let client = connect(&secured.server.url("postgres")).await;
        for (name, pem) in [
            ("server.crt", certificate.pem()),
            ("server.key", key.serialize_pem()),
        ] {
            secured.write(&client, name, &pem).await;
        }
        client
            .batch_execute("ALTER SYSTEM SET ssl = on")
            .await
            .expect("set");
        secured.reload(&client, "SHOW ssl", "on").await;
        secured
    }

    /// An empty database on it.
    pub async fn empty_database(&self) -> Database {
        empty_database_on(&self.server).await
    }

    /// The server itself.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// The PEM file of `authority` or `stranger`.
    pub fn file(&self, name: &str) -> PathBuf {
        self.files.path().join(name)
    }

    /// Lets nobody in over TCP but with TLS, or but without, as `pg_hba.conf` says it: `hostssl` or `hostnossl`. Only for users other
    /// than the server's own.
    pub async fn only(&self, kind: &str) {
        let client = connect(&self.server.url("postgres")).await;
        let user = self.server.user();
        let rules =
            format!("local all all trust\nhost all {user} all trust\n{kind} all all all trust");
        self.write(&client, "pg_hba.conf", &rules).await;
        let sql = "SELECT string_agg(type, ',' ORDER BY line_number) FROM pg_hba_file_rules";
        self.reload(&client, sql, &format!("local,host,{kind}"))
            .await;
    }

    /// Written by PostgreSQL itself, so that a key belongs to the account that it runs as.
    async fn write(&self, client: &tokio_postgres::Client, name: &str, text: &str) {
        let lines = text.trim().replace('\n', "'), ('");
        let sql = format!("COPY (VALUES ('{lines}')) TO PROGRAM 'umask 077 && cat > {name}'");
        client.batch_execute(&sql).await.expect("written");
    }

    async fn reload(&self, client: &tokio_postgres::Client, question: &str, answer: &str) {
        client
            .batch_execute("SELECT pg_reload_conf()")
            .await
            .expect("reloaded");
        until("the server to read its settings", SOON, async || {
            let client = connect(&self.server.url("postgres")).await;
            let row = client.query_one(question, &[]).await.expect("a setting");
            match row.get::<_, &str>(0) {
                found if found == answer => Ok(()),
                found => Err(found.to_owned()),
            }
        })
        .await;
    }
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
