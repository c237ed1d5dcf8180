//! Configuration: the existing service's YAML file with its secret files, each setting also by environment, all faults at once.
//!
//! | section.field | default | |
//! |---|---|---|
//! | server.host, server.port | 0.0.0.0, 8080 | port 0 takes any free one; beyond loopback one of the next three is needed |
//! | `auth.token_file` | | a bearer token in each line; read again when it changes |
//! | `tls.client_ca_file` | | PEM file of authorities whose clients are let in; with the two below |
//! | `auth.open_to` | | `anyone-who-reaches-the-port`: no authentication, beyond loopback |
//! | `tls.certificate_file`, `tls.key_file` | | PEM files: the listener speaks TLS; read again when they change |
//! | `server.read_timeout`, `server.write_timeout` | 30s | for a request's body, for a request as a whole |
//! | `server.body_limit` | 16777216 | bytes |
//! | `server.max_connections` | 1000 | of clients; a further one ends the one that waits longest for its client |
//! | server.workers | as many as processors, at most 4 | threads that serve, each with a connection to write by |
//! | `server.drain_pause`, `server.shutdown_timeout` | 5s, 25s | after SIGTERM: still serving; in all |
//! | logging.level, logging.format | info, json | |
//! | database.host, .port, .name, .user | port 5432 | user also from the secret file |
//! | database.secretsFile, .usernameKey, .passwordKey | | or `DATASTORAGE_DATABASE_PASSWORD` |
//! | `database.max_open_conns` | 16 | of these one for each worker and 5 more are for writes and probes alone; reads have at least one more |
//! | `database.connect_timeout`, `database.statement_timeout` | 2s, 10s | |
//! | `database.ssl_mode`, `database.ssl_root_cert` | disable | as libpq's sslmode and sslrootcert; a PEM file |
//! | schema.profile | audit | a profile or groups of migrations/profiles.toml, separated by commas |
//! | queue.directory | /var/lib/datastorage/queue | |
//! | `queue.max_entries`, `queue.max_bytes` | 100000, 268435456 | full beyond either |
//! | problem.base | <https://kubernaut.io/problems/> | URI that problem types begin with |

mod auth;
mod source;
mod tls;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use datastorage_api::DEFAULT_PROBLEM_BASE;
use secrecy::SecretString;
use serde_json::Value;

use self::source::{IGNORED, Source};
use crate::profile::Requirements;
pub use auth::AccessConfig;
pub(crate) use auth::unguarded;
pub use postgres_tls::Tls;

/// The shortest time that anything can be done in.
const SHORTEST: Duration = Duration::from_millis(1);
/// Threads that serve unless a setting says otherwise.
const MOST_WORKERS: usize = 4;

/// The settings of one instance, checked.
#[derive(Debug, Clone)]
pub struct Config {
    /// Listening and limits of requests.
    pub server: ServerConfig,
    /// Who may call.
    pub access: AccessConfig,
    /// What is logged, and how.
    pub logging: LoggingConfig,
    /// The database.
    pub database: DatabaseConfig,
    /// Profile or groups whose tables this instance serves (D10).
    pub profile: String,
    /// These tables.
    pub(crate) requirements: Requirements,
    /// The queue for times when the database is away.
    pub queue: QueueConfig,
    /// URI that the types of problems begin with; ends with a slash (D27).
    pub problem_base: String,
    /// Settings that were given and mean nothing to this server.
    pub ignored: Vec<String>,
    /// Settings that were given and nobody knows, each with the nearest known one.
    pub unknown: Vec<String>,
}

/// Listening and limits of requests.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// Address to bind.
    pub host: String,
    /// Port to bind; 0 takes any free one.
    pub port: u16,
    /// Connections of clients that may be open; a further one ends the one that waits longest for its client.
    pub max_connections: usize,
    /// How long a request's body may take to arrive.
    pub read_timeout: Duration,
    /// How long a request may take in all.
    pub write_timeout: Duration,
    /// Bytes of a request's body.
    pub body_limit: usize,
    /// Threads that serve, each with a connection of its own to write by.
    pub workers: usize,
    /// How long requests are still served after SIGTERM, while the endpoint is being removed.
    pub drain_pause: Duration,
    /// How long a shutdown may take in all; keep it below the pod's grace period.
    pub shutdown_timeout: Duration,
}

/// What is logged, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoggingConfig {
    /// Least level that is logged.
    pub level: tracing::Level,
    /// JSON lines, else text for people.
    pub json: bool,
}

