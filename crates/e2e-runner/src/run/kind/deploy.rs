//! What a run deploys into its cluster: PostgreSQL, Data Storage, the service or its double, each waited for.

use std::time::Duration;

use serde_json::{Value, json};

use crate::exit::Failure;
use crate::run::datastorage_config::{Config, secrets};
use crate::run::kind::access::{SHARED, home, kubectl};
use crate::run::kind::apply::{content, ensure, namespace};
use crate::run::kind::custom_service;
use crate::run::kind::manifests::{self, Manifest};
use crate::run::kind::pods::{Pods, await_pods};
use crate::run::kind::ports::{POSTGRES, cluster_ip, host_port, node_ports, url};
use crate::run::reuse::Level;
use crate::run::service_run::{DATABASE, Tenant};
use crate::run::session::Session;
use crate::run::wait;
use crate::settings::postgres_image;
use crate::table::Component;
use crate::tools::health::Health;
use crate::tools::postgres_url::Database;

/// D24.
const USER: &str = "slm_user";
/// Where Data Storage and services listen inside the cluster.
const LISTEN: u16 = 8080;

/// Applies namespace, Secret and PostgreSQL.
pub fn deploy_postgres(session: &Session) -> Result<String, Failure> {
    let objects = postgres_objects(home(session), &session.password)?;
    let note = ensure(session, home(session), (Level::Postgres, None), &objects)?;
    Ok(format!("{}{note}", postgres_image()))
}

fn postgres_objects(home: &str, password: &str) -> Result<Vec<Value>, Failure> {
    let secret = manifests::secret("postgres", &json!({"password": password}));
    let postgres = Manifest::parse(manifests::POSTGRES)?
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
        let config = Config {
            listen: ("0.0.0.0", LISTEN),
            database: (&server, 5432, &database, USER),
            secrets: "/etc/datastorage/secrets/db-secrets.yaml".into(),
            queue: "/var/lib/datastorage/queue".into(),
            profile: &tenant.service.profile,
        };
        let secret = secrets(USER, &session.password);
        objects.push(manifests::config_map(
            name,
            &json!({"config.yaml": config.yaml()}),
        ));
        objects.push(manifests::secret(name, &json!({"db-secrets.yaml": secret})));
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
        Manifest::parse(manifests::DOUBLE)?
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
        custom_service::objects(session, tenant, node_port)?
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
