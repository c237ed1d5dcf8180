//! A suite in a container beside its environment: on this machine's network, with the directories that it needs at their own paths.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

use crate::exit::{Exit, Failure};
use crate::process::{Error, Status};
use crate::run::suite::running::SuiteRun;
use crate::state::Resource;
use crate::tools::docker;

/// How long removing the container may take.
const REMOVED: Duration = Duration::from_secs(30);
/// What Docker's client ends with where it could not start the container itself.
const NOT_STARTED: i32 = 125;

/// Runs a command in a container of an image, which is gone afterwards whatever came of it.
pub(super) fn run(
    suite: &SuiteRun<'_>,
    image: &str,
    words: &[String],
    dir: &Path,
    mut on_line: impl FnMut(&str),
) -> Result<Result<Status, Error>, Failure> {
    let (session, service_run) = (suite.session, suite.service_run);
    docker::ensure_image(
        &session.runner,
        image,
        "`image` of the suite",
        suite.suite.deadline(),
    )?;
    let run = session.run.id();
    let (service, own) = (&service_run.service.name, &suite.suite.name);
    let name = format!("e2e-{run}-{service}-{own}");
    let resource = Resource::Container { name: name.clone() };
    session
        .run
        .will_make(resource.clone())
        .map_err(Failure::setup)?;
    let mut environment = suite.environment.clone();
    // It is a program of this machine, and works on what only this machine has.
    environment.remove(e2e_env::TOOL);
    let owner = service_run.dir.metadata().map_err(Failure::setup)?;
    if owner.uid() != 0 {
        // An image knows of no such user.
        let home = || "/tmp".to_owned();
        environment.entry("HOME".to_owned()).or_insert_with(home);
    }
    let files = [e2e_env::KUBECONFIG, e2e_env::DATASTORAGE_TOKEN_FILE];
    let files: Vec<_> = files
        .iter()
        .filter_map(|name| environment.get(*name).cloned())
        .collect();
    let mut mounts = vec![dir, service_run.dir.as_path()];
    mounts.extend(files.iter().map(Path::new));
    let container = docker::Container {
        name: &name,
        run: &run,
        image,
        user: (owner.uid(), owner.gid()),
        dir,
        mounts: &mounts,
        environment: &environment,
    };
    let mut said = String::new();
    let command = container.command(&session.runner, words);
    let ended = suite.timed(command).stream(|line| {
        line.clone_into(&mut said);
        on_line(line);
    });
    // Its client may be dead, and of one that was killed the container lives on.
    let runner = session.runner.after(1).within(REMOVED);
    let removed = docker::remove_container(&runner, &name);
    if removed.is_ok() {
        let gone = session
            .run
            .update(|state| state.resources.retain(|other| *other != resource));
        gone.map_err(Failure::setup)?;
    }
    if let Ok(status) = &ended
        && status.code == Some(NOT_STARTED)
    {
        let what = format!("the container of the suite could not be started: {said}");
        return Err(Failure::new(Exit::Setup, what)
            .hint("correct `image` and `dir` of the suite in the table of services"));
    }
    Ok(ended)
}
