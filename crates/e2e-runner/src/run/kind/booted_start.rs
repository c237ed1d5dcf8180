//! A cluster from a node that was booted once: its container, with certificates of its own, started and looked at before it is trusted.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::exit::{Exit, Failure};
use crate::fingerprint::hex;
use crate::process::Error;
use crate::run::kind::pki::{self, Pki};
use crate::run::kubernetes::access::{kubeconfig, kubectl};
use crate::run::session::{Booted, Session};
use crate::state::write_private;
use crate::tools::kind::Mounted;
use crate::tools::{docker, kind};
use crate::wait::{Look, Wait};

/// How long it may take until it is trusted: three times what it needs on two busy cores, less than the deadline of a creation.
const TRUSTED_WITHIN: Duration = Duration::from_secs(45);
/// The port of the API server in the node.
const API: u16 = 6443;
/// What the node runs first.
const ENTER: &str = "kubernaut-enter";

/// Gives the node's new address to what names the old one, and goes on as every node does. IPv4 by name: `hostname -i` tells IPv6 first.
const SCRIPT: &str = r#"#!/bin/sh
old=$(cat /kubernaut-address)
new=$(getent ahostsv4 "$(hostname)" | head -1 | cut -d' ' -f1)
if [ -n "$new" ] && [ "$new" != "$old" ]; then
    pattern=$(echo "$old" | sed 's/\./\\./g')
    for file in /etc/kubernetes/manifests/*.yaml /var/lib/kubelet/kubeadm-flags.env /kind/kubeadm.conf; do
        [ ! -f "$file" ] || sed -i "s/\b$pattern\b/$new/g" "$file"
    done
    echo "$new" > /kubernaut-address
fi
exec /usr/local/bin/entrypoint "$@"
"#;

/// A node that has started, and is not trusted yet.
#[derive(Debug)]
pub struct Started {
    /// The port of its API server on this machine.
    port: u16,
    address: String,
    /// The certificate of the authority that it has to have.
    authority: String,
}

/// Makes and starts a cluster's node. What fails leaves its container.
pub fn start(
    session: &Session,
    (image, booted): (&str, &Booted),
    name: &str,
    wanted: &[(u16, u16)],
    mounts: &[Mounted],
) -> Result<Started, Failure> {
    let runner = &session.runner.within(TRUSTED_WITHIN);
    let failed = |error: Error| error.into_failure(Exit::Setup, runner.cancel());
    let node = kind::node(name);
    // As kind does: Docker would give another port after a restart of the container.
    let port = free_port().map_err(Failure::setup)?;
    let pki = pki::make(name, &booted.host, &node, port).map_err(Failure::setup)?;
    write_private(&kubeconfig(session), pki.kubeconfig.as_bytes()).map_err(Failure::setup)?;
    let mut options = kind::container_flags(name, &booted.host);
    options.extend(booted.flags.iter().cloned());
    options.push(format!("--publish=127.0.0.1:{port}:{API}/tcp"));
    options.extend(
        kind::host_ports(session.service_runs.len(), wanted).map(|(node, host)| {
            let host = host.map_or(String::new(), |host| host.to_string());
            format!("--publish=127.0.0.1:{host}:{node}/tcp")
        }),
    );
    options.extend(
        mounts
            .iter()
            .map(|mount| format!("--volume={}:{}", mount.host.display(), mount.node.display())),
    );
    options.push(format!("--entrypoint=/{ENTER}"));
    docker::create(runner, &options, image, &["/sbin/init"]).map_err(failed)?;
    let kept = archive(booted, &pki).map_err(|error| {
        // Of no use to any run: without it the next one makes another.
        drop(std::fs::remove_file(&booted.archive));
        Failure::setup(format!("{}: {error}", booted.archive.display()))
    })?;
    docker::unpack(runner, &node, kept).map_err(failed)?;
    docker::start(runner, &node).map_err(failed)?;
    let address = docker::address(runner, &node, kind::NETWORK).map_err(failed)?;
    Ok(Started {
        port,
        address,
        authority: pki.authority,
    })
}

fn free_port() -> std::io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?
        .local_addr()?
        .port())
}

/// What a node has before it starts: what was kept, and what is this cluster's alone.
fn archive(booted: &Booted, pki: &Pki) -> std::io::Result<Vec<u8>> {
    let mut all = tar::Builder::new(Vec::new());
    let kept = std::fs::read(&booted.archive)?;
    if hex(&kept) != booted.content {
        return Err(std::io::Error::other("it is not what was kept"));
    }
    for entry in tar::Archive::new(kept.as_slice()).entries()? {
        let entry = entry?;
        all.append(&entry.header().clone(), entry)?;
    }
    let address = format!("{}\n", booted.address);
    let own = [
        (ENTER, 0o755, SCRIPT),
        ("kubernaut-address", 0o644, &address),
    ];
    let files = pki.files.iter();
    let files = files.map(|(path, mode, text)| (path.as_str(), *mode, text.as_str()));
    for (path, mode, text) in own.into_iter().chain(files) {
        let mut header = header(mode, text.len());
        all.append_data(&mut header, path, text.as_bytes())?;
    }
    let mut link = header(0o777, 0);
    link.set_entry_type(tar::EntryType::Symlink);
    all.append_link(
        &mut link,
        pki::KUBELET_LINK.trim_start_matches('/'),
        pki::KUBELET_CLIENT,
    )?;
    all.into_inner()
}

fn header(mode: u32, size: usize) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_mode(mode);
    header.set_size(size as u64);
    header.set_uid(0);
    header.set_gid(0);
    header
}

/// Waits until the cluster is this one and no other: its API server is ready under the new authority, its node has told its address
/// and is ready, nothing leads to an API server of before, and pods are given the new authority.
pub fn await_trust(session: &Session, started: &Started) -> Result<(), Failure> {
    let Started {
        port,
        address,
        authority,
    } = started;
    let runner = session.runner.within(TRUSTED_WITHIN);
    let kubectl = kubectl(session, "default").with_runner(&runner);
    let began = Instant::now();
    let wait = |what: &'static str, interval: u64| Wait {
        what,
        deadline: TRUSTED_WITHIN.saturating_sub(began.elapsed()),
        interval: Duration::from_millis(interval),
    };
    // Before it listens a look by kubectl would only take the node's processor time.
    wait("no API server listened", 25).until(runner.cancel(), || {
        Ok(match listens(*port) {
            Ok(true) => Look::Ready(()),
            Ok(false) => Look::NotYet("no answer".to_owned()),
            Err(error) => Look::NotYet(error.to_string()),
        })
    })?;
    wait("the API server was not ready", 50).until(runner.cancel(), || {
        Ok(match kubectl.raw("/readyz") {
            Ok(_) => Look::Ready(()),
            Err(error) => Look::NotYet(error.to_string()),
        })
    })?;
    wait("the cluster was not ready", 50).until(runner.cancel(), || {
        let look = || -> Result<Option<String>, Failure> {
            let [nodes, endpoints, published] = ASKED.map(|path| kubectl.json(path));
            Ok(doubt(
                [&nodes?, &endpoints?, &published?],
                address,
                authority,
            ))
        };
        Ok(match look() {
            Ok(None) => Look::Ready(()),
            Ok(Some(doubt)) => Look::NotYet(doubt),
            Err(failure) => Look::NotYet(failure.summary),
        })
    })?;
    // What was trusted of extension API servers before is written again, with the authorities of now alone.
    let name = "extension-apiserver-authentication";
    kubectl
        .in_namespace("kube-system")
        .delete_named("/api/v1", "configmaps", name)
}

/// What is asked of a cluster before it is trusted: its nodes, where its API server is, whom its pods trust.
const ASKED: [&str; 3] = [
    "/api/v1/nodes",
    "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/kubernetes",
    "/api/v1/namespaces/default/configmaps/kube-root-ca.crt",
];

/// Whether a program that speaks TLS is behind a port: Docker accepts every connection, and only such a one answers words without it.
fn listens(port: u16) -> std::io::Result<bool> {
    let patience = Some(Duration::from_millis(500));
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(patience)?;
    stream.write_all(b"GET /readyz HTTP/1.0\r\n\r\n")?;
    Ok(stream.read(&mut [0; 16])? > 0)
}

/// What is not yet as it has to be, in the answers to what is asked.
fn doubt(
    [nodes, endpoints, published]: [&Value; 3],
    address: &str,
    authority: &str,
) -> Option<String> {
    let nodes = nodes["items"].as_array().map_or(&[][..], Vec::as_slice);
    let [node] = nodes else {
        return Some(format!("there are {} nodes", nodes.len()));
    };
    let status = &node["status"];
    let any = |list: &Value, test: &dyn Fn(&Value) -> bool| {
        list.as_array().into_iter().flatten().any(test)
    };
    if !any(&status["addresses"], &|it| {
        it["type"] == "InternalIP" && it["address"] == address
    }) {
        return Some(format!("the node has not told its address {address}"));
    }
    if !any(&status["conditions"], &|it| {
        it["type"] == "Ready" && it["status"] == "True"
    }) {
        return Some("the node is not ready".to_owned());
    }
    let endpoints = endpoints["endpoints"].as_array().into_iter().flatten();
    let endpoints =
        endpoints.flat_map(|endpoint| endpoint["addresses"].as_array().into_iter().flatten());
    let endpoints: Vec<_> = endpoints.filter_map(Value::as_str).collect();
    if endpoints != [address] {
        return Some(format!(
            "the endpoints of `kubernetes` are {endpoints:?} and not {address}"
        ));
    }
    let published = published["data"]["ca.crt"].as_str();
    if published.map(str::trim) != Some(authority.trim()) {
        return Some("the cluster's authority is not published yet".to_owned());
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn answers(address: &str, endpoints: &[&str], authority: &str) -> [Value; 3] {
        [
            json!({"items": [{"status": {
                "addresses": [{"type": "InternalIP", "address": address}],
                "conditions": [{"type": "Ready", "status": "True"}]}}]}),
            json!({"endpoints": [{"addresses": endpoints}]}),
            json!({"data": {"ca.crt": authority}}),
        ]
    }

    #[test]
    fn a_cluster_is_trusted_when_nothing_of_its_first_life_is_left() {
        let doubt = |answers: &[Value; 3]| doubt(answers.each_ref(), "10.0.0.2", "new");
        assert_eq!(doubt(&answers("10.0.0.2", &["10.0.0.2"], "new\n")), None);
        for (answers, why) in [
            (answers("10.0.0.1", &["10.0.0.2"], "new"), "its address"),
            (
                answers("10.0.0.2", &["10.0.0.1", "10.0.0.2"], "new"),
                "endpoints",
            ),
            (answers("10.0.0.2", &["10.0.0.2"], "old"), "authority"),
            ([json!({"items": []}), json!({}), json!({})], "0 nodes"),
        ] {
            let told = doubt(&answers);
            assert!(
                told.as_ref().is_some_and(|told| told.contains(why)),
                "{told:?}"
            );
        }
    }
}
