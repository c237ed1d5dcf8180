//! Objects applied with the labels of their run, unless an earlier run has applied the very same.

use std::time::Duration;

use serde_json::Value;

use crate::exit::{Exit, Failure};
use crate::fingerprint::fingerprint;
use crate::run::kubernetes::access::kubectl;
use crate::run::kubernetes::manifests;
use crate::run::kubernetes::site::Site;
use crate::run::layer::{Layer, Level};
use crate::run::plan::Target;
use crate::run::session::Session;
use crate::state::{Applied, Owner, State};
use crate::tools::kubectl::{Kubectl, QUOTA_FULL};
use crate::wait::{Look, Wait};

/// The label of the run.
pub const RUN: &str = "kubernaut.io/e2e-run";
/// The label of who answers for it.
pub const OWNER: &str = "kubernaut.io/e2e-owner";
/// The label of when anybody may remove it, in seconds since 1970.
pub const EXPIRES: &str = "kubernaut.io/e2e-expires";
/// The label by which pods tell what they were made from.
pub const MADE_FROM: &str = "kubernaut.io/e2e-made-from";
/// The label by which pods tell which layer of the run they belong to.
const PART: &str = "kubernaut.io/e2e-part";

/// Between two attempts to find room.
const ROOM: Duration = Duration::from_secs(2);

/// The selector of a layer's pods that were made from anything else than what was applied last.
pub fn earlier_pods(session: &Session, level: Level<'_>) -> String {
    let made_from = session.fingerprint(level);
    format!("{PART}={},{MADE_FROM}!={made_from}", part(level))
}

/// The selector of a layer's pods.
pub fn pods_of(level: Level<'_>) -> String {
    format!("{PART}={}", part(level))
}

/// A layer's name as the value of a label, which has no slash.
fn part(level: Level<'_>) -> String {
    level.key().replace('/', ".")
}

/// The objects of a namespace.
pub fn namespace(name: &str) -> Result<Vec<Value>, Failure> {
    let value = |asked: &str| (asked == "NAMESPACE").then(|| name.to_owned());
    manifests::read(
        manifests::NAMESPACE,
        "kind/manifests/namespace.yaml",
        &value,
    )
}

/// Whose an object is and until when (D14), as label values: letters, digits, dashes.
pub fn labels(session: &Session) -> [(&'static str, String); 3] {
    let state = session.run.state();
    let owner = match (session.place, state.owner) {
        // A process id says nothing to whoever else uses the cluster.
        (Target::Cluster, _) => Owner::label(),
        (_, owner) => owner.map_or_else(String::new, |owner| owner.pid.to_string()),
    };
    [
        (RUN, state.run),
        (OWNER, owner),
        (EXPIRES, state.expires.as_second().to_string()),
    ]
}

/// What objects are, as their pods' label tells it.
pub fn content(objects: &[Value]) -> String {
    let objects = Value::from(objects.to_vec()).to_string();
    fingerprint(&[MADE_FROM, &objects])[..32].to_owned()
}

/// Applies objects unless an earlier run has applied the very same and nobody has touched them since; says which. What others need to
/// exist comes first: namespaces, then the definitions of custom resources. What this layer applied before and is not among them any
/// more is removed.
pub fn ensure(
    session: &Session,
    site: &dyn Site,
    namespace: &str,
    level: Level<'_>,
    objects: &[Value],
) -> Result<&'static str, Failure> {
    let mut objects = objects.to_vec();
    site.fit(
        session,
        level.whose.unwrap_or(level.layer.word()),
        &mut objects,
    )?;
    let made_from = content(&objects);
    let key = level.key();
    let kubectl = kubectl(session, namespace);
    let before = session.run.state().applied.remove(&key).unwrap_or_default();
    let same = session.fingerprint_matches(level, &made_from);
    let touched = kubectl.touched(before.clone());
    if same && touched.changed.is_empty() && !touched.missing {
        return Ok(" is used again: same objects");
    }
    // Applying leaves alone what the manifests do not say, such as the number of pods: what was changed is made anew.
    let anew: Vec<_> = touched
        .changed
        .into_iter()
        .filter(Applied::is_built_in)
        .collect();
    kubectl.delete(&anew)?;
    let why = if same {
        ", put back: changed or deleted since it was applied"
    } else {
        session.rebuild_reason(level)
    };
    site.claim(session, namespace, &mut objects)?;
    manifests::label(&mut objects, &labels(session));
    manifests::label_pods(&mut objects, MADE_FROM, &made_from);
    manifests::label_pods(&mut objects, PART, &part(level));
    let (definitions, mut rest): (Vec<_>, Vec<_>) = objects
        .into_iter()
        .partition(|object| object["kind"] == "CustomResourceDefinition");
    let mut applied = Vec::new();
    if !definitions.is_empty() {
        applied = when_there_is_room(session, &kubectl, &definitions)?;
        kubectl.await_definitions(&definitions)?;
    }
    rest.sort_by_key(|object| object["kind"] != "Namespace");
    if !rest.is_empty() {
        applied.extend(when_there_is_room(session, &kubectl, &rest)?);
    }
    // What another layer applied too, such as a namespace, stays.
    let mut state = session.run.state();
    state.applied.insert(key.clone(), applied.clone());
    let wanted: Vec<Applied> = state.applied.into_values().flatten().collect();
    let is_wanted = |one: &Applied| wanted.iter().any(|other| other.is(one));
    let gone: Vec<Applied> = before.into_iter().filter(|one| !is_wanted(one)).collect();
    kubectl.delete(&gone)?;
    let record = |state: &mut State| drop(state.applied.insert(key, applied));
    session.run.update(record).map_err(Failure::setup)?;
    session.record_fingerprint(level, &made_from)?;
    // Its database is emptied for each run: nothing that it could still write is wanted. Replicas hand over, and coverage is written at
    // the end.
    let hands_over = wanted.iter().any(|one| one.kind == "StatefulSet");
    if session.place == Target::Kind
        && level.layer == Layer::DataStorage
        && !session.coverage
        && !hands_over
    {
        kubectl.shorten_end(&earlier_pods(session, level));
    }
    Ok(why)
}

/// Applies objects; one that a quota of a cluster that others use too refuses is waited for, as its pods are.
fn when_there_is_room(
    session: &Session,
    kubectl: &Kubectl,
    objects: &[Value],
) -> Result<Vec<Applied>, Failure> {
    let longest = session.guest.as_ref().map(|guest| guest.wait_for_room);
    let mut told = false;
    let wait = Wait {
        what: "a quota had no room",
        deadline: longest.unwrap_or_default(),
        interval: ROOM,
    };
    wait.until(session.runner.cancel(), || {
        let failure = match kubectl.apply(objects) {
            Ok(applied) => return Ok(Look::Ready(applied)),
            Err(failure) => failure,
        };
        let told_by_server = failure.to_string();
        let full = told_by_server.lines().find(|line| line.contains(QUOTA_FULL));
        let Some(full) = full.filter(|_| longest.is_some()) else {
            return Err(failure);
        };
        let full = full.trim();
        if !told {
            session.report.note(&format!("waits for room: {full}"));
            told = true;
        }
        Ok(Look::NotYet(full.to_owned()))
    })
    .map_err(|failure| match failure.exit {
        Exit::Deadline => failure.hint(
            "free what the quota counts, raise it, or wait longer: `wait_for_room_seconds` of the cluster's entry",
        ),
        _ => failure,
    })
}
