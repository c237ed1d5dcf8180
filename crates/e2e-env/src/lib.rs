//! Names of the variables that xtask gives a suite and the service fake, written once for all sides.
//!
//! A suite in another language reads the same names: they are part of the tool's contract.
//!
//! ```no_run
//! let url = std::env::var(e2e_env::DATASTORAGE_URL).expect("the tool starts a suite with it");
//! ```
//!
//! Modules, each may import those after it: `fake`, `relay`

/// Path of the run's own kubeconfig; absent on the local target.
pub const KUBECONFIG: &str = "KUBECONFIG";
/// Base URL of the Data Storage service of this run, without a trailing slash.
pub const DATASTORAGE_URL: &str = "DATASTORAGE_URL";
/// File whose first line is the bearer token for Data Storage; absent where it asks nobody who they are.
pub const DATASTORAGE_TOKEN_FILE: &str = "DATASTORAGE_TOKEN_FILE";
/// PostgreSQL URL of this run's database, without a password.
pub const DATABASE_URL: &str = "DATABASE_URL";
/// Directory of a service's own, where it runs as a process of this machine; removed with the run.
pub const PROGRAM: &str = "E2E_PROGRAM";
/// Password for [`DATABASE_URL`], where PostgreSQL's own clients look for it.
pub const PGPASSWORD: &str = "PGPASSWORD";
/// Base URL of a second Data Storage whose database holds no migration at all.
pub const DATASTORAGE_UNMIGRATED_URL: &str = "E2E_DATASTORAGE_UNMIGRATED_URL";
/// How many replicas of Data Storage answer behind [`DATASTORAGE_URL`]: 1 on the local target, whatever the table of services says.
pub const DATASTORAGE_REPLICAS: &str = "E2E_DATASTORAGE_REPLICAS";
/// Base URL of the service under test, without a trailing slash; absent where that is Data Storage itself.
pub const SERVICE_URL: &str = "SERVICE_URL";
/// Absolute path of the tool that created the environment: a suite makes a fault by running its `kill COMPONENT`.
pub const TOOL: &str = "E2E_TOOL";
/// `1` where the PostgreSQL server is this run's own, so that a suite may kill it.
pub const OWN_POSTGRES: &str = "E2E_OWN_POSTGRES";
/// Name of the service whose suite runs, as in the table of services.
pub const SERVICE: &str = "E2E_SERVICE";
/// `kind` or `local`.
pub const TARGET: &str = "E2E_TARGET";
/// Identity of the run; everything that the run created carries it.
pub const RUN: &str = "E2E_RUN";
/// Name of the cluster's node, which is a container; absent on the local target.
pub const NODE: &str = "E2E_NODE";
/// Kubernetes namespace of the run; absent on the local target.
pub const NAMESPACE: &str = "E2E_NAMESPACE";
/// The text of `--filter`, which the names of the tests that are to run hold; absent where all of them run.
pub const FILTER: &str = "E2E_FILTER";
/// The attempt at the suite, from 1: a suite with `retries` is run again where it failed.
pub const ATTEMPT: &str = "E2E_ATTEMPT";
/// Directory for what a suite wants kept as evidence.
pub const EVIDENCE_DIR: &str = "E2E_EVIDENCE_DIR";

/// Directory that holds PostgreSQL's own `bin` files, instead of the cache (D8).
pub const POSTGRES_BIN: &str = "E2E_POSTGRES_BIN";
/// Directory for downloads and prepared data that outlive a run.
pub const CACHE_DIR: &str = "E2E_CACHE_DIR";
/// Repository of Maven artifacts that PostgreSQL's binaries are fetched from, instead of Maven Central.
pub const MAVEN_URL: &str = "E2E_MAVEN_URL";
/// `never`: clusters are made from kind's own node image, and not from one that holds PostgreSQL's. `unbooted`: none starts from a
/// prepared node that was booted once.
pub const PREPARED_NODE: &str = "E2E_PREPARED_NODE";
/// Path of a ready Data Storage binary, instead of a build (D4).
pub const DATASTORAGE_BIN: &str = "E2E_DATASTORAGE_BIN";
/// A ready Data Storage image for a cluster, instead of a build (D4).
pub const DATASTORAGE_IMAGE: &str = "DATASTORAGE_IMAGE";
/// Path of a ready binary of the service fake, instead of a build (D4).
pub const FAKE_BIN: &str = "E2E_FAKE_BIN";
/// Path of a ready binary of the relay, instead of a build (D4).
pub const RELAY_BIN: &str = "E2E_RELAY_BIN";
/// Path of a ready binary of the tunnel's end in a cluster, instead of a build (D4).
pub const TUNNEL_BIN: &str = "E2E_TUNNEL_BIN";
/// The user that PostgreSQL's image has for its server, where that is not the official one's.
pub const POSTGRES_UID: &str = "E2E_POSTGRES_UID";
/// A ready image of the service fake for a cluster that others use too, instead of a push.
pub const FAKE_IMAGE: &str = "E2E_FAKE_IMAGE";
/// A ready image of the relay for a cluster that others use too, instead of a push.
pub const RELAY_IMAGE: &str = "E2E_RELAY_IMAGE";
/// A ready image of the tunnel's end for a cluster that others use too, instead of a push.
pub const TUNNEL_IMAGE: &str = "E2E_TUNNEL_IMAGE";
/// Path of a ready program that pushes images to a registry, instead of a build (D4).
pub const IMAGE_PUSH_BIN: &str = "E2E_IMAGE_PUSH_BIN";
/// The earlier name of [`FAKE_BIN`], still read.
pub const EARLIER_FAKE_BIN: &str = "E2E_DOUBLE_BIN";
/// Checkout that the tool builds from when it is not run inside one (D4).
pub const SOURCE: &str = "E2E_SOURCE";

/// What the service fake is configured by.
pub mod fake {
    /// Name of the service that it plays, as in the table of services.
    pub const SERVICE: &str = "SERVICE";
    /// Address it listens on, as `host:port`; loopback unless given.
    pub const LISTEN_ADDRESS: &str = "LISTEN_ADDRESS";
    /// File that gets the bound `host:port` once it listens; for port 0.
    pub const ADDRESS_FILE: &str = "ADDRESS_FILE";
    /// Directory of the audit store's journal, on storage that outlives the process; without it the fake has no store.
    pub const AUDIT_JOURNAL_DIR: &str = "AUDIT_JOURNAL_DIR";
}

/// What the relay beside a fake is configured by.
pub mod relay {
    /// Label of its metrics: the service that it stands beside.
    pub const SERVICE: &str = "AUDIT_RELAY_SERVICE";
    /// Address it listens on, as `host:port` on loopback.
    pub const LISTEN: &str = "AUDIT_RELAY_LISTEN";
    /// File that gets the bound `host:port` once it listens; for port 0.
    pub const ADDRESS_FILE: &str = "AUDIT_RELAY_ADDRESS_FILE";
    /// How long it serves on after SIGTERM.
    pub const LINGER: &str = "AUDIT_RELAY_LINGER";
    /// Directory of its journal, on storage that outlives the process.
    pub const JOURNAL_DIR: &str = "AUDIT_JOURNAL_DIR";
}
