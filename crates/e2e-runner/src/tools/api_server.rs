//! The API server of a cluster by a client that is kept: its answer takes milliseconds, a process for each question tenths of a second.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde_json::Value;
use ureq::Agent;
use ureq::http::{Request, StatusCode};
use ureq::tls::{Certificate, ClientCert, PrivateKey, RootCerts, TlsConfig};

/// How long one answer may take.
const ANSWER: Duration = Duration::from_secs(10);
/// The longest answer, in bytes.
const LONGEST: u64 = 64 << 20;
/// How often a watch asks whether it has shown enough.
const TICK: Duration = Duration::from_millis(20);
/// What an object is without what is in it, which may be a secret (Kubernetes API Concepts, "Retrieving large results sets").
const METADATA: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
/// The same of each object of a list.
const METADATA_LIST: &str = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";

/// Why there is no answer to go by. Whoever asks then asks kubectl, whose words people know.
#[derive(Debug, thiserror::Error)]
pub enum Unanswered {
    /// It did not answer, or not to its end.
    #[error("{0}")]
    Lost(#[from] ureq::Error),
    /// It refused, with its own words.
    #[error("{0}: {1}")]
    Refused(StatusCode, String),
    /// Its answer is not what was asked for.
    #[error("an answer that cannot be read: {0}")]
    Unreadable(#[from] serde_json::Error),
    /// It does not know such a kind.
    #[error("no such kind: {0}")]
    NoKind(String),
    /// There is no such question.
    #[error("no question can be made: {0}")]
    Unaskable(#[from] ureq::http::Error),
}

/// How a watch ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watch {
    /// It has shown enough.
    Enough,
    /// The deadline has passed.
    TimedOut,
    /// The server ended it, or was lost.
    Lost,
}

/// An API server, as the user of a kubeconfig asks it. Clones share what is kept.
#[derive(Clone, Debug)]
pub struct ApiServer {
    base: String,
    tls: TlsConfig,
    agent: Agent,
    resources: Arc<Mutex<BTreeMap<String, Vec<Resource>>>>,
}

/// What the API calls a kind in its paths (Kubernetes API Concepts, "Resource URIs").
#[derive(Clone, Debug, Deserialize)]
struct Resource {
    name: String,
    kind: String,
    namespaced: bool,
}

/// Which object is meant.
#[derive(Clone, Copy, Debug)]
pub struct Reference<'a> {
    /// As in `apps/v1`.
    pub api_version: &'a str,
    /// As in `Deployment`.
    pub kind: &'a str,
    /// Its namespace, where its kind has any.
    pub namespace: &'a str,
    /// Its name.
    pub name: &'a str,
}

impl ApiServer {
    /// The one of a kubeconfig's current context. None where its user proves itself by anything else than a certificate in that file, as
    /// kind writes it: a login, a token that another program makes, is kubectl's business.
    pub fn of(kubeconfig: &str) -> Option<Self> {
        let config: Value = serde_saphyr::from_str(kubeconfig).ok()?;
        let named = |list: &str, what: &str, name: &Value| {
            let all = config[list].as_array()?;
            Some(all.iter().find(|one| one["name"] == *name)?[what].clone())
        };
        let context = named("contexts", "context", &config["current-context"])?;
        let cluster = named("clusters", "cluster", &context["cluster"])?;
        let user = named("users", "user", &context["user"])?;
        let pem = |of: &Value, name: &str| BASE64_STANDARD.decode(of[name].as_str()?).ok();
        let authority =
            Certificate::from_pem(&pem(&cluster, "certificate-authority-data")?).ok()?;
        let certificate = Certificate::from_pem(&pem(&user, "client-certificate-data")?).ok()?;
        let key = PrivateKey::from_pem(&pem(&user, "client-key-data")?).ok()?;
        let tls = TlsConfig::builder()
            .root_certs(RootCerts::new_with_certs(&[authority]))
            .client_cert(Some(ClientCert::new_with_certs(&[certificate], key)))
            .build();
        Some(Self {
            base: cluster["server"].as_str()?.trim_end_matches('/').to_owned(),
            agent: agent(&tls, Some(ANSWER)),
            tls,
            resources: Arc::default(),
        })
    }

