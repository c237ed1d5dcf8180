//! The stages of a run in a Kind cluster.

use std::net::TcpListener;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::database::Database;
use crate::exit::{Exit, Failure};
use crate::health::Health;
use crate::image::{self, fingerprint};
use crate::lifecycle::session::{Level, Session};
use crate::manifest::{self, Manifest};
use crate::process::Door;
use crate::service::Ports;
use crate::state::Resource;
use crate::tools::kubectl::Kubectl;
use crate::tools::{cargo, docker, kind};

/// Node port of Data Storage, as the existing suites know it.
const DATASTORAGE: u16 = 30081;
/// Node port of the second Data Storage.
const UNMIGRATED: u16 = 30082;
/// Node port of PostgreSQL.
const POSTGRES: u16 = 30083;
/// D24.
const USER: &str = "slm_user";
/// D24.
const DATABASE: &str = "action_history";
/// The database of the second Data Storage. PostgreSQL's image makes only one; its maintenance database stays empty.
const UNMIGRATED_DATABASE: &str = "postgres";

/// The PostgreSQL image: the official one unless the user names another.
pub fn postgres_image() -> String {
    std::env::var("POSTGRES_IMAGE")
        .ok()
        .filter(|image| !image.is_empty())
        .unwrap_or_else(|| "postgres:16-alpine".to_owned())
}

/// The node image: kind's own default for its version unless the user names another.
pub fn node_image() -> Option<String> {
    std::env::var("KIND_NODE_IMAGE")
        .ok()
        .filter(|image| !image.is_empty())
}

fn cluster(session: &Session) -> String {
    format!("e2e-{}", session.run.id())
}

fn kubeconfig(session: &Session) -> PathBuf {
    session.run.dir().join("kubeconfig")
}

