//! A container registry, by the program that pushes images to it without Docker and that this one never links (D38).
//!
//! Images travel as archives in files, requests by standard input; credentials are only ever read by that program.

use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::bundle::PUSHER;
use crate::exit::{Exit, Failure};
use crate::paths::{self, Paths};
use crate::process::Runner;
use crate::settings;
use crate::tools::cargo;

/// How long a question may take: the program gives up before.
const ASKED: Duration = Duration::from_mins(3);

/// A registry that a person has named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registry {
    /// `HOST[:PORT][/PREFIX]`.
    pub name: String,
    /// Whether it may be spoken to without TLS although it is on another machine.
    pub insecure: bool,
}

/// An image that is to be pushed.
#[derive(Clone, Debug, Serialize)]
pub struct Image {
    /// Its archive, as `docker save` writes it.
    pub archive: PathBuf,
    /// The name that it gets, after the registry's prefix.
    pub repository: String,
}

/// An image that is in the registry.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Pushed {
    /// The name that was asked for.
    pub repository: String,
    /// Its whole name, by digest: how pods get it.
    pub reference: String,
    /// How many bytes were sent.
    pub pushed_bytes: u64,
    /// How many layers were sent.
    pub layers_pushed: usize,
    /// How many were there already.
    pub layers_present: usize,
}

#[derive(Serialize)]
struct Request<'a> {
    registry: &'a str,
    images: &'a [Image],
}

/// What the program says when it fails, as the last line of its standard error.
#[derive(Deserialize)]
struct Told {
    kind: String,
    what: String,
    hint: String,
}

/// Finds the program that pushes: as a variable names it, in the bundle, or built from the checkout.
pub fn program(
    runner: &Runner,
    paths: &Paths,
    on_line: impl FnMut(&str),
) -> Result<PathBuf, Failure> {
    let variable = e2e_env::IMAGE_PUSH_BIN;
    if let Some(ready) = settings::ready_binary(variable) {
        return Ok(ready);
    }
    if let Some(bundled) = paths::bundled(PUSHER)? {
        return Ok(bundled);
    }
    paths.can_build(&format!("{variable} to a ready program"))?;
    cargo::build_program_of_tool(runner, paths, PUSHER, on_line)
}

/// Fails unless the registry answers and takes what this account pushes into a repository, before anything is made.
pub fn check(
    runner: &Runner,
    program: &Path,
    registry: &Registry,
    repository: &str,
) -> Result<(), Failure> {
    let args = [
        "check",
        "--registry",
        &registry.name,
        "--repository",
        repository,
    ];
    let args = [&args[..], insecure(registry)].concat();
    ask(
        runner,
        program,
        &args,
        String::new(),
        ASKED,
        Exit::Preflight,
    )
    .map(drop)
}

/// Pushes what the registry lacks of these images, and returns them in their order.
pub fn push(
    runner: &Runner,
    program: &Path,
    registry: &Registry,
    images: &[Image],
    deadline: Duration,
) -> Result<Vec<Pushed>, Failure> {
    let request = Request {
        registry: &registry.name,
        images,
    };
    let request = serde_json::to_string(&request).map_err(Failure::setup)?;
    let args = [&["push"], insecure(registry)].concat();
    let said = ask(runner, program, &args, request, deadline, Exit::Setup)?;
    let pushed = said.lines().map(serde_json::from_str);
    let pushed: Vec<Pushed> = pushed.collect::<Result<_, _>>().map_err(Failure::setup)?;
    if pushed.len() == images.len() {
        Ok(pushed)
    } else {
        let what = format!(
            "{PUSHER} answers for {} of {} images",
            pushed.len(),
            images.len()
        );
        Err(Failure::setup(what))
    }
}

/// The content of a Secret of the type `kubernetes.io/dockerconfigjson` for this registry alone. It holds a password: it goes into a
/// manifest on standard input, and nowhere else.
pub fn pull_secret(
    runner: &Runner,
    program: &Path,
    registry: &Registry,
) -> Result<String, Failure> {
    let args = ["pull-secret", "--registry", &registry.name];
    let said = ask(
        runner,
        program,
        &args,
        String::new(),
        ASKED,
        Exit::Preflight,
    )?;
    Ok(said.trim_end().to_owned())
}

fn insecure(registry: &Registry) -> &'static [&'static str] {
    if registry.insecure {
        &["--insecure-registry"]
    } else {
        &[]
    }
}

