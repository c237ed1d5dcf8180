//! A file that does not mean what it seems to say is refused with its line, before anything is sent.

use migrator::{Catalogue, apply};

use crate::{fresh, goose, value};

/// Why a single file `001_t.sql` of this text is refused.
fn refusal(text: &str) -> String {
    let files = [("001_t.sql".to_owned(), text.to_owned())];
    let error = Catalogue::from_goose_files("team", files).expect_err("the file is refused");
    let error = error.to_string();
    let reason = error.strip_prefix("migrations: 001_t.sql: ");
    reason
        .unwrap_or_else(|| panic!("no file is named: {error}"))
        .to_owned()
}

fn refused(text: &str, beginning: &str) {
    let reason = refusal(text);
    assert!(reason.starts_with(beginning), "{text}\n-> {reason}");
}

#[test]
fn a_rollback_that_would_undo_what_is_before_it_is_refused() {
    refused(
        "-- +goose Up\nBEGIN;\nDELETE FROM t;\nROLLBACK;\n",
        "line 4: `ROLLBACK` would undo",
    );
    refused("-- +goose Up\nABORT;\n", "line 2: `ABORT` would undo");
    refused(
        "-- +goose Up\nSELECT 1;\n-- +goose Down\nROLLBACK AND CHAIN;\n",
        "line 4: `ROLLBACK AND CHAIN` would undo",
    );
    refused(
        "-- +goose Up\nPREPARE TRANSACTION 'a';\n",
        "line 2: `PREPARE TRANSACTION 'a'` leaves",
    );
}

#[test]
fn a_commit_that_would_end_something_local_in_the_middle_is_refused() {
    refused(
        "-- +goose Up\nBEGIN;\nSET LOCAL search_path = app;\nCREATE TABLE a ();\nCOMMIT;\nCREATE TABLE b ();\n",
        "line 5: `COMMIT` would end what line 3 does",
    );
    refused(
        "-- +goose Up\nCREATE TEMP TABLE a ON COMMIT DROP AS SELECT 1;\nCOMMIT;\nSELECT 1;\n",
        "line 3: `COMMIT` would end what line 2 does",
    );
    let around = "-- +goose Up\nBEGIN;\nSET LOCAL search_path = app;\nCOMMIT;\n";
    assert_eq!(goose(&[("001_t.sql", around)]).warnings().len(), 2);
}

#[test]
fn a_file_without_transaction_ends_those_that_it_begins() {
    refused(
        "-- +goose NO TRANSACTION\n-- +goose Up\nBEGIN;\nSELECT 1;\n",
        "line 3: `BEGIN` has no COMMIT",
    );
    refused(
        "-- +goose NO TRANSACTION\n-- +goose Up\nBEGIN;\nCOMMIT AND CHAIN;\n",
        "line 4: `COMMIT AND CHAIN` has no COMMIT",
    );
    refused(
        "-- +goose NO TRANSACTION\n-- +goose Up\nBEGIN;\nPREPARE TRANSACTION 'a';\n",
        "line 4: `PREPARE TRANSACTION 'a'` leaves",
    );
    refused(
        "-- +goose NO TRANSACTION\n-- +goose Up\nSELECT 1;\nCOMMIT;\nROLLBACK;\n",
        "line 5: `ROLLBACK` has no BEGIN",
    );
    let ended = "-- +goose NO TRANSACTION\n-- +goose Up\nBEGIN;\nSELECT 1;\nROLLBACK;\n";
    assert!(goose(&[("001_t.sql", ended)]).warnings().is_empty());
}

#[tokio::test]
async fn savepoints_inside_a_file_are_its_own_business() {
    let (database, config) = fresh().await;
    let file = "-- +goose Up\nCREATE TABLE t (a int);\nSAVEPOINT one;\nINSERT INTO t VALUES (1);\n\
                ROLLBACK TO SAVEPOINT one;\nINSERT INTO t VALUES (2);\nRELEASE one;\n";
    apply(&config.catalogue(goose(&[("001_t.sql", file)])))
        .await
        .unwrap();
    assert_eq!(
        value(&database, "SELECT string_agg(a::text, ',') FROM t").await,
        "2"
    );
}

#[test]
fn what_is_left_open_is_refused_where_it_begins() {
    for (text, beginning) in [
        (
            "-- +goose Up\nCREATE TABLE a (x int);\n/* to do\nCREATE TABLE a2 (x int);\n",
            "line 3: this comment is never closed",
        ),
        (
            "-- +goose Up\nSELECT 1; /* /etc/cron.d/* */\n-- +goose Down\n",
            "line 2: this comment",
        ),
        (
            "-- +goose Up\nSELECT 1,\n'it;\n",
            "line 3: this quote is never closed",
        ),
        (
            "-- +goose Up\nSELECT \"a;\n",
            "line 2: this double quote is never closed",
        ),
        (
            "-- +goose Up\nDO $$ BEGIN END $;\n",
            "line 2: this dollar quote is never closed",
        ),
        (
            "-- +goose Up\nSELECT 1;\n-- +goose Down\nSELECT E'\\';\n",
            "line 4: this quote",
        ),
    ] {
        refused(text, beginning);
    }
}

