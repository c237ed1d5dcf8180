//! A suite as a Job of a cluster, as the target that has the cluster is told of it.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use crate::exit::Failure;
use crate::process::{Error, Status};

/// How a command ended, or why it did not come to its end.
pub type Ended = Result<Status, Error>;

/// A suite that runs as a Job of the cluster.
#[derive(Debug)]
pub struct Job<'a> {
    /// The suite's name.
    pub name: &'a str,
    /// The image.
    pub image: &'a str,
    /// The command.
    pub words: &'a [String],
    /// Its variables, as this machine sees them.
    pub environment: &'a BTreeMap<String, String>,
    /// How long it may take.
    pub deadline: Duration,
    /// Where the files go that it writes into its evidence directory.
    pub results: &'a Path,
}

/// Runs a suite as a Job, handing on what it prints.
pub type InJob<'a> = dyn Fn(&Job<'_>, &mut dyn FnMut(&str)) -> Result<Ended, Failure> + 'a;
