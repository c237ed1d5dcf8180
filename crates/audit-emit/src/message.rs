//! What people are told.

use std::io::{self, Write as _};

/// Standard error may be closed; the exit code still tells.
pub(crate) fn report_error(text: &str) {
    writeln!(io::stderr().lock(), "audit-emit: {text}").unwrap_or_default();
}
