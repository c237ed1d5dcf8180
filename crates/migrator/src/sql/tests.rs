use super::{identifier, statements, tokens};

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
fn an_unterminated_literal_runs_to_the_end() {
    assert_eq!(texts("SELECT 'open; SELECT 2"), ["SELECT 'open; SELECT 2"]);
    assert_eq!(
        texts("SELECT $a$ open; SELECT 2"),
        ["SELECT $a$ open; SELECT 2"]
    );
    assert_eq!(tokens("/* open").len(), 1);
}

#[test]
fn statements_that_need_no_transaction_around_them_are_known() {
    let refused = |sql: &str| statements(sql)[0].refuses_transaction();
    assert!(refused(
        "create unique index concurrently if not exists i on t (a)"
    ));
    assert!(refused("ALTER TABLE t DETACH PARTITION p CONCURRENTLY"));
    assert!(refused("VACUUM t"));
    assert!(!refused("CREATE INDEX i ON t (a)"));
    assert!(statements("COMMIT AND CHAIN")[0].controls_transaction());
    assert!(!statements("ROLLBACK TO SAVEPOINT a")[0].controls_transaction());
}

#[test]
fn a_name_cannot_end_its_own_quotes() {
    assert_eq!(identifier("e2e_we\"; DROP"), "\"e2e_we\"\"; DROP\"");
}
