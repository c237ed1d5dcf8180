//! What programs in Go and Rust wrote of their coverage at their exit: where they are told to write it, merged and counted.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::exit::{Exit, Failure};
use crate::process::Runner;

/// The variables by which a program writes its coverage into a directory. In a container every program has the same process id, so
/// the name of a profile has that of the host too.
pub fn variables(directory: &str) -> [(&'static str, String); 2] {
    [
        ("GOCOVERDIR", directory.to_owned()),
        ("LLVM_PROFILE_FILE", format!("{directory}/%h-%p-%m.profraw")),
    ]
}

/// The start of the name of what a Go program writes at its start: which statements it has. It counts nothing.
pub const GO_META: &str = "covmeta.";
/// The start of the name of what it writes at its exit.
const GO_COUNTERS: &str = "covcounters.";
/// How the name of what an LLVM program writes ends.
const PROFILE: &str = ".profraw";
/// How long one of the tools may take.
const TOOL: Duration = Duration::from_mins(2);
/// The files of others in what a Rust program is compiled from.
const FOREIGN: &str = "/registry/src/|/git/checkouts/|/rustc/|/rustlib/";

/// How much of something is covered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counted {
    covered: u64,
    of: u64,
    places: usize,
    /// What is counted, and where it is.
    words: (&'static str, &'static str),
}

impl fmt::Display for Counted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // In tenths of a percent, rounded down: all is only what is all.
        let tenths = (self.covered * 1000).checked_div(self.of).unwrap_or(0);
        let (what, within) = self.words;
        let (whole, tenth) = (tenths / 10, tenths % 10);
        let within = match self.places {
            1 => within.trim_end_matches('s'),
            _ => within,
        };
        write!(f, "{whole}.{tenth} % of {what} in {} {within}", self.places)
    }
}

/// What became of the raw files of a language.
#[derive(Debug)]
pub enum Merged {
    /// Nothing was written.
    Nothing,
    /// It is counted, and the report is a file.
    Report(Counted, PathBuf),
    /// It is left as it is, and what makes a report of it.
    Raw(String),
}

/// The files of a directory whose names are such.
fn files(directory: &Path, is: impl Fn(&str) -> bool) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let named = entries.filter(|entry| is(&entry.file_name().to_string_lossy()));
    let mut files: Vec<_> = named.map(|entry| entry.path()).collect();
    files.sort();
    files
}

/// Merges what Go programs wrote into these directories, with the `go` of a module: `go` in `to`, its profile `go.txt`, and
/// `go-packages.txt` with the percentage of each package.
pub fn merge_go(
    runner: &Runner,
    directories: &[PathBuf],
    module: &Path,
    to: &Path,
) -> Result<Merged, Failure> {
    let directories: Vec<_> = directories.iter().filter(|dir| counts(dir)).collect();
    if directories.is_empty() {
        return Ok(Merged::Nothing);
    }
    let list: Vec<_> = directories
        .iter()
        .map(|dir| dir.display().to_string())
        .collect();
    let (input, profile) = (format!("-i={}", list.join(",")), to.join("go.txt"));
    let output = format!("-o={}", profile.display());
    if Runner::find("go", None).is_err() {
        return Ok(Merged::Raw(format!(
            "no go is on PATH to read what the Go programs wrote: `go tool covdata textfmt {input} {output}`"
        )));
    }
    let covdata = |args: &[&str]| {
        let command = runner.command("go").args(["tool", "covdata"]).args(args);
        let read = command.dir(module).deadline(TOOL).read();
        read.map_err(|error| error.into_failure(Exit::Setup, runner.cancel()))
    };
    let merged = to.join("go");
    std::fs::create_dir_all(&merged).map_err(Failure::setup)?;
    covdata(&["merge", &input, &format!("-o={}", merged.display())])?;
    let input = format!("-i={}", merged.display());
    covdata(&["textfmt", &input, &output])?;
    let packages = covdata(&["percent", &input])?;
    std::fs::write(to.join("go-packages.txt"), packages + "\n").map_err(Failure::setup)?;
    let text = std::fs::read_to_string(&profile).map_err(Failure::setup)?;
    Ok(Merged::Report(count_go(&text), profile))
}