fn ask(
    runner: &Runner,
    program: &Path,
    args: &[&str],
    request: String,
    deadline: Duration,
    exit: Exit,
) -> Result<String, Failure> {
    let command = runner.command(program).args(args).stdin(request);
    let output = command.deadline(deadline).output();
    let output = output.map_err(|error| error.into_failure(exit, runner.cancel()))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(failure(&output, exit))
    }
}

/// The program's own words; what it printed before, which may hold a secret, is left out.
fn failure(output: &Output, exit: Exit) -> Failure {
    let said = String::from_utf8_lossy(&output.stderr);
    let last = said.lines().last().unwrap_or_default();
    let Ok(told) = serde_json::from_str::<Told>(last) else {
        let what = format!("{PUSHER} failed ({})", output.status);
        return Failure::new(exit, what).detail(said);
    };
    let exit = match told.kind.as_str() {
        "timed-out" => Exit::Deadline,
        "request" => Exit::Usage,
        _ => exit,
    };
    Failure::new(exit, told.what).hint(told.hint)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::process::cancel::Cancel;

    /// A program that answers so, and a file with what it was asked.
    fn fake(script: &str) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("image-push");
        // Written by another process: what another test starts at this moment must not have it open for writing.
        let text = format!("#!/bin/sh\necho \"$@\" >\"$0.asked\"\ncat >>\"$0.asked\"\n{script}\n");
        let runner = Runner::new(Cancel::default());
        let command = runner.command("tee").arg(&file).stdin(text);
        command.read().unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
        (dir, file)
    }

    fn asked(program: &Path) -> String {
        std::fs::read_to_string(program.with_extension("asked")).unwrap()
    }

    fn registry(insecure: bool) -> Registry {
        Registry {
            name: "r:5000/team".to_owned(),
            insecure,
        }
    }

    fn image(name: &str) -> Image {
        Image {
            archive: format!("/{name}.tar").into(),
            repository: name.to_owned(),
        }
    }

    #[test]
    fn images_are_asked_for_on_standard_input_and_told_in_their_order() {
        let runner = Runner::new(Cancel::default());
        let (_dir, program) = fake(
            r#"echo '{"repository":"a","reference":"r:5000/team/a@sha256:1","pushed_bytes":5,"layers_pushed":1,"layers_present":2}'"#,
        );
        let minute = Duration::from_mins(1);
        let told = push(&runner, &program, &registry(true), &[image("a")], minute).unwrap();
        assert_eq!(told[0].reference, "r:5000/team/a@sha256:1");
        assert_eq!((told[0].pushed_bytes, told[0].layers_present), (5, 2));
        assert_eq!(
            asked(&program),
            "push --insecure-registry\n{\"registry\":\"r:5000/team\",\"images\":[{\"archive\":\"/a.tar\",\"repository\":\"a\"}]}"
        );
        let two = [image("a"), image("b")];
        let failure = push(&runner, &program, &registry(false), &two, minute).unwrap_err();
        assert!(failure.summary.contains("1 of 2 images"), "{failure}");
    }

    #[test]
    fn a_failure_keeps_the_cause_and_the_next_move_and_shows_nothing_else() {
        let runner = Runner::new(Cancel::default());
        for (kind, exit) in [
            ("refused", Exit::Preflight),
            ("timed-out", Exit::Deadline),
            ("request", Exit::Usage),
        ] {
            let (_dir, program) = fake(&format!(
                r#"echo s3cret; echo '{{"kind":"{kind}","what":"r refuses","hint":"docker login r"}}' >&2; exit 1"#
            ));
            let failure = check(&runner, &program, &registry(false), "a").unwrap_err();
            assert_eq!((failure.exit, &*failure.summary), (exit, "r refuses"));
            assert_eq!(failure.hint.as_deref(), Some("docker login r"));
            assert_eq!(failure.detail, None);
            assert_eq!(
                asked(&program),
                "check --registry r:5000/team --repository a\n"
            );
        }
        let (_dir, program) = fake("echo s3cret; echo panicked >&2; exit 3");
        let failure = pull_secret(&runner, &program, &registry(false)).unwrap_err();
        assert!(failure.summary.contains("image-push failed"), "{failure}");
        assert!(!failure.to_string().contains("s3cret"), "{failure}");
    }

    #[test]
    fn a_pull_secret_is_what_the_program_prints() {
        let (_dir, program) = fake("echo '{\"auths\":{}}'");
        let runner = Runner::new(Cancel::default());
        let secret = pull_secret(&runner, &program, &registry(false)).unwrap();
        assert_eq!(secret, "{\"auths\":{}}");
    }
}
