//! The API server of an existing cluster: whether it answers, what it is, how its namespaces stand.

use std::time::Duration;

use serde_json::Value;

use crate::exit::{Exit, Failure};
use crate::process::{Command, Error};

/// How long one answer may take.
pub const ANSWER: Duration = Duration::from_secs(20);

/// What the API server's own words mean, with the next move: the first that is in them counts.
const CAUSES: [(&[&str], &str, &str); 8] = [
    (
        &["getting credentials", "exec plugin"],
        "the program by which the kubeconfig proves who you are failed",
        "run it by hand, or log in by it again",
    ),
    (
        &["x509", "tls: failed to verify certificate", "certificate"],
        "its certificate is not trusted",
        "let certificate-authority of the kubeconfig's cluster be the authority of that server",
    ),
    (
        &[
            "Unauthorized",
            "must be logged in",
            "asked for the client to provide credentials",
        ],
        "it does not accept who you say you are (401)",
        "log in again: the token or the certificate of the kubeconfig's user has expired, or is another cluster's",
    ),
    (
        &["no such host", "server misbehaving"],
        "its name is not known",
        "correct `server` of the kubeconfig's cluster, or join the network that knows the name",
    ),
    (
        &["was refused", "connection refused"],
        "nothing listens there",
        "correct `server` of the kubeconfig's cluster, or start the cluster",
    ),
    (
        &[
            "i/o timeout",
            "deadline exceeded",
            "Client.Timeout",
            "request canceled",
            "TLS handshake timeout",
            "timed out",
        ],
        "it does not answer in time",
        "look whether this network reaches it: a VPN, a proxy, a firewall",
    ),
    (
        &["no route to host", "network is unreachable"],
        "no way leads there from this machine",
        "look whether this network reaches it: a VPN, a proxy, a firewall",
    ),
    (
        &["orbidden"],
        "it refuses to answer that",
        "let an administrator bind the ClusterRole system:basic-user to you, which every user has by default",
    ),
];

/// What an API server and its client are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Versions {
    /// kubectl's.
    pub client: String,
    /// The API server's.
    pub server: String,
}

/// How a namespace stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Namespace {
    /// The level of Pod Security that it enforces; empty where none is said.
    pub enforces: String,
    /// Its quotas and limits, each in a line.
    pub bounds: Vec<String>,
    /// Those quotas that are used up.
    pub full: Vec<String>,
}

/// Asks both for their versions; an API server that does not answer is told with the cause.
pub fn versions(kubectl: &Command) -> Result<Versions, Failure> {
    let version = kubectl.clone().args(["version", "--output", "json"]);
    let text = version
        .deadline(ANSWER)
        .read()
        .map_err(|error| unanswered(kubectl, error, ANSWER))?;
    let answer: Value = serde_json::from_str(&text).map_err(Failure::setup)?;
    let of = |side: &str| {
        let version = answer[side]["gitVersion"].as_str();
        version.unwrap_or("of unknown version").to_owned()
    };
    Ok(Versions {
        client: of("clientVersion"),
        server: of("serverVersion"),
    })
}

/// The failure of a question that an API server did not answer.
pub fn unanswered(kubectl: &Command, error: Error, deadline: Duration) -> Failure {
    match error {
        Error::Failed { tail, .. } => refused(&tail),
        Error::TimedOut { .. } => refused(&format!("timed out after {} s", deadline.as_secs())),
        error => error.into_failure(Exit::Preflight, kubectl.cancel()),
    }
}

/// The failure that kubectl's words mean.
fn refused(told: &str) -> Failure {
    // What discovery retries is said five times; the last line is the outcome, but for hints of plugins.
    let lines: Vec<&str> = told
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.contains("memcache.go"))
        .collect();
    let is_outcome = |line: &&&str| {
        line.starts_with("Unable")
            || line.starts_with("The connection")
            || line.starts_with("error")
    };
    let said = lines.iter().find(is_outcome).or(lines.last());
    let said = said.copied().unwrap_or("kubectl said nothing");
    let cause = CAUSES
        .iter()
        .find(|(words, ..)| words.iter().any(|word| said.contains(word)));
    let (what, next) = match cause {
        Some((_, what, next)) => (*what, *next),
        None => (
            "it does not answer",
            "ask it by hand: kubectl --context NAME version",
        ),
    };
    Failure::new(Exit::Preflight, format!("{what}: {said}")).hint(next)
}

