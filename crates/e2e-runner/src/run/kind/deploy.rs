//! What a run deploys into its cluster: PostgreSQL, Data Storage, the service or its fake, each waited for.

use std::time::Duration;

use postgres_url::PostgresUrl;
use serde_json::{Value, json};

use crate::exit::Failure;
use crate::process::Runner;
use crate::run::datastorage_config::{Config, HAND_OVER, NO_PAUSE, secrets};
use crate::run::kind::access::home;
use crate::run::kind::apply::{content, ensure, namespace};
use crate::run::kind::images;
use crate::run::kind::manifests::{self, Manifest};
use crate::run::kind::parts;
use crate::run::kind::pods::{Pods, await_pods};
use crate::run::kind::ports::{POSTGRES, cluster_ip, host_port, node_ports, url};
use crate::run::kind::readiness;
use crate::run::kind::relay;
use crate::run::kind::replicas::{self, Replicas};
use crate::run::layer::Layer;
use crate::run::service_run::{DATABASE, ServiceRun};
use crate::run::session::{DATASTORAGE_PORT, SHARED, Session, USER};
use crate::run::wait;
use crate::settings::postgres_image;
use crate::table::service::Component;
use crate::tools::docker;
use crate::tools::health::Health;
use crate::tools::postgres;

/// The Data Storage that a service talks to.
const MAIN: &str = "datastorage";
/// The file of Data Storage's Secret that holds the tokens of those who may call it.
const TOKENS: &str = "tokens";

/// Applies namespace, Secret and PostgreSQL.
pub fn deploy_postgres(session: &Session) -> Result<String, Failure> {
    let image = images::pinned(session, &postgres_image());
    let objects = postgres_objects(home(session), &session.password, &image)?;
    let note = ensure(session, home(session), Layer::Postgres.into(), &objects)?;
    Ok(format!("{}{note}", postgres_image()))
}

fn postgres_objects(home: &str, password: &str, image: &str) -> Result<Vec<Value>, Failure> {
    let secret = manifests::secret("postgres", &json!({"password": password}));
    let postgres = Manifest::parse(manifests::POSTGRES)?
        .set(
            "Deployment",
            "/spec/template/spec/containers/0/image",
            image,
        )
        .set("Service", "/spec/ports/0/nodePort", POSTGRES);
    Ok([namespace(home)?, vec![secret], postgres.objects()].concat())
}

/// What PostgreSQL in a cluster is made from.
pub fn postgres_fingerprint(
    runner: &Runner,
    only: Option<&str>,
    password: &str,
) -> Result<String, Failure> {
    let image = postgres_image();
    let image = docker::image_id(runner, &image).map_or(image, |id| docker::content_name(&id));
    let objects = postgres_objects(only.unwrap_or(SHARED), password, &image)?;
    Ok(content(&objects))
}

/// Waits until PostgreSQL answers over TCP, as its pod's probe or this machine sees it first, and keeps its address.
pub fn await_postgres(session: &Session, deadline: Duration) -> Result<String, Failure> {
    let server = PostgresUrl::new(USER, "127.0.0.1", host_port(session, POSTGRES)?)
        .with_database(DATABASE)
        .with_password(&session.password);
    let answers = || Ok(postgres::answers(&server));
    let pods = Pods {
        namespace: home(session),
        app: "postgres",
        count: 1,
        level: Layer::Postgres.into(),
        dir: session.run.dir(),
    };
    await_pods(session, &pods, deadline, answers)?;
    Ok(session.artifacts.server.get_or_init(|| server).to_string())
}

