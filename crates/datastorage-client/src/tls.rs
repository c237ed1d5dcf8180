//! The client's side of TLS: whom it trusts and what it shows, from files that are read again when they change.

use std::{
    fmt,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};

use crate::{Access, Error};

/// What the files of an [`Access`] come to.
pub(crate) struct Tls {
    access: Access,
    made: Mutex<Made>,
}

struct Made {
    of: Vec<Vec<u8>>,
    config: Arc<ClientConfig>,
}

impl Tls {
    pub(crate) fn new(access: &Access) -> Result<Self, Error> {
        let made = make(access, read(access).map_err(Error::Access)?).map_err(Error::Access)?;
        Ok(Self {
            access: access.clone(),
            made: Mutex::new(made),
        })
    }

    /// What the next connection is made with; files of no use leave what they held. Blocks as long as the disk does.
    pub(crate) fn current(&self) -> Arc<ClientConfig> {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Ok(contents) = read(&self.access)
            && contents != made.of
            && let Ok(next) = make(&self.access, contents)
        {
            *made = next;
        }
        Arc::clone(&made.config)
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("access", &self.access)
            .finish_non_exhaustive()
    }
}

fn files(access: &Access) -> impl Iterator<Item = &PathBuf> {
    [&access.ca_file, &access.client_cert, &access.client_key]
        .into_iter()
        .flatten()
}

fn read(access: &Access) -> Result<Vec<Vec<u8>>, String> {
    files(access)
        .map(|file| {
            std::fs::read(file).map_err(|error| format!("cannot read {}: {error}", file.display()))
        })
        .collect()
}

/// The provider of the algorithms is named here, so that it does not depend on which features other crates turn on.
fn make(access: &Access, contents: Vec<Vec<u8>>) -> Result<Made, String> {
    let named: Vec<_> = files(access)
        .map(|file| file.display().to_string())
        .zip(&contents)
        .collect();
    let mut named = named.iter();
    let mut next = |given: bool| if given { named.next() } else { None };
    let mut roots = RootCertStore::empty();
    if let Some((name, text)) = next(access.ca_file.is_some()) {
        for authority in certificates(name, text)? {
            let added = roots.add(authority);
            added.map_err(|error| format!("{name} holds no authority: {error}"))?;
        }
    } else {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if roots.is_empty() {
            return Err(format!(
                "this system names no authorities to trust; name a file of them: {}",
                Access::CA_FILE
            ));
        }
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("TLS cannot be set up: {error}"))?
        .with_root_certificates(roots);
    let pair = (
        next(access.client_cert.is_some()),
        next(access.client_key.is_some()),
    );
    let mut config = match pair {
        (None, None) => builder.with_no_client_auth(),
        (Some((certificate, text)), Some((key, secret))) => {
            let chain = certificates(certificate, text)?;
            let private = PrivateKeyDer::from_pem_slice(secret)
                .map_err(|_| format!("{key} is not a PEM file of a private key"))?;
            let config = builder.with_client_auth_cert(chain, private);
            config.map_err(|error| {
                format!("the certificate of {certificate} and the key of {key} do not go together: {error}")
            })?
        }
        _ => {
            return Err(format!(
                "a client certificate and its key are two files: give {} and {}",
                Access::CLIENT_CERT_FILE,
                Access::CLIENT_KEY_FILE
            ));
        }
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Made {
        of: contents,
        config: Arc::new(config),
    })
}

fn certificates(name: &str, text: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let chain = CertificateDer::pem_slice_iter(text).collect::<Result<Vec<_>, _>>();
    let chain = chain.map_err(|error| format!("{name} is not a PEM file: {error}"))?;
    if chain.is_empty() {
        return Err(format!("{name} holds no certificate"));
    }
    Ok(chain)
}
