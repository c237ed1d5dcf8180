//! `cargo xtask bench migrations`: the engine beside psql, refinery, goose and the bare server, all in one run on one private
//! PostgreSQL.
//!
//! goose is a program, so it is compared with a program: this tool as it is built for release, and as `cargo xtask` runs it.
//!
//! PostgreSQL's data is in memory with fsync off (D9); durability is not what is measured, and every row has the same. Each figure
//! is the median of the rounds; the ratio is to the floor above it, and where the two take turns the median of each round's ratio:
//! a machine that is slow for a while is slow for both. A round is the best of three, where that takes less than a second: what
//! else the machine does only ever adds.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bench::goose::{Goose, on_path};
use bench::row::{Beside, Bound, Measured, Row, Topic, median as middle, median_ratio};
use bench::tool::{Tool, checkout, ensure_built, timed};
use clap::{Parser, ValueEnum};
use embedded_postgres::Server;
use migrations::{Catalogue, Config, apply, ensure_partitions, template};
use postgres_url::PostgresUrl;
use testkit::postgres::{Database, connect, empty_database_on, own_server};
use testkit::proxy::Proxy;

/// Round trip added by the proxy, as measured through a port-forward.
const ROUND_TRIP: Duration = Duration::from_micros(2600);

/// The first row of what is compared with the bare server.
const FLOOR: &str = "the same SQL as one message (floor)";
/// The row of what a person would type.
const PSQL: &str = "psql per file";
/// The row of the real goose.
const GOOSE: &str = "goose, a process";

/// How often a figure of one round is tried.
const TRIES: usize = 3;

/// Measures the migration engine
#[derive(Debug, Parser)]
struct Arguments {
    /// How often each figure is taken
    #[arg(long, default_value_t = 9)]
    rounds: usize,
    /// Measures only these
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Part>,
    /// Adds what was found to this file, a line of JSON for each row that `bench all` shows
    #[arg(long)]
    json: Option<PathBuf>,
}

/// What is measured by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// The whole schema into an empty database
    Schema,
    /// The whole schema where it is already
    Nothing,
    /// A hundred goose files that are applied already
    Directory,
    /// A hundred goose files
    Hundred,
    /// A file of 20,000 INSERTs
    Inserts,
    /// Partitions
    Partitions,
    /// Databases from a template
    Clones,
    /// From one run's unlock to the next one's first statement
    HandOff,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let rounds = arguments.rounds.max(1);
    let server = own_server(embedded_postgres::Options::default()).await;
    let bench = Bench {
        server,
        rounds,
        files: files()?,
        programs: Programs::find(),
        json: arguments.json,
    };
    say(&format!(
        "PostgreSQL on 127.0.0.1, data in memory, fsync off; median of {rounds} rounds\n"
    ));
    say("| what | how | ms | ratio |\n|---|---|---|---|");
    for part in Part::value_variants() {
        if !arguments.only.is_empty() && !arguments.only.contains(part) {
            continue;
        }
        match part {
            Part::Schema => bench.full_profile().await?,
            Part::Nothing => bench.nothing_to_do().await?,
            Part::Directory => bench.nothing_to_do_in_a_directory().await?,
            Part::Hundred => bench.hundred().await?,
            Part::Inserts => bench.inserts().await?,
            Part::Partitions => bench.upkeep().await?,
            Part::Clones => bench.clones().await?,
            Part::HandOff => bench.hand_off().await?,
        }
    }
    bench.server.stop().await?;
    Ok(())
}

#[expect(
    clippy::print_stdout,
    reason = "the table is what the benchmark is for"
)]
fn say(text: &str) {
    println!("{text}");
}

/// Up and down files of the schema, in the order of their numbers.
fn files() -> anyhow::Result<Vec<(String, String)>> {
    let directory = checkout().join("migrations");
    let mut files = Vec::new();
    for entry in
        std::fs::read_dir(&directory).with_context(|| format!("{}", directory.display()))?
    {
        let path = entry?.path();
        let name = path
            .file_name()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default();
        if name.starts_with(|c: char| c.is_ascii_digit()) {
            files.push((name, std::fs::read_to_string(path)?));
        }
    }
    files.sort();
    Ok(files)
}

