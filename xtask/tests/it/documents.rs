//! What the README says is what the tool does.

#[test]
fn the_readme_lists_every_exit_code_with_its_meaning() {
    let readme = include_str!("../../../README.md");
    let rows: Vec<(u8, &str)> = readme
        .lines()
        .filter_map(|line| {
            let mut cells = line.strip_prefix("| ")?.strip_suffix(" |")?.split(" | ");
            Some((cells.next()?.parse().ok()?, cells.next()?))
        })
        .collect();
    let table = include_str!("../../src/exit.rs");
    assert_eq!(rows.len(), 12, "the README's table of exit codes: {rows:?}");
    for (code, meaning) in rows {
        assert!(
            table.contains(&format!("\"{meaning}\"")),
            "xtask/src/exit.rs does not say `{meaning}` for {code}"
        );
        assert!(
            table.contains(&format!(" = {code},")),
            "xtask/src/exit.rs has no code {code}"
        );
    }
}
