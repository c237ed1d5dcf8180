//! The stages of a run in a Kind cluster.

use std::net::TcpListener;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::database::Database;
use crate::exit::{Exit, Failure};
use crate::image;
use crate::lifecycle::session::Session;
use crate::manifest::{self, Manifest};
use crate::process::Door;
use crate::service::Ports;
use crate::state::Resource;
use crate::tools::kubectl::Kubectl;
use crate::tools::{docker, kind};

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
fn postgres_image() -> String {
    std::env::var("POSTGRES_IMAGE")
        .ok()
        .filter(|image| !image.is_empty())
        .unwrap_or_else(|| "postgres:16-alpine".to_owned())
}

/// The node image: kind's own default for its version unless the user names another.
fn node_image() -> Option<String> {
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

fn labels(run: &str) -> [(&str, &str); 2] {
    [
        ("kubernaut.io/e2e-run", run),
        ("kubernaut.io/e2e-owner", "xtask"),
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

fn taken(port: u16) -> bool {
    TcpListener::bind(("127.0.0.1", port)).is_err()
}

fn owner_of(door: &Door, port: u16) -> String {
    let listed = door
        .cmd("ss")
        .args(["-Hltnp", &format!("sport = :{port}")])
        .read();
    listed.unwrap_or_else(|_| format!("something listens on 127.0.0.1:{port}"))
}

/// Creates the cluster with the block of node ports mapped; Data Storage's host port is the service's own where it is free.
pub fn create_cluster(session: &Session, deadline: Duration) -> Result<String, Failure> {
    let (door, name) = (&session.door, cluster(session));
    session
        .run
        .will_make(Resource::Cluster { name: name.clone() })
        .map_err(|error| Failure::new(Exit::Setup, format!("{error:#}")))?;
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
    let ports = docker::published_ports(door, &kind::node(&name))?;
    let note = match ports.get(&DATASTORAGE) {
        Some(port) if *port == own => format!("{name}, Data Storage on its own port {own}"),
        Some(port) => format!("{name}, port {own} is taken: leased {port}"),
        None => {
            return Err(Failure::new(
                Exit::Setup,
                format!("{name} publishes no node port {DATASTORAGE}"),
            ));
        }
    };
    session.made.ports.get_or_init(|| ports);
    Ok(note)
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
    docker::ensure_image(door, &image, "POSTGRES_IMAGE")?;
    let began = Instant::now();
    while let Err(seen) = docker::node_images(door, &node) {
        door.cancel().check()?;
        if began.elapsed() > deadline {
            return Err(Failure::new(
                Exit::Deadline,
                format!(
                    "{node} had no container runtime after {} s",
                    deadline.as_secs()
                ),
            )
            .seen(seen.to_string()));
        }
        std::thread::sleep(Duration::from_millis(250));
    }
    docker::stream_into_node(door, &image, &node)
        .map_err(|error| error.into_failure(Exit::Setup, door.cancel()))?;
    listed(door, &node, &image)?;
    Ok(image)
}

/// Wraps the Data Storage binary as an image and streams it into the node.
pub fn load_datastorage(session: &Session) -> Result<String, Failure> {
    let (door, node) = (&session.door, kind::node(&cluster(session)));
    let binary = std::fs::read(Session::made(
        &session.made.datastorage,
        "the Data Storage binary",
    )?)
    .map_err(|error| {
        Failure::new(
            Exit::Setup,
            format!("cannot read the Data Storage binary: {error}"),
        )
    })?;
    let image = image::of_binary("datastorage", &binary).map_err(|error| {
        Failure::new(
            Exit::Setup,
            format!("cannot wrap Data Storage as an image: {error}"),
        )
    })?;
    docker::archive_into_node(door, image.archive, &node)
        .map_err(|error| error.into_failure(Exit::Setup, door.cancel()))?;
    listed(door, &node, &image.reference)?;
    Ok(session.made.image.get_or_init(|| image.reference).clone())
}

/// An import's exit status is not proof: the node's container runtime itself must list the image.
fn listed(door: &Door, node: &str, image: &str) -> Result<(), Failure> {
    let names = docker::node_images(door, node)
        .map_err(|error| error.into_failure(Exit::Setup, door.cancel()))?;
    if names.iter().any(|name| name.ends_with(image)) {
        return Ok(());
    }
    Err(Failure::new(
        Exit::Setup,
        format!("{image} was imported, yet the node's container runtime does not list it"),
    )
    .next(format!(
        "`docker exec {node} crictl images` shows what it has"
    )))
}

/// Applies namespace, Secret and PostgreSQL.
pub fn deploy_postgres(session: &Session) -> Result<String, Failure> {
    let run = session.run.id();
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
    let kubectl = kubectl(session);
    kubectl.apply(&namespace.labelled(&labels(&run)))?;
    kubectl.apply(&[vec![secret], postgres.labelled(&labels(&run))].concat())?;
    Ok(postgres_image())
}

/// Waits until PostgreSQL's pod is ready over TCP, and keeps its address as this machine sees it.
pub fn await_postgres(session: &Session, deadline: Duration) -> Result<String, Failure> {
    kubectl(session).await_ready("app=postgres", deadline)?;
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
    let run = session.run.id();
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
            drain_pause: "2s",
            profile: &session.service.profile,
        };
        objects.push(manifest::config_map(
            name,
            &json!({"config.yaml": config.yaml()}),
        ));
        let secrets = crate::datastorage::secrets(USER, &session.password);
        objects.push(manifest::secret(name, &json!({"db-secrets.yaml": secrets})));
        let deployment = Manifest::parse(manifest::DATASTORAGE)?
            .rename("datastorage", name)
            .set(
                "Deployment",
                "/spec/template/spec/containers/0/image",
                image.clone(),
            )
            .set("Service", "/spec/ports/0/nodePort", node_port);
        objects.extend(deployment.labelled(&labels(&run)));
    }
    kubectl(session).apply(&objects)?;
    let url = |node_port| {
        Ok(format!(
            "http://127.0.0.1:{}",
            host_port(session, node_port)?
        ))
    };
    let (url, unmigrated_url) = (url(DATASTORAGE)?, url(UNMIGRATED)?);
    session.made.unmigrated_url.get_or_init(|| unmigrated_url);
    Ok(session.made.url.get_or_init(|| url).clone())
}

/// Waits for the pod's Ready condition, then for the service itself on the path that the suite takes.
pub fn await_datastorage(session: &Session, deadline: Duration) -> Result<String, Failure> {
    kubectl(session).await_ready("app=datastorage", deadline)?;
    session.await_health(deadline)
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
