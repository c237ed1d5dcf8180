//! Requests generated from the document's schemas: what breaks them is refused and stores nothing, what fits them never fails.

use std::cell::Cell;
use std::sync::{Arc, LazyLock};

use datastorage::clock::Clock;
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use reqwest::Method;
use reqwest::header::{AUTHORIZATION, HeaderValue};
use serde_json::{Map, Value, json};
use testkit::postgres::{Database, database};
use tokio::runtime::Handle;

use crate::contract::{self, DOCUMENT};
use crate::support::{Answer, SOON, Service, TOKEN, TOKEN_FILE, send, token_file};

/// Cases for each operation.
const CASES: u32 = 100;

/// Times are relative to this, so that a case stays what it is while it is shrunk.
static STARTED: LazyLock<jiff::Timestamp> = LazyLock::new(jiff::Timestamp::now);

const ANYTHING: [&str; 12] = [
    "null",
    "true",
    "-1",
    "1.5",
    "1e300",
    "99999999999",
    "\"\"",
    "\"x\"",
    "\"2026-13-45T99:99:99Z\"",
    "[]",
    "[[]]",
    "{}",
];

/// Stands in a generated value for a number that serde's own numbers cannot hold, written as it is.
const NUMBER: (&str, &str) = ("<number ", ">");

/// The text of a body, with the numbers as they are to be sent.
fn written(body: &Value) -> String {
    let (begin, end) = (format!("\"{}", NUMBER.0), format!("{}\"", NUMBER.1));
    body.to_string().replace(&begin, "").replace(&end, "")
}

/// Numbers from the whole range of JSON, which has no bound: also absurd exponents and very many digits.
fn number() -> BoxedStrategy<Value> {
    let exponent = prop_oneof![
        -400_i64..400,
        any::<i64>(),
        select(vec![-325_i64, -324, 308, 309, 16_383, 131_072])
    ];
    let exact = prop_oneof![
        any::<i64>().prop_map(|number| number.to_string()),
        any::<u128>().prop_map(|number| number.to_string()),
        any::<f64>()
            .prop_filter("JSON has no others", |number| number.is_finite())
            .prop_map(|number| format!("{number:e}")),
        (1_usize..17_000).prop_map(|digits| "9".repeat(digits)),
        (1_usize..17_000).prop_map(|digits| format!("-0.{}1", "0".repeat(digits))),
        (any::<i32>(), exponent, select(vec!["e", "E", "e+"])).prop_map(
            |(mantissa, exponent, e)| {
                let e = if exponent < 0 { "e" } else { e };
                format!("{mantissa}{e}{exponent}")
            }
        ),
    ];
    let (begin, end) = NUMBER;
    exact
        .prop_map(move |number| Value::String(format!("{begin}{number}{end}")))
        .boxed()
}

