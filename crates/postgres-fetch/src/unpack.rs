//! The unpacking: a jar, which is a zip file, holds one archive of tar by xz.

use std::io::Cursor;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::Context as _;
use lzma_rust2::XzReader;
use zip::ZipArchive;

/// Unpacks beside `directory` and renames: it is whole or absent, whoever else fetches at the same time.
pub(crate) fn unpack(jar: Vec<u8>, directory: &Path) -> anyhow::Result<()> {
    let parent = directory
        .parent()
        .context("the cache directory has no parent")?;
    let part = parent.join(format!(".part-{}", std::process::id()));
    let tree = part.join("tree");
    std::fs::create_dir_all(&tree).with_context(|| format!("cannot create {}", tree.display()))?;
    let moved = fill(jar, &tree)
        .context("cannot unpack the archive")
        .and_then(|()| match std::fs::rename(&tree, directory) {
            // Somebody else was first, with the same bytes.
            Err(_) if directory.is_dir() => Ok(()),
            done => {
                done.with_context(|| format!("cannot move the binaries to {}", directory.display()))
            }
        });
    std::fs::remove_dir_all(&part).with_context(|| format!("cannot remove {}", part.display()))?;
    moved
}

fn fill(jar: Vec<u8>, tree: &Path) -> anyhow::Result<()> {
    // The account that runs PostgreSQL for root has to enter, whatever the umask says.
    std::fs::set_permissions(tree, PermissionsExt::from_mode(0o755))?;
    let mut jar = ZipArchive::new(Cursor::new(jar))?;
    let names: Vec<_> = jar.file_names().flatten().map(String::from).collect();
    let is_archive = |name: &&String| Path::new(name).extension().is_some_and(|end| end == "txz");
    let name = names.iter().find(is_archive);
    let name = name.context("the jar holds no .txz")?;
    let compressed = jar.by_name(name)?;
    tar::Archive::new(XzReader::new(compressed, true)).unpack(tree)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A jar like the published ones: a program, a library, and a link to it.
    const TINY: &[u8] = include_bytes!("../tests/tiny.jar");

    #[test]
    fn an_archive_is_whole_in_its_place_and_can_be_run_by_others() {
        let cache = tempfile::tempdir().expect("a directory");
        let directory = cache.path().join("16.0.0");
        unpack(TINY.to_vec(), &directory).expect("it unpacks");
        let mode = |path: &str| {
            let found = std::fs::metadata(directory.join(path)).expect("a file");
            found.permissions().mode() & 0o777
        };
        assert_eq!([mode(""), mode("bin/postgres")], [0o755, 0o755]);
        let linked = std::fs::read(directory.join("lib/libpq.so")).expect("a link");
        assert_eq!(linked, b"library\n");
        // Somebody else's is left as it is, and nothing stays beside it.
        unpack(TINY.to_vec(), &directory).expect("another was first");
        assert_eq!(std::fs::read_dir(cache.path()).expect("it").count(), 1);
    }

    #[test]
    fn what_is_no_such_archive_leaves_nothing_behind() {
        let cache = tempfile::tempdir().expect("a directory");
        let cut = TINY[..TINY.len() / 2].to_vec();
        let refused = unpack(cut, &cache.path().join("16.0.0")).expect_err("half of it");
        let refused = format!("{refused:#}");
        assert!(
            refused.starts_with("cannot unpack the archive: "),
            "{refused}"
        );
        assert_eq!(std::fs::read_dir(cache.path()).expect("it").count(), 0);
    }
}
