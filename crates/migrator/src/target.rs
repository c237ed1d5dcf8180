//! Where the database is: what a URL says, and what of it the driver does not read by itself.
//!
//! Every option of a connection string is honoured or refused by its name (PostgreSQL manual, "Parameter Key Words").

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use percent_encoding::percent_decode_str;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_postgres::config::{Host, LoadBalanceHosts, SslMode, SslNegotiation};

use crate::error::{Error, chain};

/// A byte stream to a PostgreSQL server.
pub trait ByteStream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> ByteStream for T {}

/// Opens one more stream to the same server; also used to send a cancel request.
pub type Dialer =
    Arc<dyn Fn() -> BoxFuture<'static, io::Result<Box<dyn ByteStream>>> + Send + Sync>;

/// Encrypts a stream to the named host, on which the server has agreed to speak TLS. [`io::ErrorKind::InvalidData`] is the failure
/// of a server that does not prove what it must: it is not tried again.
pub type Encryptor = Arc<
    dyn Fn(Box<dyn ByteStream>, String) -> BoxFuture<'static, io::Result<Encrypted>> + Send + Sync,
>;

/// Finds the addresses of a host, in the order in which they are to be tried. It may block.
pub type Lookup = Arc<dyn Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync>;

/// What an [`Encryptor`] makes.
pub struct Encrypted {
    /// The stream inside TLS.
    pub stream: Box<dyn ByteStream>,
    /// What a login is bound to, `tls-server-end-point` of RFC 5929; `None` where the TLS library does not say.
    pub end_point: Option<Vec<u8>>,
}

/// libpq's words of `sslmode`, and what each means for the driver.
const SSL_MODES: [(&str, SslMode); 6] = [
    ("disable", SslMode::Disable),
    // libpq's `allow` asks for TLS where a login without it is refused; to ask at once is the same for whoever does not care.
    ("allow", SslMode::Prefer),
    ("prefer", SslMode::Prefer),
    ("require", SslMode::Require),
    ("verify-ca", SslMode::Require),
    ("verify-full", SslMode::Require),
];

/// A server by its URL, or by streams to it that somebody else opens.
#[derive(Clone)]
pub(crate) struct Target {
    url: Result<Settings, String>,
    pub(crate) dialer: Option<Dialer>,
    pub(crate) encryptor: Option<Encryptor>,
    pub(crate) lookup: Option<Lookup>,
}

/// What a connection string says.
#[derive(Clone)]
struct Settings {
    driver: tokio_postgres::Config,
    /// A word of [`SSL_MODES`].
    ssl_mode: String,
    ssl_root_cert: Option<PathBuf>,
}

/// One host of a target.
#[derive(Clone)]
pub(crate) struct Place {
    pub(crate) host: Host,
    /// Its address, where the URL gives it besides the name.
    pub(crate) address: Option<IpAddr>,
    pub(crate) port: u16,
}

impl Target {
    pub(crate) fn parse(text: &str) -> Self {
        Self {
            url: Settings::read(text),
            dialer: None,
            encryptor: None,
            lookup: None,
        }
    }

    pub(crate) fn dialled(driver: tokio_postgres::Config, dialer: Dialer) -> Self {
        let settings = Settings {
            driver,
            ssl_mode: "disable".to_owned(),
            ssl_root_cert: None,
        };
        Self {
            url: Ok(settings),
            dialer: Some(dialer),
            encryptor: None,
            lookup: None,
        }
    }

    /// Gives it the TLS that `make` sets up for what the URL asks for.
    pub(crate) fn encrypt(
        &mut self,
        make: impl FnOnce(&str, Option<&Path>) -> Result<Encryptor, String>,
    ) {
        let Ok(settings) = &self.url else { return };
        if settings.ssl_mode == "disable" {
            return;
        }
        match make(&settings.ssl_mode, settings.ssl_root_cert.as_deref()) {
            Ok(encryptor) => self.encryptor = Some(encryptor),
            Err(reason) => self.url = Err(reason),
        }
    }

    pub(crate) fn on_database(&mut self, database: &str) {
        if let Ok(settings) = &mut self.url {
            settings.driver.dbname(database);
        }
    }

    /// The settings for the driver, to connect to `place` with TLS as the URL asks for.
    pub(crate) fn settings(&self) -> Result<&tokio_postgres::Config, Error> {
        let invalid = |reason: String| Error::InvalidUrl { reason };
        let settings = self
            .url
            .as_ref()
            .map_err(|reason| invalid(reason.clone()))?;
        if self.encryptor.is_none() && settings.driver_mode() == SslMode::Require {
            let mode = &settings.ssl_mode;
            return Err(invalid(format!(
                "sslmode={mode} is asked for and this program was given no TLS"
            )));
        }
        Ok(&settings.driver)
    }

