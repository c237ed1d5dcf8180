//! Objects applied with the labels of their run, unless an earlier run has applied the very same.

use serde_json::Value;

use crate::exit::Failure;
use crate::fingerprint::fingerprint;
use crate::run::kind::access::kubectl;
use crate::run::kind::manifests::{self, Manifest};
use crate::run::reuse::Level;
use crate::run::service_run::Tenant;
use crate::run::session::Session;

/// The label by which pods tell what they were made from.
pub const MADE_FROM: &str = "kubernaut.io/e2e-made-from";

/// The objects of a namespace.
pub fn namespace(name: &str) -> Result<Vec<Value>, Failure> {
    Ok(Manifest::parse(manifests::NAMESPACE)?
        .set("Namespace", "/metadata/name", name)
        .objects())
}

/// Whose an object is and until when (D14), as label values: letters, digits, dashes.
fn labels(session: &Session) -> [(&'static str, String); 3] {
    let state = session.run.state();
    let owner = state
        .owner
        .map_or_else(String::new, |owner| owner.pid.to_string());
    [
        ("kubernaut.io/e2e-run", state.run),
        ("kubernaut.io/e2e-owner", owner),
        (
            "kubernaut.io/e2e-expires",
            state.expires.as_second().to_string(),
        ),
    ]
}

/// What objects are, as their pods' label tells it.
pub fn content(objects: &[Value]) -> String {
    let objects = Value::from(objects.to_vec()).to_string();
    fingerprint(&[MADE_FROM, &objects])[..32].to_owned()
}

/// Applies objects unless an earlier run has applied the very same; says which. What others need to exist comes first: namespaces,
/// then the definitions of custom resources.
pub fn ensure(
    session: &Session,
    namespace: &str,
    (level, whose): (Level, Option<&Tenant>),
    objects: &[Value],
) -> Result<&'static str, Failure> {
    let made_from = content(objects);
    if session.is_made_from(level, whose, &made_from) {
        return Ok(" is used again: same objects");
    }
    let why = session.why_made(level, whose);
    let mut objects = objects.to_vec();
    manifests::label(&mut objects, &labels(session));
    manifests::label_pods(&mut objects, MADE_FROM, &made_from);
    let kubectl = kubectl(session, namespace);
    let (definitions, mut rest): (Vec<_>, Vec<_>) = objects
        .into_iter()
        .partition(|object| object["kind"] == "CustomResourceDefinition");
    if !definitions.is_empty() {
        kubectl.apply(&definitions)?;
        kubectl.await_definitions(&definitions)?;
    }
    rest.sort_by_key(|object| object["kind"] != "Namespace");
    if !rest.is_empty() {
        kubectl.apply(&rest)?;
    }
    session.made_from(level, whose, &made_from)?;
    Ok(why)
}
