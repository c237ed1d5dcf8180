//! Programs as files (elf(5)): whether one runs where there is no file system.

use std::io::Read as _;
use std::path::Path;

/// The beginning of a file, where the headers of a program are.
pub fn head(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut head = Vec::new();
    std::fs::File::open(path)?
        .take(16 << 10)
        .read_to_end(&mut head)?;
    Ok(head)
}

/// Whether a program asks for a dynamic loader, whose path its headers hold (`PT_INTERP`).
pub fn is_dynamic(program: &[u8]) -> bool {
    let head = &program[..program.len().min(16 << 10)];
    head.starts_with(b"\x7fELF")
        && ["/ld-linux", "/ld64.so", "/ld-musl", "/ld.so"]
            .iter()
            .any(|loader| {
                head.windows(loader.len())
                    .any(|part| part == loader.as_bytes())
            })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_asks_for_a_loader_is_told_from_a_static_one() {
        assert!(is_dynamic(b"\x7fELF....../lib64/ld-linux-x86-64.so.2\0"));
        assert!(!is_dynamic(b"\x7fELF......"));
        assert!(!is_dynamic(b"#!/lib64/ld-linux"));
    }
}
