//! Runs on a PostgreSQL server that the user names, which lets nobody in but with TLS: what they leave there, however they end.

use postgres_url::PostgresUrl;
use testkit::postgres::{Database, run, value};
use testkit::tls::Secured;

use crate::migrate::wait;
use crate::team::{STORAGE, Team, bare, ends};

const PASSWORD: &str = "correct-horse";
/// A suite that asks Data Storage and, through the tool, the database.
const ASKS: &str = "curl --fail --silent $DATASTORAGE_URL/health/ready && \
                    $E2E_TOOL migrate verify --profile gateway --database-url \"$DATABASE_URL\"";
const WAITS: &str = "touch waits; while [ ! -e go ]; do sleep 0.05; done";

/// A server with a role that gets in with TLS only.
struct Given {
    secured: Secured,
    database: Database,
}

impl Given {
    fn new() -> Self {
        let secured = wait(Secured::start());
        let database = wait(secured.empty_database());
        let role = format!("CREATE ROLE app LOGIN CREATEDB PASSWORD '{PASSWORD}'");
        wait(run(&database, &role));
        wait(secured.only("hostssl"));
        Self { secured, database }
    }

    fn url(&self, authority: &str) -> String {
        let port = self.secured.server().port().expect("a port");
        PostgresUrl::new("app", "127.0.0.1", port)
            .or_option("sslmode", "verify-full")
            .or_option("sslrootcert", authority)
            .to_string()
    }

    fn proved(&self) -> String {
        self.url(&self.secured.file("authority").display().to_string())
    }

    /// The databases that runs have made.
    fn made(&self) -> String {
        let sql = "SELECT coalesce(string_agg(datname, ' ' ORDER BY datname), '') FROM pg_database \
                   WHERE pg_get_userbyid(datdba) = 'app'";
        wait(value(&self.database, sql))
    }
}

fn e2e(team: &Team, url: &str) -> (i32, String, String) {
    let args = ["e2e", "widget", "--target", "local", "--postgres-url", url];
    team.run_with(&args, |command| {
        command.env("PGPASSWORD", PASSWORD);
    })
}

/// A run whose suite waits.
fn waiting(team: &Team, url: &str) -> std::process::Child {
    let args = ["e2e", "widget", "--target", "local", "--postgres-url", url];
    let mut command = team.command(&args);
    command.env("PGPASSWORD", PASSWORD);
    team.until_it_waits(command)
}

#[test]
fn every_program_of_a_run_speaks_tls_to_the_named_server_and_leaves_nothing_there() {
    let given = Given::new();
    let team = Team::new(&[bare("widget", STORAGE, "", ASKS)]);
    let (code, _, stderr) = e2e(&team, &given.proved());
    assert_eq!(code, 0, "{stderr}");
    assert!(!stderr.contains(PASSWORD), "{stderr}");
    assert_eq!(given.made(), "");
}

#[test]
fn a_server_that_does_not_prove_itself_is_refused_before_anything_is_made() {
    let given = Given::new();
    let team = Team::new(&[bare("widget", STORAGE, "", ASKS)]);
    let stranger = given.secured.file("stranger").display().to_string();
    let (code, _, stderr) = e2e(&team, &given.url(&stranger));
    assert_eq!(code, 4, "{stderr}");
    assert!(
        stderr.contains("refused by sslmode=verify-full") && stderr.contains("sslrootcert"),
        "{stderr}"
    );
    assert_eq!(given.made(), "");
    let (code, _, stderr) = e2e(&team, &given.url("/no-such-file"));
    assert_eq!(code, 2, "{stderr}");
    assert!(stderr.contains("/no-such-file"), "{stderr}");
    assert!(team.place.states().is_empty());
}

#[test]
fn of_a_killed_run_reap_drops_the_databases_though_the_file_of_authorities_is_gone() {
    let given = Given::new();
    let team = Team::new(&[bare("widget", STORAGE, "", WAITS)]);
    let mut killed = waiting(&team, &given.proved());
    killed.kill().expect("killed");
    killed.wait().expect("ended");
    assert_ne!(given.made(), "");
    std::fs::remove_file(given.secured.file("authority")).expect("removed");
    let (code, _, stderr) = team.run(&["reap"]);
    assert_eq!(code, 0, "{stderr}");
    assert_eq!(given.made(), "");
    assert!(team.place.states().is_empty());
}

#[test]
fn databases_of_a_server_that_is_away_at_the_end_are_named_and_dropped_once_it_is_back() {
    let mut given = Given::new();
    let team = Team::new(&[bare("widget", STORAGE, "", WAITS)]);
    let mut under_way = waiting(&team, &given.proved());
    wait(given.secured.server_mut().kill()).expect("killed");
    std::fs::write(team.dir.path().join("go"), "").expect("a file");
    assert_eq!(ends(&mut under_way), Some(7));
    let (code, _, stderr) = team.run(&["reap"]);
    assert_eq!(code, 7, "{stderr}");
    assert!(
        stderr.contains("database widget") && stderr.contains("run `cargo xtask reap` once"),
        "{stderr}"
    );
    wait(given.secured.server_mut().restart()).expect("restarted");
    let (code, _, stderr) = team.run(&["reap"]);
    assert_eq!(code, 0, "{stderr}");
    assert_eq!(given.made(), "");
}

#[test]
fn a_run_that_ends_leaves_another_its_database_and_the_last_takes_the_template_with_it() {
    let given = Given::new();
    let entry = bare("widget", STORAGE, "", &format!("{WAITS}; {ASKS}"));
    let teams = [Team::new(std::slice::from_ref(&entry)), Team::new(&[entry])];
    let mut runs = teams.each_ref().map(|team| waiting(team, &given.proved()));
    // Of each run its own and an empty one, and what both are cloned from.
    let made = given.made();
    assert_eq!(made.split(' ').count(), 5, "{made}");
    for (position, (team, run)) in teams.iter().zip(&mut runs).enumerate() {
        std::fs::write(team.dir.path().join("go"), "").expect("a file");
        assert_eq!(ends(run), Some(0));
        let left = given.made();
        let left = left.split_whitespace().count();
        assert_eq!(left, [3, 0][position], "{}", given.made());
    }
}
