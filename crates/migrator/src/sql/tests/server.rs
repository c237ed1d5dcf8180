//! Where statements end, compared with a real server: a whole text in one message gives what its statements, as the scanner cut them,
//! give one by one.

use std::pin::pin;

use futures_util::StreamExt;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use testkit::postgres::empty_database;
use tokio_postgres::{Client, SimpleQueryMessage};

use crate::sql::{Problem, scan};

/// Names of the columns, then rows.
type Answer = Vec<Vec<String>>;

/// What each statement of a message answered, up to the error that ended it.
async fn ask(client: &Client, sql: &str) -> (Vec<Answer>, Option<String>) {
    let (mut answers, mut answer) = (Vec::new(), Answer::new());
    let stream = client.simple_query_raw(sql).await.unwrap();
    let mut stream = pin!(stream);
    while let Some(message) = stream.next().await {
        match message {
            Ok(SimpleQueryMessage::RowDescription(columns)) => {
                let names = columns.iter().map(|column| column.name().to_owned());
                answer.push(names.collect());
            }
            Ok(SimpleQueryMessage::Row(row)) => {
                let values = (0..row.len()).map(|column| format!("{:?}", row.get(column)));
                answer.push(values.collect());
            }
            Ok(_) => answers.push(std::mem::take(&mut answer)),
            Err(error) => {
                let server = error.as_db_error().expect("the server answers");
                return (answers, Some(server.message().to_owned()));
            }
        }
    }
    (answers, None)
}

/// The settings in which the texts are read, each the statement before them.
fn settings() -> impl Strategy<Value = &'static str> {
    prop_oneof![
        4 => Just("SET standard_conforming_strings = on"),
        1 => Just("SET standard_conforming_strings = off"),
    ]
}

/// What stands inside quotes, apart from the quotes.
fn content() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just(";"),
        Just("--"),
        Just("/*"),
        Just("*/"),
        Just("\""),
        Just("$$"),
        Just("$a$"),
        Just("\n"),
        Just("é"),
        Just("\u{a0}"),
        Just("a b"),
        Just("END"),
        Just("("),
        Just(")"),
    ];
    prop::collection::vec(piece, 0..5).prop_map(|pieces| pieces.concat())
}

fn space() -> impl Strategy<Value = &'static str> {
    prop_oneof![
        4 => Just(" "),
        1 => Just("\n"),
        1 => Just("\u{c}\r\t"),
        1 => Just(" -- ; ' \" $$ /*\n"),
        1 => Just("--;\r"),
        1 => Just("/* ; ' -- */"),
        1 => Just("/* a /* ; */ b; */"),
        1 => Just("/**/"),
    ]
}

fn escaped() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("\\'"),
        Just("\\\\"),
        Just("''"),
        Just(";"),
        Just("\\n"),
        Just("\n"),
        Just("é")
    ];
    prop::collection::vec(piece, 0..5).prop_map(|pieces| pieces.concat())
}

/// An expression, of which nearly all are valid.
fn expression() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => content().prop_map(|text| format!("'{text}'")),
        2 => escaped().prop_map(|text| format!("E'{text}'")),
        1 => (escaped(), space(), escaped()).prop_map(|(a, space, b)| format!("e'{a}'{space}\n'{b}'")),
        1 => (content(), space(), content()).prop_map(|(a, space, b)| format!("'{a}'{space}\n'{b}'")),
        // Mostly an error, and then of both.
        1 => escaped().prop_map(|text| format!("'{text}'")),
        2 => content().prop_map(|text| format!("$${text}$$")),
        2 => content().prop_map(|text| format!("$é_1${text}$é_1$")),
        1 => content().prop_map(|text| format!("$a$ {text} $ $ab$ $a$")),
        1 => content().prop_map(|text| format!("1 AS \"{}\"", text.replace('"', "\"\""))),
        1 => Just("1 AS a$b$c".to_owned()),
        1 => Just("1 AS é\u{a0}b".to_owned()),
        1 => Just("1 AS\u{a0}".to_owned()),
        1 => Just("U&'d\\0061;t'".to_owned()),
        1 => Just("1 AS U&\"d\\0061;t\"".to_owned()),
        1 => Just("N'a;' || B'01'::text || X'1F'::text".to_owned()),
        1 => Just("1$$;$$".to_owned()),
        1 => Just("1.5 + .5 + 1e3 - 1.e-2".to_owned()),
        1 => Just("0x1F + 1_000".to_owned()),
        1 => (space(), space()).prop_map(|(a, b)| format!("1 +{a}2 *{b}3")),
        1 => Just("1 */* ; */ 2".to_owned()),
        1 => Just("CASE WHEN true THEN ';' END".to_owned()),
        1 => content().prop_map(|text| format!("(SELECT '{text}')")),
    ]
}

