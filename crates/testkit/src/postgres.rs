//! A PostgreSQL server per test process and a database per test.

use std::process::{Command, Stdio};

use embedded_postgres::{Installation, Options, Server, Wanted, locate};
use tokio::sync::OnceCell;
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

/// Runs the fetcher, which nothing links.
fn fetch() -> Result<(), String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["run", "--quiet", "--package", "postgres-fetch"])
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
    /// The handle of one that is about to be created.
    fn named_at_random(server: &Server) -> Self {
        let name = format!("test_{:016x}", rand::random::<u64>());
        Self {
            url: server.url(&name),
            name,
            maintenance_url: server.url("postgres"),
        }
    }

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

/// Creates an empty database on the server of this process.
pub async fn empty_database() -> Database {
    empty_database_on(server().await).await
}

/// Creates an empty database on `server`.
pub async fn empty_database_on(server: &Server) -> Database {
    let database = Database::named_at_random(server);
    // A copy of files is the quicker way where fsync is off, and leaves no changed pages for the test to write.
    let statement = format!("CREATE DATABASE \"{}\" STRATEGY file_copy", database.name);
    let client = connect(&database.maintenance_url).await;
    let created = client.batch_execute(&statement).await;
    created.unwrap_or_else(|error| panic!("{statement}: {}", describe(&error)));
    database
}

/// Creates a database with the tables of `profile` on the server of this process, as a copy of one that was migrated once.
pub async fn database(profile: &str) -> Database {
    let server = server().await;
    let config = migrations::Config::new(server.url("postgres")).profile(profile);
    // Asked for each time, which costs a query: a template that is kept has a connection of the runtime that asked first.
    let template = migrations::template(&config).await;
    let template = template.unwrap_or_else(|error| cannot_migrate(profile, &error));
    let database = Database::named_at_random(server);
    let cloned = template.clone_as(&database.name).await;
    cloned.unwrap_or_else(|error| cannot_migrate(profile, &error));
    database
}

/// Creates a database with the tables of `profile` on `server` by migrating it.
pub async fn database_on(server: &Server, profile: &str) -> Database {
    let database = empty_database_on(server).await;
    let config = migrations::Config::new(database.url()).profile(profile);
    let applied = migrations::apply(&config).await;
    applied.unwrap_or_else(|error| cannot_migrate(profile, &error));
    database
}

fn cannot_migrate(profile: &str, error: &migrations::Error) -> ! {
    panic!("cannot make a test's database with the profile {profile}: {error}")
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