    /// What it answers on a path, as it is.
    pub fn text(&self, path: &str) -> Result<String, Unanswered> {
        self.call("GET", path, ("accept", "application/json"), "")
    }

    /// Removes what is on a path; what is not there is no failure.
    pub fn delete(&self, path: &str) -> Result<(), Unanswered> {
        let accept = ("accept", "application/json");
        match self.call("DELETE", path, accept, "") {
            Ok(_) | Err(Unanswered::Refused(StatusCode::NOT_FOUND, _)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// The metadata of an object, if it is there.
    pub fn metadata(&self, of: &Reference<'_>) -> Result<Option<Value>, Unanswered> {
        match self.call("GET", &self.path(of)?, ("accept", METADATA), "") {
            Ok(text) => Ok(Some(json(&text)?["metadata"].take())),
            Err(Unanswered::Refused(StatusCode::NOT_FOUND, _)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The metadata of the pods that a selector finds, in one namespace or in all.
    pub fn pods(&self, namespace: Option<&str>, selector: &str) -> Result<Vec<Value>, Unanswered> {
        let path = format!("{}?labelSelector={}", pods(namespace), encoded(selector));
        let text = self.call("GET", &path, ("accept", METADATA_LIST), "")?;
        metadata_of_all(&text)
    }

    /// Removes the pods that a selector finds in a namespace within a second, the shortest that they are given to end. They go only when
    /// their containers have: without any they would go at once, and run on.
    pub fn end_pods(&self, namespace: &str, selector: &str) -> Result<(), Unanswered> {
        let (path, selector) = (pods(Some(namespace)), encoded(selector));
        self.delete(&format!(
            "{path}?gracePeriodSeconds=1&labelSelector={selector}"
        ))
    }

    /// Applies an object, server side, in the name of kubectl, and returns it as it is then. A field that its kind does not have is
    /// refused.
    pub fn apply(&self, of: &Reference<'_>, object: &Value) -> Result<Value, Unanswered> {
        let path = self.path(of)?;
        let path = format!("{path}?fieldManager=kubectl&force=true&fieldValidation=Strict");
        let content = ("content-type", "application/apply-patch+yaml");
        json(&self.call("PATCH", &path, content, &object.to_string())?)
    }

    /// Watches the pods of a namespace that a selector finds, from those that are there on. `on_line` gets each event, `enough` is asked
    /// after each and at every tick. Returns when that says so, after the deadline at the latest.
    pub fn watch_pods(
        &self,
        (namespace, selector): (&str, &str),
        deadline: Duration,
        mut on_line: impl FnMut(&str),
        mut enough: impl FnMut() -> bool,
    ) -> Result<Watch, Unanswered> {
        let (path, selector) = (pods(Some(namespace)), encoded(selector));
        let path = format!("{path}?watch=1&labelSelector={selector}");
        // A client of its own, whose end interrupts what it still reads.
        let agent = agent(&self.tls, None);
        let answer = request("GET", &self.base, &path, ("accept", "application/json"), "")?;
        let answer = agent.run(answer)?;
        if !answer.status().is_success() {
            return Err(Unanswered::Refused(answer.status(), String::new()));
        }
        let (send, lines) = channel();
        let reader = BufReader::new(answer.into_body().into_reader());
        let began = Instant::now();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                let lines = reader.lines().map_while(Result::ok);
                // Nobody listens any more once it was enough.
                lines.map(|line| send.send(line)).find(Result::is_err)
            });
            let ended = loop {
                match lines.recv_timeout(TICK) {
                    Ok(line) => on_line(&line),
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => break Watch::Lost,
                }
                if enough() {
                    break Watch::Enough;
                }
                if began.elapsed() >= deadline {
                    break Watch::TimedOut;
                }
            };
            agent.shutdown();
            Ok(ended)
        })
    }

    /// Where an object is, by what the server says of its kinds.
    fn path(&self, of: &Reference<'_>) -> Result<String, Unanswered> {
        let of_a_group = of.api_version.contains('/');
        let root = if of_a_group { "/apis" } else { "/api" };
        let group = format!("{root}/{}", of.api_version);
        let resource = self.resource(&group, of.kind)?;
        let (namespace, name) = (encoded(of.namespace), encoded(of.name));
        let place = resource
            .namespaced
            .then(|| format!("/namespaces/{namespace}"));
        let place = place.unwrap_or_default();
        Ok(format!("{group}{place}/{}/{name}", resource.name))
    }

    fn resource(&self, group: &str, kind: &str) -> Result<Resource, Unanswered> {
        #[derive(Deserialize)]
        struct List {
            resources: Vec<Resource>,
        }
        let mut known = self
            .resources
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let of_kind = |all: &[Resource]| {
            let is_one = |one: &&Resource| one.kind == kind && !one.name.contains('/');
            all.iter().find(is_one).cloned()
        };
        if let Some(found) = known.get(group).and_then(|all| of_kind(all)) {
            return Ok(found);
        }
        // A definition of a custom resource adds to them at any time.
        let list: List = serde_json::from_str(&self.text(group)?)?;
        let all = known.entry(group.to_owned()).or_default();
        *all = list.resources;
        of_kind(all).ok_or_else(|| Unanswered::NoKind(format!("{kind} of {group}")))
    }

    fn call(
        &self,
        method: &str,
        path: &str,
        header: (&str, &str),
        body: &str,
    ) -> Result<String, Unanswered> {
        let request = request(method, &self.base, path, header, body)?;
        let mut answer = self.agent.run(request)?;
        let text = answer.body_mut().with_config().limit(LONGEST);
        let text = text.read_to_string()?;
        match answer.status() {
            status if status.is_success() => Ok(text),
            status => Err(Unanswered::Refused(status, text)),
        }
    }
}

fn agent(tls: &TlsConfig, longest: Option<Duration>) -> Agent {
    let config = Agent::config_builder()
        .tls_config(tls.clone())
        .timeout_global(longest)
        .timeout_connect(Some(ANSWER))
        .timeout_recv_response(Some(ANSWER))
        .http_status_as_error(false)
        // A proxy of the environment does not reach this machine's own addresses.
        .proxy(None)
        .build();
    config.into()
}

fn request(
    method: &str,
    base: &str,
    path: &str,
    (header, value): (&str, &str),
    body: &str,
) -> Result<Request<String>, Unanswered> {
    let request = Request::builder()
        .method(method)
        .uri(format!("{base}{path}"));
    let request = request.header(header, value).body(body.to_owned());
    Ok(request?)
}

fn pods(namespace: Option<&str>) -> String {
    match namespace {
        Some(namespace) => format!("/api/v1/namespaces/{}/pods", encoded(namespace)),
        None => "/api/v1/pods".to_owned(),
    }
}

fn metadata_of_all(list: &str) -> Result<Vec<Value>, Unanswered> {
    #[derive(Deserialize)]
    struct List {
        // Of none it is null.
        items: Option<Vec<Item>>,
    }
    #[derive(Deserialize)]
    struct Item {
        metadata: Value,
    }
    let list: List = serde_json::from_str(list)?;
    let items = list.items.unwrap_or_default().into_iter();
    Ok(items.map(|item| item.metadata).collect())
}

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

fn json(text: &str) -> Result<Value, Unanswered> {
    Ok(serde_json::from_str(text)?)
}

/// The API server of the kubeconfig that a file holds, kept as long as the file says the same.
#[derive(Debug, Default)]
pub struct KeptServer(Mutex<Option<(String, Option<ApiServer>)>>);

impl KeptServer {
    /// The one of the file as it is now; none where there is no file, or no client for it.
    pub fn of(&self, kubeconfig: &Path) -> Option<ApiServer> {
        let text = std::fs::read_to_string(kubeconfig).ok()?;
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &*kept {
            Some((known, server)) if *known == text => server.clone(),
            _ => {
                let server = ApiServer::of(&text);
                *kept = Some((text, server.clone()));
                server
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// A kubeconfig with two clusters, as somebody may have put them together; the second is the current one.
    fn kubeconfig(user: &Value) -> String {
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = rcgen::CertificateParams::default()
            .self_signed(&key)
            .unwrap();
        let pem = |text: String| json!(BASE64_STANDARD.encode(text));
        let mut user = user.clone();
        if user["by"] == "certificate" {
            user = json!({"client-certificate-data": pem(certificate.pem()), "client-key-data": pem(key.serialize_pem())});
        }
        json!({
            "current-context": "two",
            "contexts": [
                {"name": "one", "context": {"cluster": "c1", "user": "u1"}},
                {"name": "two", "context": {"cluster": "c2", "user": "u2"}}],
            "clusters": [
                {"name": "c1", "cluster": {"server": "https://one.test"}},
                {"name": "c2", "cluster": {"server": "https://two.test/", "certificate-authority-data": pem(certificate.pem())}}],
            "users": [{"name": "u2", "user": user}],
        })
        .to_string()
    }

    #[test]
    fn a_client_is_made_for_the_current_context_where_a_certificate_proves_its_user() {
        let server = ApiServer::of(&kubeconfig(&json!({"by": "certificate"}))).unwrap();
        assert_eq!(server.base, "https://two.test");
        for user in [
            json!({"token": "secret"}),
            json!({"exec": {"command": "login"}}),
        ] {
            assert!(ApiServer::of(&kubeconfig(&user)).is_none(), "{user}");
        }
        assert!(ApiServer::of("no: kubeconfig").is_none());
    }

    #[test]
    fn the_client_of_a_file_is_kept_until_the_file_says_otherwise() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("kubeconfig");
        let kept = KeptServer::default();
        assert!(kept.of(&file).is_none());
        let text = kubeconfig(&json!({"by": "certificate"}));
        std::fs::write(&file, &text).unwrap();
        let first = kept.of(&file).unwrap();
        let again = kept.of(&file).unwrap();
        assert!(Arc::ptr_eq(&first.resources, &again.resources));
        std::fs::write(&file, text.replace("two.test", "three.test")).unwrap();
        let other = kept.of(&file).unwrap();
        assert_eq!(other.base, "https://three.test");
        assert!(!Arc::ptr_eq(&first.resources, &other.resources));
    }

    #[test]
    fn a_path_is_made_of_what_the_server_says_of_a_kind() {
        let server = ApiServer::of(&kubeconfig(&json!({"by": "certificate"}))).unwrap();
        let known = |names: &[(&str, &str, bool)]| {
            let one = |(name, kind, namespaced): &(&str, &str, bool)| Resource {
                name: (*name).to_owned(),
                kind: (*kind).to_owned(),
                namespaced: *namespaced,
            };
            names.iter().map(one).collect::<Vec<_>>()
        };
        let mut resources = server.resources.lock().unwrap();
        let core = [
            ("namespaces/status", "Namespace", false),
            ("namespaces", "Namespace", false),
        ];
        resources.insert("/api/v1".to_owned(), known(&core));
        let apps = [
            ("deployments/scale", "Scale", true),
            ("deployments", "Deployment", true),
        ];
        resources.insert("/apis/apps/v1".to_owned(), known(&apps));
        drop(resources);
        let path = |api_version, kind, name| {
            let namespace = "n";
            server
                .path(&Reference {
                    api_version,
                    kind,
                    namespace,
                    name,
                })
                .unwrap()
        };
        assert_eq!(path("v1", "Namespace", "a/b"), "/api/v1/namespaces/a%2Fb");
        let deployment = path("apps/v1", "Deployment", "w");
        assert_eq!(deployment, "/apis/apps/v1/namespaces/n/deployments/w");
    }

    #[test]
    fn a_list_of_none_has_null_for_its_items() {
        let of = |text: &str| metadata_of_all(text).map(|all| all.len()).ok();
        assert_eq!(of(r#"{"items": null}"#), Some(0));
        assert_eq!(of(r#"{"items": [{"metadata": {"name": "p"}}]}"#), Some(1));
        assert_eq!(of(r#"{"kind": "Status"}"#), Some(0));
        assert_eq!(of("[]x"), None);
    }
}
