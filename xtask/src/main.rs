//! Entry of `cargo xtask`: parses the command line, dispatches, prints an error once.
//!
//! Modules, each may import those after it: `cli`, `commands`, `renewal`, `terminal`

#![expect(
    unreachable_pub,
    reason = "in a binary `pub` marks what a module offers to the others; nothing leaves the crate"
)]

mod cli;
mod commands;
mod renewal;
mod terminal;

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _};

use e2e_runner::exit::{self, Exit};
use e2e_runner::process;
use e2e_runner::run::forward;
use e2e_runner::settings;
use e2e_runner::table::Table;

use cli::{Cli, Command};
// Nothing is called: with it a run finds what the tool was compiled from, and compiles it not again.
use one_build as _;

fn main() -> ExitCode {
    // Before anything is read: a new version may read it otherwise.
    let runner = process::cancel::Cancel::on_signals().map(process::Runner::new);
    let runner = runner.and_then(|runner| renewal::renew(&runner).map(|()| runner));
    let runner = match runner {
        Ok(runner) => runner,
        Err(error) => return failed(&error),
    };
    let cli = match Cli::try_parse() {
        Ok(cli) => Cli {
            // An empty variable is as one that is not set.
            table: cli.table.filter(|path| !path.as_os_str().is_empty()),
            ..cli
        },
        Err(error) => {
            let text = error.render();
            if settings::is_run_by_cargo() {
                drop(error.print());
            } else if error.use_stderr() {
                terminal::message(&text.to_string());
            } else {
                terminal::print(&settings::named(&text.to_string()));
            }
            return ExitCode::from(if error.use_stderr() {
                Exit::Usage.code()
            } else {
                Exit::Passed.code()
            });
        }
    };
    match dispatch(&runner, cli) {
        Ok(code) => match terminal::unwritten() {
            None => code,
            Some(error) => {
                terminal::message(&format!(
                    "error: standard output could not be written: {error}"
                ));
                ExitCode::from(Exit::Setup.code())
            }
        },
        Err(error) => failed(&error),
    }
}

fn failed(error: &anyhow::Error) -> ExitCode {
    terminal::message(&terminal::on_one_screen(&format!("error: {error:#}")));
    ExitCode::from(exit::exit_of(error).code())
}

fn dispatch(runner: &process::Runner, cli: Cli) -> anyhow::Result<ExitCode> {
    terminal::choose(cli.progress);
    // Only what starts something needs it: clean-up has to work with a broken one too.
    let table = || -> anyhow::Result<Table> {
        let table = Table::load(cli.table.as_deref())?;
        for warning in table.warnings() {
            terminal::message(&format!("warning: {warning}"));
        }
        Ok(table)
    };
    let exit = match cli.command {
        Command::E2e(args) => commands::e2e::run(runner, &table()?, &args),
        Command::Up(args) => commands::up::run(runner, &table()?, args),
        Command::Test(args) => commands::test::run(runner, &table()?, &args),
        Command::Down(args) => commands::down::run(runner, &args),
        Command::Migrate(args) => commands::migrate::run(runner, &args),
        Command::Doctor(args) => commands::doctor::run(runner, &table(), &args),
        Command::Diagnose(args) => commands::diagnose::run(runner, table().ok().as_ref(), &args),
        Command::Services(args) => commands::services::run(table, cli.table.as_deref(), &args),
        Command::Kill(args) => commands::kill::run(runner, &args),
        Command::Ci { what } => commands::ci::run(runner, table, &what),
        Command::Node(args) => commands::node::run(runner, table, &args),
        Command::Reap(args) => commands::reap::run(runner, &table(), &args),
        Command::Flakes { format } => {
            commands::flakes::run(runner, format == commands::args::Format::Json)
        }
        Command::Completions { shell } => commands::completions::completions(Cli::command(), shell),
        Command::Man { dir } => commands::completions::man(Cli::command(), &dir),
        Command::Report { run } => commands::report::run(runner, run.as_deref()),
        Command::Bench { topic, args } => commands::bench::bench(runner, topic, &args),
        Command::Gen { args } => commands::workspace_tasks::generate(runner, &args),
        Command::Dist(args) => commands::dist::run(runner, args),
        Command::Own {
            what: commands::own::Own::Version { format },
        } => commands::own::version(runner, format),
        Command::Status { format } => {
            commands::status::run(runner, format == commands::args::Format::Json)
        }
        Command::Logs { service } => commands::attach::logs(runner, service.as_deref()),
        Command::Tunnel { run } => forward::supervise(runner, &run)
            .map(|()| Exit::Passed)
            .map_err(anyhow::Error::from),
        // A shell's exit code is the person's own.
        Command::Shell { service } => return commands::attach::shell(runner, service.as_deref()),
    };
    Ok(ExitCode::from(exit?.code()))
}
