//! The programs that a run drives: docker, kind, kubectl, cargo; and the images that a cluster is made of.

use std::time::Duration;

use host_names::{PROGRAM, SERVICES, services_to_load};
use serde::Deserialize;

use crate::doctor::check::{Check, For, Level};
use crate::paths::{self, Paths};
use crate::process::Runner;
use crate::run::local;
use crate::settings::{cargo, node_image, postgres_image};
use crate::tools::cargo::BUILDS_STATIC;
use crate::tools::daemon::{self, Daemon};
use crate::tools::{docker, kind};

/// Storage drivers that copy or emulate layers and make every image load slow
/// (<https://docs.docker.com/engine/storage/drivers/select-storage-driver/>).
const SLOW_DRIVERS: [&str; 3] = ["vfs", "devicemapper", "fuse-overlayfs"];

/// Every check on programs and images.
pub(super) fn checks(runner: &Runner) -> Vec<Check> {
    let mut checks = vec![source(runner)];
    let can_ask = Runner::find(PROGRAM, None).is_ok();
    checks.extend(name_services(&services_to_load(), can_ask));
    checks.extend(system(std::env::consts::OS, BUILDS_STATIC));
    let info = docker(runner, &mut checks);
    let kind = kind::version(runner);
    checks.push(match &kind {
        Ok(version) => Check::ok("kind", For::Kind, version.clone()),
        Err(error) => missing(
            "kind",
            &error.to_string(),
            "install kind: https://kind.sigs.k8s.io/docs/user/quick-start",
        ),
    });
    checks.push(kubectl(runner));
    if let Some(info) = info {
        checks.push(storage(&info.driver));
        checks.push(cgroup(&info.cgroup_version));
        checks.extend(images(runner));
    }
    checks
}

fn source(runner: &Runner) -> Check {
    match paths::bundle() {
        Ok(Some(bundle)) => {
            let detail = format!("nothing: {} has the programs", bundle.describe());
            return Check::ok("build", For::Both, detail);
        }
        Ok(None) => {}
        Err(failure) => {
            let fix = failure.hint.unwrap_or_default();
            return Check::ok("build", For::Both, failure.summary)
                .with_problem(Level::Problem, fix);
        }
    }
    let problem = |what: String, fix: String| {
        Check::ok("build", For::Both, what).with_problem(Level::Problem, fix)
    };
    let paths = match Paths::find(runner) {
        Ok(paths) => paths,
        Err(error) => {
            let fix = format!("set {} to a checkout of this project", e2e_env::SOURCE);
            return problem(format!("{error:#}"), fix);
        }
    };
    if let Err(failure) = paths.can_build("name each program by its variable") {
        return problem(failure.summary, failure.hint.unwrap_or_default());
    }
    let version = runner
        .command(cargo())
        .arg("--version")
        .deadline(Duration::from_secs(20))
        .read();
    match version {
        Ok(version) => {
            let detail = format!("{version}, checkout {}", paths.source.display());
            Check::ok("build", For::Both, detail)
        }
        Err(error) => {
            let fix = "have a cargo that works first on the PATH (https://rustup.rs)";
            problem(error.to_string(), fix.to_owned())
        }
    }
}

/// A static tool asks `getent` for host names where the machine has services for them that it would have to load; what still looks one
/// up by itself ends by a signal where the machine's C library is of another version than the one in the tool.
fn name_services(foreign: &[String], can_ask: bool) -> Option<Check> {
    if foreign.is_empty() {
        return None;
    }
    let has = format!("{SERVICES} has {}", foreign.join(", "));
    let (detail, fix) = if can_ask {
        (
            format!(
                "{has}: {PROGRAM} looks names up for this tool, which is static, and only a name in `diagnose --url` that is not in /etc/hosts may end it by a signal"
            ),
            "give `diagnose --url` an address",
        )
    } else {
        (
            format!("{has}, and {PROGRAM}, which a static tool asks for them, is not on PATH"),
            "install getent, which belongs to the C library, or give addresses instead of names",
        )
    };
    Some(Check::ok("host names", For::Both, detail).with_problem(Level::Warning, fix))
}

