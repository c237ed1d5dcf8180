//! go: builds a static program from a module of a team's own.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::exit::{Exit, Failure};
use crate::process::Runner;
use crate::table::image::Go;
use crate::tools::compiler::{self, Line};

/// What makes a program write at its exit which statements of its module ran.
const COVERAGE: [&str; 2] = ["-cover", "-coverpkg=./..."];

/// Builds the program for a node of an architecture (GOARCH) into a directory of its own, where the one of before may lie, and
/// returns its path: `go build` names it. The same source gives the same bytes, whatever commit it is of and wherever it lies. With
/// `coverage` it writes at its exit which statements of its module ran.
pub fn build(
    runner: &Runner,
    (go, root): (&Go, &Path),
    architecture: &str,
    into: &Path,
    coverage: bool,
    on_line: impl FnMut(&str),
) -> Result<PathBuf, Failure> {
    std::fs::create_dir_all(into).map_err(Failure::setup)?;
    let dir = root.join(&go.dir);
    let mut output = into.as_os_str().to_owned();
    // A directory, whose name ends so.
    output.push("/");
    let mut command = runner
        .command("go")
        .args(["build", "-v", "-trimpath", "-buildvcs=false"])
        // Before the entry's own: of two the last counts.
        .args(coverage.then_some(COVERAGE).into_iter().flatten())
        .args(&go.args)
        .arg("-o")
        .arg(output)
        .arg(&go.go)
        .dir(&dir)
        .deadline(Duration::MAX)
        .env("CGO_ENABLED", "0")
        .env("GOOS", "linux")
        .env("GOARCH", architecture);
    for (name, value) in &go.env {
        command = command.env(name, value);
    }
    // With `-v` it names each package that it compiles: a path, and nothing else in the line.
    let mut packages = 0;
    let is = |line: &str| {
        if line.contains([' ', ':', '#']) {
            Line::Said(line.to_owned())
        } else {
            packages += 1;
            Line::At(format!("{packages} packages so far, now {line}"))
        }
    };
    let (status, said) = compiler::run(&command, on_line, is)
        .map_err(|error| error.into_failure(Exit::Setup, runner.cancel()))?;
    let retry = format!("cd {} && go build {}", dir.display(), go.go);
    if !status.is_success() {
        let what = format!("`go build {}` ended with {status}", go.go);
        return Err(Failure::new(Exit::Setup, what)
            .detail(compiler::shown(&said))
            .hint(retry));
    }
    let built = std::fs::read_dir(into).map_err(Failure::setup)?;
    let built: Vec<_> = built.flatten().map(|entry| entry.path()).collect();
    let [program] = &built[..] else {
        let what = format!("`go build {}` made {} programs", go.go, built.len());
        return Err(Failure::new(Exit::Setup, what).hint("name the package of one program in `go`"));
    };
    Ok(program.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::cancel::Cancel;
    use crate::tools::elf;

    /// A module of two programs and of a package that is none.
    fn module() -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("a directory");
        for (path, text) in [
            ("go.mod", "module example.io/team\n\ngo 1.21\n"),
            (
                "cmd/server/main.go",
                "package main\n\nvar word = \"none\"\n\nfunc main() { println(word) }\n",
            ),
            ("pkg/lib.go", "package pkg\n"),
        ] {
            let path = dir.path().join(path);
            let parent = path.parent().expect("a directory above");
            std::fs::create_dir_all(parent).expect("a directory");
            std::fs::write(path, text).expect("a file");
        }
        dir
    }

    fn built(dir: &Path, go: &str, args: &[&str]) -> Result<PathBuf, Failure> {
        let go = Go {
            go: go.to_owned(),
            dir: PathBuf::new(),
            args: args.iter().map(|&arg| arg.to_owned()).collect(),
            env: [("GOPROXY", "off"), ("GOFLAGS", "")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
        };
        let runner = Runner::new(Cancel::default());
        let key = crate::fingerprint::fingerprint(&[&format!("{go:?}")]);
        let into = dir.join("out").join(key);
        build(&runner, (&go, dir), "amd64", &into, false, |_| {})
    }

    #[test]
    fn a_program_in_go_is_static_and_the_same_wherever_its_source_lies() {
        let (one, other) = (module(), module());
        let build = |dir: &Path| {
            let program =
                built(dir, "./cmd/server", &[]).expect("it builds (go has to be on PATH)");
            assert!(program.ends_with("server"), "{}", program.display());
            std::fs::read(program).expect("the program")
        };
        let program = build(one.path());
        assert!(program.starts_with(b"\x7fELF") && !elf::is_dynamic(&program));
        assert!(program == build(other.path()), "other bytes");
        let args = ["-ldflags=-X=main.word=given"];
        let given = built(one.path(), "./cmd/server", &args).expect("it builds");
        assert!(program != std::fs::read(given).expect("the program"));
    }

    #[test]
    fn what_does_not_compile_or_is_no_program_is_told_with_the_next_move() {
        let dir = module();
        let lib = built(dir.path(), "./pkg", &[]).expect_err("no program");
        assert!(lib.to_string().contains("no main packages"), "{lib}");
        let main = dir.path().join("cmd/server/main.go");
        std::fs::write(main, "package main\n\nfunc main() { nonsense() }\n").expect("a file");
        let failure = built(dir.path(), "./cmd/server", &[]).expect_err("an error");
        let detail = failure.detail.clone().unwrap_or_default();
        assert!(detail.contains("undefined: nonsense"), "{failure}");
        let hint = failure.hint.unwrap_or_default();
        assert!(hint.ends_with("go build ./cmd/server"), "{hint}");
    }
}
