//! `cargo xtask migrate`: applies the migrations that a service needs, and answers every other question about them.

pub mod cluster;
mod confirm;
mod files;
pub mod flags;
mod source;
mod verbs;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use migrations::{Catalogue, Error, GooseReader, Selection};
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use crate::commands::args::Format;
use crate::commands::{database, environment};
use crate::terminal;
use e2e_runner::exit::{Exit, Failure, exit_of};
use e2e_runner::paths::Paths;
use e2e_runner::process::Runner;
use e2e_runner::run::local::{installation, postgres};
use e2e_runner::run::{abandoned, teardown};
use e2e_runner::settings;
use e2e_runner::state::{KEPT_FOR, Run};
use e2e_runner::tools::migrate::{cancellable, failure, runtime};
use e2e_runner::tools::postgres::random_password;
use flags::{Flags, Migrate, Verb};
use verbs::Output;

/// The stage of a run that reads a team's files.
const READING: &str = "reading the migration files";

/// Runs the verb.
pub fn run(runner: &Runner, args: &Migrate) -> anyhow::Result<Exit> {
    let verb = args.verb.clone().unwrap_or(Verb::Apply);
    let mut seen = None;
    let outcome = answer(runner, &verb, &args.flags, &mut seen);
    let json = args.flags.format == Format::Json;
    match outcome {
        Ok(answer) => {
            let exit = answer.exit;
            let text = if json {
                verbs::document(&verb, &Ok(answer))
            } else {
                answer.text
            };
            terminal::print(&text);
            Ok(exit)
        }
        Err(error) => {
            if json {
                let failed = (exit_of(&error), seen.as_ref(), format!("{error:#}"));
                terminal::print(&verbs::document(&verb, &Err(failed)));
            }
            Err(error)
        }
    }
}

/// The verb's answer; a failure of the library is left in `seen` as well, for those who want more than its text.
fn answer(
    runner: &Runner,
    verb: &Verb,
    flags: &Flags,
    seen: &mut Option<Error>,
) -> anyhow::Result<Output> {
    if let Verb::New { name } = verb {
        return Ok(match &flags.dir {
            Some(directory) => files::new_goose(directory, name)?,
            None => files::new(&Paths::find(runner)?.source.join("migrations"), name)?,
        });
    }
    let catalogue = catalogue(runner, flags, seen)?;
    if matches!(verb, Verb::Lint) {
        return Ok(files::lint(&catalogue));
    }
    let selection = selection(verb, flags)?;
    catalogue
        .resolve(&selection)
        .map_err(|error| tell(runner, error, seen))?;
    let runtime = runtime()?;
    let work = |url: &str, seen: &mut Option<Error>| {
        let mut config = e2e_runner::tools::migrate::config(runner, url)
            .select(selection.clone())
            .catalogue(catalogue.clone())
            .deadline(flags.timeout)
            .observe(|event| terminal::message(&format!("  {event}")));
        config = config.again(flags.again.clone());
        if let Some(schema) = &flags.schema {
            config = config.schema(schema);
        }
        if flags.new_source {
            config = config.new_source();
        }
        if let Some(hash) = &flags.only_plan {
            config = config.only_plan(hash);
        }
        let token = CancellationToken::new();
        let asked = cancellable(
            &runtime,
            config.cancel_with(token.clone()),
            &token,
            runner.cancel(),
            async |config| verbs::ask(verb, &config).await,
        );
        asked.map_err(|error| tell(runner, error, seen))
    };
    if let Some(url) = &flags.place.database_url {
        return Ok(work(&database::named(url)?.secret, seen)?);
    }
    if let Some(kubeconfig) = &flags.place.kubeconfig {
        let forward = cluster::forward(runner, kubeconfig, &flags.place)?;
        return Ok(work(&forward.database.secret(), seen)?);
    }
    on_own_database(runner, &runtime, verb, flags, |url| work(url, seen))
}

