//! cargo: builds the programs of a run and the suites from the checkout, and programs of a team's own workspace. It is not asked again
//! as long as nothing has changed that it said its answer depends on.

mod written;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::bundle;
use crate::cargo_settings;
use crate::exit::{Exit, Failure};
use crate::inputs::Kept;
use crate::paths::Paths;
use crate::process::{Command, Runner};
use crate::settings::{cargo, cargo_home};
use crate::table::image::Cargo;
use crate::tools::compiler::{self, Line};
use written::Message;

/// The target of the static programs that become images from scratch (D6). The local target has its own, which share what the tool
/// is compiled from.
pub const STATIC_TARGET: &str = if cfg!(target_arch = "aarch64") {
    "aarch64-unknown-linux-gnu"
} else {
    "x86_64-unknown-linux-gnu"
};

/// The package that has no code and all the features that the tool was compiled with: named in a call, dependencies get them too.
const FEATURES: [&str; 2] = ["--package", "one-build"];

/// Whether this host builds the binary that a node runs.
pub const BUILDS_STATIC: bool = cfg!(all(
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64")
));

/// What a call of cargo came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Built {
    /// Where each executable lies, by its package.
    pub executables: BTreeMap<String, PathBuf>,
    /// Whether cargo was not asked, since nothing that they were made from has changed.
    pub is_unchanged: bool,
}

/// How programs of the checkout are built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// For this machine, as the tool itself was: what the two have in common is compiled already.
    Dev,
    /// For a node: optimised and, on Linux, static.
    Release,
}

/// A target whose executable is wanted: several packages may have one of the same name.
#[derive(Clone, Copy, Debug)]
struct Target<'a> {
    package: &'a str,
    name: &'a str,
}

impl<'a> Target<'a> {
    fn of(package: &'a str, name: &'a str) -> Self {
        Self { package, name }
    }

    /// Its executable, where a message is about that.
    fn made_by<'b>(&self, message: &'b Message) -> Option<&'b Path> {
        let (name, executable) = message.executable()?;
        (name == self.name && message.is_of(self.package)).then_some(executable)
    }
}

/// What a run needs of the checkout.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wanted<'a> {
    /// Programs, each named as its package.
    pub programs: &'a [&'a str],
    /// A package whose suites are wanted.
    pub suites: Option<&'a str>,
}

/// Builds what a run needs together by one call, so that what its parts share is compiled once and looked at once. Each executable is
/// named as its package.
///
/// A program that is built together with suites has what its own package's tests ask of its dependencies: cargo gives it to all that one
/// call builds, and the tool is compiled with it too.
pub fn build(
    runner: &Runner,
    paths: &Paths,
    wanted: Wanted<'_>,
    form: Form,
    deadline: Duration,
    on_line: impl FnMut(&str),
) -> Result<Built, Failure> {
    let Wanted { programs, suites } = wanted;
    let mut command = in_checkout(runner, paths).arg("build");
    let mut targets = Vec::new();
    for package in built_with(programs, form) {
        command = command.args(["--package", package, "--bin", package]);
        targets.push(Target::of(package, package));
    }
    if let Some(package) = suites {
        command = command.args(["--package", package, "--test", target_of(package)]);
        targets.push(Target::of(package, target_of(package)));
    }
    command = command.args(features(programs));
    command = match form {
        Form::Dev => command.args(FEATURES),
        Form::Release if BUILDS_STATIC => released(command, paths),
        Form::Release => command.arg("--release"),
    };
    executables(
        &command.deadline(deadline),
        (runner, paths),
        &targets,
        on_line,
    )
}

/// The programs of the checkout that pods of a run are made of.
const OF_PODS: [&str; 3] = ["datastorage", "service-fake", "audit-emit"];

/// The programs that are built together with those that are wanted: cargo gives all of a call the same features, so one that is built
/// apart is another program than the same among others, and would replace it in a node for nothing.
fn built_with<'a>(programs: &'a [&'a str], form: Form) -> &'a [&'a str] {
    let is_of_pods = programs.iter().all(|program| OF_PODS.contains(program));
    if form == Form::Release && is_of_pods && !programs.is_empty() {
        return &OF_PODS;
    }
    programs
}

/// Builds one program for this machine, however long it takes, and returns where it lies.
pub fn build_program_of_tool(
    runner: &Runner,
    paths: &Paths,
    package: &str,
    on_line: impl FnMut(&str),
) -> Result<PathBuf, Failure> {
    let wanted = Wanted {
        programs: &[package],
        suites: None,
    };
    let built = build(runner, paths, wanted, Form::Dev, Duration::MAX, on_line)?;
    Ok(built.executables[package].clone())
}

/// The test target that holds a package's suites. That of the built-in ones has a name of its own: cargo builds a test of every package
/// of a call that has one of the name.
fn target_of(package: &str) -> &'static str {
    if package == SUITES { "suites" } else { "it" }
}

