//! What is examined: a Data Storage, a database, or both, and how a person reaches them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use migrations::Config;

use super::Diagnose;
use crate::commands::migrate::cluster::{Forward, Tunnel, forward};
use crate::terminal;
use e2e_runner::exit::{Exit, Failure};
use e2e_runner::paths::Paths;
use e2e_runner::process::Door;
use e2e_runner::state::{Run, State};
use e2e_runner::table::Table;
use e2e_runner::tools::kubectl::Kubectl;
use e2e_runner::tools::postgres_url::{holds_password, with_password};

/// The port of Data Storage's Service.
const DATASTORAGE: u16 = 8080;
/// The profile where nothing says another: what every service needs.
const PROFILE: &str = "audit";

/// What is examined.
pub struct Place {
    /// One line that says what it is.
    pub title: String,
    /// The profile that the database must have.
    pub profile: String,
    /// Base URL of Data Storage.
    pub url: Option<String>,
    /// URL of the database, without a password.
    pub database: Option<String>,
    /// The same with it.
    secret: String,
    /// What a command on that database begins with: how its password gets there.
    password_from: String,
    /// Where a cluster is meant: kubectl's flags, and PostgreSQL's Service.
    cluster: Option<Cluster>,
    log: Option<PathBuf>,
    _ways: (Option<Forward>, Option<Tunnel>),
}

struct Cluster {
    kubectl: Kubectl,
    flags: String,
    postgres: String,
    datastorage: String,
}

impl Place {
    /// What the command line means: the URLs given, a cluster, or an environment that is up.
    pub fn find(door: &Door, table: &Table, args: &Diagnose) -> anyhow::Result<Self> {
        let profile = || args.profile.clone().unwrap_or_else(|| PROFILE.to_owned());
        if let Some(kubeconfig) = &args.place.kubeconfig {
            return in_cluster(door, args, kubeconfig, profile());
        }
        if args.url.is_none() && args.place.database_url.is_none() {
            return environment(door, table, args);
        }
        let secret = args.place.database_url.clone().unwrap_or_default();
        if holds_password(&secret) {
            terminal::say(
                "warning: a password in a URL is seen in process lists; set PGPASSWORD instead",
            );
        }
        Ok(Self {
            title: "what the flags name".to_owned(),
            profile: profile(),
            url: args.url.as_deref().map(trimmed),
            database: args.place.database_url.as_deref().map(public),
            secret,
            password_from: String::new(),
            cluster: None,
            log: args.log.clone(),
            _ways: (None, None),
        })
    }

    /// The library's configuration for the database.
    pub fn config(&self) -> Result<Config, Failure> {
        if self.database.is_none() {
            return Err(Failure::new(Exit::Usage, "which database is meant?").next(
                "give --database-url, --kubeconfig, or the service of an environment that is up",
            ));
        }
        Ok(Config::new(&self.secret).profile(&self.profile))
    }

    /// The end of Data Storage's log.
    pub fn log(&self, door: &Door) -> Option<String> {
        if let Some(path) = &self.log {
            return std::fs::read_to_string(path).ok();
        }
        let cluster = self.cluster.as_ref()?;
        let deployment = format!("deployment/{}", cluster.datastorage);
        let logs = cluster.kubectl.through(door).cmd();
        logs.args(["logs", &deployment, "--tail", "500"])
            .deadline(Duration::from_secs(10))
            .read()
            .ok()
    }

    /// The flags that name the same database to `migrate`, and what goes before the command.
    pub fn migrate(&self, verb: &str) -> String {
        let flags = match &self.cluster {
            Some(cluster) => cluster.flags.clone(),
            None => format!(
                "--database-url {}",
                self.database.as_deref().unwrap_or("URL")
            ),
        };
        let verb = if verb.is_empty() {
            String::new()
        } else {
            format!("{verb} ")
        };
        let from = &self.password_from;
        format!(
            "{from}cargo xtask migrate {verb}--profile {} {flags}",
            self.profile
        )
    }

    /// psql on the same database.
    pub fn psql(&self, rest: &str) -> String {
        match &self.cluster {
            Some(cluster) => format!("{} {rest}", cluster.postgres),
            None => format!(
                "{}psql {} {rest}",
                self.password_from,
                self.database.as_deref().unwrap_or("URL")
            ),
        }
    }
}

fn names(state: &State, name: &str) -> bool {
    state.run == name || state.services.iter().any(|service| service == name)
}

