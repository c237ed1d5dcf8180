//! A real registry: a process of `docker-registry` on a port of its own, with its files in a directory of its own.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// The account of [`Server::with_accounts`].
pub(crate) const ACCOUNT: (&str, &str) = ("pusher", "s3cret");
/// The same in a file of htpasswd(1).
const HTPASSWD: &str = "pusher:$2b$04$NEYC8nhN9EzyN5uEsUwZAe2z8DJxHaCY0gXFXSGDlaz51ohx3x1U6\n";

/// A registry, ended with the value.
pub(crate) struct Server {
    process: Child,
    pub(crate) directory: tempfile::TempDir,
    /// `127.0.0.1:PORT`.
    pub(crate) host: String,
}

impl Server {
    /// Takes what anybody pushes.
    pub(crate) fn open() -> Self {
        Self::start(
            tempfile::tempdir().expect("a directory"),
            "127.0.0.1",
            "",
            "",
        )
    }

    /// Takes what anybody pushes, at an address that does not say that it is this machine's.
    pub(crate) fn elsewhere() -> Self {
        Self::start(tempfile::tempdir().expect("a directory"), "0.0.0.0", "", "")
    }

    /// Takes what [`ACCOUNT`] pushes.
    pub(crate) fn with_accounts() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("accounts");
        fs::write(&file, HTPASSWD).expect("a file");
        let auth = format!(
            "auth:\n  htpasswd:\n    realm: tests\n    path: {}\n",
            file.display()
        );
        Self::start(directory, "127.0.0.1", "", &auth)
    }

    /// Speaks TLS, with a certificate of the authority in the returned file.
    pub(crate) fn with_tls() -> (Self, PathBuf) {
        let directory = tempfile::tempdir().expect("a directory");
        let mut of_authority = rcgen::CertificateParams::new(Vec::new()).expect("no names");
        of_authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = rcgen::KeyPair::generate().expect("a key");
        let authority = of_authority.self_signed(&key).expect("a certificate");
        let issuer = rcgen::Issuer::new(of_authority, key);
        let key = rcgen::KeyPair::generate().expect("a key");
        let names = vec!["127.0.0.1".to_owned()];
        let leaf = rcgen::CertificateParams::new(names).expect("an address");
        let leaf = leaf.signed_by(&key, &issuer).expect("a certificate");
        let file = |name: &str, content: String| {
            let file = directory.path().join(name);
            fs::write(&file, content).expect("a file");
            file
        };
        let ca = file("ca.crt", authority.pem());
        let tls = format!(
            "  tls:\n    certificate: {}\n    key: {}\n",
            file("leaf.crt", leaf.pem()).display(),
            file("leaf.key", key.serialize_pem()).display()
        );
        (Self::start(directory, "127.0.0.1", &tls, ""), ca)
    }

    /// Settings as in <https://distribution.github.io/distribution/about/configuration/>.
    fn start(directory: tempfile::TempDir, host: &str, tls: &str, auth: &str) -> Self {
        let file = directory.path().join("registry.yml");
        let files = directory.path().join("files");
        let settings = format!(
            "version: 0.1\nlog: {{level: info}}\nstorage:\n  filesystem: {{rootdirectory: {}}}\n{auth}http:\n  addr: {host}:0\n  \
             secret: of-tests\n{tls}",
            files.display()
        );
        fs::write(&file, settings).expect("a file");
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(&file);
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        let mut process = command
            .spawn()
            .expect("docker-registry starts: `eval \"$(.ci/registry)\"` puts it on the PATH");
        let mut log = BufReader::new(process.stderr.take().expect("its log"));
        let mut line = String::new();
        let port = loop {
            line.clear();
            assert!(log.read_line(&mut line).expect("its log") > 0, "it ended");
            if let Some((_, rest)) = line.split_once("listening on ") {
                let address = rest.split([',', '"']).next().expect("an address");
                let (_, port) = address.rsplit_once(':').expect("a port");
                break port.to_owned();
            }
        };
        // Who does not read what it says would hold it up.
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        Self {
            process,
            directory,
            host: format!("{host}:{port}"),
        }
    }

    /// What it answers to a request without TLS and without an account: the first line, and the rest.
    pub(crate) fn get(&self, path: &str, accept: &str) -> (String, String) {
        let mut stream = TcpStream::connect(&self.host).expect("it listens");
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {}\r\nAccept: {accept}\r\nConnection: close\r\n\r\n",
            self.host
        );
        stream.write_all(request.as_bytes()).expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        let (status, rest) = answer.split_once("\r\n").expect("a first line");
        (status.to_owned(), rest.to_owned())
    }

    /// How many manifests it keeps under tags.
    pub(crate) fn tags(&self) -> usize {
        fn count(dir: &Path) -> usize {
            let entries = fs::read_dir(dir).into_iter().flatten().flatten();
            let below = entries
                .map(|entry| entry.path())
                .filter(|path| path.is_dir());
            below
                .map(|path| {
                    if path.ends_with("_manifests/tags") {
                        path.read_dir().into_iter().flatten().count()
                    } else {
                        count(&path)
                    }
                })
                .sum()
        }
        count(&self.directory.path().join("files"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}
