//! PostgreSQL connection URLs: read, written with every character encoded, shown without the password.
//!
//! The form is libpq's (PostgreSQL manual, "Connection URIs"): `postgres://user:password@host:port/database?option=value`, with
//! several hosts and the directory of a Unix socket allowed. A value of [`PostgresUrl`] prints without its password; the text for
//! a driver is asked for by name.
//!
//! ```
//! use postgres_url::PostgresUrl;
//!
//! let url: PostgresUrl = "postgresql://app:s%40crt@db.test/audit?connect_timeout=5".parse()?;
//! assert_eq!(url.password(), Some("s@crt"));
//! assert_eq!(url.to_string(), "postgres://app@db.test/audit?connect_timeout=5");
//! assert_eq!(
//!     url.with_database("run 1").with_password("a/b").secret(),
//!     "postgres://app:a%2Fb@db.test/run%201?connect_timeout=5"
//! );
//! # Ok::<(), postgres_url::InvalidUrl>(())
//! ```

use std::fmt;
use std::str::FromStr;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// The port of a host that names none.
pub const DEFAULT_PORT: u16 = 5432;

/// Everything but the unreserved characters of RFC 3986, section 2.3.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// The same for a host, where the colons of an IPv6 address stay as they are.
const RESERVED_IN_HOST: &AsciiSet = &RESERVED.remove(b':');

/// Options whose value is a secret.
const SECRET_OPTIONS: [&str; 2] = ["password", "sslpassword"];

/// A server, and one of its databases.
#[derive(Clone, PartialEq, Eq)]
pub struct PostgresUrl {
    user: Option<String>,
    password: Option<String>,
    hosts: Vec<Host>,
    database: Option<String>,
    options: Vec<(String, String)>,
}

/// One host of a URL.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Host {
    /// A name, an address without brackets, or the absolute path of a socket's directory; empty for libpq's own default.
    name: String,
    port: Option<u16>,
}

/// Why a text is not a PostgreSQL URL. No message holds any part of the text that could be a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidUrl {
    /// Neither `postgres://` nor `postgresql://`.
    #[error("it does not begin with `postgres://` or `postgresql://`")]
    Scheme,
    /// A port that is no number of 16 bits.
    #[error("its port is not a number from 1 to 65535")]
    Port,
    /// `%` without two hexadecimal digits behind it, or bytes that are not UTF-8.
    #[error(
        "a percent sign in it does not begin the code of a character; write `%25` for the sign itself"
    )]
    Encoding,
    /// An option without `=`.
    #[error("an option after `?` has no value")]
    Option,
    /// A character that has a meaning of its own in a URL stands in a name or a password.
    #[error(
        "it holds a `/`, `?`, `#` or `@` that is not encoded; write `%2F`, `%3F`, `%23`, `%40`"
    )]
    Reserved,
}

impl PostgresUrl {
    /// The URL of a server that a user logs in to over TCP, or over the socket in the directory that `host` is.
    pub fn new(user: &str, host: &str, port: u16) -> Self {
        Self {
            user: Some(user.to_owned()),
            password: None,
            hosts: vec![Host {
                name: host.to_owned(),
                port: Some(port),
            }],
            database: None,
            options: Vec::new(),
        }
    }

    /// The same server with another database.
    #[must_use]
    pub fn with_database(mut self, name: &str) -> Self {
        self.database = Some(name.to_owned());
        self
    }

    /// The same with a password, in place of one that it has.
    #[must_use]
    pub fn with_password(mut self, password: &str) -> Self {
        self.password = Some(password.to_owned());
        self
    }

    /// The same with one host in place of all that it has.
    #[must_use]
    pub fn with_host(mut self, host: &str, port: u16) -> Self {
        self.hosts = vec![Host {
            name: host.to_owned(),
            port: Some(port),
        }];
        self
    }

    /// The same with an option, unless it has one of that name.
    #[must_use]
    pub fn or_option(mut self, name: &str, value: &str) -> Self {
        if !self.options.iter().any(|(known, _)| known == name) {
            self.options.push((name.to_owned(), value.to_owned()));
        }
        self
    }

