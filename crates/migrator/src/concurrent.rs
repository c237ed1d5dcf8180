//! What a statement with CONCURRENTLY leaves behind when it is cut, found in the catalogue and put right.
//!
//! An index whose build was interrupted stays and is invalid; CREATE INDEX CONCURRENTLY IF NOT EXISTS would then succeed and leave it
//! so. Facts: <https://www.postgresql.org/docs/current/sql-createindex.html#SQL-CREATEINDEX-CONCURRENTLY>,
//! <https://www.postgresql.org/docs/current/sql-reindex.html#SQL-REINDEX-CONCURRENTLY>,
//! <https://www.postgresql.org/docs/current/sql-altertable.html#SQL-ALTERTABLE-DETACH-PARTITION>.

use std::time::Duration;

use tokio::time::sleep;
use tokio_postgres::Error;

use crate::report::Event;
use crate::rows::text;
use crate::session::{Run, Session};
use crate::sql::{Statement, literal};
use crate::words::Words;

/// How often a build of another session is looked at.
const PAUSE: Duration = Duration::from_millis(100);

/// A statement that works in several transactions of its own. Names are as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Concurrent {
    CreateIndex {
        name: Option<String>,
        table: String,
    },
    DropIndex {
        name: String,
    },
    /// Tables whose indexes are rebuilt, as a condition on `pg_index i` joined with `pg_class t`, its table.
    Reindex {
        indexes: String,
    },
    Detach {
        parent: String,
        partition: String,
    },
}

impl Concurrent {
    /// What the statement is, if it is one of these.
    pub(crate) fn of(statement: &Statement<'_>) -> Option<Self> {
        let mut words = Words::of(statement);
        if words.take(&["CREATE"]) {
            words.take(&["UNIQUE"]);
            if !words.take(&["INDEX", "CONCURRENTLY"]) {
                return None;
            }
            words.take(&["IF", "NOT", "EXISTS"]);
            let name = if words.is_at("ON") {
                None
            } else {
                words.name()
            };
            words.take(&["ON"]);
            words.take(&["ONLY"]);
            return Some(Self::CreateIndex {
                name,
                table: words.name()?,
            });
        }
        if words.take(&["DROP", "INDEX", "CONCURRENTLY"]) {
            words.take(&["IF", "EXISTS"]);
            return Some(Self::DropIndex {
                name: words.name()?,
            });
        }
        if words.take(&["REINDEX"]) {
            return reindex(words);
        }
        if words.take(&["ALTER", "TABLE"]) {
            words.take(&["IF", "EXISTS"]);
            words.take(&["ONLY"]);
            let parent = words.name()?;
            let partition = words
                .take(&["DETACH", "PARTITION"])
                .then(|| words.name())??;
            return words
                .take(&["CONCURRENTLY"])
                .then_some(Self::Detach { parent, partition });
        }
        None
    }

    /// Puts right what an interrupted attempt left; true if the statement's effect is there already. `begun` says that an earlier
    /// run began this very statement and did not see its end.
    pub(crate) async fn before(
        &self,
        run: &Run,
        session: &Session,
        begun: bool,
    ) -> Result<bool, Error> {
        match self {
            Self::CreateIndex {
                name: Some(name),
                table,
            } => {
                for index in self.named(run, session, name, table).await? {
                    if index.valid {
                        return Ok(begun);
                    }
                    drop_invalid(run, session, &index.name).await?;
                }
                Ok(false)
            }
            Self::CreateIndex { name: None, table } if begun => {
                run_free_of_builders(run, session, &format!("to_regclass({})", literal(table)))
                    .await?;
                Ok(false)
            }
            Self::DropIndex { name } if begun => {
                let there = format!("SELECT to_regclass({}) IS NOT NULL", literal(name));
                Ok(!is_true(session, &there).await?)
            }
            Self::Reindex { indexes } if begun => {
                for name in invalid(session, &left_by_rebuild(indexes)).await? {
                    drop_invalid(run, session, &name).await?;
                }
                Ok(false)
            }
            Self::Detach { parent, partition } if begun => {
                let edge = format!(
                    "SELECT coalesce((SELECT inhdetachpending::text FROM pg_inherits WHERE inhparent = to_regclass({}) AND inhrelid = to_regclass({})), 'none')",
                    literal(parent),
                    literal(partition)
                );
                let sets = session.try_query(&edge).await?;
                match sets.iter().flatten().next().and_then(|row| row.get(0)) {
                    Some("true") => {
                        let finalize =
                            format!("ALTER TABLE {parent} DETACH PARTITION {partition} FINALIZE");
                        session.try_query(&finalize).await?;
                        let what = format!(
                            "finished detaching {partition} from {parent}, which an earlier run had begun"
                        );
                        run.config.emit(&Event::Repaired { what });
                        Ok(true)
                    }
                    Some("none") => Ok(true),
                    _ => Ok(false),
                }
            }
            _ => Ok(false),
        }
    }

