//! The table of services for those who write one: its schema says what the tool reads, `services --check` says all that is wrong with
//! it, and it is told whose rows are used.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::team::{STORAGE, Team, entry};
use crate::{output, xtask};

/// Every field, in each way that it can be written.
const WHOLE: &str = r#"
[[part]]
name = "operator"
needs = ["postgres", "datastorage"]

[[part]]
name = "valkey"
namespace = "shared"
needs = ["operator"]
images = [{ name = "valkey/valkey:8", archive = "valkey.tar" }, { name = "localhost/w:${TAG:-e2e}", build = "." }, { name = "redis:7" }]
manifests = [
  "deploy", "https://example.io/release.yaml", { file = "raw.yaml", verbatim = true }, { file = "other.yaml" },
  { run = ["helm", "template", "${NAMESPACE}"], dir = "hack" },
  { chart = "charts/x", release = "x", repository = "https://example.io", version = "1", values = ["v.yaml"], set = { "a.b" = "${NAMESPACE}", "a.c" = 1 } },
]
ready = [
  "app=valkey", "other/app=valkey", { crd = "widgets.example.io" }, { rollout = "deployment/x", namespace = "other" },
  { webhook = "validating/x" }, { secret = "other/name" }, { http = "/healthz", on = "VALKEY_URL" }, { tcp = "VALKEY_URL" },
  { run = ["sh", "-c", "true"] },
]
publish = [{ env = "VALKEY_URL", service = "valkey", namespace = "other", port = 6379, scheme = "redis", host = 6379, integration = 16379 }]
process = ["valkey-server", "--port", "${port:VALKEY_URL}"]
ready_path = "/healthz"
env = { LEVEL = "${NAMESPACE}" }
passwords = ["VALKEY_PASSWORD"]
certificates = [{ secret = "tls", namespace = "other", hosts = ["valkey.${NAMESPACE}.svc"] }]
mounts = [{ host = "fixtures", node = "/fixtures" }]
restarts = 2
deadlines = { images = 1800, apply = 120, ready = 600 }

[[service]]
name = "widget"
profile = "gateway"
namespace = "widget"
components = ["postgres", "datastorage", "own"]
replicas = 2
callers = "token"
ports = { policy = "fixed", datastorage = 8081, service = 8080 }
integration = { postgres = 15441, datastorage = 18097 }
parts = ["valkey"]
alone = true
before = [["kubectl", "apply", "-f", "samples"], { run = ["./seed.sh"], name = "seed", dir = "hack", deadline_seconds = 60 }]
after = [{ run = ["./gather.sh"] }]
suite = { command = ["ginkgo", "./test"], dir = "test", junit = "report.xml", deadline_seconds = 300 }
images = [{ name = "localhost/widget:e2e" }]
manifests = ["deploy"]
ready = ["app=widget"]
publish = [{ env = "WIDGET_URL" }]
process = ["./widget"]
ready_path = "/healthz"
env = { LEVEL = "debug" }
passwords = ["WIDGET_PASSWORD"]
certificates = [{ secret = "tls", hosts = ["widget"] }]
mounts = [{ host = "fixtures", node = "/more" }]
restarts = 1
deadlines = { images = 1800 }

[kubernetes]
"1.34" = "kindest/node:v1.34.4"
"v1.32.8" = "registry.example/node:v1.32.8"
"#;

