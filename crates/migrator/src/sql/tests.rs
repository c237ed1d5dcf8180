mod server;

use super::{Control, Kind, Problem, identifier, scan, statements, tokens};

fn texts(sql: &str) -> Vec<&str> {
    statements(sql)
        .into_iter()
        .map(|statement| statement.text)
        .collect()
}

#[test]
fn a_semicolon_inside_a_literal_or_comment_ends_nothing() {
    assert_eq!(
        texts("SELECT ';' ; -- one; two\n/* a; /* nested; */ b; */ SELECT E'\\';' , \"a;b\" ;;"),
        ["SELECT ';'", "SELECT E'\\';' , \"a;b\""]
    );
    assert_eq!(
        texts("SELECT 'it''s; one'; SELECT 2"),
        ["SELECT 'it''s; one'", "SELECT 2"]
    );
}

#[test]
fn a_dollar_quoted_body_is_one_statement() {
    let sql = "DO $x$ BEGIN PERFORM 1; PERFORM $$a;b$$; END $x$; SELECT $1; SELECT a$b$c;";
    assert_eq!(
        texts(sql),
        [
            "DO $x$ BEGIN PERFORM 1; PERFORM $$a;b$$; END $x$",
            "SELECT $1",
            "SELECT a$b$c"
        ]
    );
}

#[test]
fn a_body_in_plain_sql_is_one_statement() {
    let sql = "CREATE FUNCTION f() RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT CASE WHEN true THEN 1 END; SELECT 2; END; SELECT 3";
    assert_eq!(texts(sql).len(), 2);
    assert_eq!(
        texts("CREATE RULE r AS ON INSERT TO t DO (SELECT 1; SELECT 2); SELECT 3").len(),
        2
    );
}

#[test]
fn what_is_left_open_is_found_where_it_begins() {
    for (sql, at, what) in [
        ("SELECT 'open; SELECT 2", 7, "quote"),
        ("SELECT E'a\\'; SELECT 2", 7, "quote"),
        ("SELECT $a$ open $$; SELECT 2", 7, "dollar quote"),
        ("SELECT \"a; SELECT 2", 7, "double quote"),
        ("/* /etc/cron.d/* */", 0, "comment"),
    ] {
        let found = scan(sql).problem;
        assert_eq!(found, Some((at, Problem::Open(what))), "{sql}");
        assert_eq!(tokens(sql).last().unwrap().range.end, sql.len());
    }
    assert_eq!(scan("SELECT 1 -- 'it").problem, None);
}

#[test]
fn what_no_server_reads_is_found() {
    let problem = |sql| scan(sql).problem.map(|(_, problem)| problem);
    assert_eq!(problem("\\restrict x\nSELECT 1;"), Some(Problem::Backslash));
    assert_eq!(problem("SELECT '\\a', E'\\b' -- \\c"), None);
}

#[test]
fn an_escape_string_goes_on_with_escapes_after_a_newline() {
    assert_eq!(
        texts("SELECT E'a' -- and\n 'b\\'c;' ; SELECT 2"),
        ["SELECT E'a' -- and\n 'b\\'c;'", "SELECT 2"]
    );
    assert_eq!(texts("SELECT E'a', 'b\\' ; SELECT 2").len(), 2);
}

#[test]
fn only_the_servers_white_space_separates() {
    assert_eq!(tokens("SELECT\u{a0}1").len(), 1);
    assert_eq!(tokens("SELECT\u{b}\u{c}1").len(), 2);
}

#[test]
fn a_comment_begins_inside_an_operator() {
    assert_eq!(texts("SELECT 1 +-- ; \n 2; SELECT 3").len(), 2);
    assert_eq!(texts("SELECT 1 */* ; */ 2; SELECT 3").len(), 2);
}

#[test]
fn rows_of_a_copy_are_no_sql() {
    let sql = "COPY t FROM STDIN; -- rows\n1\tit's; one\n\\N\t\n\\.\nSELECT 2;";
    let found = scan(sql);
    assert_eq!(found.problem, None);
    assert_eq!(
        texts(sql),
        ["COPY t FROM STDIN", "SELECT 2"],
        "the rows are none"
    );
    assert_eq!(found.statements[0].rows, Some("1\tit's; one\n\\N\t\n"));
    assert_eq!(
        (found.statements[1].rows, found.statements[1].line),
        (None, 4)
    );
    for without in [
        "COPY t FROM STDIN",
        "COPY t FROM STDIN; SELECT 1;\n\\.\n",
        "COPY t FROM STDIN;\n1\n",
    ] {
        let (_, problem) = scan(without).problem.unwrap();
        assert_eq!(problem, Problem::NoRows, "{without}");
    }
    assert!(statements("COPY t TO STDOUT")[0].copies_out);
    assert!(!statements("COPY t FROM '/stdin'")[0].copies_out);
}