    /// The word of `sslmode`.
    pub(crate) fn ssl_mode(&self) -> &str {
        self.url
            .as_ref()
            .map_or("disable", |settings| &settings.ssl_mode)
    }

    /// What the driver asks the server at `place` for; over a Unix socket there is no TLS, whatever the URL says.
    pub(crate) fn driver_mode(&self, place: Option<&Place>) -> SslMode {
        match (&self.url, place.map(|place| &place.host)) {
            (Ok(settings), Some(Host::Tcp(_))) if self.encryptor.is_some() => {
                settings.driver_mode()
            }
            _ => SslMode::Disable,
        }
    }

    /// The hosts in their order; none where a caller opens the streams.
    pub(crate) fn places(&self) -> Vec<Place> {
        let Ok(settings) = &self.url else {
            return Vec::new();
        };
        let (ports, addresses) = (settings.driver.get_ports(), settings.driver.get_hostaddrs());
        let hosts = settings.driver.get_hosts().iter().enumerate();
        hosts
            .map(|(index, host)| Place {
                host: host.clone(),
                address: addresses.get(index).copied(),
                port: ports.get(index).or(ports.first()).copied().unwrap_or(5432),
            })
            .collect()
    }

    /// How long a server that is not ready is waited for, where the URL says so.
    pub(crate) fn patience(&self) -> Option<Duration> {
        let settings = self.url.as_ref().ok()?;
        settings.driver.get_connect_timeout().copied()
    }

    /// Host and port, for messages.
    pub(crate) fn address(&self) -> String {
        if self.url.is_err() {
            return "an unreadable URL".to_owned();
        }
        let places = self.places();
        let addresses: Vec<String> = places
            .iter()
            .map(|Place { host, port, .. }| match host {
                Host::Tcp(name) => format!("{name}:{port}"),
                #[cfg(unix)]
                Host::Unix(path) => path.display().to_string(),
            })
            .collect();
        if addresses.is_empty() {
            "a tunnel".to_owned()
        } else {
            addresses.join(",")
        }
    }

    pub(crate) fn database(&self) -> String {
        let settings = self.url.as_ref().ok();
        settings
            .and_then(|settings| settings.driver.get_dbname())
            .unwrap_or_else(|| self.user_or_default())
            .to_owned()
    }

    pub(crate) fn user(&self) -> String {
        self.user_or_default().to_owned()
    }

    fn user_or_default(&self) -> &str {
        self.url
            .as_ref()
            .ok()
            .and_then(|settings| settings.driver.get_user())
            .unwrap_or("the operating system's user")
    }
}

impl Settings {
    fn read(text: &str) -> Result<Self, String> {
        let (rest, options) = match scheme(text) {
            Some("postgres" | "postgresql") => of_url(text)?,
            Some(other) => {
                return Err(format!(
                    "its scheme is `{other}`, and this program speaks to PostgreSQL only"
                ));
            }
            None => of_pairs(text),
        };
        let driver = tokio_postgres::Config::from_str(&rest).map_err(|error| chain(&error))?;
        let mut settings = Self {
            driver,
            ssl_mode: "prefer".to_owned(),
            ssl_root_cert: None,
        };
        for (name, value) in options {
            settings.set(&name, value)?;
        }
        settings.complete()
    }

    fn driver_mode(&self) -> SslMode {
        let known = SSL_MODES.iter().find(|(word, _)| *word == self.ssl_mode);
        known.map_or(SslMode::Disable, |(_, mode)| *mode)
    }

    /// Takes an option that the driver does not read, or reads in another way than libpq.
    fn set(&mut self, name: &str, value: String) -> Result<(), String> {
        let number = || {
            let number = value.parse::<u64>();
            number.map_err(|_| format!("{name} is a number, not `{value}`"))
        };
        match name {
            "sslmode" if SSL_MODES.iter().any(|(word, _)| *word == value) => self.ssl_mode = value,
            "sslmode" => {
                let words = SSL_MODES.map(|(word, _)| word).join(", ");
                return Err(format!("sslmode is one of {words}, not `{value}`"));
            }
            "sslrootcert" if value == "system" => {
                return Err(
                    "sslrootcert=system is not supported: name a PEM file of authorities"
                        .to_owned(),
                );
            }
            "sslrootcert" => self.ssl_root_cert = Some(PathBuf::from(value)),
            // What a program in Go gives as an option of its own, and libpq within `options`.
            "search_path" => {
                let before = self.driver.get_options().unwrap_or_default();
                let escaped = value.replace('\\', "\\\\").replace(' ', "\\ ");
                let options = format!("{before} -csearch_path={escaped}");
                self.driver.options(options.trim_start());
            }
            "tcp_user_timeout" => {
                let timeout = Duration::from_millis(number()?);
                if !timeout.is_zero() {
                    self.driver.tcp_user_timeout(timeout);
                }
            }
            "keepalives_count" => {
                let count = u32::try_from(number()?).unwrap_or(u32::MAX);
                self.driver.keepalives_retries(count);
            }
            "gssencmode" if value != "require" => {}
            "gssencmode" => return Err("gssencmode=require is not supported".to_owned()),
            _ => return Err(format!("{name} is not supported: {}", why_not(name))),
        }
        Ok(())
    }