/// The database.
#[derive(Debug, Clone)]
pub struct DatabaseConfig {
    /// Host name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Database.
    pub name: String,
    /// Role to log in as.
    pub user: String,
    /// Its password.
    pub password: SecretString,
    /// TLS to it.
    pub tls: Tls,
    /// Most connections at once, as far as writes and one read can do with them.
    pub max_connections: usize,
    /// How long connecting may take.
    pub connect_timeout: Duration,
    /// How long a statement, or the wait for a connection, may take.
    pub statement_timeout: Duration,
}

/// The queue for times when the database is away.
#[derive(Debug, Clone)]
pub struct QueueConfig {
    /// Directory that outlives the process.
    pub directory: PathBuf,
    /// Full at this many entries.
    pub max_entries: u64,
    /// Full at this many bytes of entries.
    pub max_bytes: u64,
}

/// Why the configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error(
        "configuration: cannot read {path}: {source}; point CONFIG_PATH at the configuration file"
    )]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not YAML.
    #[error("configuration: {path} is not YAML: {what}")]
    NotYaml {
        /// The file.
        path: PathBuf,
        /// The parser's message.
        what: String,
    },
    /// Settings are missing or wrong; all of them.
    #[error("configuration: {}; set them in the file of CONFIG_PATH or in the environment", .0.join("; "))]
    Faults(Vec<String>),
}

impl Config {
    /// Reads the file that `CONFIG_PATH` names, where it is set, and the environment above it.
    pub fn load(environment: &BTreeMap<String, String>) -> Result<Self, ConfigError> {
        let file = match environment.get("CONFIG_PATH") {
            Some(path) => read_yaml(Path::new(path))?,
            None => Value::Null,
        };
        Self::from_parts(&file, environment)
    }

    fn from_parts(
        file: &Value,
        environment: &BTreeMap<String, String>,
    ) -> Result<Self, ConfigError> {
        let mut source = Source {
            file,
            environment,
            faults: Vec::new(),
            known: RefCell::default(),
        };
        let server = server(&mut source);
        let access = auth::access(&mut source, &server.host);
        let logging = logging(&mut source);
        let database = database(&mut source);
        let queue = QueueConfig {
            directory: source
                .text("queue", "directory")
                .unwrap_or_else(|| "/var/lib/datastorage/queue".to_owned())
                .into(),
            max_entries: source.number("queue", "max_entries", 100_000, 1..=100_000_000),
            max_bytes: source.number("queue", "max_bytes", 256 << 20, 1 << 20..=1 << 40),
        };
        let mut problem_base = source
            .text("problem", "base")
            .unwrap_or_else(|| DEFAULT_PROBLEM_BASE.to_owned());
        if !problem_base.ends_with('/') {
            problem_base.push('/');
        }
        let profile = source
            .text("schema", "profile")
            .unwrap_or_else(|| "audit".to_owned());
        let requirements = Requirements::of_profile(&profile).unwrap_or_else(|unknown| {
            source.fault("schema", "profile", &unknown.to_string());
            Requirements::default()
        });
        source.check_shapes();
        if !source.faults.is_empty() {
            return Err(ConfigError::Faults(source.faults));
        }
        Ok(Self {
            server,
            access,
            logging,
            database,
            profile,
            requirements,
            queue,
            problem_base,
            ignored: ignored(file),
            unknown: source.unknown(),
        })
    }
}

fn server(source: &mut Source<'_>) -> ServerConfig {
    let port = source.number("server", "port", 8080, 0..=65_535);
    ServerConfig {
        host: source
            .text("server", "host")
            .unwrap_or_else(|| "0.0.0.0".to_owned()),
        port: u16::try_from(port).unwrap_or_default(),
        max_connections: usize::try_from(source.number(
            "server",
            "max_connections",
            1000,
            16..=1_000_000,
        ))
        .unwrap_or(1000),
        read_timeout: source.duration("server", "read_timeout", Duration::from_secs(30), SHORTEST),
        write_timeout: source.duration(
            "server",
            "write_timeout",
            Duration::from_secs(30),
            SHORTEST,
        ),
        body_limit: usize::try_from(source.number(
            "server",
            "body_limit",
            16 << 20,
            1024..=1 << 30,
        ))
        .unwrap_or(16 << 20),
        workers: usize::try_from(source.number("server", "workers", workers(), 1..=1024))
            .unwrap_or(1),
        drain_pause: source.duration(
            "server",
            "drain_pause",
            Duration::from_secs(5),
            Duration::ZERO,
        ),
        shutdown_timeout: shutdown_timeout(source),
    }
}

/// As many as processors. A few keep PostgreSQL busy, and more would only commit smaller groups.
fn workers() -> u64 {
    std::thread::available_parallelism().map_or(1, |all| all.get().min(MOST_WORKERS) as u64)
}

