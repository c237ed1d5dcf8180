//! Whether this machine can run: each check with its result and with what puts it right.
//!
//! Modules, each may import those after it: `cluster`, `tools`, `services`, `machine`, `runs`, `check`

pub mod check;
pub mod cluster;
mod machine;
mod runs;
mod services;
mod tools;

use crate::process::Runner;
use crate::table::Table;
use check::{Check, For, Level};

/// Every check. A table that cannot be read is one of them.
pub fn checks(runner: &Runner, table: &anyhow::Result<Table>) -> Vec<Check> {
    let mut checks = tools::checks(runner);
    checks.extend(services::checks(table));
    checks.extend(machine::checks(runner, table));
    checks.extend(runs::checks(runner));
    checks
}

/// Whether nothing stops a run on a target.
pub fn is_usable(checks: &[Check], target: For) -> bool {
    !checks.iter().any(|check| {
        check.level == Level::Problem && (check.target == target || check.target == For::Both)
    })
}
