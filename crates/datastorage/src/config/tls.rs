//! `database.ssl_mode` and `database.ssl_root_cert`: libpq's sslmode and sslrootcert (PostgreSQL manual, "SSL Support").

use std::path::Path;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::source::Source;

/// How much TLS there is between this server and PostgreSQL, and what it proves.
#[derive(Debug, Clone)]
pub enum Tls {
    /// None.
    Disable,
    /// Where the server has it; proves nothing.
    Prefer,
    /// Always; proves nothing.
    Require,
    /// Always, and the server's certificate comes from one of these authorities.
    VerifyCa(Arc<RootCertStore>),
    /// As [`Tls::VerifyCa`], and the certificate names the host that was asked for.
    VerifyFull(Arc<RootCertStore>),
}

#[derive(Clone, Copy)]
enum Mode {
    Disable,
    Prefer,
    Require,
    VerifyCa,
    VerifyFull,
}

/// The settings, or a fault for each that is wrong.
pub(super) fn tls(source: &mut Source<'_>) -> Tls {
    // "disable" first: it is the existing default, and a cluster's own network the existing use. libpq's "allow" asks for TLS
    // where a login without it is refused; to ask at once is the same for whoever does not care.
    let words = [
        ("disable", Mode::Disable),
        ("allow", Mode::Prefer),
        ("prefer", Mode::Prefer),
        ("require", Mode::Require),
        ("verify-ca", Mode::VerifyCa),
        ("verify-full", Mode::VerifyFull),
    ];
    let mode = source.word("database", "ssl_mode", &words);
    let roots = roots(source);
    match (mode, roots) {
        (Mode::Disable, _) => Tls::Disable,
        (Mode::Prefer, _) => Tls::Prefer,
        (Mode::Require, None) => Tls::Require,
        // As libpq has it: authorities that are given are not ignored.
        (Mode::Require | Mode::VerifyCa, Some(roots)) => Tls::VerifyCa(roots),
        (Mode::VerifyFull, Some(roots)) => Tls::VerifyFull(roots),
        (Mode::VerifyCa | Mode::VerifyFull, None) => {
            if source.text("database", "ssl_root_cert").is_none() {
                let what = "is required by ssl_mode verify-ca and verify-full: a PEM file of the authorities to trust";
                source.fault("database", "ssl_root_cert", what);
            }
            Tls::Disable
        }
    }
}

/// The authorities in the file of `database.ssl_root_cert`, if one is named; a fault when they cannot be read.
fn roots(source: &mut Source<'_>) -> Option<Arc<RootCertStore>> {
    let path = source.text("database", "ssl_root_cert")?;
    match read(Path::new(&path)) {
        Ok(roots) => Some(Arc::new(roots)),
        Err(what) => {
            let what = format!("must be a PEM file of certificates, {path} is not: {what}");
            source.fault("database", "ssl_root_cert", &what);
            None
        }
    }
}

fn read(path: &Path) -> Result<RootCertStore, String> {
    let text = std::fs::read(path).map_err(|error| error.to_string())?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&text) {
        let certificate = certificate.map_err(|error| error.to_string())?;
        roots.add(certificate).map_err(|error| error.to_string())?;
    }
    if roots.is_empty() {
        return Err("it holds none".to_owned());
    }
    Ok(roots)
}