/// What is wrong in it, each with what takes the place of what.
const WRONG: [(&str, &str); 30] = [
    ("\"1.34\" =", "\"2.34\" ="),
    ("\"1.34\" =", "\"1.034\" ="),
    ("= \"kindest/node:v1.34.4\"", "= \" \""),
    ("name = \"valkey\"", "name = \"Valkey\""),
    ("name = \"valkey\"\n", ""),
    ("namespace = \"shared\"", "namespace = \"-\""),
    ("needs = [\"operator\"]", "needs = \"operator\""),
    (
        "archive = \"valkey.tar\"",
        "archive = \"v.tar\", build = \".\"",
    ),
    ("archive = \"valkey.tar\"", "file = \"v.tar\""),
    ("verbatim = true", "verbatim = \"yes\""),
    (
        "dir = \"hack\" },\n  { chart",
        "cwd = \"hack\" },\n  { chart",
    ),
    ("values = [\"v.yaml\"]", "value = [\"v.yaml\"]"),
    ("{ crd = ", "{ kind = "),
    (
        "{ webhook = \"validating/x\" }",
        "{ webhook = \"validating/x\", on = \"X\" }",
    ),
    ("{ secret = \"other/name\" }", "{ secret = [\"name\"] }"),
    ("env = \"VALKEY_URL\", ", ""),
    ("env = \"VALKEY_URL\", ", "env = \"9\", "),
    ("port = 6379", "port = 66379"),
    ("\"valkey-server\"", "6"),
    ("passwords = [\"VALKEY_PASSWORD\"]", "passwords = [\"a b\"]"),
    ("hosts = [\"widget\"]", "host = [\"widget\"]"),
    ("node = \"/fixtures\"", "node = \"fixtures\""),
    ("restarts = 2", "restarts = -1"),
    ("ready = 600", "start = 600"),
    ("parts = [\"valkey\"]", "parts = \"valkey\""),
    ("alone = true", "alone = 1"),
    ("name = \"seed\"", "title = \"seed\""),
    (
        "after = [{ run = [\"./gather.sh\"] }]",
        "after = [{ run = \"./gather.sh\" }]",
    ),
    ("callers = \"token\"", "callers = \"nobody\""),
    ("restarts = 1", "unknown = 1"),
];

fn schema() -> Value {
    serde_json::from_str(include_str!("../../../kind/services.schema.json")).expect("JSON")
}

fn is_valid(table: &str) -> bool {
    let schema = jsonschema::validator_for(&schema()).expect("a schema");
    schema.is_valid(&toml::from_str::<Value>(table).expect("TOML"))
}

#[test]
fn every_field_is_taken_by_the_schema_and_the_tool_and_each_wrong_one_by_neither() {
    let team = Team::new(&[]);
    let read = |table: &str| {
        fs::write(team.dir.path().join("services.toml"), table).expect("a table");
        team.run(&["services"])
    };
    let (code, _, stderr) = read(WHOLE);
    assert!(is_valid(WHOLE) && code == 0, "{stderr}");
    for (from, to) in WRONG {
        let wrong = WHOLE.replacen(from, to, 1);
        assert_ne!(wrong, WHOLE, "{from} is not in it");
        assert!(!is_valid(&wrong), "the schema takes {to}");
        let (code, _, stderr) = read(&wrong);
        assert_eq!(code, 2, "the tool takes {to}: {stderr}");
    }
    // Builds without Docker, and several suites.
    for (from, to) in [
        (
            "archive = \"valkey.tar\"",
            "build = { go = \"./cmd/x\", dir = \"m\", args = [\"-x\"], env = { A = \"b\" } }",
        ),
        (
            "archive = \"valkey.tar\"",
            "build = { cargo = \"x\", bin = \"y\", dir = \"w\", args = [\"--locked\"] }",
        ),
        (
            "archive = \"valkey.tar\"",
            "build = { files = { \"/app\" = \"bin/app\" }, entrypoint = [\"/app\"] }",
        ),
        (
            "build = \".\"",
            "build = \".\", dockerfile = \"x.Dockerfile\", args = { A = \"b\" }, target = \"runtime\"",
        ),
        (
            "archive = \"valkey.tar\"",
            "archive = \"valkey.tar\", prepared = true",
        ),
        (
            "suite = { command",
            "suite = { name = \"full\", retries = 1, filter = [\"--focus\", \"${FILTER}\"], beside = true, in = \"job\", image = \"x\", command",
        ),
        (
            "suite = {",
            "suite = [{ name = \"smoke\", command = [\"true\"] }, {",
        ),
    ] {
        let mut more = WHOLE.replacen(from, to, 1);
        if to.starts_with("suite = [") {
            more = more.replace("deadline_seconds = 300 }", "deadline_seconds = 300 }]");
        }
        assert!(is_valid(&more), "the schema does not take {to}");
    }
}

