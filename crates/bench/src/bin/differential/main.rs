//! `cargo run -p bench --bin differential -- DIRECTORY…`: real goose and this engine side by side on the same goose files.
//!
//! Both apply everything to an empty database of a private PostgreSQL each (`E2E_POSTGRES_BIN` chooses the version), revert
//! everything, and apply it again. After each the catalogue and the rows are compared; times and random ids in rows are masked. Where
//! goose cannot apply a file, both must stop at the same one and leave the same behind.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use bench::goose::{Goose, VERSION};
use clap::Parser;
use embedded_postgres::Server;
use migrations::{Catalogue, Config, Revert, apply, revert};
use testkit::postgres::{Database, empty_database_on, own_server};

/// Every fact of a database's schemas that a migration can make, a line each.
const FACTS: &str = include_str!("facts.sql");
/// Differences that are shown of each comparison.
const SHOWN: usize = 20;

/// Compares goose with this engine
#[derive(Debug, Parser)]
struct Arguments {
    /// Directories of goose files
    #[arg(required = true)]
    directories: Vec<PathBuf>,
    /// SQL that both databases begin with: roles and schemas that the files count on
    #[arg(long, value_name = "FILE")]
    before: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    let goose = Goose::find()?;
    say(&format!(
        "goose {VERSION} and this engine\n\n| directory | files | after | goose | this engine | facts | differences |\n|---|---|---|---|---|---|---|"
    ));
    let before = arguments.before.map(std::fs::read_to_string).transpose()?;
    let before = before.unwrap_or_default();
    let mut differences = Vec::new();
    for directory in arguments.directories {
        // A server each: roles belong to the whole of it.
        let servers = [
            own_server(embedded_postgres::Options::default()).await,
            own_server(embedded_postgres::Options::default()).await,
        ];
        differences.extend(
            Pair::new(&servers, &goose, &before, directory)
                .await?
                .compare()
                .await?,
        );
        for server in servers {
            server.stop().await?;
        }
    }
    for difference in &differences {
        say(difference);
    }
    Ok(if differences.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

#[expect(clippy::print_stdout, reason = "the table is what the program is for")]
fn say(text: &str) {
    println!("{text}");
}

/// One set of files, and a database for each.
struct Pair {
    goose: Goose,
    directory: PathBuf,
    theirs: Database,
    ours: Database,
    config: Config,
    files: usize,
}

/// How a verb ended: how many files are applied after it, and whether it failed.
#[derive(Debug, PartialEq, Eq)]
struct Ended {
    applied: String,
    failed: Option<String>,
}

impl Ended {
    fn cell(&self) -> String {
        match &self.failed {
            None => format!("{} applied", self.applied),
            Some(_) => format!("{} applied, stopped", self.applied),
        }
    }
}

impl Pair {
    async fn new(
        servers: &[Server; 2],
        goose: &Goose,
        before: &str,
        directory: PathBuf,
    ) -> anyhow::Result<Self> {
        let [theirs, ours] = servers;
        let (theirs, ours) = (
            empty_database_on(theirs).await,
            empty_database_on(ours).await,
        );
        for database in [&theirs, &ours] {
            database.connect().await.batch_execute(before).await?;
        }
        let catalogue = Catalogue::from_goose_dir("differential", &directory)?;
        let files = catalogue.migrations().len();
        let config = Config::new(ours.url())
            .catalogue(catalogue)
            .deadline(Duration::from_mins(5));
        Ok(Self {
            goose: goose.clone(),
            directory,
            theirs,
            ours,
            config,
            files,
        })
    }

    async fn compare(&self) -> anyhow::Result<Vec<String>> {
        let mut differences = Vec::new();
        for (step, verb) in [("up", "up"), ("down", "reset"), ("up again", "up")] {
            let theirs = self.their(verb).await?;
            let ours = self.our(verb).await;
            let (facts, mut found) = self.facts().await?;
            if theirs.applied != ours.applied || theirs.failed.is_some() != ours.failed.is_some() {
                found.push(format!("goose: {theirs:?}; this engine: {ours:?}"));
            }
            let name = self.directory.display();
            say(&format!(
                "| {name} | {} | {step} | {} | {} | {facts} | {} |",
                self.files,
                theirs.cell(),
                ours.cell(),
                found.len()
            ));
            let shown = found.into_iter().take(SHOWN);
            differences.extend(shown.map(|difference| format!("{name}, {step}: {difference}")));
            if let (Some(theirs), Some(ours)) = (&theirs.failed, &ours.failed) {
                say(&format!(
                    "\nboth stopped; goose: {theirs}\nthis engine: {ours}\n"
                ));
            }
            if theirs.failed.is_some() || ours.failed.is_some() {
                break;
            }
        }
        Ok(differences)
    }

    async fn their(&self, verb: &str) -> anyhow::Result<Ended> {
        let (goose, directory, url) = (
            self.goose.clone(),
            self.directory.clone(),
            self.theirs.url().to_owned(),
        );
        let verb = verb.to_owned();
        let ran =
            tokio::task::spawn_blocking(move || goose.run(&directory, &url, &[&verb])).await??;
        let said = String::from_utf8_lossy(&ran.stderr);
        let said = said
            .trim()
            .lines()
            .next_back()
            .unwrap_or_default()
            .to_owned();
        let applied = "SELECT count(DISTINCT version_id) FROM goose_db_version WHERE version_id > 0 AND is_applied";
        Ok(Ended {
            applied: text(&self.theirs, applied).await.unwrap_or_default(),
            failed: (!ran.status.success()).then_some(said),
        })
    }

    async fn our(&self, verb: &str) -> Ended {
        let ran = match verb {
            "up" => apply(&self.config).await.map(drop),
            _ => revert(&self.config, &Revert::All).await.map(drop),
        };
        let applied = "SELECT count(*) FROM schema_ledger WHERE applied_at IS NOT NULL AND reverted_at IS NULL";
        Ended {
            applied: text(&self.ours, applied).await.unwrap_or_default(),
            failed: ran.err().map(|error| error.to_string()),
        }
    }

    /// How many facts goose's database has, and those that only one of the two has.
    async fn facts(&self) -> anyhow::Result<(usize, Vec<String>)> {
        let (theirs, ours) = (facts(&self.theirs).await?, facts(&self.ours).await?);
        let only_theirs = theirs
            .difference(&ours)
            .map(|fact| format!("only goose: {fact}"));
        let only_ours = ours
            .difference(&theirs)
            .map(|fact| format!("only this engine: {fact}"));
        Ok((theirs.len(), only_theirs.chain(only_ours).collect()))
    }
}

async fn text(database: &Database, query: &str) -> anyhow::Result<String> {
    let row = database.connect().await.query_one(query, &[]).await?;
    Ok(row.get::<_, i64>(0).to_string())
}

/// The catalogue's facts, and a digest of each table's rows.
async fn facts(database: &Database) -> anyhow::Result<BTreeSet<String>> {
    let client = database.connect().await;
    let mut facts = BTreeSet::new();
    let mut tables = Vec::new();
    for row in client.query(FACTS, &[]).await? {
        let (kind, fact): (String, String) = (row.get(0), row.get(1));
        if kind == "rows of" {
            tables.push(fact);
        } else {
            facts.insert(format!("{kind} {fact}"));
        }
    }
    for table in tables {
        let digest = format!(
            "SELECT count(*) || ' ' || coalesce(md5(string_agg(t, E'\\n' ORDER BY t COLLATE \"C\")), '') FROM (SELECT \
             regexp_replace(regexp_replace(r::text, '\\d{{4}}-\\d\\d-\\d\\d \\d\\d:\\d\\d:\\d\\d(\\.\\d+)?([+-]\\d\\d)?', 'TIME', 'g'), \
             '[0-9a-f]{{8}}(-[0-9a-f]{{4}}){{3}}-[0-9a-f]{{12}}', 'ID', 'g') AS t FROM {table} AS r) AS rows"
        );
        let rows: String = client.query_one(&digest, &[]).await?.get(0);
        facts.insert(format!("rows of {table}: {rows}"));
    }
    Ok(facts)
}
