//! Entry of `cargo xtask`: parses the command line, dispatches, prints an error once.

#![expect(
    unreachable_pub,
    reason = "in a binary `pub` marks what a module offers to the others; nothing leaves the crate"
)]

mod cancel;
mod cli;
mod commands;
mod database;
mod datastorage;
mod exit;
mod health;
mod history;
mod image;
mod lifecycle;
mod manifest;
mod paths;
mod process;
mod report;
mod service;
mod state;
mod suite;
mod tools;

use std::process::ExitCode;

use clap::Parser as _;

use cli::{Cli, Command};
use exit::Exit;

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
            report::say(&format!("error: {error:#}"));
            ExitCode::from(exit::exit_of(&error).code())
        }
    }
}

fn dispatch(cli: Cli) -> anyhow::Result<Exit> {
    let cancel = cancel::Cancel::on_signals()?;
    let door = process::Door::new(cancel);
    match cli.command {
        Command::E2e(args) => commands::e2e::run(&door, args),
        Command::Up(args) => commands::up::run(&door, args),
        Command::Test(args) => commands::test::run(&door, &args),
        Command::Down(args) => commands::down::run(&door, &args),
        Command::Migrate(args) => commands::migrate::run(&door, &args),
        Command::Doctor(args) => commands::doctor::run(&door, &args),
        Command::Diagnose(args) => commands::diagnose::run(&door, &args),
        Command::Services => commands::services::run(),
        Command::Reap => commands::reap::run(&door),
        Command::Bench { topic, args } => commands::programs::bench(&door, topic, &args),
        Command::Gen { args } => commands::programs::generate(&door, &args),
        Command::Status { format } => commands::status::run(&door, format == cli::Format::Json),
        Command::Logs { service } => commands::attach::logs(&door, &service),
        Command::Shell { service } => commands::attach::shell(&door, &service),
    }
}
