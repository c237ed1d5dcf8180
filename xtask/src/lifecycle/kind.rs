//! The stages of a run in a Kind cluster.

use std::net::TcpListener;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use crate::database::Database;
use crate::exit::{Exit, Failure};
use crate::health::Health;
use crate::image::fingerprint;
use crate::lifecycle::reuse::Level;
use crate::lifecycle::session::Session;
use crate::lifecycle::tenant::{DATABASE, Tenant};
use crate::lifecycle::{own, wait};
use crate::manifest::{self, Manifest};
use crate::process::Door;
use crate::service::{Component, Policy};
use crate::settings::{node_image, postgres_image};
use crate::state::{Resource, processes};
use crate::tools::kubectl::Kubectl;
use crate::tools::{docker, kind};

/// Node port of PostgreSQL.
const POSTGRES: u16 = 30080;
/// Node port of the first service's Data Storage, as the existing suites know it; each further service has the next four.
const FIRST: u16 = 30081;
/// Node ports of each service: Data Storage, the second one, the service itself, one to spare.
const EACH: u16 = 4;
/// D24.
const USER: &str = "slm_user";
/// The namespace of a PostgreSQL that several services share.
const SHARED: &str = "kubernaut-e2e";
/// Where Data Storage and services listen inside the cluster.
const LISTEN: u16 = 8080;

/// The address of a service's Data Storage inside the cluster, and of its second one: the addresses after PostgreSQL's (`kind/manifests`).
fn cluster_ip(tenant: &Tenant, unmigrated: bool) -> String {
    format!(
        "10.96.0.{}",
        81 + 2 * tenant.position + u16::from(unmigrated)
    )
}

/// The node ports of a service.
struct NodePorts {
    datastorage: u16,
    unmigrated: u16,
    service: u16,
}

fn node_ports(tenant: &Tenant) -> NodePorts {
    let datastorage = FIRST + EACH * tenant.position;
    NodePorts {
        datastorage,
        unmigrated: datastorage + 1,
        service: datastorage + 2,
    }
}

/// The name of the run's cluster.
pub fn cluster(session: &Session) -> String {
    kind::cluster(&session.run.id())
}

fn kubeconfig(session: &Session) -> PathBuf {
    session.run.dir().join("kubeconfig")
}

/// kubectl in one of the run's namespaces.
pub fn kubectl(session: &Session, namespace: &str) -> Kubectl {
    Kubectl::new(session.door.clone(), &kubeconfig(session), namespace)
}

/// The namespace of PostgreSQL: that of the only service, or one that all share.
fn home(session: &Session) -> &str {
    if session.is_shared() {
        SHARED
    } else {
        &session.tenants[0].namespace
    }
}