/// Whether a Go program has counted anything in a directory. What only began to, because it was killed or still runs, is taken out:
/// all of it would seem to be uncovered.
fn counts(directory: &Path) -> bool {
    let of = |path: &PathBuf, start: &str| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let rest = name.strip_prefix(start).unwrap_or_default();
        rest.split('.').next().unwrap_or_default().to_owned()
    };
    let counters = files(directory, |name| name.starts_with(GO_COUNTERS));
    let counted: BTreeSet<_> = counters.iter().map(|path| of(path, GO_COUNTERS)).collect();
    for meta in files(directory, |name| name.starts_with(GO_META)) {
        if !counted.contains(&of(&meta, GO_META)) {
            drop(std::fs::remove_file(meta));
        }
    }
    !counted.is_empty()
}

/// Counts the statements of a profile, whose lines are `FILE:FROM,TO STATEMENTS COUNT` after the first.
fn count_go(profile: &str) -> Counted {
    let mut blocks = BTreeMap::new();
    let mut packages = BTreeSet::new();
    for line in profile.lines().skip(1) {
        let mut words = line.rsplitn(3, ' ');
        let (Some(count), Some(statements), Some(place)) =
            (words.next(), words.next(), words.next())
        else {
            continue;
        };
        let file = place.rsplit_once(':').map_or(place, |(file, _)| file);
        packages.insert(file.rsplit_once('/').map_or(file, |(package, _)| package));
        let block = blocks.entry(place).or_insert((0, false));
        block.0 = statements.parse::<u64>().unwrap_or(0);
        block.1 |= count != "0";
    }
    Counted {
        covered: blocks
            .values()
            .filter(|block| block.1)
            .map(|block| block.0)
            .sum(),
        of: blocks.values().map(|block| block.0).sum(),
        places: packages.len(),
        words: ("statements", "packages"),
    }
}

/// Merges what LLVM programs wrote into these directories, with the tools of the toolchain of a workspace or those on PATH:
/// `rust.profdata` in `to`, and with the programs themselves `rust.lcov`.
pub fn merge_llvm(
    runner: &Runner,
    directories: &[PathBuf],
    (workspace, programs): (&Path, &[PathBuf]),
    to: &Path,
) -> Result<Merged, Failure> {
    let profiles: Vec<_> = directories
        .iter()
        .flat_map(|dir| files(dir, |name| name.ends_with(PROFILE)))
        .collect();
    if profiles.is_empty() {
        return Ok(Merged::Nothing);
    }
    let (merged, raw) = (to.join("rust.profdata"), to.join("raw"));
    let raw = |why: &str| {
        let raw = raw.display();
        Ok(Merged::Raw(format!(
            "what the Rust programs wrote is not merged ({why}): `rustup component add llvm-tools`, then `llvm-profdata merge --sparse --output {} {raw}/*/*{PROFILE}`",
            merged.display()
        )))
    };
    let Some(profdata) = llvm_tool(runner, workspace, "llvm-profdata") else {
        return raw("no llvm-profdata is in the toolchain or on PATH");
    };
    let merge = runner
        .command(profdata)
        .args(["merge", "--sparse", "--output"]);
    // By a file: there may be more than a command line takes.
    let list = to.join("rust-profiles");
    let names: Vec<_> = profiles
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    std::fs::write(&list, names.join("\n")).map_err(Failure::setup)?;
    let merge = merge.arg(&merged).arg("--input-files").arg(&list);
    let done = merge.deadline(TOOL).read();
    drop(std::fs::remove_file(list));
    runner.cancel().check()?;
    if let Err(error) = done {
        // That of another version of LLVM than the compiler's cannot read them.
        return raw(error.to_string().lines().next().unwrap_or_default());
    }
    let profile = format!("--instr-profile={}", merged.display());
    let by_hand = |why: &str| {
        let command = format!("llvm-cov report {profile} PROGRAM");
        Ok(Merged::Raw(format!(
            "what the Rust programs wrote is {} ({why}): `{command}`",
            merged.display()
        )))
    };
    let Some((first, others)) = programs.split_first() else {
        return by_hand("their programs were not built by this tool");
    };
    let Some(cov) = llvm_tool(runner, workspace, "llvm-cov") else {
        return by_hand("no llvm-cov is in the toolchain or on PATH");
    };
    let export = runner.command(cov).args(["export", "--format=lcov"]);
    let export = export
        .arg(format!("--ignore-filename-regex={FOREIGN}"))
        .arg(&profile)
        .arg(first);
    let export = others
        .iter()
        .fold(export, |export, other| export.arg("--object").arg(other));
    let report = export.deadline(TOOL).read();
    runner.cancel().check()?;
    let report = match report {
        Ok(report) => report,
        Err(error) => return by_hand(error.to_string().lines().next().unwrap_or_default()),
    };
    let file = to.join("rust.lcov");
    std::fs::write(&file, &report).map_err(Failure::setup)?;
    Ok(Merged::Report(count_lcov(&report), file))
}

