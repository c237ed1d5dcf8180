//! Prepared nodes: a node image that has PostgreSQL in it, and what the table of services asks for, made once for each set of images and
//! kept by Docker.
//!
//! Kind gives each node a volume at `/var` of its own, which Docker fills from the node image: most of a gigabyte of Kubernetes'
//! images, copied for every cluster, before PostgreSQL's is imported beside kubeadm. A prepared node copies and imports nothing. All
//! images lie unpacked in one volume that its nodes share, read-only; what it has at `/var` only points there.

use std::collections::BTreeSet;
use std::fs::File;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use nix::unistd::getuid;
use serde::{Deserialize, Serialize};

use crate::exit::{Exit, Failure};
use crate::fingerprint::fingerprint;
use crate::process::{Error, Runner};
use crate::run::kind::booted_node;
use crate::run::kind::cluster::is_cluster_reused;
use crate::run::session::{Node, Session};
use crate::settings::{postgres_image, prepares_node};
use crate::state::Resource;
use crate::table::part::Part;
use crate::tools::kind::SHARED;
use crate::tools::{docker, kind};
use crate::wait::{Look, Wait};

/// The name of the images, without their tag, which is the key.
pub(super) const REPOSITORY: &str = "localhost/kubernaut-node";
/// The directory of the user's cache that holds the locks.
const DIRECTORY: &str = "nodes";
/// The labels of a prepared image: the node image that it was made from, and that one's id.
const BASE: [&str; 2] = ["kubernaut.io/node-base", "kubernaut.io/node-base-id"];
/// Its label with the images that are in it, each `NAME=ID`, with spaces between them.
const HOLDS: &str = "kubernaut.io/node-images";
/// How long one that no cluster uses is kept once other images are used.
const UNUSED: Duration = Duration::from_hours(7 * 24);
/// How many digits a key has.
const KEY: usize = 12;
/// How often a run looks whether another one is done with the node that both need.
const POLL: Duration = Duration::from_millis(100);

/// What a run does about its node image.
#[derive(Debug)]
pub enum Decision {
    /// It is there.
    Ready(Node),
    /// It is made, from this node image and with these images.
    Make(String, Vec<String>),
    /// Kind's own is used, for a reason.
    Plain(&'static str),
}

/// The images that a prepared node has: PostgreSQL's, and those of parts that ask for it.
fn images<'a>(parts: impl Iterator<Item = &'a Part>) -> Vec<String> {
    let asked = parts.flat_map(|part| part.images.iter().filter(|image| image.prepared));
    let asked: BTreeSet<String> = asked.map(|image| image.name.clone()).collect();
    [postgres_image()].into_iter().chain(asked).collect()
}

/// Decides for some parts without changing anything.
pub fn decide<'a>(
    runner: &Runner,
    base: Option<String>,
    parts: impl Iterator<Item = &'a Part>,
) -> Decision {
    if !prepares_node() {
        return Decision::Plain("E2E_PREPARED_NODE is never");
    }
    let (base, images) = match wanted(runner, base, parts) {
        Ok(wanted) => wanted,
        Err(why) => return Decision::Plain(why),
    };
    match key(runner, &base, &images).and_then(|key| find(runner, &key)) {
        Some(node) => Decision::Ready(node),
        None => Decision::Make(base, images),
    }
}

impl Decision {
    /// In words, for a plan.
    pub fn describe(&self) -> String {
        match self {
            Self::Ready(node) => {
                let booted = booted_node::decide(&node.key).describe();
                format!("{} is there, {booted}", node.image)
            }
            Self::Make(base, images) => {
                format!("made once from {base} and {}", images.join(", "))
            }
            Self::Plain(why) => format!("kind's own: {why}"),
        }
    }
}