fn statement() -> impl Strategy<Value = String> {
    let select = (
        space(),
        prop::collection::vec((expression(), space()), 1..4),
    )
        .prop_map(|(space, items)| {
            let items = items
                .into_iter()
                .map(|(item, space)| format!("{item}{space}"));
            format!("SELECT{space}{}", items.collect::<Vec<_>>().join(", "))
        });
    prop_oneof![
        12 => select,
        1 => (space(), content()).prop_map(|(space, text)| format!(
            "CREATE OR REPLACE FUNCTION pg_temp.f() RETURNS text{space}LANGUAGE sql BEGIN{space}ATOMIC; SELECT CASE WHEN true THEN '{text}' END; SELECT '{text}'::text AS end; END"
        )),
        1 => content().prop_map(|text| format!(
            "CREATE OR REPLACE FUNCTION pg_temp.g(\"begin\" text, atomic text) RETURNS text LANGUAGE sql AS $f$ SELECT '{text}' $f$"
        )),
        1 => content().prop_map(|text| format!(
            "CREATE OR REPLACE RULE r AS ON INSERT TO t DO ALSO (SELECT '{text}'; SELECT (1); DELETE FROM t)"
        )),
        1 => Just(String::new()),
        // Something that opens, closes or ends where nothing is expected.
        1 => prop_oneof![Just("'"), Just("\""), Just("$$"), Just("/*"), Just("*/"), Just("("), Just(")"), Just("\\"), Just("$"), Just("END")]
            .prop_map(str::to_owned),
    ]
}

fn text() -> impl Strategy<Value = String> {
    prop::collection::vec((statement(), space()), 0..6).prop_map(|statements| {
        let statements = statements
            .into_iter()
            .map(|(statement, space)| format!("{statement}{space}"));
        statements.collect::<Vec<_>>().join(";")
    })
}

async fn compare(client: &Client, setting: &str, text: &str) -> Result<(), TestCaseError> {
    client.batch_execute(setting).await.unwrap();
    // A message without any statement is answered too.
    let text = &format!("SELECT 1;{text}");
    let (answers, error) = ask(client, text).await;
    let with_setting = format!("{setting};{text}");
    let scanned = scan(&with_setting);
    let (mut one_by_one, mut first_error) = (Vec::new(), None);
    for statement in &scanned.statements[1..] {
        let (mut answer, error) = ask(client, statement.text).await;
        prop_assert!(
            answer.len() <= 1,
            "{:?} is several statements",
            statement.text
        );
        one_by_one.append(&mut answer);
        if error.is_some() {
            first_error = error;
            break;
        }
    }
    match &error {
        None => {
            prop_assert_eq!(&one_by_one, &answers);
            prop_assert_eq!(first_error, None);
            prop_assert_eq!(scanned.problem, None);
        }
        Some(message) => {
            // A comment at the end belongs to no statement.
            let comment = matches!(scanned.problem, Some((_, Problem::Open("comment"))));
            prop_assert!(
                first_error.is_some() || comment,
                "the whole is refused: {}",
                message
            );
            if message.starts_with("unterminated") {
                let open = matches!(
                    scanned.problem,
                    Some((_, Problem::Open(_) | Problem::Backslash))
                );
                prop_assert!(open, "the server says: {}", message);
            }
        }
    }
    Ok(())
}

#[test]
fn statements_end_where_the_server_ends_them() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    let database = runtime.block_on(empty_database());
    let client = runtime.block_on(database.connect());
    let prepared = client.batch_execute("CREATE TEMP TABLE t (a text); SET escape_string_warning = off; SET client_min_messages = error");
    runtime.block_on(prepared).unwrap();
    let config = Config {
        cases: 1000,
        failure_persistence: None,
        ..Config::default()
    };
    TestRunner::new(config)
        .run(&(settings(), text()), |(setting, text)| {
            runtime.block_on(compare(&client, setting, &text))
        })
        .unwrap_or_else(|failure| panic!("{failure}"));
}
