//! What the programs of a run covered: collected once the suites are over, merged, told in one line.

use std::path::{Path, PathBuf};
use std::sync::PoisonError;
use std::time::Duration;

use crate::exit::{Exit, Failure};
use crate::run::kind::coverage as pods;
use crate::run::kubernetes::readiness;
use crate::run::local::coverage as process;
use crate::run::part_run::PartRun;
use crate::run::plan::Target;
use crate::run::session::Session;
use crate::run::wait;
use crate::table::Chosen;
use crate::table::image::Build;
use crate::table::part::Part;
use crate::tools::coverage::{Merged, merge_go, merge_llvm};

/// Refuses to collect where no program could write anything.
pub fn check(chosen: &Chosen, place: Target) -> Result<(), Failure> {
    if place == Target::Cluster {
        let what = "--coverage is collected from the node of a run's own cluster";
        return Err(Failure::new(Exit::Usage, what)
            .hint("use --target kind or --target local, or leave out --coverage"));
    }
    let own = chosen.services.iter().map(|service| &service.own);
    let is_covered =
        |part: &Part| part.is_covered() && (place == Target::Kind || !part.process.is_empty());
    if own.chain(&chosen.parts).any(is_covered) {
        return Ok(());
    }
    let names: Vec<_> = chosen
        .services
        .iter()
        .map(|service| service.name.as_str())
        .collect();
    let what = format!(
        "--coverage: no program of a team's own runs in this run of {} on {}",
        names.join(", "),
        place.word()
    );
    Err(Failure::new(Exit::Usage, what).hint(
        "it is for services and parts that a table has with `manifests` or `process` of their own",
    ))
}

/// Ends the programs of the run, which write at their exit, and merges what they wrote into the run's directory. `is_kept` says whether
/// the environment stays, given that this fails: then they run again afterwards, as they did.
pub fn collect(
    session: &Session,
    deadline: Duration,
    is_kept: impl Fn(bool) -> bool,
) -> Result<String, Failure> {
    let parts: Vec<_> = session.covered().collect();
    let mut told = Vec::new();
    let collected = end(session, &parts, is_kept(false), &mut told);
    for remark in &told {
        session.report.note(remark);
    }
    let merged = collected.and_then(|()| merge(session, &parts, &told));
    if is_kept(merged.is_err()) {
        // Of several services one may never have been deployed.
        let deployed = |part_run: &&PartRun| session.coverage_of(part_run).is_dir();
        for part_run in parts.into_iter().filter(deployed) {
            match session.place {
                Target::Kind | Target::Cluster => {
                    readiness::await_ready(session, part_run, deadline)?
                }
                Target::Local => {
                    process::start_again(session, part_run)?;
                    wait::for_part(session, part_run, deadline)?
                }
            };
        }
    }
    merged
}

fn end(
    session: &Session,
    parts: &[&PartRun],
    is_kept: bool,
    told: &mut Vec<String>,
) -> Result<(), Failure> {
    let dir = session.coverage_dir();
    let raw = dir.join("raw");
    // Of an earlier run on the same environment; what processes write lies there already.
    for entry in std::fs::read_dir(&dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path == raw && session.place == Target::Local {
            continue;
        }
        if path.is_dir() {
            drop(std::fs::remove_dir_all(path));
        } else {
            drop(std::fs::remove_file(path));
        }
    }
    std::fs::create_dir_all(&raw).map_err(Failure::setup)?;
    for part_run in parts {
        told.extend(match session.place {
            Target::Kind => {
                pods::collect(session, part_run, is_kept, &session.coverage_of(part_run))?
            }
            Target::Local => process::end(session, part_run)?,
            Target::Cluster => Vec::new(),
        });
    }
    Ok(())
}

fn merge(session: &Session, parts: &[&PartRun], told: &[String]) -> Result<String, Failure> {
    let dir = session.coverage_dir();
    let raw: Vec<_> = parts
        .iter()
        .map(|part_run| session.coverage_of(part_run))
        .collect();
    let (mut module, mut workspace, mut programs) = (None, None, Vec::new());
    let built = session.artifacts.programs.lock();
    let built = built.unwrap_or_else(PoisonError::into_inner).clone();
    for part_run in parts {
        let part = &part_run.part;
        for image in &part.images {
            match &image.build {
                Some(Build::Go(go)) => drop(module.get_or_insert(part.root.join(&go.dir))),
                Some(Build::Cargo(cargo)) => {
                    workspace.get_or_insert(part.root.join(&cargo.dir));
                    programs.extend(built.get(&image.name).cloned());
                }
                _ => {}
            }
        }
    }
    let root = parts.first().map(|part_run| part_run.part.root.as_path());
    let root = root.unwrap_or(Path::new("."));
    let at = |found: Option<PathBuf>| found.unwrap_or_else(|| root.to_owned());
    let runner = &session.runner;
    let merged = [
        merge_go(runner, &raw, &at(module), &dir)?,
        merge_llvm(runner, &raw, (&at(workspace), &programs), &dir)?,
    ];
    let lines: Vec<String> = merged
        .into_iter()
        .filter_map(|merged| match merged {
            Merged::Nothing => None,
            Merged::Report(counted, file) => Some(format!("{counted}, {}", file.display())),
            Merged::Raw(what) => {
                session.report.note(&what);
                Some(what)
            }
        })
        .collect();
    if lines.is_empty() {
        return Err(nothing(parts, told));
    }
    Ok(format!("coverage: {}", lines.join("; ")))
}

fn nothing(parts: &[&PartRun], told: &[String]) -> Failure {
    let names: Vec<_> = parts
        .iter()
        .map(|part_run| part_run.part.name.as_str())
        .collect();
    let what = format!("no program of {} wrote any coverage", names.join(", "));
    Failure::new(Exit::Setup, what).detail(told.join("\n")).hint(
        "build it with coverage (`build = { go }` and `{ cargo }` are; of a Dockerfile by `go build -cover` or RUSTFLAGS=-Cinstrument-coverage, for example in `args`), and let it return from `main` on SIGTERM",
    )
}
