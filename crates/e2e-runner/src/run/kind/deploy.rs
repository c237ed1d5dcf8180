//! What a run deploys into its cluster: PostgreSQL, Data Storage, the service or its fake, each waited for.

use std::collections::BTreeMap;
use std::time::Duration;

use postgres_url::PostgresUrl;
use serde_json::Value;

use crate::exit::Failure;
use crate::process::Runner;
use crate::run::datastorage_config::{Config, HAND_OVER, NO_PAUSE, secrets};
use crate::run::kind::access::home;
use crate::run::kind::apply::{content, ensure, namespace};
use crate::run::kind::built_in::{self, Decided};
use crate::run::kind::images;
use crate::run::kind::parts;
use crate::run::kind::pods::{Pods, await_pods};
use crate::run::kind::ports::{POSTGRES, POSTGRES_IP, cluster_ip, host_port, node_ports, url};
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

/// Applies namespace, Secret and PostgreSQL.
pub fn deploy_postgres(session: &Session) -> Result<String, Failure> {
    let image = images::pinned(session, &postgres_image());
    let objects = postgres_objects(home(session), &session.password, &image)?;
    let note = ensure(session, home(session), Layer::Postgres.into(), &objects)?;
    Ok(format!("{}{note}", postgres_image()))
}

fn postgres_objects(home: &str, password: &str, image: &str) -> Result<Vec<Value>, Failure> {
    let part = built_in::part(Component::Postgres, "")?;
    let decided = Decided {
        namespace: home,
        image,
        node_port: POSTGRES,
        values: BTreeMap::from([
            ("ADDRESS", POSTGRES_IP.to_owned()),
            ("PGPASSWORD", password.to_owned()),
        ]),
    };
    Ok([namespace(home)?, built_in::objects(&part, &decided)?].concat())
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
        Component::Datastorage,
        service_run.database.clone(),
        ports.datastorage,
        cluster_ip(service_run, false),
    )];
    if service_run.service.has(Component::Unmigrated) {
        wanted.push((
            Component::Unmigrated,
            session.unmigrated_name(),
            ports.unmigrated,
            cluster_ip(service_run, true),
        ));
    }
    let mut objects = namespace(&service_run.namespace)?;
    let replicas = Replicas::of(service_run);
    for (component, database, node_port, address) in wanted {
        let part = built_in::part(component, "")?;
        let replicas = replicas.filter(|_| component == Component::Datastorage);
        let server = format!("postgres.{}", home(session));
        let config = Config {
            listen: ("0.0.0.0", DATASTORAGE_PORT),
            database: (&server, 5432, &database, USER),
            secrets: "/etc/datastorage/secrets/db-secrets.yaml".into(),
            queue: "/var/lib/datastorage/queue".into(),
            tokens: session
                .token_file(service_run)
                .map(|_| "/etc/datastorage/secrets/tokens".into()),
            profile: &service_run.service.profile,
            drain_pause: if replicas.is_some() {
                HAND_OVER
            } else {
                NO_PAUSE
            },
        };
        let decided = Decided {
            namespace: &service_run.namespace,
            image,
            node_port,
            values: BTreeMap::from([
                ("ADDRESS", address),
                ("SERVER", server.clone()),
                ("SERVER_ADDRESS", POSTGRES_IP.to_owned()),
                ("CONFIG", config.yaml()),
                ("DATABASE_SECRETS", secrets(USER, &session.password)),
                ("DATASTORAGE_TOKEN", session.token.clone()),
            ]),
        };
        let one = built_in::objects(&part, &decided)?;
        objects.extend(match replicas {
            Some(replicas) => replicas.objects(MAIN, one),
            None => one,
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
    let mut decided = Decided {
        namespace: &service_run.namespace,
        image,
        node_port,
        values: BTreeMap::from([
            ("DATASTORAGE_ADDRESS", cluster_ip(service_run, false)),
            ("DATASTORAGE_TOKEN", session.token.clone()),
        ]),
    };
    let mut objects = built_in::objects(&built_in::part(Component::Fake, name)?, &decided)?;
    if service_run.service.has(Component::Relay) {
        decided.image = Session::artifact(&session.artifacts.relay_image, "the relay's image")?;
        let relay = built_in::objects(&built_in::part(Component::Relay, name)?, &decided)?;
        objects = relay::beside(objects, &relay);
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