/// What a system cannot do, whatever is installed.
fn system(system: &str, builds_static: bool) -> Vec<Check> {
    let local = local::refusal(system).map(|(what, next)| {
        Check::ok("system", For::Local, what).with_problem(Level::Problem, next)
    });
    let kind = (!builds_static).then(|| {
        let what = "no static program for a node can be built here: Data Storage is built by Docker";
        let fix = "build images by a Dockerfile, not by `build = { cargo = … }`, or name a ready image in DATASTORAGE_IMAGE";
        Check::ok("static programs", For::Kind, what).with_problem(Level::Warning, fix)
    });
    local.into_iter().chain(kind).collect()
}

fn missing(name: &'static str, error: &str, fix: &str) -> Check {
    let seen = error.lines().next().unwrap_or_default();
    Check::ok(name, For::Kind, seen).with_problem(Level::Problem, fix)
}

fn docker(runner: &Runner, checks: &mut Vec<Check>) -> Option<Daemon> {
    let info = daemon::ask(runner);
    if let Some(refusal) = info.as_ref().ok().and_then(Daemon::refusal) {
        checks.push(missing("docker", &refusal.what, refusal.next));
        return None;
    }
    match info {
        Ok(info) if !info.version.is_empty() => {
            checks.push(Check::ok("docker", For::Kind, info.version.clone()));
            Some(info)
        }
        Ok(_) => {
            checks.push(missing(
                "docker",
                "the daemon does not answer",
                "sudo systemctl start docker, or run with --target local",
            ));
            None
        }
        Err(error) => {
            let fix = daemon::without(&error);
            checks.push(missing("docker", &daemon::told(&error), fix));
            None
        }
    }
}

fn storage(driver: &str) -> Check {
    let check = Check::ok("storage driver", For::Kind, driver);
    if SLOW_DRIVERS.contains(&driver) {
        check.with_problem(
            Level::Warning,
            "set \"storage-driver\": \"overlay2\" in /etc/docker/daemon.json and restart Docker",
        )
    } else {
        check
    }
}

