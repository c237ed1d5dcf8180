//! What `migrations/README.md` says is so.

use migrations::Selection;

const README: &str = include_str!("../../../../migrations/README.md");

#[test]
fn the_readme_lists_every_error() {
    let source = include_str!("../../../migrator/src/error.rs");
    let cases = source
        .split("pub enum Error {")
        .nth(1)
        .unwrap()
        .split("\n}\n")
        .next()
        .unwrap();
    let names = cases.lines().filter_map(|line| {
        let name = line.strip_prefix("    ")?.split([' ', '(', ',']).next()?;
        name.starts_with(|c: char| c.is_ascii_uppercase())
            .then_some(name)
    });
    let missing: Vec<&str> = names
        .filter(|name| *name != "Catalogue" && *name != "Database")
        .filter(|name| {
            !README.contains(&format!("{name} |")) && !README.contains(&format!("{name},"))
        })
        .collect();
    assert_eq!(missing, Vec::<&str>::new(), "not in the README's table");
}

#[test]
fn the_readme_lists_every_profile() {
    let catalogue = migrations::catalogue();
    let missing: Vec<&str> = catalogue
        .profiles()
        .filter(|name| !README.contains(name))
        .collect();
    assert_eq!(missing, Vec::<&str>::new());
}

#[test]
fn the_tests_that_the_readme_names_exist() {
    let proofs = concat!(include_str!("proofs.rs"), include_str!("schema.rs"));
    for name in [
        "every_migration_may_run_twice",
        "up_down_up_returns_to_the_same_schema",
        "schema_json_is_current",
    ] {
        assert!(
            README.contains(name) && proofs.contains(&format!("fn {name}(")),
            "{name}"
        );
    }
    assert!(
        !migrations::catalogue()
            .resolve(&Selection::all())
            .unwrap()
            .is_empty()
    );
}
