//! Every kind of input that a program of cargo's can have is changed once: the new program runs, and as long as nothing changes cargo is
//! not asked.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use e2e_runner::paths::Paths;
use e2e_runner::process::Runner;
use e2e_runner::process::cancel::Cancel;
use e2e_runner::tools::cargo::{Built, Form, Wanted, build};

/// What the program prints: a part for each kind of input.
const MAIN: &str = r#"
mod module;
fn main() {
    println!(
        "{} {} {} {} {} {} {} {} {}",
        module::WORD,
        include_str!("text"),
        library::word(),
        env!("FROM_SCRIPT"),
        option_env!("AT_COMPILE").unwrap_or("unset"),
        if cfg!(feature = "extra") { "extra" } else { "plain" },
        if cfg!(debug_assertions) { "checked" } else { "unchecked" },
        if cfg!(flagged) { "flagged" } else { "unflagged" },
        if cfg!(later) { "later" } else { "earlier" },
    );
}
"#;
const SCRIPT: &str = r#"
fn main() {
    println!("cargo::rerun-if-changed=data");
    println!("cargo::rerun-if-env-changed=FOR_SCRIPT");
    let names: Vec<_> = std::fs::read_dir("data").unwrap().map(|entry| {
        std::fs::read_to_string(entry.unwrap().path()).unwrap()
    }).collect();
    let set = std::env::var("FOR_SCRIPT").unwrap_or("none".to_owned());
    println!("cargo::rustc-env=FROM_SCRIPT={}+{set}", names.len());
}
"#;
const MANIFEST: &str = "[package]\nname = \"program\"\nedition = \"2021\"\n\
    [features]\nextra = []\n\
    [lints.rust]\nunexpected_cfgs = \"allow\"\n\
    [dependencies]\none-build = { path = \"../one-build\" }\nlibrary = { path = \"../library\" }\n";

/// A workspace with a program, a library beside it and a toolchain that can be updated in its place.
struct Place {
    dir: tempfile::TempDir,
    runner: Runner,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let at = |path: &str| dir.path().join(path);
        let package = |name: &str| format!("[package]\nname = \"{name}\"\nedition = \"2021\"\n");
        let files = [
            (
                "Cargo.toml",
                "[workspace]\nmembers = [\"program\", \"library\", \"one-build\"]\nresolver = \"3\"\n"
                    .to_owned(),
            ),
            ("program/Cargo.toml", MANIFEST.to_owned()),
            ("program/build.rs", SCRIPT.to_owned()),
            ("program/data/one", String::new()),
            ("program/src/main.rs", MAIN.to_owned()),
            ("program/src/module.rs", word("one")),
            ("program/src/text", "text".to_owned()),
            ("library/Cargo.toml", package("library")),
            ("library/src/lib.rs", library("library")),
            ("one-build/Cargo.toml", package("one-build")),
            ("one-build/src/lib.rs", String::new()),
        ];
        for (path, text) in files {
            let path = at(path);
            fs::create_dir_all(path.parent().expect("a directory above")).expect("a directory");
            fs::write(path, text).expect("a file");
        }
        let compiler = at("rustc");
        let runner = Runner::new(Cancel::default())
            .env("CARGO_TARGET_DIR", at("target"))
            .env("RUSTC", &compiler);
        let place = Self { dir, runner };
        place.compiler("");
        place
    }

    fn at(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    fn write(&self, path: &str, text: &str) {
        fs::write(self.at(path), text).expect("a file");
    }

    /// A compiler of the machine, under a name that stays.
    fn compiler(&self, flags: &str) {
        // Cargo knows a compiler by what it says of itself.
        let before = format!("[ \"$1\" != -vV ] || echo 'build: {flags}'");
        self.script(&before, flags, "");
    }

    /// A compiler of the machine that does something more each time it has run.
    fn compiler_then(&self, after: &str) {
        self.script("", "", after);
    }

    fn script(&self, before: &str, flags: &str, after: &str) {
        let real = Runner::find("rustc", None).expect("a compiler");
        let real = real.display();
        let script = format!(
            "#!/bin/sh\n{before}\n{real} \"$@\" {flags}\nstatus=$?\n{after}\nexit $status\n"
        );
        // Another process of this one may hold the file open as it starts: written apart, and put into its place whole.
        let (part, whole) = (self.at("rustc.part"), self.at("rustc"));
        fs::write(&part, script).expect("a file");
        fs::set_permissions(&part, fs::Permissions::from_mode(0o755)).expect("it is ours");
        fs::rename(part, whole).expect("it is ours");
    }

    fn build(&self, runner: &Runner) -> Built {
        self.build_with(runner, None)
    }

    /// The program, and the suites of a package beside it.
    fn build_with(&self, runner: &Runner, suites: Option<&str>) -> Built {
        let paths = Paths {
            source: self.dir.path().to_owned(),
            target: self.at("target"),
        };
        let wanted = Wanted {
            programs: &["program"],
            suites,
        };
        // What changes at the moment of a call is no input of it: let time pass first.
        std::thread::sleep(Duration::from_millis(40));
        build(runner, &paths, wanted, Form::Dev, Duration::MAX, |_| {})
            .unwrap_or_else(|failure| panic!("{failure}"))
    }

    /// What the program prints that this builds, after the answer was kept and found again.
    fn says(&self, runner: &Runner) -> String {
        let built = self.build(runner);
        assert!(!built.is_unchanged, "cargo was not asked");
        let again = self.build(runner);
        assert!(
            again.is_unchanged,
            "cargo was asked though nothing has changed"
        );
        assert_eq!(again.executables, built.executables);
        said(&built.executables["program"])
    }
}

