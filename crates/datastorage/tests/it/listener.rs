//! TLS of the own listener, and clients that prove who they are by certificate.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use datastorage::clock::Clock;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::json;
use tempfile::TempDir;
use testkit::tls::Authority;
use testkit::wait::until;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::support::{SOON, Service, TOKEN, TOKEN_FILE, audit_database, event, token_file, with};

const EVENTS: &str = "/api/v1/audit/events";

/// Files of a listener as 127.0.0.1, and the authority that signed its certificate.
struct Files {
    directory: TempDir,
    authority: Authority,
}

impl Files {
    fn new() -> Self {
        let files = Self {
            directory: tempfile::tempdir().expect("a directory"),
            authority: Authority::named("authority"),
        };
        files.certify(&files.authority);
        files.write("clients.pem", files.authority.pem());
        files
    }

    /// Gives the listener a new certificate.
    fn certify(&self, authority: &Authority) {
        let (certificate, key) = authority.certificate("127.0.0.1");
        self.write("tls.crt", &certificate);
        self.write("tls.key", &key);
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).expect("written");
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// An instance with these files, client certificates where `mutual`, and further settings.
    async fn serve(&self, url: &str, mutual: bool, more: &[(&str, &str)]) -> Service {
        let text = |name| self.path(name).display().to_string();
        let (certificate, key, clients) = (text("tls.crt"), text("tls.key"), text("clients.pem"));
        let mut settings = vec![
            ("DATASTORAGE_TLS_CERTIFICATE_FILE", certificate.as_str()),
            ("DATASTORAGE_TLS_KEY_FILE", key.as_str()),
        ];
        if mutual {
            settings.push(("DATASTORAGE_TLS_CLIENT_CA_FILE", clients.as_str()));
        }
        settings.extend(more);
        Service::with(url, Clock::system(), &settings).await
    }
}

/// A client that trusts an authority, and may have a certificate of one.
struct TlsClient(TlsConnector);