    /// Refuses what is not there or cannot be, and adds what is not said.
    fn complete(mut self) -> Result<Self, String> {
        let driver = &mut self.driver;
        if driver.get_hosts().is_empty() {
            let addresses = driver.get_hostaddrs().to_vec();
            for address in addresses {
                driver.host(address.to_string());
            }
        }
        let (hosts, addresses) = (driver.get_hosts().len(), driver.get_hostaddrs().len());
        if hosts == 0 {
            return Err("it names no host".to_owned());
        }
        if addresses != 0 && addresses != hosts {
            return Err(format!("it names {hosts} hosts and {addresses} addresses"));
        }
        if driver.get_ssl_negotiation() != SslNegotiation::Postgres {
            return Err("sslnegotiation=direct is not supported".to_owned());
        }
        if driver.get_load_balance_hosts() != LoadBalanceHosts::Disable {
            return Err("load_balance_hosts=random is not supported: a run begins with the first host that answers".to_owned());
        }
        if driver.get_application_name().is_none() {
            driver.application_name(concat!("migrator/", env!("CARGO_PKG_VERSION")));
        }
        if driver.get_password().is_none()
            && let Ok(password) = std::env::var("PGPASSWORD")
        {
            driver.password(password);
        }
        Ok(self)
    }
}

/// Options that [`Settings::set`] takes.
fn is_taken(name: &str) -> bool {
    matches!(
        name,
        "sslmode"
            | "sslrootcert"
            | "search_path"
            | "tcp_user_timeout"
            | "keepalives_count"
            | "gssencmode"
    ) || why_not(name) != UNKNOWN
}

const UNKNOWN: &str = "no such option is known";

/// Why an option of libpq is refused.
fn why_not(name: &str) -> &'static str {
    match name {
        "sslcert" | "sslkey" | "sslpassword" | "sslcertmode" => "there are no client certificates",
        "sslcrl" | "sslcrldir" => "no revocation list is read",
        "passfile" => "give the password in PGPASSWORD",
        "service" | "servicefile" => "give host, user and database themselves",
        _ => UNKNOWN,
    }
}

/// What stands before `://`, if that is how the text begins.
fn scheme(text: &str) -> Option<&str> {
    let (scheme, _) = text.split_once("://")?;
    let plain = |c: char| c.is_ascii_alphanumeric() || "+-.".contains(c);
    scheme.chars().all(plain).then_some(scheme)
}

/// The text for the driver, and the options that it does not read.
type Apart = (String, Vec<(String, String)>);

fn of_url(text: &str) -> Result<Apart, String> {
    let Some((url, query)) = text.split_once('?') else {
        return Ok((text.to_owned(), Vec::new()));
    };
    let decode = |text: &str| {
        let decoded = percent_decode_str(text).decode_utf8();
        decoded
            .map(String::from)
            .map_err(|_| "an option of it is not UTF-8".to_owned())
    };
    let (mut kept, mut options) = (Vec::new(), Vec::new());
    for option in query.split('&').filter(|option| !option.is_empty()) {
        let (name, value) = option.split_once('=').unwrap_or((option, ""));
        let name = decode(name)?;
        if is_taken(&name) {
            options.push((name, decode(value)?));
        } else {
            kept.push(option);
        }
    }
    let mark = if kept.is_empty() { "" } else { "?" };
    Ok((format!("{url}{mark}{}", kept.join("&")), options))
}