/// Makes the node image that this run's cluster is to have, unless it is there. Where that does not work, the run goes on without.
pub fn prepare(session: &Session, deadline: Duration) -> Result<String, Failure> {
    if is_cluster_reused(session)? {
        return Ok("none is needed: the cluster is used again".to_owned());
    }
    let parts = || session.parts();
    if prepares_node() {
        bring(session, parts(), deadline)?;
    }
    let decision = decide(&session.runner, session.node_image(), parts());
    let told = decision.describe();
    let (base, images) = match decision {
        Decision::Make(base, images) => (base, images),
        Decision::Ready(node) => {
            let (booted, how) = booted_node::prepare(session, &node)?;
            let told = format!("{} is there, {how}", node.image);
            session.artifacts.node.get_or_init(|| node);
            booted.map(|booted| session.artifacts.booted.get_or_init(|| booted));
            return Ok(told);
        }
        Decision::Plain(_) => return Ok(told),
    };
    let began = Instant::now();
    let runner = &session.runner;
    let ids = images
        .iter()
        .map(|image| docker::ensure_image(runner, image, "POSTGRES_IMAGE", deadline));
    let ids: Vec<String> = ids.collect::<Result<_, _>>()?;
    // One that was imported is known by what it was made from, and that need not be here then.
    if let Some(node) = key(runner, &base, &images).and_then(|key| find(runner, &key)) {
        let told = Decision::Ready(node.clone()).describe();
        session.artifacts.node.get_or_init(|| node);
        return Ok(told);
    }
    let node = docker::ensure_image(runner, &base, "KIND_NODE_IMAGE", deadline)?;
    let key = key_of(&node, &images, &ids);
    let images: Vec<_> = images.into_iter().zip(ids).collect();
    match make(session, &key, &base, &images, deadline) {
        Ok(node) => {
            evict(&session.runner, &key);
            let seconds = began.elapsed().as_secs_f64();
            let told = format!("{}, for this and later runs, in {seconds:.1} s", node.image);
            session.artifacts.node.get_or_init(|| node);
            Ok(told)
        }
        Err(failure) => {
            session.runner.cancel().check()?;
            session.report.note(&format!(
                "preparing the node image failed: {failure}; the run uses kind's own (E2E_PREPARED_NODE=never skips this)"
            ));
            Ok("kind's own: none could be prepared".to_owned())
        }
    }
}

/// Has the host have what parts ask for: an archive may be another one than the last time.
fn bring<'a>(
    session: &Session,
    parts: impl Iterator<Item = &'a Part>,
    deadline: Duration,
) -> Result<(), Failure> {
    let runner = &session.runner;
    for part in parts {
        for image in part.images.iter().filter(|image| image.prepared) {
            match &image.archive {
                Some(archive) => {
                    docker::load(runner, &part.root.join(archive), &image.name, deadline)?;
                }
                None => drop(docker::ensure_image(
                    runner,
                    &image.name,
                    "the table of services",
                    deadline,
                )?),
            }
        }
    }
    Ok(())
}

/// The name of what is made from these images, if the host has them.
fn key(runner: &Runner, base: &str, images: &[String]) -> Option<String> {
    let node = docker::image_id(runner, base).or_else(|| recorded(runner, base))?;
    let ids = images.iter().map(|image| docker::image_id(runner, image));
    Some(key_of(&node, images, &ids.collect::<Option<Vec<_>>>()?))
}

/// The id of a node image that is not here, by what a prepared one says of it: its name has to say the content, for another one to be
/// the same.
fn recorded(runner: &Runner, base: &str) -> Option<String> {
    let pinned = base.contains("@sha256:");
    let keys = pinned.then(|| docker::tags(runner, REPOSITORY))?;
    let made = keys.iter().filter_map(|key| made_from(runner, key));
    made.into_iter()
        .find(|made| made.base == base)
        .map(|made| made.base_id)
}

/// What a prepared node was made from, as far as its image tells: those of earlier versions tell nothing.
pub(super) fn made_from(runner: &Runner, key: &str) -> Option<MadeFrom> {
    let image = image_of(key);
    let label = |name: &str| docker::label(runner, &image, name);
    let holds = label(HOLDS)?;
    let pairs = holds.split(' ').filter_map(|pair| pair.rsplit_once('='));
    Some(MadeFrom {
        base: label(BASE[0])?,
        base_id: label(BASE[1])?,
        images: pairs
            .map(|(name, id)| (name.to_owned(), id.to_owned()))
            .collect(),
    })
}

/// What a prepared node is made from.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct MadeFrom {
    /// The node image.
    pub base: String,
    /// Its id.
    pub base_id: String,
    /// The images that are in it, each with its id.
    pub images: Vec<(String, String)>,
}

impl MadeFrom {
    /// The key under which this user's runs with this version of the tool would look for it.
    pub(super) fn key(&self) -> String {
        let (names, ids): (Vec<_>, Vec<_>) = self.images.iter().cloned().unzip();
        key_of(&self.base_id, &names, &ids)
    }
}

/// The keys of all that are whole.
pub(super) fn keys(runner: &Runner) -> Vec<String> {
    let tags = docker::tags(runner, REPOSITORY).into_iter();
    tags.filter(|tag| is_key(tag)).collect()
}

/// The names of the node image and of the images in it that runs with these parts prepare here, or why none is; they need not be here.
pub fn wanted<'a>(
    runner: &Runner,
    base: Option<String>,
    parts: impl Iterator<Item = &'a Part>,
) -> Result<(String, Vec<String>), &'static str> {
    let base = base.or_else(|| kind::default_image(runner));
    let base = base.ok_or("kind's default image is not known, and KIND_NODE_IMAGE is not set")?;
    Ok((base, images(parts)))
}

