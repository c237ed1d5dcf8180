//! `database.ssl_mode` and `database.ssl_root_cert`: libpq's sslmode and sslrootcert (PostgreSQL manual, "SSL Support").

use std::path::Path;

use postgres_tls::{InvalidTls, Mode, Roots, Tls};

use super::source::Source;

/// The settings, or a fault for each that is wrong.
pub(super) fn tls(source: &mut Source<'_>) -> Tls {
    // "disable" first: it is the existing default, and a cluster's own network the existing use.
    let words = [
        ("disable", Mode::Disable),
        ("allow", Mode::Allow),
        ("prefer", Mode::Prefer),
        ("require", Mode::Require),
        ("verify-ca", Mode::VerifyCa),
        ("verify-full", Mode::VerifyFull),
    ];
    let mode = source.word("database", "ssl_mode", &words);
    let roots = roots(source);
    Tls::new(mode, roots).unwrap_or_else(|_| {
        if source.text("database", "ssl_root_cert").is_none() {
            let what = "is required by ssl_mode verify-ca and verify-full: a PEM file of the authorities to trust";
            source.fault("database", "ssl_root_cert", what);
        }
        Tls::Disable
    })
}

/// The authorities in the file of `database.ssl_root_cert`, if one is named; a fault when they cannot be read.
fn roots(source: &mut Source<'_>) -> Option<Roots> {
    let path = source.text("database", "ssl_root_cert")?;
    match Roots::read(Path::new(&path)) {
        Ok(roots) => Some(roots),
        Err(error) => {
            let why = match error {
                InvalidTls::Roots { why, .. } => why,
                error => error.to_string(),
            };
            let what = format!("must be a PEM file of certificates, {path} is not: {why}");
            source.fault("database", "ssl_root_cert", &what);
            None
        }
    }
}
