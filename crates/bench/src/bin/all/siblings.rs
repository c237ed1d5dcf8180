//! The rows that have a benchmark of their own, and those programs.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::Context as _;
use bench::row::{Outcome, Row, Topic};
use bench::tool::{cause, checkout, clean, timed};

/// Builds what the rows start, in release form beside this program, so that no row counts a compiler.
pub(crate) fn build(topics: impl Iterator<Item = Topic>) -> anyhow::Result<()> {
    let mut command = Command::new("cargo");
    command.args(["build", "--release", "--quiet"]);
    let mut programs = Vec::new();
    let mut has_tool = false;
    for topic in topics {
        has_tool |= matches!(topic, Topic::MigrateDir | Topic::Inserts);
        programs.extend(program(topic, 1, false).map(|(program, _)| program));
    }
    if programs.is_empty() {
        return Ok(());
    }
    for program in programs {
        command.args(["--package", "bench", "--bin", program]);
    }
    if has_tool {
        command.args(["--package", "xtask", "--bin", "xtask"]);
    }
    clean(&mut command);
    timed(command.current_dir(checkout())).context("the benchmarks do not build")?;
    Ok(())
}

/// The program of a row with its arguments.
fn program(topic: Topic, rounds: u32, at_rest: bool) -> Option<(&'static str, Vec<String>)> {
    let words = |words: &str| words.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let short = rounds.min(2);
    Some(match topic {
        Topic::Schema => (
            "migrations",
            words(&format!("--only schema --rounds {rounds}")),
        ),
        Topic::MigrateDir => (
            "migrations",
            words(&format!("--only directory,hundred --rounds {rounds}")),
        ),
        Topic::Inserts => (
            "migrations",
            words(&format!("--only inserts --rounds {short}")),
        ),
        Topic::Datastorage => ("bench-datastorage", words(&format!("--seconds {rounds}"))),
        Topic::Kind => {
            let mut args = words(&format!("--typed --runs {short}"));
            // Who shares the machine may need the nodes that are prepared on it.
            if !at_rest {
                args.push("--keep-nodes".to_owned());
            }
            ("lifecycle", args)
        }
        Topic::MemoryLocal | Topic::MemoryKind | Topic::Services | Topic::Disk => (
            "footprint",
            words(&format!("--only {} --rounds {short}", topic.name())),
        ),
        Topic::FirstRun => ("first_run", Vec::new()),
        Topic::HotLocal | Topic::AllLocal | Topic::AllKind | Topic::Lines => return None,
    })
}

/// The rows of a topic as its program finds them, and one more if that fails.
pub(crate) fn measure(topic: Topic, rounds: u32, at_rest: bool) -> Vec<Row> {
    let Some((name, args)) = program(topic, rounds, at_rest) else {
        return Vec::new();
    };
    let failed = |error: anyhow::Error| {
        let why = Outcome::Failed(format!("{error:#}"));
        Row::new(topic, &format!("`{name} {}`", args.join(" ")), why)
    };
    let dir = match tempfile::tempdir() {
        Ok(dir) => dir,
        Err(error) => return vec![failed(error.into())],
    };
    let file = dir.path().join("rows.jsonl");
    let ended = run(name, &args, &file);
    let mut rows = match Row::read_from(&file) {
        Ok(rows) => rows,
        Err(error) => return vec![failed(error.into())],
    };
    // One program may know rows of several topics.
    rows.retain(|row| row.topic == topic);
    match ended {
        Err(error) => rows.push(failed(error)),
        Ok(()) if rows.is_empty() => rows.push(failed(anyhow::anyhow!("it found nothing"))),
        Ok(()) => {}
    }
    rows
}

/// Runs a program; what it prints is shown, and the end of its complaints is the error.
fn run(name: &str, args: &[String], rows: &Path) -> anyhow::Result<()> {
    let mut command = Command::new(beside(name)?);
    command.args(args).arg("--json").arg(rows);
    clean(&mut command);
    // The cause of a failure is its last lines.
    command
        .env("RUST_BACKTRACE", "0")
        .env("RUST_LIB_BACKTRACE", "0");
    let mut child = command
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("{name} does not start"))?;
    let mut complaints = String::new();
    let errors = child.stderr.take().context("a pipe was asked for")?;
    for line in BufReader::new(errors).lines().map_while(Result::ok) {
        drop(writeln!(std::io::stderr().lock(), "{line}"));
        complaints = complaints + &line + "\n";
    }
    let status = child.wait()?;
    anyhow::ensure!(status.success(), "{status}: {}", cause(&complaints));
    Ok(())
}

fn beside(name: &str) -> anyhow::Result<PathBuf> {
    Ok(std::env::current_exe()?.with_file_name(name))
}

/// Why there can be no Kind here; none where Docker and kind answer.
pub(crate) fn no_kind() -> Option<String> {
    let answers: [&[&str]; 3] = [
        &["docker", "version"],
        &["kind", "version"],
        &["kubectl", "version", "--client"],
    ];
    answers.into_iter().find_map(|words| {
        let answer = timed(Command::new(words[0]).args(&words[1..]));
        let why = answer.err().map(|error| format!("{error:#}"));
        why.map(|why| format!("Docker, kind or kubectl does not answer: {why}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_prepared_nodes_of_a_shared_machine_are_kept() {
        let kept = |at_rest| {
            let (_, args) = program(Topic::Kind, 9, at_rest).expect("a program");
            args.iter().any(|arg| arg == "--keep-nodes")
        };
        assert!(kept(false) && !kept(true));
    }
}
