//! docker: images of the host, and the containers that are Kind's nodes.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde::Deserialize;

use crate::exit::{Exit, Failure};
use crate::process::{Command, Error, Runner};
use crate::table::image::Image;
use crate::tools::engine::{self, Answer};

/// The architecture that the daemon runs, and that of an image, where both are known: an image of another one cannot be loaded.
pub fn architectures(runner: &Runner, image: &str) -> Option<(String, String)> {
    let ask = |args: &[&str]| {
        let command = runner.command("docker").args(args);
        command.deadline(Duration::from_secs(10)).read().ok()
    };
    let daemon = ask(&["version", "--format", "{{.Server.Arch}}"])?;
    let image = ask(&["image", "inspect", "--format", "{{.Architecture}}", image])?;
    Some((daemon, image))
}

/// The id of an image of the host, if it is there.
pub fn image_id(runner: &Runner, image: &str) -> Option<String> {
    match engine::get(&format!("/images/{image}/json")) {
        Some(Answer::There(image)) => return image["Id"].as_str().map(str::to_owned),
        Some(Answer::NotThere) => return None,
        None => {}
    }
    runner
        .command("docker")
        .args(["image", "inspect", "--format", "{{.Id}}", image])
        .read()
        .ok()
}

/// Makes sure that the host has an image, pulling it if need be, and returns its id; the failure says what the registry answered.
pub fn ensure_image(
    runner: &Runner,
    image: &str,
    variable: &str,
    deadline: Duration,
) -> Result<String, Failure> {
    if let Some(id) = image_id(runner, image) {
        return Ok(id);
    }
    let pull = runner
        .command("docker")
        .args(["pull", "--quiet", image])
        .deadline(deadline);
    let pulled = pull
        .read()
        .map(|_| image_id(runner, image).unwrap_or_default());
    pulled.map_err(|error| {
        let interrupted = matches!(error, Error::Cancelled { .. });
        let failure = error.into_failure(Exit::Setup, runner.cancel());
        if interrupted {
            return failure;
        }
        let what = format!("the image {image} is not on this host and cannot be pulled");
        Failure {
            summary: what,
            detail: Some(failure.summary),
            ..failure
        }
        .hint(format!(
            "name an image in {variable} that this host has or can pull, or `docker load` it first"
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

/// An image's name with the tag that people leave out.
pub fn tagged(image: &str) -> String {
    let last = image.rsplit('/').next().unwrap_or(image);
    if last.contains([':', '@']) {
        image.to_owned()
    } else {
        format!("{image}:latest")
    }
}

/// Whether a container of that name runs.
pub fn is_running(runner: &Runner, name: &str) -> bool {
    match engine::get(&format!("/containers/{name}/json")) {
        Some(Answer::There(container)) => return container["State"]["Running"] == true,
        Some(Answer::NotThere) => return false,
        None => {}
    }
    let running = runner
        .command("docker")
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
pub fn published_ports(runner: &Runner, container: &str) -> Result<BTreeMap<u16, u16>, Failure> {
    let ports = match engine::get(&format!("/containers/{container}/json")) {
        Some(Answer::There(mut it)) => {
            serde_json::from_value(it["NetworkSettings"]["Ports"].take())
        }
        _ => serde_json::from_str(&ports_by_client(runner, container)?),
    };
    let ports: BTreeMap<String, Option<Vec<Binding>>> = ports.map_err(|error| {
        let what = format!("the ports of {container} cannot be read: {error}");
        Failure::new(Exit::Setup, what)
    })?;
    let pairs = ports.into_iter().filter_map(|(name, bindings)| {
        let port = name.strip_suffix("/tcp")?.parse().ok()?;
        Some((port, bindings?.first()?.host_port.parse().ok()?))
    });
    Ok(pairs.collect())
}

fn ports_by_client(runner: &Runner, container: &str) -> Result<String, Failure> {
    let format = "{{json .NetworkSettings.Ports}}";
    runner
        .command("docker")
        .args(["inspect", "--format", format, container])
        .read()
        .map_err(|error| error.into_failure(Exit::Setup, runner.cancel()))
}

/// Builds an image from a checkout, and names it by its content.
pub fn build(
    runner: &Runner,
    source: &Path,
    dockerfile: &str,
    package: &str,
) -> Result<String, Error> {
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
    let id = runner
        .command("docker")
        .args(build)
        .dir(source)
        .deadline(Duration::from_mins(20))
        .read()?;
    let content = id.trim_start_matches("sha256:");
    let reference = format!(
        "localhost/kubernaut-{package}:{}",
        content.get(..12).unwrap_or(content)
    );
    tag(runner, &id, &reference)?;
    Ok(reference)
}

/// The label of what this tool has built from a person's Dockerfile.
const BUILT: &str = "kubernaut.io/e2e-image";

/// Builds an image by a Dockerfile. The one that had the name before goes, if it was built so too and nothing else names or uses it.
pub fn build_as(
    runner: &Runner,
    image: &Image,
    (root, dir): (&Path, &Path),
    deadline: Duration,
    on_line: impl FnMut(&str),
) -> Result<(), Failure> {
    let (name, label) = (&image.name, format!("{BUILT}=built"));
    let before = image_id(runner, name);
    let mut build = runner
        .command("docker")
        .args(["build", "--tag", name, "--label", &label, "--file"])
        .arg(image.dockerfile(root, dir))
        .deadline(deadline);
    if let Some(target) = &image.target {
        build = build.args(["--target", target]);
    }
    for (argument, value) in &image.args {
        // By a variable: everybody sees the words of a process.
        build = build
            .args(["--build-arg", argument])
            .env(argument.as_str(), value.as_str());
    }
    let build = build.arg(dir);
    let failure = match build.stream(on_line) {
        Ok(status) if status.is_success() => {
            let before = before.filter(|id| image_id(runner, name).as_ref() != Some(id));
            if let Some(id) = before {
                remove_left_over(runner, &id);
            }
            return Ok(());
        }
        Ok(status) => Failure::new(
            Exit::Setup,
            format!("the image {name} is not built: docker build ended with {status}"),
        ),
        Err(error) => {
            let failure = error.into_failure(Exit::Setup, runner.cancel());
            if failure.exit != Exit::Deadline {
                return Err(failure);
            }
            return Err(failure.hint(
                "set `deadlines = { images = SECONDS }` beside it in the table of services",
            ));
        }
    };
    Err(failure.hint(build.line()))
}

/// Removes an image that this tool has built and that has no name any more, unless something is made from it.
fn remove_left_over(runner: &Runner, id: &str) {
    let format = format!("{{{{index .Config.Labels \"{BUILT}\"}}}} {{{{len .RepoTags}}}}");
    let inspect = ["image", "inspect", "--format", &format, id];
    let told = runner.command("docker").args(inspect).read();
    if told.is_ok_and(|told| told == "built 0") {
        remove_unused_image(runner, id);
    }
}

/// Reads an archive that `docker save` wrote; the image in it must have the name.
pub fn load(
    runner: &Runner,
    archive: &Path,
    name: &str,
    deadline: Duration,
) -> Result<(), Failure> {
    let load = runner
        .command("docker")
        .arg("load")
        .arg("--input")
        .arg(archive)
        .deadline(deadline);
    load.read()
        .map_err(|error| error.into_failure(Exit::Setup, runner.cancel()))?;
    match image_id(runner, name) {
        Some(_) => Ok(()),
        None => Err(Failure::new(
            Exit::Setup,
            format!("the archive {} holds no image {name}", archive.display()),
        )
        .hint("`docker save` it by the name that the table of services has")),
    }
}

/// Kills the main process of a node's container with SIGKILL.
pub fn kill_in_node(runner: &Runner, node: &str, container: &str) -> Result<(), Error> {
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
    runner
        .command("docker")
        .args(["exec", node])
        .args(kill)
        .read()
        .map(drop)
}

/// Makes directories in a node that belong to a user alone.
pub fn make_directories(
    runner: &Runner,
    node: &str,
    user: u32,
    directories: &[String],
) -> Result<(), Error> {
    let user = user.to_string();
    let install = ["install", "-d", "-m", "0700", "-o", &user, "-g", &user];
    runner
        .command("docker")
        .args(["exec", node])
        .args(install)
        .args(directories)
        .read()
        .map(drop)
}

/// Makes a directory in a node anew that every user may write into.
pub fn make_shared_directory(runner: &Runner, node: &str, directory: &str) -> Result<(), Error> {
    let script = "rm -rf \"$1\" && install -d -m 1777 \"$1\"";
    runner
        .command("docker")
        .args(["exec", node, "sh", "-c", script, "sh", directory])
        .read()
        .map(drop)
}

/// Makes sure of a directory in a node that every user may write into, and empties it of all files but those whose name is such. The
/// directory itself stays: a pod may have mounted it.
pub fn empty_shared_directory(
    runner: &Runner,
    node: &str,
    directory: &str,
    kept: &str,
) -> Result<(), Error> {
    let script =
        "install -d -m 1777 \"$1\" && find \"$1\" -mindepth 1 -type f ! -name \"$2\" -delete";
    runner
        .command("docker")
        .args(["exec", node, "sh", "-c", script, "sh", directory, kept])
        .read()
        .map(drop)
}

/// Copies what is in a directory of a container to one of this machine, which is made anew.
pub fn copy_out(runner: &Runner, container: &str, directory: &str, to: &Path) -> Result<(), Error> {
    drop(std::fs::remove_dir_all(to));
    runner
        .command("docker")
        .args(["cp", &format!("{container}:{directory}")])
        .arg(to)
        .read()
        .map(drop)
}

/// Restarts the kubelet of a node, which forgets how often containers ended; they run on.
pub fn restart_kubelet(runner: &Runner, node: &str) -> Result<(), Error> {
    runner
        .command("docker")
        .args(["exec", node, "systemctl", "restart", "kubelet"])
        .read()
        .map(drop)
}

/// Images of the host as one archive, to be piped.
pub fn save<I: AsRef<OsStr>>(runner: &Runner, images: &[I]) -> Command {
    let save = runner.command("docker").arg("save").args(images);
    save.deadline(Duration::from_mins(5))
}

/// Writes an image of the host into an archive.
pub fn save_to(runner: &Runner, image: &str, to: &Path, deadline: Duration) -> Result<(), Error> {
    let save = runner.command("docker").args(["save", "--output"]);
    save.arg(to).arg(image).deadline(deadline).read().map(drop)
}

/// The shell function `import`: imports an archive from standard input into containerd. With `NAME CONTENT …` it gives each image of
/// such a name, which people write with or without its registry, a further one.
pub const IMPORT: &str = "\
images() { ctr --namespace k8s.io images \"$@\"; }
named() {
    for name in \"$1\" \"docker.io/$1\" \"docker.io/library/$1\"; do
        if images tag --force \"$name\" \"$2\" >/dev/null 2>&1; then return; fi
    done
    return 1
}
import() {
    images import - >&2 || return
    while [ $# -gt 0 ]; do
        named \"$1\" \"$2\" || echo \"no image is called $1\" >&2
        shift 2
    done
}
";

/// Streams an image of the host into a node under its own name and the one of its content, and returns the names of the node's
/// images: an import's exit status is no proof.
pub fn load_into(
    runner: &Runner,
    node: &str,
    image: &str,
    content: &str,
) -> Result<Vec<String>, Error> {
    let import = importer(runner, node).args([image, content]);
    names(import.read_from(&save(runner, &[image])))
}

/// Gives an image of a node a further name, whatever had it before.
pub fn tag_in_node(runner: &Runner, node: &str, image: &str, name: &str) -> Result<(), Error> {
    let tag = [
        "ctr",
        "--namespace",
        "k8s.io",
        "images",
        "tag",
        "--force",
        image,
        name,
    ];
    runner
        .command("docker")
        .args(["exec", node])
        .args(tag)
        .read()
        .map(drop)
}

/// Imports an archive that is in memory, and returns the names of the node's images.
pub fn import_bytes(runner: &Runner, node: &str, archive: Vec<u8>) -> Result<Vec<String>, Error> {
    names(importer(runner, node).stdin(archive).read())
}

/// Imports what it reads into a node and lists what that has then; [`IMPORT`]'s arguments follow.
fn importer(runner: &Runner, node: &str) -> Command {
    let script = format!("{IMPORT}import \"$@\" && images list --quiet");
    let exec = ["exec", "--interactive", node, "sh", "-c", &script, "sh"];
    runner
        .command("docker")
        .args(exec)
        .deadline(Duration::from_mins(5))
}

/// Waits, within the node and not for ever, for the container runtime's socket.
const LIST_WHEN_READY: &str = "for _ in $(seq 100); do [ -S /run/containerd/containerd.sock ] && break; sleep 0.1; done; \
    exec ctr --namespace k8s.io images list --quiet";

/// The names of the images in a node that may just be starting. Fails at once where there is no node, and after some 10 s where it
/// has no container runtime yet: a look from outside costs tenths of a second of processor time, so there should be few.
pub fn node_images_when_ready(runner: &Runner, node: &str) -> Result<Vec<String>, Error> {
    let look = runner.command("docker");
    names(
        look.args(["exec", node, "sh", "-c", LIST_WHEN_READY])
            .read(),
    )
}

/// What a command that lists images printed.
fn names(list: Result<String, Error>) -> Result<Vec<String>, Error> {
    Ok(list?.lines().map(str::to_owned).collect())
}

/// A script in a container of an image, with arguments, without a network.
pub fn run<A: AsRef<OsStr>>(
    runner: &Runner,
    options: &[&str],
    image: &str,
    script: &str,
    args: &[A],
) -> Command {
    runner
        .command("docker")
        .args(["run", "--network", "none", "--entrypoint", "sh"])
        .args(options)
        .args([image, "-c", script, "sh"])
        .args(args)
}

/// A command that runs in a container on this machine's own network, with directories of this machine at their own paths.
#[derive(Debug)]
pub struct Container<'a> {
    /// The container's name.
    pub name: &'a str,
    /// The run that it belongs to.
    pub run: &'a str,
    /// Its image.
    pub image: &'a str,
    /// User and group, for what it writes into the directories.
    pub user: (u32, u32),
    /// Its working directory.
    pub dir: &'a Path,
    /// What it sees of this machine.
    pub mounts: &'a [&'a Path],
    /// Its variables.
    pub environment: &'a BTreeMap<String, String>,
}

impl Container<'_> {
    /// The command, which ends as the one in the container does, and passes signals on to it. Variables come by standard input: they are in
    /// no process list and no file.
    pub fn command(&self, runner: &Runner, words: &[String]) -> Command {
        let (user, group) = self.user;
        let label = format!("{LABEL}={}", self.run);
        let user = format!("{user}:{group}");
        let (one_line, several): (Vec<_>, Vec<_>) = self
            .environment
            .iter()
            .partition(|(_, value)| !value.contains('\n'));
        let file = one_line
            .iter()
            .map(|(name, value)| format!("{name}={value}\n"));
        let command = runner
            .command("docker")
            .args(["run", "--init", "--network", "host", "--name", self.name])
            .args(["--label", &label, "--user", &user, "--workdir"])
            .arg(self.dir)
            .args(["--env-file", "/dev/stdin"])
            .stdin(file.collect::<String>());
        // Such a file has a line for each: what has more is taken from the client's own variables.
        let command = several.iter().fold(command, |command, (name, value)| {
            command.args(["--env", name]).env(name, value)
        });
        let mounts = self.mounts.iter().map(|path| {
            let path = path.display();
            format!("--mount=type=bind,source={path},target={path}")
        });
        // An image's own entry point would take the command for its arguments.
        let program = words.first().map(|program| ["--entrypoint", program]);
        command
            .args(mounts)
            .args(program.into_iter().flatten())
            .arg(self.image)
            .args(words.iter().skip(1))
    }
}

/// The label by which what a run has made is found.
const LABEL: &str = "kubernaut.io/e2e-run";

/// Makes an image of what a container has changed, which starts as the image `like` does, with labels that say more of it.
pub fn commit(
    runner: &Runner,
    container: &str,
    like: &str,
    name: &str,
    labels: &[(&str, &str)],
) -> Result<(), Error> {
    let starts = |part: &str| {
        let format = format!("{{{{json .Config.{part}}}}}");
        let inspect = ["image", "inspect", "--format", &format, like];
        let value = runner.command("docker").args(inspect).read()?;
        let value = if value == "null" { "[]" } else { &value };
        Ok(format!("{} {value}", part.to_uppercase()))
    };
    let (entrypoint, command) = (starts("Entrypoint")?, starts("Cmd")?);
    let labels = labels
        .iter()
        .map(|(name, value)| format!("LABEL {name}=\"{value}\""));
    let changes = [entrypoint, command].into_iter().chain(labels);
    let changes = changes.flat_map(|change| ["--change".to_owned(), change]);
    let commit = runner.command("docker").arg("commit").args(changes);
    commit.args([container, name]).read().map(drop)
}

/// A label of an image, if it has it.
pub fn label(runner: &Runner, image: &str, label: &str) -> Option<String> {
    let format = format!("{{{{index .Config.Labels \"{label}\"}}}}");
    let inspect = ["image", "inspect", "--format", &format, image];
    let value = runner.command("docker").args(inspect).read().ok()?;
    (!value.is_empty() && value != "<no value>").then_some(value)
}

/// How many bytes an image has, with the layers that it shares with others.
pub fn image_size(runner: &Runner, image: &str) -> Option<u64> {
    let inspect = ["image", "inspect", "--format", "{{.Size}}", image];
    let size = runner.command("docker").args(inspect).read().ok()?;
    size.parse().ok()
}

/// The volumes whose name begins so.
pub fn volumes(runner: &Runner, prefix: &str) -> Result<Vec<String>, Error> {
    let filter = format!("name=^{prefix}");
    let list = ["volume", "ls", "--quiet", "--filter", &filter];
    let listed = runner.command("docker").args(list).read()?;
    Ok(listed.lines().map(str::to_owned).collect())
}

/// Makes an empty volume; one that is there already is no error.
pub fn create_volume(runner: &Runner, name: &str) -> Result<(), Error> {
    let create = ["volume", "create", name];
    runner.command("docker").args(create).read().map(drop)
}

/// How long an archive of some gigabytes may take to be written or read.
pub const ARCHIVED: Duration = Duration::from_mins(15);

/// Loads images from an archive, to be given to it, and prints what it has loaded.
pub fn load_piped(runner: &Runner) -> Command {
    let load = runner.command("docker").arg("load");
    load.deadline(ARCHIVED)
}

/// Containerd keeps in extended attributes and in device files which of a layer hides what of those below it.
const TAR: &str = "tar --xattrs --xattrs-include='*' --numeric-owner --sparse -C /volume";

/// What is in a volume as an archive on standard output, by `tar` of an image.
pub fn pack_volume(runner: &Runner, volume: &str, image: &str) -> Command {
    let mount = format!("{volume}:/volume:ro");
    // Docker would keep what a container prints in a file of its own.
    let options = ["--rm", "--log-driver", "none", "--privileged", "--volume"];
    let options = [&options[..], &[&mount]].concat();
    let script = format!("exec {TAR} --create .");
    run::<&str>(runner, &options, image, &script, &[]).deadline(ARCHIVED)
}

/// Unpacks such an archive from standard input into a volume, in a container of that name.
pub fn unpack_volume(runner: &Runner, volume: &str, image: &str, container: &str) -> Command {
    let mount = format!("{volume}:/volume");
    let options = ["--rm", "--interactive", "--privileged", "--name", container];
    let options = [&options[..], &["--volume", &mount]].concat();
    let script = format!("exec {TAR} --extract");
    run::<&str>(runner, &options, image, &script, &[]).deadline(ARCHIVED)
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Sized {
    name: String,
    size: String,
}

/// How much each volume takes on disk, in Docker's words, where it tells.
pub fn volume_sizes(runner: &Runner) -> BTreeMap<String, String> {
    let df = ["system", "df", "--verbose", "--format", "{{json .Volumes}}"];
    let told = runner.command("docker").args(df).read();
    let told = told.unwrap_or_default();
    let volumes: Vec<Sized> = serde_json::from_str(&told).unwrap_or_default();
    let pairs = volumes.into_iter().map(|one| (one.name, one.size));
    pairs.collect()
}

/// Names an image.
pub fn tag(runner: &Runner, image: &str, name: &str) -> Result<(), Error> {
    let tag = runner.command("docker").args(["tag", image, name]);
    tag.read().map(drop)
}

/// The tags that the host has of a repository.
pub fn tags(runner: &Runner, repository: &str) -> Vec<String> {
    let list = ["image", "ls", "--format", "{{.Tag}}", repository];
    let tags = runner
        .command("docker")
        .args(list)
        .read()
        .unwrap_or_default();
    tags.lines().map(str::to_owned).collect()
}

/// When an image was made, if the host has it.
pub fn created(runner: &Runner, image: &str) -> Option<Timestamp> {
    let inspect = ["image", "inspect", "--format", "{{.Created}}", image];
    let created = runner.command("docker").args(inspect).read().ok()?;
    created.parse().ok()
}

/// Removes an image's name, and the image with its last one, unless a container is made from it.
pub fn remove_unused_image(runner: &Runner, image: &str) -> bool {
    let remove = runner.command("docker").args(["image", "rm", image]);
    remove.read().is_ok()
}

/// The flags that make a container like one that is there: what it sees, may do and is given, without its name, labels and ports.
pub fn flags_of(runner: &Runner, container: &str) -> Result<Vec<String>, Error> {
    let format = "--restart={{.HostConfig.RestartPolicy.Name}}\
        {{with .HostConfig.RestartPolicy.MaximumRetryCount}}:{{.}}{{end}}\n\
        {{if .HostConfig.Privileged}}--privileged\n{{end}}{{if .Config.Tty}}--tty\n{{end}}\
        {{with .HostConfig.CgroupnsMode}}--cgroupns={{.}}\n{{end}}\
        {{with .HostConfig.UsernsMode}}--userns={{.}}\n{{end}}\
        {{range .HostConfig.SecurityOpt}}--security-opt={{.}}\n{{end}}\
        {{range $path, $options := .HostConfig.Tmpfs}}--tmpfs={{$path}}{{with $options}}:{{.}}{{end}}\n{{end}}\
        {{range .HostConfig.Binds}}--volume={{.}}\n{{end}}\
        {{range $path, $_ := .Config.Volumes}}--volume={{$path}}\n{{end}}\
        {{range .HostConfig.Devices}}--device={{.PathOnHost}}:{{.PathInContainer}}:{{.CgroupPermissions}}\n{{end}}\
        {{range .Config.Env}}--env={{.}}\n{{end}}";
    let inspect = ["inspect", "--format", format, container];
    let flags = runner.command("docker").args(inspect).read()?;
    let flags = flags.lines().filter(|flag| !flag.is_empty());
    Ok(flags.map(str::to_owned).collect())
}

/// Makes a container of an image, which does not run yet; the words after the image's name are its command.
pub fn create(
    runner: &Runner,
    options: &[String],
    image: &str,
    command: &[&str],
) -> Result<(), Error> {
    let create = runner.command("docker").arg("create").args(options);
    create.arg(image).args(command).read().map(drop)
}

/// Starts a container that was made.
pub fn start(runner: &Runner, container: &str) -> Result<(), Error> {
    let start = runner.command("docker").args(["start", container]);
    start.read().map(drop)
}

/// Unpacks an archive at the root of a container, running or not. What it holds is seen by nobody else.
pub fn unpack(runner: &Runner, container: &str, archive: Vec<u8>) -> Result<(), Error> {
    let copy = ["cp", "-", &format!("{container}:/")];
    let copy = runner.command("docker").args(copy).stdin(archive);
    copy.read().map(drop)
}

/// A script in a container that runs, with arguments.
pub fn exec<A: AsRef<OsStr>>(
    runner: &Runner,
    container: &str,
    script: &str,
    args: &[A],
) -> Command {
    runner
        .command("docker")
        .args(["exec", container, "sh", "-c", script, "sh"])
        .args(args)
}

/// The address of a container in a network.
pub fn address(runner: &Runner, container: &str, network: &str) -> Result<String, Error> {
    let format = format!(
        "{{{{with index .NetworkSettings.Networks \"{network}\"}}}}{{{{.IPAddress}}}}{{{{end}}}}"
    );
    let inspect = ["inspect", "--format", &format, container];
    runner.command("docker").args(inspect).read()
}

/// Where a volume lies for the daemon.
pub fn volume_directory(runner: &Runner, volume: &str) -> Result<PathBuf, Error> {
    let inspect = ["volume", "inspect", "--format", "{{.Mountpoint}}", volume];
    let directory = runner.command("docker").args(inspect).read()?;
    Ok(PathBuf::from(directory))
}

/// Removes a container, running or not; one that does not exist is no error.
pub fn remove_container(runner: &Runner, name: &str) -> Result<(), Error> {
    if container_exists(runner, name)? {
        let remove = ["rm", "--force", "--volumes", name];
        runner.command("docker").args(remove).read()?;
    }
    Ok(())
}

/// Whether a container of that name exists, running or not.
pub fn container_exists(runner: &Runner, name: &str) -> Result<bool, Error> {
    let filter = format!("name=^/{name}$");
    Ok(!runner
        .command("docker")
        .args(["ps", "--all", "--quiet", "--filter", &filter])
        .read()?
        .is_empty())
}

/// The anonymous volumes of a container; none if it does not exist.
pub fn volumes_of(runner: &Runner, container: &str) -> Vec<String> {
    let format = "{{range .Mounts}}{{if eq .Type \"volume\"}}{{.Name}} {{end}}{{end}}";
    let listed = runner
        .command("docker")
        .args(["inspect", "--format", format, container])
        .read()
        .unwrap_or_default();
    listed.split_whitespace().map(str::to_owned).collect()
}

/// Removes volumes that no container uses any more.
pub fn remove_volumes(runner: &Runner, volumes: &[String]) {
    if !volumes.is_empty() {
        // Those that went with their container are gone already, and that is no fault.
        drop(
            runner
                .command("docker")
                .args(["volume", "rm", "--force"])
                .args(volumes)
                .output(),
        );
    }
}

/// Thaws the control groups of a container (cgroup v1, freezer). runc freezes a group for a moment while it sets a pod up; a node that is
/// killed in that moment leaves it frozen, and nothing frozen can die. Where this process may not write there, nothing happens.
pub fn unfreeze(runner: &Runner, container: &str) {
    let id = runner
        .command("docker")
        .args(["inspect", "--format", "{{.Id}}", container])
        .read()
        .unwrap_or_default();
    if !id.is_empty() {
        unfreeze_below(&Path::new("/sys/fs/cgroup/freezer/docker").join(id));
    }
}

fn unfreeze_below(group: &Path) {
    for entry in std::fs::read_dir(group)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.path().is_dir())
    {
        unfreeze_below(&entry.path());
    }
    let state = group.join("freezer.state");
    if std::fs::read_to_string(&state).is_ok_and(|text| text.trim() == "FROZEN") {
        // Refused to all but root, which the failure of the deletion then tells.
        drop(std::fs::write(&state, "THAWED"));
    }
}

/// How long a container must stay away after a creation that was cut short; one takes Docker one to three seconds to make.
pub const SETTLED: Duration = Duration::from_secs(4);

/// How long deleting a cluster may take on a busy machine.
const DELETED: Duration = Duration::from_secs(90);

/// Removes a container until it has been away for `settled`: Docker goes on making one whose client is dead, and shows it only when
/// it is done.
pub fn until_gone(
    runner: &Runner,
    container: &str,
    settled: Duration,
    mut remove: impl FnMut() -> Result<(), Error>,
) -> Result<(), String> {
    let (began, mut absent) = (Instant::now(), None);
    let mut refused = String::new();
    loop {
        if container_exists(runner, container).map_err(|error| error.to_string())? {
            absent = None;
            match remove() {
                Ok(()) => {}
                Err(error @ Error::Cancelled { .. }) => return Err(error.to_string()),
                Err(error) => refused = format!(": {error}"),
            }
        } else if absent.get_or_insert_with(Instant::now).elapsed() >= settled {
            return Ok(());
        }
        if began.elapsed() > DELETED {
            return Err(format!(
                "the container {container} is still there after {} s{refused}",
                DELETED.as_secs()
            ));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}
