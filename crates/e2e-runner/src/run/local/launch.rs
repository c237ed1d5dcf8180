//! A program of a run on this machine: started, found again where it was kept, killed and started again.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::exit::{Exit, Failure};
use crate::process::{Child, Runner, tail_of};
use crate::state::processes::{end_labelled, kill_labelled};
use crate::state::{Run, write_private};
use crate::tools::health::LIVE;
use crate::wait::{Look, Wait};

/// Keeps how a program was started, for whoever starts it again.
const FILE: &str = "launch.json";

/// How a program is started. The file that holds it may hold a password: only its user can read it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ProcessSpec {
    /// Its name in messages.
    pub name: String,
    /// The directory that is its own: address, queue, journal.
    pub dir: PathBuf,
    /// Where it runs, if not here.
    pub cwd: Option<PathBuf>,
    /// Where its output goes.
    pub log: PathBuf,
    /// Program and arguments.
    pub command: Vec<String>,
    /// Its variables.
    pub env: BTreeMap<String, String>,
    /// How its address is known.
    pub address: Address,
}

/// How the address of a program is known.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Address {
    /// It is told where to listen.
    Given(String),
    /// The system chooses the port and the program writes `host:port` into the file `address` of its directory.
    Written {
        /// The variable that names the file.
        file: String,
        /// The variable that makes it listen on the same port when it is started again.
        again: String,
        /// What that variable takes: a port, or `host:port`.
        whole: bool,
    },
}

impl ProcessSpec {
    /// Starts the program anew, ending one that an earlier run kept, and returns it with its base URL once its address is known.
    pub fn start(
        &self,
        run: &Run,
        runner: &Runner,
        deadline: Duration,
    ) -> Result<(Child, String), Failure> {
        // Its address would be taken for the new one's.
        end_labelled(run.dir(), &self.label()).map_err(Failure::setup)?;
        drop(std::fs::remove_file(self.dir.join("address")));
        let text = serde_json::to_string(self).map_err(Failure::setup)?;
        write_private(&self.dir.join(FILE), text.as_bytes()).map_err(Failure::setup)?;
        let child = self.spawn(runner, &BTreeMap::new())?;
        let address = self.listening(runner, &child, deadline)?;
        Ok((child, format!("http://{address}")))
    }

    /// Kills the program in `dir` with SIGKILL and starts it again under the same address.
    pub fn kill_and_restart(dir: &Path, run: &Run, runner: &Runner) -> Result<(), Failure> {
        let text = std::fs::read_to_string(dir.join(FILE)).map_err(|error| {
            let name = dir.file_name().unwrap_or_default().display();
            let what = format!("{} has no process of {name} that could be killed", run.id());
            Failure::new(Exit::Preflight, what)
                .detail(format!("{}: {error}", dir.join(FILE).display()))
        })?;
        let launch: Self = serde_json::from_str(&text).map_err(Failure::setup)?;
        kill_labelled(run.dir(), &launch.label()).map_err(Failure::setup)?;
        let mut env = BTreeMap::new();
        if let Address::Written { again, whole, .. } = &launch.address {
            let address = std::fs::read_to_string(dir.join("address")).map_err(Failure::setup)?;
            let port = address
                .trim()
                .rsplit(':')
                .next()
                .unwrap_or_default()
                .to_owned();
            env.insert(
                again.clone(),
                if *whole {
                    address.trim().to_owned()
                } else {
                    port
                },
            );
        }
        launch.spawn(runner, &env).map(drop)
    }

    /// Starts the program in `dir`, which has ended, under the address that it was given.
    pub fn start_again(dir: &Path, runner: &Runner) -> Result<Child, Failure> {
        let text = std::fs::read_to_string(dir.join(FILE)).map_err(Failure::setup)?;
        let launch: Self = serde_json::from_str(&text).map_err(Failure::setup)?;
        launch.spawn(runner, &BTreeMap::new())
    }

    /// The base URL of the program that an earlier run kept, if something still answers there.
    pub fn answering(dir: &Path) -> Option<String> {
        let text = std::fs::read_to_string(dir.join(FILE)).ok()?;
        let launch: Self = serde_json::from_str(&text).ok()?;
        let url = format!("http://{}", launch.address()?);
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .timeout_global(Some(Duration::from_secs(1)))
            .proxy(None)
            .build()
            .into();
        agent.get(format!("{url}{LIVE}")).call().ok().map(|_| url)
    }

    /// What its processes are recorded under: the directory that is its own.
    fn label(&self) -> String {
        self.dir.display().to_string()
    }

    fn address(&self) -> Option<String> {
        match &self.address {
            Address::Given(address) => Some(address.clone()),
            Address::Written { .. } => {
                let text = std::fs::read_to_string(self.dir.join("address")).ok()?;
                Some(text.trim().to_owned())
            }
        }
    }

    fn spawn(&self, runner: &Runner, more: &BTreeMap<String, String>) -> Result<Child, Failure> {
        let (program, args) = self
            .command
            .split_first()
            .ok_or_else(|| Failure::setup(format!("{} has no command", self.name)))?;
        let mut command = runner
            .command(program)
            .args(args)
            .label(self.label())
            .env(e2e_env::PROGRAM, &self.dir);
        if let Some(cwd) = &self.cwd {
            command = command.dir(cwd);
        }
        if let Address::Written { file, .. } = &self.address {
            command = command.env(file, self.dir.join("address"));
        }
        let mut env = self.env.clone();
        env.extend(more.clone());
        for (name, value) in &env {
            command = command.env(name, value);
        }
        command
            .spawn(&self.log)
            .map_err(|error| error.into_failure(Exit::Setup, runner.cancel()))
    }

    fn listening(
        &self,
        runner: &Runner,
        child: &Child,
        deadline: Duration,
    ) -> Result<String, Failure> {
        let wait = Wait {
            what: &format!("{} did not listen", self.name),
            deadline,
            interval: Duration::from_millis(5),
        };
        wait.until(runner.cancel(), || {
            if let Some(address) = self.address() {
                return Ok(Look::Ready(address));
            }
            match child.died() {
                Some(how) => Err(Failure::new(
                    Exit::Setup,
                    format!("{} ended at start", self.name),
                )
                .detail(how)
                .hint(format!("its whole log is {}", self.log.display()))),
                None => Ok(Look::NotYet(tail_of(&self.log))),
            }
        })
    }
}
