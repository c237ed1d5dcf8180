//! The table of services: whose rows are used, and what a team's rows lose.

use crate::doctor::check::{Check, For, Level};
use crate::table::Table;

/// Every check on the table.
pub(super) fn checks(table: &anyhow::Result<Table>) -> Vec<Check> {
    match table {
        Ok(table) => vec![services(table)],
        Err(error) => vec![
            Check::ok("services", For::Both, format!("{error:#}")).with_problem(
                Level::Problem,
                "correct the table of services (`cargo xtask services --check` says all that is wrong), or leave out --services and E2E_SERVICES",
            ),
        ],
    }
}

fn services(table: &Table) -> Check {
    let lost = table.lost();
    let check = Check::ok(
        "services",
        For::Both,
        [vec![table.whose()], lost.clone()].concat().join("; "),
    );
    if lost.is_empty() {
        check
    } else {
        check.with_problem(
            Level::Warning,
            "add what is left out to the row, if it is wanted",
        )
    }
}