#[test]
fn the_schema_has_every_field_of_the_tool_s_structs_with_a_description_and_no_other() {
    let structs = structs();
    let names: Vec<&String> = structs.keys().collect();
    assert!(names.len() > 15, "{names:?}");
    let mut objects = BTreeMap::new();
    let schema = schema();
    for (name, definition) in schema["definitions"].as_object().expect("definitions") {
        collect(name, definition, &mut objects);
    }
    for (name, fields) in &structs {
        let mut known = objects.values();
        assert!(
            known.any(|object| object == fields),
            "no object of the schema has the fields of {name}: {fields:?}"
        );
    }
    for (name, fields) in &objects {
        assert!(
            structs.values().any(|known| known == fields),
            "no struct of the tool has the fields of {name}: {fields:?}"
        );
    }
    let undescribed = undescribed("", &schema["definitions"]);
    assert_eq!(undescribed, Vec::<String>::new());
}

/// The properties of each object in a schema, by its place.
fn collect(place: &str, schema: &Value, objects: &mut BTreeMap<String, BTreeSet<String>>) {
    if let Some(properties) = schema["properties"].as_object() {
        objects.insert(place.to_owned(), properties.keys().cloned().collect());
        for (name, property) in properties {
            collect(&format!("{place}/{name}"), property, objects);
        }
    }
    for (at, one) in schema["anyOf"].as_array().into_iter().flatten().enumerate() {
        collect(&format!("{place}/{at}"), one, objects);
    }
}

/// The properties that an editor has nothing to say of.
fn undescribed(place: &str, schema: &Value) -> Vec<String> {
    let mut found = Vec::new();
    match schema {
        Value::Object(fields) => {
            for (name, value) in fields {
                let place = format!("{place}/{name}");
                for (property, value) in value
                    .as_object()
                    .filter(|_| name == "properties")
                    .into_iter()
                    .flatten()
                {
                    if !value["description"].is_string() {
                        found.push(format!("{place}/{property}"));
                    }
                }
                found.extend(undescribed(&place, value));
            }
        }
        Value::Array(items) => {
            let items = items.iter().enumerate();
            found.extend(items.flat_map(|(at, item)| undescribed(&format!("{place}/{at}"), item)));
        }
        _ => {}
    }
    found
}

/// The fields of each struct that a table is read into, by the names that tables have for them.
fn structs() -> BTreeMap<String, BTreeSet<String>> {
    let mut structs = BTreeMap::new();
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/e2e-runner/src/table");
    for file in fs::read_dir(dir).expect("the table's modules").flatten() {
        let text = fs::read_to_string(file.path()).expect("a source");
        let text = text.split("#[cfg(test)]").next().unwrap_or_default();
        for item in text.split("\n#[derive(").skip(1) {
            let item = item.split("\n}\n").next().unwrap_or_default();
            let Some((head, body)) = item.split_once(" {\n") else {
                continue;
            };
            let is_read = head.contains("Deserialize") && head.contains("deny_unknown_fields");
            let Some((_, name)) = head.split_once("struct ").filter(|_| is_read) else {
                continue;
            };
            structs.insert(name.to_owned(), fields(body));
        }
    }
    structs
}

fn fields(body: &str) -> BTreeSet<String> {
    let mut fields = BTreeSet::new();
    let (mut renamed, mut skipped) = (None, false);
    for line in body.lines().map(str::trim) {
        if let Some(attribute) = line.strip_prefix("#[serde(") {
            skipped |= attribute.starts_with("skip");
            let name = attribute
                .split_once("rename = \"")
                .and_then(|(_, name)| name.split('"').next());
            renamed = renamed.or(name.map(str::to_owned));
        } else if let Some((name, _)) = line.split_once(": ").filter(|_| !line.starts_with('/')) {
            let name = name.strip_prefix("pub ").unwrap_or(name);
            if !std::mem::take(&mut skipped) {
                fields.insert(renamed.take().unwrap_or_else(|| name.to_owned()));
            }
        }
    }
    fields
}