/// A way to bring a schema into an empty database.
enum Variant {
    Message(String),
    /// None for the schema as it is embedded.
    Engine(Option<Arc<Catalogue>>),
    /// The program, and the text of each process.
    Psql(PathBuf, Vec<String>),
    /// refinery, in this process as the engine is.
    Refinery(Vec<refinery::Migration>),
    /// goose as a process, on a directory.
    Goose(Goose, PathBuf),
    /// This tool as a process, on a directory of goose files, or on the schema that it carries.
    Tool(Tool, Option<PathBuf>),
}

impl Variant {
    async fn run(&self, url: &str) -> anyhow::Result<()> {
        match self {
            Self::Message(sql) => connect(url).await.batch_execute(sql).await?,
            Self::Engine(catalogue) => {
                let config = Config::new(url);
                let config = match catalogue {
                    Some(catalogue) => config.catalogue(Arc::clone(catalogue)),
                    None => config,
                };
                apply(&config).await?;
            }
            Self::Psql(psql, texts) => {
                let (psql, url, texts) = (psql.clone(), url.to_owned(), texts.clone());
                tokio::task::spawn_blocking(move || {
                    run_psql(&psql, &url, texts.iter().map(String::as_str))
                })
                .await??;
            }
            Self::Refinery(migrations) => {
                let runner = refinery::Runner::new(migrations);
                runner.run_async(&mut connect(url).await).await?;
            }
            Self::Goose(goose, directory) => {
                let (goose, directory, url) = (goose.clone(), directory.clone(), url.to_owned());
                let up = tokio::task::spawn_blocking(move || goose.run(&directory, &url, &["up"]));
                let ended = up.await??;
                let said = String::from_utf8_lossy(&ended.stderr);
                anyhow::ensure!(ended.status.success(), "goose: {said}");
            }
            Self::Tool(tool, directory) => {
                let (tool, directory, url) = (tool.clone(), directory.clone(), url.to_owned());
                let run = move || run_tool(&tool, directory.as_deref(), &url);
                tokio::task::spawn_blocking(run).await??;
            }
        }
        Ok(())
    }
}

struct Bench {
    server: Server,
    /// goose, and this tool by what it is.
    programs: Programs,
    rounds: usize,
    files: Vec<(String, String)>,
    /// Where the rows go beside the table.
    json: Option<PathBuf>,
}

/// Milliseconds of each round, by variant.
type Taken = Vec<Vec<f64>>;

fn titled(what: &str, slow: bool) -> String {
    let suffix = if slow { ", 2.6 ms round trip" } else { "" };
    format!("{what}{suffix}")
}

/// The database's URL, through the proxy if `slow`, for as long as that is kept.
async fn reach(database: &Database, slow: bool) -> anyhow::Result<(Proxy, String)> {
    let proxy = Proxy::start(host(database.url())?).await;
    proxy.delay(ROUND_TRIP / 2);
    let url = if slow {
        proxy.url(database.url())
    } else {
        database.url().to_owned()
    };
    Ok((proxy, url))
}

fn host(url: &str) -> anyhow::Result<String> {
    let after = url.rsplit_once('@').context("the URL names a user")?.1;
    Ok(after.split('/').next().unwrap_or_default().to_owned())
}

impl Bench {
    /// The schema without the partitions of the clock, which are a row of their own.
    fn schema(&self) -> anyhow::Result<Catalogue> {
        let files: Vec<(&str, String)> = self
            .files
            .iter()
            .map(|(name, text)| {
                (
                    name.as_str(),
                    text.replace("-- partitions: ", "-- (partitions) "),
                )
            })
            .collect();
        let pairs = files.iter().map(|(name, text)| (*name, text.as_str()));
        Ok(Catalogue::from_files("kubernaut", pairs, "")?)
    }