#[test]
fn backslashes_escape_where_a_statement_before_said_so() {
    for off in [
        "SET standard_conforming_strings = off",
        "SET LOCAL standard_conforming_strings TO 'off'",
        "SELECT pg_catalog.set_config('standard_conforming_strings', 'off', false)",
    ] {
        let sql = format!("{off}; SELECT 'it\\'s;'; RESET ALL; SELECT 'a\\'; SELECT 2");
        let found = scan(&sql);
        assert_eq!(found.statements.len(), 5, "{sql}");
        assert!(found.changes_escapes);
    }
    let on = scan("SET standard_conforming_strings = on; SELECT 'a\\'; SELECT 2");
    assert_eq!((on.statements.len(), on.changes_escapes), (3, false));
}

#[test]
fn what_a_statement_does_to_its_transaction_is_known() {
    let control = |sql: &str| statements(sql)[0].control();
    assert_eq!(
        control("begin isolation level serializable"),
        Some(Control::Begin)
    );
    assert_eq!(control("END"), Some(Control::Commit));
    assert_eq!(control("ABORT WORK"), Some(Control::Rollback));
    assert_eq!(control("PREPARE TRANSACTION 'a'"), Some(Control::TwoPhase));
    assert_eq!(control("ROLLBACK PREPARED 'a'"), Some(Control::TwoPhase));
    for allowed in [
        "ROLLBACK TO a",
        "SAVEPOINT a",
        "RELEASE a",
        "PREPARE p AS SELECT 1",
    ] {
        assert_eq!(control(allowed), None, "{allowed}");
    }
}

#[test]
fn lines_and_tokens_of_a_long_text_are_found_in_one_pass() {
    let sql = "INSERT INTO t VALUES ('a\nb');\n".repeat(1000);
    let found = scan(&sql);
    assert_eq!(found.statements.len(), 1000);
    assert_eq!(found.statements[999].line, 1998);
    let ends = found.tokens.iter().filter(|token| token.kind == Kind::End);
    assert_eq!(ends.count(), 1000);
}

#[test]
fn statements_that_need_no_transaction_around_them_are_known() {
    let refused = |sql: &str| statements(sql)[0].refuses_transaction();
    assert!(refused(
        "create unique index concurrently if not exists i on t (a)"
    ));
    assert!(refused("ALTER TABLE t DETACH PARTITION p CONCURRENTLY"));
    assert!(refused("VACUUM t"));
    assert!(refused("REINDEX (VERBOSE) SCHEMA s"));
    assert!(refused("CLUSTER"));
    assert!(refused("DISCARD ALL"));
    assert!(refused("DROP SUBSCRIPTION s"));
    assert!(refused("ALTER DATABASE d SET TABLESPACE s"));
    assert!(!refused("REINDEX TABLE system"));
    assert!(!refused("CLUSTER t"));
    assert!(!refused("CREATE INDEX i ON t (a)"));
}

#[test]
fn a_name_cannot_end_its_own_quotes() {
    assert_eq!(identifier("e2e_we\"; DROP"), "\"e2e_we\"\"; DROP\"");
}

#[test]
fn a_block_that_only_grants_changes_no_session() {
    let changes = |sql: &str| statements(sql)[0].may_change_session();
    assert!(!changes(
        "DO $$ BEGIN IF EXISTS (SELECT FROM pg_roles) THEN GRANT SELECT ON t TO a; END IF; END $$"
    ));
    for sql in [
        "DO $$ BEGIN SET ROLE a; END $$",
        "DO $$ BEGIN PERFORM f(); END $$",
        "DO $$ BEGIN EXECUTE 'RESET ROLE'; END $$",
        "SELECT f()",
        "DISCARD TEMP",
    ] {
        assert!(changes(sql), "{sql}");
    }
    assert!(!changes("UPDATE t SET a = 1"));
}
