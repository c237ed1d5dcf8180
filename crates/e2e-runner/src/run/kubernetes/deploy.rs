//! What a run deploys into its cluster: PostgreSQL, Data Storage, the service or its fake, each waited for.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use postgres_url::PostgresUrl;
use serde_json::Value;

use crate::exit::Failure;
use crate::process::Runner;
use crate::run::datastorage_config::{Config, HAND_OVER, NO_PAUSE, NO_TLS, secrets};
use crate::run::kubernetes::access::home;
use crate::run::kubernetes::apply::{content, ensure, namespace};
use crate::run::kubernetes::built_in::{self, Decided};
use crate::run::kubernetes::endpoints::Endpoint;
use crate::run::kubernetes::images;
use crate::run::kubernetes::parts;
use crate::run::kubernetes::pods::{Pods, await_pods};
use crate::run::kubernetes::readiness;
use crate::run::kubernetes::relay;
use crate::run::kubernetes::replicas::{self, Replicas};
use crate::run::kubernetes::site::{Fixed, Site};
use crate::run::layer::Layer;
use crate::run::service_run::{DATABASE, ServiceRun};
use crate::run::session::{DATASTORAGE_PORT, Session, USER};
use crate::run::wait;
use crate::settings::postgres_image;
use crate::table::service::Component;
use crate::tools::docker;
use crate::tools::health::Health;
use crate::tools::postgres::{self, AUTHORITY};

/// Where PostgreSQL listens in a cluster.
const POSTGRES_PORT: u16 = 5432;
/// The Data Storage that a service talks to.
const MAIN: &str = "datastorage";

/// Applies namespace, Secret and PostgreSQL.
pub fn deploy_postgres(session: &Session, site: &dyn Site) -> Result<String, Failure> {
    let image = images::pinned(session, &postgres_image());
    let fixed = site.fixed(session, &Endpoint::Postgres)?;
    let mut objects = postgres_objects(home(session), &session.password, &image, fixed)?;
    site.adapt(session, &mut objects)?;
    let level = Layer::Postgres.into();
    let note = ensure(session, site, home(session), level, &objects)?;
    Ok(format!("{}{note}", postgres_image()))
}

fn postgres_objects(
    home: &str,
    password: &str,
    image: &str,
    fixed: Option<Fixed>,
) -> Result<Vec<Value>, Failure> {
    let part = built_in::part(Component::Postgres, "")?;
    let decided = Decided {
        namespace: home,
        image,
        fixed,
        values: BTreeMap::from([("PGPASSWORD", password.to_owned())]),
    };
    Ok([namespace(home)?, built_in::objects(&part, &decided)?].concat())
}

/// What PostgreSQL in a run's own cluster is made from.
pub fn postgres_fingerprint(
    runner: &Runner,
    home: &str,
    password: &str,
    fixed: Fixed,
) -> Result<String, Failure> {
    let image = postgres_image();
    let image = docker::image_id(runner, &image).map_or(image, |id| docker::content_name(&id));
    let objects = postgres_objects(home, password, &image, Some(fixed))?;
    Ok(content(&objects))
}