fn namespace(name: &str) -> Result<Vec<Value>, Failure> {
    Ok(Manifest::parse(manifest::NAMESPACE)?
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

/// Docker and kind answer, kubectl is there, and the service's ports are free where it insists on them.
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
    let (docker, kind) = std::thread::scope(|scope| {
        let docker = scope.spawn(|| docker::version(door));
        let kind = kind::version(door);
        (
            docker.join().unwrap_or_else(|panic| resume_unwind(panic)),
            kind,
        )
    });
    let docker =
        docker.map_err(|error| missing(error, "start Docker, or run with --target local"))?;
    let kind = kind.map_err(|error| missing(error, "install kind, or run with --target local"))?;
    // Only looked for: it takes as long to start as the other two together, and has no daemon that may be away.
    Door::find("kubectl")
        .map_err(|error| missing(error, "install kubectl, or run with --target local"))?;
    wanted(session)?;
    Ok(format!("docker {docker}, kind {kind}"))
}

/// The host ports to ask for, by node port: each service's own where they are free. One that insists on a taken port is a failure.
fn wanted(session: &Session) -> Result<Vec<(u16, u16)>, Failure> {
    let mut wanted: Vec<(u16, u16)> = Vec::new();
    for tenant in &session.tenants {
        let (ports, nodes) = (&tenant.service.ports, node_ports(tenant));
        let pairs = [
            (nodes.datastorage, ports.datastorage),
            (nodes.service, ports.service),
        ];
        for (node, host) in pairs
            .into_iter()
            .filter_map(|(node, host)| Some((node, host?)))
        {
            let claimed = wanted.iter().any(|(_, other)| *other == host);
            if !claimed && !taken(host) {
                wanted.push((node, host));
            } else if ports.policy == Policy::Fixed {
                let owner = if claimed {
                    "another service of this run wants it".to_owned()
                } else {
                    owner_of(&session.door, host)
                };
                let what = format!("port {host} is fixed for {} and taken", tenant.service.name);
                return Err(Failure::new(Exit::Preflight, what).seen(owner).next(
                    "end its owner, or leave out `policy = \"fixed\"` in the table of services",
                ));
            }
        }
    }
    Ok(wanted)
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

/// What a cluster is made from: its configuration without the host ports, which a running one keeps, and the node image. Whether
/// that was prepared makes no difference to what it is.
pub fn cluster_fingerprint(door: &Door) -> Result<String, Failure> {
    let image = node_image().map(|image| docker::image_id(door, &image).unwrap_or(image));
    Ok(fingerprint(&[
        &kind::config(&[], None)?,
        &image.unwrap_or_default(),
    ]))
}

/// Whether an earlier run has kept a cluster that this one uses again.
pub fn stands(session: &Session) -> Result<bool, Failure> {
    if let Some(stands) = session.made.stands.get() {
        return Ok(*stands);
    }
    let made_from = cluster_fingerprint(&session.door)?;
    let stands = session.is_made_from(Level::Cluster, None, &made_from)
        && docker::is_running(&session.door, &kind::node(&cluster(session)));
    Ok(*session.made.stands.get_or_init(|| stands))
}

/// Creates the cluster with the block of node ports mapped; host ports are the services' own where they are free.
pub fn create_cluster(session: &Session, deadline: Duration) -> Result<String, Failure> {
    let (door, name) = (&session.door, cluster(session));
    if stands(session)? {
        publish(session, &name)?;
        return Ok(format!(
            "{name} is used again: same configuration and node image"
        ));
    }
    let why = session.why_made(Level::Cluster, None);
    clear(session, &name)?;
    session
        .run
        .will_make(Resource::Cluster { name: name.clone() })
        .map_err(Failure::setup)?;
    let prepared = session.made.node.get();
    let shared = prepared.map(|node| node.directory.as_path());
    let config = kind::config(&wanted(session)?, shared)?;
    let image = prepared.map(|node| node.image.clone()).or_else(node_image);
    kind::create(door, &name, &config, image.as_deref(), &kubeconfig(session), deadline).map_err(|error| {
        let failure = error.into_failure(Exit::Setup, door.cancel());
        let next = match node_image() {
            Some(image) => format!("KIND_NODE_IMAGE is {image}: `docker image inspect {image}` says whether it is there"),
            None => "set KIND_NODE_IMAGE to a node image that this host has or can pull".to_owned(),
        };
        failure.next(next)
    })?;
    session.made_from(Level::Cluster, None, &cluster_fingerprint(door)?)?;
    publish(session, &name)?;
    watch_cluster(session)?;
    Ok(format!("{name}{}{why}", leased(session)?))
}

/// Whether a service that is alone got the host port that it asked for.
fn leased(session: &Session) -> Result<String, Failure> {
    if session.is_shared() {
        return Ok(String::new());
    }
    let tenant = &session.tenants[0];
    let got = host_port(session, node_ports(tenant).datastorage)?;
    Ok(match tenant.service.ports.datastorage {
        Some(own) if own == got => format!(", Data Storage on its own port {own}"),
        Some(own) => format!(", port {own} is taken: leased {got}"),
        None => String::new(),
    })
}

/// Writes down what happens in the cluster from its first second on: events, and the states of all pods.
fn watch_cluster(session: &Session) -> Result<(), Failure> {
    for (what, file) in [
        ("events", "cluster-events.log"),
        ("pods", "cluster-pods.log"),
    ] {
        let watch = [
            "get",
            what,
            "--all-namespaces",
            "--watch",
            "--output",
            "wide",
        ];
        let watcher = kubectl(session, home(session))
            .cmd()
            .args(watch)
            .spawn(&session.run.dir().join(file));
        watcher
            .map(drop)
            .map_err(|error| error.into_failure(Exit::Setup, session.door.cancel()))?;
    }
    Ok(())
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

/// Keeps the host port of every node port.
fn publish(session: &Session, cluster: &str) -> Result<(), Failure> {
    let ports = docker::published_ports(&session.door, &kind::node(cluster))?;
    session.made.ports.get_or_init(|| ports);
    Ok(())
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

/// Applies namespace, Secret and PostgreSQL.
pub fn deploy_postgres(session: &Session) -> Result<String, Failure> {
    let objects = postgres_objects(home(session), &session.password)?;
    let note = ensure(session, home(session), (Level::Postgres, None), &objects)?;
    Ok(format!("{}{note}", postgres_image()))
}

fn postgres_objects(home: &str, password: &str) -> Result<Vec<Value>, Failure> {
    let secret = manifest::secret("postgres", &json!({"password": password}));
    let postgres = Manifest::parse(manifest::POSTGRES)?
        .set(
            "Deployment",
            "/spec/template/spec/containers/0/image",
            postgres_image(),
        )
        .set("Service", "/spec/ports/0/nodePort", POSTGRES);
    Ok([namespace(home)?, vec![secret], postgres.objects()].concat())
}

/// What PostgreSQL in a cluster is made from.
pub fn postgres_fingerprint(only: Option<&str>, password: &str) -> Result<String, Failure> {
    Ok(content(&postgres_objects(
        only.unwrap_or(SHARED),
        password,
    )?))
}

/// The label by which pods tell what they were made from.
const MADE_FROM: &str = "kubernaut.io/e2e-made-from";

/// What objects are, as their pods' label tells it.
fn content(objects: &[Value]) -> String {
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
    manifest::label(&mut objects, &labels(session));
    manifest::label_pods(&mut objects, MADE_FROM, &made_from);
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

/// Waits until PostgreSQL answers over TCP, as its pod's probe or this machine sees it first, and keeps its address.
pub fn await_postgres(session: &Session, deadline: Duration) -> Result<String, Failure> {
    let server = Database {
        host: "127.0.0.1".to_owned(),
        port: host_port(session, POSTGRES)?,
        user: USER.to_owned(),
        name: DATABASE.to_owned(),
        password: session.password.clone(),
    };
    let answers = || Ok(server.answers());
    let pods = Pods {
        namespace: home(session),
        app: "postgres",
        level: (Level::Postgres, None),
        dir: session.run.dir(),
    };
    await_pods(session, &pods, deadline, answers)?;
    Ok(session.made.server.get_or_init(|| server).url())
}

/// Applies a service's Data Storage, and a second one on the empty database where the service wants it.
pub fn deploy_datastorage(session: &Session, tenant: &Tenant) -> Result<String, Failure> {
    let image = Session::made(&session.made.image, "the Data Storage image")?;
    let ports = node_ports(tenant);
    let mut wanted = vec![(
        "datastorage",
        tenant.database.clone(),
        ports.datastorage,
        cluster_ip(tenant, false),
    )];
    if tenant.service.has(Component::Unmigrated) {
        wanted.push((
            "datastorage-unmigrated",
            session.unmigrated_name(),
            ports.unmigrated,
            cluster_ip(tenant, true),
        ));
    }
    let mut objects = namespace(&tenant.namespace)?;
    for (name, database, node_port, address) in wanted {
        let server = format!("postgres.{}", home(session));
        let config = crate::datastorage::Config {
            listen: ("0.0.0.0", LISTEN),
            database: (&server, 5432, &database, USER),
            secrets: "/etc/datastorage/secrets/db-secrets.yaml".into(),
            queue: "/var/lib/datastorage/queue".into(),
            profile: &tenant.service.profile,
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
            .set(
                "Deployment",
                "/spec/template/spec/hostAliases/0/hostnames/0",
                server.clone(),
            )
            .set("Service", "/spec/clusterIP", address)
            .set("Service", "/spec/ports/0/nodePort", node_port);
        objects.extend(deployment.objects());
    }
    let note = ensure(
        session,
        &tenant.namespace,
        (Level::DataStorage, Some(tenant)),
        &objects,
    )?;
    if tenant.service.has(Component::Unmigrated) {
        let url = url(session, ports.unmigrated)?;
        tenant.unmigrated_url.get_or_init(|| url);
    }
    let url = url(session, ports.datastorage)?;
    Ok(format!("{}{note}", tenant.url.get_or_init(|| url)))
}

fn url(session: &Session, node_port: u16) -> Result<String, Failure> {
    Ok(format!(
        "http://127.0.0.1:{}",
        host_port(session, node_port)?
    ))
}

/// Waits until Data Storage says that it is ready, on the path that the suite takes.
pub fn await_datastorage(
    session: &Session,
    tenant: &Tenant,
    deadline: Duration,
) -> Result<String, Failure> {
    let mut health = Health::of(
        "Data Storage",
        Session::made(&tenant.url, "Data Storage's address")?,
    );
    let pods = Pods {
        namespace: &tenant.namespace,
        app: "datastorage",
        level: (Level::DataStorage, Some(tenant)),
        dir: &tenant.dir,
    };
    await_pods(session, &pods, deadline, || {
        wait::look(session, &mut health)
    })?;
    wait::for_datastorage(session, tenant, deadline)
}

/// Applies the service itself, or its double under the service's name.
pub fn deploy_service(session: &Session, tenant: &Tenant) -> Result<String, Failure> {
    let node_port = node_ports(tenant).service;
    let name = tenant.service.name.as_str();
    let objects = if tenant.service.has(Component::Double) {
        let image = Session::made(&session.made.double_image, "the double's image")?;
        Manifest::parse(manifest::DOUBLE)?
            .rename("double", name)
            .set(
                "Deployment",
                "/spec/template/spec/containers/0/image",
                image.clone(),
            )
            .set(
                "Deployment",
                "/spec/template/spec/hostAliases/0/ip",
                cluster_ip(tenant, false),
            )
            .set("Service", "/spec/ports/0/nodePort", node_port)
            .objects()
    } else {
        own::objects(session, tenant, node_port)?
    };
    let listens = objects
        .iter()
        .any(|object| object["kind"] == "Service" && object["metadata"]["name"] == name);
    let objects = [namespace(&tenant.namespace)?, objects].concat();
    let note = ensure(
        session,
        &tenant.namespace,
        (Level::Service, Some(tenant)),
        &objects,
    )?;
    if !listens {
        return Ok(format!("{} objects{note}", objects.len()));
    }
    let url = url(session, node_port)?;
    Ok(format!("{}{note}", tenant.service_url.get_or_init(|| url)))
}

/// Waits for the pods of the service; a double also answers for itself.
pub fn await_service(
    session: &Session,
    tenant: &Tenant,
    deadline: Duration,
) -> Result<String, Failure> {
    if tenant.service.has(Component::Double) {
        let url = Session::made(&tenant.service_url, "the service's address")?;
        let mut health = Health::of(&tenant.service.name, url);
        let pods = Pods {
            namespace: &tenant.namespace,
            app: &tenant.service.name,
            level: (Level::Service, Some(tenant)),
            dir: &tenant.dir,
        };
        await_pods(session, &pods, deadline, || {
            wait::look(session, &mut health)
        })?;
        return wait::for_service(session, tenant, deadline);
    }
    for label in &tenant.service.ready {
        kubectl(session, &tenant.namespace).await_ready(label, deadline, |_| {}, || Ok(false))?;
    }
    Ok(tenant.service_url.get().cloned().unwrap_or_default())
}

/// An application's pods.
struct Pods<'a> {
    namespace: &'a str,
    app: &'a str,
    /// What applied them, and for whom.
    level: (Level, Option<&'a Tenant>),
    /// Where their logs go.
    dir: &'a Path,
}

/// Follows a pod's log. The kubelet gives none before it has seen the container run, up to a second after it does.
const FOLLOW: &str =
    "for _ in $(seq 50); do \"$@\" 2>/dev/null && exit; sleep 0.1; done; exec \"$@\"";

/// The variable that a follower carries: whose log it follows.
const FOLLOWS: &str = "E2E_FOLLOWS";

/// Waits until the pods of what was applied last are ready, or until `look`, asked once there is such a pod, says that they serve.
/// Each one's log is followed from its start into a file, so that a pod which is gone when something fails has still spoken; what an
/// earlier run left is not followed twice.
fn await_pods(
    session: &Session,
    pods: &Pods<'_>,
    deadline: Duration,
    mut look: impl FnMut() -> Result<bool, Failure>,
) -> Result<String, Failure> {
    let whose = format!("{}/{}/{}", session.run.id(), pods.namespace, pods.app);
    let followed = session.uses_again(pods.level.0, pods.level.1)
        && !processes::processes_with(&processes::mark(FOLLOWS, &whose)).is_empty();
    if followed && look()? {
        return Ok(pods.app.to_owned());
    }
    let kubectl = kubectl(session, pods.namespace);
    let log = pods.dir.join(format!("{}.log", pods.app));
    let follow = |pod: &str| {
        let logs = ["logs", "--follow", "--all-containers", "--tail", "-1", pod];
        if !followed {
            let process = kubectl.cmd().args(logs).in_shell(FOLLOW);
            // Without it the log is still read when something fails.
            drop(process.env(FOLLOWS, &whose).spawn(&log));
        }
    };
    let made_from = session.content(pods.level.0, pods.level.1);
    let selector = format!("app={},{MADE_FROM}={made_from}", pods.app);
    kubectl.await_ready(&selector, deadline, follow, look)
}

/// Keeps what the cluster knows of each of the run's namespaces: objects, events, logs. Secrets are left out.
pub fn collect(session: &Session, door: &Door) {
    if !kubeconfig(session).exists() {
        return;
    }
    for tenant in &session.tenants {
        collect_from(
            &kubectl(session, &tenant.namespace).through(door),
            &tenant.dir,
        );
    }
    if session.is_shared() {
        collect_from(&kubectl(session, SHARED).through(door), session.run.dir());
    }
}

fn collect_from(kubectl: &Kubectl, dir: &Path) {
    let keep = |name: &str, text: String| {
        drop(crate::state::write_private(
            &dir.join(name),
            text.as_bytes(),
        ));
    };
    let read = |args: &[&str]| {
        let asked = kubectl
            .cmd()
            .args(args)
            .deadline(Duration::from_secs(15))
            .read();
        asked.unwrap_or_else(|error| error.to_string())
    };
    keep(
        "pods.yaml",
        read(&["get", "pods,deployments,services", "--output", "yaml"]),
    );
    keep(
        "events.txt",
        read(&["get", "events", "--sort-by", ".lastTimestamp"]),
    );
    let pods: Value =
        serde_json::from_str(&read(&["get", "pods", "--output", "json"])).unwrap_or_default();
    let names = pods["items"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|pod| pod["metadata"]["name"].as_str());
    for pod in names {
        keep(
            &format!("{pod}.log"),
            read(&["logs", pod, "--all-containers", "--tail", "2000"]),
        );
        let previous = kubectl
            .cmd()
            .args(["logs", pod, "--previous"])
            .deadline(Duration::from_secs(10))
            .read();
        if let Ok(previous) = previous {
            keep(&format!("{pod}.previous.log"), previous);
        }
    }
}
