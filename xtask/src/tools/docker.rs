//! docker: images of the host, and the containers that are Kind's nodes.

use std::collections::BTreeMap;
use std::io::PipeReader;
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;

use crate::exit::{Exit, Failure};
use crate::process::{Cmd, Door, Error};

/// The version of the Docker daemon, if it answers.
pub fn version(door: &Door) -> Result<String, Error> {
    door.cmd("docker")
        .args(["version", "--format", "{{.Server.Version}}"])
        .deadline(Duration::from_secs(10))
        .read()
}

/// The id of an image of the host, if it is there.
pub fn image_id(door: &Door, image: &str) -> Option<String> {
    door.cmd("docker")
        .args(["image", "inspect", "--format", "{{.Id}}", image])
        .read()
        .ok()
}

/// Makes sure that the host has an image, pulling it if need be, and returns its id; the failure says what the registry answered.
pub fn ensure_image(door: &Door, image: &str, variable: &str) -> Result<String, Failure> {
    if let Some(id) = image_id(door, image) {
        return Ok(id);
    }
    let pull = door
        .cmd("docker")
        .args(["pull", "--quiet", image])
        .deadline(Duration::from_mins(5));
    let pulled = pull
        .read()
        .map(|_| image_id(door, image).unwrap_or_default());
    pulled.map_err(|error| {
        let failure = error.into_failure(Exit::Setup, door.cancel());
        let what = format!("the image {image} is not on this host and cannot be pulled");
        Failure {
            what,
            seen: Some(failure.what),
            ..failure
        }
        .next(format!(
            "name an image that exists in {variable}, or `docker load` it first"
        ))
    })
}

/// A second name that an image gets in the node, made from its content: another image of the same first name has not got it.
pub fn content_name(id: &str) -> String {
    format!(
        "localhost/kubernaut-loaded:{}",
        id.trim_start_matches("sha256:")
    )
}