/// The schema's migrations, or a team's own.
fn catalogue(
    runner: &Runner,
    flags: &Flags,
    seen: &mut Option<Error>,
) -> Result<Arc<Catalogue>, Failure> {
    match &flags.dir {
        Some(directory) => {
            // Read first: a directory that is not there, or holds no migrations, is not told as one without a name.
            let began = Instant::now();
            let proceed = || match began.elapsed() {
                _ if runner.cancel().is_raised() => Err(Error::Cancelled {
                    stage: READING.to_owned(),
                }),
                took if took > flags.timeout => Err(Error::DeadlineExceeded {
                    deadline: flags.timeout,
                    stage: READING.to_owned(),
                    blocker: None,
                }),
                _ => Ok(()),
            };
            let reader = GooseReader::new("unnamed")
                .variables(settings::named_by_a_file)
                .proceed_if(proceed);
            let read = reader.directory(directory);
            let catalogue = read.map_err(|error| tell(runner, error, seen))?;
            let source = source::of(runner, directory, flags.source.as_deref())?;
            Ok(Arc::new(catalogue.with_source(source)))
        }
        None => Ok(migrations::catalogue()),
    }
}

fn selection(verb: &Verb, flags: &Flags) -> Result<Selection, Failure> {
    let named = flags
        .profile
        .iter()
        .fold(Selection::all(), |selection, name| {
            selection.and_profile(name)
        })
        .and_tables(flags.tables.clone());
    if named == Selection::all() && flags.dir.is_none() && !matches!(verb, Verb::Down(_)) {
        return Err(Failure::new(Exit::Usage, "no tables given")
            .hint("give --profile (a service or group, `all` for everything), --tables, or --dir with files of your own"));
    }
    Ok(named)
}

/// Keeps the library's error for `--format json` and turns it into what is told.
fn tell(runner: &Runner, error: Error, seen: &mut Option<Error>) -> Failure {
    let failure = failure(&error, runner.cancel());
    *seen = Some(error);
    failure
}

/// The environment of the same service that is up, else, to apply, an embedded server that `down` stops (D24).
fn on_own_database(
    runner: &Runner,
    runtime: &Runtime,
    verb: &Verb,
    flags: &Flags,
    work: impl FnOnce(&str) -> Result<Output, Failure>,
) -> anyhow::Result<Output> {
    let paths = Paths::find(runner)?;
    if let (_, Some(left)) = abandoned::remove_all(runner, &paths, terminal::message) {
        terminal::message(&format!("left behind by earlier runs: {left}"));
    }
    let label = flags.profile.first().map_or("migrate", String::as_str);
    if let Ok(run) = environment::up(&paths, Some(label)) {
        let state = run.state();
        let url = state
            .environment(label)
            .get(e2e_env::DATABASE_URL)
            .cloned()
            .unwrap_or_default();
        terminal::message(&format!("database of {}: {url}", state.run));
        return Ok(work(&database::of_run(&url, &run.password()?))?);
    }
    if !matches!(verb, Verb::Apply) {
        return Err(Failure::new(Exit::Preflight, format!("no running environment for {label}"))
            .hint("give --database-url or --kubeconfig, or apply first: `cargo xtask migrate --profile …` keeps an embedded server")
            .into());
    }
    let found = installation::find_or_fetch(runner, &paths, terminal::message)?;
    let run = Run::create(&paths.runs(), &[label.to_owned()], "local", KEPT_FOR)?;
    let password = random_password();
    let applied = postgres::start_postgres(&found, &run, runtime, &password, None, KEPT_FOR)
        .and_then(|database| {
            let answer = work(&database.secret())?;
            Ok((database, answer))
        });
    match applied {
        Ok((database, answer)) => {
            let environment = BTreeMap::from([
                (e2e_env::DATABASE_URL.to_owned(), database.to_string()),
                (
                    e2e_env::EVIDENCE_DIR.to_owned(),
                    run.dir().display().to_string(),
                ),
            ]);
            let environments = BTreeMap::from([(label.to_owned(), environment)]);
            run.keep(environments, &password, KEPT_FOR)?;
            terminal::message(&environment::describe(&run));
            Ok(answer)
        }
        Err(failure) => {
            if let Err(left) = teardown::release(&run, &runner.after(2)) {
                terminal::message(&format!("left behind: {left}"));
            }
            Err(failure.into())
        }
    }
}
