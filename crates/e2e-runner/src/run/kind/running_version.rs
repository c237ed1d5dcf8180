//! The version of Kubernetes that a cluster runs, where one was asked for: what the node says counts, not what its image is called.

use crate::exit::Failure;
use crate::run::kubernetes::access::{home, kubectl};
use crate::run::session::Session;

/// Fails where the API server or a kubelet is of another version than was asked for; else in words what runs.
pub fn check(session: &Session) -> Result<String, Failure> {
    let Some(node) = &session.kubernetes else {
        return Ok(String::new());
    };
    let kubectl = kubectl(session, home(session));
    let server = kubectl.json("/version")?;
    let server = server["gitVersion"].as_str().unwrap_or("of no version");
    node.check("the API server", server)?;
    let nodes = kubectl.json("/api/v1/nodes")?;
    let nodes = nodes["items"].as_array().map_or(&[][..], Vec::as_slice);
    if nodes.is_empty() {
        return Err(Failure::setup(
            "no node has registered, so the version of its kubelet is not known",
        ));
    }
    for item in nodes {
        let kubelet = item["status"]["nodeInfo"]["kubeletVersion"].as_str();
        node.check("the kubelet", kubelet.unwrap_or("of no version"))?;
    }
    Ok(format!(", Kubernetes {server}"))
}