/// The package of the built-in suites.
pub const SUITES: &str = "e2e";

/// The features that programs of these packages are built with: one of them is off in a build of the whole workspace.
pub fn features(packages: &[&str]) -> &'static [&'static str] {
    if packages.contains(&bundle::PUSHER) {
        &["--features", "image-push/registry"]
    } else {
        &[]
    }
}

/// Static, in release form.
fn released(command: Command, paths: &Paths) -> Command {
    command
        .args(["--release", "--target", STATIC_TARGET])
        .env("CARGO_ENCODED_RUSTFLAGS", flags(paths))
}

/// The compiler's flags for a static program that holds no path of the machine that built it: the same bytes from any checkout.
fn flags(paths: &Paths) -> String {
    let mut flags = vec!["-Ctarget-feature=+crt-static".to_owned()];
    let places = [
        (Some(paths.source.clone()), "kubernaut-e2e"),
        (cargo_home(), "cargo"),
        (Some(paths.target.clone()), "target"),
    ];
    for (place, name) in places {
        flags.extend(place.map(|place| format!("--remap-path-prefix={}=/{name}", place.display())));
    }
    // The separator that cargo reads this variable with, so that paths may hold spaces.
    flags.join("\u{1f}")
}

/// Builds a static program of a team's own workspace and returns its path. With `coverage` it writes at its exit which lines ran.
pub fn build_program(
    runner: &Runner,
    paths: &Paths,
    cargo: &Cargo,
    root: &Path,
    coverage: bool,
    on_line: impl FnMut(&str),
) -> Result<PathBuf, Failure> {
    let (package, name) = (&cargo.cargo, cargo.bin.as_ref().unwrap_or(&cargo.cargo));
    let dir = root.join(&cargo.dir);
    if !BUILDS_STATIC {
        let what = format!("{name} cannot be built here as a static program for a node");
        return Err(Failure::new(Exit::Setup, what)
            .hint("build its image by a Dockerfile: `build = \"DIRECTORY\"`"));
    }
    let args = ["build", "--release", "--package", package, "--bin", name];
    let command = in_directory(runner, &dir).args(args);
    let command = linked_statically(command, coverage).args(&cargo.args);
    let command = command.deadline(Duration::MAX);
    let targets = [Target::of(package, name)];
    let built = executables(&command, (runner, paths), &targets, on_line);
    let mut built = built.map_err(|failure| {
        let retry = format!("cd {} && cargo {}", dir.display(), args.join(" "));
        failure.hint(retry)
    })?;
    Ok(built.executables.remove(package).unwrap_or_default())
}

/// With the target named, so that what runs while it compiles, such as macros, stays as it has to be.
fn linked_statically(command: Command, coverage: bool) -> Command {
    let flags = if coverage {
        "-Ctarget-feature=+crt-static -Cinstrument-coverage"
    } else {
        "-Ctarget-feature=+crt-static"
    };
    command
        .args(["--target", STATIC_TARGET])
        .env("RUSTFLAGS", flags)
}

fn in_checkout(runner: &Runner, paths: &Paths) -> Command {
    in_directory(runner, &paths.source)
}

fn in_directory(runner: &Runner, dir: &Path) -> Command {
    runner
        .command(cargo())
        .dir(dir)
        .env("CARGO_TERM_COLOR", "never")
        // Into a pipe cargo says how far it is only where it is told to, and how wide that may be.
        .env("CARGO_TERM_PROGRESS_WHEN", "always")
        .env("CARGO_TERM_PROGRESS_WIDTH", "120")
}

