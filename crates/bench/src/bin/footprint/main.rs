//! What the tool takes of a machine: memory by part, bytes on disk after a run and after a week of runs, and how time, memory and
//! processor seconds grow with the number of services.
//!
//! Modules, each may import those after it: `services`, `week`, `memory`, `run`, `node`, `processes`

mod memory;
mod node;
mod processes;
mod run;
mod services;
mod week;

use std::io::Write as _;
use std::path::PathBuf;

use anyhow::{Context as _, bail};
use bench::readme;
use bench::row::Topic;
use bench::tool::Tool;
use clap::Parser;

/// Measures memory, disk, and growth with the number of services
#[derive(Debug, Parser)]
#[command(bin_name = "cargo xtask bench footprint")]
struct Args {
    /// Measure only these of memory-local, memory-kind, services and disk
    #[arg(long, value_enum, value_delimiter = ',', value_name = "ROW",
        default_values_t = [Topic::MemoryLocal, Topic::MemoryKind, Topic::Services, Topic::Disk])]
    only: Vec<Topic>,
    /// How often each time is taken; the median is shown
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// How many runs a week has: seven days of five
    #[arg(long, default_value_t = 35, value_parser = clap::value_parser!(u32).range(1..))]
    week: u32,
    /// Adds what was found to this file, a line of JSON for each row
    #[arg(long)]
    json: Option<PathBuf>,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let program =
        std::env::var_os("E2E_XTASK").context("run this by `cargo xtask bench footprint`")?;
    let tool = Tool::Program(program.into());
    let mut all = Vec::new();
    for &topic in &args.only {
        let rows = match topic {
            Topic::MemoryLocal => memory::rows(&tool, topic, "local")?,
            Topic::MemoryKind => memory::rows(&tool, topic, "kind")?,
            Topic::Services => services::rows(&tool, args.rounds),
            Topic::Disk => week::rows(&tool, args.week)?,
            _ => bail!(
                "{} is no row of this benchmark; `cargo xtask bench all` has it",
                topic.name()
            ),
        };
        for row in &rows {
            row.append_to(args.json.as_deref())?;
        }
        all.extend(rows);
    }
    // Nobody may be reading any more.
    drop(write!(std::io::stdout().lock(), "{}", readme::lines(&all)));
    Ok(())
}