/// `server.shutdown_timeout`, or the existing variable `SHUTDOWN_TIMEOUT`.
fn shutdown_timeout(source: &mut Source<'_>) -> Duration {
    let mut default = Duration::from_secs(25);
    if let Some(text) = source.environment.get("SHUTDOWN_TIMEOUT") {
        let parsed = datastorage_api::time::parse_duration(text);
        match parsed.and_then(|parsed| Duration::try_from(parsed).ok()) {
            Some(given) => default = given,
            None => source.faults.push(format!(
                "SHUTDOWN_TIMEOUT must be a duration such as 30s, is {text:?}"
            )),
        }
    }
    source.duration("server", "shutdown_timeout", default, SHORTEST)
}

fn logging(source: &mut Source<'_>) -> LoggingConfig {
    use tracing::Level;
    let levels = [
        ("info", Level::INFO),
        ("debug", Level::DEBUG),
        ("warn", Level::WARN),
        ("error", Level::ERROR),
    ];
    let level = source.word("logging", "level", &levels);
    let json = source.word("logging", "format", &[("json", true), ("console", false)]);
    LoggingConfig { level, json }
}

fn database(source: &mut Source<'_>) -> DatabaseConfig {
    let secrets = secrets(source);
    let secret = |source: &Source<'_>, key: &str| {
        let key = source.text("database", key)?;
        match secrets.as_ref()?.get(&key)? {
            Value::String(text) => Some(text.clone()),
            // A password of digits alone is a number to YAML.
            Value::Number(number) => Some(number.to_string()),
            Value::Bool(flag) => Some(flag.to_string()),
            _ => None,
        }
    };
    let (user, secret_user) = (
        source.text("database", "user"),
        secret(source, "usernameKey"),
    );
    let user = user.or(secret_user);
    if user.as_deref().is_none_or(str::is_empty) {
        source.fault(
            "database",
            "user",
            "is required, here or under usernameKey of the secrets file",
        );
    }
    let secret_password = secret(source, "passwordKey");
    let password = source
        .environment
        .get("DATASTORAGE_DATABASE_PASSWORD")
        .cloned()
        .or(secret_password);
    if password.is_none() && (secrets.is_some() || source.text("database", "secretsFile").is_none())
    {
        source.fault(
            "database",
            "password",
            "is required: by environment, or by secretsFile and passwordKey",
        );
    }
    let port = source.number("database", "port", 5432, 1..=65_535);
    let connections = source.number("database", "max_open_conns", 16, 1..=1000);
    DatabaseConfig {
        host: source.required("database", "host"),
        port: u16::try_from(port).unwrap_or_default(),
        name: source.required("database", "name"),
        user: user.unwrap_or_default(),
        password: SecretString::from(password.unwrap_or_default()),
        tls: tls::tls(source),
        max_connections: usize::try_from(connections).unwrap_or(16),
        connect_timeout: source.duration(
            "database",
            "connect_timeout",
            Duration::from_secs(2),
            SHORTEST,
        ),
        statement_timeout: source.duration(
            "database",
            "statement_timeout",
            Duration::from_secs(10),
            SHORTEST,
        ),
    }
}

/// The map in `database.secretsFile`, if one is named; a fault when it cannot be read.
fn secrets(source: &mut Source<'_>) -> Option<Value> {
    let path = source.text("database", "secretsFile")?;
    match read_yaml(Path::new(&path)) {
        Ok(map @ Value::Object(_)) => Some(map),
        Ok(_) => {
            source.fault(
                "database",
                "secretsFile",
                &format!("must hold a map, {path} does not"),
            );
            None
        }
        // The parser's message may quote a secret.
        Err(ConfigError::NotYaml { .. }) => {
            source.fault(
                "database",
                "secretsFile",
                &format!("must be YAML or JSON, {path} is not"),
            );
            None
        }
        Err(error) => {
            source.fault("database", "secretsFile", &error.to_string());
            None
        }
    }
}

/// Settings of the existing file that mean nothing here.
fn ignored(file: &Value) -> Vec<String> {
    let given = IGNORED.iter().filter_map(|(section, field)| {
        let given = file.get(section)?;
        match *field {
            "" => Some((*section).to_owned()),
            field => given.get(field).map(|_| format!("{section}.{field}")),
        }
    });
    given.collect()
}

fn read_yaml(path: &Path) -> Result<Value, ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Unreadable {
        path: path.to_owned(),
        source,
    })?;
    serde_saphyr::from_str(&text).map_err(|error| ConfigError::NotYaml {
        path: path.to_owned(),
        what: error.to_string(),
    })
}

#[cfg(test)]
mod tests;
