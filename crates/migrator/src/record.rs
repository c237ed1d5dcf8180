//! Makes the record of shapes: what each migration leaves, recorded on an empty database.

use crate::apply::apply;
use crate::catalogue::Catalogue;
use crate::config::Config;
use crate::error::Error;
use crate::history::History;
use crate::ledger;
use crate::selection::Selection;
use crate::session::{Run, Session};
use crate::shape;

/// Applies every migration, one by one, to an empty database, and returns the text of `schema.json`.
///
/// The text is the same on every supported major version of PostgreSQL.
///
/// # Errors
/// As [`crate::apply`].
pub async fn record_shapes(config: &Config) -> Result<String, Error> {
    let catalogue = Catalogue::clone(&config.catalogue).without_shapes();
    let mut history = History::default();
    for (index, migration) in catalogue.migrations().iter().enumerate() {
        let so_far = catalogue.only_first(index + 1);
        let step = config.clone().catalogue(so_far).select(Selection::all());
        apply(&step).await?;
        let objects: Vec<String> = migration.provides.iter().map(ToString::to_string).collect();
        let shapes = Run::bounded(&step, |run| async move {
            let session = Session::open(&run).await?;
            session
                .query("setting up the session", &ledger::settings(session.names()))
                .await?;
            let shapes = shape::read(&session, &run.config.catalogue, &objects).await;
            session.close().await;
            shapes
        })
        .await?;
        history.insert(migration, shapes);
    }
    Ok(history.to_json())
}
