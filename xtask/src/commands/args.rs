//! Flags that several verbs take.

use std::path::PathBuf;

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, ValueEnum};

use e2e_runner::exit::{Exit, Failure};
use e2e_runner::guest::Wanted;
use e2e_runner::guest::allowed::Allowed;
use e2e_runner::kubernetes_version::Version;
use e2e_runner::run;
use e2e_runner::run::repeat::Repeat;
use e2e_runner::table::Table;
use e2e_runner::table::suite::{Asked, MOST_RETRIES};

/// How an answer is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Text
    Human,
    /// JSON
    Json,
}

/// The services that are meant.
#[derive(Debug, Args)]
pub struct Which {
    /// The services; several share a cluster and run at once
    #[arg(value_name = "SERVICE")]
    pub services: Vec<String>,
    /// Every service that has a suite
    #[arg(long, conflicts_with = "services")]
    pub all: bool,
}

/// Where an environment is set up.
#[derive(Clone, Debug, Args)]
pub struct TargetArgs {
    /// Where the environment runs
    #[arg(long, value_enum, default_value_t = TargetChoice::Auto)]
    pub target: TargetChoice,
    #[command(flatten)]
    pub cluster: ClusterArgs,
    /// A PostgreSQL server to use instead of starting one; the password comes from PGPASSWORD,
    /// TLS by its sslmode and sslrootcert. Implies --target local unless --target cluster
    #[arg(long, value_name = "URL")]
    pub postgres_url: Option<String>,
    /// The version of Kubernetes on Kind, such as 1.34 or 1.34.4; with `e2e` several, which run one after the other and are reported as one.
    /// `KIND_NODE_IMAGE_1_34`, or `[kubernetes]` in the table of services, names the node image
    #[arg(long, value_name = "VERSION", value_delimiter = ',')]
    pub kubernetes: Vec<Version>,
    /// Reuse nothing of a kept environment, and make everything anew
    #[arg(long)]
    pub fresh: bool,
}

/// The choice of a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum TargetChoice {
    /// Kind where Docker and kind answer, else local
    Auto,
    /// A Kind cluster
    Kind,
    /// Processes of this machine
    Local,
    /// An existing cluster, by --context
    Cluster,
}

/// An existing cluster, for --target cluster.
#[derive(Clone, Debug, Default, Args)]
pub struct ClusterArgs {
    /// The context of the existing cluster; one that `[clusters]` of your configuration or of the table of services allows
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    pub context: Option<String>,
    /// The kubeconfig that has the context, instead of KUBECONFIG or ~/.kube/config; it is only read
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// A namespace of that cluster to use instead of making some; may be given more than once
    #[arg(long = "namespace", value_name = "NS")]
    pub namespaces: Vec<String>,
    /// Where images for that cluster are pushed, as `HOST[:PORT][/PATH]`
    #[arg(long, value_name = "R")]
    pub registry: Option<String>,
    /// Make pull Secrets of this machine's credentials for that registry
    #[arg(long)]
    pub pull_secret: bool,
}

impl ClusterArgs {
    /// What is asked for of an existing cluster, if that is the target; refuses what would mean nothing.
    pub fn wanted(
        &self,
        target: TargetChoice,
        table: &Table,
        postgres_url: Option<&str>,
    ) -> Result<Option<Wanted>, Failure> {
        if target != TargetChoice::Cluster {
            let Some(flag) = self.first() else {
                return Ok(None);
            };
            let what = format!("{flag} is for an existing cluster");
            return Err(Failure::new(Exit::Usage, what)
                .hint(format!("add --target cluster, or leave out {flag}")));
        }
        let Some(context) = self.context.clone() else {
            return Err(Allowed::of(table)?.unnamed());
        };
        Ok(Some(Wanted {
            context,
            kubeconfig: self.kubeconfig.clone(),
            namespaces: self.namespaces.clone(),
            registry: self.registry.clone(),
            pull_secret: self.pull_secret,
            postgres_url: postgres_url.map(str::to_owned),
        }))
    }

    /// The first of the flags that is given.
    fn first(&self) -> Option<&'static str> {
        [
            (self.context.is_some(), "--context"),
            (self.kubeconfig.is_some(), "--kubeconfig"),
            (!self.namespaces.is_empty(), "--namespace"),
            (self.registry.is_some(), "--registry"),
            (self.pull_secret, "--pull-secret"),
        ]
        .into_iter()
        .find_map(|(is_given, flag)| is_given.then_some(flag))
    }
}

/// A database, by its URL or inside a cluster.
#[derive(Clone, Debug, Args)]
pub struct DatabaseArgs {
    /// The database; the password comes from PGPASSWORD
    #[arg(long, global = true, value_name = "URL")]
    pub database_url: Option<String>,
    /// Kubeconfig of the cluster with the PostgreSQL, reached by a port-forward
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        conflicts_with = "database_url"
    )]
    pub kubeconfig: Option<PathBuf>,
    /// Namespace in that cluster
    #[arg(long, global = true, default_value = "kubernaut-system")]
    pub namespace: String,
    /// PostgreSQL's Service in that namespace; its Secret of the same name has the key `password`
    #[arg(long, global = true, default_value = "postgres")]
    pub service: String,
    /// Role in that cluster's PostgreSQL
    #[arg(long, global = true, default_value = "slm_user")]
    pub user: String,
    /// Database in that cluster's PostgreSQL
    #[arg(long, global = true, default_value = "action_history")]
    pub database: String,
}

/// How often a suite runs.
#[derive(Args, Clone, Copy, Debug)]
pub struct RepeatArgs {
    /// Run the suite this many times on the same environment
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub repeat: u32,
    /// Stop at the first time that it fails
    #[arg(long, requires = "repeat")]
    pub until_fail: bool,
}

impl From<RepeatArgs> for Repeat {
    fn from(args: RepeatArgs) -> Self {
        Self {
            times: args.repeat,
            until_fail: args.until_fail,
        }
    }
}

/// Which tests run, and how often.
#[derive(Args, Clone, Debug)]
pub struct SuiteArgs {
    /// Run only this suite, where a service has several; may be given more than once
    #[arg(long = "suite", value_name = "NAME")]
    pub suites: Vec<String>,
    /// Run only the tests whose names hold this text
    #[arg(long, value_name = "TEXT", value_parser = NonEmptyStringValueParser::new())]
    pub filter: Option<String>,
    /// Run failed tests again, this many times at most; one that then passes is flaky and fails nothing
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(..=i64::from(MOST_RETRIES)))]
    pub retries: Option<u32>,
}

impl SuiteArgs {
    /// What they ask for.
    pub fn asked(&self) -> Asked {
        Asked {
            names: self.suites.clone(),
            retries: self.retries,
            filter: self.filter.clone(),
        }
    }
}

/// When an environment is kept after its tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Keep {
    /// Removed, whatever happened.
    Never,
    /// Kept if something failed.
    OnFailure,
    /// Kept.
    Always,
}

impl From<Keep> for run::Keep {
    fn from(keep: Keep) -> Self {
        match keep {
            Keep::Never => Self::Never,
            Keep::OnFailure => Self::OnFailure,
            Keep::Always => Self::Always,
        }
    }
}
