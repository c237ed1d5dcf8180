//! Asks the API server what this user may do, before anything is made (Kubernetes, "Authorization", `SelfSubjectAccessReview`).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::{Value, json};

use crate::exit::{Exit, Failure};
use crate::guest::rights::{Right, Scope};
use crate::guest::server;
use crate::process::Command;

/// How long all answers together may take.
const ANSWERS: Duration = Duration::from_mins(1);

/// Which of the rights this user does not have. `kubectl` is one that reaches the cluster; a single one asks for all of them.
pub fn missing(kubectl: &Command, rights: &BTreeSet<Right>) -> Result<Vec<Right>, Failure> {
    let rights: Vec<&Right> = rights.iter().collect();
    if rights.is_empty() {
        return Ok(Vec::new());
    }
    let create = [
        "create",
        "--validate=false",
        "--filename",
        "-",
        "--output",
        "json",
    ];
    let asked = kubectl.clone().args(create).stdin(questions(&rights));
    let answers = asked
        .deadline(ANSWERS)
        .read()
        .map_err(|error| server::unanswered(kubectl, error, ANSWERS))?;
    denied(&rights, &answers)
}

/// The name by which the API server knows this user, where it tells.
pub fn who(kubectl: &Command) -> Option<String> {
    let whoami = kubectl.clone().args(["auth", "whoami", "--output", "json"]);
    let text = whoami.deadline(server::ANSWER).read().ok()?;
    let answer: Value = serde_json::from_str(&text).ok()?;
    let name = answer["status"]["userInfo"]["username"].as_str()?;
    Some(name.to_owned())
}

fn questions(rights: &[&Right]) -> Vec<u8> {
    let reviews = rights.iter().map(|right| {
        json!({
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": attributes(right)},
        })
    });
    let list = json!({"apiVersion": "v1", "kind": "List", "items": reviews.collect::<Vec<_>>()});
    list.to_string().into_bytes()
}

fn attributes(right: &Right) -> Value {
    let mut attributes = json!({"verb": right.verb});
    let (resource, part) = right
        .resource
        .split_once('/')
        .unwrap_or((&right.resource, ""));
    let namespace = match &right.scope {
        Scope::Namespace(name) => name,
        Scope::Cluster | Scope::EveryNamespace => "",
    };
    for (name, value) in [
        ("group", &*right.group),
        ("resource", resource),
        ("subresource", part),
        ("namespace", namespace),
    ] {
        // The answer repeats the question without what is empty.
        if !value.is_empty() {
            attributes[name] = value.into();
        }
    }
    attributes
}

/// The rights whose review says no. One that is not answered at all is an error: it would read as given.
fn denied(rights: &[&Right], answers: &str) -> Result<Vec<Right>, Failure> {
    let mut said = BTreeMap::new();
    let mut keep = |review: &Value| {
        if let Some(allowed) = review["status"]["allowed"].as_bool() {
            let question = &review["spec"]["resourceAttributes"];
            said.insert(question.to_string(), allowed);
        }
    };
    for answer in serde_json::Deserializer::from_str(answers).into_iter::<Value>() {
        let answer = answer.map_err(|error| unclear(&error.to_string()))?;
        match answer["items"].as_array() {
            Some(reviews) => reviews.iter().for_each(&mut keep),
            None => keep(&answer),
        }
    }
    let mut denied = Vec::new();
    for right in rights {
        match said.get(&attributes(right).to_string()) {
            Some(true) => {}
            Some(false) => denied.push((*right).clone()),
            None => return Err(unclear(&format!("it does not say whether you may {right}"))),
        }
    }
    Ok(denied)
}

fn unclear(why: &str) -> Failure {
    let what = format!("the API server's answer about your rights is not understood: {why}");
    Failure::new(Exit::Preflight, what).hint(
        "look at what `kubectl auth can-i --list` says, and use a kubectl of the cluster's version",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn right(verb: &'static str, resource: &str, scope: Scope) -> Right {
        Right {
            scope,
            group: String::new(),
            resource: resource.to_owned(),
            verb,
        }
    }

    fn answer(right: &Right, allowed: bool) -> String {
        json!({"spec": {"resourceAttributes": attributes(right)}, "status": {"allowed": allowed}})
            .to_string()
    }

    #[test]
    fn only_what_is_denied_is_missing_and_no_answer_is_no_right() {
        let given = right("get", "pods/log", Scope::Namespace("a".to_owned()));
        let denied_one = right("create", "namespaces", Scope::Cluster);
        let asked = [&given, &denied_one];
        let answers = [answer(&given, true), answer(&denied_one, false)].concat();
        assert_eq!(
            denied(&asked, &answers).expect("answers"),
            std::slice::from_ref(&denied_one)
        );
        let told = denied(&asked, &answer(&given, true)).expect_err("one is not answered");
        assert!(
            told.summary.contains("whether you may create namespaces"),
            "{told}"
        );
        let list = format!(
            "{{\"items\":[{},{}]}}",
            answer(&given, true),
            answer(&denied_one, true)
        );
        assert!(denied(&asked, &list).expect("answers").is_empty());
    }
}