/// Waits until PostgreSQL answers over TCP, as its pod's probe or this machine sees it first, and keeps its address.
pub fn await_postgres(
    session: &Session,
    site: &dyn Site,
    deadline: Duration,
) -> Result<String, Failure> {
    let address = site.reach(session, &Endpoint::Postgres, POSTGRES_PORT)?;
    let (host, port) = split(&address)?;
    let server = PostgresUrl::new(USER, host, port)
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
pub fn deploy_datastorage(
    session: &Session,
    site: &dyn Site,
    service_run: &ServiceRun,
) -> Result<String, Failure> {
    let image = Session::artifact(&session.artifacts.image, "the Data Storage image")?;
    let endpoint = Endpoint::Datastorage(service_run);
    let mut wanted = vec![(
        Component::Datastorage,
        service_run.database.clone(),
        endpoint,
    )];
    if service_run.service.has(Component::Unmigrated) {
        wanted.push((
            Component::Unmigrated,
            session.unmigrated_name(),
            Endpoint::Unmigrated(service_run),
        ));
    }
    let mut objects = namespace(&service_run.namespace)?;
    let replicas = Replicas::of(service_run);
    let database = Database::of(
        session,
        address_of(site.fixed(session, &Endpoint::Postgres)?),
    )?;
    for (component, name, endpoint) in &wanted {
        let part = built_in::part(*component, "")?;
        let replicas = replicas.filter(|_| *component == Component::Datastorage);
        let config = Config {
            listen: ("0.0.0.0", DATASTORAGE_PORT),
            database: (&database.host, database.port, name, &database.user),
            tls: database.tls(),
            secrets: Path::new(SECRETS).join("db-secrets.yaml"),
            queue: "/var/lib/datastorage/queue".into(),
            tokens: session
                .token_file(service_run)
                .map(|_| Path::new(SECRETS).join("tokens")),
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
            fixed: site.fixed(session, endpoint)?,
            values: BTreeMap::from([
                ("SERVER", database.host.clone()),
                ("SERVER_ADDRESS", database.address.clone()),
                ("CONFIG", config.yaml()),
                (
                    "DATABASE_SECRETS",
                    secrets(&database.user, &database.password),
                ),
                ("DATASTORAGE_TOKEN", session.token.clone()),
            ]),
        };
        let mut one = built_in::objects(&part, &decided)?;
        database.trust(&mut one);
        objects.extend(match replicas {
            Some(replicas) => {
                let mut several = replicas.objects(MAIN, one);
                for workload in several
                    .iter_mut()
                    .filter(|object| object["kind"] == "StatefulSet")
                {
                    site.keep_queues(session, service_run, workload)?;
                }
                several
            }
            None => one,
        });
    }
    site.adapt(session, &mut objects)?;
    replicas::make_room(session, service_run, MAIN, replicas)?;
    let note = ensure(
        session,
        site,
        &service_run.namespace,
        service_run.level(Layer::DataStorage),
        &objects,
    )?;
    if service_run.service.has(Component::Unmigrated) {
        let url = url(session, site, &Endpoint::Unmigrated(service_run))?;
        service_run.unmigrated_url.get_or_init(|| url);
    }
    let url = url(session, site, &endpoint)?;
    Ok(format!("{}{note}", service_run.url.get_or_init(|| url)))
}

/// The directory of Data Storage's Secret in its pod.
const SECRETS: &str = "/etc/datastorage/secrets";

/// The server of Data Storage's database, as pods reach it.
#[derive(Debug)]
struct Database<'a> {
    host: String,
    /// Where the name is, if that is known beforehand.
    address: String,
    port: u16,
    user: String,
    password: String,
    /// How much TLS there is to it.
    ssl_mode: &'a str,
    /// The authorities that prove it, in PEM.
    authority: Option<String>,
}

impl<'a> Database<'a> {
    /// The one that the user named, else the one that is deployed for the run.
    fn of(session: &'a Session, address: String) -> Result<Self, Failure> {
        match &session.postgres_url {
            Some(server) => Self::named(server),
            None => Ok(Self {
                host: format!("postgres.{}", home(session)),
                address,
                port: POSTGRES_PORT,
                user: USER.to_owned(),
                password: session.password.clone(),
                ssl_mode: NO_TLS.0,
                authority: None,
            }),
        }
    }

    fn named(server: &'a PostgresUrl) -> Result<Self, Failure> {
        let (host, port) = postgres::address(server)?;
        let authority = postgres::authority(server).map(std::fs::read_to_string);
        Ok(Self {
            host: host.to_owned(),
            address: String::new(),
            port,
            user: server.user().unwrap_or_default().to_owned(),
            password: server.password().unwrap_or_default().to_owned(),
            ssl_mode: postgres::ssl_mode(server),
            authority: authority.transpose().map_err(Failure::setup)?,
        })
    }

    fn tls(&self) -> (&str, Option<PathBuf>) {
        let file = Path::new(SECRETS).join(AUTHORITY);
        (self.ssl_mode, self.authority.as_ref().map(|_| file))
    }

    /// Puts the authorities into the Secret of Data Storage, whose files its pod sees.
    fn trust(&self, objects: &mut [Value]) {
        let Some(authority) = &self.authority else {
            return;
        };
        for object in objects {
            if object["kind"] == "Secret" {
                object["stringData"][AUTHORITY] = Value::from(authority.as_str());
            }
        }
    }
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
    if let Some(mut health) = wait::unmigrated_health(service_run) {
        let unmigrated = Endpoint::Unmigrated(service_run);
        let pods = Pods {
            app: unmigrated.service(session).0,
            count: 1,
            ..pods
        };
        await_pods(
            session,
            &pods,
            deadline.saturating_sub(began.elapsed()),
            || wait::check_once(session, &mut health),
        )?;
    }
    wait::for_datastorage(
        session,
        service_run,
        deadline.saturating_sub(began.elapsed()),
    )
}

