//! TLS of the own listener: its certificate, and the authorities whose clients are let in.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio_rustls::TlsAcceptor;

use super::watched::Watched;

/// The PEM files of a listener.
#[derive(Debug, Clone)]
pub(crate) struct Files {
    /// The certificate, followed by those between it and its authority.
    pub(crate) certificate: PathBuf,
    /// Its private key.
    pub(crate) key: PathBuf,
    /// Authorities of clients.
    pub(crate) client_authorities: Option<PathBuf>,
}

/// What accepts handshakes with the certificate of the files.
pub(crate) fn listener(files: Files) -> Result<Watched<TlsAcceptor>, String> {
    let of = |path: &PathBuf| path.display().to_string();
    let names = [of(&files.certificate), of(&files.key)];
    let authorities = files.client_authorities.as_ref().map(of);
    let mut watched = vec![files.certificate, files.key];
    watched.extend(files.client_authorities);
    Watched::new("tls", watched, move |contents| {
        let [certificate, key, roots @ ..] = contents else {
            return Err("the certificate and the key are two files".to_owned());
        };
        let roots = roots.first().zip(authorities.as_deref());
        acceptor((certificate, &names[0]), (key, &names[1]), roots)
    })
}

/// The provider of the algorithms is named here, so that it does not depend on which features other crates turn on.
fn acceptor(
    certificate: (&Vec<u8>, &str),
    key: (&Vec<u8>, &str),
    authorities: Option<(&Vec<u8>, &str)>,
) -> Result<TlsAcceptor, String> {
    let provider = Arc::new(ring::default_provider());
    let chain = certificates(certificate)?;
    let (text, name) = key;
    // The parser's message is about the form alone, but a key's text is never worth the risk.
    let key = PrivateKeyDer::from_pem_slice(text)
        .map_err(|_| format!("{name} is not a PEM file of a private key"))?;
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("TLS cannot be set up: {error}"))?;
    let builder = match authorities {
        None => builder.with_no_client_auth(),
        Some(file) => {
            let mut roots = RootCertStore::empty();
            for authority in certificates(file)? {
                roots
                    .add(authority)
                    .map_err(|error| format!("{} holds no authority: {error}", file.1))?;
            }
            // Whoever shows no certificate is let in as far as the health checks, which a kubelet asks for without one.
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                .allow_unauthenticated()
                .build();
            builder.with_client_cert_verifier(
                verifier.map_err(|error| format!("{} is of no use: {error}", file.1))?,
            )
        }
    };
    let mut config = builder.with_single_cert(chain, key).map_err(|error| {
        format!(
            "the certificate of {} and the key of {name} do not go together: {error}",
            certificate.1
        )
    })?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn certificates((text, name): (&Vec<u8>, &str)) -> Result<Vec<CertificateDer<'static>>, String> {
    let chain = CertificateDer::pem_slice_iter(text).collect::<Result<Vec<_>, _>>();
    let chain = chain.map_err(|error| format!("{name} is not a PEM file: {error}"))?;
    if chain.is_empty() {
        return Err(format!("{name} holds no certificate"));
    }
    Ok(chain)
}
