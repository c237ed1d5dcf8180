//! The existing file is read as it is; faults are reported together; nothing secret is shown.

use secrecy::ExposeSecret as _;

use super::*;

const EXISTING: &str = r#"
service: { name: data-storage, metricsPort: 9181 }
server: { port: 8080, host: "0.0.0.0", read_timeout: 30s, write_timeout: 30s }
logging: { level: debug, format: json }
database:
  host: postgresql
  port: 5432
  name: action_history
  user: slm_user
  ssl_mode: disable
  max_open_conns: 25
  max_idle_conns: 5
  conn_max_lifetime: 5m
  secretsFile: SECRETS
  usernameKey: username
  passwordKey: password
redis: { addr: "redis:6379", db: 0, dlq_max_len: 1000, secretsFile: /nowhere, passwordKey: password }
"#;

fn environment(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

/// What an existing file, which listens everywhere, says in words to go on without authentication.
const OPEN: (&str, &str) = ("DATASTORAGE_AUTH_OPEN_TO", "anyone-who-reaches-the-port");

fn existing(secrets: &Path, pairs: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let text = EXISTING.replace("SECRETS", &secrets.display().to_string());
    Config::from_parts(
        &serde_saphyr::from_str(&text).expect("YAML"),
        &environment(&[pairs, &[OPEN]].concat()),
    )
}

fn secrets_file(content: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), content).expect("written");
    file
}

#[test]
fn the_existing_file_is_read_as_it_is() {
    let secrets = secrets_file("username: slm_user\npassword: hunter2\n");
    let config = existing(secrets.path(), &[]).expect("valid");
    assert_eq!(
        (config.database.host.as_str(), config.database.user.as_str()),
        ("postgresql", "slm_user")
    );
    assert_eq!(config.database.max_connections, 25);
    assert_eq!(config.logging.level, tracing::Level::DEBUG);
    assert_eq!(
        config.ignored,
        [
            "redis",
            "service",
            "database.max_idle_conns",
            "database.conn_max_lifetime"
        ]
    );
    assert!(!format!("{config:?}").contains("hunter2"));
}

#[test]
fn the_environment_goes_above_the_file() {
    let secrets = secrets_file("{\"password\": \"x\"}");
    let pairs = [
        ("DATASTORAGE_DATABASE_HOST", "127.0.0.1"),
        ("DATASTORAGE_SERVER_PORT", "0"),
        ("DATASTORAGE_SCHEMA_PROFILE", "aianalysis"),
    ];
    let config = existing(secrets.path(), &pairs).expect("valid");
    assert_eq!(
        (
            config.database.host.as_str(),
            config.server.port,
            config.profile.as_str()
        ),
        ("127.0.0.1", 0, "aianalysis")
    );
}

#[test]
fn the_environment_alone_is_enough() {
    let pairs = [
        ("DATASTORAGE_DATABASE_HOST", "127.0.0.1"),
        ("DATASTORAGE_DATABASE_NAME", "action_history"),
        ("DATASTORAGE_DATABASE_USER", "slm_user"),
        ("DATASTORAGE_DATABASE_PASSWORD", "x"),
        OPEN,
    ];
    assert_eq!(
        Config::load(&environment(&pairs)).expect("valid").profile,
        "audit"
    );
}

#[test]
fn all_faults_come_in_one_message() {
    let pairs = [
        ("DATASTORAGE_SERVER_PORT", "70000"),
        ("DATASTORAGE_LOGGING_LEVEL", "loud"),
        ("DATASTORAGE_SCHEMA_PROFILE", "nosuch"),
    ];
    let message = Config::load(&environment(&pairs))
        .expect_err("faults")
        .to_string();
    for part in [
        "server.port",
        "logging.level",
        "database.host",
        "database.name",
        "database.user",
        "database.password",
        "schema.profile",
    ] {
        assert!(message.contains(part), "{part} is not in: {message}");
    }
}

#[test]
fn a_setting_of_the_wrong_shape_is_a_fault_and_no_absent_one() {
    let secrets = secrets_file("{\"password\": \"x\"}");
    let text = EXISTING.replace("SECRETS", &secrets.path().display().to_string());
    for (wrong, named) in [
        ("auth: {token_file: [/a]}\n", "auth.token_file"),
        ("auth: /a\n", "auth must be a map"),
        ("queue: [1]\n", "queue must be a map"),
    ] {
        let file: Value = serde_saphyr::from_str(&format!("{text}{wrong}")).expect("YAML");
        let message = Config::from_parts(&file, &environment(&[OPEN])).expect_err("a fault");
        assert!(message.to_string().contains(named), "{message}");
    }
}

