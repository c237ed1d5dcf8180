//! Command line of the generator.

use clap::Parser;

/// Regenerates checked-in files
#[derive(Debug, Parser)]
enum Command {
    /// The typed client of Data Storage, from its OpenAPI document
    Client,
}

fn main() -> anyhow::Result<()> {
    let files = match Command::parse() {
        Command::Client => codegen::client::generate()?,
    };
    codegen::write(codegen::workspace(), &files)
}
