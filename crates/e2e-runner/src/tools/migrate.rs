//! The migrations library as a run uses it: bounded by a deadline, ended by a signal, its errors with exit codes.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use migrations::{Config, Encrypted, Encryptor, Error, Report};
use postgres_tls::{Connector, InvalidTls, Mode, Roots, Tls};
use postgres_url::PostgresUrl;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use crate::exit::{Exit, Failure};
use crate::process::Runner;
use crate::process::cancel::Cancel;
use crate::tools::names;

/// How often a run of migrations is asked whether a signal ends it.
const TICK: Duration = Duration::from_millis(20);

/// The library on the database of a URL, with TLS as the URL asks for it, and host names looked up as this machine can.
pub fn config(runner: &Runner, url: &str) -> Config {
    let config = Config::new(url).tls(|mode, root_cert| {
        encryptor(mode, root_cert).map_err(|error: InvalidTls| error.to_string())
    });
    match names::of_machine(runner) {
        Some(names) => config.look_up(Arc::new(move |name| names.look_up(name))),
        None => config,
    }
}

fn encryptor(mode: &str, root_cert: Option<&Path>) -> Result<Encryptor, InvalidTls> {
    let mode: Mode = mode.parse()?;
    let roots = match mode {
        // As libpq has it: what proves nothing needs no authority.
        Mode::Disable | Mode::Allow | Mode::Prefer => None,
        Mode::Require | Mode::VerifyCa | Mode::VerifyFull => {
            root_cert.map(Roots::read).transpose()?
        }
    };
    let connector = Connector::new(&Tls::new(mode, roots)?)?;
    Ok(Arc::new(move |stream, host| {
        let connector = connector.clone();
        Box::pin(async move {
            let stream = connector.encrypt(stream, &host).await?;
            Ok(Encrypted {
                end_point: stream.end_point(),
                stream: Box::new(stream),
            })
        })
    }))
}

/// Applies a profile to a database. A signal ends the run of migrations without leaving a lock or half a migration.
pub fn apply_profile(
    runtime: &Runtime,
    url: &str,
    profile: &str,
    deadline: Duration,
    runner: &Runner,
) -> Result<Report, Failure> {
    let config = config(runner, url).profile(profile).deadline(deadline);
    bounded(runtime, config, runner.cancel(), async |config| {
        migrations::apply(&config).await
    })
}

/// Replaces a database by a clone of its profile's template, which is built the first time; returns the template's name.
pub fn replace_by_clone(
    runtime: &Runtime,
    database: &PostgresUrl,
    profile: &str,
    deadline: Duration,
    runner: &Runner,
) -> Result<String, Failure> {
    let config = config(runner, &database.secret())
        .profile(profile)
        .deadline(deadline);
    bounded(runtime, config, runner.cancel(), async |config| {
        let template = migrations::template(&config).await?;
        let name = database.database().unwrap_or_default();
        template.drop_clone(name).await?;
        template.clone_as(name).await?;
        Ok(template.name().to_owned())
    })
}

/// Runs work of the library to its end, or until a signal cancels it.
pub fn bounded<T>(
    runtime: &Runtime,
    config: Config,
    cancel: &Cancel,
    work: impl AsyncFnOnce(Config) -> Result<T, Error>,
) -> Result<T, Failure> {
    let token = CancellationToken::new();
    cancellable(
        runtime,
        config.cancel_with(token.clone()),
        &token,
        cancel,
        work,
    )
    .map_err(|error| failure(&error, cancel))
}

/// Runs work of the library, of which a signal cancels `token`.
pub fn cancellable<T>(
    runtime: &Runtime,
    config: Config,
    token: &CancellationToken,
    cancel: &Cancel,
    work: impl AsyncFnOnce(Config) -> Result<T, Error>,
) -> Result<T, Error> {
    runtime.block_on(async {
        let mut working = std::pin::pin!(work(config));
        loop {
            match tokio::time::timeout(TICK, &mut working).await {
                Ok(result) => return result,
                Err(_) if cancel.is_raised() => token.cancel(),
                Err(_) => {}
            }
        }
    })
}

/// What a run of migrations did, in one line.
pub fn summary(report: &Report) -> String {
    let partitions = report.partitions.len();
    match report.applied.len() {
        0 if partitions == 0 => format!(
            "nothing to do: {} migrations are applied",
            report.up_to_date
        ),
        applied => format!(
            "applied {applied} migrations ({} already applied), created {partitions} partitions",
            report.up_to_date
        ),
    }
}

/// Gives a library error its exit code (design section 8).
pub fn failure(error: &Error, cancel: &Cancel) -> Failure {
    let exit = match error {
        Error::PostgresNotReady { .. }
        | Error::ConnectionsExhausted { .. }
        | Error::TlsRefused { .. }
        | Error::AuthFailed { .. }
        | Error::NoSuchDatabase { .. } => Exit::Setup,
        Error::LockTimeout { .. } | Error::DeadlineExceeded { .. } => Exit::Deadline,
        Error::Drift { .. } => Exit::Drift,
        Error::MissingTable { .. }
        | Error::MissingPartition { .. }
        | Error::Pending { .. }
        | Error::NothingToCompare { .. } => Exit::Pending,
        Error::InvalidUrl { .. }
        | Error::UnknownProfile { .. }
        | Error::UnknownTable { .. }
        | Error::NotApplied { .. }
        | Error::NotSelected { .. }
        | Error::NothingToAdopt { .. } => Exit::Usage,
        Error::Cancelled { .. } => return cancel.failure(),
        _ => Exit::Migration,
    };
    let failure = Failure::new(exit, error.to_string());
    match error {
        Error::UnknownProfile { name, known } | Error::UnknownTable { name, known } => {
            let known: Vec<&str> = known.iter().map(String::as_str).collect();
            match crate::table::nearest(name, &known) {
                Some(near) => failure.hint(format!("did you mean `{near}`?")),
                None => failure,
            }
        }
        _ => failure,
    }
}

/// A runtime for the libraries that are asynchronous.
pub fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
}
