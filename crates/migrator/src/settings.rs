//! What migrations count on in their session, and how that is put back after a file that may have changed it.
//!
//! A file runs as if it were alone: with the settings, the role and the search path with which its session began. What changes them is
//! seen where it stands: SET and its like, and every statement that may call a function. A trigger, or a function that an INSERT,
//! UPDATE or DELETE calls, changes them unseen.

use crate::ledger;
use crate::names::Names;
use crate::sql::Effects;

/// What every migration counts on. Statements wait a bounded time for table locks; then the migration starts over. Each record sets the
/// start of what follows it.
pub(crate) fn of_migrations(names: &Names) -> String {
    format!(
        "SET {}; SET lock_timeout = '3s'; SELECT set_config('migrator.started', clock_timestamp()::text, false);\n",
        names.search_path()
    )
}

/// The statements between a file's own and its row in the ledger, in their transaction: the row is written by the run's role, and what
/// the file deferred happens before, in the file's.
pub(crate) fn before_record(effects: Effects) -> &'static str {
    if effects.session {
        "SET CONSTRAINTS ALL IMMEDIATE; RESET SESSION AUTHORIZATION; RESET ROLE;\n"
    } else {
        ""
    }
}

/// The statements that put everything back after the file's transaction, or after its last step.
///
/// They forget the mark of the run as well, so another one takes its place: the process stays one that a run was in.
pub(crate) fn restore(names: &Names, effects: Effects) -> String {
    if effects.session {
        format!(
            "RESET SESSION AUTHORIZATION; RESET ROLE; RESET ALL; {}; {}; SELECT set_config('migrator.run', gen_random_uuid()::text, false); {}",
            ledger::settings(names),
            ledger::NOTICE_GONE_CLIENT,
            of_migrations(names)
        )
    } else {
        String::new()
    }
}
