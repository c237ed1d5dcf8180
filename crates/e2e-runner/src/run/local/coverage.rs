//! Coverage of the process of a part: the directory that it writes into, and its end, at which it writes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::PoisonError;

use crate::exit::Failure;
use crate::run::local::launch::ProcessSpec;
use crate::run::part_run::PartRun;
use crate::run::session::Session;
use crate::state::processes;
use crate::tools::coverage;

/// Gives the process of a part the variables by which it writes its coverage, where the run collects it. One that an earlier run kept
/// is ended before: what it writes is not this run's.
pub fn prepare(
    session: &Session,
    part_run: &PartRun,
    dir: &Path,
    env: &mut BTreeMap<String, String>,
) -> Result<(), Failure> {
    if !session.coverage || !part_run.part.is_covered() {
        return Ok(());
    }
    let label = dir.display().to_string();
    processes::end_labelled(session.run.dir(), &label).map_err(Failure::setup)?;
    let raw = session.coverage_of(part_run);
    drop(std::fs::remove_dir_all(&raw));
    std::fs::create_dir_all(&raw).map_err(Failure::setup)?;
    let variables = coverage::variables(&raw.display().to_string());
    env.extend(variables.map(|(name, value)| (name.to_owned(), value)));
    Ok(())
}

/// The directory of a part's process.
pub fn directory(part_run: &PartRun) -> PathBuf {
    let part = &part_run.part;
    part_run.dir.join(if part.is_service {
        "service".to_owned()
    } else {
        format!("part-{}", part.name)
    })
}

/// Ends the process of a part, since programs write at their exit. Returns what a person should know of how it ended.
pub fn end(session: &Session, part_run: &PartRun) -> Result<Vec<String>, Failure> {
    let label = directory(part_run).display().to_string();
    let by_itself = processes::end_in_order(session.run.dir(), &label).map_err(Failure::setup)?;
    let told = format!(
        "{} was killed, since it did not end on SIGTERM within {} s: it wrote no coverage",
        part_run.part.name,
        processes::GRACE.as_secs()
    );
    Ok(if by_itself { Vec::new() } else { vec![told] })
}

/// Starts the process of a part again, under the address that it had.
pub fn start_again(session: &Session, part_run: &PartRun) -> Result<(), Failure> {
    let child = ProcessSpec::start_again(&directory(part_run), &session.runner)?;
    let children = &session.artifacts.children;
    let mut children = children.lock().unwrap_or_else(PoisonError::into_inner);
    // The one that was ended is no longer waited for.
    children.retain(|child| child.died().is_none());
    children.push(child);
    Ok(())
}
