//! Where a server is reached and who may log in.

use std::fmt;
use std::path::PathBuf;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, PercentEncode, utf8_percent_encode};
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

    /// Returns a connection URI (libpq, "Connection URIs") for `database`.
    pub(crate) fn url(
        &self,
        credentials: &Credentials,
        with_password: bool,
        database: &str,
    ) -> String {
        let user = encode(&credentials.user);
        let database = encode(database);
        let password = if with_password {
            format!(":{}", encode(&credentials.password))
        } else {
            String::new()
        };
        match self.tcp {
            Some(port) => format!("postgresql://{user}{password}@127.0.0.1:{port}/{database}"),
            None => format!(
                "postgresql://{user}{password}@{}:{SOCKET_PORT}/{database}",
                encode(&self.socket.to_string_lossy())
            ),
        }
    }
}

/// Everything but RFC 3986's unreserved characters.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

fn encode(text: &str) -> PercentEncode<'_> {
    utf8_percent_encode(text, RESERVED)
}

#[cfg(test)]
mod tests {
    use super::{Address, Credentials};

    #[test]
    fn a_url_survives_any_user_password_and_database() {
        let credentials = Credentials {
            user: "a b".into(),
            password: "p@/:%é".into(),
        };
        let tcp = Address {
            tcp: Some(20_000),
            socket: "/s".into(),
        };
        assert_eq!(
            tcp.url(&credentials, true, "d?b"),
            "postgresql://a%20b:p%40%2F%3A%25%C3%A9@127.0.0.1:20000/d%3Fb"
        );
        assert_eq!(
            tcp.url(&credentials, false, "db"),
            "postgresql://a%20b@127.0.0.1:20000/db"
        );
        let unix = Address {
            tcp: None,
            socket: "/run/x".into(),
        };
        let parsed: tokio_postgres::Config = unix.url(&credentials, true, "d?b").parse().unwrap();
        assert_eq!(
            parsed.get_hosts(),
            [tokio_postgres::config::Host::Unix("/run/x".into())]
        );
        assert_eq!(
            (parsed.get_dbname(), parsed.get_password()),
            (Some("d?b"), Some("p@/:%é".as_bytes()))
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
