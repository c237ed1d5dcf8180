//! Objects of a whole cluster, such as definitions of custom resources, that a run makes in a cluster that others use too: what was there
//! before stays as it is; what a run has made goes with the last run that uses it.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::exit::Failure;
use crate::process::Error;
use crate::run::kubernetes::apply::RUN;
use crate::tools::kubectl::Kubectl;

/// The beginning of the label of each run that uses such an object; its value is when that run is over, in seconds since 1970.
const USED_BY: &str = "e2e-used-by.kubernaut.io/";

/// What is to be done with an object that a run's manifests have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// It is not there, or a run has made it: it is applied, and this run is one of its users.
    Apply,
    /// It was there before any run: it is left as it is.
    Leave,
}

/// Looks what an object is, and what is to be done with it.
pub fn claim(kubectl: &Kubectl, kind: &str, name: &str) -> Result<Claim, Failure> {
    let there = kubectl.named(kind, &[name])?;
    Ok(match there.first() {
        Some(object) if object["metadata"]["labels"][RUN].is_null() => Claim::Leave,
        _ => Claim::Apply,
    })
}

/// Labels an object with the run that uses it.
pub fn label(object: &mut Value, run: &str, expires: Timestamp) {
    let name = format!("{USED_BY}{run}");
    object["metadata"]["labels"][name] = json!(expires.as_second().to_string());
}

/// Removes an object once no other run uses it; else only takes the run's own label from it.
pub fn release(kubectl: &Kubectl, run: &str, kind: &str, name: &str) -> Result<(), String> {
    let text = |error: Error| error.to_string();
    let there = kubectl.named(kind, &[name]);
    let there = there.map_err(|failure| failure.to_string())?;
    let Some(object) = there.first() else {
        return Ok(());
    };
    let args: Vec<String> = match verdict(object, run, Timestamp::now().as_second()) {
        Verdict::NotOurs => return Ok(()),
        Verdict::Remove => ["delete", kind, name, "--ignore-not-found", "--timeout=60s"]
            .map(str::to_owned)
            .into(),
        // As long as others use it, whose it was to begin with makes no difference.
        Verdict::HandOver => {
            let gone = format!("{USED_BY}{run}-");
            ["label", kind, name, &gone].map(str::to_owned).into()
        }
    };
    kubectl
        .read(&kubectl.command().args(args))
        .map(drop)
        .map_err(text)
}

/// The run and the name of an object of which every user is over; none of one that somebody uses, or that no run has made.
pub fn over(object: &Value, now: i64) -> Option<(String, String)> {
    let run = object["metadata"]["labels"][RUN].as_str()?;
    let users = users(object);
    let lives = users.iter().any(|(_, expires)| *expires >= now);
    let name = object["metadata"]["name"].as_str()?;
    (!users.is_empty() && !lives).then(|| (run.to_owned(), name.to_owned()))
}

/// The runs that use an object, each with when it is over.
fn users(object: &Value) -> Vec<(String, i64)> {
    let labels = object["metadata"]["labels"].as_object();
    let users = labels.into_iter().flatten().filter_map(|(name, expires)| {
        let user = name.strip_prefix(USED_BY)?.to_owned();
        Some((user, expires.as_str()?.parse().ok()?))
    });
    users.collect()
}

#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    NotOurs,
    Remove,
    HandOver,
}

fn verdict(object: &Value, run: &str, now: i64) -> Verdict {
    let users = users(object);
    if !users.iter().any(|(user, _)| *user == run) {
        return Verdict::NotOurs;
    }
    let mut others = users.iter().filter(|(user, _)| *user != run);
    if others.any(|(_, expires)| *expires >= now) {
        Verdict::HandOver
    } else {
        Verdict::Remove
    }
}

/// A kind as kubectl takes it for certain: in lower case, with version and group.
pub fn resource(api_version: &str, kind: &str) -> String {
    let kind = kind.to_lowercase();
    match api_version.split_once('/') {
        Some((group, version)) => format!("{kind}.{version}.{group}"),
        None => kind,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_run_made_goes_with_the_last_run_that_uses_it() {
        let mut object =
            json!({"metadata": {"name": "widgets.example.io", "labels": {RUN: "one"}}});
        assert_eq!(verdict(&object, "one", 50), Verdict::NotOurs);
        let at = |second| Timestamp::from_second(second).unwrap();
        label(&mut object, "one", at(100));
        assert_eq!(verdict(&object, "one", 50), Verdict::Remove);
        label(&mut object, "two", at(100));
        assert_eq!(verdict(&object, "one", 50), Verdict::HandOver);
        assert_eq!(verdict(&object, "two", 50), Verdict::HandOver);
        assert_eq!(
            verdict(&object, "two", 101),
            Verdict::Remove,
            "the other is over"
        );
        assert_eq!(over(&object, 50), None);
        let gone = ("one".to_owned(), "widgets.example.io".to_owned());
        assert_eq!(over(&object, 101), Some(gone));
    }

    #[test]
    fn a_kind_is_named_so_that_no_other_group_has_it() {
        assert_eq!(resource("apps/v1", "Deployment"), "deployment.v1.apps");
        assert_eq!(resource("v1", "Secret"), "secret");
    }
}
