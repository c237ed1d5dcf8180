//! The environment variables that choose what a run uses, each that this crate and the command line read by themselves.

use std::borrow::Cow;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

/// A variable's value, unless it is empty.
fn text(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// A path that a variable names, unless it is empty.
fn path(name: &str) -> Option<PathBuf> {
    std::env::var_os(name)
        .filter(|value| !value.is_empty())
        .map(PathBuf::from)
}

/// A variable that a person's file names: `ENVSUB` of a goose migration, `${NAME:-default}` of a table of services.
pub fn named_by_a_file(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// The version, the commit and the time of it, where this tool was built for a bundle: `cargo xtask dist` says it to the compiler.
pub const RELEASE: Option<&str> = option_env!("E2E_RELEASE");

/// In place of a checkout: the programs beside the tool, wherever it runs.
pub const BUNDLE: &str = "bundle";

/// The checkout to build from and to take suites from, instead of the one that the tool was built from (D4).
pub fn source() -> Option<PathBuf> {
    path(e2e_env::SOURCE).filter(|_| !wants_bundle())
}

/// Whether the bundle is wanted even within a checkout.
pub fn wants_bundle() -> bool {
    text(e2e_env::SOURCE).is_some_and(|source| source == BUNDLE)
}

/// The cargo that started this process, so that nested calls use the same toolchain.
pub fn cargo() -> OsString {
    path("CARGO").map_or_else(|| "cargo".into(), OsString::from)
}

/// Where cargo keeps the sources of dependencies (The Cargo Book, "Cargo Home").
pub fn cargo_home() -> Option<PathBuf> {
    let home = || Some(path("HOME")?.join(".cargo"));
    path("CARGO_HOME").or_else(home)
}

/// A variable of this process, which a program that it starts has too.
pub fn inherited(name: &OsStr) -> Option<OsString> {
    std::env::var_os(name)
}

/// Where rustup keeps its toolchains and which of them is whose (the rustup book, "Environment variables").
pub fn rustup_home() -> Option<PathBuf> {
    let home = || Some(path("HOME")?.join(".rustup"));
    path("RUSTUP_HOME").or_else(home)
}

/// Whether a variable is one that cargo, rustc or rustup reads for what it makes (The Cargo Book, "Environment Variables Cargo Reads"):
/// not for the colours and the progress that it shows, nor one that cargo sets for each test that it runs.
pub fn is_of_cargo(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    let has_one = |prefixes: &[&str]| prefixes.iter().any(|prefix| name.starts_with(prefix));
    has_one(&["CARGO_", "RUSTC", "RUSTFLAGS", "RUSTUP_"])
        && !has_one(&[
            "CARGO_TERM_",
            "CARGO_BIN_",
            "CARGO_CRATE_NAME",
            "CARGO_PRIMARY_PACKAGE",
        ])
}

/// The time that builds give what they make (reproducible-builds.org, `SOURCE_DATE_EPOCH`), in seconds since 1970.
pub fn source_date() -> Option<String> {
    text("SOURCE_DATE_EPOCH")
}

/// Where the workflow that this is a step of lies, and what it works on: repository, workflow with its reference, run
/// (GitHub, "Default environment variables").
pub fn github_workflow() -> Option<(String, String, String)> {
    let server = text("GITHUB_SERVER_URL")?;
    let repository = format!("{server}/{}", text("GITHUB_REPOSITORY")?);
    let workflow = format!("{server}/{}", text("GITHUB_WORKFLOW_REF")?);
    let run = format!("{repository}/actions/runs/{}", text("GITHUB_RUN_ID")?);
    Some((repository, workflow, run))
}

/// Where a user's programs keep what they must not lose (XDG Base Directory Specification, which ignores a relative path).
pub fn state_home() -> Option<PathBuf> {
    let home = || Some(path("HOME")?.join(".local/state"));
    path("XDG_STATE_HOME")
        .filter(|path| path.is_absolute())
        .or_else(home)
}

/// Where a user's programs find what the user has set (XDG Base Directory Specification, which ignores a relative path).
pub fn config_home() -> Option<PathBuf> {
    let home = || Some(path("HOME")?.join(".config"));
    path("XDG_CONFIG_HOME")
        .filter(|path| path.is_absolute())
        .or_else(home)
}

/// The user's kubeconfigs: those that `KUBECONFIG` lists, else the one in the home directory (Kubernetes, "Organizing Cluster Access
/// Using kubeconfig Files").
pub fn kubeconfigs() -> Vec<PathBuf> {
    let listed = std::env::var_os("KUBECONFIG").filter(|list| !list.is_empty());
    let home = || Some(path("HOME")?.join(".kube/config"));
    match listed {
        Some(list) => std::env::split_paths(&list)
            .filter(|path| !path.as_os_str().is_empty())
            .collect(),
        None => home().into_iter().collect(),
    }
}

/// The directory in which the suite that this process is part of leaves its evidence.
pub fn evidence_dir() -> Option<PathBuf> {
    path(e2e_env::EVIDENCE_DIR)
}

/// The namespace of the service whose suite this process is part of.
pub fn namespace() -> Option<String> {
    text(e2e_env::NAMESPACE)
}

/// Cargo's target directory, where a variable names it (The Cargo Book, "Environment variables Cargo reads").
pub fn target_directory() -> Option<PathBuf> {
    text("CARGO_TARGET_DIR").map(PathBuf::from)
}

/// Where programs are looked for (POSIX, "Environment Variables").
pub fn search_path() -> Option<OsString> {
    std::env::var_os("PATH")
}

/// The user's shell (POSIX, "Environment Variables").
pub fn shell() -> String {
    text("SHELL").unwrap_or_else(|| "sh".to_owned())
}

/// The file that GitHub shows as a job's summary, within a job.
pub fn github_summary() -> Option<PathBuf> {
    text("GITHUB_STEP_SUMMARY").map(PathBuf::from)
}

/// Whether this is a step of a GitHub job, whose annotations are read from standard output.
pub fn in_github_job() -> bool {
    text("GITHUB_ACTIONS").is_some_and(|value| value == "true")
}

/// Whether somebody may watch: not in a continuous-integration job, and on a terminal that can move its cursor.
pub fn is_watched() -> bool {
    text("CI").is_none() && text("TERM").is_some_and(|term| term != "dumb")
}

/// Whether cargo runs this tool, as `cargo xtask` does (The Cargo Book, "Environment variables Cargo sets for crates").
pub fn is_run_by_cargo() -> bool {
    text("CARGO_PKG_NAME").is_some()
}

/// Text with the tool's name as its user types it: an installed one is not run by cargo.
pub fn named(text: &str) -> Cow<'_, str> {
    if is_run_by_cargo() || !text.contains("cargo xtask") {
        text.into()
    } else {
        text.replace("cargo xtask", "xtask").into()
    }
}

/// Whether colours are wanted (no-color.org).
pub fn wants_colour() -> bool {
    text("NO_COLOR").is_none()
}

/// What the address of the mirror of Maven Central says before its host, a name and a password, and the password alone.
pub fn mirror_secrets() -> Vec<String> {
    let account = || {
        let url = text(e2e_env::MAVEN_URL)?;
        let (account, _) = url.split_once("://")?.1.rsplit_once('@')?;
        Some(account.to_owned())
    };
    let Some(account) = account() else {
        return Vec::new();
    };
    let password = account.split_once(':').map(|(_, it)| it.to_owned());
    password.into_iter().chain([account]).collect()
}

/// Whether a variable names the programs of PostgreSQL.
pub fn names_postgres_programs() -> bool {
    text(e2e_env::POSTGRES_BIN).is_some()
}

/// A program that is ready, by the variable that names it.
pub fn ready_binary(variable: &str) -> Option<PathBuf> {
    let earlier = || {
        (variable == e2e_env::FAKE_BIN)
            .then(|| path(e2e_env::EARLIER_FAKE_BIN))
            .flatten()
    };
    path(variable).or_else(earlier)
}

/// The password of a PostgreSQL server whose URL holds none.
pub fn postgres_password() -> Option<String> {
    std::env::var("PGPASSWORD").ok()
}

/// libpq's variables for TLS, by the names of the options that they stand for (PostgreSQL manual, "Environment Variables").
pub fn postgres_tls() -> impl Iterator<Item = (&'static str, String)> {
    let variables = [("sslmode", "PGSSLMODE"), ("sslrootcert", "PGSSLROOTCERT")];
    variables
        .into_iter()
        .filter_map(|(option, variable)| Some((option, text(variable)?)))
}

/// What `E2E_PREPARED_NODE` may say.
pub const PREPARED_NODE_VALUES: [&str; 2] = ["never", "unbooted"];

/// What `E2E_PREPARED_NODE` says, where that is none of what it may say.
pub fn unknown_prepared_node() -> Option<String> {
    text(e2e_env::PREPARED_NODE).filter(|wanted| !PREPARED_NODE_VALUES.contains(&wanted.as_str()))
}

/// Whether a node image is prepared; `E2E_PREPARED_NODE=never` says no.
pub fn prepares_node() -> bool {
    text(e2e_env::PREPARED_NODE).is_none_or(|wanted| wanted != "never")
}

/// Whether clusters may start from a node that was booted once; `E2E_PREPARED_NODE=unbooted` says no.
pub fn starts_booted_node() -> bool {
    !text(e2e_env::PREPARED_NODE).is_some_and(|wanted| wanted == "never" || wanted == "unbooted")
}

/// Whether a variable names the Docker daemon.
pub fn names_docker_host() -> bool {
    text("DOCKER_HOST").is_some()
}

/// The socket of Docker's engine on this machine, where its client would ask that one (Docker, "Environment variables" and "Docker
/// contexts"): the system's own, or one that `DOCKER_HOST` names; none where a context may lead elsewhere.
pub fn docker_socket() -> Option<PathBuf> {
    if let Some(host) = text("DOCKER_HOST") {
        return host.strip_prefix("unix://").map(PathBuf::from);
    }
    let home = || Some(path("HOME")?.join(".docker"));
    let config = path("DOCKER_CONFIG").or_else(home)?.join("config.json");
    let config = std::fs::read(config).unwrap_or_default();
    let config: serde_json::Value = serde_json::from_slice(&config).unwrap_or_default();
    let in_file = config["currentContext"].as_str().map(str::to_owned);
    let context = text("DOCKER_CONTEXT").or(in_file);
    let is_default = context.is_none_or(|name| name.is_empty() || name == "default");
    is_default.then(|| PathBuf::from("/var/run/docker.sock"))
}

/// The proxies that kind gives to its nodes (its documentation, "Configure kind to use a proxy").
pub fn proxies() -> String {
    let names = ["HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"];
    let both = names.map(|name| [text(name), text(&name.to_lowercase())]);
    format!("{both:?}")
}

/// Whether this is a job of continuous integration, whose machine is thrown away after it.
pub fn is_integration_job() -> bool {
    text("CI").is_some()
}

/// The PostgreSQL image: the official one unless the user names another.
pub fn postgres_image() -> String {
    text("POSTGRES_IMAGE").unwrap_or_else(|| "postgres:16-alpine".to_owned())
}

/// The user that PostgreSQL's image has for its server (its Dockerfiles: 70 in Alpine's, 999 in Debian's), which a pod without root is
/// started as.
pub fn postgres_user(image: &str) -> u32 {
    let said = text(e2e_env::POSTGRES_UID).and_then(|said| said.parse().ok());
    said.unwrap_or(if image.contains("alpine") { 70 } else { 999 })
}

/// A Data Storage image to use instead of a build (D4).
pub fn datastorage_image() -> Option<String> {
    text(e2e_env::DATASTORAGE_IMAGE)
}

/// An image that takes the place of a program of the checkout in a cluster that others use too, by the variable that names it.
pub fn ready_image(variable: &str) -> Option<String> {
    text(variable)
}

/// The variable that names the node image of a version of Kubernetes.
pub fn node_image_variable(version: &str) -> String {
    format!("KIND_NODE_IMAGE_{}", version.replace('.', "_"))
}

/// The node image that a variable names for a version of Kubernetes, with that variable.
pub fn node_image_of(version: &str) -> Option<(String, String)> {
    let variable = node_image_variable(version);
    text(&variable).map(|image| (image, variable))
}

/// The node image: kind's own default for its version unless the user names another.
pub fn node_image() -> Option<String> {
    text("KIND_NODE_IMAGE")
}