/// Any value, a few levels deep.
fn anything() -> BoxedStrategy<Value> {
    let leaf = prop_oneof![
        2 => select(ANYTHING.map(|text| serde_json::from_str::<Value>(text).expect("JSON")).to_vec()),
        2 => number(),
        1 => text(0, 20),
        1 => time(),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            btree_map(".{0,9}", inner, 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
    .boxed()
}

/// Times of all years that can be written, in all zones.
fn time() -> BoxedStrategy<Value> {
    let year = prop_oneof![
        0_i64..=9999,
        select(vec![
            -1_i64, 0, 1, 9999, 10_000, 294_276, 294_277, -4713, 999_999
        ])
    ];
    (year, 0..14_u8, 0..33_u8, 0..26_u8, 0..62_u8, any::<u32>(), -25..26_i8)
        .prop_map(|(year, month, day, hour, minute, fraction, zone)| {
            let sign = if zone < 0 { '-' } else { '+' };
            let zone = zone.unsigned_abs();
            json!(format!(
                "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:00.{fraction}{sign}{zone:02}:00"
            ))
        })
        .boxed()
}

/// Bodies that are no JSON, or JSON that jsonb cannot hold.
const BROKEN: [&str; 11] = [
    "",
    "{",
    "[{]",
    "nul",
    "\u{0}",
    "\"\\ud800\"",
    "1e999",
    "{\"a\": 1",
    "{\"a\": 1}}",
    "[1, 2",
    "\u{feff}{}",
];

/// An operation of the document with a body.
#[derive(Debug, Clone)]
struct Operation {
    method: Method,
    path: String,
    schema: Value,
}

/// All operations that take a body; those on one workflow are for `workflow_id`.
fn operations(workflow_id: &str) -> Vec<Operation> {
    let mut operations = Vec::new();
    for (template, item) in DOCUMENT["paths"].as_object().expect("paths") {
        for (method, operation) in item.as_object().expect("methods") {
            let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
            if !schema.is_null() {
                operations.push(Operation {
                    method: Method::from_bytes(method.to_uppercase().as_bytes()).expect("a method"),
                    path: template.replace("{workflow_id}", workflow_id),
                    schema: schema.clone(),
                });
            }
        }
    }
    assert_eq!(operations.len(), 7);
    operations
}

fn text(least: usize, most: usize) -> BoxedStrategy<Value> {
    let character = any::<char>().prop_filter("no U+0000", |character| *character != '\0');
    // Both ends of the range matter most.
    let length = prop_oneof![3 => least..=most.min(least + 12), 1 => Just(most.min(300))];
    length
        .prop_flat_map(move |length| vec(character.clone(), length))
        .prop_map(|characters| Value::String(characters.into_iter().collect()))
        .boxed()
}

/// Values that fit a schema.
fn fitting(schema: &Value) -> BoxedStrategy<Value> {
    let schema = contract::resolve(schema);
    if let Some(forms) = schema["oneOf"].as_array() {
        return proptest::strategy::Union::new(forms.iter().map(fitting)).boxed();
    }
    if let Some(words) = schema["enum"].as_array() {
        return select(words.clone()).boxed();
    }
    let kind = schema["type"]
        .as_str()
        .or_else(|| schema["type"][0].as_str());
    let number = |name: &str, or: i64| schema[name].as_i64().unwrap_or(or);
    let length = |name: &str, or: usize| {
        schema[name]
            .as_u64()
            .map_or(or, |length| usize::try_from(length).expect("small"))
    };
    match (kind.expect("a type"), schema["format"].as_str()) {
        ("string", Some("uuid")) => any::<u128>()
            .prop_map(|id| json!(uuid::Uuid::from_u128(id)))
            .boxed(),
        ("string", Some("date-time")) => (0..3600_i64)
            .prop_map(|age| json!((*STARTED - jiff::SignedDuration::from_secs(age)).to_string()))
            .boxed(),
        ("string", _) => text(length("minLength", 0), length("maxLength", 400)),
        ("integer", _) => (number("minimum", i32::MIN.into())..=number("maximum", i32::MAX.into()))
            .prop_map(Value::from)
            .boxed(),
        ("number", _) => (0.0..=1.0).prop_map(Value::from).boxed(),
        ("boolean", _) => any::<bool>().prop_map(Value::from).boxed(),
        ("array", _) => vec(fitting(&schema["items"]), length("minItems", 0)..4)
            .prop_map(Value::from)
            .boxed(),
        ("object", _) => object(schema),
        (kind, _) => panic!("no values of type {kind}"),
    }
}

fn object(schema: &Value) -> BoxedStrategy<Value> {
    let Some(properties) = schema["properties"].as_object() else {
        let member = match &schema["additionalProperties"] {
            Value::Object(_) => fitting(&schema["additionalProperties"]),
            _ => prop_oneof![
                3 => select(
                    ANYTHING
                        .map(|text| serde_json::from_str::<Value>(text).expect("JSON"))
                        .to_vec(),
                ),
                1 => anything(),
            ]
            .boxed(),
        };
        return btree_map("[a-zA-Z.é ]{0,9}", member, 0..4)
            .prop_map(|members| Value::Object(members.into_iter().collect()))
            .boxed();
    };
    let none = Vec::new();
    let required = schema["required"].as_array().unwrap_or(&none);
    let members: Vec<_> = properties
        .iter()
        .map(|(name, property)| {
            let name = name.clone();
            let value = fitting(property);
            let value = if required.contains(&json!(name)) {
                value.prop_map(Some).boxed()
            } else {
                proptest::option::weighted(0.3, value).boxed()
            };
            value.prop_map(move |value| value.map(|value| (name.clone(), value)))
        })
        .collect();
    members
        .prop_map(|members| Value::Object(members.into_iter().flatten().collect::<Map<_, _>>()))
        .boxed()
}

/// Every place in a value that can be changed, as a pointer.
fn places(value: &Value, at: &str, found: &mut Vec<String>) {
    let inner: Vec<(String, &Value)> = match value {
        Value::Object(members) => members
            .iter()
            .map(|(name, value)| (name.replace('~', "~0").replace('/', "~1"), value))
            .collect(),
        Value::Array(items) => items
            .iter()
            .enumerate()
            .map(|(index, value)| (index.to_string(), value))
            .collect(),
        _ => Vec::new(),
    };
    found.push(at.to_owned());
    for (name, value) in inner {
        places(value, &format!("{at}/{name}"), found);
    }
}

/// What is done to one place of a fitting body.
#[derive(Debug, Clone)]
enum Fault {
    Remove,
    Replace(Value),
    Lengthen,
    Nul,
}

fn fault() -> impl Strategy<Value = Fault> {
    prop_oneof![
        Just(Fault::Remove),
        select(ANYTHING.to_vec())
            .prop_map(|text| Fault::Replace(serde_json::from_str(text).expect("JSON"))),
        Just(Fault::Lengthen),
        Just(Fault::Nul),
    ]
}

/// Does it; `None` where it cannot be done there.
fn spoil(mut body: Value, place: Index, fault: &Fault) -> Option<Value> {
    let mut found = Vec::new();
    places(&body, "", &mut found);
    let place = &found[place.index(found.len())];
    match fault {
        Fault::Remove => {
            let (parent, name) = place.rsplit_once('/')?;
            body.pointer_mut(parent)?.as_object_mut()?.remove(name)?;
        }
        Fault::Replace(value) => *body.pointer_mut(place)? = value.clone(),
        Fault::Lengthen => {
            let Value::String(text) = body.pointer_mut(place)? else {
                return None;
            };
            *text += &"ä".repeat(2000);
        }
        Fault::Nul => {
            let Value::String(text) = body.pointer_mut(place)? else {
                return None;
            };
            text.push('\0');
        }
    }
    Some(body)
}

/// Bodies that the schema does not allow, and those with U+0000, which the schema cannot express.
fn unfitting(schema: &Value) -> BoxedStrategy<String> {
    let validator = Arc::new(contract::validator(schema));
    let spoiled = (fitting(schema), any::<Index>(), fault()).prop_filter_map(
        "still fits",
        move |(body, place, fault)| {
            let spoiled = spoil(body, place, &fault)?;
            let wrong = matches!(fault, Fault::Nul) || !validator.is_valid(&spoiled);
            wrong.then(|| written(&spoiled))
        },
    );
    let cut = (fitting(schema), any::<Index>()).prop_filter_map("nothing to cut", |(body, end)| {
        let text = written(&body);
        let end = end.index(text.len());
        (end > 0 && text.is_char_boundary(end)).then(|| text[..end].to_owned())
    });
    prop_oneof![6 => spoiled, 1 => cut, 1 => select(BROKEN.to_vec()).prop_map(str::to_owned)]
        .boxed()
}

/// A service over all tables, with one workflow in the catalogue.
struct Fixture {
    service: Service,
    client: reqwest::Client,
    rows: tokio_postgres::Client,
    workflow_id: String,
    _tokens: tempfile::NamedTempFile,
    _database: Database,
}

impl Fixture {
    async fn new() -> Self {
        let database = database("datastorage").await;
        // With a token: without one an operation that always needs it would refuse the caller before the request.
        let tokens = token_file();
        let more = [
            ("DATASTORAGE_SCHEMA_PROFILE", "datastorage"),
            (TOKEN_FILE, tokens.path().to_str().expect("UTF-8")),
        ];
        let service = Service::with(database.url(), Clock::system(), &more).await;
        let proof = HeaderValue::from_str(&format!("Bearer {TOKEN}")).expect("a header");
        let client = reqwest::Client::builder()
            .timeout(SOON)
            .default_headers([(AUTHORIZATION, proof)].into_iter().collect());
        let workflow = json!({
            "workflow_name": "kept", "version": "1", "name": "kept", "description": "stays as it is", "content": "steps: []",
            "content_hash": "a".repeat(64), "execution_engine": "tekton", "status": "active",
            "labels": {"signal_type": "a", "severity": "low", "component": "b", "environment": "c", "priority": "*"}
        });
        let stored = service
            .post("/api/v1/workflows", &workflow)
            .await
            .expect(201)
            .body;
        Self {
            service,
            client: client.build().expect("a client"),
            rows: database.connect().await,
            workflow_id: stored["workflow_id"].as_str().expect("an id").to_owned(),
            _tokens: tokens,
            _database: database,
        }
    }

    /// Rows of each table, and what they hold.
    async fn contents(&self) -> String {
        let sql = "SELECT concat_ws(' ', (SELECT count(*) FROM audit_events), (SELECT count(*) FROM notification_audit),
                       (SELECT md5(string_agg(stored::text, ' ' ORDER BY workflow_id)) FROM remediation_workflow_catalog AS stored))";
        self.rows
            .query_one(sql, &[])
            .await
            .expect("the contents")
            .get(0)
    }

    async fn send(&self, method: &Method, path: &str, body: Option<String>) -> Answer {
        let request = self.client.request(method.clone(), self.service.url(path));
        send(match body {
            Some(body) => request
                .header("content-type", "application/json")
                .body(body),
            None => request,
        })
        .await
    }
}

/// Runs a property for as many values of the strategy as there are cases.
fn holds<T: std::fmt::Debug>(
    strategy: &impl Strategy<Value = T>,
    property: impl AsyncFn(T) -> Result<(), TestCaseError>,
) {
    let config = Config {
        cases: CASES,
        failure_persistence: None,
        max_global_rejects: 100_000,
        max_local_rejects: 1_000_000,
        ..Config::default()
    };
    let run =
        || TestRunner::new(config).run(strategy, |case| Handle::current().block_on(property(case)));
    if let Err(error) = tokio::task::block_in_place(run) {
        panic!("{error}");
    }
}

fn refused(answer: &Answer, before: &str, after: &str) -> Result<(), TestCaseError> {
    prop_assert!(
        matches!(answer.status.as_u16(), 400..=499),
        "not refused: {:?}",
        answer
    );
    prop_assert_eq!(before, after, "something was stored: {:?}", answer);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_breaks_its_schema_is_refused_and_stores_nothing() {
    let fixture = Fixture::new().await;
    for operation in operations(&fixture.workflow_id) {
        let bodies = unfitting(&operation.schema);
        // Of the one operation whose body is optional an empty body is fine.
        let optional = operation.path.ends_with("/disable");
        let bodies =
            bodies.prop_filter("an absent body", move |body| !(optional && body.is_empty()));
        holds(&bodies, async |body| {
            let before = fixture.contents().await;
            let answer = fixture
                .send(&operation.method, &operation.path, Some(body))
                .await;
            refused(&answer, &before, &fixture.contents().await)
        });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_fits_its_schema_is_stored_or_refused_but_never_fails() {
    let fixture = Fixture::new().await;
    for operation in operations(&fixture.workflow_id) {
        let bodies = fitting(&operation.schema).prop_map(|body| written(&body));
        let succeeded = Cell::new(0);
        holds(&bodies, async |body| {
            let answer = fixture
                .send(&operation.method, &operation.path, Some(body))
                .await;
            // Rules between members, such as that a parent exists, are beyond a schema.
            let status = answer.status.as_u16();
            prop_assert!(matches!(status, 200 | 201 | 400 | 409), "{:?}", answer);
            succeeded.set(succeeded.get() + u32::from(status < 300));
            Ok(())
        });
        let succeeded = succeeded.get();
        assert!(succeeded > CASES / 4, "{operation:?}: only {succeeded}");
    }
}

/// A fitting body in which one place holds anything at all.
fn with_anything(schema: &Value) -> BoxedStrategy<String> {
    (fitting(schema), any::<Index>(), anything())
        .prop_map(|(mut body, place, value)| {
            let mut found = Vec::new();
            places(&body, "", &mut found);
            let place = &found[place.index(found.len())];
            if let Some(at) = body.pointer_mut(place) {
                *at = value;
            }
            written(&body)
        })
        .boxed()
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_a_body_holds_it_is_no_failure_of_the_server() {
    let fixture = Fixture::new().await;
    for operation in operations(&fixture.workflow_id) {
        holds(&with_anything(&operation.schema), async |body| {
            let answer = fixture
                .send(&operation.method, &operation.path, Some(body))
                .await;
            prop_assert!(answer.status.as_u16() < 500, "{:?}", answer);
            Ok(())
        });
    }
    // What was accepted can be read.
    for path in [
        "/api/v1/audit/events?limit=1000",
        "/api/v1/workflows?limit=1000",
    ] {
        fixture.send(&Method::GET, path, None).await.expect(200);
    }
}

/// Values of parameters from the whole range of each kind.
fn parameter() -> BoxedStrategy<String> {
    let duration = (
        any::<i64>(),
        select(vec!["ns", "us", "ms", "s", "m", "h", "d", "w", ""]),
    )
        .prop_map(|(number, unit)| format!("{number}{unit}"));
    let cursor = (
        any::<u8>(),
        any::<i64>(),
        any::<u128>(),
        any::<i64>(),
        any::<i64>(),
        any::<u128>(),
    )
        .prop_map(|(version, time, id, total, seen, check)| {
            format!(
                "{}-{time:x}-{id:032x}-{total:x}-{seen:x}-{check:032x}",
                version % 5
            )
        });
    prop_oneof![
        any::<i64>().prop_map(|number| number.to_string()),
        any::<i128>().prop_map(|number| number.to_string()),
        any::<f64>().prop_map(|number| number.to_string()),
        duration,
        time().prop_map(|time| time.as_str().unwrap_or_default().replace('+', "%2B")),
        cursor,
        any::<u128>().prop_map(|id| uuid::Uuid::from_u128(id).to_string()),
        "[a-z0-9%+. -]{0,12}",
    ]
    .boxed()
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_a_parameter_holds_it_is_no_failure_of_the_server() {
    let fixture = Fixture::new().await;
    for (template, item) in DOCUMENT["paths"].as_object().expect("paths") {
        let named: Vec<_> = item["get"]["parameters"]
            .as_array()
            .unwrap_or(&Vec::new())
            .iter()
            .map(|parameter| contract::resolve(parameter).clone())
            .filter(|parameter| parameter["in"] == "query")
            .map(|parameter| parameter["name"].as_str().expect("a name").to_owned())
            .collect();
        if named.is_empty() {
            continue;
        }
        let pairs = vec((select(named), parameter()), 1..5);
        holds(&pairs, async |pairs| {
            let pairs = pairs
                .iter()
                .map(|(name, value)| format!("{name}={}", value.replace(' ', "%20")));
            let query = pairs.collect::<Vec<_>>().join("&");
            let path = format!("{}?{query}", contract::instance(template));
            let answer = fixture.send(&Method::GET, &path, None).await;
            prop_assert!(
                matches!(answer.status.as_u16(), 200 | 400 | 404),
                "{} {:?}",
                path,
                answer
            );
            Ok(())
        });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_of_another_media_type_is_refused() {
    let fixture = Fixture::new().await;
    let before = fixture.contents().await;
    for operation in operations(&fixture.workflow_id) {
        for media_type in ["text/plain", "application/xml", "application/jsonx", "json"] {
            let request = fixture
                .client
                .request(
                    operation.method.clone(),
                    fixture.service.url(&operation.path),
                )
                .header("content-type", media_type)
                .body("{}");
            send(request).await.expect(415);
        }
    }
    assert_eq!(fixture.contents().await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parameter_that_breaks_its_schema_is_refused() {
    let fixture = Fixture::new().await;
    let mut wrong = Vec::new();
    for (template, item) in DOCUMENT["paths"].as_object().expect("paths") {
        for (method, operation) in item.as_object().expect("methods") {
            let method = Method::from_bytes(method.to_uppercase().as_bytes()).expect("a method");
            for parameter in operation["parameters"].as_array().unwrap_or(&Vec::new()) {
                let parameter = contract::resolve(parameter);
                let name = parameter["name"].as_str().expect("a name");
                for value in wrong_values(name, contract::resolve(&parameter["schema"])) {
                    // Without a segment it is another path.
                    if parameter["in"] == "path" && value.is_empty() {
                        continue;
                    }
                    let path = if parameter["in"] == "path" {
                        template.replace(&format!("{{{name}}}"), &value)
                    } else {
                        format!("{}?{name}={value}", contract::instance(template))
                    };
                    wrong.push((method.clone(), path));
                }
            }
        }
    }
    assert!(wrong.len() > 100, "{}", wrong.len());
    let before = fixture.contents().await;
    for (method, path) in wrong {
        let body = (method == Method::PATCH).then(|| "{}".to_owned());
        let answer = fixture.send(&method, &path, body).await;
        assert_eq!(answer.status, 400, "{method} {path}: {answer:?}");
    }
    assert_eq!(fixture.contents().await, before);
}

/// Values, as they stand in a URI, that a parameter's schema or its description does not allow.
fn wrong_values(name: &str, schema: &Value) -> Vec<String> {
    let mut wrong = vec!["%00", "%ff", "%c3%28"];
    match (schema["type"].as_str(), schema["format"].as_str()) {
        (Some("integer"), _) => wrong.extend([
            "",
            "-1",
            "abc",
            "1.5",
            "1e2",
            "0x10",
            "99999999999999999999",
            "-99999999999999999999",
            "%20",
            "1,2",
        ]),
        (_, Some("uuid")) => wrong.extend([
            "x",
            "17",
            "zzzzzzzz-zzzz-zzzz-zzzz-zzzzzzzzzzzz",
            "0193b3a0000070008000000000000000",
            "%7b0193b3a0-0000-7000-8000-000000000000%7d",
        ]),
        _ if schema["enum"].is_array() => wrong.extend(["", "banana", "SUCCESS"]),
        _ if matches!(name, "since" | "until") => wrong.extend([
            "",
            "junk",
            "24",
            "2026-13-01",
            "1e400h",
            "2026-03-01T10:00Z",
            "70000000h",
            "100000000h",
            "-0001-01-01",
        ]),
        _ if name == "cursor" => {
            wrong.extend([
                "",
                "junk",
                "1-0-0-0-0",
                "1-7fffffffffffffff-x-0-0",
                "1-60000000000000-ffffffffffffffffffffffffffffffff-0-7fffffffffffffff",
                "2-60000000000000-ffffffffffffffffffffffffffffffff-0-7fffffffffffffff-0",
            ]);
        }
        _ if name != "workflow_name" => wrong.push(""),
        _ => {}
    }
    let mut wrong: Vec<_> = wrong.into_iter().map(str::to_owned).collect();
    for (bound, beyond) in [("minimum", -1), ("maximum", 1)] {
        wrong.extend(
            schema[bound]
                .as_i64()
                .map(|bound| (bound + beyond).to_string()),
        );
    }
    wrong.extend(
        schema["maxLength"]
            .as_u64()
            .map(|most| "a".repeat(usize::try_from(most).expect("small") + 1)),
    );
    wrong
}