/// Applies the service itself, or its fake under the service's name.
pub fn deploy_service(
    session: &Session,
    site: &dyn Site,
    service_run: &ServiceRun,
) -> Result<String, Failure> {
    if !service_run.service.has(Component::Fake) {
        let note = parts::deploy(session, site, &service_run.own)?;
        service_run.publish_own();
        return Ok(note);
    }
    let endpoint = Endpoint::Fake(service_run);
    let name = service_run.service.name.as_str();
    let image = Session::artifact(&session.artifacts.fake_image, "the fake's image")?;
    let mut decided = Decided {
        namespace: &service_run.namespace,
        image,
        fixed: site.fixed(session, &endpoint)?,
        values: BTreeMap::from([
            (
                "DATASTORAGE_ADDRESS",
                address_of(site.fixed(session, &Endpoint::Datastorage(service_run))?),
            ),
            ("DATASTORAGE_TOKEN", session.token.clone()),
        ]),
    };
    let mut objects = built_in::objects(&built_in::part(Component::Fake, name)?, &decided)?;
    if service_run.service.has(Component::Relay) {
        decided.image = Session::artifact(&session.artifacts.relay_image, "the relay's image")?;
        let relay = built_in::objects(&built_in::part(Component::Relay, name)?, &decided)?;
        objects = relay::beside(objects, &relay);
    }
    site.adapt(session, &mut objects)?;
    let objects = [namespace(&service_run.namespace)?, objects].concat();
    let note = ensure(
        session,
        site,
        &service_run.namespace,
        service_run.level(Layer::Service),
        &objects,
    )?;
    let url = url(session, site, &endpoint)?;
    Ok(format!(
        "{}{note}",
        service_run.service_url.get_or_init(|| url)
    ))
}

/// The address that is known beforehand, for the texts of manifests that name it; of a cluster that decides itself they are left out.
fn address_of(fixed: Option<Fixed>) -> String {
    fixed.map_or_else(String::new, |fixed| fixed.address)
}

/// The base URL of a program of the tool's own, as this machine reaches it.
fn url(session: &Session, site: &dyn Site, endpoint: &Endpoint<'_>) -> Result<String, Failure> {
    let address = site.reach(session, endpoint, DATASTORAGE_PORT)?;
    Ok(format!("http://{address}"))
}

/// `HOST:PORT` as the two.
fn split(address: &str) -> Result<(&str, u16), Failure> {
    let parts = address.rsplit_once(':');
    let parts = parts.and_then(|(host, port)| Some((host, port.parse().ok()?)));
    parts.ok_or_else(|| Failure::setup(format!("{address} is no address with a port")))
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn data_storage_in_a_cluster_is_led_to_the_named_server_and_proves_it_by_a_file_of_its_secret()
    {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("ca");
        std::fs::write(&file, "PEM").unwrap();
        let server = PostgresUrl::new("app", "db.test", 6543)
            .with_password("p")
            .or_option("sslmode", "verify-full")
            .or_option("sslrootcert", &file.display().to_string());
        let database = Database::named(&server).unwrap();
        let config = Config {
            listen: ("0.0.0.0", DATASTORAGE_PORT),
            database: (&database.host, database.port, "run", &database.user),
            tls: database.tls(),
            secrets: Path::new(SECRETS).join("db-secrets.yaml"),
            queue: "/queue".into(),
            tokens: None,
            profile: "audit",
            drain_pause: NO_PAUSE,
        };
        let decided = Decided {
            namespace: "here",
            image: "image",
            fixed: None,
            values: BTreeMap::from([
                ("SERVER", database.host.clone()),
                ("SERVER_ADDRESS", database.address.clone()),
                ("CONFIG", config.yaml()),
                (
                    "DATABASE_SECRETS",
                    secrets(&database.user, &database.password),
                ),
                ("DATASTORAGE_TOKEN", "token".to_owned()),
            ]),
        };
        let part = built_in::part(Component::Datastorage, "").unwrap();
        let mut objects = built_in::objects(&part, &decided).unwrap();
        database.trust(&mut objects);
        let of = |kind: &str| {
            objects
                .iter()
                .find(|object| object["kind"] == kind)
                .unwrap()
        };
        let config: Value =
            serde_json::from_str(of("ConfigMap")["data"]["config.yaml"].as_str().unwrap()).unwrap();
        let named = &config["database"];
        assert_eq!(
            (
                &named["host"],
                &named["port"],
                &named["user"],
                &named["ssl_mode"]
            ),
            (
                &json!("db.test"),
                &json!(6543),
                &json!("app"),
                &json!("verify-full")
            )
        );
        assert_eq!(
            named["ssl_root_cert"],
            "/etc/datastorage/secrets/postgres-ca.pem"
        );
        assert_eq!(of("Secret")["stringData"]["postgres-ca.pem"], "PEM");
        let pod = &of("Deployment")["spec"]["template"]["spec"];
        assert_eq!(pod["hostAliases"], Value::Null);
        let mounts = pod["containers"][0]["volumeMounts"].as_array().unwrap();
        assert!(
            mounts
                .iter()
                .any(|mount| mount["mountPath"] == SECRETS && mount["name"] == "secrets")
        );
    }
}
