//! Where a server is reached and who may log in.

use std::fmt;
use std::path::PathBuf;

use postgres_url::PostgresUrl;
use serde::{Deserialize, Serialize};

/// Where a server listens.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Address {
    /// Port of 127.0.0.1, where it listens there.
    pub(crate) tcp: Option<u16>,
    /// Directory of the unix socket.
    pub(crate) socket: PathBuf,
}

/// The superuser of a server.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Credentials {
    pub(crate) user: String,
    pub(crate) password: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

/// Port in the name of the unix socket of a server that does not listen on TCP.
const SOCKET_PORT: u16 = 5432;

impl Address {
    /// Returns the port that names the unix socket too.
    pub(crate) fn port(&self) -> u16 {
        self.tcp.unwrap_or(SOCKET_PORT)
    }

    /// Returns the URL of `database`, with the password.
    pub(crate) fn url(&self, credentials: &Credentials, database: &str) -> PostgresUrl {
        let host = match self.tcp {
            Some(_) => "127.0.0.1".into(),
            None => self.socket.to_string_lossy(),
        };
        PostgresUrl::new(&credentials.user, &host, self.port())
            .with_password(&credentials.password)
            .with_database(database)
    }
}

#[cfg(test)]
mod tests {
    use super::{Address, Credentials};

    #[test]
    fn the_url_leads_to_the_port_or_to_the_socket() {
        let credentials = Credentials {
            user: "a b".into(),
            password: "p".into(),
        };
        let tcp = Address {
            tcp: Some(20_000),
            socket: "/s".into(),
        };
        assert_eq!(
            tcp.url(&credentials, "d?b").secret(),
            "postgres://a%20b:p@127.0.0.1:20000/d%3Fb"
        );
        let unix = Address {
            tcp: None,
            socket: "/run/x".into(),
        };
        let parsed: tokio_postgres::Config = unix.url(&credentials, "d").secret().parse().unwrap();
        assert_eq!(
            parsed.get_hosts(),
            [tokio_postgres::config::Host::Unix("/run/x".into())]
        );
    }

    #[test]
    fn a_password_is_not_in_the_debug_output() {
        let credentials = Credentials {
            user: "user".into(),
            password: "secret".into(),
        };
        assert!(!format!("{credentials:?}").contains("secret"));
    }
}
