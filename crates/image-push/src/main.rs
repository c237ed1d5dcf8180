//! Pushes images to a container registry, checks that it may, or prints a pull secret: requests on standard input, answers on standard
//! output, failures as one line of JSON on standard error.

use std::io::{Read as _, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use image_push::address::Registry;
use image_push::client::Options;
use image_push::credentials::{self, Found};
use image_push::failure::{Failure, Kind};
use image_push::push::{self, CHECKED, Request};
use serde::Serialize;

/// Push images to a container registry without Docker
///
/// Credentials come from docker's or podman's own file: `$REGISTRY_AUTH_FILE`, `$DOCKER_CONFIG`/config.json or ~/.docker/config.json,
/// `$XDG_RUNTIME_DIR`/containers/auth.json, ~/.config/containers/auth.json, with the helpers that they name. A registry's own authority
/// is read from where these have it, as ~/.config/containers/certs.d/HOST/ca.crt. `HTTPS_PROXY` is honoured.
#[derive(Parser)]
#[command(
    disable_version_flag = true,
    after_help = "Example:\n  echo '{\"registry\":\"localhost:5000/e2e\",\"images\":[{\"archive\":\"x.tar\",\"repository\":\"datastorage\"}]}' | image-push push"
)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Push the images of a request on standard input; each that is there is one line of JSON
    Push {
        #[command(flatten)]
        connection: Connection,
    },
    /// Fail unless the registry answers and takes what this account pushes
    Check {
        /// Registry, as HOST[:PORT][/PREFIX]
        #[arg(long, value_name = "REGISTRY")]
        registry: String,
        /// Repository to write two bytes to
        #[arg(long, value_name = "NAME", default_value = CHECKED)]
        repository: String,
        #[command(flatten)]
        connection: Connection,
    },
    /// Print the content of a Secret of the type kubernetes.io/dockerconfigjson for this registry alone: it holds a password
    PullSecret {
        /// Registry, as HOST[:PORT][/PREFIX]
        #[arg(long, value_name = "REGISTRY")]
        registry: String,
    },
}

#[derive(Args)]
struct Connection {
    /// Speak without TLS to a registry that has none; one on this machine needs no such permission
    #[arg(long)]
    insecure_registry: bool,
    /// How long the registry may take to answer; an upload gets a second for each 128 KiB besides
    #[arg(long, value_name = "SECONDS", default_value_t = 20)]
    patience: u64,
}

impl From<Connection> for Options {
    fn from(given: Connection) -> Self {
        Self {
            insecure: given.insecure_registry,
            patience: Duration::from_secs(given.patience),
        }
    }
}

#[expect(clippy::print_stderr, reason = "a program's error")]
fn main() -> ExitCode {
    let failure = match run(Arguments::parse().verb) {
        Ok(()) => return ExitCode::SUCCESS,
        Err(failure) => failure,
    };
    let told = serde_json::to_string(&failure);
    eprintln!("{}", told.unwrap_or_else(|_| failure.to_string()));
    ExitCode::FAILURE
}

fn run(verb: Verb) -> Result<(), Failure> {
    match verb {
        Verb::Push { connection } => {
            let request = request()?;
            let registry: Registry = request.registry.parse()?;
            let found = found(&registry)?;
            let push = push::push(&registry, &request.images, found, connection.into(), print);
            block_on(push)
        }
        Verb::Check {
            registry,
            repository,
            connection,
        } => {
            let registry: Registry = registry.parse()?;
            let found = found(&registry)?;
            block_on(push::check(
                &registry,
                &repository,
                found,
                connection.into(),
            ))
        }
        Verb::PullSecret { registry } => {
            let registry: Registry = registry.parse()?;
            let secret = found(&registry)?.pull_secret(&registry)?;
            written(&secret);
            Ok(())
        }
    }
}

fn found(registry: &Registry) -> Result<Found, Failure> {
    credentials::find(registry, &credentials::files(|name| std::env::var_os(name)))
}

fn request() -> Result<Request, Failure> {
    let mut text = String::new();
    let read = std::io::stdin().read_to_string(&mut text);
    let request = read
        .map_err(|error| error.to_string())
        .and_then(|_| serde_json::from_str(&text).map_err(|error| error.to_string()));
    request.map_err(|error| {
        let what = format!("the request on standard input cannot be read: {error}");
        Failure::new(Kind::Request, what, "image-push --help shows one")
    })
}

fn block_on(work: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    // Named here, so that it does not depend on which features other packages turn on. Another one cannot be there yet.
    drop(rustls::crypto::ring::default_provider().install_default());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime.map_err(|error| {
        let what = format!("no work can be started: {error}");
        Failure::new(Kind::Request, what, "look at the limits of this account")
    })?;
    runtime.block_on(work)
}

fn print(answer: &impl Serialize) {
    written(&serde_json::to_string(answer).unwrap_or_default());
}

/// Writes a line at once; who does not read it any more has ended.
fn written(line: &str) {
    let mut out = std::io::stdout().lock();
    drop(writeln!(out, "{line}").and_then(|()| out.flush()));
}
