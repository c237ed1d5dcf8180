//! The PostgreSQL servers of runs: the one that the user names, whether a server answers, a password for a new one.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use host_names::Names;
use postgres_url::PostgresUrl;
use rand::distr::{Alphanumeric, SampleString as _};

use crate::exit::{Exit, Failure};
use crate::settings;

/// Options of a URL that every client of a run honours: the libraries read them from the URL, and to Data Storage they make no
/// difference.
const HONOURED: [&str; 2] = ["application_name", "connect_timeout"];
/// Values of `sslmode` that a connection without TLS satisfies (PostgreSQL manual, "SSL Mode Descriptions").
const WITHOUT_TLS: [&str; 3] = ["disable", "allow", "prefer"];

/// Reads `--postgres-url`: one TCP server and a role. Without a password there, `PGPASSWORD` is it; a run makes databases of its
/// own, so one in the URL is not used. An option that some client of the run could not honour is refused.
pub fn server(text: &str) -> Result<PostgresUrl, Failure> {
    const FORM: &str = "give it as postgres://user@host:port, and the password in PGPASSWORD";
    let refused = |why: &str| Failure::new(Exit::Usage, format!("--postgres-url: {why}"));
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
    for (name, value) in url.options() {
        match name.as_str() {
            "sslmode" if WITHOUT_TLS.contains(&value.as_str()) => {}
            "sslmode" => {
                let why = format!("sslmode={value} is asked for, and a run speaks no TLS");
                return Err(refused(&why).hint("name a server that is reached without TLS"));
            }
            name if HONOURED.contains(&name) => {}
            name => {
                let why = format!("the option `{name}` is not supported");
                let hint = format!(
                    "leave it out; honoured are sslmode, {}",
                    HONOURED.join(", ")
                );
                return Err(refused(&why).hint(hint));
            }
        }
    }
    match (url.password(), settings::postgres_password()) {
        (None, Some(password)) => Ok(url.with_password(&password)),
        _ => Ok(url),
    }
}

/// The same server under an address, for every program of a run, where they cannot look its name up by themselves.
pub fn by_address(url: PostgresUrl, names: Option<&Names>) -> Result<PostgresUrl, Failure> {
    let (Some(names), Some((name, port))) = (names, url.only_host()) else {
        return Ok(url);
    };
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
}
