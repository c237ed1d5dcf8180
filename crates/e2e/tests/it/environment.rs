//! What xtask gives a suite, by the names in `e2e-env`.

use datastorage_client::{Access, Client};

/// Returns a client of the run's Data Storage.
pub(crate) fn datastorage() -> Client {
    client(e2e_env::DATASTORAGE_URL)
}

/// Returns a client of the run's Data Storage that does not say who it is.
pub(crate) fn nobody() -> Client {
    let url = variable(e2e_env::DATASTORAGE_URL);
    Client::new(&url).unwrap_or_else(|error| panic!("{url}: {error}"))
}

/// Returns a client of the Data Storage whose database holds no migration.
pub(crate) fn unmigrated_datastorage() -> Client {
    client(e2e_env::DATASTORAGE_UNMIGRATED_URL)
}

/// Returns what the environment says under `name`.
pub(crate) fn variable(name: &str) -> String {
    let value = std::env::var(name).ok().filter(|value| !value.is_empty());
    value.unwrap_or_else(|| {
        panic!("{name} is not set: a suite needs an environment, so run `cargo xtask e2e SERVICE`")
    })
}

fn client(name: &str) -> Client {
    let access = Access::from_variables(|name| std::env::var(name).ok());
    let client = Client::with_access(&variable(name), &access);
    client.unwrap_or_else(|error| panic!("{name}: {error}"))
}