    /// Why the statement's effect is not there although the server reported success, if so.
    pub(crate) async fn after(
        &self,
        run: &Run,
        session: &Session,
    ) -> Result<Option<String>, Error> {
        match self {
            Self::CreateIndex {
                name: Some(name),
                table,
            } => {
                let found = self.named(run, session, name, table).await?;
                Ok(match found.as_slice() {
                    [] => Some(format!(
                        "index {name} is not there; another relation of that name is in the way"
                    )),
                    [index] if index.valid => None,
                    _ => Some(format!("index {name} is invalid")),
                })
            }
            // The name was the server's choice: an earlier attempt's index differs from the new one in nothing but its name.
            Self::CreateIndex { name: None, table } => {
                let twins = format!(
                    "i.indrelid = to_regclass({}) AND EXISTS (SELECT FROM pg_index v WHERE v.indrelid = i.indrelid AND v.indisvalid \
                     AND v.indexrelid > i.indexrelid AND {} = {})",
                    literal(table),
                    definition("i"),
                    definition("v")
                );
                for name in invalid(session, &twins).await? {
                    drop_invalid(run, session, &name).await?;
                }
                Ok(None)
            }
            Self::Reindex { indexes } => {
                let left = invalid(session, &left_by_rebuild(indexes)).await?;
                Ok(left.first().map(|name| format!("index {name} is invalid")))
            }
            Self::DropIndex { .. } | Self::Detach { .. } => Ok(None),
        }
    }

    /// The index of that name in the schema of its table, on that table, once no other session builds one there.
    async fn named(
        &self,
        run: &Run,
        session: &Session,
        name: &str,
        table: &str,
    ) -> Result<Vec<Index>, Error> {
        let query = format!(
            "SELECT i.indexrelid::regclass, i.indisvalid FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid \
             WHERE i.indrelid = to_regclass({}) AND c.relname = (parse_ident({}))[1]",
            literal(table),
            literal(name)
        );
        let indexes = read(session, &query).await?;
        if indexes.iter().all(|index| index.valid) {
            return Ok(indexes);
        }
        run_free_of_builders(run, session, &format!("to_regclass({})", literal(table))).await?;
        read(session, &query).await
    }
}

/// Of these indexes, those that a rebuild makes beside the old ones, or leaves of them.
fn left_by_rebuild(indexes: &str) -> String {
    format!("{indexes} AND c.relname ~ '_cc(new|old)[0-9]*$'")
}

/// The text of an index's definition without its name.
fn definition(index: &str) -> String {
    format!("regexp_replace(pg_get_indexdef({index}.indexrelid), 'INDEX .* ON ', 'INDEX ON ')")
}

struct Index {
    name: String,
    valid: bool,
}

async fn read(session: &Session, query: &str) -> Result<Vec<Index>, Error> {
    let sets = session.try_query(query).await?;
    let index = |row: &tokio_postgres::SimpleQueryRow| Index {
        name: text(row, 0),
        valid: row.get(1) == Some("t"),
    };
    Ok(sets.iter().flatten().map(index).collect())
}

async fn invalid(session: &Session, condition: &str) -> Result<Vec<String>, Error> {
    let query = format!(
        "SELECT i.indexrelid::regclass, false FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid \
         JOIN pg_class t ON t.oid = i.indrelid WHERE NOT i.indisvalid AND t.relkind <> 'p' AND {condition}"
    );
    let found = read(session, &query).await?;
    Ok(found.into_iter().map(|index| index.name).collect())
}

async fn is_true(session: &Session, query: &str) -> Result<bool, Error> {
    let sets = session.try_query(query).await?;
    let row = sets.iter().flatten().next();
    Ok(row.is_some_and(|row| row.get(0) == Some("t")))
}