    fn ups(&self) -> impl Iterator<Item = &str> {
        self.files
            .iter()
            .filter(|(name, _)| name.ends_with(".up.sql"))
            .map(|(_, text)| text.as_str())
    }

    /// Prints the variants by their names, directly and through the proxy, and returns what each took there.
    async fn rows(
        &self,
        what: &str,
        names: &[&str],
        variants: &[Variant],
    ) -> anyhow::Result<[Taken; 2]> {
        let mut both = [Vec::new(), Vec::new()];
        for (slow, into) in [false, true].into_iter().zip(&mut both) {
            *into = self.compare(slow, variants, TRIES).await?;
            print(&titled(what, slow), names, into);
        }
        Ok(both)
    }

    /// What the variants took, in turn, another one first each time, each round the best of the tries; `slow` goes through the
    /// proxy.
    async fn compare(
        &self,
        slow: bool,
        variants: &[Variant],
        tries: usize,
    ) -> anyhow::Result<Taken> {
        let mut taken = vec![Vec::new(); variants.len()];
        for round in 0..=self.rounds {
            let mut best = vec![f64::INFINITY; variants.len()];
            for turn in 0..variants.len() * tries {
                let which = (round + turn) % variants.len();
                if turn < variants.len() || !matches!(variants[which], Variant::Psql(..)) {
                    let took = self.once(slow, &variants[which]).await?;
                    best[which] = best[which].min(took);
                }
            }
            // The first round warms the server up.
            for (taken, best) in taken.iter_mut().zip(best).filter(|_| round > 0) {
                taken.push(best);
            }
        }
        Ok(taken)
    }

    /// Adds a row to what programs read.
    fn found(&self, topic: Topic, what: &str, measured: Measured) -> std::io::Result<()> {
        Row::measured(topic, what, measured).append_to(self.json.as_deref())
    }

    /// Adds a row for each way to start the tool, beside goose or why it is not here.
    fn found_of_tools(
        &self,
        topic: Topic,
        what: &str,
        names: &[&str],
        taken: &[Vec<f64>],
        goal: impl Fn(&Started) -> Option<Bound>,
    ) -> std::io::Result<()> {
        let of = |name: &str| names.iter().position(|each| *each == name);
        for (how, _) in &self.programs.tools {
            let Some(ours) = of(how.name()).map(|at| &taken[at]) else {
                continue;
            };
            let instead = match (of(GOOSE), &self.programs.goose) {
                (Some(at), _) => Beside::of("goose", ours, &taken[at]),
                (None, Ok(_)) => Beside::missing("goose", "not measured"),
                (None, Err(why)) => Beside::missing("goose", why),
            };
            let instead = goal(how).into_iter().fold(instead, Beside::goal);
            let mut figure = milliseconds(ours).instead(instead);
            if let Some(floor) = of(FLOOR) {
                figure = figure.floor(Beside::of("one message", ours, &taken[floor]));
            }
            self.found(topic, &format!("{what}, {}", how.short()), figure)?;
        }
        Ok(())
    }

    /// Milliseconds that a variant takes on an empty database of its own.
    async fn once(&self, slow: bool, variant: &Variant) -> anyhow::Result<f64> {
        let database = empty_database_on(&self.server).await;
        let (_proxy, url) = reach(&database, slow).await?;
        let started = Instant::now();
        variant.run(&url).await?;
        Ok(started.elapsed().as_secs_f64() * 1e3)
    }

