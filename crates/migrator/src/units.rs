//! The steps of a migration outside a transaction: what is sent alone, what stays together, and by what each is known.

use crate::catalogue::checksum;
use crate::sql::{self, Control, Statement};

/// What is done or not done as a whole.
#[derive(Clone, Debug)]
pub(crate) struct Unit<'a> {
    pub(crate) statements: Vec<Statement<'a>>,
    pub(crate) kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// One statement that means the same inside a transaction.
    Ordinary,
    /// One statement that PostgreSQL refuses inside a transaction, or that may end one: sent alone.
    Alone,
    /// The file's own BEGIN … COMMIT.
    Block,
    /// The file's own BEGIN … ROLLBACK, or a transaction whose end does not only commit it.
    Undone,
}

impl Unit<'_> {
    /// What the ledger knows the step by.
    pub(crate) fn checksum(&self) -> String {
        let texts = self
            .statements
            .iter()
            .flat_map(|statement| [statement.text, statement.rows.unwrap_or_default()]);
        checksum(&texts.collect::<Vec<_>>().join(
            ";
",
        ))
    }

    /// Whether a part of it may be committed when it is cut.
    pub(crate) fn may_commit(&self) -> bool {
        let first = self.statements.first();
        self.kind == Kind::Undone
            || first.is_some_and(|first| first.begins(&["CALL"]) || first.begins(&["DO"]))
    }
}

/// The steps of a text, in order.
///
/// # Errors
/// The offset of a BEGIN that no COMMIT follows.
pub(crate) fn units(text: &str) -> Result<Vec<Unit<'_>>, usize> {
    let mut units = Vec::new();
    let mut open: Option<Vec<Statement<'_>>> = None;
    for statement in sql::statements(text) {
        let control = statement.control();
        match &mut open {
            Some(block) => block.push(statement),
            None if control == Some(Control::Begin) => open = Some(vec![statement]),
            None => units.push(Unit {
                kind: if is_ordinary(&statement) {
                    Kind::Ordinary
                } else {
                    Kind::Alone
                },
                statements: vec![statement],
            }),
        }
        if let Some(statements) = open.take_if(|block| ends(block)) {
            let kind = kind(&statements);
            units.push(Unit { statements, kind });
        }
    }
    match open.as_deref() {
        Some([begin, ..]) => Err(begin.start),
        _ => Ok(units),
    }
}

/// The first of the done steps, counted from 0, that is not in its place any more.
pub(crate) fn changed(units: &[Unit<'_>], done: &[String]) -> Option<usize> {
    let mut done = done.iter().enumerate();
    done.find(|(step, checksum)| {
        units
            .get(*step)
            .is_none_or(|unit| unit.checksum() != **checksum)
    })
    .map(|(step, _)| step)
}

/// Whether the last statement leaves no transaction open.
fn ends(block: &[Statement<'_>]) -> bool {
    let last = block.last().filter(|last| !last.chains());
    let control = last.and_then(Statement::control);
    control.is_some_and(|control| control != Control::Begin)
}

/// Whether the block is committed as a whole, by its last statement.
fn kind(block: &[Statement<'_>]) -> Kind {
    let commits = block.last().and_then(Statement::control) == Some(Control::Commit);
    let chains = block.iter().any(Statement::chains);
    if commits && !chains {
        Kind::Block
    } else {
        Kind::Undone
    }
}

/// Statements that never end a transaction; whatever else there is, now or in a later PostgreSQL, is sent alone.
fn is_ordinary(statement: &Statement<'_>) -> bool {
    const ORDINARY: [&str; 19] = [
        "ALTER", "COMMENT", "COPY", "CREATE", "DELETE", "DROP", "GRANT", "IMPORT", "INSERT",
        "LOCK", "MERGE", "REFRESH", "RESET", "REVOKE", "SECURITY", "SELECT", "SET", "TRUNCATE",
        "UPDATE",
    ];
    let first = statement.words.first().map(String::as_str);
    let is_known = |first: &str| {
        ORDINARY.contains(&first) || first == "WITH" || first == "DO" && is_one_piece(statement)
    };
    first.is_some_and(is_known) && !statement.refuses_transaction()
}

/// Whether a DO block holds none of the words by which it could end a transaction, in itself or in what it calls.
fn is_one_piece(block: &Statement<'_>) -> bool {
    let enders = ["commit", "rollback", "call", "execute"];
    enders.iter().all(|word| !sql::contains(block.text, word))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(text: &str) -> Vec<Kind> {
        units(text).unwrap().iter().map(|unit| unit.kind).collect()
    }

    #[test]
    fn what_may_end_a_transaction_is_sent_alone() {
        let text = "CREATE TABLE t (a int); CALL p(); DO $$ BEGIN COMMIT; END $$; DO $$ BEGIN NULL; END $$; REINDEX SCHEMA public; DISCARD ALL; CREATE INDEX CONCURRENTLY i ON t (a)";
        assert_eq!(
            kinds(text),
            [
                Kind::Ordinary,
                Kind::Alone,
                Kind::Alone,
                Kind::Ordinary,
                Kind::Alone,
                Kind::Alone,
                Kind::Alone
            ]
        );
    }

    #[test]
    fn the_file_s_own_transaction_is_one_step_and_keeps_its_end() {
        let text = "BEGIN; CREATE TABLE t (a int); COMMIT; BEGIN; DELETE FROM t; ROLLBACK; START TRANSACTION; SAVEPOINT s; ROLLBACK TO s; END";
        assert_eq!(kinds(text), [Kind::Block, Kind::Undone, Kind::Block]);
        assert_eq!(units(text).unwrap()[2].statements.len(), 4);
    }

    #[test]
    fn a_transaction_that_nothing_ends_is_found() {
        assert_eq!(units("SELECT 1;\nBEGIN; SELECT 2").unwrap_err(), 10);
    }

    #[test]
    fn a_step_is_known_by_its_tokens() {
        let checksum = |text: &str| units(text).unwrap()[0].checksum();
        assert_eq!(checksum("SELECT 1 -- one"), checksum("SELECT\n  1;"));
        assert_ne!(checksum("SELECT 1"), checksum("SELECT 2"));
    }
}
