//! How much TLS there is between a client and PostgreSQL, and what it proves.

use std::fmt;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tokio_postgres::config::SslMode;

/// libpq's words of `sslmode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// No TLS.
    Disable,
    /// TLS where the server asks for it. To ask at once, as [`Mode::Prefer`] does, is the same for whoever does not care.
    Allow,
    /// TLS where the server has it.
    Prefer,
    /// Always TLS.
    Require,
    /// Always, and the server's certificate comes from a known authority.
    VerifyCa,
    /// As [`Mode::VerifyCa`], and the certificate names the host that was asked for.
    VerifyFull,
}

impl Mode {
    const WORDS: [(&str, Self); 6] = [
        ("disable", Self::Disable),
        ("allow", Self::Allow),
        ("prefer", Self::Prefer),
        ("require", Self::Require),
        ("verify-ca", Self::VerifyCa),
        ("verify-full", Self::VerifyFull),
    ];
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = Self::WORDS.iter().find(|(_, mode)| mode == self);
        f.write_str(word.map_or("", |(word, _)| word))
    }
}

impl FromStr for Mode {
    type Err = InvalidTls;

    fn from_str(text: &str) -> Result<Self, InvalidTls> {
        let known = Self::WORDS.iter().find(|(word, _)| *word == text);
        let (_, mode) = known.ok_or_else(|| InvalidTls::Mode(text.to_owned()))?;
        Ok(*mode)
    }
}

/// Certificates of the authorities that are trusted.
#[derive(Clone, Debug)]
pub struct Roots(pub(crate) Arc<RootCertStore>);

impl Roots {
    /// Reads a PEM file.
    ///
    /// # Errors
    /// [`InvalidTls::Roots`] for one that cannot be read, or holds no certificate.
    pub fn read(path: &Path) -> Result<Self, InvalidTls> {
        let refused = |why: String| InvalidTls::Roots {
            path: path.display().to_string(),
            why,
        };
        let text = std::fs::read(path).map_err(|error| refused(error.to_string()))?;
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(&text) {
            let certificate = certificate.map_err(|error| refused(error.to_string()))?;
            roots
                .add(certificate)
                .map_err(|error| refused(error.to_string()))?;
        }
        if roots.is_empty() {
            return Err(refused("it holds none".to_owned()));
        }
        Ok(Self(Arc::new(roots)))
    }
}

/// How much TLS there is, and what it proves.
#[derive(Clone, Debug)]
pub enum Tls {
    /// None.
    Disable,
    /// Where the server has it; proves nothing.
    Prefer,
    /// Always; proves nothing.
    Require,
    /// Always, and the server's certificate comes from one of these authorities.
    VerifyCa(Roots),
    /// As [`Tls::VerifyCa`], and the certificate names the host that was asked for.
    VerifyFull(Roots),
}

/// Settings that no TLS can be made of.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidTls {
    /// A word that `sslmode` does not have.
    #[error(
        "sslmode is one of disable, allow, prefer, require, verify-ca and verify-full, not `{0}`"
    )]
    Mode(String),
    /// A verifying mode without authorities.
    #[error("sslmode={0} needs sslrootcert, a PEM file of the authorities to trust")]
    NoRoots(Mode),
    /// The file of authorities is of no use.
    #[error("sslrootcert must be a PEM file of certificates, {path} is not: {why}")]
    Roots {
        /// The file.
        path: String,
        /// What is wrong with it.
        why: String,
    },
    /// The TLS library refuses to be set up: a defect.
    #[error("TLS cannot be set up: {0}")]
    SetUp(String),
}

impl Tls {
    /// The two settings as one.
    ///
    /// # Errors
    /// [`InvalidTls::NoRoots`] for a mode that verifies, without authorities.
    pub fn new(mode: Mode, roots: Option<Roots>) -> Result<Self, InvalidTls> {
        Ok(match (mode, roots) {
            (Mode::Disable, _) => Self::Disable,
            (Mode::Allow | Mode::Prefer, _) => Self::Prefer,
            (Mode::Require, None) => Self::Require,
            // As libpq has it: authorities that are given are not ignored.
            (Mode::Require | Mode::VerifyCa, Some(roots)) => Self::VerifyCa(roots),
            (Mode::VerifyFull, Some(roots)) => Self::VerifyFull(roots),
            (Mode::VerifyCa | Mode::VerifyFull, None) => return Err(InvalidTls::NoRoots(mode)),
        })
    }

    /// What the driver asks the server for.
    pub fn ssl_mode(&self) -> SslMode {
        match self {
            Self::Disable => SslMode::Disable,
            Self::Prefer => SslMode::Prefer,
            Self::Require | Self::VerifyCa(_) | Self::VerifyFull(_) => SslMode::Require,
        }
    }
}
