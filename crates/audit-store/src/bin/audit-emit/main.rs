//! Emits audit events from shell scripts and jobs.

fn main() {}
