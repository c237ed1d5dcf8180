//! Entry of `cargo xtask`: parses the command line, dispatches, prints an error once.
//!
//! Modules, each may import those after it: `cli`, `commands`, `terminal`

#![expect(
    unreachable_pub,
    reason = "in a binary `pub` marks what a module offers to the others; nothing leaves the crate"
)]

mod cli;
mod commands;
mod terminal;

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _};

use e2e_runner::exit::{self, Exit};
use e2e_runner::process;
use e2e_runner::table;

use cli::{Cli, Command};

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            drop(error.print());
            return ExitCode::from(if error.use_stderr() {
                Exit::Usage.code()
            } else {
                Exit::Passed.code()
            });
        }
    };
    match dispatch(cli) {
        Ok(exit) => ExitCode::from(exit.code()),
        Err(error) => {
            terminal::say(&terminal::on_one_screen(&format!("error: {error:#}")));
            ExitCode::from(exit::exit_of(&error).code())
        }
    }
}

fn dispatch(cli: Cli) -> anyhow::Result<Exit> {
    terminal::choose(cli.progress);
    let cancel = process::cancel::Cancel::on_signals()?;
    let door = process::Door::new(cancel);
    let table = table::Table::load(cli.table.as_deref())?;
    match cli.command {
        Command::E2e(args) => commands::e2e::run(&door, &table, args),
        Command::Up(args) => commands::up::run(&door, &table, args),
        Command::Test(args) => commands::test::run(&door, &table, &args),
        Command::Down(args) => commands::down::run(&door, &table, &args),
        Command::Migrate(args) => commands::migrate::run(&door, &args),
        Command::Doctor(args) => commands::doctor::run(&door, &table, &args),
        Command::Diagnose(args) => commands::diagnose::run(&door, &table, &args),
        Command::Services => commands::services::run(&table),
        Command::Kill(args) => commands::kill::run(&door, &table, &args),
        Command::Ci {
            what: commands::ci::Ci::Matrix,
        } => Ok(commands::ci::matrix(&table)),
        Command::Reap => commands::reap::run(&door),
        Command::Flakes { format } => {
            commands::flakes::run(&door, format == commands::args::Format::Json)
        }
        Command::Completions { shell } => commands::completions::completions(Cli::command(), shell),
        Command::Man { dir } => commands::completions::man(Cli::command(), &dir),
        Command::Report { run } => commands::report::run(&door, run.as_deref()),
        Command::Bench { topic, args } => commands::programs::bench(&door, topic, &args),
        Command::Gen { args } => commands::programs::generate(&door, &args),
        Command::Status { format } => {
            commands::status::run(&door, format == commands::args::Format::Json)
        }
        Command::Logs { service } => commands::attach::logs(&door, &table, &service),
        Command::Shell { service } => commands::attach::shell(&door, &table, &service),
    }
}