/// The part of a name that the images alone do not say: how it is made, and for whom.
pub(super) fn maker() -> String {
    fingerprint(&[&script(), &getuid().to_string(), std::env::consts::ARCH])
}

/// Whether a tag is that of a node, and not of one in the making or of what goes with it.
pub(super) fn is_key(tag: &str) -> bool {
    tag.len() == KEY && tag.chars().all(|digit| digit.is_ascii_hexdigit())
}

/// Two users of one daemon have their own: the lock is in the cache of one.
fn key_of(node: &str, images: &[String], ids: &[String]) -> String {
    let (user, script) = (getuid().to_string(), script());
    let images = images.iter().chain(ids).map(String::as_str);
    let parts: Vec<&str> = [node, &script, &user].into_iter().chain(images).collect();
    fingerprint(&parts)[..KEY].to_owned()
}

/// The name of the volume, and of the container that fills it.
pub(super) fn name(key: &str) -> String {
    format!("kubernaut-node-{key}")
}

pub(super) fn image_of(key: &str) -> String {
    format!("{REPOSITORY}:{key}")
}

/// What the image is called before it is known to be whole.
pub(super) fn part_of(key: &str) -> String {
    format!("{REPOSITORY}:{key}.part")
}

/// What is whole has its image's name, which it gets last.
pub(super) fn find(runner: &Runner, key: &str) -> Option<Node> {
    let image = image_of(key);
    docker::image_id(runner, &image)?;
    let directory = docker::volume_directory(runner, &name(key)).ok()?;
    let key = key.to_owned();
    Some(Node {
        image,
        directory,
        key,
    })
}

/// Makes it, or waits for the run that does.
fn make(
    session: &Session,
    key: &str,
    base: &str,
    images: &[(String, String)],
    deadline: Duration,
) -> Result<Node, Failure> {
    // Waiting for another run and building share the stage's time.
    let runner = &session.runner.within(deadline);
    let _lock = locked(runner, key, deadline)?;
    if let Some(node) = find(runner, key) {
        return Ok(node);
    }
    let resource = Resource::Node {
        key: key.to_owned(),
    };
    let making = session.run.will_make(resource.clone());
    making.map_err(Failure::setup)?;
    // What a build that fails leaves is removed with all else that the run has made.
    let node = build(runner, key, base, images, deadline)
        .map_err(|error| error.into_failure(Exit::Setup, runner.cancel()))?;
    // From here on it is no run's.
    let forget = |state: &mut crate::state::State| state.resources.retain(|it| *it != resource);
    session.run.update(forget).map_err(Failure::setup)?;
    Ok(node)
}

/// Waits for whoever is at it, and keeps all others away for as long as the file is held.
pub(super) fn locked(runner: &Runner, key: &str, deadline: Duration) -> Result<File, Failure> {
    let lock = lock_file(key)?;
    let wait = Wait {
        what: "another run was still preparing the node image",
        deadline,
        interval: POLL,
    };
    wait.until(runner.cancel(), || {
        Ok(match lock.try_lock() {
            Ok(()) => Look::Ready(()),
            Err(error) => Look::NotYet(error.to_string()),
        })
    })?;
    Ok(lock)
}

/// Locked while one is made; the system lets it go with the process.
fn lock_file(key: &str) -> Result<File, Failure> {
    let directory = embedded_postgres::own_cache_directory(DIRECTORY).map_err(Failure::setup)?;
    File::create(directory.join(format!("{key}.lock"))).map_err(Failure::setup)
}

/// Fills the volume, in a container of the node image. The arguments are images, each with the name of its content. What comes unpacked
/// with the node image is copied; what kind's own images hold packed is unpacked by mounting it once.
const FILL: &str = r#"
root=/var/lib/containerd
cp -a "$root/." "$shared/"
containerd --root "$shared" >/tmp/containerd.log 2>&1 &
containerd=$!
tries=0
until ctr version >/dev/null 2>&1; do
    tries=$((tries + 1))
    [ "$tries" -lt 100 ] || { tail /tmp/containerd.log >&2; exit 1; }
    sleep 0.1
done
import "$@"
for image in $(images list --quiet | grep -v ^sha256:); do
    if images mount "$image" /mnt >/dev/null; then images unmount --rm /mnt >/dev/null; fi
done
kill $containerd
wait $containerd || true
"#;

