//! When a part in a cluster is ready: by what its table says, else by every workload that it applied.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::exit::Failure;
use crate::run::kubernetes::access::kubectl;
use crate::run::kubernetes::pods::await_earlier_gone;
use crate::run::part_run::PartRun;
use crate::run::session::Session;
use crate::run::wait;
use crate::state::Applied;
use crate::table::part::Ready;
use crate::tools::kubectl::Kubectl;
use crate::tools::kubectl::pods::{Expected, Strictness};

/// How long one look may take.
const LOOK: Duration = Duration::from_secs(20);

/// Waits until what a part applied last is ready, nothing that it was before runs any more, and what it publishes keeps a connection.
pub fn await_ready(
    session: &Session,
    part_run: &PartRun,
    deadline: Duration,
) -> Result<String, Failure> {
    let level = part_run.level();
    let began = Instant::now();
    // One deadline for all of it.
    let left = || deadline.saturating_sub(began.elapsed());
    let applied = session.run.state().applied.remove(&level.key());
    let workloads: Vec<Applied> = applied
        .into_iter()
        .flatten()
        .filter(|object| !object.pods.is_empty())
        .collect();
    let awaited = awaited(part_run, &workloads);
    // Once, where the table does not say: what it needs may come a moment after it.
    let strictness = Strictness::Restarts(part_run.part.restarts.unwrap_or(1));
    // What its pods may need before they start comes first.
    for ready in &part_run.part.ready {
        if matches!(ready, Ready::Secret(_) | Ready::Crd(_)) {
            await_one(session, part_run, ready, left())?;
        }
    }
    for Awaited {
        namespace,
        selector,
        count,
        ..
    } in &awaited
    {
        let expected = Expected {
            label: selector,
            count: *count,
            strictness,
            room: session.guest.as_ref().map(|guest| guest.wait_for_room),
        };
        kubectl(session, namespace).await_ready(
            &expected,
            left(),
            |_| {},
            |text| session.report.note(text),
            || Ok(false),
        )?;
    }
    for Awaited {
        namespace,
        deployment,
        ..
    } in &awaited
    {
        if let Some(name) = deployment {
            kubectl(session, namespace).await_rollout(&format!("deployment/{name}"), left())?;
        }
    }
    await_earlier_gone(session, level, left())?;
    wait::for_published(session, part_run, None, deadline)?;
    for ready in &part_run.part.ready {
        if !matches!(ready, Ready::Secret(_) | Ready::Crd(_)) {
            await_one(session, part_run, ready, left())?;
        }
    }
    let address = part_run.first_address();
    Ok(address.unwrap_or("it publishes no port").to_owned())
}

/// Waits for one of the things by which the table knows that a part is ready; pods are waited for before.
fn await_one(
    session: &Session,
    part_run: &PartRun,
    ready: &Ready,
    deadline: Duration,
) -> Result<(), Failure> {
    let own = kubectl(session, &part_run.namespace);
    let named = |text: &str| session.text(part_run, text);
    match ready {
        Ready::Pods(_) => Ok(()),
        Ready::Crd(crd) => {
            let name = named(&crd.crd)?;
            let what = format!("the definition {name} was not served");
            wait::poll(session, &what, deadline, || is_served(&own, &name))
        }
        Ready::Rollout(rollout) => {
            let namespace = rollout.namespace.as_ref().unwrap_or(&part_run.namespace);
            kubectl(session, &named(namespace)?).await_rollout(&named(&rollout.rollout)?, deadline)
        }
        Ready::Webhook(webhook) => {
            let name = session.wide_name(&named(&webhook.webhook)?);
            let what = format!("the webhook {name} did not answer");
            wait::poll(session, &what, deadline, || {
                answers(&own, &name, &mut |service| {
                    is_certified(session, part_run, service)
                })
            })
        }
        Ready::Secret(secret) => {
            let secret = named(&secret.secret)?;
            let (namespace, name) = secret
                .split_once('/')
                .unwrap_or((&part_run.namespace, &secret));
            let kubectl = kubectl(session, namespace);
            let what = format!("the Secret {name} in {namespace} was not made");
            let get = ["get", "secret", name, "--output", "name"];
            wait::poll(session, &what, deadline, || ask(&kubectl, &get).map(drop))
        }
        Ready::Http(_) | Ready::Tcp(_) | Ready::Run(_) => {
            wait::for_ready(session, part_run, ready, deadline)
        }
    }
}

fn ask(kubectl: &Kubectl, args: &[&str]) -> Result<String, String> {
    let answer = kubectl.command().args(args).deadline(LOOK).read();
    answer.map_err(|error| error.to_string())
}

fn is_served(kubectl: &Kubectl, crd: &str) -> Result<(), String> {
    let established = "jsonpath={.status.conditions[?(@.type=='Established')].status}";
    match ask(kubectl, &["get", "crd", crd, "--output", established])?.trim() {
        "True" => Ok(()),
        other => Err(format!("its condition Established is {other:?}")),
    }
}

