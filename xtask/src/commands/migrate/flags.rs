//! Verbs and flags of `migrate`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

use crate::commands::args::{DatabaseArgs, Format};

/// `migrate`: applies unless a verb says otherwise.
#[derive(Debug, Args)]
pub struct Migrate {
    /// What to do instead of applying
    #[command(subcommand)]
    pub verb: Option<Verb>,
    /// What is meant, and where
    #[command(flatten)]
    pub flags: Flags,
}

/// What `migrate` does besides applying.
#[derive(Clone, Debug, Subcommand)]
pub enum Verb {
    /// Applies what is missing (the default)
    Apply,
    /// Prints what `apply` would do and changes nothing
    Plan {
        /// Run it in a transaction that is rolled back, and print the locks of each statement; others wait for them meanwhile
        #[arg(long)]
        trace: bool,
    },
    /// Lists the migrations and their state; exit 10 if one is pending
    Status,
    /// Checks that tables, partitions and shapes are there; exit 10 if something is missing, 11 if it differs
    Verify,
    /// Reverts migrations and what requires them, last applied first; shows what is lost and asks
    Down(Down),
    /// Takes over rows of the ledger or of goose for the files of --dir, without running anything
    Adopt(Adopt),
    /// Records migrations as applied in a database that has them and no ledger, without running anything
    Baseline(Baseline),
    /// Compares the database with what the migrations make; exit 11 if it differs
    Drift,
    /// Checks the migration files without a database
    Lint,
    /// Writes the next pair of migration files
    New {
        /// The table, or the table and what is done to it, in lower case with underscores
        name: String,
    },
    /// Creates the monthly partitions around today, or with --retire detaches months past their retention
    Partitions(Partitions),
}

impl Verb {
    /// The word on the command line.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Apply => "apply",
            Self::Plan { .. } => "plan",
            Self::Status => "status",
            Self::Verify => "verify",
            Self::Down(_) => "down",
            Self::Adopt(_) => "adopt",
            Self::Baseline(_) => "baseline",
            Self::Drift => "drift",
            Self::Lint => "lint",
            Self::New { .. } => "new",
            Self::Partitions(_) => "partitions",
        }
    }
}

/// What `down` reverts, and whether it asks.
#[derive(Clone, Debug, Args)]
pub struct Down {
    /// What is meant
    #[command(flatten)]
    pub what: What,
    /// Do not ask
    #[arg(long)]
    pub yes: bool,
    /// Show what would be reverted and lost, and change nothing
    #[arg(long, conflicts_with = "yes")]
    pub plan: bool,
}

/// Where `adopt` takes rows from; without a flag, from the names that renamed files had.
#[derive(Clone, Debug, Args)]
#[group(multiple = false)]
pub struct Adopt {
    /// A source of the ledger: the name that the directory had before
    #[arg(long, value_name = "SOURCE")]
    pub from: Option<String>,
    /// goose's table
    #[arg(long, value_name = "TABLE", num_args = 0..=1, default_missing_value = "goose_db_version")]
    pub from_goose: Option<String>,
}

/// What `partitions` does instead of creating them.
#[derive(Clone, Copy, Debug, Args)]
pub struct Partitions {
    /// Detaches whole months past their retention, unless something in them is held; no row is deleted. Exit 10 if one was in use
    #[arg(long)]
    pub retire: bool,
    /// Prints what --retire would do and changes nothing
    #[arg(long, requires = "retire")]
    pub plan: bool,
}

/// What a database has already.
#[derive(Clone, Debug, Args)]
#[group(required = true, multiple = false)]
pub struct Baseline {
    /// The last migration that it has
    #[arg(long, value_name = "ID")]
    pub to: Option<String>,
    /// It has them all
    #[arg(long)]
    pub all: bool,
}

/// Which migrations `down` reverts.
#[derive(Clone, Debug, Args)]
#[group(required = true, multiple = false)]
pub struct What {
    /// Migrations, by the names that `status` shows
    pub ids: Vec<String>,
    /// The last N applied
    #[arg(long, value_name = "N")]
    pub last: Option<usize>,
    /// Everything that is selected; what it only builds on stays where others need it
    #[arg(long)]
    pub all: bool,
}

/// Which migrations, which database, how long.
#[derive(Clone, Debug, Args)]
pub struct Flags {
    /// Profiles: services or groups, `all` for everything
    #[arg(long, global = true, value_delimiter = ',', value_name = "NAME")]
    pub profile: Vec<String>,
    /// Tables, by name or alias
    #[arg(long, global = true, value_delimiter = ',', value_name = "TABLE")]
    pub tables: Vec<String>,
    /// A team's own goose files instead of the schema's
    #[arg(long, global = true, value_name = "PATH", conflicts_with_all = ["profile", "tables"])]
    pub dir: Option<PathBuf>,
    /// Whose rows the files of --dir are in the ledger [default: as its migrations.toml says, else repository and path]
    #[arg(long, global = true, value_name = "NAME", requires = "dir")]
    pub source: Option<String>,
    /// Schema of the ledger, and of the names of --dir's files that say none [default: public, and the search path]
    #[arg(long, global = true, value_name = "NAME", requires = "dir")]
    pub schema: Option<String>,
    /// The files of --dir are new to this database, although goose or another source seems to have them
    #[arg(long, global = true, requires = "dir")]
    pub new_source: bool,
    /// Run these applied migrations once more: what they made was dropped by hand
    #[arg(long, global = true, value_delimiter = ',', value_name = "ID")]
    pub again: Vec<String>,
    /// The database that is meant
    #[command(flatten)]
    pub place: DatabaseArgs,
    /// Seconds that the run may take
    #[arg(long, global = true, default_value = "30", value_name = "SECONDS", value_parser = seconds)]
    pub timeout: Duration,
    /// Apply, or revert, only if the plan still has this hash
    #[arg(long, global = true, value_name = "HASH")]
    pub only_plan: Option<String>,
    /// Output format
    #[arg(long, global = true, value_enum, default_value = "human")]
    pub format: Format,
}

fn seconds(text: &str) -> Result<Duration, String> {
    match text.parse::<f64>().map(Duration::try_from_secs_f64) {
        Ok(Ok(duration)) if !duration.is_zero() => Ok(duration),
        _ => Err("a number of seconds greater than 0".to_owned()),
    }
}
