//! A directory of goose's files is read whole, or it is said what is there instead and what to do.

use std::fs;
use std::path::{Path, PathBuf};

use migrator::{Catalogue, Error, GooseReader, apply};

use crate::{fresh, value};

const UP: &str = "-- +goose Up\nSELECT 1;\n";

/// A directory of this test with these files, removed at the end.
struct Directory(PathBuf);

impl Directory {
    fn with(files: &[(&str, &str)]) -> Self {
        let unique = format!(
            "migrator-{}-{:?}",
            std::process::id(),
            std::thread::current().id()
        );
        let path = std::env::temp_dir().join(unique.replace(|c: char| !c.is_alphanumeric(), "-"));
        drop(fs::remove_dir_all(&path));
        fs::create_dir_all(&path).expect("a directory of the test");
        for (name, text) in files {
            let file = path.join(name);
            let parent = file.parent().unwrap_or(&path);
            fs::create_dir_all(parent).expect("a directory of the test");
            fs::write(file, text).expect("a file of the test");
        }
        Self(path)
    }

    fn refusal(&self) -> String {
        Catalogue::from_goose_dir("team", &self.0)
            .expect_err("the directory is refused")
            .to_string()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

#[test]
fn a_migration_in_go_is_refused_by_name() {
    let directory = Directory::with(&[
        ("001_accounts.sql", UP),
        ("002_backfill.go", "package migrations\n"),
        ("003_paid.sql", UP),
        ("004_more.go", "package migrations\n"),
        ("004_more_test.go", "package migrations\n"),
        ("embed.go", "package migrations\n"),
    ]);
    let error = directory.refusal();
    assert!(
        error.contains("002_backfill.go: is a migration written in Go (so are 004_more.go)"),
        "{error}"
    );
    let ordinary = Directory::with(&[
        ("001_accounts.sql", UP),
        ("001_accounts_test.go", "package migrations\n"),
        ("embed.go", "package migrations\n"),
    ]);
    assert!(Catalogue::from_goose_dir("team", &ordinary.0).is_ok());
}

#[test]
fn a_directory_without_migrations_is_an_error_that_says_what_is_there() {
    for (files, says) in [
        (
            &[][..],
            "is empty; give a directory with files such as 001_name.sql",
        ),
        (
            &[("V1__t.sql", UP), ("V2__u.sql", UP)],
            "holds Flyway's migrations, such as V1__t.sql; name them",
        ),
        (
            &[
                ("billing/001_t.sql", UP),
                ("notes/001_t.sql", UP),
                ("README.md", ""),
            ],
            "directories with .sql files: billing, notes; give one of them, such as ",
        ),
        (
            &[("seed.sql", UP), ("README.md", "")],
            "holds seed.sql, README.md and no migration",
        ),
    ] {
        let directory = Directory::with(files);
        let error = directory.refusal();
        assert!(error.contains(says), "{error}");
        assert!(
            error.contains(&directory.0.display().to_string()),
            "{error}"
        );
    }
}

#[test]
fn what_has_a_files_name_and_is_none_is_named() {
    let directory = Directory::with(&[("001_t.sql", UP), ("002_x.sql/inside.txt", "")]);
    let error = directory.refusal();
    assert!(
        error.contains("002_x.sql: is a directory with the name of a file"),
        "{error}"
    );

    let long = Directory::with(&[("99999999999999999999_t.sql", UP)]);
    let error = long.refusal();
    assert!(
        error.contains("99999999999999999999_t.sql: its number has more than 64 bits"),
        "{error}"
    );

    let latin = Directory::with(&[("001_t.sql", UP)]);
    fs::write(latin.0.join("002_u.sql"), b"-- +goose Up\nSELECT '\xe9';\n").unwrap();
    let error = latin.refusal();
    assert!(
        error.contains("002_u.sql: line 2: it is not UTF-8"),
        "{error}"
    );
}

#[cfg(unix)]
#[test]
fn a_link_to_nothing_is_named_with_its_target() {
    let directory = Directory::with(&[("001_t.sql", UP)]);
    std::os::unix::fs::symlink("/nowhere/002.sql", directory.0.join("002_u.sql")).unwrap();
    let error = directory.refusal();
    assert!(
        error.contains("002_u.sql: is a link to /nowhere/002.sql, which is not there"),
        "{error}"
    );
}

#[test]
fn two_files_of_one_identity_are_refused() {
    let directory = Directory::with(&[("001_t.sql", UP), ("001_t.SQL", UP)]);
    let error = directory.refusal();
    assert!(
        error.contains("001_t.SQL has the identity `001_t` as well"),
        "{error}"
    );
}

#[test]
fn reading_ends_when_the_caller_says_so() {
    let asked = std::cell::Cell::new(0);
    let reader = GooseReader::new("team").proceed_if(|| {
        asked.set(asked.get() + 1);
        // Each file is read, then parsed.
        if asked.get() < 5 {
            Ok(())
        } else {
            Err(Error::Cancelled {
                stage: "reading".to_owned(),
            })
        }
    });
    let directory = Directory::with(&[("1_a.sql", UP), ("2_b.sql", UP), ("3_c.sql", UP)]);
    let outcome = reader.directory(Path::new(&directory.0));
    assert!(
        matches!(outcome, Err(Error::Cancelled { .. })),
        "{outcome:?}"
    );
}

#[tokio::test]
async fn environment_variables_are_put_in_where_the_file_asks_for_them() {
    const FILE: &str = "-- +goose Up\n-- +goose ENVSUB ON\n-- for $5 in ${\nCREATE TABLE ${NAME:-t} AS SELECT 'it''s ${NAME} $UNSET'::text AS a;\n\
        -- +goose ENVSUB OFF\nINSERT INTO ${NAME} VALUES ('$NAME');\n";
    let text = FILE.replace("INTO ${NAME}", "INTO app");
    let read = |value: &'static str| {
        let reader = GooseReader::new("team")
            .variables(move |name| (name == "NAME").then(|| value.to_owned()));
        reader
            .files([("001_t.sql".to_owned(), text.clone())])
            .unwrap()
    };
    let (database, config) = fresh().await;
    let catalogue = read("app");
    assert_eq!(
        catalogue.warnings(),
        ["001_t.sql:4: the environment variable UNSET is not set; nothing stands in its place"]
    );
    apply(&config.clone().catalogue(catalogue)).await.unwrap();
    assert_eq!(
        value(&database, "SELECT string_agg(a, '|') FROM app").await,
        "it's app |$NAME"
    );
    // Another value is no change of the file.
    assert_eq!(
        apply(&config.catalogue(read("other")))
            .await
            .unwrap()
            .up_to_date,
        1
    );

    let files = |text: &str| [("001_t.sql".to_owned(), text.to_owned())];
    let alone = Catalogue::from_goose_files(
        "team",
        files("-- +goose Up\n-- +goose ENVSUB ON\nCREATE TABLE ${T:-t} (a int);\n"),
    );
    assert_eq!(
        alone.unwrap().migrations()[0].up,
        "\n\nCREATE TABLE t (a int);\n"
    );
    let required = Catalogue::from_goose_files(
        "team",
        files("-- +goose Up\n-- +goose ENVSUB ON\n\nSELECT ${T?ask};\n"),
    );
    let error = required.unwrap_err().to_string();
    assert!(
        error.contains("001_t.sql: line 4: the environment variable T is not set: ask"),
        "{error}"
    );
}
