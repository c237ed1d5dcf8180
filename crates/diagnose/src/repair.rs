//! Carries out what an examination proposes.

use migrator::examine::{Run, Session, locked};
use migrator::{Config, Error, apply, ensure_partitions};

use crate::cause::Repair;

/// Carries out the steps of findings, each in a transaction of its own and under the migration lock, in their order. What a person
/// decides is left to that person: nothing here drops or rewrites what is there, and nobody's session is ended.
///
/// # Errors
/// As [`apply`]; [`Error::Database`] for a step that the server refuses.
pub async fn repair(config: &Config, steps: &[Repair]) -> Result<(), Error> {
    for step in steps {
        let sql = match step {
            Repair::Migrate => {
                apply(config).await?;
                continue;
            }
            Repair::Partitions => {
                ensure_partitions(config).await?;
                continue;
            }
            Repair::Manual(_) | Repair::Person(_) => continue,
            Repair::Sql(sql) => sql.clone(),
            Repair::Files(files) => {
                let of_files = config
                    .migrations()
                    .migrations()
                    .iter()
                    .filter(|migration| files.contains(&migration.file));
                let texts: Vec<&str> = of_files.map(|migration| migration.up.as_str()).collect();
                texts.join("\n;\n")
            }
        };
        Run::bounded(config, |run| async move {
            let session = Session::open(&run).await?;
            let message = format!("{}; BEGIN; {sql}\n; COMMIT", session.settings());
            let done = locked(&run, &session, "repairing", &message)
                .await
                .map(drop);
            session.close().await;
            done
        })
        .await?;
    }
    Ok(())
}
