//! The command line.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};

/// Measures Data Storage
#[derive(Debug, Parser)]
pub(crate) struct Options {
    /// Where PostgreSQL's data lies; memory-backed by default, as in the figures that the goals come from
    #[arg(long, default_value = "/dev/shm")]
    pub(crate) directory: PathBuf,
    /// Clients that write at the same time
    #[arg(long, default_value_t = 16)]
    pub(crate) clients: usize,
    /// Seconds of load for each size
    #[arg(long, default_value_t = 5)]
    pub(crate) seconds: u64,
    /// Sizes of requests, in events
    #[arg(long, value_delimiter = ',', default_values_t = [1, 10, 100])]
    pub(crate) sizes: Vec<usize>,
    /// Give each event an id of its own, as the audit store does
    #[arg(long)]
    pub(crate) ids: bool,
    /// Load generators of other hands, each of them for as long after our own
    #[arg(long, value_delimiter = ',')]
    pub(crate) also: Vec<Generator>,
    /// Rows for the reads; 1 million at the top unless --large
    #[arg(long, value_delimiter = ',', default_values_t = [10_000, 1_000_000])]
    pub(crate) rows: Vec<u64>,
    /// Read from 10 million rows, too
    #[arg(long)]
    pub(crate) large: bool,
    /// The server to measure, instead of a build of this checkout
    #[arg(long)]
    pub(crate) server: Option<PathBuf>,
    /// Adds what was found to this file, a line of JSON for each row
    #[arg(long)]
    pub(crate) json: Option<PathBuf>,
}

/// A load generator of other hands: a program on the PATH.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Generator {
    /// <https://github.com/hatoo/oha>: `cargo install oha --locked`
    Oha,
    /// <https://github.com/tsenart/vegeta>: `go install github.com/tsenart/vegeta/v12@latest`
    Vegeta,
}
