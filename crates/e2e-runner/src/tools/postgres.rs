//! The PostgreSQL servers of runs: the one that the user names, whether a server answers, a password for a new one.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use host_names::Names;
use postgres_tls::{InvalidTls, Mode, Roots, Tls};
use postgres_url::PostgresUrl;
use rand::distr::{Alphanumeric, SampleString as _};

use crate::exit::{Exit, Failure};
use crate::settings;

/// Options of a URL that every client of a run honours: the libraries read them from the URL, and to Data Storage they make no
/// difference.
const HONOURED: [&str; 2] = ["application_name", "connect_timeout"];
/// The option of how much TLS there is, as libpq has it.
const SSL_MODE: &str = "sslmode";
/// The option of the PEM file with the authorities that are trusted.
const SSL_ROOT_CERT: &str = "sslrootcert";
/// The copy of that file in the directory of a run.
pub const AUTHORITY: &str = "postgres-ca.pem";

/// Reads `--postgres-url`: one TCP server and a role. Without a password there, `PGPASSWORD` is it, and what it does not say of TLS,
/// `PGSSLMODE` and `PGSSLROOTCERT` do; a run makes databases of its own, so one in the URL is not used. An option that some client of
/// the run could not honour is refused.
pub fn server(text: &str) -> Result<PostgresUrl, Failure> {
    const FORM: &str = "give it as postgres://user@host:port, and the password in PGPASSWORD";
    let url: PostgresUrl = text
        .parse()
        .map_err(|error: postgres_url::InvalidUrl| refused(&error.to_string()).hint(FORM))?;
    if url.user().is_none() {
        return Err(refused("it names no user").hint(FORM));
    }
    match url.only_host() {
        None => return Err(refused("it names not exactly one host").hint(FORM)),
        Some((host, _)) if host.starts_with('/') => {
            return Err(refused("a Unix socket is not reached by Data Storage").hint(FORM));
        }
        Some(_) => {}
    }
    let url =
        settings::postgres_tls().fold(url, |url, (option, value)| url.or_option(option, &value));
    for (name, _) in url.options() {
        if ![SSL_MODE, SSL_ROOT_CERT].contains(&name.as_str()) && !HONOURED.contains(&name.as_str())
        {
            let why = format!("the option `{name}` is not supported");
            let hint = format!(
                "leave it out; honoured are {SSL_MODE}, {SSL_ROOT_CERT}, {}",
                HONOURED.join(", ")
            );
            return Err(refused(&why).hint(hint));
        }
    }
    let url = with_tls(url)?;
    match (url.password(), settings::postgres_password()) {
        (None, Some(password)) => Ok(url.with_password(&password)),
        _ => Ok(url),
    }
}

fn refused(why: &str) -> Failure {
    Failure::new(Exit::Usage, format!("--postgres-url: {why}"))
}

/// The same server, once its TLS can be had: a file of authorities that is of no use is refused, one that proves nothing is left out.
fn with_tls(url: PostgresUrl) -> Result<PostgresUrl, Failure> {
    const HINT: &str = "name the PEM file of the server's authority in sslrootcert or PGSSLROOTCERT; \
                        sslmode=require alone encrypts and proves nothing";
    let invalid = |error: InvalidTls| refused(&error.to_string()).hint(HINT);
    let mode: Mode = url
        .option(SSL_MODE)
        .unwrap_or("prefer")
        .parse()
        .map_err(invalid)?;
    let proves = matches!(mode, Mode::Require | Mode::VerifyCa | Mode::VerifyFull);
    let file = url.option(SSL_ROOT_CERT).filter(|_| proves);
    let roots = file.map(|file| Roots::read(Path::new(file))).transpose();
    Tls::new(mode, roots.map_err(invalid)?).map_err(invalid)?;
    Ok(if proves {
        url
    } else {
        url.without_option(SSL_ROOT_CERT)
    })
}

/// The same server with a copy of its authorities' file in a run's directory: whoever ends the run needs it, wherever the file is
/// then.
pub fn with_authority_in(url: PostgresUrl, dir: &Path) -> std::io::Result<PostgresUrl> {
    let Some(file) = url.option(SSL_ROOT_CERT) else {
        return Ok(url);
    };
    let copy = dir.join(AUTHORITY);
    std::fs::copy(file, &copy)?;
    Ok(with_authority(url, &copy.display().to_string()))
}

/// The same server whose authorities are in the file at `path` of whoever connects, if they are in one.
pub fn with_authority(url: PostgresUrl, path: &str) -> PostgresUrl {
    if url.option(SSL_ROOT_CERT).is_some() {
        url.with_option(SSL_ROOT_CERT, path)
    } else {
        url
    }
}

/// The file of the authorities that a server is proved by.
pub fn authority(url: &PostgresUrl) -> Option<&Path> {
    url.option(SSL_ROOT_CERT).map(Path::new)
}

/// How much TLS there is to a server that the user names.
pub fn ssl_mode(url: &PostgresUrl) -> &str {
    url.option(SSL_MODE).unwrap_or("prefer")
}

