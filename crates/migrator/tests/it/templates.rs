//! A template is found again only by those who would build the same.

use migrator::{Config, template};

use crate::{files, fresh};

#[tokio::test]
async fn another_header_or_another_ledger_is_another_template() {
    let (database, _) = fresh().await;
    let of = |header: &str, ledger: &str| {
        let second =
            format!("-- provides: table b\n{header}CREATE TABLE IF NOT EXISTS b (i int);\n");
        let catalogue = files(&[
            (
                "0001_a.up.sql",
                "-- provides: table a\nCREATE TABLE IF NOT EXISTS a (i int);\n",
            ),
            ("0001_a.down.sql", "DROP TABLE IF EXISTS a;"),
            ("0002_b.up.sql", &second),
            ("0002_b.down.sql", "DROP TABLE IF EXISTS b;"),
        ]);
        Config::new(database.url(), catalogue).ledger(ledger)
    };
    let mut names = Vec::new();
    for (header, ledger) in [
        ("", "schema_ledger"),
        ("-- requires: a\n", "schema_ledger"),
        ("", "other_ledger"),
    ] {
        let made = template(&of(header, ledger)).await.unwrap();
        assert!(
            !names.contains(&made.name().to_owned()),
            "{header:?} {ledger}"
        );
        names.push(made.name().to_owned());
    }
    let again = template(&of("", "schema_ledger")).await.unwrap();
    assert_eq!(again.name(), names[0]);
}