/// How a namespace that is given stands; what this user may not see of it is left out.
pub fn namespace(kubectl: &Command, name: &str) -> Result<Namespace, Failure> {
    let get = |what: &[&str]| {
        let get = kubectl.clone().arg("get").args(what);
        get.args(["--output", "json"]).deadline(ANSWER).read()
    };
    let mut found = Namespace::default();
    match get(&["namespace", name]) {
        Ok(text) => {
            let object: Value = serde_json::from_str(&text).map_err(Failure::setup)?;
            if object["status"]["phase"] == "Terminating" {
                let what = format!("the namespace {name} is being removed");
                return Err(Failure::new(Exit::Preflight, what).hint(
                    "give another, or wait until it is gone: its conditions say what holds it",
                ));
            }
            let label = &object["metadata"]["labels"]["pod-security.kubernetes.io/enforce"];
            label
                .as_str()
                .unwrap_or_default()
                .clone_into(&mut found.enforces);
        }
        Err(Error::Failed { tail, .. }) if tail.contains("NotFound") => {
            let what = format!("there is no namespace {name}");
            return Err(Failure::new(Exit::Preflight, what).hint(format!(
                "give one that is there, or let an administrator make it: kubectl create namespace {name}"
            )));
        }
        Err(Error::Failed { tail, .. }) if tail.contains("orbidden") => {}
        Err(error) => return Err(unanswered(kubectl, error, ANSWER)),
    }
    let bounds = get(&["resourcequotas,limitranges", "--namespace", name]);
    let bounds = bounds.unwrap_or_default();
    let bounds: Value = serde_json::from_str(&bounds).unwrap_or_default();
    for object in bounds["items"].as_array().into_iter().flatten() {
        bounded(object, &mut found);
    }
    Ok(found)
}

fn bounded(object: &Value, found: &mut Namespace) {
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or("0").to_owned();
    if object["kind"] == "LimitRange" {
        for limit in object["spec"]["limits"].as_array().into_iter().flatten() {
            let said = limit.as_object().into_iter().flatten();
            let said = said.filter(|(field, _)| *field != "type");
            let said: Vec<_> = said
                .map(|(field, value)| format!("{field} {value}"))
                .collect();
            let kind = text(&limit["type"]);
            found
                .bounds
                .push(format!("limits {name} of a {kind}: {}", said.join(", ")));
        }
        return;
    }
    let status = &object["status"];
    let mut of_quota = Vec::new();
    for (resource, hard) in status["hard"].as_object().into_iter().flatten() {
        let (used, hard) = (text(&status["used"][resource]), text(hard));
        if quantity(&used) >= quantity(&hard) && quantity(&hard).is_some() {
            found.full.push(format!(
                "{resource} of the quota {name}: {used} of {hard} used"
            ));
        }
        of_quota.push(format!("{resource} {used}/{hard}"));
    }
    found
        .bounds
        .push(format!("quota {name}: {}", of_quota.join(", ")));
}

/// A quantity in thousandths (Kubernetes, "Quantity").
fn quantity(text: &str) -> Option<u128> {
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, suffix) = text.split_at(digits);
    let number: u128 = number.parse().ok()?;
    let (base, power) = match suffix {
        "m" => return Some(number),
        "" => (1000, 0),
        "k" => (1000, 1),
        "M" => (1000, 2),
        "G" => (1000, 3),
        "T" => (1000, 4),
        "Ki" => (1024, 1),
        "Mi" => (1024, 2),
        "Gi" => (1024, 3),
        "Ti" => (1024, 4),
        _ => return None,
    };
    u128::pow(base, power)
        .checked_mul(number)?
        .checked_mul(1000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_kubectl_says_becomes_a_cause_and_a_next_move() {
        for (said, cause) in [
            (
                "E1128 memcache.go:265] couldn't get\nThe connection to the server 127.0.0.1:1 was refused - did you",
                "nothing listens there: The connection",
            ),
            (
                "Unable to connect to the server: dial tcp: lookup x on 1.1.1.1:53: no such host",
                "its name is not known",
            ),
            (
                "Unable to connect to the server: tls: failed to verify certificate: x509: certificate signed by unknown authority",
                "its certificate is not trusted",
            ),
            (
                "error: You must be logged in to the server (the server has asked for the client to provide credentials)",
                "(401)",
            ),
            (
                "Unable to connect to the server: net/http: TLS handshake timeout",
                "in time",
            ),
            ("timed out after 20 s", "in time"),
            (
                "Unable to connect to the server: getting credentials: exec: executable x not found\nIt looks like\nhint",
                "the program by which",
            ),
            ("", "kubectl said nothing"),
        ] {
            let failure = refused(said);
            assert!(failure.summary.contains(cause), "{said}: {failure}");
            assert!(failure.hint.is_some(), "{failure}");
        }
    }

    #[test]
    fn a_quota_shows_what_is_used_and_which_of_it_is_full() {
        let mut found = Namespace::default();
        let quota = json!({"kind": "ResourceQuota", "metadata": {"name": "q"}, "status": {
            "hard": {"pods": "10", "requests.cpu": "2", "requests.memory": "1Gi"},
            "used": {"pods": "10", "requests.cpu": "1999m", "requests.memory": "1024Mi"}}});
        let limits = json!({"kind": "LimitRange", "metadata": {"name": "l"}, "spec": {"limits": [{"type": "Container", "max": {"cpu": "1"}}]}});
        bounded(&quota, &mut found);
        bounded(&limits, &mut found);
        assert_eq!(
            found.full,
            [
                "pods of the quota q: 10 of 10 used",
                "requests.memory of the quota q: 1024Mi of 1Gi used"
            ]
        );
        assert_eq!(
            found.bounds,
            [
                "quota q: pods 10/10, requests.cpu 1999m/2, requests.memory 1024Mi/1Gi",
                "limits l of a Container: max {\"cpu\":\"1\"}"
            ]
        );
    }
}