fn kubectl(session: &Session) -> Kubectl {
    Kubectl::new(
        session.door.clone(),
        &kubeconfig(session),
        &session.service.namespace,
    )
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

/// Docker, kind and kubectl answer, and the service's ports are free where it insists on them.
pub fn preflight(session: &Session) -> Result<String, Failure> {
    let door = &session.door;
    let missing = |error: crate::process::Error, next: &str| {
        let failure = error.into_failure(Exit::Preflight, door.cancel());
        Failure {
            exit: if failure.exit == Exit::Setup {
                Exit::Preflight
            } else {
                failure.exit
            },
            ..failure
        }
        .next(next)
    };
    let docker = docker::version(door)
        .map_err(|error| missing(error, "start Docker, or run with --target local"))?;
    let kind = kind::version(door)
        .map_err(|error| missing(error, "install kind, or run with --target local"))?;
    door.cmd("kubectl")
        .args(["version", "--client", "--output", "json"])
        .read()
        .map_err(|error| missing(error, "install kubectl, or run with --target local"))?;
    if session.service.ports == Ports::Fixed && taken(session.service.datastorage_port) {
        let port = session.service.datastorage_port;
        return Err(Failure::new(
            Exit::Preflight,
            format!(
                "port {port} is fixed for {} and taken",
                session.service.name
            ),
        )
        .seen(owner_of(door, port))
        .next("end its owner, or set `ports = \"preferred\"` in kind/services.toml"));
    }
    Ok(format!("docker {docker}, kind {kind}"))
}

/// Whether something listens on a port of this host.
pub fn taken(port: u16) -> bool {
    TcpListener::bind(("127.0.0.1", port)).is_err()
}

/// Who listens on a port, as far as this user may know.
pub fn owner_of(door: &Door, port: u16) -> String {
    let listed = door
        .cmd("ss")
        .args(["-Hltnp", &format!("sport = :{port}")])
        .read();
    listed.unwrap_or_else(|_| format!("something listens on 127.0.0.1:{port}"))
}

/// What a cluster is made from: its configuration without the host ports, which a running one keeps, and the node image.
fn cluster_fingerprint(session: &Session) -> Result<String, Failure> {
    let image = node_image().map(|image| docker::image_id(&session.door, &image).unwrap_or(image));
    Ok(fingerprint(&[
        &kind::config(&[])?,
        &image.unwrap_or_default(),
    ]))
}

/// Creates the cluster with the block of node ports mapped; Data Storage's host port is the service's own where it is free.
pub fn create_cluster(session: &Session, deadline: Duration) -> Result<String, Failure> {
    let (door, name) = (&session.door, cluster(session));
    let made_from = cluster_fingerprint(session)?;
    if session.is_made_from(Level::Cluster, &made_from)
        && docker::is_running(door, &kind::node(&name))
    {
        publish(session, &name)?;
        return Ok(format!(
            "{name} is used again: same configuration and node image"
        ));
    }
    let why = session.why_made(Level::Cluster);
    clear(session, &name)?;
    session
        .run
        .will_make(Resource::Cluster { name: name.clone() })
        .map_err(Failure::setup)?;
    let own = session.service.datastorage_port;
    let wanted = if taken(own) {
        Vec::new()
    } else {
        vec![(DATASTORAGE, own)]
    };
    let config = kind::config(&wanted)?;
    kind::create(door, &name, &config, node_image().as_deref(), &kubeconfig(session), deadline).map_err(|error| {
        let failure = error.into_failure(Exit::Setup, door.cancel());
        let next = match node_image() {
            Some(image) => format!("KIND_NODE_IMAGE is {image}: `docker image inspect {image}` says whether it is there"),
            None => "set KIND_NODE_IMAGE to a node image that this host has or can pull".to_owned(),
        };
        failure.next(next)
    })?;
    session.made_from(Level::Cluster, &made_from)?;
    match publish(session, &name)? {
        port if port == own => Ok(format!("{name}, Data Storage on its own port {own}{why}")),
        port => Ok(format!("{name}, port {own} is taken: leased {port}{why}")),
    }
}

/// Removes what an earlier run kept and this one cannot use: with the cluster goes everything in it.
fn clear(session: &Session, name: &str) -> Result<(), Failure> {
    let made = Resource::Cluster {
        name: name.to_owned(),
    };
    if !session.run.state().resources.contains(&made) {
        return Ok(());
    }
    let forget = |state: &mut crate::state::State| state.fingerprints.clear();
    session.run.update(forget).map_err(Failure::setup)?;
    kind::delete(&session.door, name, &kubeconfig(session))
        .map_err(|error| error.into_failure(Exit::Setup, session.door.cancel()))
}

/// Keeps the host port of every node port, and returns Data Storage's.
fn publish(session: &Session, cluster: &str) -> Result<u16, Failure> {
    let ports = docker::published_ports(&session.door, &kind::node(cluster))?;
    session.made.ports.get_or_init(|| ports);
    host_port(session, DATASTORAGE)
}

fn host_port(session: &Session, node_port: u16) -> Result<u16, Failure> {
    let ports = Session::made(&session.made.ports, "the ports")?;
    ports.get(&node_port).copied().ok_or_else(|| {
        Failure::new(
            Exit::Setup,
            format!("the cluster publishes no node port {node_port}"),
        )
    })
}

/// Streams PostgreSQL's image into the node as soon as its container runtime answers.
pub fn load_postgres(session: &Session, deadline: Duration) -> Result<String, Failure> {
    let (door, node, image) = (
        &session.door,
        kind::node(&cluster(session)),
        postgres_image(),
    );
    let id = docker::ensure_image(door, &image, "POSTGRES_IMAGE")?;
    let began = Instant::now();
    let present = loop {
        match docker::node_images(door, &node) {
            Ok(images) => break images,
            Err(seen) => {
                door.cancel().check()?;
                if began.elapsed() > deadline {
                    let waited = format!(
                        "{node} had no container runtime after {} s",
                        deadline.as_secs()
                    );
                    return Err(Failure::new(Exit::Deadline, waited).seen(seen.to_string()));
                }
            }
        }
        std::thread::sleep(Duration::from_millis(250));
    };
    // The name may stand for another image by now: only the content tells whether the node has this one.
    let content = docker::content_name(&id);
    if present.contains(&content) && find(&present, &image).is_some() {
        return Ok(format!("{image} is in the node already"));
    }
    let failed = |error: crate::process::Error| error.into_failure(Exit::Setup, door.cancel());
    docker::stream_into_node(door, &image, &node).map_err(failed)?;
    let name = listed(door, &node, &image)?;
    docker::tag_in_node(door, &node, &name, &content).map_err(failed)?;
    Ok(image)
}

/// Brings Data Storage's image into the node unless it is there: the static binary wrapped as an image, or, on hosts that cannot
/// build that, an image that Docker builds.
pub fn load_datastorage(session: &Session) -> Result<String, Failure> {
    let (door, node) = (&session.door, kind::node(&cluster(session)));
    let failed = |error: crate::process::Error| error.into_failure(Exit::Setup, door.cancel());
    let present = docker::node_images(door, &node).map_err(failed)?;
    let reference = if cargo::BUILDS_STATIC {
        let binary = Session::made(&session.made.datastorage, "the Data Storage binary")?;
        let image = std::fs::read(binary)
            .and_then(|bytes| image::of_binary("datastorage", &bytes))
            .map_err(Failure::setup)?;
        if !present.contains(&image.reference) {
            docker::archive_into_node(door, image.archive, &node).map_err(failed)?;
        }
        image.reference
    } else {
        let reference = docker::build(
            door,
            &session.paths.source,
            "kind/datastorage.Dockerfile",
            "kubernaut-datastorage",
        )
        .map_err(failed)?;
        if !present.contains(&reference) {
            docker::stream_into_node(door, &reference, &node).map_err(failed)?;
        }
        reference
    };
    let known = if present.contains(&reference) {
        " is in the node already"
    } else {
        ""
    };
    listed(door, &node, &reference)?;
    Ok(format!(
        "{}{known}",
        session.made.image.get_or_init(|| reference)
    ))
}

/// An import's exit status is not proof: the node's container runtime itself must list the image. Returns its name there.
fn listed(door: &Door, node: &str, image: &str) -> Result<String, Failure> {
    let names = docker::node_images(door, node)
        .map_err(|error| error.into_failure(Exit::Setup, door.cancel()))?;
    find(&names, image).ok_or_else(|| {
        Failure::new(
            Exit::Setup,
            format!("{image} was imported, yet the node's container runtime does not list it"),
        )
        .next(format!(
            "`docker exec {node} crictl images` shows what it has"
        ))
    })
}

/// An image among the node's, whose names are whole where people leave the registry out.
fn find(names: &[String], image: &str) -> Option<String> {
    let whole = [
        image.to_owned(),
        format!("docker.io/{image}"),
        format!("docker.io/library/{image}"),
    ];
    names.iter().find(|name| whole.contains(name)).cloned()
}

/// Applies namespace, Secret and PostgreSQL.
pub fn deploy_postgres(session: &Session) -> Result<String, Failure> {
    let namespace = Manifest::parse(manifest::NAMESPACE)?.set(
        "Namespace",
        "/metadata/name",
        session.service.namespace.clone(),
    );
    let secret = manifest::secret("postgres", &json!({"password": session.password}));
    let postgres = Manifest::parse(manifest::POSTGRES)?
        .set(
            "Deployment",
            "/spec/template/spec/containers/0/image",
            postgres_image(),
        )
        .set("Service", "/spec/ports/0/nodePort", POSTGRES);
    let objects = [namespace.objects(), vec![secret], postgres.objects()].concat();
    Ok(format!(
        "{}{}",
        postgres_image(),
        ensure(session, Level::Postgres, &objects)?
    ))
}

/// Applies objects unless an earlier run has applied the very same; says which. The namespace, if any, comes first in the list.
fn ensure(session: &Session, level: Level, objects: &[Value]) -> Result<&'static str, Failure> {
    let made_from = fingerprint(&[&Value::from(objects.to_vec()).to_string()]);
    if session.is_made_from(level, &made_from) {
        return Ok(" is used again: same objects");
    }
    let why = session.why_made(level);
    let mut objects = objects.to_vec();
    manifest::label(&mut objects, &labels(session));
    let (namespaces, rest): (Vec<_>, Vec<_>) = objects
        .into_iter()
        .partition(|object| object["kind"] == "Namespace");
    let kubectl = kubectl(session);
    for objects in [namespaces, rest]
        .iter()
        .filter(|objects| !objects.is_empty())
    {
        kubectl.apply(objects)?;
    }
    session.made_from(level, &made_from)?;
    Ok(why)
}

