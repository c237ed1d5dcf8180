//! What is examined: a Data Storage, a database, or both, and how a person reaches them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use migrations::Config;

use crate::commands::diagnose::flags::Diagnose;
use crate::commands::migrate::cluster::{Forward, Tunnel, forward};
use crate::commands::{database, environment};
use e2e_runner::exit::{Exit, Failure};
use e2e_runner::paths::Paths;
use e2e_runner::process::Runner;
use e2e_runner::table::Table;
use e2e_runner::tools::kubectl::Kubectl;
use e2e_runner::tools::migrate;

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
    /// The file of the token for it, where the environment has one.
    pub token_file: Option<PathBuf>,
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
    pub fn find(runner: &Runner, table: Option<&Table>, args: &Diagnose) -> anyhow::Result<Self> {
        let profile = || args.profile.clone().unwrap_or_else(|| PROFILE.to_owned());
        if let Some(kubeconfig) = &args.place.kubeconfig {
            return in_cluster(runner, args, kubeconfig, profile());
        }
        if args.url.is_none() && args.place.database_url.is_none() {
            return of_environment(runner, table, args);
        }
        let named = args.place.database_url.as_deref().map(database::named);
        let (shown, secret) = match named.transpose()? {
            Some(named) => (Some(named.shown), named.secret),
            None => (None, String::new()),
        };
        Ok(Self {
            title: "what the flags name".to_owned(),
            profile: profile(),
            url: args.url.as_deref().map(trimmed),
            token_file: None,
            database: shown,
            secret,
            password_from: String::new(),
            cluster: None,
            log: args.log.clone(),
            _ways: (None, None),
        })
    }

    /// The library's configuration for the database.
    pub fn config(&self, runner: &Runner) -> Result<Config, Failure> {
        if self.database.is_none() {
            return Err(Failure::new(Exit::Usage, "no database given").hint(
                "give --database-url, --kubeconfig, or the service of an environment that is up",
            ));
        }
        Ok(migrate::config(runner, &self.secret).profile(&self.profile))
    }

    /// The end of Data Storage's log.
    pub fn log(&self, runner: &Runner) -> Option<String> {
        if let Some(path) = &self.log {
            return std::fs::read_to_string(path).ok();
        }
        let cluster = self.cluster.as_ref()?;
        let kubectl = cluster.kubectl.with_runner(runner);
        // One replica is a Deployment, several are a StatefulSet, of which this is the log of one.
        ["deployment", "statefulset"].iter().find_map(|kind| {
            let workload = format!("{kind}/{}", cluster.datastorage);
            let logs = kubectl.command();
            logs.args(["logs", &workload, "--tail", "500"])
                .deadline(Duration::from_secs(10))
                .read()
                .ok()
        })
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

/// The environment of a service, of a run, or the newest that is up.
fn of_environment(
    runner: &Runner,
    table: Option<&Table>,
    args: &Diagnose,
) -> anyhow::Result<Place> {
    let wanted = args.environment.as_deref();
    let run = environment::up(&Paths::find(runner)?, wanted).map_err(|failure| {
        failure.hint("cargo xtask up SERVICE, or give --url and --database-url, or --kubeconfig")
    })?;
    let state = run.state();
    let service = environment::service_of(&run, wanted);
    let variables = state.environment(&service);
    let of = |name: &str| variables.get(name).cloned();
    let database = of(e2e_env::DATABASE_URL);
    let password = run.password()?;
    let entry = table.and_then(|table| table.find(&service).ok());
    let profile = entry.map_or(PROFILE.to_owned(), |service| service.profile.clone());
    let cluster = match (of(e2e_env::KUBECONFIG), of(e2e_env::NAMESPACE)) {
        (Some(kubeconfig), Some(namespace)) => {
            let kubectl = Kubectl::new(runner.clone(), Path::new(&kubeconfig), &namespace);
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
        token_file: of(e2e_env::DATASTORAGE_TOKEN_FILE).map(PathBuf::from),
        secret: database::of_run(database.as_deref().unwrap_or_default(), &password),
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
    runner: &Runner,
    args: &Diagnose,
    kubeconfig: &Path,
    profile: String,
) -> anyhow::Result<Place> {
    let flags = &args.place;
    let kubectl = Kubectl::new(runner.clone(), kubeconfig, &flags.namespace);
    let postgres = forward(runner, kubeconfig, flags)?;
    let tunnel = match &args.url {
        Some(_) => None,
        None => Some(Tunnel::open(
            runner,
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
        token_file: None,
        database: Some(postgres.database.to_string()),
        secret: postgres.database.secret(),
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