/// `name = value`, separated by spaces; a value with spaces stands between apostrophes, and a backslash takes the next character as it is.
fn of_pairs(text: &str) -> Apart {
    let (mut kept, mut options) = (String::new(), Vec::new());
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let whole = rest;
        let Some((name, after)) = rest.split_once('=') else {
            // The driver says what is wrong with it.
            kept.push_str(rest);
            break;
        };
        let after = after.trim_start();
        let quoted = after.starts_with('\'');
        let (mut value, mut end) = (String::new(), after.len());
        let mut characters = after.char_indices().skip(usize::from(quoted));
        while let Some((at, character)) = characters.next() {
            match character {
                '\\' => value.extend(characters.next().map(|(_, character)| character)),
                '\'' if quoted => {
                    end = at + 1;
                    break;
                }
                character if !quoted && character.is_whitespace() => {
                    end = at;
                    break;
                }
                character => value.push(character),
            }
        }
        rest = after[end..].trim_start();
        if is_taken(name.trim()) {
            options.push((name.trim().to_owned(), value));
        } else {
            kept.push_str(&whole[..whole.len() - rest.len()]);
            kept.push(' ');
        }
    }
    (kept, options)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Settings {
        Settings::read(text).unwrap_or_else(|reason| panic!("{text}: {reason}"))
    }

    fn refused(text: &str) -> String {
        let Err(reason) = Settings::read(text) else {
            panic!("{text} is read")
        };
        reason
    }

    #[test]
    fn options_mean_what_libpq_means_by_them_in_either_form() {
        for text in [
            "postgres://u:p@a:1,b/d?sslmode=verify-ca&sslrootcert=%2Fca%20s.pem&search_path=app%2C%20x&options=-cwork_mem%3D1MB\
             &tcp_user_timeout=1500&keepalives_count=4&gssencmode=disable&application_name=n&connect_timeout=3",
            "user=u password=p host=a,b port=1,5432 dbname=d sslmode = verify-ca sslrootcert='/ca s.pem' search_path='app, x' \
             options=-cwork_mem=1MB tcp_user_timeout=1500 keepalives_count=4 gssencmode=disable application_name=n connect_timeout=3",
        ] {
            let settings = read(text);
            assert_eq!(settings.ssl_mode, "verify-ca");
            assert_eq!(
                settings.ssl_root_cert.as_deref(),
                Some(Path::new("/ca s.pem"))
            );
            let driver = &settings.driver;
            assert_eq!(
                driver.get_options(),
                Some("-cwork_mem=1MB -csearch_path=app,\\ x")
            );
            assert_eq!(
                driver.get_tcp_user_timeout(),
                Some(&Duration::from_millis(1500))
            );
            assert_eq!(driver.get_keepalives_retries(), Some(4));
            assert_eq!(driver.get_application_name(), Some("n"));
            assert_eq!(driver.get_dbname(), Some("d"));
            let target = Target {
                url: Ok(settings),
                dialer: None,
                encryptor: None,
                lookup: None,
            };
            assert_eq!(target.address(), "a:1,b:5432");
            assert_eq!(target.patience(), Some(Duration::from_secs(3)));
        }
    }

    #[test]
    fn what_is_not_supported_is_refused_by_its_name_and_never_with_a_password() {
        for (text, part) in [
            ("mysql://u:hunter2@h/d", "`mysql`"),
            (
                "postgres://u:hunter2@h?sslmode=always",
                "sslmode is one of disable",
            ),
            (
                "postgres://u:hunter2@h?sslcert=c.pem",
                "sslcert is not supported",
            ),
            (
                "host=h password=hunter2 sslkey=k.pem",
                "sslkey is not supported",
            ),
            (
                "postgres://u:hunter2@h?sslrootcert=system",
                "sslrootcert=system",
            ),
            (
                "postgres://u:hunter2@h?sslnegotiation=direct",
                "sslnegotiation=direct",
            ),
            (
                "postgres://u:hunter2@h?load_balance_hosts=random",
                "load_balance_hosts=random",
            ),
            (
                "postgres://u:hunter2@h?target_session_attrs=standby",
                "`target_session_attrs`",
            ),
            (
                "postgres://u:hunter2@h?passfile=f",
                "passfile is not supported",
            ),
            (
                "postgres://u:hunter2@h?gssencmode=require",
                "gssencmode=require",
            ),
            ("postgres://u:hunter2@h?colour=blue", "`colour`"),
            (
                "postgres://u:hunter2@h?tcp_user_timeout=soon",
                "tcp_user_timeout",
            ),
            ("postgres:///d", "no host"),
            (
                "host=a,b hostaddr=127.0.0.1 password=hunter2",
                "2 hosts and 1 addresses",
            ),
        ] {
            let reason = refused(text);
            assert!(reason.contains(part), "{text}: {reason}");
            assert!(!reason.contains("hunter2"), "{reason}");
        }
    }

    #[test]
    fn a_mode_that_needs_tls_is_refused_where_none_was_given() {
        for mode in ["require", "verify-ca", "verify-full"] {
            let target = Target::parse(&format!("postgres://u@h?sslmode={mode}"));
            let refused = target.settings().expect_err(mode).to_string();
            assert!(refused.contains(&format!("sslmode={mode}")), "{refused}");
        }
        let plain = Target::parse("postgres://u@h");
        assert!(plain.settings().is_ok());
        assert_eq!(plain.driver_mode(plain.places().first()), SslMode::Disable);
    }
}
