//! Reads a directory in goose's format and prints what a first run would apply, in order: `plan DIRECTORY`.
#![expect(clippy::print_stdout, reason = "it is what the program is for")]

use migrator::{Catalogue, Selection};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let directory = std::env::args().nth(1).ok_or("usage: plan DIRECTORY")?;
    let catalogue = Catalogue::from_goose_dir("example", directory.as_ref())?;
    for migration in catalogue.resolve(&Selection::all())? {
        println!("{} ({})", migration.id, migration.file);
    }
    Ok(())
}
