//! What a caller may choose about a server, and the `postgresql.conf` that follows from it.

use std::path::PathBuf;
use std::time::Duration;

use crate::Error;

/// What a server promises about commits. Both keep `synchronous_commit = on` (D9).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Durability {
    /// `fsync = off` and data in memory where there is room: survives a killed server, not a crash of the machine. For
    /// functional tests, never for figures.
    #[default]
    Fast,
    /// PostgreSQL's defaults, on disk: for benchmarks and durability tests.
    Durable,
}

/// Where a server listens besides its unix socket. Always on 127.0.0.1, always with a password.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Tcp {
    /// Any free port, kept over restarts.
    #[default]
    AnyPort,
    /// This port, or [`Error::PortTaken`].
    Port(u16),
    /// Unix socket only.
    Off,
}

/// How a server is created. The default is a fast server with the product's names (D24) on any free port.
#[derive(Clone)]
pub struct Options {
    /// What commits promise.
    pub durability: Durability,
    /// Where it listens.
    pub tcp: Tcp,
    /// Superuser of the cluster, like the official image's `POSTGRES_USER`.
    pub user: String,
    /// Its password; `None` makes a random one. It is never on a command line.
    pub password: Option<String>,
    /// Database to create besides `postgres`, owned by `user`.
    pub database: String,
    /// Directory for the servers' data; `None` is memory (`/dev/shm`) for [`Durability::Fast`] while more than 256 MB are free
    /// there, else the cache directory.
    pub data_root: Option<PathBuf>,
    /// Connections that the server takes.
    pub max_connections: u16,
    /// How often a backend checks that its client is still connected while it runs a statement; `None` is PostgreSQL's
    /// default, never.
    pub client_connection_check_interval: Option<Duration>,
    /// Further settings of `postgresql.conf`; they win over everything above.
    pub settings: Vec<(String, String)>,
    /// Bound on the time from spawning the server to its first answer, crash recovery included.
    pub deadline: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            durability: Durability::default(),
            tcp: Tcp::default(),
            user: "slm_user".to_owned(),
            password: None,
            database: "action_history".to_owned(),
            data_root: None,
            max_connections: 100,
            client_connection_check_interval: None,
            settings: Vec::new(),
            deadline: Duration::from_secs(30),
        }
    }
}

impl Options {
    /// Checks what PostgreSQL would misread or truncate silently.
    pub(crate) fn check(&self) -> Result<(), Error> {
        for (name, value) in [("user", &self.user), ("database", &self.database)] {
            // 63 bytes: NAMEDATALEN - 1.
            if value.is_empty() || value.len() > 63 || value.chars().any(char::is_control) {
                let detail = format!("{value:?} must have 1 to 63 bytes and no control characters");
                return Err(Error::Option { name, detail });
            }
        }
        if self
            .password
            .as_ref()
            .is_some_and(|password| password.is_empty() || password.contains('\0'))
        {
            return Err(Error::Option {
                name: "password",
                detail: "it must not be empty or hold a NUL".to_owned(),
            });
        }
        for (key, value) in &self.settings {
            let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.';
            if key.is_empty() || !key.chars().all(plain) || value.chars().any(char::is_control) {
                let detail =
                    format!("{key:?} = {value:?} must be a setting's name and a value on one line");
                return Err(Error::Option {
                    name: "settings",
                    detail,
                });
            }
        }
        Ok(())
    }

    /// Returns the settings of the server that do not change over its life; the port is not among them.
    pub(crate) fn configuration(&self) -> String {
        let owned = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
        let mut settings: Vec<(String, String)> = [
            ("synchronous_commit", "on"),
            ("shared_buffers", "32MB"),
            ("jit", "off"),
            // `minimal` writes less, and looks for every file of every new table when it commits: DDL takes a tenth longer.
            ("wal_level", "replica"),
            // Files in the data directory: nothing is left in /dev/shm when the server is killed.
            ("dynamic_shared_memory_type", "mmap"),
            ("timezone", "UTC"),
            ("log_timezone", "UTC"),
            ("log_line_prefix", "%m [%p] %q%u@%d "),
        ]
        .map(owned)
        .into();
        settings.push((
            "max_connections".to_owned(),
            self.max_connections.to_string(),
        ));
        if let Some(interval) = self.client_connection_check_interval {
            settings.push((
                "client_connection_check_interval".to_owned(),
                format!("{}ms", interval.as_millis()),
            ));
        }
        let by_durability = match self.durability {
            Durability::Fast => [
                ("fsync", "off"),
                ("full_page_writes", "off"),
                ("max_wal_senders", "0"),
                ("max_wal_size", "256MB"),
            ],
            // initdb scales max_wal_size with the segment size; these are PostgreSQL's documented defaults.
            Durability::Durable => [
                ("fsync", "on"),
                ("full_page_writes", "on"),
                ("max_wal_senders", "10"),
                ("max_wal_size", "1GB"),
            ],
        };
        settings.extend(by_durability.map(owned));
        settings.extend(self.settings.iter().cloned());
        lines(&settings)
    }
}

/// Formats settings as lines of `postgresql.conf`.
pub(crate) fn lines(settings: &[(String, String)]) -> String {
    let line =
        |(key, value): &(String, String)| format!("{key} = '{}'\n", value.replace('\'', "''"));
    settings.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::{Durability, Options};

    #[test]
    fn commits_are_synchronous_in_both_modes_and_only_fast_gives_up_fsync() {
        let configuration = |durability| {
            Options {
                durability,
                ..Options::default()
            }
            .configuration()
        };
        let (fast, durable) = (
            configuration(Durability::Fast),
            configuration(Durability::Durable),
        );
        assert!(
            fast.contains("synchronous_commit = 'on'")
                && durable.contains("synchronous_commit = 'on'")
        );
        assert!(fast.contains("fsync = 'off'") && durable.contains("fsync = 'on'"));
    }

    #[test]
    fn values_are_quoted_and_the_callers_settings_come_last() {
        let settings = vec![("jit".to_owned(), "it's on".to_owned())];
        let configuration = Options {
            settings,
            ..Options::default()
        }
        .configuration();
        assert!(
            configuration.ends_with("jit = 'it''s on'\n"),
            "{configuration}"
        );
    }

    #[test]
    fn names_and_settings_that_postgresql_would_misread_are_refused() {
        let setting = |key: &str, value: &str| Options {
            settings: vec![(key.into(), value.into())],
            ..Options::default()
        };
        let refused = [
            Options {
                user: String::new(),
                ..Options::default()
            },
            Options {
                database: "d".repeat(64),
                ..Options::default()
            },
            Options {
                password: Some(String::new()),
                ..Options::default()
            },
            setting("jit = on\nfsync", "off"),
            setting("jit", "on\nfsync=off"),
        ];
        assert!(refused.iter().all(|options| options.check().is_err()));
        assert!(Options::default().check().is_ok());
    }
}
