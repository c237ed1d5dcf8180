//! The container engine that answers to `docker`: whether a run's cluster can live in it, and if not, why.

use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use crate::exit::{Exit, Failure};
use crate::process::{Error, Runner};
use crate::settings;
use crate::tools::engine::{self, Answer};

/// What `docker info` says, as far as it matters here.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Daemon {
    /// Its version; empty where no daemon answers.
    #[serde(rename = "ServerVersion")]
    pub version: String,
    /// Its storage driver.
    pub driver: String,
    /// The version of control groups, `1` or `2`.
    pub cgroup_version: String,
    security_options: Option<Vec<String>>,
    memory_limit: Option<bool>,
    pids_limit: Option<bool>,
    #[serde(rename = "CPUShares")]
    cpu_shares: Option<bool>,
    /// podman's own words for what Docker calls otherwise.
    #[serde(rename = "host")]
    podman: Option<Value>,
    /// Where the client finds it, as a URL.
    #[serde(skip)]
    endpoint: String,
}

/// Why no cluster can be made in it, and what can be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What is the matter.
    pub what: String,
    /// The next move.
    pub next: &'static str,
}

/// What rootless Docker needs of the machine is written there.
const ROOTLESS: &str = "boot with cgroup v2 and let your user have its controllers (https://kind.sigs.k8s.io/docs/user/rootless/), use Docker as root, or run with --target local";

/// Asks the client where the engine is, and the engine if it is here.
pub fn ask(runner: &Runner) -> Result<Daemon, Error> {
    if let Some(Answer::There(info)) = engine::get("/info")
        && let Ok(daemon) = serde_json::from_value(info)
    {
        return Ok(daemon);
    }
    let docker = |args: &[&str]| {
        let command = runner.command("docker").args(args);
        command.deadline(Duration::from_secs(10)).read()
    };
    let context = [
        "context",
        "inspect",
        "--format",
        "{{.Endpoints.docker.Host}}",
    ];
    // podman has none, nor a client that is older than contexts: both talk to this machine.
    let endpoint = docker(&context).unwrap_or_default();
    // One that is elsewhere is refused, whether it answers or not, which may take it long.
    if elsewhere(&endpoint).is_some() {
        return Ok(Daemon {
            endpoint,
            ..Daemon::default()
        });
    }
    let info = docker(&["info", "--format", "{{json .}}"])?;
    let daemon = serde_json::from_str::<Daemon>(&info).unwrap_or_default();
    Ok(Daemon { endpoint, ..daemon })
}

impl Daemon {
    /// Its version, unless it does not answer or no cluster can be made in it.
    pub fn usable(self) -> Result<String, Failure> {
        if let Some(refusal) = self.refusal() {
            return Err(Failure::new(Exit::Preflight, refusal.what).hint(refusal.next));
        }
        if self.version.is_empty() {
            return Err(Failure::new(
                Exit::Preflight,
                "the Docker daemon does not answer",
            ));
        }
        Ok(self.version)
    }

    /// What stands in the way of a cluster in it, by name.
    pub fn refusal(&self) -> Option<Refusal> {
        if self.podman.is_some() {
            return Some(Refusal {
                what: "`docker` is podman here: kind knows it, but image names, ids and archives of a run are Docker's".to_owned(),
                next: "install Docker and have its `docker` first on the PATH, or run with --target local",
            });
        }
        if let Some(place) = elsewhere(&self.endpoint) {
            return Some(Refusal {
                what: format!(
                    "Docker runs on another machine ({place}), and a cluster's ports would be published there"
                ),
                next: "unset DOCKER_HOST or `docker context use default`, or run with --target local",
            });
        }
        let options = self.security_options.as_deref().unwrap_or_default();
        if !options.iter().any(|option| option.contains("rootless")) {
            return None;
        }
        if self.cgroup_version == "1" {
            let what = "rootless Docker on cgroup v1 cannot hold a node of kind".to_owned();
            return Some(Refusal {
                what,
                next: ROOTLESS,
            });
        }
        let limits = [
            ("memory", self.memory_limit),
            ("pids", self.pids_limit),
            ("cpu", self.cpu_shares),
        ];
        let missing = limits
            .iter()
            .filter(|(_, limit)| *limit == Some(false))
            .map(|(name, _)| *name)
            .collect::<Vec<_>>();
        (!missing.is_empty()).then(|| Refusal {
            what: format!(
                "rootless Docker has no control group controller {}, which a node of kind needs",
                missing.join(", ")
            ),
            next: ROOTLESS,
        })
    }
}

