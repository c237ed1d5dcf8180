//! A registry by `oci-client`: each request bounded in time, a broken connection tried again, each error told by its cause.
//!
//! The library makes requests, sends credentials and tokens, and follows where a registry wants uploads to go. Here is decided with
//! which protocol, whom to trust, how long to wait, and what an error means.

use std::path::{Path, PathBuf};
use std::time::Duration;

use oci_client::client::{Certificate, CertificateEncoding, ClientConfig, ClientProtocol};
use oci_client::errors::{OciDistributionError as Error, OciErrorCode};
use oci_client::secrets::RegistryAuth;
use oci_client::{Reference, RegistryOperation};

use crate::address::Registry;
use crate::archive::Blob;
use crate::credentials::Found;
use crate::failure::{Failure, Kind};

/// How often a request is made whose connection breaks, or that the registry has no answer to at the moment.
const ATTEMPTS: u32 = 4;
/// How long after the first attempt the next one comes; each further one after four times as long.
const PAUSE: Duration = Duration::from_millis(100);
/// Slower than this, in bytes a second, the network is the thing to look at.
const SLOWEST: u64 = 128 << 10;

/// How a registry is spoken to.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Without TLS, where the registry has none. One on this machine may always do so.
    pub insecure: bool,
    /// How long it may take to answer.
    pub patience: Duration,
}

/// A registry that answers.
pub struct Client {
    inner: oci_client::Client,
    registry: Registry,
    found: Found,
    options: Options,
}

impl Client {
    /// Reaches a registry and gets what it wants from who pushes to this repository.
    pub async fn connect(
        registry: &Registry,
        repository: &str,
        found: Found,
        options: Options,
    ) -> Result<Self, Failure> {
        let with = |protocol| {
            Ok(Self {
                inner: client(registry, protocol)?,
                registry: registry.clone(),
                found: found.clone(),
                options,
            })
        };
        let secure = with(ClientProtocol::Https)?;
        match secure.logged_in(repository).await {
            Ok(()) => Ok(secure),
            Err(Trouble::Plain) if registry.is_loopback() || options.insecure => {
                let plain = with(ClientProtocol::Http)?;
                let logged_in = plain.logged_in(repository).await;
                logged_in.map_err(|trouble| trouble.into_failure(&plain, repository))?;
                Ok(plain)
            }
            Err(trouble) => Err(trouble.into_failure(&secure, repository)),
        }
    }

    /// Gets what the registry wants from who pushes to another repository there.
    pub async fn log_in(&self, repository: &str) -> Result<(), Failure> {
        let logged_in = self.logged_in(repository).await;
        logged_in.map_err(|trouble| trouble.into_failure(self, repository))
    }

    async fn logged_in(&self, repository: &str) -> Result<(), Trouble> {
        let reference = self.reference(repository, "latest");
        let auth = match &self.found.credentials {
            Some(found) => RegistryAuth::Basic(found.name.clone(), found.password.clone()),
            None => RegistryAuth::Anonymous,
        };
        let push = RegistryOperation::Push;
        let asked = self.tried(self.options.patience, async || {
            self.inner.auth(&reference, &auth, push).await.map(drop)
        });
        asked.await
    }

    /// Whether a repository has a blob.
    pub async fn has(&self, repository: &str, digest: &str) -> Result<bool, Failure> {
        let reference = self.reference(repository, "latest");
        let asked = self.tried(self.options.patience, async || {
            self.inner.blob_exists(&reference, digest).await
        });
        asked
            .await
            .map_err(|trouble| trouble.into_failure(self, repository))
    }

    /// Takes a blob over from another repository of the registry; `false` where it does not do that.
    pub async fn mount(&self, repository: &str, from: &str, digest: &str) -> bool {
        let to = self.reference(repository, "latest");
        let from = self.reference(from, "latest");
        let asked = self.tried(self.options.patience, async || {
            self.inner.mount_blob(&to, &from, digest).await
        });
        asked.await.is_ok()
    }

    /// Sends a blob.
    pub async fn push(&self, repository: &str, blob: &Blob) -> Result<(), Failure> {
        let reference = self.reference(repository, "latest");
        let longest = Duration::from_secs(blob.bytes.len() as u64 / SLOWEST);
        let sent = self.tried(self.options.patience + longest, async || {
            let bytes = blob.bytes.clone();
            let sent = self.inner.push_blob(&reference, bytes, &blob.digest);
            sent.await.map(drop)
        });
        sent.await
            .map_err(|trouble| trouble.into_failure(self, repository))
    }

