//! `auth` and `tls`: who may call, what proves it, and how the own listener speaks.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use tokio_rustls::TlsAcceptor;

use super::source::Source;
use crate::credentials::{self, Files, Tokens, Watched};

/// The words that allow a listener beyond loopback without authentication.
const OPEN: &str = "anyone-who-reaches-the-port";

/// Who may call, and what the own listener proves.
#[derive(Debug, Clone)]
pub struct AccessConfig {
    /// The bearer tokens that are valid.
    pub(crate) tokens: Option<Arc<Watched<Tokens>>>,
    /// TLS of the listener.
    pub(crate) tls: Option<Arc<Watched<TlsAcceptor>>>,
    /// A client's certificate is as good as a token.
    pub(crate) mutual_tls: bool,
    /// Whoever reaches the port may call, in the configuration's own words.
    pub(crate) open: bool,
}

impl AccessConfig {
    /// Whether a call has to prove who makes it.
    pub(crate) fn is_on(&self) -> bool {
        self.tokens.is_some() || self.mutual_tls
    }

    /// What a call proves who makes it by, for the log.
    pub(crate) fn in_words(&self) -> &'static str {
        match (self.tokens.is_some(), self.mutual_tls) {
            (true, true) => "bearer token or client certificate",
            (true, false) => "bearer token",
            (false, true) => "client certificate",
            (false, false) => "none",
        }
    }

    /// Whether the server may listen where others than this machine reach it.
    pub(crate) fn allows_others(&self) -> bool {
        self.is_on() || self.open
    }
}

/// What is wrong with listening at `place` without authentication, and the three ways out.
pub(crate) fn unguarded(place: &str) -> String {
    format!(
        "listens beyond this machine ({place}) and nothing says who may call: name a file of bearer tokens (auth.token_file), \
         or let clients in by certificate (tls.client_ca_file with tls.certificate_file and tls.key_file), \
         or say that nobody has to prove anything (auth.open_to: {OPEN}); or listen on 127.0.0.1"
    )
}

/// The settings, or a fault for each that is wrong.
pub(super) fn access(source: &mut Source<'_>, host: &str) -> AccessConfig {
    let path = |source: &Source<'_>, section, field| -> Option<PathBuf> {
        let text = source.text(section, field)?;
        Some(PathBuf::from(text)).filter(|path| !path.as_os_str().is_empty())
    };
    let token_file = path(source, "auth", "token_file");
    let certificate = path(source, "tls", "certificate_file");
    let key = path(source, "tls", "key_file");
    let client_authorities = path(source, "tls", "client_ca_file");
    let faults = source.faults.len();
    let open = open(source);
    let mutual_tls = client_authorities.is_some();
    let tokens = token_file.clone().and_then(|file| {
        let tokens = credentials::tokens(file);
        tokens
            .map_err(|why| {
                let what =
                    format!("must be a readable file with a bearer token in each line: {why}");
                source.fault("auth", "token_file", &what);
            })
            .ok()
    });
    let tls = match (certificate, key) {
        (Some(certificate), Some(key)) => {
            let files = Files {
                certificate,
                key,
                client_authorities,
            };
            credentials::listener(files)
                .map_err(|why| {
                    source.fault("tls", "certificate_file", &format!("is of no use: {why}"));
                })
                .ok()
        }
        (None, None) if !mutual_tls => None,
        (certificate, _) => {
            let missing = match certificate {
                Some(_) => "key_file",
                None => "certificate_file",
            };
            let what = "is required: tls.certificate_file, tls.key_file and tls.client_ca_file are of use only together, the last where clients show a certificate";
            source.fault("tls", missing, what);
            None
        }
    };
    let access = AccessConfig {
        tokens: tokens.map(Arc::new),
        tls: tls.map(Arc::new),
        mutual_tls,
        open,
    };
    // What was meant but is wrong is said once.
    if !is_loopback(host) && !access.allows_others() && source.faults.len() == faults {
        source.fault("server", "host", &unguarded(host));
    }
    access
}

/// Whether the words of `auth.open_to` are there.
fn open(source: &mut Source<'_>) -> bool {
    match source.text("auth", "open_to").as_deref() {
        None | Some("") => false,
        Some(OPEN) => true,
        Some(other) => {
            let what = format!("must be the words {OPEN}, or be left out, is {other:?}");
            source.fault("auth", "open_to", &what);
            false
        }
    }
}

/// Whether only this machine reaches what listens there, as far as the setting says.
fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost")
        || host
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}