/// Waits until PostgreSQL's pod is ready over TCP, and keeps its address as this machine sees it.
pub fn await_postgres(session: &Session, deadline: Duration) -> Result<String, Failure> {
    kubectl(session).await_ready("app=postgres", deadline, || None)?;
    record(session, "postgres")?;
    let port = host_port(session, POSTGRES)?;
    let database = |name: &str| Database {
        host: "127.0.0.1".to_owned(),
        port,
        user: USER.to_owned(),
        name: name.to_owned(),
        password: session.password.clone(),
    };
    session
        .made
        .unmigrated
        .get_or_init(|| database(UNMIGRATED_DATABASE));
    Ok(session
        .made
        .database
        .get_or_init(|| database(DATABASE))
        .url())
}

/// Applies Data Storage, and a second one on the empty database.
pub fn deploy_datastorage(session: &Session) -> Result<String, Failure> {
    let image = Session::made(&session.made.image, "the Data Storage image")?;
    let mut objects = Vec::new();
    for (name, database, node_port) in [
        ("datastorage", DATABASE, DATASTORAGE),
        ("datastorage-unmigrated", UNMIGRATED_DATABASE, UNMIGRATED),
    ] {
        let config = crate::datastorage::Config {
            listen: ("0.0.0.0", 8080),
            database: ("postgres", 5432, database, USER),
            secrets: "/etc/datastorage/secrets/db-secrets.yaml".into(),
            queue: "/var/lib/datastorage/queue".into(),
            profile: &session.service.profile,
        };
        let secrets = crate::datastorage::secrets(USER, &session.password);
        objects.push(manifest::config_map(
            name,
            &json!({"config.yaml": config.yaml()}),
        ));
        objects.push(manifest::secret(name, &json!({"db-secrets.yaml": secrets})));
        let deployment = Manifest::parse(manifest::DATASTORAGE)?
            .rename("datastorage", name)
            .set(
                "Deployment",
                "/spec/template/spec/containers/0/image",
                image.clone(),
            )
            .set("Service", "/spec/ports/0/nodePort", node_port);
        objects.extend(deployment.objects());
    }
    let note = ensure(session, Level::DataStorage, &objects)?;
    let url = |node_port| {
        Ok(format!(
            "http://127.0.0.1:{}",
            host_port(session, node_port)?
        ))
    };
    let (url, unmigrated_url) = (url(DATASTORAGE)?, url(UNMIGRATED)?);
    session.made.unmigrated_url.get_or_init(|| unmigrated_url);
    Ok(format!("{}{note}", session.made.url.get_or_init(|| url)))
}