    /// The same with an option, in place of one of that name.
    #[must_use]
    pub fn with_option(self, name: &str, value: &str) -> Self {
        self.without_option(name).or_option(name, value)
    }

    /// The same without an option.
    #[must_use]
    pub fn without_option(mut self, name: &str) -> Self {
        self.options.retain(|(known, _)| known != name);
        self
    }

    /// What an option says, if the URL has it.
    pub fn option(&self, name: &str) -> Option<&str> {
        let found = self.options.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    /// The role, if the URL names one.
    pub fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    /// The password, if the URL holds one.
    pub fn password(&self) -> Option<&str> {
        self.password.as_deref()
    }

    /// The database, if the URL names one.
    pub fn database(&self) -> Option<&str> {
        self.database.as_deref()
    }

    /// Host and port, where the URL names exactly one host; a socket's directory is an absolute path.
    pub fn only_host(&self) -> Option<(&str, u16)> {
        match self.hosts.as_slice() {
            [host] if !host.name.is_empty() => {
                Some((&host.name, host.port.unwrap_or(DEFAULT_PORT)))
            }
            _ => None,
        }
    }

    /// The options after `?`, decoded, in their order; a password among them is not.
    pub fn options(&self) -> &[(String, String)] {
        &self.options
    }

    /// The URL with the password, for a driver; not for a message, a log or a command line.
    pub fn secret(&self) -> String {
        self.write(true)
    }

    fn write(&self, secret: bool) -> String {
        let mut url = "postgres://".to_owned();
        if let Some(user) = &self.user {
            url.extend(utf8_percent_encode(user, RESERVED));
        }
        if let Some(password) = self.password.as_deref().filter(|_| secret) {
            url.push(':');
            url.extend(utf8_percent_encode(password, RESERVED));
        }
        if url.len() > "postgres://".len() {
            url.push('@');
        }
        let hosts: Vec<String> = self.hosts.iter().map(Host::to_string).collect();
        url.push_str(&hosts.join(","));
        if let Some(database) = &self.database {
            url.push('/');
            url.extend(utf8_percent_encode(database, RESERVED));
        }
        let shown = self
            .options
            .iter()
            .filter(|(name, _)| secret || !SECRET_OPTIONS.contains(&name.as_str()));
        for ((name, value), mark) in shown.zip(std::iter::once('?').chain(std::iter::repeat('&'))) {
            url.push(mark);
            url.extend(utf8_percent_encode(name, RESERVED));
            url.push('=');
            url.extend(utf8_percent_encode(value, RESERVED));
        }
        url
    }
}

impl FromStr for PostgresUrl {
    type Err = InvalidUrl;

    fn from_str(text: &str) -> Result<Self, InvalidUrl> {
        let rest = text
            .strip_prefix("postgres://")
            .or_else(|| text.strip_prefix("postgresql://"))
            .ok_or(InvalidUrl::Scheme)?;
        // RFC 3986, section 3: the authority ends at the first of these, so none of them can be in a name or a password.
        let (rest, options) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, database) = match rest.split_once('/') {
            Some((authority, database)) => (authority, Some(database)),
            None => (rest, None),
        };
        let (credentials, hosts) = match authority.rsplit_once('@') {
            Some((credentials, hosts)) => (Some(credentials), hosts),
            None => (None, authority),
        };
        let reserved = |text: &str| text.contains(['/', '@', '#']);
        let names = [credentials, Some(hosts), database];
        if names.into_iter().flatten().any(reserved) || options.contains('#') {
            return Err(InvalidUrl::Reserved);
        }
        let (user, password) = match credentials.map(|text| text.split_once(':').ok_or(text)) {
            Some(Ok((user, password))) => (Some(user), Some(decoded(password)?)),
            Some(Err(user)) => (Some(user), None),
            None => (None, None),
        };
        let present = |text: Option<&str>| text.filter(|text| !text.is_empty()).map(decoded);
        let mut url = Self {
            user: present(user).transpose()?,
            password,
            hosts: hosts.split(',').map(Host::read).collect::<Result<_, _>>()?,
            database: present(database).transpose()?,
            options: Vec::new(),
        };
        for option in options.split('&').filter(|option| !option.is_empty()) {
            let (name, value) = option.split_once('=').ok_or(InvalidUrl::Option)?;
            match (decoded(name)?, decoded(value)?) {
                (name, value) if name == "password" => url.password = Some(value),
                option => url.options.push(option),
            }
        }
        Ok(url)
    }
}

