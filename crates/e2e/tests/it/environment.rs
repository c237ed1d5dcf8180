//! What xtask gives a suite, by the names in `e2e-env`.

use datastorage_client::Client;

/// Returns a client of the run's Data Storage.
pub(crate) fn datastorage() -> Client {
    client(e2e_env::DATASTORAGE_URL)
}

/// Returns a client of the Data Storage whose database holds no migration.
pub(crate) fn unmigrated_datastorage() -> Client {
    client(e2e_env::DATASTORAGE_UNMIGRATED_URL)
}

fn client(name: &str) -> Client {
    let url = std::env::var(name).ok().filter(|url| !url.is_empty());
    let url = url.unwrap_or_else(|| {
        panic!("{name} is not set: this suite needs an environment, so run `cargo xtask e2e workflowexecution`")
    });
    Client::new(&url).unwrap_or_else(|error| panic!("{name}: {error}"))
}
