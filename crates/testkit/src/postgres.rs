//! A PostgreSQL server per test process and a database per test.

use std::collections::BTreeSet;
use std::process::{Command, Stdio};
use std::time::Duration;

use embedded_postgres::{Installation, Options, Server, Wanted, locate};
use tokio::sync::{Mutex, OnceCell};
use tokio_postgres::NoTls;

/// Returns PostgreSQL's binaries: `E2E_POSTGRES_BIN`, the cache, a fetch into the cache, else this machine's own.
pub fn installation() -> Installation {
    let pinned = Wanted::default();
    if let Ok(found) = locate(&pinned) {
        return found;
    }
    let fetched = fetch();
    let found = fetched.and_then(|()| locate(&pinned).map_err(|error| error.to_string()));
    found.unwrap_or_else(|not_fetched| {
        let installed = locate(&Wanted {
            installed: true,
            ..pinned
        });
        let installed = installed.unwrap_or_else(|error| {
            panic!("this test needs PostgreSQL: {error}; the fetch said: {not_fetched}")
        });
        #[expect(
            clippy::print_stderr,
            reason = "D8: an installed PostgreSQL is used aloud"
        )]
        {
            eprintln!("tests use {installed}, because the fetch failed: {not_fetched}");
        }
        installed
    })
}

/// Runs the fetcher, which is a package of its own that nothing links.
fn fetch() -> Result<(), String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args([
            "run",
            "--quiet",
            "--manifest-path",
            "../postgres-fetch/Cargo.toml",
        ])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("cargo does not start: {error}"))?;
    if output.status.success() {
        Ok(())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
    }
}

/// Returns the server of this test process, started on first use; it ends with the process, whichever way that ends.
///
/// It is for tests that leave it alone: one that kills or restarts its server takes [`own_server`].
pub async fn server() -> &'static Server {
    static SERVER: OnceCell<Server> = OnceCell::const_new();
    SERVER
        .get_or_init(async || {
            own_server(Options {
                max_connections: 300,
                ..Options::default()
            })
            .await
        })
        .await
}

/// Starts a server for one test.
pub async fn own_server(options: Options) -> Server {
    let found = tokio::task::spawn_blocking(installation)
        .await
        .expect("the search for PostgreSQL ends");
    Server::start(&found, options)
        .await
        .unwrap_or_else(|error| panic!("this test needs a PostgreSQL server: {error}"))
}

/// A database of one test, dropped with the handle, connections to it included.
#[derive(Debug)]
pub struct Database {
    name: String,
    url: String,
    maintenance_url: String,
}

impl Database {
    /// Returns its URL, with the password.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Returns its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Connects to it as the superuser; the connection runs on the current runtime until the client is dropped.
    pub async fn connect(&self) -> tokio_postgres::Client {
        connect(&self.url).await
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let statement = format!("DROP DATABASE IF EXISTS \"{}\" WITH (FORCE)", self.name);
        let url = self.maintenance_url.clone();
        // A thread of its own: a drop cannot wait on the runtime that it runs on.
        let dropping = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            runtime.block_on(async {
                let client = try_connect(&url).await?;
                client
                    .batch_execute(&statement)
                    .await
                    .map_err(std::io::Error::other)
            })
        });
        // A server that the test killed has nothing left to drop; its data goes with it.
        drop(dropping.join());
    }
}

/// Makes an empty database on the server of this process.
pub async fn empty_database() -> Database {
    empty_database_on(server().await).await
}

/// Makes an empty database on `server`.
pub async fn empty_database_on(server: &Server) -> Database {
    create(server, "").await
}

/// Makes a database with the tables of `profile` on the server of this process, as a copy of one that was migrated once.
pub async fn database(profile: &str) -> Database {
    let server = server().await;
    let template = template(server, profile).await;
    create(server, &format!("TEMPLATE \"{template}\"")).await
}

/// Makes a database with the tables of `profile` on `server` by migrating it.
pub async fn database_on(server: &Server, profile: &str) -> Database {
    let database = empty_database_on(server).await;
    migrate(database.url(), profile).await;
    database
}