/// Whether a container of that name runs.
pub fn is_running(door: &Door, name: &str) -> bool {
    let running = door
        .cmd("docker")
        .args(["inspect", "--format", "{{.State.Running}}", name])
        .read();
    running.is_ok_and(|text| text == "true")
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Binding {
    host_port: String,
}

/// The host port of each TCP port that a container publishes.
pub fn published_ports(door: &Door, container: &str) -> Result<BTreeMap<u16, u16>, Failure> {
    let format = "{{json .NetworkSettings.Ports}}";
    let text = door
        .cmd("docker")
        .args(["inspect", "--format", format, container])
        .read()
        .map_err(|error| error.into_failure(Exit::Setup, door.cancel()))?;
    let ports: BTreeMap<String, Option<Vec<Binding>>> =
        serde_json::from_str(&text).map_err(|error| {
            Failure::new(
                Exit::Setup,
                format!("docker described the ports of {container} in another form: {error}"),
            )
        })?;
    let pairs = ports.into_iter().filter_map(|(name, bindings)| {
        let port = name.strip_suffix("/tcp")?.parse().ok()?;
        Some((port, bindings?.first()?.host_port.parse().ok()?))
    });
    Ok(pairs.collect())
}

/// Builds an image from a checkout, and names it by its content.
pub fn build(door: &Door, source: &Path, dockerfile: &str, package: &str) -> Result<String, Error> {
    let package_argument = format!("PACKAGE={package}");
    let build = [
        "build",
        "--quiet",
        "--file",
        dockerfile,
        "--build-arg",
        &package_argument,
        ".",
    ];
    let id = door
        .cmd("docker")
        .args(build)
        .dir(source)
        .deadline(Duration::from_mins(20))
        .read()?;
    let content = id.trim_start_matches("sha256:");
    let reference = format!(
        "localhost/kubernaut-{package}:{}",
        content.get(..12).unwrap_or(content)
    );
    door.cmd("docker").args(["tag", &id, &reference]).read()?;
    Ok(reference)
}

/// Builds an image from a directory with a Dockerfile.
pub fn build_as(
    door: &Door,
    dir: &Path,
    name: &str,
    deadline: Duration,
    on_line: impl FnMut(&str),
) -> Result<(), Failure> {
    let build = door
        .cmd("docker")
        .args(["build", "--tag", name])
        .arg(dir)
        .deadline(deadline);
    match build.stream(on_line) {
        Ok(0) => Ok(()),
        Ok(code) => Err(Failure::new(
            Exit::Setup,
            format!("the image {name} is not built: docker build ended with exit {code}"),
        )
        .next(format!("docker build --tag {name} {}", dir.display()))),
        Err(error) => Err(error.into_failure(Exit::Setup, door.cancel())),
    }
}

/// Reads an archive that `docker save` wrote; the image in it must have the name.
pub fn load(door: &Door, archive: &Path, name: &str) -> Result<(), Failure> {
    let load = door
        .cmd("docker")
        .arg("load")
        .arg("--input")
        .arg(archive)
        .deadline(Duration::from_mins(5));
    load.read()
        .map_err(|error| error.into_failure(Exit::Setup, door.cancel()))?;
    match image_id(door, name) {
        Some(_) => Ok(()),
        None => Err(Failure::new(
            Exit::Setup,
            format!("the archive {} holds no image {name}", archive.display()),
        )),
    }
}

/// Kills the main process of a node's container with SIGKILL.
pub fn kill_in_node(door: &Door, node: &str, container: &str) -> Result<(), Error> {
    let kill = [
        "ctr",
        "--namespace",
        "k8s.io",
        "tasks",
        "kill",
        "--signal",
        "SIGKILL",
        container,
    ];
    door.cmd("docker")
        .args(["exec", node])
        .args(kill)
        .read()
        .map(drop)
}

/// Restarts the kubelet of a node, which forgets how often containers ended; they run on.
pub fn restart_kubelet(door: &Door, node: &str) -> Result<(), Error> {
    door.cmd("docker")
        .args(["exec", node, "systemctl", "restart", "kubelet"])
        .read()
        .map(drop)
}

/// Reads an image of the host as an archive.
pub fn save<T: Send>(
    door: &Door,
    image: &str,
    take: impl FnOnce(&mut PipeReader) -> std::io::Result<T> + Send,
) -> Result<T, Error> {
    let save = door.cmd("docker").args(["save", image]);
    save.deadline(Duration::from_mins(5)).taken_by(take)
}

/// Imports `$1`, where the node has such a file, or else what it is sent, and lists what the node has then: an import's exit status
/// is no proof.
const IMPORT: &str = "archive=$1; [ -r \"$archive\" ] || archive=-; \
    ctr --namespace k8s.io images import \"$archive\" >&2 && exec ctr --namespace k8s.io images list --quiet";

/// Imports an archive that lies at `inside` in the node, or, where the daemon does not share this machine's files, at `path` here.
/// Returns the names of the node's images.
pub fn import(door: &Door, node: &str, path: &Path, inside: &str) -> Result<Vec<String>, Error> {
    names(&importer(door, node, inside).stdin_file(path))
}

/// Imports an archive that is in memory. Returns the names of the node's images.
pub fn import_bytes(door: &Door, node: &str, archive: Vec<u8>) -> Result<Vec<String>, Error> {
    names(&importer(door, node, "-").stdin(archive))
}

fn importer(door: &Door, node: &str, archive: &str) -> Cmd {
    door.cmd("docker")
        .args(["exec", "-i", node, "sh", "-c", IMPORT, "import", archive])
        .deadline(Duration::from_mins(5))
}

/// Waits, within the node and not for ever, for the container runtime's socket.
const LIST_WHEN_READY: &str = "for _ in $(seq 100); do [ -S /run/containerd/containerd.sock ] && break; sleep 0.1; done; \
    exec ctr --namespace k8s.io images list --quiet";

/// The names of the images in a node that may just be starting. Fails at once where there is no node, and after some 10 s where it
/// has no container runtime yet: a look from outside costs tenths of a second of processor time, so there should be few.
pub fn node_images_when_ready(door: &Door, node: &str) -> Result<Vec<String>, Error> {
    let look = door.cmd("docker");
    names(&look.args(["exec", node, "sh", "-c", LIST_WHEN_READY]))
}

/// The names of the images in a node, asked of its container runtime.
pub fn node_images(door: &Door, node: &str) -> Result<Vec<String>, Error> {
    let list = ["ctr", "--namespace", "k8s.io", "images", "list", "--quiet"];
    names(&door.cmd("docker").args(["exec", node]).args(list))
}

/// What a command that lists images prints.
fn names(list: &Cmd) -> Result<Vec<String>, Error> {
    Ok(list.read()?.lines().map(str::to_owned).collect())
}

/// Whether a container of that name exists, running or not.
pub fn container_exists(door: &Door, name: &str) -> Result<bool, Error> {
    let filter = format!("name=^/{name}$");
    Ok(!door
        .cmd("docker")
        .args(["ps", "--all", "--quiet", "--filter", &filter])
        .read()?
        .is_empty())
}

/// The anonymous volumes of a container; none if it does not exist.
pub fn volumes_of(door: &Door, container: &str) -> Vec<String> {
    let format = "{{range .Mounts}}{{if eq .Type \"volume\"}}{{.Name}} {{end}}{{end}}";
    let listed = door
        .cmd("docker")
        .args(["inspect", "--format", format, container])
        .read()
        .unwrap_or_default();
    listed.split_whitespace().map(str::to_owned).collect()
}

/// Removes volumes that no container uses any more.
pub fn remove_volumes(door: &Door, volumes: &[String]) {
    if !volumes.is_empty() {
        // Those that went with their container are gone already, and that is no fault.
        drop(
            door.cmd("docker")
                .args(["volume", "rm", "--force"])
                .args(volumes)
                .output(),
        );
    }
}

/// Thaws the control groups of a container (cgroup v1, freezer). runc freezes a group for a moment while it sets a pod up; a node that is
/// killed in that moment leaves it frozen, and nothing frozen can die. Where this process may not write there, nothing happens.
pub fn thaw(door: &Door, container: &str) {
    let id = door
        .cmd("docker")
        .args(["inspect", "--format", "{{.Id}}", container])
        .read()
        .unwrap_or_default();
    if !id.is_empty() {
        thaw_below(&Path::new("/sys/fs/cgroup/freezer/docker").join(id));
    }
}

fn thaw_below(group: &Path) {
    for entry in std::fs::read_dir(group)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.path().is_dir())
    {
        thaw_below(&entry.path());
    }
    let state = group.join("freezer.state");
    if std::fs::read_to_string(&state).is_ok_and(|text| text.trim() == "FROZEN") {
        // Refused to all but root, which the failure of the deletion then tells.
        drop(std::fs::write(&state, "THAWED"));
    }
}