fn said(program: &Path) -> String {
    let output = Command::new(program).output().expect("it starts");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn word(word: &str) -> String {
    format!("pub const WORD: &str = \"{word}\";\n")
}

fn library(word: &str) -> String {
    format!("pub fn word() -> &'static str {{ \"{word}\" }}\n")
}

#[test]
fn whatever_a_program_is_made_from_is_changed_and_the_new_program_runs() {
    let place = Place::new();
    let runner = place.runner.clone();
    // The first call writes the lock file, which is an input too.
    assert!(!place.build(&runner).is_unchanged);
    assert_eq!(
        place.says(&runner),
        "one text library 1+none unset plain checked unflagged earlier"
    );

    place.write("program/src/module.rs", &word("two"));
    assert!(place.says(&runner).starts_with("two "), "a module");
    place.write("program/src/text", "other");
    assert!(
        place.says(&runner).contains(" other "),
        "a file that is included"
    );
    place.write("library/src/lib.rs", &library("changed"));
    assert!(
        place.says(&runner).contains(" changed "),
        "a library beside it"
    );
    place.write("program/data/two", "");
    assert!(
        place.says(&runner).contains(" 2+none "),
        "a new file of a directory that the build script reads"
    );
    place.write("program/build.rs", &SCRIPT.replace("{}+{set}", "{}-{set}"));
    assert!(place.says(&runner).contains(" 2-none "), "the build script");

    let runner = runner.env("FOR_SCRIPT", "set");
    assert!(
        place.says(&runner).contains(" 2-set "),
        "a variable of the build script"
    );
    let runner = runner.env("AT_COMPILE", "compiled");
    assert!(
        place.says(&runner).contains(" compiled "),
        "a variable of the compiler"
    );

    place.write(
        "program/Cargo.toml",
        &MANIFEST.replace("extra = []", "default = [\"extra\"]\nextra = []"),
    );
    assert!(place.says(&runner).contains(" extra "), "a feature");
    let workspace = fs::read_to_string(place.at("Cargo.toml")).expect("a file");
    place.write(
        "Cargo.toml",
        &format!("{workspace}[profile.dev]\ndebug-assertions = false\n"),
    );
    assert!(place.says(&runner).contains(" unchecked "), "a profile");
    fs::create_dir(place.at(".cargo")).expect("a directory");
    place.write(
        ".cargo/config.toml",
        "[build]\nrustflags = [\"--cfg\", \"flagged\"]\n",
    );
    assert!(
        place.says(&runner).contains(" flagged "),
        "a configuration that was not there"
    );
    let runner = runner.env("RUSTFLAGS", "");
    fs::remove_file(place.at(".cargo/config.toml")).expect("a file");
    assert!(
        place.says(&runner).contains(" unflagged "),
        "flags by a variable"
    );

    place.compiler("--cfg later");
    assert!(
        place.says(&runner).ends_with(" later"),
        "a toolchain that was updated in its place"
    );

    // A source that moves to another package: the same words, other files.
    fs::rename(place.at("library"), place.at("moved")).expect("it is ours");
    for (file, from, to) in [
        ("Cargo.toml", "\"library\"", "\"moved\""),
        ("program/Cargo.toml", "../library", "../moved"),
    ] {
        let text = fs::read_to_string(place.at(file)).expect("a file");
        place.write(file, &text.replace(from, to));
    }
    place.write("moved/src/lib.rs", &library("moved"));
    assert!(
        place.says(&runner).contains(" moved "),
        "a package elsewhere"
    );

    // What somebody else puts in the program's place is not what was built.
    let program = place.build(&runner).executables["program"].clone();
    fs::remove_file(&program).expect("it is there");
    fs::write(&program, "no program").expect("a file");
    assert!(!place.build(&runner).is_unchanged);
}

#[test]
fn a_configuration_that_includes_another_file_is_left_to_cargo() {
    let place = Place::new();
    fs::create_dir(place.at(".cargo")).expect("a directory");
    place.write(".cargo/config.toml", "include = [\"further.toml\"]\n");
    for (flags, word) in [("", "unflagged"), ("\"--cfg\", \"flagged\"", "flagged")] {
        let further = format!("[build]\nrustflags = [{flags}]\n");
        place.write(".cargo/further.toml", &further);
        for _ in 0..2 {
            let built = place.build(&place.runner);
            assert!(!built.is_unchanged);
            let said = said(&built.executables["program"]);
            assert!(said.contains(&format!(" {word} ")), "{said}");
        }
    }
}

#[test]
fn a_setting_that_goes_while_cargo_is_at_work_is_built_without_the_next_time() {
    let place = Place::new();
    let config = place.at(".cargo/config.toml");
    assert!(!place.build(&place.runner).is_unchanged, "the lock file");
    fs::create_dir(place.at(".cargo")).expect("a directory");
    place.write(
        ".cargo/config.toml",
        "[build]\nrustflags = [\"--cfg\", \"flagged\"]\n",
    );
    let goes = "case \"$*\" in *\"crate-name program\"*) rm -f";
    place.compiler_then(&format!("{goes} {};; esac", config.display()));
    let first = place.build(&place.runner);
    assert!(!config.exists(), "the program was not compiled by it");
    assert!(said(&first.executables["program"]).contains(" flagged "));
    let second = place.build(&place.runner);
    assert!(!second.is_unchanged);
    assert!(said(&second.executables["program"]).contains(" unflagged "));
}

#[test]
fn suites_of_one_package_are_not_taken_for_those_of_another_that_is_built_beside() {
    let place = Place::new();
    for package in ["program", "library"] {
        fs::create_dir(place.at(&format!("{package}/tests"))).expect("a directory");
        let test = format!("#[test]\nfn of_{package}() {{}}\n");
        place.write(&format!("{package}/tests/it.rs"), &test);
    }
    let built = place.build_with(&place.runner, Some("library"));
    let listed = Command::new(&built.executables["library"])
        .arg("--list")
        .output();
    let listed = listed.expect("it starts");
    let listed = String::from_utf8_lossy(&listed.stdout);
    assert!(listed.starts_with("of_library: "), "{listed}");
    assert!(said(&built.executables["program"]).starts_with("one "));
}

#[test]
fn a_build_script_that_does_not_say_what_it_reads_is_left_to_cargo() {
    let place = Place::new();
    place.write(
        "program/build.rs",
        "fn main() { println!(\"cargo::rustc-env=FROM_SCRIPT=here\"); }\n",
    );
    for _ in 0..2 {
        let built = place.build(&place.runner);
        assert!(!built.is_unchanged);
        assert!(said(&built.executables["program"]).contains(" here "));
    }
}

#[test]
fn what_changes_while_it_is_built_is_built_again() {
    let place = Place::new();
    // The compiler itself is at work as a file changes.
    let file = place.at("program/src/module.rs");
    place.compiler_then(&format!(
        "[ -e {done} ] || case \"$*\" in *module*|*\"crate-name program\"*) touch {done}; sleep 0.1; \
         printf '%s' 'pub const WORD: &str = \"during\";' >{file};; esac",
        done = place.at("done").display(),
        file = file.display(),
    ));
    let first = place.build(&place.runner);
    assert!(
        place.at("done").exists(),
        "the program was not compiled by it"
    );
    assert!(said(&first.executables["program"]).starts_with("one "));
    let second = place.build(&place.runner);
    assert!(!second.is_unchanged);
    assert!(said(&second.executables["program"]).starts_with("during "));
}