#[test]
fn a_check_says_every_fault_with_its_line_and_makes_nothing() {
    let good = entry(
        "good",
        &format!("{STORAGE}, \"own\""),
        "manifests = [\"deploy.yaml\"]\nparts = [\"lookup\"]",
        "true",
    );
    let lookup = "[[part]]\nname = \"lookup\"\npublish = [{ env = \"LOOKUP_URL\" }]\nmanifests = [\"lookup.yaml\"]\n";
    let team = Team::new(&[good.clone(), lookup.to_owned()]);
    let write =
        |name: &str, text: &str| fs::write(team.dir.path().join(name), text).expect("a file");
    let table = |text: &str| write("services.toml", text);
    write("deploy.yaml", "a: ${LOOKUP_URL}\n");
    write("lookup.yaml", "a: ${NAMESPACE}\n");
    let file = team.dir.path().join("services.toml").display().to_string();
    let check = |args: &[&str]| {
        output(
            xtask(&[&["services", "--check", &file], args].concat()).current_dir(team.dir.path()),
        )
    };
    let (code, said, stderr) = check(&[]);
    assert_eq!(code, 0, "{said}{stderr}");
    assert_eq!(
        said,
        format!(
            "{file}: nothing is wrong with the service good and the part lookup: fields, files, programs and names\n"
        )
    );

    // What a run would find, with nothing made.
    write(
        "deploy.yaml",
        "a: ${LOOKUP_URL}\nb: ${LOKUP_URL} ${OTHER}\n# ${COMMENT}\n",
    );
    fs::remove_file(team.dir.path().join("lookup.yaml")).expect("a file");
    let bad = good
        .replace("profile = \"gateway\"", "profile = \"gatewy\"")
        .replace("command = [\"sh\"", "command = [\"no-such-program\"")
        + "before = [[\"./seed.sh\", \"${SEED}\"]]\n";
    table(&[&bad, lookup].concat());
    let (code, said, _) = check(&[]);
    assert_eq!(code, 2, "{said}");
    let deploy = team.dir.path().join("deploy.yaml").display().to_string();
    for told in [
        &*format!("{file}, line 1: the service `good`: no profile or group is called gatewy"),
        &*format!("{file}, line 1: the service `good`: its suite: `no-such-program`"),
        &*format!("{file}, line 1: the service `good`: its seed.sh: `./seed.sh`"),
        &*format!("{file}, line 10: `good`: nothing is named ${{SEED}}"),
        &*format!("{deploy}, line 2: nothing is named ${{LOKUP_URL}}"),
        &*format!("{deploy}, line 2: nothing is named ${{OTHER}}"),
        &*format!("{file}, line 11: the part `lookup`: its manifest"),
        "hint: did you mean `gateway`?",
        "services.toml: 7 faults",
    ] {
        assert!(said.contains(told), "{told}: {said}");
    }
    assert!(!said.contains("COMMENT"), "{said}");

    // What cannot be read, all of it: two fields of one entry, an entry that is wrong as a whole, a part that nobody has.
    table(
        &[
            &good
                .replace("ports = {}", "ports = 1\nalone = 1")
                .replace("[\"lookup\"]", "[\"lookup\", \"other\"]"),
            "[[part]]\nname = \"Lookup\"\npasswords = [\"a b\"]\n[[parts]]\n",
            lookup,
        ]
        .concat(),
    );
    let (code, said, _) = check(&["--format", "json"]);
    assert_eq!(code, 2, "{said}");
    let document: Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!(
        (&document["exit"], &document["result"]["table"]),
        (&json!(2), &json!(file))
    );
    let faults = document["result"]["faults"].as_array().expect("faults");
    let told = |fault: &Value| fault["what"].as_str().expect("a text").to_owned();
    for (fault, words) in faults.iter().zip([
        ["line 6", "invalid type: integer `1`"],
        ["line 7", "invalid type: integer `1`"],
        ["line 11", "part `Lookup`: name must be"],
        ["line 11", "part `Lookup`: `a b` is no name"],
        [
            "line 14",
            "unknown field `parts`, expected `part` or `service` or `clusters` or `kubernetes`",
        ],
    ]) {
        assert!(
            words.iter().all(|word| told(fault).contains(word)),
            "{words:?}: {fault}"
        );
        assert!(fault["next"].is_string(), "{fault}");
    }
    assert_eq!(faults.len(), 5, "{said}");
    assert_eq!(team.place.states(), Vec::<Value>::new());
}

#[test]
fn the_schema_is_printed_as_it_is_published() {
    let (code, said, _) = output(&mut xtask(&["services", "--schema"]));
    assert_eq!(
        (code, &*said),
        (0, include_str!("../../../kind/services.schema.json"))
    );
}

