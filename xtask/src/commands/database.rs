//! The database that a command means: named by a URL, or a kept run's with its password.

use postgres_url::PostgresUrl;

use crate::terminal;
use e2e_runner::exit::{Exit, Failure};
use e2e_runner::settings;

/// A database that `--database-url` names.
#[derive(Debug)]
pub struct Named {
    /// For messages and for command lines, without the password.
    pub shown: String,
    /// For the driver.
    pub secret: String,
}

/// Reads `--database-url`, and warns of a password in it. What it does not say of TLS, `PGSSLMODE` and `PGSSLROOTCERT` do. libpq's
/// other form, `host=… user=…`, is left to the library.
pub fn named(text: &str) -> Result<Named, Failure> {
    let (named, holds_password) = if text.contains("://") {
        let url: PostgresUrl = text.parse().map_err(|error| {
            Failure::new(Exit::Usage, format!("--database-url: {error}")).hint(
                "give it as postgres://user@host:port/database, and the password in PGPASSWORD",
            )
        })?;
        let url = settings::postgres_tls()
            .fold(url, |url, (option, value)| url.or_option(option, &value));
        let named = Named {
            shown: url.to_string(),
            secret: url.secret(),
        };
        (named, url.password().is_some())
    } else {
        let mut secret = text.to_owned();
        for (option, value) in settings::postgres_tls().filter(|(option, _)| !text.contains(option))
        {
            let value = value.replace('\\', "\\\\").replace('\'', "\\'");
            secret = format!("{secret} {option}='{value}'");
        }
        let named = Named {
            shown: "as given".to_owned(),
            secret,
        };
        (named, text.contains("password"))
    };
    if holds_password {
        terminal::message(
            "warning: a password in a URL is seen in process lists; set PGPASSWORD instead",
        );
    }
    Ok(named)
}

/// The URL of a kept run's database as a driver takes it: the run wrote it without its password.
pub fn of_run(url: &str, password: &str) -> String {
    match url.parse::<PostgresUrl>() {
        Ok(url) => url.with_password(password).secret(),
        // What no run wrote is refused where it is used.
        Err(_) => url.to_owned(),
    }
}