    /// Sends a manifest under a tag, unless the tag stands for this very manifest; returns whether it was sent.
    pub async fn name(
        &self,
        repository: &str,
        tag: &str,
        manifest: &Blob,
    ) -> Result<bool, Failure> {
        let reference = self.reference(repository, tag);
        let auth = RegistryAuth::Anonymous;
        let known = self.tried(self.options.patience, async || {
            // Who asks is known by now; these credentials are taken only where nobody is.
            self.inner.fetch_manifest_digest(&reference, &auth).await
        });
        // Whatever goes wrong here goes wrong in what follows too, and is told by that.
        if known.await.is_ok_and(|known| known == manifest.digest) {
            return Ok(false);
        }
        let media_type = manifest.media_type;
        let sent = self.tried(self.options.patience, async || {
            let media_type = media_type
                .parse()
                .map_err(|_| Error::UnsupportedMediaTypeError(media_type.to_owned()))?;
            let bytes = manifest.bytes.clone();
            let sent = self.inner.push_manifest_raw(&reference, bytes, media_type);
            sent.await.map(drop)
        });
        let sent = sent.await;
        sent.map_err(|trouble| trouble.into_failure(self, repository))?;
        Ok(true)
    }

    fn reference(&self, repository: &str, tag: &str) -> Reference {
        let host = self.registry.host.clone();
        Reference::with_tag(host, repository.to_owned(), tag.to_owned())
    }

    /// Makes a request until it is answered, a few times at most.
    async fn tried<T>(
        &self,
        patience: Duration,
        request: impl AsyncFn() -> Result<T, Error>,
    ) -> Result<T, Trouble> {
        let mut pause = PAUSE;
        for attempt in 1.. {
            let trouble = match tokio::time::timeout(patience, request()).await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(error)) => Trouble::of(&error),
                Err(_) => return Err(Trouble::Late(patience)),
            };
            if attempt == ATTEMPTS || !trouble.may_pass() {
                return Err(trouble);
            }
            tokio::time::sleep(pause).await;
            pause *= 4;
        }
        unreachable!("the last attempt returns")
    }
}

fn client(registry: &Registry, protocol: ClientProtocol) -> Result<oci_client::Client, Failure> {
    let mut config = ClientConfig {
        protocol,
        // Of one blob one request: every registry takes it, while pieces are each registry's own matter.
        use_monolithic_push: true,
        user_agent: concat!("kubernaut-e2e/", env!("CARGO_PKG_VERSION")),
        ..ClientConfig::default()
    };
    let files = authorities(&registry.host, std::env::home_dir().as_deref());
    for file in &files {
        let data = std::fs::read(file).map_err(|error| {
            let what = format!(
                "the authority in {} cannot be read: {error}",
                file.display()
            );
            Failure::new(Kind::Untrusted, what, "make it readable, or remove it")
        })?;
        let encoding = CertificateEncoding::Pem;
        config
            .extra_root_certificates
            .push(Certificate { encoding, data });
    }
    if registry.is_loopback() {
        // A proxy reaches another machine's loopback; a proxy of one's own that is for no host replaces that of the environment.
        config.http_proxy = Some("http://127.0.0.1:9".to_owned());
        config.no_proxy = Some("*,0.0.0.0/0,::/0".to_owned());
    }
    oci_client::Client::try_from(config).map_err(|error| {
        let told = cause(&error);
        Failure::new(
            Kind::Untrusted,
            format!("no connection with TLS can be made: {told}"),
            format!(
                "install the machine's authorities (Debian's package ca-certificates), and look at {files:?}"
            ),
        )
    })
}

/// The files with authorities that docker and podman trust for a registry.
fn authorities(host: &str, home: Option<&Path>) -> Vec<PathBuf> {
    let kept = [".config/containers/certs.d", ".config/docker/certs.d"];
    let kept = kept.iter().filter_map(|below| Some(home?.join(below)));
    let all = ["/etc/containers/certs.d", "/etc/docker/certs.d"].map(PathBuf::from);
    let dirs = kept.chain(all).map(|dir| dir.join(host));
    let files = dirs.filter_map(|dir| dir.read_dir().ok()).flatten();
    let files = files.flatten().map(|entry| entry.path());
    let mut files: Vec<_> = files
        .filter(|file| file.extension().is_some_and(|of| of == "crt"))
        .collect();
    files.sort();
    files
}