#[test]
fn a_duration_that_nothing_can_be_done_in_or_that_never_ends_is_a_fault() {
    let secrets = secrets_file("{\"password\": \"x\"}");
    for (name, value) in [
        ("DATASTORAGE_SERVER_WRITE_TIMEOUT", "0s"),
        ("DATASTORAGE_DATABASE_STATEMENT_TIMEOUT", "1us"),
        ("DATASTORAGE_DATABASE_STATEMENT_TIMEOUT", "1000000h"),
        ("SHUTDOWN_TIMEOUT", "abc"),
    ] {
        let message = existing(secrets.path(), &[(name, value)]).expect_err("a fault");
        assert!(message.to_string().contains(name), "{message}");
    }
    let no_pause = ("DATASTORAGE_SERVER_DRAIN_PAUSE", "0s");
    existing(secrets.path(), &[no_pause]).expect("valid");
}

#[test]
fn a_secrets_file_that_is_not_yaml_is_not_quoted() {
    let secrets = secrets_file("password: [hunter2");
    let message = existing(secrets.path(), &[])
        .expect_err("not YAML")
        .to_string();
    assert!(
        message.contains("database.secretsFile") && !message.contains("hunter2"),
        "{message}"
    );
}

#[test]
fn files_that_are_not_there_are_named() {
    let message = Config::load(&environment(&[("CONFIG_PATH", "/nowhere/config.yaml")]))
        .expect_err("missing")
        .to_string();
    assert!(
        message.contains("/nowhere/config.yaml") && message.contains("CONFIG_PATH"),
        "{message}"
    );
    let message = existing(Path::new("/nowhere/db-secrets.yaml"), &[])
        .expect_err("missing")
        .to_string();
    assert!(message.contains("/nowhere/db-secrets.yaml"), "{message}");
}

#[test]
fn tls_that_proves_something_needs_authorities_to_trust() {
    let secrets = secrets_file("password: x");
    let with = |pairs: &[(&str, &str)]| {
        let tls = existing(secrets.path(), pairs).map(|config| config.database.tls);
        tls.map_err(|error| error.to_string())
    };
    let mode = "DATASTORAGE_DATABASE_SSL_MODE";
    let root = "DATASTORAGE_DATABASE_SSL_ROOT_CERT";
    assert!(matches!(with(&[]), Ok(Tls::Disable)));
    assert!(matches!(with(&[(mode, "require")]), Ok(Tls::Require)));
    let no_authority = secrets.path().display().to_string();
    for (pairs, part) in [
        (vec![(mode, "verify-full")], "is required by ssl_mode"),
        (
            vec![(mode, "verify-ca"), (root, "/nowhere/ca.pem")],
            "/nowhere/ca.pem",
        ),
        (
            vec![(mode, "verify-ca"), (root, &no_authority)],
            "it holds none",
        ),
        (
            vec![(mode, "always")],
            "must be one of disable, allow, prefer, require, verify-ca, verify-full",
        ),
    ] {
        let message = with(&pairs).expect_err(part);
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn a_password_of_digits_is_taken() {
    let secrets = secrets_file("username: slm_user\npassword: 123456\n");
    let config = existing(secrets.path(), &[]).expect("valid");
    assert_eq!(config.database.password.expose_secret(), "123456");
    assert_eq!(config.unknown, Vec::<String>::new());
}

#[test]
fn settings_that_nobody_knows_are_named_with_the_nearest_known_one() {
    let secrets = secrets_file("username: slm_user\npassword: hunter2\n");
    let text = EXISTING
        .replace("SECRETS", &secrets.path().display().to_string())
        .replace("server: {", "databse: { host: x }\nserver: { body_limt: 1,");
    let file: Value = serde_saphyr::from_str(&text).expect("YAML");
    let variables = environment(&[
        ("DATASTORAGE_SERVER_HOST", "127.0.0.1"),
        ("DATASTORAGE_DATABASE_HOSTT", "x"),
        ("DATASTORAGE_SERVICE_HOST", "10.0.0.1"),
        ("DATASTORAGE_PORT_8080_TCP", "tcp://10.0.0.1:8080"),
    ]);
    let config = Config::from_parts(&file, &variables).expect("valid");
    assert_eq!(
        config.unknown,
        [
            "databse (nearest known: database)",
            "server.body_limt (nearest known: server.body_limit)",
            "DATASTORAGE_DATABASE_HOSTT (nearest known: DATASTORAGE_DATABASE_HOST)"
        ]
    );
}