/// Returns the name of the database that databases with `profile` are copied from, migrated on first use.
async fn template(server: &Server, profile: &str) -> String {
    static MIGRATED: Mutex<BTreeSet<String>> = Mutex::const_new(BTreeSet::new());
    let name = format!("template_{profile}");
    let mut migrated = MIGRATED.lock().await;
    if !migrated.contains(&name) {
        let client = connect(&server.url("postgres")).await;
        // A test that panicked half-way may have left one.
        let made = client
            .batch_execute(&format!("DROP DATABASE IF EXISTS \"{name}\" WITH (FORCE)"))
            .await;
        made.unwrap_or_else(|error| panic!("{}", describe(&error)));
        create_named(&client, &name, "").await;
        migrate(&server.url(&name), profile).await;
        // A template must have no connections, and the migrations' own may take a moment to be gone.
        let unused = async || {
            let count = format!("SELECT count(*) FROM pg_stat_activity WHERE datname = '{name}'");
            match client
                .query_one(&count, &[])
                .await
                .map(|row| row.get::<_, i64>(0))
            {
                Ok(0) => Ok(()),
                Ok(connections) => Err(format!("{connections} connections")),
                Err(error) => Err(describe(&error)),
            }
        };
        crate::wait::until(
            "the template to have no connections",
            Duration::from_secs(10),
            unused,
        )
        .await;
        migrated.insert(name.clone());
    }
    name
}

async fn migrate(url: &str, profile: &str) {
    let applied = migrations::apply(&migrations::Config::new(url).profile(profile)).await;
    if let Err(error) = applied {
        panic!("cannot migrate a test's database to the profile {profile}: {error}");
    }
}

/// Creates a database with a name of its own; `clause` may name a template.
async fn create(server: &Server, clause: &str) -> Database {
    let name = format!("test_{:016x}", rand::random::<u64>());
    let maintenance_url = server.url("postgres");
    let client = connect(&maintenance_url).await;
    create_named(&client, &name, clause).await;
    Database {
        url: server.url(&name),
        name,
        maintenance_url,
    }
}

async fn create_named(client: &tokio_postgres::Client, name: &str, clause: &str) {
    // A copy of files is the quicker way where fsync is off, and leaves no changed pages for the test to write.
    let statement = format!("CREATE DATABASE \"{name}\" {clause} STRATEGY file_copy");
    client
        .batch_execute(&statement)
        .await
        .unwrap_or_else(|error| panic!("{statement}: {}", describe(&error)));
}

/// Connects to a URL; the connection runs on the current runtime until the client is dropped.
pub async fn connect(url: &str) -> tokio_postgres::Client {
    try_connect(url)
        .await
        .unwrap_or_else(|error| panic!("cannot connect to the test's PostgreSQL: {error}"))
}

/// Returns the first column of the first row of `sql` on `database`, as text; empty without a row or for a null.
pub async fn value(database: &Database, sql: &str) -> String {
    let rows = database.connect().await.simple_query(sql).await;
    let rows = rows.unwrap_or_else(|error| panic!("{sql}: {}", describe(&error)));
    let row = rows.into_iter().find_map(|message| match message {
        tokio_postgres::SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    });
    row.and_then(|row| row.get(0).map(str::to_owned))
        .unwrap_or_default()
}

/// Runs the statements of `sql` on `database`.
pub async fn run(database: &Database, sql: &str) {
    let ran = database.connect().await.batch_execute(sql).await;
    ran.unwrap_or_else(|error| panic!("{sql}: {}", describe(&error)));
}

async fn try_connect(url: &str) -> Result<tokio_postgres::Client, std::io::Error> {
    let connected = tokio_postgres::connect(url, NoTls).await;
    let (client, connection) =
        connected.map_err(|error| std::io::Error::other(describe(&error)))?;
    // Its end is the client's business: every statement in flight fails with the reason.
    tokio::spawn(async move { drop(connection.await) });
    Ok(client)
}

fn describe(error: &tokio_postgres::Error) -> String {
    let cause = std::error::Error::source(error);
    cause.map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"))
}