#[test]
fn what_a_row_in_the_place_of_a_built_in_one_leaves_out_is_told_and_whose_rows_are_used() {
    let mut row = entry("workflowexecution", STORAGE, "parts = [\"lookup\"]", "true");
    let part = "[[part]]\nname = \"lookup\"\n[[part]]\nname = \"unused\"\n";
    let team = Team::new(&[row.clone(), part.to_owned()]);
    let file = team.dir.path().join("services.toml").display().to_string();
    let lost = format!(
        "{file}, line 1: `workflowexecution` takes the whole place of the one of kind/services.toml, and leaves out: \
         component \"unmigrated\", callers = \"token\", integration, ports.datastorage"
    );
    let (code, said, _) = team.run(&["services", "--check"]);
    assert_eq!(code, 0, "{said}");
    assert!(
        said.contains(&format!("note: {lost}\n"))
            && said.contains("no service uses the part `unused`"),
        "{said}"
    );
    let (_, said, _) = team.run(&["services"]);
    let whose = format!("rows of {file}: workflowexecution (in the place of the built-in one)");
    let lookup = format!("{:<24} {file} workflowexecution\n", "lookup");
    assert!(
        said.contains(&lost) && said.contains(&whose) && said.contains(&lookup),
        "{said}"
    );
    let (_, said, _) = team.run(&["doctor"]);
    assert!(said.contains(&format!("warning  services           built-in rows of kind/services.toml, as the tool was built; {whose}; {lost}")), "{said}");
    // A run does not repeat it.
    let (_, said, stderr) = team.run(&["e2e", "workflowexecution", "--target", "local", "--plan"]);
    assert!(
        !said.contains("leaves out") && !stderr.contains("leaves out"),
        "{said}{stderr}"
    );

    row = row.replace("ports = {}", "ports = { datastorage = 8081 }\ncallers = \"token\"\nintegration = { postgres = 15441, datastorage = 18097 }");
    row = row.replace("\"datastorage\"]", "\"datastorage\", \"unmigrated\"]");
    fs::write(&file, [&*row, part].concat()).expect("a table");
    let (_, said, _) = team.run(&["services", "--check"]);
    assert!(!said.contains("leaves out"), "{said}");
}

#[test]
fn in_another_checkout_the_tool_uses_that_checkout_s_table() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let write = |name: &str, text: &str| {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().expect("a directory")).expect("directories");
        fs::write(path, text).expect("a file");
    };
    write(
        "Cargo.toml",
        "[workspace]\nresolver = \"3\"\nmembers = [\"xtask\", \"crates/e2e-runner\"]\n",
    );
    for member in ["xtask", "crates/e2e-runner"] {
        let name = member.replace('/', "-");
        write(
            &format!("{member}/Cargo.toml"),
            &format!("[package]\nname = \"{name}\"\nedition = \"2024\"\n"),
        );
        write(&format!("{member}/src/lib.rs"), "");
    }
    let built_in = include_str!("../../../kind/services.toml");
    let table = built_in.replace("name = \"gateway\"", "name = \"gateway-of-tomorrow\"");
    write("kind/services.toml", &table);
    write("deep/below/file", "");
    let run = |args: &[&str]| output(xtask(args).current_dir(dir.path().join("deep/below")));
    let path = dir
        .path()
        .canonicalize()
        .expect("a path")
        .join("kind/services.toml");
    let (code, said, stderr) = run(&["services"]);
    assert_eq!(code, 0, "{stderr}");
    assert!(
        said.contains("gateway-of-tomorrow")
            && said.contains(&format!("built-in rows of {}\n", path.display())),
        "{said}"
    );
    let (_, said, _) = run(&["doctor"]);
    assert!(
        said.contains(&format!("built-in rows of {}", path.display())),
        "{said}"
    );

    // The same table is the tool's own, and a broken one is an error that says where.
    write("kind/services.toml", built_in);
    let (_, said, _) = run(&["services"]);
    assert!(
        said.contains("built-in rows of kind/services.toml, as the tool was built"),
        "{said}"
    );
    write(
        "kind/services.toml",
        &table.replace("profile = \"gateway\"\n", "profil = \"gateway\"\n"),
    );
    let (code, _, stderr) = run(&["e2e", "workflowexecution", "--plan"]);
    assert_eq!(code, 2, "{stderr}");
    assert!(
        stderr.contains(&format!("{} cannot be read", path.display())) && stderr.contains("profil"),
        "{stderr}"
    );
}