/// Without the password.
impl fmt::Display for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.write(false))
    }
}

/// Without the password, as [`Display`](fmt::Display).
impl fmt::Debug for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PostgresUrl({self})")
    }
}

impl Host {
    fn read(text: &str) -> Result<Self, InvalidUrl> {
        let (name, port) = match text.strip_prefix('[') {
            Some(address) => {
                let (address, rest) = address.split_once(']').ok_or(InvalidUrl::Port)?;
                (address, rest.strip_prefix(':'))
            }
            None => match text.rsplit_once(':') {
                Some((name, port)) => (name, Some(port)),
                None => (text, None),
            },
        };
        let port = match port {
            None => None,
            Some(port) => match port.parse() {
                Ok(0) | Err(_) => return Err(InvalidUrl::Port),
                Ok(port) => Some(port),
            },
        };
        Ok(Self {
            name: decoded(name)?,
            port,
        })
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = utf8_percent_encode(&self.name, RESERVED_IN_HOST);
        if self.name.contains(':') && !self.name.starts_with('/') {
            write!(f, "[{name}]")?;
        } else {
            write!(f, "{}", utf8_percent_encode(&self.name, RESERVED))?;
        }
        match self.port {
            Some(port) => write!(f, ":{port}"),
            None => Ok(()),
        }
    }
}