/// Whether the services behind an admission webhook's configuration answer, and have been given the authority to trust.
///
/// The API server's proxy, through which they are asked, verifies no certificate: `certified` is asked for the name that it will be
/// verified for, where the authority is the run's own.
fn answers(
    kubectl: &Kubectl,
    named: &str,
    certified: &mut dyn FnMut(&str) -> Result<(), String>,
) -> Result<(), String> {
    let (kind, name) = named.split_once('/').unwrap_or(("validating", named));
    let kind = format!("{kind}webhookconfiguration");
    let text = ask(kubectl, &["get", &kind, name, "--output", "json"])?;
    let configuration: Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
    let webhooks = configuration["webhooks"].as_array();
    for webhook in webhooks.into_iter().flatten() {
        let client = &webhook["clientConfig"];
        let name = webhook["name"].as_str().unwrap_or_default();
        let service = &client["service"];
        let (Some(namespace), Some(service_name)) =
            (service["namespace"].as_str(), service["name"].as_str())
        else {
            continue;
        };
        if client["caBundle"].as_str().is_none_or(str::is_empty) {
            return Err(format!("{name} has no caBundle yet"));
        }
        certified(&format!("{service_name}.{namespace}.svc"))?;
        let port = service["port"].as_u64().unwrap_or(443);
        let path = service["path"].as_str().unwrap_or("/");
        let proxy = format!(
            "/api/v1/namespaces/{namespace}/services/https:{service_name}:{port}/proxy{path}"
        );
        if let Err(said) = ask(kubectl, &["get", "--raw", &proxy])
            && is_nobody(&said)
        {
            return Err(format!("{name}: {said}"));
        }
    }
    Ok(())
}

/// Whether one of a part's certificates is for a name; a part without any has them from elsewhere.
fn is_certified(session: &Session, part_run: &PartRun, name: &str) -> Result<(), String> {
    let certificates = &part_run.part.certificates;
    let hosts = certificates
        .iter()
        .flat_map(|certificate| &certificate.hosts);
    let hosts: Vec<String> = hosts
        .filter_map(|host| session.text(part_run, host).ok())
        .collect();
    if certificates.is_empty() || hosts.iter().any(|host| host == name) {
        return Ok(());
    }
    let hosts = hosts.join(", ");
    Err(format!(
        "none of the part's `certificates` is for {name}, which the API server asks for: they are for {hosts}"
    ))
}

/// Whether the API server says that nobody was there; any other refusal is an answer of the webhook itself.
fn is_nobody(said: &str) -> bool {
    const NOBODY: [&str; 8] = [
        "no endpoints available",
        "no service port",
        "error trying to reach service",
        "connection refused",
        "dial tcp",
        "timeout",
        "not found",
        "timed out",
    ];
    let said = said.to_lowercase();
    NOBODY.iter().any(|word| said.contains(word))
}

/// Pods to wait for.
#[derive(Debug, PartialEq, Eq)]
struct Awaited {
    namespace: String,
    selector: String,
    /// How many there must be at least.
    count: u16,
    /// The deployment that makes them, which knows how many there should be.
    deployment: Option<String>,
}

/// The pods that the table names, else those of every workload that was applied. Of pods that such a workload makes only the newest count.
fn awaited(part_run: &PartRun, workloads: &[Applied]) -> Vec<Awaited> {
    let of_workload = |workload: &Applied| Awaited {
        namespace: workload.namespace.clone().unwrap_or_default(),
        selector: selector(&workload.pods),
        count: workload.count,
        deployment: (workload.kind == "Deployment").then(|| workload.name.clone()),
    };
    let labels = labels(part_run);
    if labels.is_empty() {
        return workloads.iter().map(of_workload).collect();
    }
    let mut awaited = Vec::new();
    for named in labels {
        let (namespace, label) = in_namespace(named, &part_run.namespace);
        let makes_them = |workload: &&Applied| {
            workload.namespace.as_deref() == Some(namespace)
                && label.split(',').all(|term| {
                    let term = term.split_once('=');
                    term.is_some_and(|(name, value)| {
                        workload.pods.get(name.trim()).map(String::as_str) == Some(value.trim())
                    })
                })
        };
        let made: Vec<_> = workloads
            .iter()
            .filter(makes_them)
            .map(of_workload)
            .collect();
        if made.is_empty() {
            // Of an operator, say, which makes its pods itself.
            awaited.push(Awaited {
                namespace: namespace.to_owned(),
                selector: label.to_owned(),
                count: 1,
                deployment: None,
            });
        }
        awaited.extend(made);
    }
    awaited
}

/// The labels by which the table names pods.
fn labels(part_run: &PartRun) -> Vec<&str> {
    let ready = part_run.part.ready.iter();
    ready
        .filter_map(|ready| match ready {
            Ready::Pods(label) => Some(label.as_str()),
            _ => None,
        })
        .collect()
}

/// `NAMESPACE/LABEL`, or a label alone. The prefix of a label's own name has a dot (it is a DNS subdomain), a namespace has none.
fn in_namespace<'a>(named: &'a str, own: &'a str) -> (&'a str, &'a str) {
    match named.split_once('/') {
        Some((namespace, label)) if !namespace.contains(['.', '=']) => (namespace, label),
        _ => (own, named),
    }
}

fn selector(labels: &BTreeMap<String, String>) -> String {
    let terms = labels.iter().map(|(name, value)| format!("{name}={value}"));
    terms.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_may_name_its_namespace() {
        assert_eq!(in_namespace("app=w", "own"), ("own", "app=w"));
        assert_eq!(
            in_namespace("tekton-pipelines/app=webhook", "own"),
            ("tekton-pipelines", "app=webhook")
        );
        let named = "app.kubernetes.io/name=w";
        assert_eq!(in_namespace(named, "own"), ("own", named));
        assert_eq!(
            in_namespace("other/app.kubernetes.io/name=w", "own"),
            ("other", named)
        );
    }

    #[test]
    fn a_webhook_that_refuses_a_request_is_there() {
        for said in [
            "no endpoints available for service \"https:w:443\"",
            "error trying to reach service: dial tcp 10.0.0.1:9443: connect: connection refused",
            "services \"w\" not found",
            "no service port 8081 found for service \"w\"",
        ] {
            assert!(is_nobody(said), "{said}");
        }
        assert!(!is_nobody(
            "the server rejected our request for an unknown reason"
        ));
    }
}