#[test]
fn sql_that_would_not_run_is_refused() {
    refused(
        "-- a remark\nCREATE TABLE early (a int);\n-- +goose Up\nCREATE TABLE t (a int);\n",
        "line 2: this stands before `-- +goose Up`",
    );
    let remarks = "-- a remark\n/* and\nanother */\n\n-- +goose Up\nSELECT 1;\n";
    assert_eq!(goose(&[("001_t.sql", remarks)]).migrations().len(), 1);
}

#[test]
fn psqls_commands_are_refused_by_name() {
    for (command, instead) in [
        (
            "\\restrict x7",
            "`\\restrict` is a command of psql, not SQL; remove the line",
        ),
        ("\\copy t from 'a.csv'", "write COPY … FROM STDIN"),
        ("\\i other.sql", "put that file's statements in its place"),
        (
            "  \\connect other",
            "a migration runs in the database of the run",
        ),
        ("\\.", "it ends the rows of no COPY"),
    ] {
        let reason = refusal(&format!(
            "-- +goose Up\nSELECT 1;\n{command}\nSELECT E'\\n';\n"
        ));
        assert!(reason.starts_with("line 3: "), "{reason}");
        assert!(reason.contains(instead), "{reason}");
    }
}

#[test]
fn annotations_that_say_nothing_are_refused_on_their_line() {
    for (text, beginning) in [
        ("-- +goose Down\n", "line 1: `-- +goose Down` stands before"),
        (
            "\n-- +goose StatementBegin\n",
            "line 2: `-- +goose StatementBegin` stands before",
        ),
        (
            "-- +goose Up\n-- +goose Up\n",
            "line 2: `-- +goose Up` is the second one",
        ),
        (
            "-- +goose Up\n-- +goose Down\n-- +goose DOWN\n",
            "line 3: `-- +goose DOWN` is the second one",
        ),
        (
            "-- +goose Up\n-- +goose Upp\n",
            "line 2: `-- +goose Upp` is unknown",
        ),
        (
            "-- +goose Up\n-- +goose StatementEnd\n",
            "line 2: `-- +goose StatementEnd` ends no",
        ),
        (
            "-- +goose Up\n-- +goose StatementBegin\nSELECT 1;\n",
            "line 2: `-- +goose StatementBegin` is never ended",
        ),
        (
            "-- +goose Up\n-- +goose StatementBegin\nSELECT 1;\n-- +goose Down\n",
            "line 4: `-- +goose Down` stands inside the StatementBegin of line 2",
        ),
        ("SELECT 1;\n", "line 1: no `-- +goose Up` section"),
    ] {
        refused(text, beginning);
    }
}

#[test]
fn a_nul_is_refused_and_a_byte_order_mark_is_none_of_the_text() {
    refused("-- +goose Up\nSELECT 1; -- \0\n", "line 2: it holds a NUL");
    let marked = "\u{feff}-- +goose Up\nCREATE TABLE t (a int);\n-- +goose Down\nDROP TABLE t;\n";
    let marked = goose(&[("001_t.sql", marked)]);
    assert!(marked.migrations()[0].down.is_some());
    let own = Catalogue::from_files(
        "shop",
        [
            (
                "0001_t.up.sql",
                "\u{feff}-- provides: table t\nCREATE TABLE IF NOT EXISTS t ();",
            ),
            ("0001_t.down.sql", "DROP TABLE t;"),
        ],
        "",
    );
    assert!(own.unwrap().migrations()[0].up.starts_with("--"));
}

#[test]
fn files_of_the_own_format_are_read_as_strictly() {
    let own = |up: &str| {
        let files = [
            ("0001_t.up.sql", up.to_owned()),
            ("0001_t.down.sql", "DROP TABLE t;".to_owned()),
        ];
        let files = files.iter().map(|(name, text)| (*name, text.as_str()));
        Catalogue::from_files("shop", files, "")
            .map(drop)
            .map_err(|error| error.to_string())
    };
    let provides = "-- provides: table t\n";
    for (up, says) in [
        (
            "SELECT 'it;",
            "0001_t.up.sql: line 2: this quote is never closed",
        ),
        ("\\i x", "0001_t.up.sql: line 2: `\\i` is a command of psql"),
        (
            "SELECT 1;\nROLLBACK;",
            "0001_t.up.sql: line 3: the engine opens and ends transactions itself",
        ),
    ] {
        let error = own(&format!("{provides}{up}")).unwrap_err();
        assert!(error.contains(says), "{error}");
    }
}

#[test]
fn what_changes_nothing_about_a_migration_is_no_change_of_its_file() {
    let checksum = |text: &str| {
        goose(&[("001_t.sql", text)]).migrations()[0]
            .checksum
            .clone()
    };
    let file = checksum("-- +goose Up\nCREATE TABLE t (a int);\nCREATE TABLE u ();\n");
    for same in [
        "-- +goose Up\r\nCREATE TABLE t (a int);\r\nCREATE TABLE u ()\r\n",
        "-- +goose Up\nCREATE TABLE t (a int);\nCREATE TABLE u ();\n;\n-- remark\n",
        "-- +goose NO TRANSACTION\n-- +goose Up\nCREATE  TABLE t (a int);CREATE TABLE u ();",
    ] {
        assert_eq!(checksum(same), file, "{same}");
    }
    for other in [
        "-- +goose Up\ncreate TABLE t (a int);\nCREATE TABLE u ();\n",
        "-- +goose Up\nCREATE TABLE t (a int);;\nCREATE TABLE u\u{a0}();\n",
    ] {
        assert_ne!(checksum(other), file, "{other}");
    }
}
