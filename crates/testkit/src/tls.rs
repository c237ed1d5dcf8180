//! Authorities and their certificates, and a PostgreSQL server that speaks TLS as 127.0.0.1 with one of them.

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
        let authority = Authority::named("authority");
        let stranger = Authority::named("stranger");
        for (name, pem) in [("authority", authority.pem()), ("stranger", stranger.pem())] {
            std::fs::write(files.path().join(name), pem).expect("written");
        }
        let (certificate, key) = authority.certificate("127.0.0.1");
        let secured = Self { server, files };
        let client = connect(&secured.server.url("postgres")).await;
        for (name, pem) in [("server.crt", certificate), ("server.key", key)] {
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

    /// The server, to be killed and started again.
    pub fn server_mut(&mut self) -> &mut Server {
        &mut self.server
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

/// Whoever signs certificates.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    /// A new one of that name.
    pub fn named(name: &str) -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, name);
        let pem = params.self_signed(&key).expect("a certificate").pem();
        let issuer = Issuer::new(params, key);
        Self { issuer, pem }
    }

    /// Its own certificate, in PEM.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// A certificate for a host or a client of that name, and its key, in PEM.
    pub fn certificate(&self, name: &str) -> (String, String) {
        let key = KeyPair::generate().expect("a key");
        let certificate = CertificateParams::new(vec![name.to_owned()])
            .and_then(|params| params.signed_by(&key, &self.issuer))
            .expect("a certificate");
        (certificate.pem(), key.serialize_pem())
    }
}