/// The kubelet refuses cgroup v1 from Kubernetes 1.35 on unless it is told otherwise
/// (<https://kubernetes.io/docs/concepts/architecture/cgroups/>).
fn cgroup(version: &str) -> Check {
    let check = Check::ok("cgroup", For::Kind, format!("version {version}"));
    if version == "1" {
        check.with_problem(
            Level::Warning,
            "boot with systemd.unified_cgroup_hierarchy=1; node images before Kubernetes 1.35 still run",
        )
    } else {
        check
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Versions {
    client_version: GitVersion,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct GitVersion {
    git_version: String,
}

/// kubectl may be one minor version off the server (<https://kubernetes.io/releases/version-skew-policy/#kubectl>).
fn kubectl(runner: &Runner) -> Check {
    let asked = runner
        .command("kubectl")
        .args(["version", "--client", "--output", "json"])
        .deadline(Duration::from_secs(10))
        .read();
    let text = match asked {
        Ok(text) => text,
        Err(error) => {
            return missing(
                "kubectl",
                &error.to_string(),
                "install kubectl: https://kubernetes.io/docs/tasks/tools/",
            );
        }
    };
    let version = serde_json::from_str::<Versions>(&text)
        .map_or("of unknown version".to_owned(), |versions| {
            versions.client_version.git_version
        });
    let server = node_image().and_then(|image| minor(&image));
    skew(&version, minor(&version), server)
}

fn skew(version: &str, own: Option<u32>, node: Option<u32>) -> Check {
    match (own, node) {
        (Some(own), Some(node)) if own.abs_diff(node) > 1 => {
            let detail =
                format!("{version}, and the node is 1.{node}: more than one minor version off");
            let fix = format!("install kubectl 1.{node}");
            Check::ok("kubectl", For::Kind, detail).with_problem(Level::Warning, fix)
        }
        (Some(_), Some(node)) => Check::ok(
            "kubectl",
            For::Kind,
            format!("{version}, the node is 1.{node}"),
        ),
        _ => Check::ok(
            "kubectl",
            For::Kind,
            format!("{version}, the node is kind's default"),
        ),
    }
}

/// The minor version in `v1.34.4` or `kindest/node:v1.34.0@sha256:…`.
pub(super) fn minor(text: &str) -> Option<u32> {
    let (_, rest) = text.rsplit_once("v1.")?;
    let digits = rest
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(rest.len());
    rest[..digits].parse().ok()
}

fn images(runner: &Runner) -> Vec<Check> {
    let of = |name: &'static str, image: &str, variable: &str| {
        let here = docker::image_id(runner, image).is_some();
        let check = Check::ok(
            name,
            For::Kind,
            format!("{image} is {}here", if here { "" } else { "not " }),
        );
        if here {
            check
        } else {
            check.with_problem(Level::Warning, format!("docker pull {image}, which the first run does by itself, or name another in {variable}"))
        }
    };
    let node = match node_image() {
        Some(image) => of("node image", &image, "KIND_NODE_IMAGE"),
        None => default_node_image(runner),
    };
    vec![
        node,
        of("PostgreSQL image", &postgres_image(), "POSTGRES_IMAGE"),
    ]
}

/// Only kind knows which image its version takes; one of that name is a good sign.
fn default_node_image(runner: &Runner) -> Check {
    let listed = runner
        .command("docker")
        .args([
            "image",
            "ls",
            "--format",
            "{{.Repository}}:{{.Tag}}",
            "kindest/node",
        ])
        .read()
        .unwrap_or_default();
    match listed.lines().next() {
        Some(image) => Check::ok("node image", For::Kind, format!("kind's default; {image} is here")),
        None => Check::ok("node image", For::Kind, "kind's default, and no kindest/node is here").with_problem(
            Level::Warning,
            "the first run pulls about 1 GB; without a registry set KIND_NODE_IMAGE to an image of this host",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kubectl_two_minors_off_the_node_is_warned_of() {
        let level = |own: &str, node: &str| skew(own, minor(own), minor(node)).level;
        assert_eq!(
            level("v1.34.4", "kindest/node:v1.35.0@sha256:v1"),
            Level::Ok
        );
        assert_eq!(level("v1.32.9", "kindest/node:v1.34.0"), Level::Warning);
        assert_eq!(level("v1.32.9", "my/node:latest"), Level::Ok);
    }

    #[test]
    fn a_static_tool_tells_of_name_services_that_it_cannot_load() {
        assert!(name_services(&[], false).is_none());
        let services = ["mdns4_minimal".to_owned()];
        for (can_ask, told) in [(true, "diagnose --url"), (false, "is not on PATH")] {
            let check = name_services(&services, can_ask).expect("a warning");
            assert_eq!(check.level, Level::Warning);
            assert!(
                check.detail.contains("has mdns4_minimal"),
                "{}",
                check.detail
            );
            assert!(check.detail.contains(told), "{}", check.detail);
        }
    }

    #[test]
    fn what_a_system_cannot_do_is_named_for_each_target() {
        let found = |os: &str, builds_static| {
            let checks = system(os, builds_static);
            let levels = checks.iter().map(|check| (check.target, check.level));
            levels.collect::<Vec<_>>()
        };
        assert_eq!(found("linux", true), []);
        assert_eq!(
            found("macos", false),
            [(For::Local, Level::Problem), (For::Kind, Level::Warning)]
        );
    }

    #[test]
    fn what_makes_runs_slow_or_surprising_is_a_warning() {
        assert_eq!(
            (storage("overlay2").level, storage("vfs").level),
            (Level::Ok, Level::Warning)
        );
        assert_eq!(
            (cgroup("2").level, cgroup("1").level),
            (Level::Ok, Level::Warning)
        );
    }
}
