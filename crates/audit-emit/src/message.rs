//! Messages for people.

use std::io::{self, Write as _};

/// Standard error may be closed; the exit code still says what happened.
pub(crate) fn report_error(text: &str) {
    writeln!(io::stderr().lock(), "audit-emit: {text}").unwrap_or_default();
}