/// The environment of a service, of a run, or the newest that is up.
fn environment(door: &Door, table: &Table, args: &Diagnose) -> anyhow::Result<Place> {
    let paths = Paths::find(door)?;
    let wanted = args.environment.as_deref();
    let mut up: Vec<Run> = Run::list(&paths.runs())
        .into_iter()
        .filter(|run| !run.state().environments.is_empty())
        .filter(|run| wanted.is_none_or(|name| names(&run.state(), name)))
        .collect();
    up.sort_by_key(|run| run.state().expires);
    let Some(run) = up.pop() else {
        let what = match wanted {
            Some(name) => format!("no environment of `{name}` is up"),
            None => "no environment is up".to_owned(),
        };
        return Err(Failure::new(Exit::Preflight, what)
            .next("cargo xtask up SERVICE, or give --url and --database-url, or --kubeconfig")
            .into());
    };
    let state = run.state();
    // Of several services in one run the first is meant, unless one is named.
    let named = state.services.iter().find(|name| wanted == Some(name));
    let service = named
        .or(state.services.first())
        .cloned()
        .unwrap_or_default();
    let environment = state.environment(&service);
    let of = |name: &str| environment.get(name).cloned();
    let database = of(e2e_env::DATABASE_URL);
    let password = run.password()?;
    let profile = table
        .find(&service)
        .map_or(PROFILE.to_owned(), |service| service.profile.clone());
    let cluster = match (of(e2e_env::KUBECONFIG), of(e2e_env::NAMESPACE)) {
        (Some(kubeconfig), Some(namespace)) => {
            let kubectl = Kubectl::new(door.clone(), Path::new(&kubeconfig), &namespace);
            // Its database is reached without a tunnel, so only the logs come by kubectl.
            Some((kubectl, kubeconfig, namespace))
        }
        _ => None,
    };
    let dir = of(e2e_env::EVIDENCE_DIR).map_or_else(|| run.dir().to_owned(), PathBuf::from);
    let log = dir.join("datastorage.log");
    Ok(Place {
        title: format!("{} on {}", state.run, state.target),
        profile: args.profile.clone().unwrap_or(profile),
        url: of(e2e_env::DATASTORAGE_URL),
        secret: with_password(database.as_deref().unwrap_or_default(), &password),
        database,
        password_from: format!("PGPASSWORD=$(cat {}/password) ", run.dir().display()),
        cluster: cluster.map(|(kubectl, kubeconfig, namespace)| Cluster {
            kubectl,
            flags: format!("--kubeconfig {kubeconfig} --namespace {namespace}"),
            postgres: exec(
                &kubeconfig,
                &namespace,
                "postgres",
                "slm_user",
                "action_history",
            ),
            datastorage: "datastorage".to_owned(),
        }),
        log: Some(log).filter(|path| path.exists()),
        _ways: (None, None),
    })
}

fn in_cluster(
    door: &Door,
    args: &Diagnose,
    kubeconfig: &Path,
    profile: String,
) -> anyhow::Result<Place> {
    let flags = &args.place;
    let kubectl = Kubectl::new(door.clone(), kubeconfig, &flags.namespace);
    let postgres = forward(door, kubeconfig, flags)?;
    let tunnel = match &args.url {
        Some(_) => None,
        None => Some(Tunnel::open(
            door,
            &kubectl,
            &args.datastorage,
            DATASTORAGE,
        )?),
    };
    let own = tunnel
        .as_ref()
        .map(|tunnel| format!("http://127.0.0.1:{}", tunnel.port));
    let shown = kubeconfig.display().to_string();
    Ok(Place {
        title: format!("namespace {} by {shown}", flags.namespace),
        profile,
        url: args.url.as_deref().map(trimmed).or(own),
        database: Some(postgres.database.url()),
        secret: postgres.database.secret_url(),
        password_from: String::new(),
        cluster: Some(Cluster {
            kubectl,
            flags: format!("--kubeconfig {shown} --namespace {}", flags.namespace),
            postgres: exec(
                &shown,
                &flags.namespace,
                &flags.service,
                &flags.user,
                &flags.database,
            ),
            datastorage: args.datastorage.clone(),
        }),
        log: args.log.clone(),
        _ways: (Some(postgres), tunnel),
    })
}

fn exec(kubeconfig: &str, namespace: &str, service: &str, user: &str, database: &str) -> String {
    format!(
        "kubectl --kubeconfig {kubeconfig} --namespace {namespace} exec -i service/{service} -- psql -U {user} -d {database}"
    )
}

fn trimmed(url: &str) -> String {
    url.trim_end_matches('/').to_owned()
}

/// A URL without its password.
fn public(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return "as given".to_owned();
    };
    match rest.rsplit_once('@') {
        Some((credentials, place)) => {
            let user = credentials.split(':').next().unwrap_or_default();
            format!("{scheme}://{user}@{place}")
        }
        None => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::public;

    #[test]
    fn a_url_is_shown_without_its_password() {
        assert_eq!(
            public("postgres://me:s@crt@db.test:6543/run"),
            "postgres://me@db.test:6543/run"
        );
        assert_eq!(public("host=a password=b"), "as given");
    }
}