    async fn full_profile(&self) -> anyhow::Result<()> {
        let transactions: Vec<String> = self
            .ups()
            .map(|up| format!("BEGIN;\n{up}\n;\nCOMMIT;\n"))
            .collect();
        let mut variants = vec![
            Variant::Message(transactions.concat()),
            Variant::Engine(Some(Arc::new(self.schema()?))),
            Variant::Engine(None),
        ];
        let mut names = vec![
            FLOOR,
            "this engine: lock, ledger, one commit each",
            "… with shape checks and partitions",
        ];
        if let Some(psql) = on_path("psql") {
            variants.push(Variant::Psql(psql.clone(), vec![transactions.concat()]));
            variants.push(Variant::Psql(psql, self.ups().map(str::to_owned).collect()));
            names.extend(["one psql for all files", PSQL]);
        } else {
            say("| whole schema | psql | not installed here | |");
        }
        let own = self.ups().enumerate();
        let own = own.map(|(number, up)| {
            refinery::Migration::unapplied(&format!("V{}__own", number + 1), up)
        });
        variants.push(Variant::Refinery(own.collect::<Result<_, _>>()?));
        names.push("refinery");
        let directory = tempfile::tempdir()?;
        for (number, up) in self.ups().enumerate() {
            let text =
                format!("-- +goose Up\n-- +goose StatementBegin\n{up}\n-- +goose StatementEnd\n");
            std::fs::write(
                directory.path().join(format!("{:05}_own.sql", number + 1)),
                text,
            )?;
        }
        self.programs
            .add(&mut variants, &mut names, directory.path(), true);
        let both = self.rows("whole schema", &names, &variants).await?;
        self.found_of_schema(
            "whole schema, without shape checks and partitions",
            &names,
            both,
            None,
        )?;
        // The same work on both sides: the partitions around today belong to what a run leaves.
        let partitions = "SELECT ensure_audit_events_partitions();\nSELECT ensure_resource_action_traces_partitions();\n";
        let mut variants = vec![
            Variant::Message(transactions.concat() + partitions),
            Variant::Engine(None),
        ];
        let mut names = vec![
            "the same SQL and the partitions as one message (floor)",
            "this engine, with shape checks and partitions",
        ];
        if let Some(psql) = on_path("psql") {
            let texts = self.ups().chain([partitions]).map(str::to_owned);
            variants.push(Variant::Psql(psql, texts.collect()));
            names.push(PSQL);
        }
        let both = self
            .rows("whole schema and partitions", &names, &variants)
            .await?;
        let what = "whole schema, shape checks and partitions";
        self.found_of_schema(what, &names, both, Some(Bound::AtMost(1.2)))
    }

    /// A row for each way to the server: the engine, which is second, beside the message, which is first, and psql.
    fn found_of_schema(
        &self,
        what: &str,
        names: &[&str],
        both: [Taken; 2],
        goal: Option<Bound>,
    ) -> anyhow::Result<()> {
        for (slow, taken) in [false, true].into_iter().zip(both) {
            let floor = Beside::of("one message", &taken[1], &taken[0]);
            let floor = goal.into_iter().fold(floor, Beside::goal);
            let psql = names.iter().position(|name| *name == PSQL);
            let instead = psql.map_or_else(
                || Beside::missing(PSQL, "no psql on the PATH"),
                |psql| Beside::of(PSQL, &taken[1], &taken[psql]),
            );
            let figure = milliseconds(&taken[1]).floor(floor).instead(instead);
            self.found(Topic::Schema, &titled(what, slow), figure)?;
        }
        Ok(())
    }

    async fn nothing_to_do(&self) -> anyhow::Result<()> {
        for slow in [false, true] {
            let what = titled("nothing to do", slow);
            let database = testkit::postgres::database_on(&self.server, "all").await;
            let (_proxy, url) = reach(&database, slow).await?;
            let (mut floor, mut ours) = (Vec::new(), Vec::new());
            // Ten a round: they are quick, and what else the machine does is a large part of so little.
            for _ in 0..self.rounds * 10 {
                let started = Instant::now();
                connect(&url)
                    .await
                    .simple_query("SELECT * FROM schema_ledger ORDER BY sequence")
                    .await?;
                floor.push(started.elapsed().as_secs_f64() * 1e3);
                let started = Instant::now();
                apply(&Config::new(&url)).await?;
                ours.push(started.elapsed().as_secs_f64() * 1e3);
            }
            Compared::of(&floor, &floor).row(&what, "connect and one query (floor)");
            Compared::of(&ours, &floor).row(&what, "this engine");
        }
        Ok(())
    }

