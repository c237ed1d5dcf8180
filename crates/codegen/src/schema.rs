//! `migrations/schema.json`: the shape that each migration leaves, recorded on an empty private server.

use std::time::Duration;

use anyhow::Context as _;
use embedded_postgres::{Options, Server, Wanted, locate};
use migrations::{Config, record_shapes};

use crate::Generated;

/// Applies every migration to an empty database and records what is there. Any supported major version of PostgreSQL gives the
/// same text, which a test holds.
pub fn generate() -> anyhow::Result<Vec<Generated>> {
    let wanted = Wanted {
        installed: true,
        ..Wanted::default()
    };
    let found = locate(&wanted)
        .context("recording shapes needs PostgreSQL: run `cargo run -p postgres-fetch`")?;
    let runtime = tokio::runtime::Runtime::new()?;
    let text = runtime.block_on(async {
        let server = Server::start(&found, Options::default()).await?;
        let config = Config::new(server.url(server.database())).deadline(Duration::from_mins(1));
        let text = record_shapes(&config).await;
        server.stop().await?;
        anyhow::Ok(text?)
    })?;
    Ok(vec![Generated {
        path: "migrations/schema.json",
        text,
    }])
}
