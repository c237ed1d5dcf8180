//! A prepared node that was booted once: what Kubernetes had written by then, kept without its keys, for clusters that start from it.
//!
//! kubeadm spends most of a cluster's creation on writing what is the same every time: manifests, and the objects of a new cluster.
//! This does it once for each prepared node. What belongs to one cluster alone is not kept: certificates and keys, the objects that
//! repeat them, pods with an address of their own, events, leases, and all that the container runtime and the kubelet remember.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::exit::{Exit, Failure};
use crate::fingerprint::{fingerprint, hex};
use crate::process::{Error, Runner};
use crate::run::session::{Booted, Node, Session};
use crate::settings::{is_integration_job, proxies, starts_booted_node};
use crate::state::{Resource, write_private};
use crate::tools::{docker, kind};

/// The directory of the user's cache that holds them, beside the locks of prepared nodes.
const DIRECTORY: &str = "nodes";
/// How long it may take altogether.
const MADE_WITHIN: Duration = Duration::from_mins(3);
/// How long runs go without one after it has not worked.
const FAILED: Duration = Duration::from_hours(7 * 24);
/// How old one may be: what it has seen of the machine, such as its proxies and its devices, is not for ever.
const OUTDATED: Duration = Duration::from_hours(30 * 24);

/// What a run does about it.
#[derive(Debug)]
pub enum Decision {
    /// It is there.
    Ready(Booted),
    /// It is made now.
    Make,
    /// Clusters are created by kind, for a reason.
    Without(&'static str),
}

/// Decides for a prepared node that was there before this run, without changing anything.
pub fn decide(key: &str) -> Decision {
    if !starts_booted_node() {
        return Decision::Without("E2E_PREPARED_NODE is unbooted");
    }
    match find(key) {
        Some(booted) => Decision::Ready(booted),
        None if has_failed(key) => Decision::Without("it did not work the last time"),
        None if is_integration_job() => {
            Decision::Without("a machine of continuous integration runs too few clusters")
        }
        None => Decision::Make,
    }
}

impl Decision {
    /// In words, for a plan.
    pub fn describe(&self) -> String {
        match self {
            Self::Ready(_) => "booted once before".to_owned(),
            Self::Make => "booted once now, for this and later runs".to_owned(),
            Self::Without(why) => format!("not booted before: {why}"),
        }
    }
}

/// Finds or makes what is kept of a prepared node. Where that does not work, the run goes on without.
pub fn prepare(session: &Session, node: &Node) -> Result<(Option<Booted>, String), Failure> {
    let key = &node.key;
    let decision = decide(key);
    let told = decision.describe();
    match decision {
        Decision::Ready(booted) => return Ok((Some(booted), told)),
        Decision::Without(_) => return Ok((None, told)),
        Decision::Make => {}
    }
    let began = Instant::now();
    match make(session, node) {
        Ok(Some(booted)) => {
            let seconds = began.elapsed().as_secs_f64();
            let told = format!("booted once for this and later runs, in {seconds:.1} s");
            Ok((Some(booted), told))
        }
        Ok(None) => Ok((None, "not booted before: another run is at it".to_owned())),
        Err(failure) => {
            session.runner.cancel().check()?;
            let until = give_up(key);
            session.report.note(&format!(
                "booting a node once failed: {failure}; clusters are created as kind does{until}"
            ));
            Ok((None, "not booted before".to_owned()))
        }
    }
}

/// A name for the cluster that is booted once, another each time: two may be made at once, by users or under caches that know nothing of
/// each other. Its node keeps this name in every cluster that starts from it.
fn cluster(key: &str) -> String {
    format!("kubernaut-{key}-{:04x}", rand::random::<u16>())
}

/// The kubeconfig of a cluster that is booted once, in the directory of the run that does it.
pub const KUBECONFIG: &str = "kubeconfig-booted-node";

fn file(key: &str, extension: &str) -> Result<PathBuf, Failure> {
    let directory = embedded_postgres::own_cache_directory(DIRECTORY).map_err(Failure::setup)?;
    Ok(directory.join(format!("{key}-booted.{extension}")))
}

/// What a kept node depends on beside the prepared one: how it is configured and quiesced, and the proxies of its environment.
fn made_from(key: &str) -> Result<String, Failure> {
    let config = kind::config(1, &[], None, &[])?;
    let parts = [key, &config, END, QUIESCE, CLOSE, &proxies()];
    Ok(fingerprint(&parts))
}

fn find(key: &str) -> Option<Booted> {
    let (about, archive) = (file(key, "json").ok()?, file(key, "tar").ok()?);
    let made = std::fs::metadata(&about).ok()?.modified().ok()?;
    let is_old = made.elapsed().is_ok_and(|age| age > OUTDATED);
    let booted: Booted = serde_json::from_slice(&std::fs::read(about).ok()?).ok()?;
    let is_right = archive.exists() && booted.made_from == made_from(key).ok()?;
    (is_right && !is_old).then_some(Booted { archive, ..booted })
}

/// Forgets what is kept of a prepared node, which cannot start without that one.
pub fn forget(key: &str) {
    for extension in ["json", "tar", "failed"] {
        // What is not there needs no removal; what cannot be removed is a megabyte in the user's cache.
        drop(file(key, extension).map(std::fs::remove_file));
    }
}

/// Forgets it because it does not work here, and lets runs go without for a while. Says for how long, where that can be written down.
pub fn give_up(key: &str) -> String {
    forget(key);
    let mark = || {
        let mark = file(key, "failed").ok()?;
        std::fs::write(&mark, made_from(key).ok()?).ok()?;
        Some(mark)
    };
    mark().map_or(String::new(), |mark| {
        format!(" for a week, or until {} is removed", mark.display())
    })
}

/// Whether it did not work, made as it would be now: nobody is to wait for that in every run.
fn has_failed(key: &str) -> bool {
    let failed = || {
        let mark = file(key, "failed").ok()?;
        let age = std::fs::metadata(&mark).ok()?.modified().ok()?.elapsed();
        let is_same = std::fs::read_to_string(mark).ok()? == made_from(key).ok()?;
        Some(is_same && age.is_ok_and(|age| age < FAILED))
    };
    failed() == Some(true)
}

fn lock_file(key: &str) -> Result<File, Failure> {
    File::create(file(key, "lock")?).map_err(Failure::setup)
}

/// Makes it, unless another run does: that one is not waited for.
fn make(session: &Session, node: &Node) -> Result<Option<Booted>, Failure> {
    let key = &node.key;
    let lock = lock_file(key)?;
    if lock.try_lock().is_err() {
        return Ok(None);
    }
    let runner = &session.runner.within(MADE_WITHIN);
    let name = cluster(key);
    let resource = Resource::BootedNode { name: name.clone() };
    let making = session.run.will_make(resource.clone());
    making.map_err(Failure::setup)?;
    let kubeconfig = session.run.dir().join(KUBECONFIG);
    let made = boot(session, runner, node, &name, &kubeconfig);
    // Whatever came of it: nothing of it runs on.
    let removed = kind::delete(&session.runner, &name, &kubeconfig);
    drop(std::fs::remove_file(&kubeconfig));
    removed.map_err(Failure::setup)?;
    let forget = |state: &mut crate::state::State| state.resources.retain(|it| *it != resource);
    session.run.update(forget).map_err(Failure::setup)?;
    made.map(Some)
}

/// Shell functions: `of` lists the containers of the node that have a name; `end` ends them by SIGTERM and waits, and tells whether they
/// have ended.
const END: &str = r#"
set -e
of() { ctr --namespace k8s.io containers ls --quiet "labels.\"io.kubernetes.container.name\"$1"; }
end() {
    for one in $(of "==$1"); do
        ctr --namespace k8s.io tasks kill --signal SIGTERM "$one" 2>/dev/null || continue
        tries=0
        while ctr --namespace k8s.io tasks ls | grep -q "^$one .*RUNNING"; do
            tries=$((tries + 1))
            [ "$tries" -lt 100 ] || return 1
            sleep 0.1
        done
    done
}
"#;

/// Ends the controllers, so that what is deleted next stays deleted. The kubelet first: it starts again what ends.
const QUIESCE: &str = r"
systemctl stop kubelet
end kube-controller-manager
end kube-scheduler
";

/// Ends all else, then the API server, by SIGTERM and while etcd runs: with that its address leaves the endpoints of `kubernetes`
/// before it waits for its clients, for which it is not waited. Then etcd, and writes what is kept as an archive.
const CLOSE: &str = r#"
for one in $(of ""); do
    case " $(of "==kube-apiserver") $(of "==etcd") " in *"$one"*) ;; *) ctr --namespace k8s.io tasks kill --signal SIGKILL "$one" 2>/dev/null || true ;; esac
