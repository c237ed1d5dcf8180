//! How a database is reached: by a suite without its password in the URL, by this process with it.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use rand::distr::{Alphanumeric, SampleString as _};

use crate::exit::{Exit, Failure};
use crate::settings;

/// A database as a client reaches it.
#[derive(Clone, Debug)]
pub struct Database {
    /// Host name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Role.
    pub user: String,
    /// Database name.
    pub name: String,
    /// The role's password.
    pub password: String,
}

impl Database {
    /// The URL without the password, for environments and messages.
    pub fn url(&self) -> String {
        format!(
            "postgres://{}@{}:{}/{}",
            self.user, self.host, self.port, self.name
        )
    }

    /// Whether a PostgreSQL server is behind the address: it answers a request for TLS with one letter before anything else
    /// (PostgreSQL manual, "SSL Session Encryption" of the message flow). What it says to a log-in is another matter.
    pub fn answers(&self) -> bool {
        const REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];
        const PATIENCE: Duration = Duration::from_millis(100);
        let ask = || -> std::io::Result<u8> {
            let mut stream = TcpStream::connect((self.host.as_str(), self.port))?;
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.write_all(&REQUEST)?;
            let mut letter = [0];
            stream.read_exact(&mut letter)?;
            Ok(letter[0])
        };
        ask().is_ok_and(|letter| letter == b'S' || letter == b'N')
    }

    /// The URL with the password, for a driver in this process only.
    pub fn secret_url(&self) -> String {
        // RFC 3986, section 2.1: a password may hold what would end it in a URL.
        let password = utf8_percent_encode(&self.password, NON_ALPHANUMERIC);
        format!(
            "postgres://{}:{password}@{}:{}/{}",
            self.user, self.host, self.port, self.name
        )
    }
}

/// A server that the user named.
#[derive(Debug)]
pub struct Server(Database);

impl Server {
    /// Reads `postgres://user[:password]@host[:port][/database]`. Without a password there, `PGPASSWORD` is it; the database is
    /// not used, since a run makes its own.
    pub fn parse(url: &str) -> Result<Self, Failure> {
        let wrong = || {
            Failure::new(
                Exit::Usage,
                "--postgres-url is not of the form postgres://user@host:port",
            )
            .next("give user, host and port; put the password into PGPASSWORD")
        };
        let rest = url
            .strip_prefix("postgres://")
            .or_else(|| url.strip_prefix("postgresql://"))
            .ok_or_else(wrong)?;
        let (credentials, place) = rest.rsplit_once('@').ok_or_else(wrong)?;
        let (user, password) = credentials
            .split_once(':')
            .map_or((credentials, None), |(user, password)| {
                (user, Some(password))
            });
        let address = place.split(['/', '?']).next().unwrap_or_default();
        let (host, port) = address.rsplit_once(':').unwrap_or((address, "5432"));
        let port = port.parse().map_err(|_| wrong())?;
        if user.is_empty() || host.is_empty() {
            return Err(wrong());
        }
        let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
        let password = password
            .map(decoded)
            .or_else(settings::postgres_password)
            .unwrap_or_default();
        Ok(Self(Database {
            host: host.to_owned(),
            port,
            user: user.to_owned(),
            name: String::new(),
            password,
        }))
    }

    /// One of its databases.
    pub fn database(&self, name: &str) -> Database {
        Database {
            name: name.to_owned(),
            ..self.0.clone()
        }
    }

    /// The URL of one of its databases, with the password.
    pub fn secret_url(&self, name: &str) -> String {
        self.database(name).secret_url()
    }
}

/// A password of letters and digits only, so that it needs no quoting in a URL.
pub fn random_password() -> String {
    Alphanumeric.sample_string(&mut rand::rng(), 24)
}

/// Whether a URL shows a password to everybody who lists processes.
pub fn holds_password(url: &str) -> bool {
    let authority = url
        .split_once("://")
        .map_or("", |(_, rest)| rest.split('/').next().unwrap_or_default());
    authority
        .rsplit_once('@')
        .is_some_and(|(user, _)| user.contains(':'))
}

/// A URL with the password that it lacks.
pub fn with_password(url: &str, password: &str) -> String {
    url.replacen('@', &format!(":{password}@"), 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_read_from_its_url_and_the_password_is_never_in_the_public_one() {
        let database =
            Server::parse("postgres://me:s%40crt%2F@db.test:6543/ignored?sslmode=disable")
                .unwrap()
                .database("run");
        assert_eq!(database.url(), "postgres://me@db.test:6543/run");
        assert_eq!(database.password, "s@crt/");
    }

    #[test]
    fn what_is_not_a_server_is_refused() {
        for url in [
            "",
            "mysql://a@b",
            "postgres://host:5432/db",
            "postgres://@host",
            "postgres://u@host:port",
        ] {
            assert_eq!(Server::parse(url).unwrap_err().exit, Exit::Usage, "{url}");
        }
    }

    #[test]
    fn a_password_survives_its_url() {
        let database = Database {
            host: "h".into(),
            port: 1,
            user: "u".into(),
            name: "d".into(),
            password: "a/b@c".into(),
        };
        assert_eq!(database.secret_url(), "postgres://u:a%2Fb%40c@h:1/d");
    }
}
