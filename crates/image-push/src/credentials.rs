//! The credentials of docker or podman for one registry: from their own files, by their own helper programs.

use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use docker_credential::{CredentialRetrievalError, DockerCredential, get_credential_from_reader};
use serde_json::json;

use crate::address::Registry;
use crate::failure::{Failure, Kind};

/// How long a helper program may take, which may ask a service of its own.
const HELPER: Duration = Duration::from_secs(30);
/// Who a token belongs to that stands for an account by itself, as Azure's registries want it.
const TOKEN_HOLDER: &str = "00000000-0000-0000-0000-000000000000";

/// A name and a password, never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The name.
    pub name: String,
    /// The password, or a token in its place.
    pub password: String,
    /// The file that they are of.
    pub file: PathBuf,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Credentials");
        shown.field("file", &self.file).finish_non_exhaustive()
    }
}

/// What was found for a registry, and where it was looked for.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// The credentials, if there are any.
    pub credentials: Option<Credentials>,
    /// Why there are none, in words that go on after "and".
    pub without: String,
    /// Whether that is because a file, or the helper that it names, gives none.
    pub broken: bool,
}

impl Found {
    /// The content of a Secret of the type `kubernetes.io/dockerconfigjson` for a registry: these credentials and no others;
    /// it is empty where nobody has logged in.
    pub fn pull_secret(&self, registry: &Registry) -> Result<String, Failure> {
        let auths = match &self.credentials {
            Some(Credentials { name, password, .. }) => {
                let auth = STANDARD.encode(format!("{name}:{password}"));
                json!({registry.server(): {"auth": auth}})
            }
            None if self.broken => {
                let login = format!("docker login {}", registry.host);
                return Err(Failure::new(Kind::Credentials, &self.without, login));
            }
            None => json!({}),
        };
        Ok(json!({ "auths": auths }).to_string())
    }
}

/// The files that may hold credentials, those that a variable names first. Docker's before podman's.
pub fn files(variable: impl Fn(&str) -> Option<OsString>) -> Vec<PathBuf> {
    let path = |name: &str| {
        let value = variable(name).filter(|value| !value.is_empty());
        value.map(PathBuf::from)
    };
    let home = |below: &str| Some(path("HOME")?.join(below));
    let named = path("REGISTRY_AUTH_FILE");
    let docker = path("DOCKER_CONFIG").or_else(|| home(".docker"));
    let running = path("XDG_RUNTIME_DIR");
    let kept = path("XDG_CONFIG_HOME").or_else(|| home(".config"));
    let podman = [running, kept].map(|dir| Some(dir?.join("containers/auth.json")));
    let all = [named, docker.map(|dir| dir.join("config.json"))];
    all.into_iter().chain(podman).flatten().collect()
}

/// Looks for the credentials of a registry in these files, the first that has some.
pub fn find(registry: &Registry, files: &[PathBuf]) -> Result<Found, Failure> {
    let mut troubles = Vec::new();
    for file in files {
        match in_file(registry, file) {
            Ok(Some(credentials)) => {
                return Ok(Found {
                    credentials: Some(credentials),
                    ..Found::default()
                });
            }
            Ok(None) => (),
            // A registry that asks nobody is pushed to all the same.
            Err(failure) if failure.kind == Kind::Credentials => troubles.push(failure.what),
            Err(failure) => return Err(failure),
        }
    }
    let without = if troubles.is_empty() {
        let looked = files.iter().map(|file| file.display().to_string());
        let looked = looked.collect::<Vec<_>>().join(", ");
        format!("no credentials for it are in {looked}")
    } else {
        troubles.join("; ")
    };
    Ok(Found {
        credentials: None,
        without,
        broken: !troubles.is_empty(),
    })
}

fn in_file(registry: &Registry, file: &Path) -> Result<Option<Credentials>, Failure> {
    let failed = |what: String| {
        let login = format!("docker login {}", registry.host);
        Failure::new(Kind::Credentials, what, login)
    };
    let text = match fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) if [ErrorKind::NotFound, ErrorKind::NotADirectory].contains(&error.kind()) => {
            return Ok(None);
        }
        Err(error) => {
            return Err(failed(format!(
                "{} cannot be read: {error}",
                file.display()
            )));
        }
    };
    for server in servers(registry, &text) {
        let Some(found) = ask(text.clone(), server) else {
            return Err(Failure::new(
                Kind::TimedOut,
                format!(
                    "the credential helper that {} names for {} did not answer within {} s",
                    file.display(),
                    registry.host,
                    HELPER.as_secs()
                ),
                format!("docker login {}", registry.host),
            ));
        };
        let (name, password) = match found {
            Ok(DockerCredential::UsernamePassword(name, password)) => (name, password),
            Ok(DockerCredential::IdentityToken(token)) => (TOKEN_HOLDER.to_owned(), token),
            Err(error) => match trouble(&error) {
                Some(why) => return Err(failed(format!("{}: {why}", file.display()))),
                None => continue,
            },
        };
        return Ok(Some(Credentials {
            name,
            password,
            file: file.to_owned(),
        }));
    }
    Ok(None)
}

/// The names to look under. Podman also keeps credentials for a path of a registry, the longest of which counts.
fn servers(registry: &Registry, text: &str) -> Vec<String> {
    let mut servers = Vec::new();
    if text.contains(&format!("\"{}/", registry.host)) {
        let mut path = registry.to_string();
        while let Some((above, _)) = path.rsplit_once('/') {
            let above = above.to_owned();
            servers.push(std::mem::replace(&mut path, above));
        }
    }
    servers.push(registry.server().to_owned());
    servers
}

