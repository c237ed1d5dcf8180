//! The configuration that Data Storage is given: the file of the existing image, so that either image reads it.

use std::path::PathBuf;

use serde_json::json;

/// How long it serves on after SIGTERM where it is replaced only while nobody talks to it.
pub const NO_PAUSE: &str = "0s";
/// How long it does where others take over: longer than a Service needs to forget a pod's endpoint, on a busy machine too.
pub const HAND_OVER: &str = "3s";

/// To a server of the run's own: it is in the same cluster or on the same machine.
pub const NO_TLS: (&str, Option<PathBuf>) = ("disable", None);

/// What differs between one Data Storage and another.
#[derive(Debug)]
pub struct Config<'a> {
    /// Address and port to listen on; port 0 lets the system choose.
    pub listen: (&'a str, u16),
    /// Host, port, database and user.
    pub database: (&'a str, u16, &'a str, &'a str),
    /// How much TLS there is to it, as libpq's sslmode has it, and the file of the authorities that prove it.
    pub tls: (&'a str, Option<PathBuf>),
    /// The file with user and password.
    pub secrets: PathBuf,
    /// Where events wait while the database is away.
    pub queue: PathBuf,
    /// The file with the tokens of those who may call it; without one anyone may.
    pub tokens: Option<PathBuf>,
    /// The profile whose tables must be there before it is ready (D10).
    pub profile: &'a str,
    /// How long it serves on after SIGTERM.
    pub drain_pause: &'static str,
}

impl Config<'_> {
    /// The file's text: JSON, which is YAML.
    pub fn yaml(&self) -> String {
        let (host, port) = self.listen;
        let auth = match &self.tokens {
            Some(tokens) => json!({"token_file": tokens}),
            None => json!({"open_to": "anyone-who-reaches-the-port"}),
        };
        let (database_host, database_port, name, user) = self.database;
        let (ssl_mode, authority) = &self.tls;
        let mut config = json!({
            "server": {"host": host, "port": port, "drain_pause": self.drain_pause},
            "logging": {"level": "info", "format": "json"},
            "database": {
                "host": database_host, "port": database_port, "name": name, "user": user, "ssl_mode": ssl_mode,
                "secretsFile": self.secrets, "usernameKey": "username", "passwordKey": "password",
            },
            "auth": auth,
            "queue": {"directory": self.queue},
            "schema": {"profile": self.profile},
        });
        if let Some(authority) = authority {
            config["database"]["ssl_root_cert"] = json!(authority);
        }
        config.to_string()
    }
}

/// The secrets file's text.
pub fn secrets(user: &str, password: &str) -> String {
    json!({"username": user, "password": password}).to_string()
}
