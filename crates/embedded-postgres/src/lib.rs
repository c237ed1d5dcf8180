//! A private PostgreSQL server without Docker, started in milliseconds (D8, D9).
//!
//! [`locate()`] finds the binaries, [`Server::start`] copies a cluster that `initdb` created once and starts `postgres` on the copy.
//! The server listens on 127.0.0.1 with a random password and on a unix socket in a directory of its own; dropping the
//! [`Server`] stops it and removes its data.
//!
//! ```no_run
//! use embedded_postgres::{Options, Server, Wanted, locate};
//!
//! # async fn example() -> Result<(), embedded_postgres::Error> {
//! let installation = locate(&Wanted::default())?;
//! let server = Server::start(&installation, Options::default()).await?;
//! println!("{}", server.url_without_password(server.database()));
//! server.stop().await?;
//! # Ok(())
//! # }
//! ```
//!
//! # What happens to a server when its owner dies
//!
//! A watcher process holds the other end of a pipe: when the owner ends in any way, `kill -9` and a plain return from
//! `main` included, it stops the server and removes the directory. If the watcher is killed too, the next
//! [`Server::start`] of the same user, or [`sweep`], does it. [`Server::detach`] is the only way to leave a server running,
//! and it has an expiry that the sweep honours.
//!
//! # Accounts
//!
//! PostgreSQL refuses to run as root, so root's servers run as `postgres`, else `nobody`; everybody else's run as
//! themselves.
//!
//! Modules, each may import those after it: `server`, `launch`, `instance`, `detached`, `roots`, `postmaster`, `cluster`, `locate`, `account`, `cache`, `options`, `watcher`, `address`, `error`

mod account;
mod address;
mod cache;
mod cluster;
mod detached;
mod error;
mod instance;
mod launch;
mod locate;
mod options;
mod postmaster;
mod roots;
mod server;
mod watcher;

pub use cache::{cache_directory, installation_directory, own_cache_directory};
pub use detached::{Detached, detached};
pub use error::Error;
pub use instance::sweep;
pub use locate::{Installation, PINNED_VERSIONS, Source, Wanted, locate};
pub use options::{Durability, Options, Tcp};
pub use server::Server;