/// What an error of the library comes to.
#[derive(Debug)]
enum Trouble {
    /// It speaks, but not TLS.
    Plain,
    /// Its certificate is none that is trusted.
    Untrusted(String),
    /// Nothing is there.
    Away(String),
    /// The connection broke.
    Cut(String),
    /// No answer in this time.
    Late(Duration),
    /// An answer with this status and what the registry said.
    Status(u16, Vec<OciErrorCode>, String),
    /// A service that gives tokens has refused.
    NoToken(String),
    /// An answer that no registry gives.
    Other(String),
}

impl Trouble {
    fn of(error: &Error) -> Self {
        match error {
            Error::RequestError(request) => {
                if let Some(status) = request.status() {
                    return Self::Status(status.as_u16(), Vec::new(), String::new());
                }
                match tls(request) {
                    Some(rustls::Error::InvalidMessage(_)) => Self::Plain,
                    Some(
                        error @ (rustls::Error::InvalidCertificate(_)
                        | rustls::Error::NoCertificatesPresented),
                    ) => Self::Untrusted(error.to_string()),
                    Some(error) => Self::Cut(error.to_string()),
                    None if request.is_connect() => Self::Away(cause(error)),
                    None => Self::Cut(cause(error)),
                }
            }
            Error::UnauthorizedError { .. } => Self::Status(401, Vec::new(), String::new()),
            Error::ServerError { code, message, .. } => {
                let (codes, said) = said(message);
                Self::Status(*code, codes, said)
            }
            Error::RegistryError { envelope, .. } => {
                let text = serde_json::to_string(envelope).unwrap_or_default();
                let (codes, said) = said(&text);
                Self::Status(400, codes, said)
            }
            Error::AuthenticationFailure(message) => Self::NoToken(said(message).1),
            other => Self::Other(other.to_string()),
        }
    }

    /// Whether the same request may be answered in a moment.
    fn may_pass(&self) -> bool {
        match self {
            Self::Cut(_) => true,
            Self::Status(status, ..) => [429, 500, 502, 503, 504].contains(status),
            _ => false,
        }
    }

    fn into_failure(self, client: &Client, repository: &str) -> Failure {
        let host = &client.registry.host;
        let login = format!("docker login {host}");
        match self {
            Self::Plain => Failure::new(
                Kind::Untrusted,
                format!("{host} answers without TLS"),
                "pass --insecure-registry if nobody can listen in between, or name the port that has TLS",
            ),
            Self::Untrusted(why) => Failure::new(
                Kind::Untrusted,
                format!("{host} is not known to be the registry: {why}"),
                format!(
                    "put the certificate of its authority into ~/.config/containers/certs.d/{host}/ca.crt, or name it in SSL_CERT_FILE"
                ),
            ),
            Self::Away(why) => Failure::new(
                Kind::Unreachable,
                format!("{host} cannot be reached: {why}"),
                "look at the name and the port of --registry, the network, and HTTPS_PROXY",
            ),
            Self::Cut(why) => Failure::new(
                Kind::CutOff,
                format!("{host} broke the connection, each of {ATTEMPTS} times: {why}"),
                "look at the registry's log, or at what stands before it: a proxy may bound the size of an upload",
            ),
            Self::Late(after) => Failure::new(
                Kind::TimedOut,
                format!("{host} did not answer within {} s", after.as_secs()),
                "look at the registry's log; what has arrived is not sent again",
            ),
            Self::NoToken(said) => client.refused(
                repository,
                "its service for tokens gives none",
                &said,
                &login,
            ),
            Self::Status(401, _, said) => {
                client.refused(repository, "asks who pushes", &said, &login)
            }
            Self::Status(403, _, said) => client.refused(
                repository,
                "does not let this account push",
                &said,
                &format!("get the right to push to {repository}, or {login} as who has it"),
            ),
            Self::Status(status, codes, said) => client.answered(repository, status, &codes, &said),
            Self::Other(why) => Failure::new(
                Kind::UnknownRegistry,
                format!("{host} answers, but not as a container registry does: {why}"),
                "look at the name, the port and the path of --registry",
            ),
        }
    }
}

