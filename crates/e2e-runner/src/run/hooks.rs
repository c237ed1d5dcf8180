//! The commands before and after a suite, each with its variables, its deadline and a log of its own.

use std::collections::VecDeque;
use std::io::Write as _;
use std::time::Duration;

use crate::exit::{Exit, Failure};
use crate::run::plan::{Id, Step};
use crate::run::service_run::ServiceRun;
use crate::run::session::Session;
use crate::table::values::{LITERAL, Seen, expand_command};

/// How many of a command's last lines a failure repeats.
const TAIL: usize = 20;

/// Runs the command that a stage is for.
pub fn run(
    session: &Session,
    service_run: &ServiceRun,
    id: &Id,
    deadline: Duration,
) -> Result<String, Failure> {
    let service = &service_run.service;
    let hooks = match id.step {
        Step::Before => &service.before,
        _ => &service.after,
    };
    let Some(hook) = hooks
        .iter()
        .find(|hook| Some(&hook.name) == id.part.as_ref())
    else {
        return Ok(String::new());
    };
    let value = |name: &str| session.value(service_run, Seen::Here, name);
    let words = expand_command(&hook.run, &value).map_err(|unknown| {
        let what = format!(
            "{}: `{}` of `{}`: nothing is named ${{{}}}",
            service.table(),
            hook.name,
            service.name,
            unknown.0
        );
        Failure::new(Exit::Usage, what).hint(LITERAL)
    })?;
    let Some((program, args)) = words.split_first() else {
        return Ok(String::new());
    };
    let name = format!("{}-{}.log", id.step.name(), hook.name);
    let path = service_run.dir.join(name);
    let log = std::fs::File::create(&path).map_err(Failure::setup)?;
    let mut log = std::io::LineWriter::new(log);
    let (mut show, secrets) = (session.lines(id), session.report.secrets());
    let mut tail = VecDeque::with_capacity(TAIL);
    let command = session.runner.command(program).args(args);
    let command = command
        .dir(service.root().join(&hook.dir))
        .deadline(deadline);
    let command = session
        .secret_environment(service_run)
        .iter()
        .fold(command, |command, (name, value)| command.env(name, value));
    let status = command.stream(|line| {
        // The log is evidence: a full disk must not fail a command that succeeds.
        drop(writeln!(log, "{}", secrets.clean(line)));
        if tail.len() == TAIL {
            tail.pop_front();
        }
        tail.push_back(line.to_owned());
        show(line);
    });
    let status =
        status.map_err(|error| error.into_failure(Exit::Setup, session.runner.cancel()))?;
    if status.is_success() {
        return Ok(format!("`{}`", hook.run.join(" ")));
    }
    let what = format!("`{}` ended with {status}", hook.run.join(" "));
    let last = Vec::from(tail).join("\n");
    Err(Failure::new(Exit::Setup, what)
        .detail(last)
        .hint(format!("its whole output is {}", path.display())))
}
