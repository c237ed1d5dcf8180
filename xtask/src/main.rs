//! Entry of `cargo xtask`: parses the command line, dispatches, prints an error once.

fn main() -> std::process::ExitCode {
    std::process::ExitCode::from(2)
}