    /// A hundred files that are applied already, once by each; the ratio is to the first row.
    async fn nothing_to_do_in_a_directory(&self) -> anyhow::Result<()> {
        let directory = tempfile::tempdir()?;
        let mut files = Vec::new();
        let mut theirs = Vec::new();
        for number in 1..=100 {
            let sql = format!("CREATE TABLE t{number} (id bigint PRIMARY KEY);\n");
            let (name, text) = (format!("{number:03}_t.sql"), format!("-- +goose Up\n{sql}"));
            std::fs::write(directory.path().join(&name), &text)?;
            files.push((name, text));
            theirs.push(refinery::Migration::unapplied(
                &format!("V{number}__t"),
                &sql,
            )?);
        }
        let mut variants = vec![
            Variant::Engine(Some(Arc::new(Catalogue::from_goose_files("bench", files)?))),
            Variant::Refinery(theirs),
        ];
        let mut names = vec!["this engine", "refinery"];
        self.programs
            .add(&mut variants, &mut names, directory.path(), false);
        for slow in [false, true] {
            let what = titled("nothing to do, 100 files", slow);
            let mut databases = Vec::new();
            for variant in &variants {
                let database = empty_database_on(&self.server).await;
                variant.run(database.url()).await?;
                databases.push(database);
            }
            let mut taken = vec![Vec::new(); variants.len()];
            for round in 0..self.rounds * TRIES {
                for turn in 0..variants.len() {
                    let which = (round + turn) % variants.len();
                    let (_proxy, url) = reach(&databases[which], slow).await?;
                    let started = Instant::now();
                    variants[which].run(&url).await?;
                    taken[which].push(started.elapsed().as_secs_f64() * 1e3);
                }
            }
            print(&what, &names, &taken);
            if !slow {
                let what = "`migrate --dir`, 100 files, nothing to do";
                let goal = |how: &Started| (*how != Started::Built).then_some(Bound::AtMost(0.8));
                self.found_of_tools(Topic::MigrateDir, what, &names, &taken, goal)?;
            }
        }
        Ok(())
    }

    async fn hundred(&self) -> anyhow::Result<()> {
        let migration = |number: usize| {
            format!(
                "CREATE TABLE IF NOT EXISTS t{number} (id bigint PRIMARY KEY, a text, b timestamptz);\n\
                 CREATE INDEX IF NOT EXISTS t{number}_a ON t{number} (a);\nCREATE INDEX IF NOT EXISTS t{number}_b ON t{number} (b);\n\
                 COMMENT ON TABLE t{number} IS 'one of a hundred';\n"
            )
        };
        let files: Vec<(String, String)> = (1..=100)
            .map(|number| {
                (
                    format!("{number:03}_t.sql"),
                    format!("-- +goose Up\n{}", migration(number)),
                )
            })
            .collect();
        let directory = tempfile::tempdir()?;
        for (name, text) in &files {
            std::fs::write(directory.path().join(name), text)?;
        }
        let theirs = (1..=100).map(|number| {
            refinery::Migration::unapplied(&format!("V{number}__t"), &migration(number))
        });
        let theirs: Vec<refinery::Migration> = theirs.collect::<Result<_, _>>()?;
        let catalogue = Catalogue::from_goose_files("bench", files)?;
        let transactions: Vec<String> = (1..=100)
            .map(|number| format!("BEGIN;\n{}COMMIT;\n", migration(number)))
            .collect();
        let mut variants = vec![
            Variant::Message(transactions.concat()),
            Variant::Engine(Some(Arc::new(catalogue))),
            Variant::Refinery(theirs),
        ];
        let mut names = vec![FLOOR, "this engine", "refinery"];
        self.programs
            .add(&mut variants, &mut names, directory.path(), false);
        let [taken, _] = self.rows("100 migrations", &names, &variants).await?;
        let what = "`migrate --dir`, 100 files, first run";
        let goal = |how: &Started| (*how != Started::Built).then_some(Bound::AtMost(0.7));
        self.found_of_tools(Topic::MigrateDir, what, &names, &taken, goal)?;
        Ok(())
    }

