//! What proves who calls, and who is trusted: files, by the same names in every program.

use std::path::PathBuf;

/// Files that prove who calls, and that say who is trusted.
///
/// With the feature `clap` these are flags of a command line, each with its variable of the environment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[cfg_attr(feature = "clap", derive(clap::Args))]
pub struct Access {
    /// File whose first line is the bearer token for Data Storage
    #[cfg_attr(
        feature = "clap",
        arg(long, env = Access::TOKEN_FILE, value_name = "FILE")
    )]
    pub token_file: Option<PathBuf>,
    /// PEM file of the authorities that Data Storage's certificate may come from; default the system's
    #[cfg_attr(
        feature = "clap",
        arg(long, env = Access::CA_FILE, value_name = "FILE")
    )]
    pub ca_file: Option<PathBuf>,
    /// PEM file of the certificate that is shown to Data Storage
    #[cfg_attr(
        feature = "clap",
        arg(long, env = Access::CLIENT_CERT_FILE, value_name = "FILE", requires = "client_key")
    )]
    pub client_cert: Option<PathBuf>,
    /// PEM file of its private key
    #[cfg_attr(
        feature = "clap",
        arg(long, env = Access::CLIENT_KEY_FILE, value_name = "FILE", requires = "client_cert")
    )]
    pub client_key: Option<PathBuf>,
}

impl Access {
    /// Variable of [`Access::token_file`].
    pub const TOKEN_FILE: &'static str = "DATASTORAGE_TOKEN_FILE";
    /// Variable of [`Access::ca_file`].
    pub const CA_FILE: &'static str = "DATASTORAGE_CA_FILE";
    /// Variable of [`Access::client_cert`].
    pub const CLIENT_CERT_FILE: &'static str = "DATASTORAGE_CLIENT_CERT_FILE";
    /// Variable of [`Access::client_key`].
    pub const CLIENT_KEY_FILE: &'static str = "DATASTORAGE_CLIENT_KEY_FILE";

    /// The files that the variables name; `variable` looks one up. An empty one names none.
    pub fn from_variables(variable: impl Fn(&str) -> Option<String>) -> Self {
        let file = |name| {
            let text = variable(name).filter(|text| !text.is_empty());
            text.map(PathBuf::from)
        };
        Self {
            token_file: file(Self::TOKEN_FILE),
            ca_file: file(Self::CA_FILE),
            client_cert: file(Self::CLIENT_CERT_FILE),
            client_key: file(Self::CLIENT_KEY_FILE),
        }
    }

    /// Whether something here is of use over TLS alone.
    pub(crate) fn needs_tls(&self) -> bool {
        self.ca_file.is_some() || self.client_cert.is_some() || self.client_key.is_some()
    }
}
