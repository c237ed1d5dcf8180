//! The command line: the list of verbs and the flags that all of them take.

use std::path::PathBuf;

use clap::builder::{OsStringValueParser, TypedValueParser as _};
use clap::{Parser, Subcommand};

use crate::commands::args::Format;
use crate::commands::bench::Topic;
use crate::commands::ci::Ci;
use crate::commands::diagnose::flags::Diagnose;
use crate::commands::dist::Dist;
use crate::commands::doctor::Doctor;
use crate::commands::down::Down;
use crate::commands::e2e::E2e;
use crate::commands::kill::Kill;
use crate::commands::migrate::flags::Migrate;
use crate::commands::node::Node;
use crate::commands::own::{Own, VERSION};
use crate::commands::reap::Reap;
use crate::commands::services::Services;
use crate::commands::test::Test;
use crate::commands::up::Up;
use crate::terminal::Progress;
use e2e_runner::exit::Exit;

/// Runs the services' end-to-end suites
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version = VERSION, disable_help_subcommand = true, after_help = Exit::help())]
pub struct Cli {
    /// A table of services of your own, beside the built-in one
    #[arg(
        long = "services",
        global = true,
        value_name = "PATH",
        env = "E2E_SERVICES",
        value_parser = OsStringValueParser::new().map(PathBuf::from)
    )]
    pub table: Option<PathBuf>,
    /// How progress is shown on standard error
    #[arg(
        long,
        global = true,
        value_enum,
        default_value_t,
        env = "E2E_PROGRESS",
        hide_possible_values = true,
        value_name = "auto|tty|plain|json"
    )]
    pub progress: Progress,
    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Sets up the environment of one or several services, runs their suites, reports, cleans up
    #[command(
        after_help = "Examples:\n  cargo xtask e2e workflowexecution\n  cargo xtask e2e gateway notification\n  cargo xtask e2e --all\n  cargo xtask e2e workflowexecution --target local --keep on-failure\n  cargo xtask e2e workflowexecution --plan\n  cargo xtask e2e gateway --filter audit --retries 1\n  cargo xtask e2e gateway --services services.toml --coverage\n  cargo xtask e2e --all --shard 2/3 --durations durations.json\n  cargo xtask e2e gateway --kubernetes 1.32,1.34"
    )]
    E2e(E2e),
    /// Sets up the environment of one or several services and leaves it running
    #[command(
        after_help = "Examples:\n  cargo xtask up workflowexecution\n  eval \"$(cargo xtask up workflowexecution)\"    # its variables in this shell\n  cargo xtask up workflowexecution --format env >> \"$GITHUB_ENV\"\n  cargo xtask up workflowexecution --target local --ports integration\n  cargo xtask up workflowexecution --target local\n  cargo xtask up workflowexecution --kubernetes 1.34"
    )]
    Up(Up),
    /// Runs a service's suite on the environment that `up` left; without a service, every test of this workspace
    #[command(
        after_help = "Examples:\n  cargo xtask test\n  cargo xtask test --require kind\n  cargo xtask test workflowexecution\n  cargo xtask test workflowexecution --filter failure --repeat 10"
    )]
    Test(Test),
    /// Removes what `up`, a kept run or an embedded `migrate` left
    #[command(after_help = "Examples:\n  cargo xtask down\n  cargo xtask down workflowexecution")]
    Down(Down),
    /// Applies, plans, checks and reverts the migrations that a service needs
    #[command(
        after_help = "Examples:\n  cargo xtask migrate --profile gateway\n  cargo xtask migrate --profile gateway --database-url postgres://slm_user@127.0.0.1:5432/action_history\n  cargo xtask migrate status --profile datastorage --kubeconfig ~/.kube/config\n  cargo xtask migrate plan --tables audit_events,workflows --format json"
    )]
    Migrate(Box<Migrate>),
    /// Checks whether this machine can run, or what an existing cluster lacks; exit 3 if not
    #[command(
        after_help = "Examples:\n  cargo xtask doctor\n  cargo xtask doctor --target kind --format json\n  cargo xtask doctor gateway --target cluster --context team-staging\n  cargo xtask doctor --target cluster --context team-staging --namespace team-a --print-role > role.yaml"
    )]
    Doctor(Doctor),
    /// Finds out why audit events do not arrive: the cause by name, its evidence, the command that repairs it
    #[command(
        after_help = "Examples:\n  cargo xtask diagnose workflowexecution\n  cargo xtask diagnose --url http://127.0.0.1:8081 --database-url postgres://slm_user@127.0.0.1:5432/action_history\n  cargo xtask diagnose --kubeconfig ~/.kube/config --namespace kubernaut-system --format json"
    )]
    Diagnose(Box<Diagnose>),
    /// Lists the services, their parts and whose rows they are; or says all that is wrong with a table
    #[command(
        after_help = "Examples:\n  cargo xtask services\n  cargo xtask services --check services.toml\n  cargo xtask services --schema > services.schema.json"
    )]
    Services(Services),
    /// Kills a part of an environment with SIGKILL and restarts it
    #[command(
        after_help = "Examples:\n  cargo xtask kill datastorage --service gateway\n  cargo xtask kill postgres --service gateway\n\nA suite that runs `$E2E_TOOL kill datastorage` needs no flag: its environment says which run and service are meant."
    )]
    Kill(Kill),
    /// Prints what a CI system needs to run the services' suites
    Ci {
        /// What is printed
        #[command(subcommand)]
        what: Ci,
    },
    /// Lists the prepared nodes that Docker keeps, and moves them between machines
    #[command(
        after_help = "Examples:\n  cargo xtask node\n  cargo xtask node export node.tar\n  cargo xtask node import node.tar"
    )]
    Node(Node),
    /// Removes what killed runs left and what has expired
    Reap(Reap),
    /// Regenerates the reports of a run from its event log: timeline, JUnit, summary
    #[command(
        after_help = "Examples:\n  cargo xtask report\n  cargo xtask report workflowexecution-1a2b3c"
    )]
    Report {
        /// A run's identity, or a directory with an events.jsonl; without it the run that ended last
        run: Option<String>,
    },
    /// Lists the tests that both passed and failed lately
    Flakes {
        /// Output format
        #[arg(long, value_enum, default_value_t = Format::Human)]
        format: Format,
    },
    /// Prints the completions of a shell for the installed tool
    #[command(
        after_help = "Examples:\n  xtask completions bash > /etc/bash_completion.d/xtask\n  cargo xtask completions zsh"
    )]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Writes manual pages for the installed tool
    Man {
        /// The directory that they go to
        dir: std::path::PathBuf,
    },
    /// Runs a benchmark of this project beside its alternatives
    #[command(
        after_help = "Examples:\n  cargo xtask bench lifecycle\n  cargo xtask bench migrations --rounds 3\n  cargo xtask bench all --at-rest\n  cargo xtask bench all --only schema,hot-local --history target/bench.jsonl --plot target/bench.svg"
    )]
    Bench {
        /// What is measured
        topic: Topic,
        /// Passed on to the benchmark; `-- --help` lists what it takes
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Regenerates the checked-in files that are generated
    #[command(after_help = "Examples:\n  cargo xtask gen client")]
    Gen {
        /// What is generated, with the generator's own flags
        #[arg(required = true, trailing_var_arg = true)]
        args: Vec<String>,
    },
    /// Makes the files of a release for this machine: the bundle, Data Storage's image, bill of materials, provenance, checksums
    #[command(
        after_help = "Examples:\n  cargo xtask dist\n  cargo xtask dist --out /tmp/dist --tag v0.1.0"
    )]
    Dist(Dist),
    /// Says which release this tool is of, and where programs come from
    #[command(
        name = "self",
        after_help = "Examples:\n  cargo xtask self version --format json"
    )]
    Own {
        /// What is said
        #[command(subcommand)]
        what: Own,
    },
    /// Shows what runs, what is kept and what was left
    Status {
        /// Output format
        #[arg(long, value_enum, default_value_t = Format::Human)]
        format: Format,
    },
    /// Prints the last 200 lines of each log of a running environment
    Logs {
        /// The service, or the run, whose environment it is; the newest without one
        service: Option<String>,
    },
    /// Keeps a run's way into its cluster open; the run starts it
    #[command(hide = true)]
    Tunnel {
        /// The run's directory
        #[arg(long, value_name = "DIR")]
        run: PathBuf,
    },
    /// Opens a shell with the variables that a suite gets
    Shell {
        /// The service, or the run, whose environment it is; the newest without one
        service: Option<String>,
    },
}