    /// What a dump with a statement for each row asks of a reader.
    async fn inserts(&self) -> anyhow::Result<()> {
        let mut sql = "CREATE TABLE reading (id bigint PRIMARY KEY, name text, value int);
"
        .to_owned();
        for number in 1..=20_000 {
            writeln!(
                sql,
                "INSERT INTO reading VALUES ({number}, 'reading {number}', {number});"
            )?;
        }
        let file = ("1_readings.sql".to_owned(), format!("-- +goose Up\n{sql}"));
        let directory = tempfile::tempdir()?;
        std::fs::write(directory.path().join(&file.0), &file.1)?;
        let mut reading = Vec::new();
        for _ in 0..self.rounds {
            let started = Instant::now();
            Catalogue::from_goose_files("bench", [file.clone()])?;
            reading.push(started.elapsed().as_secs_f64() * 1e3);
        }
        let catalogue = Catalogue::from_goose_files("bench", [file])?;
        let mut variants = vec![
            Variant::Message(format!("BEGIN;\n{sql}COMMIT;\n")),
            Variant::Engine(Some(Arc::new(catalogue))),
        ];
        let mut names = vec![FLOOR, "this engine, without reading the file"];
        self.programs
            .add(&mut variants, &mut names, directory.path(), false);
        // Seconds each: once a round is enough.
        let taken = self.compare(false, &variants, 1).await?;
        let what = "20,000 INSERTs";
        let median = middle(&mut reading);
        row(
            what,
            "reading the file",
            median,
            middle(&mut taken[0].clone()),
        );
        print(what, &names, &taken);
        let figure = milliseconds(&reading).goal(Bound::AtMost(100.0));
        self.found(
            Topic::Inserts,
            "20,000 INSERTs, the tool's own reading",
            figure,
        )?;
        let what = "`migrate --dir`, 20,000 INSERTs in a file";
        self.found_of_tools(Topic::Inserts, what, &names, &taken, |_| None)?;
        Ok(())
    }

    async fn upkeep(&self) -> anyhow::Result<()> {
        let mut made = Vec::new();
        let mut kept = Vec::new();
        for _ in 0..self.rounds {
            let database = empty_database_on(&self.server).await;
            apply(&Config::new(database.url()).catalogue(self.schema()?)).await?;
            let config = Config::new(database.url()).profile("audit");
            for taken in [&mut made, &mut kept] {
                let started = Instant::now();
                ensure_partitions(&config).await?;
                taken.push(started.elapsed().as_secs_f64() * 1e3);
            }
        }
        let made = middle(&mut made);
        row(
            "partitions of audit_events",
            "five made, connection included",
            made,
            made,
        );
        row(
            "partitions of audit_events",
            "none missing, connection included",
            middle(&mut kept),
            made,
        );
        Ok(())
    }

    async fn clones(&self) -> anyhow::Result<()> {
        let tables: Vec<(String, String)> = (1..=20)
            .map(|number| (format!("{number:03}_t.sql"), format!("-- +goose Up\nCREATE TABLE t{number} (id bigint PRIMARY KEY, a text, b timestamptz);\nCREATE INDEX ON t{number} (a);\n")))
            .collect();
        let twenty = Catalogue::from_goose_files("bench", tables)?;
        let cases = [
            (
                "20 tables",
                Config::new(self.server.url("postgres")).catalogue(twenty),
            ),
            (
                "audit profile",
                Config::new(self.server.url("postgres")).profile("audit"),
            ),
            ("whole schema", Config::new(self.server.url("postgres"))),
        ];
        for (what, config) in cases {
            let built = Instant::now();
            let template = template(&config).await?;
            let built = built.elapsed().as_secs_f64() * 1e3;
            let client = connect(&self.server.url("postgres")).await;
            let (mut floor, mut ours) = (Vec::new(), Vec::new());
            for round in 0..self.rounds * TRIES {
                let started = Instant::now();
                client
                    .batch_execute(&format!(
                        "CREATE DATABASE floor_{round} TEMPLATE \"{}\" STRATEGY file_copy",
                        template.name()
                    ))
                    .await?;
                floor.push(started.elapsed().as_secs_f64() * 1e3);
                client
                    .batch_execute(&format!("DROP DATABASE floor_{round}"))
                    .await?;
                let name = format!("clone_{round}");
                let started = Instant::now();
                template.clone_as(&name).await?;
                ours.push(started.elapsed().as_secs_f64() * 1e3);
                template.drop_clone(&name).await?;
            }
            let what = format!("clone, {what}");
            let alone = Compared::of(&floor, &floor);
            alone.row(&what, "CREATE DATABASE alone (floor)");
            Compared::of(&ours, &floor).row(&what, "this engine");
            row(
                &what,
                "building the template, once",
                built,
                alone.milliseconds,
            );
        }
        Ok(())
    }