/// Where the executables of a call are, by their packages: as they are kept where nothing has changed that they were made from, else by
/// cargo. All of its targets have to be there.
fn executables(
    command: &Command,
    (runner, paths): (&Runner, &Paths),
    targets: &[Target<'_>],
    on_line: impl FnMut(&str),
) -> Result<Built, Failure> {
    let kept = kept_in(paths, command);
    let value_of = |name: &str| cargo_settings::value(command, name);
    let is_whole = |kept: &BTreeMap<String, PathBuf>| {
        let mut packages = targets.iter().map(|target| target.package);
        packages.all(|package| kept.contains_key(package))
    };
    if let Some(executables) = Kept::read(&kept, value_of).filter(is_whole) {
        return Ok(Built {
            executables,
            is_unchanged: true,
        });
    }
    let dir = command.directory().unwrap_or(&paths.source);
    let (began, settings) = (SystemTime::now(), cargo_settings::inputs(command, dir));
    let messages = messages(command, runner, targets, on_line)?;
    let wanted = targets.iter().filter_map(|target| {
        let path = messages.iter().find_map(|message| target.made_by(message));
        Some((target.package.to_owned(), path?.to_owned()))
    });
    let executables: BTreeMap<String, PathBuf> = wanted.collect();
    if let (Some(mut inputs), Some((read, made))) = (settings, written::inputs(&messages, command))
        && inputs.changed(value_of).is_none()
    {
        inputs.extend(read);
        if inputs.are_older_than(began) {
            inputs.extend(made);
            Kept::write(&kept, inputs, executables.clone());
        }
    }
    Ok(Built {
        executables,
        is_unchanged: false,
    })
}

/// The file that keeps what a call came to.
fn kept_in(paths: &Paths, command: &Command) -> PathBuf {
    let dir = command.directory().unwrap_or(&paths.source);
    let key = cargo_settings::key(command, dir);
    paths.target.join(KEPT).join(key)
}

/// The directory, in the target directory, of what is kept: with the programs it goes.
const KEPT: &str = "e2e-builds";

/// Forgets what is kept of all calls: the next ones ask cargo.
pub fn forget(paths: &Paths) {
    drop(std::fs::remove_dir_all(paths.target.join(KEPT)));
}

/// Runs cargo and returns what it said of all that it made, with the executables of these names among it.
fn messages(
    command: &Command,
    runner: &Runner,
    targets: &[Target<'_>],
    on_line: impl FnMut(&str),
) -> Result<Vec<Message>, Failure> {
    let command = command
        .clone()
        .args(["--message-format", "json-render-diagnostics"]);
    let (mut messages, mut far) = (Vec::new(), String::new());
    let is = |line: &str| {
        // What it says of its progress ends with a carriage return and stands before what else it prints.
        let (before, line) = line.rsplit_once('\r').unwrap_or(("", line));
        if let Some(now) = before.rsplit('\r').find_map(progress) {
            far = now;
        }
        if let Ok(message) = serde_json::from_str::<Message>(line) {
            messages.push(message);
            return match far.as_str() {
                "" => Line::Hidden,
                far => Line::At(far.to_owned()),
            };
        }
        // A name alone does not say how much is still to come.
        let count = far.split(':').next().filter(|count| !count.is_empty());
        Line::Said(match count {
            Some(count) if line.trim_start().starts_with("Compiling ") => {
                format!("{count} {}", line.trim_start())
            }
            _ => line.to_owned(),
        })
    };
    let (status, said) = compiler::run(&command, on_line, is)
        .map_err(|error| error.into_failure(Exit::Setup, runner.cancel()))?;
    let is_made = |target: &Target<'_>| messages.iter().any(|it| target.made_by(it).is_some());
    if status.is_success() && targets.iter().all(is_made) {
        return Ok(messages);
    }
    let broken = said.iter().find_map(|line| {
        let rest = line.strip_prefix("error: could not compile `")?;
        rest.split('`').next()
    });
    let line = command.line();
    let what = match broken {
        Some(package) => format!("{package} does not compile: `{line}` ended with {status}"),
        None => format!("`{line}` built nothing ({status})"),
    };
    Err(Failure::new(Exit::Setup, what).detail(compiler::shown(&said)))
}

/// `45/120: tokio, hyper` of a line in which cargo says so.
fn progress(text: &str) -> Option<String> {
    let (_, at) = text
        .trim_start()
        .strip_prefix("Building [")?
        .split_once("] ")?;
    Some(at.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::cancel::Cancel;
    use crate::tools::elf;

    #[test]
    fn whichever_program_of_a_pod_is_wanted_is_built_by_the_same_call() {
        for wanted in [&["datastorage"][..], &["service-fake", "audit-emit"]] {
            assert_eq!(built_with(wanted, Form::Release), OF_PODS);
            assert_eq!(built_with(wanted, Form::Dev), wanted);
        }
        let other = &["image-push"][..];
        assert_eq!(built_with(other, Form::Release), other);
        assert!(built_with(&[], Form::Release).is_empty());
    }

    #[test]
    fn what_cargo_says_of_its_progress_is_read() {
        let said = "    Building [==>     ] 12/145: ring(build), toml            ";
        assert_eq!(progress(said).as_deref(), Some("12/145: ring(build), toml"));
        assert_eq!(progress("   Compiling toml v1.2.1"), None);
    }

    #[test]
    fn a_package_that_does_not_compile_is_named_with_its_error_and_what_compiles_with_its_count() {
        let dir = tempfile::tempdir().expect("a directory");
        let workspace =
            "[workspace]\nmembers = [\"sound\", \"broken\", \"one-build\"]\nresolver = \"3\"\n";
        std::fs::write(dir.path().join("Cargo.toml"), workspace).expect("a file");
        let on_features = "[dependencies]\none-build = { path = \"../one-build\" }\n";
        for (name, file, text, dependencies) in [
            ("sound", "main.rs", "fn main() {}\n", on_features),
            ("broken", "main.rs", "fn main() { nonsense }\n", ""),
            ("one-build", "lib.rs", "", ""),
        ] {
            let package = dir.path().join(name);
            std::fs::create_dir_all(package.join("src")).expect("a directory");
            let manifest =
                format!("[package]\nname = \"{name}\"\nedition = \"2021\"\n{dependencies}");
            std::fs::write(package.join("Cargo.toml"), manifest).expect("a file");
            std::fs::write(package.join("src").join(file), text).expect("a file");
        }
        let paths = Paths {
            source: dir.path().to_owned(),
            target: dir.path().join("target"),
        };
        let runner = Runner::new(Cancel::default()).env("CARGO_TARGET_DIR", &paths.target);
        let mut lines = Vec::new();
        let mut built = |packages: &[&str]| {
            let wanted = Wanted {
                programs: packages,
                suites: None,
            };
            let (form, deadline) = (Form::Dev, Duration::MAX);
            build(&runner, &paths, wanted, form, deadline, |line| {
                lines.push(line.to_owned());
            })
        };
        let programs = built(&["sound"]).expect("it builds").executables;
        assert!(programs["sound"].is_file(), "{programs:?}");
        let failure = built(&["sound", "broken"]).expect_err("it does not compile");
        assert!(
            failure.summary.starts_with("broken does not compile: "),
            "{failure}"
        );
        assert!(
            failure
                .detail
                .as_ref()
                .is_some_and(|detail| detail.contains("nonsense")),
            "{failure}"
        );
        let counted = |line: &String| line.contains("/2 Compiling sound ");
        assert!(lines.iter().any(counted), "{lines:?}");
    }

    #[test]
    fn a_program_of_a_team_s_workspace_is_static_and_one_that_is_not_there_is_told() {
        let dir = tempfile::tempdir().expect("a directory");
        for (path, text) in [
            (
                "Cargo.toml",
                "[workspace]\n[package]\nname = \"team\"\nedition = \"2021\"\n",
            ),
            ("src/bin/server.rs", "fn main() {}\n"),
        ] {
            let path = dir.path().join("rust").join(path);
            let parent = path.parent().expect("a directory above");
            std::fs::create_dir_all(parent).expect("a directory");
            std::fs::write(path, text).expect("a file");
        }
        let built = |bin: &str| {
            let cargo = Cargo {
                cargo: "team".to_owned(),
                bin: Some(bin.to_owned()),
                dir: PathBuf::from("rust"),
                args: vec!["--target-dir".to_owned(), "out".to_owned()],
            };
            let runner = Runner::new(Cancel::default());
            let paths = Paths {
                source: dir.path().to_owned(),
                target: dir.path().join("kept"),
            };
            build_program(&runner, &paths, &cargo, dir.path(), false, |_| {})
        };
        if !BUILDS_STATIC {
            let failure = built("server").expect_err("no such host");
            assert!(failure.hint.is_some_and(|hint| hint.contains("Dockerfile")));
            return;
        }
        let program = built("server").expect("it builds");
        assert!(program.starts_with(dir.path()), "{}", program.display());
        let program = std::fs::read(program).expect("the program");
        assert!(program.starts_with(b"\x7fELF") && !elf::is_dynamic(&program));
        let failure = built("client").expect_err("no such program");
        assert!(failure.to_string().contains("client"), "{failure}");
        assert!(
            failure
                .hint
                .is_some_and(|hint| hint.contains("cargo build"))
        );
    }
}