/// Leaves at containerd's root what it writes to, and of all else only the way to the volume.
const POINT: &str = r#"
rm -r "$root" /tmp/containerd.log
mkdir "$root"
cd "$shared"
for part in *; do
    case $part in
        *.content.*) cp -as "$shared/$part" "$root/" ;;
        *.snapshotter.*)
            mkdir -p "$root/$part/snapshots"
            for file in "$part"/*; do [ ! -f "$file" ] || cp -a "$file" "$root/$part/"; done
            for one in "$part"/snapshots/*; do [ ! -d "$one" ] || ln -s "$shared/$one" "$root/$one"; done ;;
        *) cp -a "$part" "$root/" ;;
    esac
done
"#;

/// Whether a node sees all that its image points to: the daemon may run where such a directory cannot be given to a container.
const CHECK: &str = r#"for one in /var/lib/containerd/*.snapshotter.*/snapshots/*; do [ ! -L "$one" ] || [ -d "$one/." ] || exit 1; done"#;

fn script() -> String {
    let import = docker::IMPORT;
    format!("set -e\nshared={SHARED}\n{import}{FILL}{POINT}")
}

fn build(
    runner: &Runner,
    key: &str,
    base: &str,
    images: &[(String, String)],
    deadline: Duration,
) -> Result<Node, Error> {
    let name = name(key);
    docker::remove_container(runner, &name)?;
    docker::remove_volumes(runner, std::slice::from_ref(&name));
    // Privileged, as Kind's nodes are: containerd mounts what it unpacks.
    let options = [
        "--privileged",
        "--interactive",
        "--name",
        &name,
        "--tmpfs",
        "/run",
        "--volume",
        &format!("{name}:{SHARED}"),
    ];
    let names: Vec<_> = images
        .iter()
        .map(|(name, _)| docker::tagged(name))
        .collect();
    let contents = images.iter().map(|(_, id)| docker::content_name(id));
    let pairs = names.iter().cloned().zip(contents);
    let words: Vec<String> = pairs.flat_map(|(name, content)| [name, content]).collect();
    docker::run(runner, &options, base, &script(), &words)
        .deadline(deadline)
        .read_from(&docker::save(runner, &names))?;
    let part = part_of(key);
    let id = docker::image_id(runner, base).unwrap_or_default();
    let holds = images.iter().map(|(name, id)| format!("{name}={id}"));
    let holds = holds.collect::<Vec<_>>().join(" ");
    let labels = [(BASE[0], base), (BASE[1], &*id), (HOLDS, &*holds)];
    docker::commit(runner, &name, base, &part, &labels)?;
    docker::remove_container(runner, &name)?;
    finish(runner, key)
}

/// Gives one that is whole its name, once a container has seen that it is.
pub(super) fn finish(runner: &Runner, key: &str) -> Result<Node, Error> {
    let (name, part, image) = (name(key), part_of(key), image_of(key));
    let directory = docker::volume_directory(runner, &name)?;
    let mount = format!("{}:{SHARED}:ro", directory.display());
    let options = ["--rm", "--privileged", "--volume", &mount];
    docker::run::<&str>(runner, &options, &part, CHECK, &[]).read()?;
    docker::tag(runner, &part, &image)?;
    docker::remove_unused_image(runner, &part);
    let key = key.to_owned();
    Ok(Node {
        image,
        directory,
        key,
    })
}

/// Removes one that is half made, unless another run is at it now.
pub fn discard(runner: &Runner, key: &str) -> Result<(), String> {
    let lock = lock_file(key).map_err(|failure| failure.to_string())?;
    if lock.try_lock().is_err() || find(runner, key).is_some() {
        return Ok(());
    }
    let name = name(key);
    docker::until_gone(runner, &name, docker::SETTLED, || {
        docker::remove_container(runner, &name)
    })?;
    docker::remove_unused_image(runner, &part_of(key));
    docker::remove_volumes(runner, &[name]);
    Ok(())
}

/// Removes those that no cluster uses and that were made long ago; each takes more than a gigabyte.
fn evict(runner: &Runner, keep: &str) {
    for key in docker::tags(runner, REPOSITORY) {
        let image = image_of(&key);
        let old = docker::created(runner, &image)
            .is_some_and(|created| created + UNUSED < Timestamp::now());
        if key != keep && old && docker::remove_unused_image(runner, &image) {
            docker::remove_volumes(runner, &[name(&key)]);
            booted_node::forget(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::image::Image;

    #[test]
    fn a_prepared_node_has_what_is_asked_for_and_is_named_by_its_content() {
        let image = |name: &str, prepared| Image {
            name: name.to_owned(),
            prepared,
            ..Image::default()
        };
        let parts = [
            Part {
                images: vec![image("redis:7", true), image("other", false)],
                ..Part::default()
            },
            Part {
                images: vec![image("redis:7", true)],
                ..Part::default()
            },
        ];
        let names = images(parts.iter());
        assert_eq!(names, [postgres_image(), "redis:7".to_owned()]);

        let key = |redis: &str| key_of("node", &names, &["postgres".to_owned(), redis.to_owned()]);
        assert_eq!(key("one"), key("one"));
        assert_ne!(key("one"), key("two"));
        assert_ne!(
            key("one"),
            key_of("node", &names[..1], &["postgres".to_owned()])
        );
    }
}