impl TlsClient {
    fn trusting(authority: &Authority, own: Option<&Authority>) -> Self {
        let mut roots = RootCertStore::empty();
        let root = CertificateDer::from_pem_slice(authority.pem().as_bytes()).expect("PEM");
        roots.add(root).expect("an authority");
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots);
        let config = match own {
            None => builder.with_no_client_auth(),
            Some(own) => {
                let (certificate, key) = own.certificate("client");
                let chain = CertificateDer::from_pem_slice(certificate.as_bytes()).expect("PEM");
                let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("PEM");
                builder
                    .with_client_auth_cert(vec![chain], key)
                    .expect("a pair")
            }
        };
        Self(TlsConnector::from(Arc::new(config)))
    }

    /// Sends a request on a connection of its own and returns the whole answer.
    async fn send(&self, service: &Service, request: &str) -> std::io::Result<String> {
        let address = service.url("").replace("http://", "");
        let stream = TcpStream::connect(address).await?;
        let host = ServerName::try_from("127.0.0.1").expect("a name");
        let mut stream = self.0.connect(host, stream).await?;
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok(answer)
    }

    /// The status of a GET.
    async fn get(
        &self,
        service: &Service,
        path: &str,
        token: Option<&str>,
    ) -> std::io::Result<u16> {
        let header = token.map_or_else(String::new, |token| {
            format!("Authorization: Bearer {token}\r\n")
        });
        let head = format!("GET {path} HTTP/1.1\r\nHost: x\r\n{header}Connection: close\r\n\r\n");
        let answer = self.send(service, &head).await?;
        let status = answer.split(' ').nth(1).and_then(|text| text.parse().ok());
        Ok(status.unwrap_or_else(|| panic!("no status in {answer}")))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_speaks_tls_as_its_certificate_says_and_tokens_hold_there_too() {
    let database = audit_database().await;
    let (files, tokens) = (Files::new(), token_file());
    let more = [(TOKEN_FILE, tokens.path().to_str().expect("UTF-8"))];
    let service = files.serve(database.url(), false, &more).await;
    let client = TlsClient::trusting(&files.authority, None);
    for (path, token, status) in [
        ("/health/live", None, 200),
        (EVENTS, None, 401),
        (EVENTS, Some(TOKEN), 200),
    ] {
        let got = client.get(&service, path, token).await.expect("an answer");
        assert_eq!(got, status, "{path}");
    }
    let body = event("over tls").to_string();
    let post = format!(
        "POST {EVENTS} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
         Authorization: Bearer {TOKEN}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    let answer = client.send(&service, &post).await.expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    // Whoever trusts another authority does not send its token.
    let stranger = TlsClient::trusting(&Authority::named("stranger"), None);
    stranger
        .get(&service, EVENTS, Some(TOKEN))
        .await
        .expect_err("not trusted");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_rotated_while_it_runs() {
    let database = audit_database().await;
    let files = Files::new();
    let service = files.serve(database.url(), false, &[]).await;
    let (old, new) = (&files.authority, Authority::named("new"));
    let (of_old, of_new) = (
        TlsClient::trusting(old, None),
        TlsClient::trusting(&new, None),
    );
    of_old
        .get(&service, "/health/live", None)
        .await
        .expect("trusted");
    files.certify(&new);
    until("the new certificate to be shown", SOON, async || {
        of_new.get(&service, "/health/live", None).await
    })
    .await;
    of_old
        .get(&service, "/health/live", None)
        .await
        .expect_err("another authority's");
    // One of no use leaves the last good one.
    files.write("tls.key", "nothing");
    until("the metric to say so", SOON, async || {
        let get = "GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        let answer = of_new.send(&service, get).await.expect("an answer");
        if answer.contains("datastorage_credentials_current{files=\"tls\"} 0") {
            Ok(())
        } else {
            Err("it does not")
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_of_the_named_authority_is_as_good_as_a_token() {
    let database = audit_database().await;
    let files = Files::new();
    let service = files.serve(database.url(), true, &[]).await;
    let redrive = "POST /api/v1/queue/parked/redrive HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

    let known = TlsClient::trusting(&files.authority, Some(&files.authority));
    assert_eq!(known.get(&service, EVENTS, None).await.expect("in"), 200);
    let answer = known.send(&service, redrive).await.expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");

    let without = TlsClient::trusting(&files.authority, None);
    for (path, status) in [("/health/ready", 200), ("/health/live", 200), (EVENTS, 401)] {
        let got = without.get(&service, path, Some(TOKEN)).await;
        assert_eq!(got.expect("an answer"), status, "{path}");
    }

    let stranger = Authority::named("stranger");
    TlsClient::trusting(&files.authority, Some(&stranger))
        .get(&service, "/health/live", None)
        .await
        .expect_err("a stranger's certificate");
}

#[tokio::test(flavor = "multi_thread")]
async fn handshakes_that_do_not_end_delay_nobody() {
    let database = audit_database().await;
    let files = Files::new();
    let service = files.serve(database.url(), false, &[]).await;
    let address = service.url("").replace("http://", "");
    let mut held = Vec::new();
    for _ in 0..100 {
        let mut stream = TcpStream::connect(&address).await.expect("connected");
        stream.write_all(b"\x16\x03\x01").await.expect("written");
        held.push(stream);
    }
    let client = TlsClient::trusting(&files.authority, None);
    let got = client.get(&service, "/health/live", None).await;
    assert_eq!(got.expect("an answer"), 200);
    // Each is given up in the end.
    let mut first = held.swap_remove(0);
    let mut rest = Vec::new();
    tokio::time::timeout(SOON, first.read_to_end(&mut rest))
        .await
        .expect("it is closed")
        .ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_take_its_answer_is_cut_over_tls_too() {
    let database = audit_database().await;
    let files = Files::new();
    let hurried = [("DATASTORAGE_SERVER_WRITE_TIMEOUT", "2s")];
    let service = files.serve(database.url(), false, &hurried).await;
    let client = TlsClient::trusting(&files.authority, None);
    let length = 14_000_000;
    let large = with(
        event("large"),
        json!({"event_data": {"text": "x".repeat(length)}}),
    );
    let body = large.to_string();
    let post = format!(
        "POST {EVENTS} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    let answer = client.send(&service, &post).await.expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    let address = service.url("").replace("http://", "");
    let stream = TcpStream::connect(address).await.expect("connected");
    let host = ServerName::try_from("127.0.0.1").expect("a name");
    let mut stream = client.0.connect(host, stream).await.expect("trusted");
    let get = format!("GET {EVENTS}?correlation_id=large HTTP/1.1\r\nHost: x\r\n\r\n");
    stream.write_all(get.as_bytes()).await.expect("sent");
    let (raw, _) = stream.get_ref();
    raw.readable().await.expect("an answer begins");
    until("the connection to be cut", SOON, async || {
        match stream.get_mut().0.write_all(b"x").await {
            Ok(()) => Err("it is open"),
            Err(_) => Ok(()),
        }
    })
    .await;
}

#[test]
fn files_that_no_listener_can_be_made_of_are_faults_at_start() {
    let files = Files::new();
    let other = Authority::named("other").certificate("127.0.0.1").1;
    files.write("other.key", &other);
    files.write("nothing", "hunter2");
    let text = |name: &str| files.path(name).display().to_string();
    let (certificate, key, clients) = ("CERTIFICATE_FILE", "KEY_FILE", "CLIENT_CA_FILE");
    for (settings, part) in [
        (vec![(certificate, "tls.crt")], "tls.key_file"),
        (vec![(key, "tls.key")], "tls.certificate_file"),
        (vec![(clients, "clients.pem")], "tls.certificate_file"),
        (
            vec![(certificate, "tls.crt"), (key, "other.key")],
            "do not go together",
        ),
        (
            vec![(certificate, "tls.crt"), (key, "nothing")],
            "not a PEM file of a private key",
        ),
        (
            vec![(certificate, "nothing"), (key, "tls.key")],
            "holds no certificate",
        ),
        (
            vec![
                (certificate, "tls.crt"),
                (key, "tls.key"),
                (clients, "nothing"),
            ],
            "holds no certificate",
        ),
        (
            vec![(certificate, "absent"), (key, "tls.key")],
            "cannot read",
        ),
    ] {
        let mut all = crate::support::settings("postgres://u:p@127.0.0.1:1/d", Path::new("/tmp"));
        for (setting, file) in &settings {
            all.insert(format!("DATASTORAGE_TLS_{setting}"), text(file));
        }
        let message = datastorage::config::Config::load(&all)
            .expect_err(part)
            .to_string();
        assert!(message.contains(part), "{settings:?}: {message}");
        assert!(!message.contains("hunter2"), "{message}");
    }
}