/// Counts the lines of a report, which has `LF:` and `LH:` for each file: how many there are, and how many of them ran.
fn count_lcov(report: &str) -> Counted {
    let sum = |key: &str| {
        let numbers = report.lines().filter_map(|line| line.strip_prefix(key));
        numbers
            .filter_map(|number| number.parse::<u64>().ok())
            .sum()
    };
    Counted {
        covered: sum("LH:"),
        of: sum("LF:"),
        places: report
            .lines()
            .filter(|line| line.starts_with("SF:"))
            .count(),
        words: ("lines", "files"),
    }
}

/// Where a tool of LLVM lies: the component `llvm-tools` of a workspace's toolchain, else one on PATH.
fn llvm_tool(runner: &Runner, workspace: &Path, name: &str) -> Option<PathBuf> {
    let rustc = runner.command("rustc").args(["--print", "sysroot"]);
    let sysroot = rustc.dir(workspace).read().unwrap_or_default();
    let targets = std::fs::read_dir(Path::new(&sysroot).join("lib/rustlib"));
    let targets = targets.into_iter().flatten().flatten();
    let mut tools = targets.map(|target| target.path().join("bin").join(name));
    let of_toolchain = tools.find(|tool| tool.is_file());
    of_toolchain.or_else(|| Runner::find(name, None).ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::paths::Paths;
    use crate::process::cancel::Cancel;
    use crate::table::image::{Cargo, Go};
    use crate::tools::{cargo, go};

    /// Files below a directory.
    fn write(dir: &Path, files: &[(&str, &str)]) {
        for (path, text) in files {
            let path = dir.join(path);
            let parent = path.parent().expect("a directory above");
            std::fs::create_dir_all(parent).expect("a directory");
            std::fs::write(path, text).expect("a file");
        }
    }

    /// Runs a program to its end, and returns the directory that it wrote into.
    fn ran(runner: &Runner, program: &Path, dir: &Path) -> PathBuf {
        let raw = dir.join("raw/server");
        std::fs::create_dir_all(&raw).expect("a directory");
        let command = variables(&raw.display().to_string())
            .into_iter()
            .fold(runner.command(program), |command, (name, value)| {
                command.env(name, value)
            });
        command.read().expect("it runs");
        raw
    }

    #[test]
    fn a_go_program_built_with_coverage_tells_what_of_its_module_ran() {
        let (dir, runner) = (
            tempfile::tempdir().expect("a directory"),
            Runner::new(Cancel::default()),
        );
        let main = "package main\n\nimport \"example.io/team/word\"\n\nfunc main() { println(word.Of(1)) }\n";
        let word = "package word\n\nfunc Of(n int) string {\n\tif n > 0 {\n\t\treturn \"some\"\n\t}\n\treturn \"none\"\n}\n";
        let module = "module example.io/team\n\ngo 1.21\n";
        let files = [
            ("go.mod", module),
            ("server/main.go", main),
            ("word/word.go", word),
        ];
        write(dir.path(), &files);
        let go = Go {
            go: "./server".to_owned(),
            dir: PathBuf::new(),
            args: Vec::new(),
            env: [("GOPROXY", "off"), ("GOFLAGS", "")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
        };
        let (place, into) = ((&go, dir.path()), dir.path().join("out"));
        let built = go::build(&runner, place, "amd64", &into, true, |_| {});
        let program = built.expect("it builds (go has to be on PATH)");
        let raw = ran(&runner, &program, dir.path());
        let merged = merge_go(&runner, &[raw], dir.path(), dir.path()).expect("it is merged");
        let Merged::Report(counted, file) = merged else {
            panic!("{merged:?}");
        };
        assert_eq!(counted.to_string(), "75.0 % of statements in 2 packages");
        let profile = std::fs::read_to_string(file).expect("a profile");
        assert!(
            profile.contains("example.io/team/word/word.go:"),
            "{profile}"
        );
        let packages = std::fs::read_to_string(dir.path().join("go-packages.txt"));
        assert!(packages.is_ok_and(|text| text.contains("coverage: 66.7%")));
    }

    #[test]
    fn a_rust_program_built_with_coverage_writes_a_profile() {
        if !cargo::BUILDS_STATIC {
            return;
        }
        let (dir, runner) = (
            tempfile::tempdir().expect("a directory"),
            Runner::new(Cancel::default()),
        );
        let package = "[workspace]\n[package]\nname = \"server\"\nedition = \"2021\"\n";
        write(
            dir.path(),
            &[("Cargo.toml", package), ("src/main.rs", "fn main() {}\n")],
        );
        let cargo = Cargo {
            cargo: "server".to_owned(),
            bin: None,
            dir: PathBuf::new(),
            args: vec!["--target-dir".to_owned(), "out".to_owned()],
        };
        let paths = Paths {
            source: dir.path().to_owned(),
            target: dir.path().join("kept"),
        };
        let built = cargo::build_program(&runner, &paths, &cargo, dir.path(), true, |_| {});
        let program = built.expect("it builds");
        let raw = ran(&runner, &program, dir.path());
        let programs = [program];
        let merged = merge_llvm(&runner, &[raw], (dir.path(), &programs), dir.path());
        // Whether this machine has tools of the compiler's version is not for this test.
        match merged.expect("no failure") {
            Merged::Nothing => panic!("it wrote nothing"),
            Merged::Report(counted, _) => {
                assert_eq!(counted.to_string(), "100.0 % of lines in 1 file");
            }
            Merged::Raw(told) => assert!(told.contains("llvm-"), "{told}"),
        }
    }

    #[test]
    fn a_statement_counts_once_and_a_percentage_is_never_rounded_up() {
        let profile = "mode: set\n\
            example.io/team/cmd/server/main.go:3.13,5.2 2 1\n\
            example.io/team/pkg/lib.go:3.20,4.2 1 0\n\
            example.io/team/pkg/lib.go:3.20,4.2 1 1\n\
            example.io/team/pkg/more.go:3.20,4.2 3 0\n";
        let counted = count_go(profile);
        assert_eq!(counted.to_string(), "50.0 % of statements in 2 packages");
        let nearly = Counted {
            covered: 9_999,
            of: 10_000,
            ..counted
        };
        assert!(nearly.to_string().starts_with("99.9 %"), "{nearly}");
        assert!(count_go("mode: set\n").to_string().starts_with("0.0 %"));
        let report = "SF:/team/src/main.rs\nDA:1,1\nLF:3\nLH:1\nend_of_record\nSF:/team/src/lib.rs\nLF:1\nLH:1\nend_of_record\n";
        let counted = count_lcov(report).to_string();
        assert_eq!(counted, "50.0 % of lines in 2 files");
    }

    #[test]
    fn what_a_killed_program_began_to_write_is_not_taken_for_uncovered() {
        let dir = tempfile::tempdir().expect("a directory");
        let write = |name: &str| std::fs::write(dir.path().join(name), "").expect("a file");
        write("covmeta.aaa");
        assert!(!counts(dir.path()));
        for name in ["covmeta.aaa", "covmeta.bbb", "covcounters.bbb.1.17"] {
            write(name);
        }
        assert!(counts(dir.path()));
        let left = files(dir.path(), |name| name.starts_with(GO_META));
        assert_eq!(left, [dir.path().join("covmeta.bbb")]);
    }

    #[test]
    fn profiles_that_cannot_be_read_stay_with_the_command_that_reads_them() {
        let dir = tempfile::tempdir().expect("a directory");
        let raw = dir.path().join("raw/server");
        std::fs::create_dir_all(&raw).expect("a directory");
        let runner = Runner::new(Cancel::default());
        let merge = || {
            let (directories, from) = ([raw.clone()], (dir.path(), &[][..]));
            merge_llvm(&runner, &directories, from, dir.path()).expect("no failure")
        };
        assert!(matches!(merge(), Merged::Nothing));
        let profile = raw.join("host-1-2.profraw");
        std::fs::write(&profile, "no profile").expect("a file");
        let Merged::Raw(told) = merge() else {
            panic!("it is read");
        };
        assert!(told.contains("llvm-profdata merge"), "{told}");
        assert!(profile.exists());
    }
}