/// A part of a URL as it is meant; refuses a percent sign that begins no code.
fn decoded(text: &str) -> Result<String, InvalidUrl> {
    let stray = text.split('%').skip(1).any(|code| {
        !code
            .as_bytes()
            .get(..2)
            .is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    });
    if stray {
        return Err(InvalidUrl::Encoding);
    }
    percent_decode_str(text)
        .decode_utf8()
        .map(std::borrow::Cow::into_owned)
        .map_err(|_| InvalidUrl::Encoding)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio_postgres::config::Host as DriverHost;

    use super::*;

    fn parse(text: &str) -> PostgresUrl {
        text.parse()
            .unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn a_url_is_shown_without_its_password_and_with_all_else() {
        for (url, shown) in [
            (
                "postgres://me:s%40crt%2F@db.test:6543/run?sslmode=disable",
                "postgres://me@db.test:6543/run?sslmode=disable",
            ),
            ("postgresql://:only@h/d", "postgres://h/d"),
            (
                "postgres://h/d?user=a&password=p%26q&sslpassword=x",
                "postgres://h/d?user=a",
            ),
            (
                "postgres://a@[::1]:5433,b:1/d",
                "postgres://a@[::1]:5433,b:1/d",
            ),
            (
                "postgres:///d?host=/run/postgresql",
                "postgres:///d?host=%2Frun%2Fpostgresql",
            ),
            (
                "postgres://u@%2Frun%2Fx:5432/d",
                "postgres://u@%2Frun%2Fx:5432/d",
            ),
            ("postgres://localhost", "postgres://localhost"),
        ] {
            assert_eq!(parse(url).to_string(), shown);
            assert_eq!(format!("{:?}", parse(url)), format!("PostgresUrl({shown})"));
        }
    }

    #[test]
    fn an_option_is_asked_for_replaced_and_left_out_by_its_name() {
        let url = parse("postgres://u@h/d?sslmode=require&sslrootcert=%2Fa%20b");
        assert_eq!(url.option("sslrootcert"), Some("/a b"));
        let other = url.with_option("sslrootcert", "/c");
        assert_eq!(other.option("sslrootcert"), Some("/c"));
        let shown = other.without_option("sslrootcert").to_string();
        assert_eq!(shown, "postgres://u@h/d?sslmode=require");
    }

    #[test]
    fn the_password_is_taken_from_either_place_and_replaced() {
        assert_eq!(parse("postgres://u:a%3Ab@h").password(), Some("a:b"));
        assert_eq!(parse("postgres://u:a:b@h").password(), Some("a:b"));
        assert_eq!(parse("postgres://u@h/?password=c").password(), Some("c"));
        assert_eq!(parse("postgres://u@h").password(), None);
        let url = parse("postgres://u:old@h/d").with_password("new");
        assert_eq!(url.secret(), "postgres://u:new@h/d");
    }

    #[test]
    fn an_option_is_added_where_the_url_does_not_have_it() {
        let url = parse("postgres://h/d?sslmode=require")
            .or_option("sslmode", "disable")
            .or_option("sslrootcert", "/a b");
        assert_eq!(
            url.secret(),
            "postgres://h/d?sslmode=require&sslrootcert=%2Fa%20b"
        );
    }

    #[test]
    fn one_host_is_told_from_several_and_from_none() {
        assert_eq!(parse("postgres://h").only_host(), Some(("h", 5432)));
        assert_eq!(parse("postgres://[::1]:7").only_host(), Some(("::1", 7)));
        assert_eq!(parse("postgres://a,b").only_host(), None);
        assert_eq!(parse("postgres:///d").only_host(), None);
        let elsewhere = parse("postgres://u:p@a,b/d?options=x").with_host("127.0.0.1", 9);
        assert_eq!(elsewhere.secret(), "postgres://u:p@127.0.0.1:9/d?options=x");
    }

    #[test]
    fn what_is_not_a_url_is_refused_and_its_password_is_not_repeated() {
        for (url, error) in [
            ("", InvalidUrl::Scheme),
            ("host=a password=hunter2", InvalidUrl::Scheme),
            ("mysql://u:hunter2@h", InvalidUrl::Scheme),
            ("postgres://u:hunter2@h:port", InvalidUrl::Port),
            ("postgres://u:hunter2@h:0", InvalidUrl::Port),
            ("postgres://u:hunter2@h:65536", InvalidUrl::Port),
            ("postgres://u:hunter2@[::1", InvalidUrl::Port),
            ("postgres://u:hunter2%@h", InvalidUrl::Encoding),
            ("postgres://u:hunter2%zz@h", InvalidUrl::Encoding),
            ("postgres://u:hunter2%ff@h", InvalidUrl::Encoding),
            ("postgres://u:hunter2@h/d?sslmode", InvalidUrl::Option),
            ("postgres://u:hunt/er2@h/d", InvalidUrl::Reserved),
            ("postgres://u:hunt#er2@h/d", InvalidUrl::Reserved),
            ("postgres://u:hunt@er2@h/d", InvalidUrl::Reserved),
            ("postgres://u:p@h/d/e", InvalidUrl::Reserved),
        ] {
            let refused = url.parse::<PostgresUrl>().expect_err(url);
            assert_eq!(refused, error, "{url}");
            assert!(!refused.to_string().contains("hunt"), "{refused}");
        }
    }

    proptest! {
        #[test]
        fn every_text_survives_a_url_and_the_driver_reads_it_alike(
            user in "\\PC{1,12}", password in "\\PC{0,12}", database in "\\PC{1,12}", option in "\\PC{1,12}", port in 1u16..,
        ) {
            let mut url = PostgresUrl::new(&user, "db.test", port)
                .with_database(&database)
                .with_password(&password);
            url.options.push(("options".to_owned(), option.clone()));
            prop_assert_eq!(&parse(&url.secret()), &url);
            let driver: tokio_postgres::Config = url.secret().parse().unwrap();
            prop_assert_eq!(driver.get_user(), Some(user.as_str()));
            prop_assert_eq!(driver.get_password(), Some(password.as_bytes()));
            prop_assert_eq!(driver.get_dbname(), Some(database.as_str()));
            prop_assert_eq!(driver.get_options(), Some(option.as_str()));
            prop_assert_eq!(driver.get_hosts(), [DriverHost::Tcp("db.test".to_owned())]);
            prop_assert_eq!(driver.get_ports(), [port]);
        }

        #[test]
        fn no_text_makes_the_reader_panic(text in "(postgres://)?[\\PC]{0,40}") {
            drop(text.parse::<PostgresUrl>().map(|url| url.secret()));
        }
    }
}
