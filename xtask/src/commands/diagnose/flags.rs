//! Flags of `diagnose`.

use std::path::PathBuf;

use clap::Args;
use datastorage_client::Access;

use crate::commands::args::{DatabaseArgs, Format};

/// Flags of `diagnose`.
#[derive(Debug, Args)]
pub struct Diagnose {
    /// The service whose environment is up, or a run's identity; without it and without the flags below, the newest environment
    #[arg(value_name = "SERVICE", conflicts_with_all = ["url", "database_url", "kubeconfig"])]
    pub environment: Option<String>,
    /// Base URL of Data Storage
    #[arg(long, value_name = "URL")]
    pub url: Option<String>,
    #[command(flatten)]
    pub access: Access,
    #[command(flatten)]
    pub place: DatabaseArgs,
    /// Data Storage's Service in the namespace of --kubeconfig
    #[arg(long, value_name = "NAME", default_value = "datastorage")]
    pub datastorage: String,
    /// The profile or group that Data Storage serves
    #[arg(long, value_name = "NAME")]
    pub profile: Option<String>,
    /// Data Storage's log, where neither a run nor a cluster shows it
    #[arg(long, value_name = "FILE")]
    pub log: Option<PathBuf>,
    /// Make, grant and migrate what is missing, then diagnose again; nothing is dropped or rewritten
    #[arg(long)]
    pub repair: bool,
    /// Output format
    #[arg(long, value_enum, default_value_t = Format::Human)]
    pub format: Format,
}