/// The same server under an address, for every program of a run on this machine, where they cannot look its name up by themselves.
pub fn by_address(url: PostgresUrl, names: Option<&Names>) -> Result<PostgresUrl, Failure> {
    let (Some(names), Some((name, port))) = (names, url.only_host()) else {
        return Ok(url);
    };
    if ssl_mode(&url) == "verify-full" && name.parse::<IpAddr>().is_err() {
        let why = format!("programs without this machine's C library cannot look {name} up");
        return Err(refused(&why).hint(
            "give an address that the server's certificate names, or sslmode=verify-ca, which does not ask for the name",
        ));
    }
    let addresses = names.look_up(name).map_err(|error| {
        Failure::new(Exit::Setup, format!("--postgres-url: {error}"))
            .hint("give the server's address instead of its name")
    })?;
    let mut servers = addresses
        .iter()
        .map(|address| url.clone().with_host(&address.to_string(), port));
    let first = servers.clone().next();
    Ok(servers.find(answers).or(first).unwrap_or(url.clone()))
}

/// Refuses a server that pods cannot mean as this machine does: its databases are made from here, and pods use the same address.
pub fn seen_by_pods(url: PostgresUrl) -> Result<PostgresUrl, Failure> {
    let (host, _) = address(&url)?;
    let loopback = host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
    if loopback || host == "localhost" {
        let why = format!("{host} is another machine to each pod");
        return Err(refused(&why).hint(
            "give an address of the server that this machine and the cluster's pods both reach",
        ));
    }
    Ok(url)
}

/// Host and port of a URL of a run, all of which name one host.
pub fn address(url: &PostgresUrl) -> Result<(&str, u16), Failure> {
    url.only_host()
        .ok_or_else(|| Failure::setup(format!("{url} does not name exactly one host")))
}

/// Whether a PostgreSQL server is behind the URL: it answers a request for TLS with one letter before anything else
/// (PostgreSQL manual, "SSL Session Encryption" of the message flow). What it says to a log-in is another matter.
pub fn answers(url: &PostgresUrl) -> bool {
    const REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];
    const ANSWER_TIMEOUT: Duration = Duration::from_millis(100);
    let ask = || -> std::io::Result<u8> {
        let address = url.only_host().unwrap_or_default();
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
        stream.write_all(&REQUEST)?;
        let mut letter = [0];
        stream.read_exact(&mut letter)?;
        Ok(letter[0])
    };
    ask().is_ok_and(|letter| letter == b'S' || letter == b'N')
}

/// A password of letters and digits only, so that it can stand anywhere as it is.
pub fn random_password() -> String {
    Alphanumeric.sample_string(&mut rand::rng(), 24)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_read_from_its_url_with_the_options_that_a_run_honours() {
        let url = server(
            "postgres://me:s%40crt%2F@db.test:6543/ignored?sslmode=prefer&connect_timeout=3",
        )
        .unwrap()
        .with_database("run");
        assert_eq!(
            url.to_string(),
            "postgres://me@db.test:6543/run?sslmode=prefer&connect_timeout=3"
        );
        assert_eq!(url.password(), Some("s@crt/"));
    }

    #[test]
    fn what_is_not_a_server_or_cannot_be_honoured_is_refused_by_name() {
        for (url, why) in [
            ("", "postgres://"),
            ("mysql://a@b", "postgres://"),
            ("postgres://host:5432/db", "no user"),
            ("postgres://u@/d", "exactly one host"),
            ("postgres://u@a,b", "exactly one host"),
            ("postgres://u@%2Frun:5432", "Unix socket"),
            ("postgres://u@host:port", "port"),
            ("postgres://u:pa/ss@host", "not encoded"),
            ("postgres://u@h?sslmode=verify-full", "sslmode=verify-full"),
            ("postgres://u@h?sslmode=always", "always"),
            (
                "postgres://u@h?sslmode=require&sslrootcert=%2Fno-such-file",
                "/no-such-file is not",
            ),
            (
                "postgres://u@h?target_session_attrs=read-write",
                "target_session_attrs",
            ),
            ("postgres://u@h?options=-c%20x%3D1", "options"),
        ] {
            let failure = server(url).unwrap_err();
            assert_eq!(failure.exit, Exit::Usage, "{url}");
            assert!(failure.summary.contains(why), "{url}: {}", failure.summary);
        }
    }
    #[test]
    fn authorities_move_with_the_run_and_are_left_out_where_nothing_is_proved() {
        let dir = tempfile::tempdir().unwrap();
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = rcgen::CertificateParams::default().self_signed(&key);
        let file = dir.path().join("given");
        std::fs::write(&file, certificate.unwrap().pem()).unwrap();
        let with = |mode: &str| {
            let url = PostgresUrl::new("u", "db.test", 1).or_option("sslmode", mode);
            server(
                &url.or_option("sslrootcert", &file.display().to_string())
                    .to_string(),
            )
            .unwrap()
        };
        assert_eq!(authority(&with("prefer")), None);
        let run = dir.path().join("run");
        std::fs::create_dir(&run).unwrap();
        let moved = with_authority_in(with("verify-full"), &run).unwrap();
        std::fs::remove_file(&file).unwrap();
        assert_eq!(authority(&moved), Some(run.join(AUTHORITY).as_path()));
        assert_eq!(ssl_mode(&moved), "verify-full");
        assert!(server(&moved.to_string()).is_ok());
    }

    #[test]
    fn pods_are_not_sent_to_their_own_loopback() {
        for (host, refused) in [
            ("127.0.0.1", true),
            ("::1", true),
            ("localhost", true),
            ("10.0.0.7", false),
            ("db.test", false),
        ] {
            let result = seen_by_pods(PostgresUrl::new("u", host, 5432));
            assert_eq!(result.is_err(), refused, "{host}");
        }
    }
}
