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
    Plan,
    /// Lists the migrations and their state; exit 10 if one is pending
    Status,
    /// Checks that tables, partitions and shapes are there; exit 10 if something is missing, 11 if it differs
    Verify,
    /// Reverts migrations and what requires them, last applied first; rows of their tables are lost
    Down(Down),
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
            Self::Plan => "plan",
            Self::Status => "status",
            Self::Verify => "verify",
            Self::Down(_) => "down",
            Self::Drift => "drift",
            Self::Lint => "lint",
            Self::New { .. } => "new",
            Self::Partitions(_) => "partitions",
        }
    }
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

/// What `down` reverts.
#[derive(Clone, Debug, Args)]
#[group(required = true, multiple = false)]
pub struct Down {
    /// Migrations, by the names that `status` shows
    pub ids: Vec<String>,
    /// The last N applied
    #[arg(long, value_name = "N")]
    pub last: Option<usize>,
    /// Everything
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
    /// The database that is meant
    #[command(flatten)]
    pub place: DatabaseArgs,
    /// Seconds that the run may take
    #[arg(long, global = true, default_value = "30", value_name = "SECONDS", value_parser = seconds)]
    pub timeout: Duration,
    /// Apply only if the plan still has this hash
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
