//! The workspace's own short tasks, run by cargo in the foreground: format, lints, documentation, generated files.
//!
//! What has a deadline, or outlives a call, is started by `e2e_runner::process` instead.

use e2e_runner::exit::{Exit, Failure};
use e2e_runner::paths::Paths;
use e2e_runner::process::{Runner, is_of_our_package};
use e2e_runner::settings;
use xshell::{Shell, cmd};

/// A command of cargo in the checkout, with this process's own terminal.
#[derive(Clone, Debug)]
pub struct Task {
    args: Vec<String>,
    variables: Vec<(&'static str, &'static str)>,
}

impl Task {
    /// cargo with these arguments.
    pub fn cargo<A: ToString>(args: impl IntoIterator<Item = A>) -> Self {
        Self {
            args: args.into_iter().map(|arg| arg.to_string()).collect(),
            variables: Vec::new(),
        }
    }

    /// The same with a variable.
    #[must_use]
    pub fn env(mut self, name: &'static str, value: &'static str) -> Self {
        self.variables.push((name, value));
        self
    }

    /// Runs to success.
    pub fn run(&self, runner: &Runner, paths: &Paths) -> Result<(), Failure> {
        let shell = Shell::new().map_err(Failure::setup)?;
        shell.change_dir(&paths.source);
        let (cargo, args) = (settings::cargo(), &self.args);
        let mut command = cmd!(shell, "{cargo} {args...}");
        for (name, _) in std::env::vars_os().filter(|(name, _)| is_of_our_package(name)) {
            command = command.env_remove(name);
        }
        for (name, value) in &self.variables {
            command = command.env(name, value);
        }
        let ran = command.run();
        // A terminal's Ctrl-C reaches the command too: how that ended says nothing then.
        runner.cancel().check()?;
        ran.map_err(|error| Failure::new(Exit::Setup, error.to_string()))
    }
}

/// Makes the checked-in files that are generated.
pub fn generate(runner: &Runner, args: &[String]) -> anyhow::Result<Exit> {
    let program = ["run", "--quiet", "--package", "codegen", "--"];
    let args = program.map(str::to_owned).into_iter().chain(args.to_vec());
    let paths = Paths::find(runner)?;
    paths.has_checkout()?;
    Task::cargo(args).run(runner, &paths)?;
    Ok(Exit::Passed)
}