/// What can be done where there is no Docker, or where it does not answer.
pub fn without(error: &Error) -> &'static str {
    let missing = matches!(error, Error::NotFound { .. });
    if error.to_string().contains("permission denied") {
        "add your user to the group `docker` and log in again, or run with --target local"
    } else if missing && Runner::find("podman", None).is_ok() {
        "install Docker, for podman, which is here, cannot take its place; or run with --target local"
    } else if missing {
        "install Docker, or run with --target local"
    } else if settings::names_docker_host() {
        "correct or unset DOCKER_HOST, or run with --target local"
    } else {
        "start Docker (`sudo systemctl start docker`), or run with --target local"
    }
}

/// Why it cannot be asked: in Docker's own words, where it has any.
pub fn told(error: &Error) -> String {
    let words = match error {
        Error::Failed { tail, .. } => tail.lines().rfind(|line| !line.trim().is_empty()),
        _ => None,
    };
    words.map_or_else(|| error.to_string(), |line| line.trim().to_owned())
}

/// The machine of a URL, where that is not this one.
fn elsewhere(endpoint: &str) -> Option<&str> {
    let (scheme, rest) = endpoint.split_once("://")?;
    if !matches!(scheme, "tcp" | "ssh" | "http" | "https") {
        return None;
    }
    let place = rest.split('/').next().unwrap_or(rest);
    let host = place.rsplit('@').next().unwrap_or(place);
    let host = match host.strip_prefix('[') {
        Some(address) => address.split(']').next().unwrap_or(address),
        None => host.split(':').next().unwrap_or(host),
    };
    let here = matches!(host, "" | "localhost" | "::1") || host.starts_with("127.");
    (!here || scheme == "ssh").then_some(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(info: &str, endpoint: &str) -> Option<String> {
        let daemon = serde_json::from_str::<Daemon>(info).expect("JSON");
        let endpoint = endpoint.to_owned();
        let refusal = Daemon { endpoint, ..daemon }.refusal();
        refusal.map(|refusal| refusal.what)
    }

    const PLAIN: &str = r#"{"ServerVersion":"29.1","CgroupVersion":"2","SecurityOptions":["name=seccomp,profile=builtin"],
        "MemoryLimit":true,"PidsLimit":true,"CPUShares":true}"#;

    #[test]
    fn docker_on_this_machine_is_used() {
        for endpoint in [
            "",
            "unix:///var/run/docker.sock",
            "tcp://127.0.0.1:2375",
            "tcp://[::1]:2375",
            "npipe:////./pipe/docker_engine",
        ] {
            assert_eq!(refused(PLAIN, endpoint), None, "{endpoint}");
        }
    }

    #[test]
    fn docker_on_another_machine_is_refused_by_the_name_of_that() {
        for (endpoint, host) in [
            ("ssh://me@builder", "builder"),
            ("ssh://localhost", "localhost"),
            ("tcp://docker:2375", "docker"),
            ("tcp://me:secret@[fd00::2]:2376", "fd00::2"),
        ] {
            let what = refused(PLAIN, endpoint).expect("it is refused");
            assert!(
                what.contains(&format!("({host})")) && !what.contains("secret"),
                "{what}"
            );
        }
    }

    #[test]
    fn a_failure_is_told_in_dockers_own_words() {
        let failed = |tail: &str| Error::Failed {
            command: "docker info".to_owned(),
            status: "exit 1".to_owned(),
            tail: tail.to_owned(),
        };
        assert_eq!(
            told(&failed("{}\nCannot connect to x.\n")),
            "Cannot connect to x."
        );
        assert_eq!(told(&failed("")), "`docker info` ended with exit 1");
    }

    #[test]
    fn rootless_docker_needs_control_groups_that_its_user_may_use() {
        let rootless = PLAIN.replace("profile=builtin\"", "profile=builtin\",\"name=rootless\"");
        assert_eq!(refused(&rootless, ""), None);
        let no_cpu = rootless.replace("\"CPUShares\":true", "\"CPUShares\":false");
        let what = refused(&no_cpu, "").expect("it is refused");
        assert!(what.contains("controller cpu,"), "{what}");
        let old = rootless.replace("Version\":\"2\"", "Version\":\"1\"");
        assert!(refused(&old, "").is_some_and(|what| what.contains("cgroup v1")));
        // Without rootless it is the kernel's own business.
        let plain = PLAIN.replace("\"CPUShares\":true", "\"CPUShares\":false");
        assert_eq!(refused(&plain, ""), None);
    }

    #[test]
    fn podman_that_is_called_docker_is_recognised() {
        let podman = r#"{"host":{"arch":"amd64"},"version":{"Version":"4.3.1"}}"#;
        assert!(refused(podman, "").is_some_and(|what| what.contains("podman")));
    }
}