/// Asks the library, which starts the helper that the file names; `None` where that takes too long.
fn ask(text: String, server: String) -> Option<Result<DockerCredential, CredentialRetrievalError>> {
    let (send, receive) = channel();
    std::thread::spawn(move || {
        let found = get_credential_from_reader(text.as_bytes(), &server);
        drop(send.send(found));
    });
    match receive.recv_timeout(HELPER) {
        Ok(found) => Some(found),
        Err(RecvTimeoutError::Timeout) => None,
        Err(RecvTimeoutError::Disconnected) => {
            Some(Err(CredentialRetrievalError::CredentialDecodingError))
        }
    }
}

/// What is wrong, without what a helper printed: secrets may be in it. `None` where the file just has none.
fn trouble(error: &CredentialRetrievalError) -> Option<String> {
    use CredentialRetrievalError as Error;
    match error {
        Error::NoCredentialConfigured | Error::ConfigNotFound => None,
        // The words of docker-credential-helpers.
        Error::HelperFailure { stdout, .. } if stdout.contains("credentials not found") => None,
        Error::HelperFailure { helper, .. } => Some(format!(
            "{helper}, which it names for this registry, failed"
        )),
        Error::HelperCommunicationError => Some(
            "the credential helper that it names for this registry cannot be started".to_owned(),
        ),
        Error::MalformedHelperResponse => {
            Some("the credential helper that it names answers nonsense".to_owned())
        }
        Error::CredentialMismatchError => {
            Some("it holds two accounts for this registry, which differ".to_owned())
        }
        Error::CredentialDecodingError => {
            Some("what it holds for this registry is no account".to_owned())
        }
        Error::ConfigReadError => Some("it is no file of credentials".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registry(text: &str) -> Registry {
        text.parse().expect("a registry")
    }

    fn account(text: &str) -> serde_json::Value {
        json!({"auth": STANDARD.encode(text)})
    }

    fn found(registry: &Registry, content: &serde_json::Value) -> Found {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("auth.json");
        fs::write(&file, content.to_string()).expect("a file");
        find(registry, &[dir.path().join("gone/config.json"), file]).expect("it is read")
    }

    #[test]
    fn a_variable_names_the_file_and_else_dockers_comes_before_podmans() {
        let variable = |name: &str| match name {
            "HOME" => Some(OsString::from("/home/me")),
            "XDG_RUNTIME_DIR" => Some("/run/me".into()),
            _ => None,
        };
        let [docker, running, kept] = [
            "/home/me/.docker/config.json",
            "/run/me/containers/auth.json",
            "/home/me/.config/containers/auth.json",
        ];
        assert_eq!(files(variable), [docker, running, kept].map(PathBuf::from));
        let named = |name: &str| match name {
            "REGISTRY_AUTH_FILE" => Some(OsString::from("/a.json")),
            "DOCKER_CONFIG" => Some("/d".into()),
            _ => variable(name),
        };
        let first = &files(named)[..2];
        assert_eq!(first, ["/a.json", "/d/config.json"].map(PathBuf::from));
    }

    #[test]
    fn the_account_of_the_longest_path_counts_and_a_token_has_its_own_holder() {
        let content = json!({"auths": {
            "images.example": account("all:1"),
            "images.example/team": account("team:2:with colon"),
            "acr.example.io": {"identitytoken": "t0ken"},
        }});
        let of = |text: &str| {
            let found = found(&registry(text), &content).credentials;
            found.map(|found| (found.name, found.password))
        };
        let pair = |name: &str, password: &str| Some((name.to_owned(), password.to_owned()));
        assert_eq!(of("images.example/team/e2e"), pair("team", "2:with colon"));
        assert_eq!(of("images.example/other"), pair("all", "1"));
        assert_eq!(of("acr.example.io"), pair(TOKEN_HOLDER, "t0ken"));
        assert_eq!(of("registry.example"), None);
    }

    #[test]
    fn a_pull_secret_holds_this_registry_alone_and_nothing_else_shows_the_password() {
        let content = json!({"auths": {"a.io": account("me:s3cret"), "b.io": account("x:other")}});
        let a = registry("a.io/team");
        let found = found(&a, &content);
        let secret: serde_json::Value =
            serde_json::from_str(&found.pull_secret(&a).expect("a secret")).expect("JSON");
        assert_eq!(secret, json!({"auths": {"a.io": account("me:s3cret")}}));
        assert!(!format!("{found:?}").contains("s3cret"));
        let none = Found::default().pull_secret(&a);
        assert_eq!(none.expect("a secret"), r#"{"auths":{}}"#);
    }

    #[test]
    fn a_helper_that_is_missing_and_a_file_that_is_none_are_told_without_their_content() {
        let a = registry("a.io");
        let missing = found(&a, &json!({"credsStore": "no-such-helper"}));
        assert_eq!(missing.credentials, None);
        assert!(missing.without.contains("cannot be started"), "{missing:?}");
        let failure = missing.pull_secret(&a).expect_err("it is not known");
        assert_eq!(failure.kind, Kind::Credentials);
        let broken = found(&a, &json!({"auths": {"a.io": {"auth": "czNjcmV0"}}}));
        assert!(broken.without.ends_with("is no account"), "{broken:?}");
        assert!(!broken.without.contains("czNjcmV0"));
        let nothing = found(&a, &json!({}));
        assert!(nothing.without.starts_with("no credentials for it are in "));
    }
}