/// Applies a service's Data Storage, and a second one on the empty database where the service wants it.
pub fn deploy_datastorage(session: &Session, service_run: &ServiceRun) -> Result<String, Failure> {
    let image = Session::artifact(&session.artifacts.image, "the Data Storage image")?;
    let ports = node_ports(service_run);
    let mut wanted = vec![(
        MAIN,
        service_run.database.clone(),
        ports.datastorage,
        cluster_ip(service_run, false),
    )];
    if service_run.service.has(Component::Unmigrated) {
        wanted.push((
            "datastorage-unmigrated",
            session.unmigrated_name(),
            ports.unmigrated,
            cluster_ip(service_run, true),
        ));
    }
    let mut objects = namespace(&service_run.namespace)?;
    let replicas = Replicas::of(service_run);
    for (name, database, node_port, address) in wanted {
        let server = format!("postgres.{}", home(session));
        let config = Config {
            listen: ("0.0.0.0", DATASTORAGE_PORT),
            database: (&server, 5432, &database, USER),
            secrets: "/etc/datastorage/secrets/db-secrets.yaml".into(),
            queue: "/var/lib/datastorage/queue".into(),
            tokens: session
                .token_file(service_run)
                .map(|_| format!("/etc/datastorage/secrets/{TOKENS}").into()),
            profile: &service_run.service.profile,
            drain_pause: if replicas.is_some() && name == MAIN {
                HAND_OVER
            } else {
                NO_PAUSE
            },
        };
        let secret = secrets(USER, &session.password);
        objects.push(manifests::config_map(
            name,
            &json!({"config.yaml": config.yaml()}),
        ));
        let secrets = json!({"db-secrets.yaml": secret, TOKENS: session.token});
        objects.push(manifests::secret(name, &secrets));
        let deployment = Manifest::parse(manifests::DATASTORAGE)?
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
        let deployment = deployment.objects();
        objects.extend(match &replicas {
            Some(replicas) if name == MAIN => replicas.objects(name, deployment),
            _ => deployment,
        });
    }
    replicas::make_room(session, service_run, MAIN, replicas)?;
    let note = ensure(
        session,
        &service_run.namespace,
        service_run.level(Layer::DataStorage),
        &objects,
    )?;
    if service_run.service.has(Component::Unmigrated) {
        let url = url(session, ports.unmigrated)?;
        service_run.unmigrated_url.get_or_init(|| url);
    }
    let url = url(session, ports.datastorage)?;
    Ok(format!("{}{note}", service_run.url.get_or_init(|| url)))
}

/// Waits until Data Storage says that it is ready, on the path that the suite takes.
pub fn await_datastorage(
    session: &Session,
    service_run: &ServiceRun,
    deadline: Duration,
) -> Result<String, Failure> {
    let mut health = Health::of(
        "Data Storage",
        Session::artifact(&service_run.url, "Data Storage's address")?,
    );
    let pods = Pods {
        namespace: &service_run.namespace,
        app: MAIN,
        count: service_run.service.replicas,
        level: service_run.level(Layer::DataStorage),
        dir: &service_run.dir,
    };
    let began = std::time::Instant::now();
    // The answer of one says nothing of the others.
    let alone = pods.count == 1;
    await_pods(session, &pods, deadline, || {
        Ok(wait::check_once(session, &mut health)? && alone)
    })?;
    wait::for_datastorage(
        session,
        service_run,
        deadline.saturating_sub(began.elapsed()),
    )
}

/// Applies the service itself, or its fake under the service's name.
pub fn deploy_service(session: &Session, service_run: &ServiceRun) -> Result<String, Failure> {
    if !service_run.service.has(Component::Fake) {
        let note = parts::deploy(session, &service_run.own)?;
        service_run.publish_own();
        return Ok(note);
    }
    let node_port = node_ports(service_run).service;
    let name = service_run.service.name.as_str();
    let image = Session::artifact(&session.artifacts.fake_image, "the fake's image")?;
    let objects = Manifest::parse(manifests::FAKE)?
        .rename("fake", name)
        .set(
            "Deployment",
            "/spec/template/spec/containers/0/image",
            image.clone(),
        )
        .set(
            "Deployment",
            "/spec/template/spec/hostAliases/0/ip",
            cluster_ip(service_run, false),
        )
        .set("Service", "/spec/ports/0/nodePort", node_port)
        .objects();
    let secret = manifests::secret("datastorage-client", &json!({"token": session.token}));
    let mut objects = [vec![secret], objects].concat();
    if service_run.service.has(Component::Relay) {
        let image = Session::artifact(&session.artifacts.relay_image, "the relay's image")?;
        objects = relay::beside(objects, name, image)?;
    }
    let objects = [namespace(&service_run.namespace)?, objects].concat();
    let note = ensure(
        session,
        &service_run.namespace,
        service_run.level(Layer::Service),
        &objects,
    )?;
    let url = url(session, node_port)?;
    Ok(format!(
        "{}{note}",
        service_run.service_url.get_or_init(|| url)
    ))
}

/// Waits for the pods of the service; a fake also answers for itself.
pub fn await_service(
    session: &Session,
    service_run: &ServiceRun,
    deadline: Duration,
) -> Result<String, Failure> {
    if service_run.service.has(Component::Fake) {
        let url = Session::artifact(&service_run.service_url, "the service's address")?;
        let mut health = Health::of(&service_run.service.name, url);
        let pods = Pods {
            namespace: &service_run.namespace,
            app: &service_run.service.name,
            count: 1,
            level: service_run.level(Layer::Service),
            dir: &service_run.dir,
        };
        let began = std::time::Instant::now();
        await_pods(session, &pods, deadline, || {
            wait::check_once(session, &mut health)
        })?;
        let left = deadline.saturating_sub(began.elapsed());
        return wait::for_service(session, service_run, left);
    }
    readiness::await_ready(session, &service_run.own, deadline)
}
