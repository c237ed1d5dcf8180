//! What a run makes up and keeps to itself: passwords by name, an authority for certificates and what it has signed.
//!
//! All of it lies in one directory of the run, which goes with the environment: a run on a kept one finds the same again.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

use crate::exit::Failure;
use crate::fingerprint::fingerprint;
use crate::state::{Run, write_private};

/// Its name in a run's directory.
const DIRECTORY: &str = "private";
/// What the file of a password begins with.
const PASSWORD: &str = "password-";
/// The authority's certificate.
const AUTHORITY: &str = "ca.crt";
/// Its key.
const AUTHORITY_KEY: &str = "ca.key";

/// The directory of a run for what nobody else may read.
#[derive(Debug)]
pub struct Private {
    dir: PathBuf,
    /// Held while something is made: of two that ask at once the second finds what the first has made.
    making: Mutex<()>,
}

/// A certificate with its key, as PEM (RFC 7468).
#[derive(Clone, Debug)]
pub struct Signed {
    /// The certificate.
    pub certificate: String,
    /// Its private key (RFC 5958).
    pub key: String,
}

impl Private {
    /// That of a run; made, and recorded before it is.
    pub fn of(run: &Run) -> Result<Self, Failure> {
        let dir = run.dir().join(DIRECTORY);
        run.make_directory(&dir).map_err(Failure::setup)?;
        let making = Mutex::default();
        Ok(Self { dir, making })
    }

    /// What a run that is up has made up so far, by name, without making anything.
    pub fn passwords_of(run: &Run) -> BTreeMap<String, String> {
        let entries = std::fs::read_dir(run.dir().join(DIRECTORY));
        let entries = entries.into_iter().flatten().flatten();
        let passwords = entries.filter_map(|entry| {
            let name = entry.file_name().to_string_lossy().into_owned();
            let password = std::fs::read_to_string(entry.path()).ok()?;
            Some((name.strip_prefix(PASSWORD)?.to_owned(), password))
        });
        passwords.collect()
    }

    /// The password of that name: one for each run.
    pub fn password(&self, name: &str, new: impl FnOnce() -> String) -> Result<String, Failure> {
        let _one = self.one();
        self.kept(&format!("{PASSWORD}{name}"), new)
    }

    /// The file of a password of a run that is up.
    pub fn password_file_of(run: &Run, name: &str) -> PathBuf {
        run.dir().join(DIRECTORY).join(format!("{PASSWORD}{name}"))
    }

    /// The file that holds it.
    pub fn password_file(&self, name: &str) -> PathBuf {
        self.dir.join(format!("{PASSWORD}{name}"))
    }

    /// The certificate of the run's authority, as PEM.
    pub fn authority(&self) -> Result<String, Failure> {
        let _one = self.one();
        self.issuer().map(|(certificate, _)| certificate)
    }

    /// The file that holds it.
    pub fn authority_file(&self) -> PathBuf {
        self.dir.join(AUTHORITY)
    }

    /// A certificate that the run's authority signs for these names and addresses; the same for the same ones.
    pub fn certificate(&self, hosts: &[String]) -> Result<Signed, Failure> {
        let _one = self.one();
        let name = &fingerprint(&hosts.iter().map(String::as_str).collect::<Vec<_>>())[..16];
        let (crt, key) = (format!("{name}.crt"), format!("{name}.key"));
        if let (Some(certificate), Some(key)) = (self.read(&crt), self.read(&key)) {
            return Ok(Signed { certificate, key });
        }
        let (_, issuer) = self.issuer()?;
        let issuer = Issuer::new(authority_of_the_run(), issuer);
        let mut params = CertificateParams::new(hosts.to_vec()).map_err(|error| failed(&error))?;
        let subject = hosts.first().map_or("", String::as_str);
        params.distinguished_name.push(DnType::CommonName, subject);
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let own = KeyPair::generate().map_err(|error| failed(&error))?;
        let signed = params
            .signed_by(&own, &issuer)
            .map_err(|error| failed(&error))?;
        Ok(Signed {
            certificate: self.kept(&crt, || signed.pem())?,
            key: self.kept(&key, || own.serialize_pem())?,
        })
    }

    /// The authority's certificate and key.
    fn issuer(&self) -> Result<(String, KeyPair), Failure> {
        if let (Some(certificate), Some(key)) = (self.read(AUTHORITY), self.read(AUTHORITY_KEY)) {
            return Ok((
                certificate,
                KeyPair::from_pem(&key).map_err(|error| failed(&error))?,
            ));
        }
        let key = KeyPair::generate().map_err(|error| failed(&error))?;
        let certificate = authority_of_the_run()
            .self_signed(&key)
            .map_err(|error| failed(&error))?;
        // The key first: a certificate without one would be made again under another key.
        self.kept(AUTHORITY_KEY, || key.serialize_pem())?;
        let certificate = self.kept(AUTHORITY, || certificate.pem())?;
        Ok((certificate, key))
    }

    fn one(&self) -> MutexGuard<'_, ()> {
        self.making.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn kept(&self, name: &str, new: impl FnOnce() -> String) -> Result<String, Failure> {
        if let Some(known) = self.read(name) {
            return Ok(known);
        }
        let made = new();
        write_private(&self.dir.join(name), made.as_bytes()).map_err(Failure::setup)?;
        Ok(made)
    }

    fn read(&self, name: &str) -> Option<String> {
        let text = std::fs::read_to_string(self.dir.join(name)).ok()?;
        (!text.is_empty()).then_some(text)
    }
}

/// What an authority is, whichever key it has.
fn authority_of_the_run() -> CertificateParams {
    let mut params = CertificateParams::default();
    let name = "e2e authority of one run";
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn failed(error: &rcgen::Error) -> Failure {
    Failure::setup(format!("a certificate could not be made: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn private() -> (tempfile::TempDir, Private) {
        let dir = tempfile::tempdir().unwrap();
        let private = Private {
            dir: dir.path().to_owned(),
            making: Mutex::default(),
        };
        (dir, private)
    }

    #[test]
    fn a_password_and_a_certificate_are_made_once() {
        let (_dir, private) = private();
        let first = private.password("A", || "one".to_owned()).unwrap();
        assert_eq!(private.password("A", || "two".to_owned()).unwrap(), first);
        assert_eq!(private.password("B", || "two".to_owned()).unwrap(), "two");
        let hosts = ["webhook.here.svc".to_owned(), "127.0.0.1".to_owned()];
        let made = private.certificate(&hosts).unwrap();
        assert_eq!(
            private.certificate(&hosts).unwrap().certificate,
            made.certificate
        );
        let other = private.certificate(&hosts[..1]).unwrap();
        assert_ne!(other.certificate, made.certificate);
        assert_eq!(
            std::fs::read_to_string(private.authority_file()).unwrap(),
            private.authority().unwrap()
        );
    }
}