    /// From the holder's unlock to the next run's first statement, by the server's clock: reading the ledger again included. A
    /// run before them made the ledger, as the holder would have.
    async fn hand_off(&self) -> anyhow::Result<()> {
        let file = |name: &str, sql: &str| (name.to_owned(), format!("-- +goose Up\n{sql};\n"));
        let before = file("1_at.sql", "CREATE TABLE at (moment timestamptz)");
        let after = file("2_now.sql", "INSERT INTO at VALUES (clock_timestamp())");
        let made = Arc::new(Catalogue::from_goose_files("bench", [before.clone()])?);
        let next = Arc::new(Catalogue::from_goose_files("bench", [before, after])?);
        let mut taken = Vec::new();
        for round in 0..self.rounds * 2 {
            let database = empty_database_on(&self.server).await;
            apply(&Config::new(database.url()).catalogue(Arc::clone(&made))).await?;
            let holder = database.connect().await;
            holder
                .batch_execute("SELECT pg_advisory_lock(1263878725, 1296648018)")
                .await?;
            let config = Config::new(database.url()).catalogue(Arc::clone(&next));
            let waiter = tokio::spawn(async move { apply(&config).await });
            // Somewhere within a waiter's turns, another place each round.
            tokio::time::sleep(Duration::from_millis(400 + 37 * (round as u64 % 9))).await;
            holder.batch_execute("CREATE TABLE freed AS SELECT clock_timestamp() AS moment; SELECT pg_advisory_unlock(1263878725, 1296648018)").await?;
            waiter.await??;
            let row = holder.query_one("SELECT extract(epoch FROM at.moment - freed.moment)::float8 * 1000 FROM at, freed", &[]).await?;
            taken.push(row.get::<_, f64>(0));
        }
        let median = middle(&mut taken);
        row(
            "lock hand-off",
            "from unlock to the next run's first statement",
            median,
            median,
        );
        row(
            "lock hand-off",
            "the slowest of them",
            taken.last().copied().unwrap_or_default(),
            median,
        );
        Ok(())
    }
}

/// How the tool is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Started {
    Typed,
    Built,
    Release,
}

impl Started {
    const fn name(self) -> &'static str {
        match self {
            Self::Typed => "this tool, as typed: `cargo xtask`",
            Self::Built => "this tool, as `cargo xtask` runs it",
            Self::Release => "this tool, built for release",
        }
    }

    const fn short(self) -> &'static str {
        match self {
            Self::Typed => "as typed",
            Self::Built => "the program that cargo built",
            Self::Release => "built for release",
        }
    }
}

/// Programs that a row starts as their users do.
struct Programs {
    /// Or why it is not here.
    goose: Result<Goose, String>,
    tools: Vec<(Started, Tool)>,
}

