//! Command line of the generator.

use clap::Parser;

/// Regenerates checked-in files
#[derive(Debug, Parser)]
enum Command {
    /// The typed client of Data Storage, from its OpenAPI document
    Client,
    /// The shapes that the migrations leave, by applying them
    Schema,
}

fn main() -> anyhow::Result<()> {
    let files = match Command::parse() {
        Command::Client => codegen::client::generate()?,
        Command::Schema => codegen::schema::generate()?,
    };
    codegen::write(codegen::workspace(), &files)
}
