//! Embeds every file of `migrations/`: a new file needs no line of Rust, and a changed one rebuilds the crate.
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() -> io::Result<()> {
    // Asked when it runs, not when it was compiled: a target directory may serve several checkouts.
    let package = env::var_os("CARGO_MANIFEST_DIR")
        .ok_or_else(|| io::Error::other("cargo sets CARGO_MANIFEST_DIR for build scripts"))?;
    let directory = Path::new(&package).join("../../migrations");
    println!("cargo::rerun-if-changed={}", directory.display());
    let mut names: Vec<String> = fs::read_dir(&directory)?
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<io::Result<_>>()?;
    names.retain(|name| {
        Path::new(name)
            .extension()
            .is_some_and(|extension| extension == "sql")
    });
    names.sort();

    let mut source = String::from("const FILES: &[(&str, &str)] = &[\n");
    for name in &names {
        let path = fs::canonicalize(directory.join(name))?;
        let path = path
            .to_str()
            .ok_or_else(|| io::Error::other("the path of migrations/ is not UTF-8"))?;
        writeln!(source, "    ({name:?}, include_str!({path:?})),").map_err(io::Error::other)?;
    }
    source.push_str("];\n");
    let out = env::var_os("OUT_DIR")
        .ok_or_else(|| io::Error::other("cargo sets OUT_DIR for build scripts"))?;
    fs::write(PathBuf::from(out).join("files.rs"), source)
}