/// Waits for the pod's Ready condition, then for the service itself on the path that the suite takes.
pub fn await_datastorage(session: &Session, deadline: Duration) -> Result<String, Failure> {
    let mut health = Health::of(Session::made(&session.made.url, "Data Storage's address")?);
    kubectl(session).await_ready("app=datastorage", deadline, || {
        session.look(&mut health).err()
    })?;
    record(session, "datastorage")?;
    session.await_health(deadline)
}

/// Follows the logs of an application into a file, so that a pod which is gone when something fails has still spoken.
fn record(session: &Session, app: &str) -> Result<(), Failure> {
    let follow = [
        "logs",
        "--follow",
        "--all-containers",
        "--ignore-errors",
        "--selector",
        &format!("app={app}"),
        "--tail",
        "-1",
    ];
    let log = session.run.dir().join(format!("{app}.log"));
    let follower = kubectl(session).cmd().args(follow).spawn(&log);
    follower
        .map(drop)
        .map_err(|error| error.into_failure(Exit::Setup, session.door.cancel()))
}

/// Keeps what the cluster knows: objects, events, logs. Secrets are left out.
pub fn collect(session: &Session, door: &Door) {
    let kubectl = kubectl(session).through(door);
    if !kubeconfig(session).exists() {
        return;
    }
    let keep = |name: &str, text: String| {
        drop(crate::state::write_private(
            &session.run.dir().join(name),
            text.as_bytes(),
        ));
    };
    let read = |args: &[&str]| {
        kubectl
            .cmd()
            .args(args)
            .deadline(Duration::from_secs(15))
            .read()
            .unwrap_or_else(|error| error.to_string())
    };
    keep(
        "pods.yaml",
        read(&["get", "pods,deployments,services", "--output", "yaml"]),
    );
    keep(
        "events.txt",
        read(&["get", "events", "--sort-by", ".lastTimestamp"]),
    );
    let pods = read(&["get", "pods", "--output", "json"]);
    let pods: Value = serde_json::from_str(&pods).unwrap_or_default();
    for pod in pods["items"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|pod| pod["metadata"]["name"].as_str())
    {
        keep(
            &format!("{pod}.log"),
            read(&["logs", pod, "--all-containers", "--tail", "2000"]),
        );
        if let Ok(previous) = kubectl
            .cmd()
            .args(["logs", pod, "--previous"])
            .deadline(Duration::from_secs(10))
            .read()
        {
            keep(&format!("{pod}.previous.log"), previous);
        }
    }
}