impl Client {
    /// A failure about who pushes.
    fn refused(&self, repository: &str, what: &str, said: &str, hint: &str) -> Failure {
        let host = &self.registry.host;
        let who = match &self.found.credentials {
            Some(found) => format!("the account is that of {}", found.file.display()),
            None => self.found.without.clone(),
        };
        let said = quoted(said);
        let what = format!("{host} takes nothing into {repository}: it {what}{said}, and {who}");
        Failure::new(Kind::Refused, what, hint)
    }

    /// A failure by another status.
    fn answered(
        &self,
        repository: &str,
        status: u16,
        codes: &[OciErrorCode],
        said: &str,
    ) -> Failure {
        let (host, text) = (&self.registry.host, quoted(said));
        let refuses = [OciErrorCode::Denied, OciErrorCode::Unsupported];
        let (kind, hint) = match status {
            _ if codes.contains(&OciErrorCode::NameUnknown) => (
                Kind::UnknownRepository,
                format!("make the repository {repository} there first"),
            ),
            _ if codes.iter().any(|code| refuses.contains(code)) || status == 405 => (
                Kind::Refused,
                "name a registry that takes images: this one may be a mirror, or read-only"
                    .to_owned(),
            ),
            404 if codes.is_empty() => (
                Kind::UnknownRegistry,
                "look at the name, the port and the path of --registry".to_owned(),
            ),
            413 => (
                Kind::Refused,
                "raise the size of an upload there, or in the proxy before it".to_owned(),
            ),
            429 => (
                Kind::RegistryFailed,
                "wait, then push again: what has arrived is not sent again".to_owned(),
            ),
            507 => (
                Kind::RegistryFailed,
                "make room in the registry's storage".to_owned(),
            ),
            500.. if said.contains("no space") || said.contains("quota") => (
                Kind::RegistryFailed,
                "make room in the registry's storage".to_owned(),
            ),
            500.. => (
                Kind::RegistryFailed,
                "look at the registry's log, and whether its storage is full".to_owned(),
            ),
            _ => (Kind::Refused, "look at the registry's log".to_owned()),
        };
        let what = format!("{host} takes nothing into {repository}: it answers {status}{text}");
        Failure::new(kind, what, hint)
    }
}

fn quoted(said: &str) -> String {
    if said.is_empty() {
        String::new()
    } else {
        format!(" (\"{said}\")")
    }
}

/// The codes and the first message of a registry's answer, in its form or in any other but a page for people.
fn said(text: &str) -> (Vec<OciErrorCode>, String) {
    const LONGEST: usize = 200;
    let short = |text: &str| text.trim().chars().take(LONGEST).collect::<String>();
    match serde_json::from_str::<oci_client::errors::OciEnvelope>(text) {
        Ok(envelope) => {
            let first = envelope
                .errors
                .iter()
                .find(|error| !error.message.is_empty());
            let mut said = first.map_or(String::new(), |error| error.message.clone());
            // The storage's own words, as in "no space left on device".
            let details = envelope.errors.iter().map(|error| error.detail.to_string());
            let detail = details
                .into_iter()
                .find(|detail| detail.contains("no space"));
            if let Some(detail) = detail {
                said = format!("{said}: {detail}");
            }
            let codes = envelope
                .errors
                .into_iter()
                .map(|error| error.code)
                .collect();
            (codes, short(&said))
        }
        Err(_) if text.trim_start().starts_with('<') => (Vec::new(), String::new()),
        Err(_) => (Vec::new(), short(text.lines().next().unwrap_or_default())),
    }
}

/// The error of TLS within an error.
fn tls<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a rustls::Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<rustls::Error>() {
            return Some(found);
        }
        // What an error of input and output wraps is not among its sources, but the sources of that are.
        let wrapped = error.downcast_ref::<std::io::Error>();
        if let Some(wrapped) = wrapped.and_then(std::io::Error::get_ref) {
            return tls(wrapped);
        }
        next = error.source();
    }
    None
}

/// The first cause of an error. What wraps it repeats the address, in which a registry may keep a secret.
fn cause(error: &Error) -> String {
    let mut deepest: &dyn std::error::Error = error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    deepest.to_string()
}