done
end kube-apiserver || for one in $(of "==kube-apiserver"); do ctr --namespace k8s.io tasks kill --signal SIGKILL "$one"; done
end etcd
rm -f /var/lib/etcd/member/wal/*.tmp
cd /
set --
for one in etc/kubernetes/manifests etc/cni/net.d etc/default/kubelet kind var/lib/etcd \
    var/lib/kubelet/config.yaml var/lib/kubelet/instance-config.yaml var/lib/kubelet/kubeadm-flags.env; do
    [ ! -e "$one" ] || set -- "$@" "$one"
done
tar -cf - "$@"
"#;

fn boot(
    session: &Session,
    runner: &Runner,
    node: &Node,
    name: &str,
    kubeconfig: &Path,
) -> Result<Booted, Failure> {
    let key = &node.key;
    let failed = |error: Error| error.into_failure(Exit::Setup, runner.cancel());
    let container = kind::node(name);
    let config = kind::config(1, &[], Some(&node.directory), &[])?;
    let mut log = String::new();
    let keep = |line: &str| {
        log.push_str(line);
        log.push('\n');
    };
    let created = kind::create(
        runner,
        name,
        &config,
        Some(&node.image),
        kubeconfig,
        MADE_WITHIN,
        keep,
    );
    drop(std::fs::write(
        session.run.dir().join("booted-node.log"),
        &log,
    ));
    created.map_err(failed)?;
    // Without a namespace: a deletion in all of them must name none.
    let kubectl = || {
        runner
            .command("kubectl")
            .arg("--kubeconfig")
            .arg(kubeconfig)
    };
    let ask = |args: &[&str]| kubectl().args(args).read().map_err(failed);
    // The network of pods, and kube-proxy, have written what they write.
    ask(&[
        "wait",
        "--for=jsonpath={.status.numberReady}=1",
        "daemonset",
        "--all",
        "--all-namespaces",
        "--timeout=90s",
    ])?;
    ask(&[
        "wait",
        "--for=condition=Ready",
        "node",
        "--all",
        "--timeout=60s",
    ])?;
    // By this group its administrator's certificate is one.
    ask(&["get", "clusterrolebinding", "kubeadm:cluster-admins"])?;
    let flags = docker::flags_of(runner, &container).map_err(failed)?;
    let address = docker::address(runner, &container, kind::NETWORK).map_err(failed)?;
    let quiesce = format!("{END}{QUIESCE}");
    docker::exec::<&str>(runner, &container, &quiesce, &[])
        .read()
        .map_err(failed)?;
    clean(&ask, &container)?;
    let close = format!("{END}{CLOSE}");
    let output = docker::exec::<&str>(runner, &container, &close, &[])
        .output()
        .map_err(failed)?;
    if !output.status.success() {
        return Err(Failure::setup(format!(
            "the node did not close: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        )));
    }
    let archive = file(key, "tar")?;
    let kept = without_zeros(&output.stdout).map_err(Failure::setup)?;
    write_private(&archive, &kept).map_err(Failure::setup)?;
    let booted = Booted {
        made_from: made_from(key)?,
        host: container,
        address,
        flags,
        content: hex(&kept),
        archive,
    };
    // Last: what is whole has it.
    let about = serde_json::to_vec(&booted).map_err(Failure::setup)?;
    write_private(&file(key, "json")?, &about).map_err(Failure::setup)?;
    Ok(booted)
}

/// Deletes what belongs to one cluster alone, with `ask`, which runs kubectl; nothing makes it again before another cluster does.
fn clean(ask: &impl Fn(&[&str]) -> Result<String, Failure>, node: &str) -> Result<(), Failure> {
    let everywhere = |what: &str, field: &str| {
        let all = [
            "delete",
            what,
            "--all-namespaces",
            "--field-selector",
            field,
        ];
        ask(&[&all[..], &["--ignore-not-found"]].concat())
    };
    everywhere("configmaps", "metadata.name=kube-root-ca.crt")?;
    everywhere("configmaps", "metadata.name=cluster-info")?;
    everywhere("secrets", "type=bootstrap.kubernetes.io/token")?;
    // Those of the node's own network stay: they have its address, which the kubelet tells anew.
    let pods = [
        "delete",
        "pods",
        "--all-namespaces",
        "--field-selector",
        "spec.hostNetwork=false",
    ];
    ask(&[&pods[..], &["--force", "--grace-period=0"]].concat())?;
    everywhere(
        "endpointslices.discovery.k8s.io,endpoints",
        "metadata.name!=kubernetes",
    )?;
    ask(&["delete", "leases,events", "--all-namespaces", "--all"])?;
    // Whoever needs the node's address waits until it tells the new one: kube-proxy ends itself when it changes.
    let nowhere = r#"{"status":{"addresses":[]}}"#;
    ask(&[
        "patch",
        "node",
        node,
        "--subresource=status",
        "--type=merge",
        "--patch",
        nowhere,
    ])?;
    Ok(())
}

/// Zeros that a file of etcd's log keeps at its end, more than a record may end with.
const ROOM: usize = 64 * 1024;

/// The same archive with the files of etcd's log cut to what is written in them: etcd lays each out in its full 64 MB beforehand,
/// and reads one that ends early as one that is full.
fn without_zeros(archive: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut kept = tar::Builder::new(Vec::new());
    let mut archive = tar::Archive::new(archive);
    for entry in archive.entries()? {
        let mut entry = entry?;
        let mut header = entry.header().clone();
        let is_log = entry
            .path()?
            .extension()
            .is_some_and(|extension| extension == "wal");
        if !is_log {
            kept.append(&header, entry)?;
            continue;
        }
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes)?;
        let written = bytes
            .iter()
            .rposition(|byte| *byte != 0)
            .map_or(0, |last| last + 1);
        bytes.truncate(written.next_multiple_of(8) + ROOM);
        header.set_size(bytes.len() as u64);
        header.set_cksum();
        kept.append(&header, bytes.as_slice())?;
    }
    kept.into_inner()
}

/// Removes one that a killed run has left half made.
pub fn discard(runner: &Runner, name: &str) -> Result<(), String> {
    let container = kind::node(name);
    docker::until_gone(runner, &container, docker::SETTLED, || {
        let volumes = docker::volumes_of(runner, &container);
        docker::remove_container(runner, &container)?;
        docker::remove_volumes(runner, &volumes);
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_of_etcd_is_cut_behind_what_is_written_and_all_else_stays() {
        let mut archive = tar::Builder::new(Vec::new());
        let mut log = vec![0; 1_000_000];
        log[..3].copy_from_slice(b"abc");
        for (path, bytes) in [("wal/0.wal", &log), ("snap/db", &log)] {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o600);
            archive
                .append_data(&mut header, path, bytes.as_slice())
                .expect("an entry");
        }
        let kept = without_zeros(&archive.into_inner().expect("an archive")).expect("an archive");
        let mut kept = tar::Archive::new(kept.as_slice());
        let mut sizes = Vec::new();
        for entry in kept.entries().expect("entries") {
            let mut entry = entry.expect("an entry");
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).expect("its bytes");
            assert!(bytes.starts_with(b"abc\0"));
            sizes.push(bytes.len());
        }
        assert_eq!(sizes, [8 + ROOM, 1_000_000]);
    }
}
