//! `--shard` and `--shards`: the services of a table split over jobs, and told so that jobs that split differently are seen.

use std::fmt::Write as _;
use std::path::Path;

use crate::commands::args::Format;
use crate::commands::ending;
use crate::terminal;
use e2e_runner::durations::Durations;
use e2e_runner::exit::{Exit, Failure};
use e2e_runner::shard::{self, Shard, Share, Split};
use e2e_runner::table::service::Service;
use e2e_runner::table::{MOST, Table};

/// The services of one job.
#[derive(Debug)]
pub struct Mine {
    /// Their names; none where there is nothing to do.
    pub services: Vec<String>,
    /// The shard with the name of its split, for reports.
    pub label: String,
}

/// Splits services by a file of durations, or evenly, and says how, with what is in each shard.
pub fn split(
    services: &[Service],
    of: usize,
    durations: Option<&Path>,
) -> Result<(Split, String), Failure> {
    let known = durations.map(Durations::read).transpose()?;
    let known = known.unwrap_or_default();
    let shares: Vec<Share> = services
        .iter()
        .map(|service| Share {
            service: service.name.clone(),
            seconds: known.seconds(&service.name),
            alone: service.alone,
        })
        .collect();
    let split = shard::split(&shares, of, usize::from(MOST))?;
    let new: Vec<&str> = shares
        .iter()
        .filter(|share| share.seconds.is_none())
        .map(|share| share.service.as_str())
        .collect();
    let by = match durations {
        Some(file) if new.is_empty() => format!("by {}", file.display()),
        Some(file) if new.len() < shares.len() => format!(
            "by {}, which does not have {}: as the median, {:.1} s",
            file.display(),
            new.join(", "),
            shard::median(&shares)
        ),
        Some(file) => format!("evenly by name: {} has none of them", file.display()),
        None => "evenly by name".to_owned(),
    };
    let mut told = format!(
        "{} services in {of} shards, split {}, {by}",
        shares.len(),
        split.name
    );
    for (at, names) in split.shards.iter().enumerate() {
        let names = match names.join(", ") {
            none if none.is_empty() => "nothing".to_owned(),
            names => names,
        };
        write!(told, "\n  {}/{of}: {names}", at + 1).unwrap_or_default();
    }
    Ok((split, told))
}

/// What one job of several runs, told with what the others run.
pub fn mine(
    table: &Table,
    (names, all): (&[String], bool),
    shard: Shard,
    durations: Option<&Path>,
) -> Result<Mine, Failure> {
    let services = table.named(names, all)?;
    if let ([only], false) = (&*services, all) {
        let what = format!("--shard splits services, and `{}` is one", only.name);
        return Err(Failure::new(Exit::Usage, what)
            .hint("leave out --shard, or name several services or --all"));
    }
    let (mut split, told) = split(&services, shard.of, durations)?;
    terminal::message(&format!("shard {shard} of {told}"));
    Ok(Mine {
        services: split.shards.swap_remove(shard.number - 1),
        label: format!("{shard}, split {}", split.name),
    })
}

/// Says that a job has nothing to do, in its summary too.
pub fn nothing(label: &str, format: Format) -> Exit {
    let told = format!("nothing to run in shard {label}: the other shards have every service");
    terminal::message(&told);
    ending::summarize(&format!("{told}\n"));
    if format == Format::Json {
        let document = serde_json::json!({"run": null, "exit": 0, "shard": label, "services": []});
        terminal::print(&format!("{document:#}"));
    }
    Exit::Passed
}