impl Programs {
    fn find() -> Self {
        let goose = Goose::find().map_err(|error| format!("{error:#}"));
        if let Err(error) = &goose {
            say(&format!("goose is not measured: {error}\n"));
        }
        let mut tools = Vec::new();
        if let Some(running) = std::env::var_os("E2E_XTASK") {
            // So that cargo finds nothing to build within a figure.
            if let Err(error) = timed(Tool::Typed.command().arg("--version")) {
                say(&format!("{error:#}\n"));
            }
            tools.push((Started::Typed, Tool::Typed));
            tools.push((Started::Built, Tool::Program(running.into())));
        }
        let beside = std::env::current_exe().map(|program| program.with_file_name("xtask"));
        if let Some(release) = beside.ok().filter(|program| program.is_file()) {
            tools.push((Started::Release, Tool::Program(release)));
        }
        Self { goose, tools }
    }

    /// Adds a row for each; `own` if the tool carries the files itself.
    fn add(
        &self,
        variants: &mut Vec<Variant>,
        names: &mut Vec<&'static str>,
        directory: &Path,
        own: bool,
    ) {
        if let Ok(goose) = &self.goose {
            variants.push(Variant::Goose(goose.clone(), directory.to_owned()));
            names.push(GOOSE);
        }
        for (how, tool) in &self.tools {
            variants.push(Variant::Tool(
                tool.clone(),
                (!own).then(|| directory.to_owned()),
            ));
            names.push(how.name());
        }
    }
}

fn run_tool(tool: &Tool, directory: Option<&Path>, url: &str) -> anyhow::Result<()> {
    let url: PostgresUrl = url.parse()?;
    let mut command = tool.command();
    command.arg("migrate");
    match directory {
        Some(directory) => command
            .arg("--dir")
            .arg(directory)
            .args(["--source", "bench"]),
        None => command.args(["--profile", "all"]),
    };
    let ended = command
        .args(["--database-url", &url.to_string()])
        .env("PGPASSWORD", url.password().unwrap_or_default())
        .output()?;
    let said = String::from_utf8_lossy(&ended.stderr);
    anyhow::ensure!(ended.status.success(), "{tool:?}: {said}");
    ensure_built(&ended.stderr)?;
    Ok(())
}

/// The median of what was taken, and of its ratio to a floor that took turns with it.
struct Compared {
    milliseconds: f64,
    ratio: f64,
}

impl Compared {
    fn of(taken: &[f64], floor: &[f64]) -> Self {
        Self {
            milliseconds: middle(&mut taken.to_vec()),
            ratio: median_ratio(taken, floor),
        }
    }

    fn row(&self, what: &str, how: &str) {
        say(&format!(
            "| {what} | {how} | {:.1} | {:.2} |",
            self.milliseconds, self.ratio
        ));
    }
}

fn row(what: &str, how: &str, milliseconds: f64, floor: f64) {
    let ratio = milliseconds / floor;
    Compared {
        milliseconds,
        ratio,
    }
    .row(what, how);
}

/// Prints the variants by their names, each beside the first.
fn print(what: &str, names: &[&str], taken: &[Vec<f64>]) {
    for (name, each) in names.iter().zip(taken) {
        Compared::of(each, &taken[0]).row(what, name);
    }
}

fn milliseconds(taken: &[f64]) -> Measured {
    Measured::new(middle(&mut taken.to_vec()), "ms")
}

/// One process for each text, each text in one transaction.
fn run_psql<'a>(
    psql: &Path,
    url: &str,
    texts: impl IntoIterator<Item = &'a str>,
) -> anyhow::Result<()> {
    use std::io::Write as _;
    let url: PostgresUrl = url.parse()?;
    let password = url.password().unwrap_or_default();
    for text in texts {
        let mut child = Command::new(psql)
            .args([
                "--no-psqlrc",
                "--quiet",
                "--set",
                "ON_ERROR_STOP=1",
                "--dbname",
                &url.to_string(),
            ])
            .env("PGPASSWORD", password)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        child
            .stdin
            .take()
            .context("psql reads")?
            .write_all(text.as_bytes())?;
        anyhow::ensure!(child.wait()?.success(), "psql failed");
    }
    Ok(())
}