async fn drop_invalid(run: &Run, session: &Session, name: &str) -> Result<(), Error> {
    session
        .try_query(&format!("DROP INDEX CONCURRENTLY IF EXISTS {name}"))
        .await?;
    run.config.emit(&Event::Repaired {
        what: format!("dropped index {name}, which an interrupted build left invalid"),
    });
    Ok(())
}

/// Waits until no other session builds an index on the table: its index is invalid too, and not ours to drop. The run's deadline
/// bounds the wait.
async fn run_free_of_builders(run: &Run, session: &Session, table: &str) -> Result<(), Error> {
    let query = format!(
        "SELECT l.pid FROM pg_locks l WHERE l.relation = {table} AND l.mode = 'ShareUpdateExclusiveLock' AND l.granted \
         AND l.pid <> pg_backend_pid() AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    );
    loop {
        let sets = session.try_query(&query).await?;
        let Some(row) = sets.iter().flatten().next() else {
            return Ok(());
        };
        run.enter(format!(
            "waiting for pid {}, which works on the same table's indexes",
            text(row, 0)
        ));
        sleep(PAUSE).await;
    }
}

/// What follows REINDEX.
fn reindex(mut words: Words<'_>) -> Option<Concurrent> {
    let mut concurrently = false;
    if words.take(&["("]) {
        while !words.take(&[")"]) {
            concurrently |= words.is_at("CONCURRENTLY");
            words.next()?;
        }
    }
    let kind = words.next()?.to_ascii_uppercase();
    concurrently |= words.take(&["CONCURRENTLY"]);
    let name = words.name();
    let of = |name: Option<String>| name.map(|name| literal(&name));
    let indexes = match kind.as_str() {
        "INDEX" => format!(
            "i.indrelid = (SELECT indrelid FROM pg_index WHERE indexrelid = to_regclass({}))",
            of(name)?
        ),
        "TABLE" => format!(
            "(i.indrelid = to_regclass({0}) OR i.indrelid IN (SELECT relid FROM pg_partition_tree(to_regclass({0}))))",
            of(name)?
        ),
        "SCHEMA" => format!("t.relnamespace = to_regnamespace({})", of(name)?),
        _ => "t.relpersistence <> 't'".to_owned(),
    };
    concurrently.then_some(Concurrent::Reindex { indexes })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql;

    fn of(text: &str) -> Option<Concurrent> {
        Concurrent::of(&sql::statements(text)[0])
    }

    fn create(name: Option<&str>, table: &str) -> Concurrent {
        Concurrent::CreateIndex {
            name: name.map(str::to_owned),
            table: table.to_owned(),
        }
    }

    #[test]
    fn an_index_is_known_by_its_name_and_its_table_however_it_is_written() {
        assert_eq!(
            of("CREATE INDEX CONCURRENTLY i ON t (a)"),
            Some(create(Some("i"), "t"))
        );
        assert_eq!(
            of(
                "create unique index concurrently if not exists \"I 1\" on only app . t using btree (a)"
            ),
            Some(create(Some("\"I 1\""), "app.t"))
        );
        assert_eq!(
            of("CREATE INDEX CONCURRENTLY ON t (a)"),
            Some(create(None, "t"))
        );
        assert_eq!(of("CREATE INDEX i ON t (a)"), None);
    }

    #[test]
    fn every_other_statement_with_the_word_is_known_too() {
        assert_eq!(
            of("DROP INDEX CONCURRENTLY IF EXISTS app.i"),
            Some(Concurrent::DropIndex {
                name: "app.i".to_owned()
            })
        );
        assert_eq!(
            of("ALTER TABLE IF EXISTS ONLY t DETACH PARTITION app.p CONCURRENTLY"),
            Some(Concurrent::Detach {
                parent: "t".to_owned(),
                partition: "app.p".to_owned()
            })
        );
        assert!(matches!(
            of("REINDEX (VERBOSE, CONCURRENTLY) TABLE t"),
            Some(Concurrent::Reindex { .. })
        ));
        assert!(matches!(
            of("REINDEX SCHEMA CONCURRENTLY public"),
            Some(Concurrent::Reindex { .. })
        ));
        assert_eq!(of("REINDEX TABLE t"), None);
        assert_eq!(of("ALTER TABLE t DETACH PARTITION p"), None);
    }
}
