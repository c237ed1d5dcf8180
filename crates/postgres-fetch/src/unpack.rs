//! The unpacking: a jar, which is a zip file, holds one archive of tar by xz.

use std::fs::File;
use std::hash::{BuildHasher as _, RandomState};
use std::io::{self, Cursor};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::Context as _;
use lzma_rust2::XzReader;
use zip::ZipArchive;

/// What the name of a directory begins with that is not whole yet.
const PART: &str = ".part-";
/// The file that says that somebody unpacks; the lock on it ends with its holder, in whatever way that ends.
const LOCK: &str = ".unpacking.lock";

/// Unpacks beside `directory` and renames: it is whole or absent, whoever else fetches at the same time. What lies there and is not
/// usable is replaced; what killed fetches left beside it is removed.
pub(crate) fn unpack(
    jar: Vec<u8>,
    directory: &Path,
    is_usable: impl Fn() -> bool,
) -> anyhow::Result<()> {
    let parent = directory
        .parent()
        .context("the cache directory has no parent")?;
    make(parent)?;
    let lock = parent.join(LOCK);
    let _held = hold(&lock).with_context(|| format!("cannot lock {}", lock.display()))?;
    remove_parts(parent);
    // Process ids are unique within one container only, and a cache may be shared by several.
    let part = parent.join(format!("{PART}{:016x}", RandomState::new().hash_one(())));
    let tree = part.join("tree");
    let moved = std::fs::create_dir_all(&tree)
        .with_context(|| format!("cannot create {}", tree.display()))
        .and_then(|()| fill(jar, &tree).context("cannot unpack the archive"))
        .and_then(|()| {
            if directory.exists() {
                if is_usable() {
                    // Somebody else was first, with the same bytes.
                    return Ok(());
                }
                let old = part.join("old");
                std::fs::rename(directory, old)
                    .with_context(|| format!("cannot replace {}", directory.display()))?;
            }
            std::fs::rename(&tree, directory)
                .with_context(|| format!("cannot move the binaries to {}", directory.display()))
        });
    // Otherwise the next fetch removes it.
    remove_parts(parent);
    moved
}

/// Opens a directory to the account that runs PostgreSQL for root, with those in it, whatever a umask made of them.
pub(crate) fn open(directory: &Path) -> io::Result<()> {
    enterable(directory)?;
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            open(&entry.path())?;
        }
    }
    Ok(())
}

/// The same for one directory; one that is open is left alone, for it may be somebody else's.
pub(crate) fn enterable(directory: &Path) -> io::Result<()> {
    let mode = std::fs::metadata(directory)?.permissions().mode();
    if mode & 0o755 == 0o755 {
        return Ok(());
    }
    std::fs::set_permissions(directory, PermissionsExt::from_mode(mode | 0o755))
}

/// Makes a directory and those above it that are missing, each open to others.
fn make(directory: &Path) -> anyhow::Result<()> {
    let missing = directory.ancestors().take_while(|above| !above.exists());
    let missing: Vec<_> = missing.collect();
    for directory in missing.into_iter().rev() {
        match std::fs::create_dir(directory) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            made => made.and_then(|()| enterable(directory)),
        }
        .with_context(|| format!("cannot create {}", directory.display()))?;
    }
    Ok(())
}

fn hold(lock: &Path) -> io::Result<File> {
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(lock)?;
    file.lock()?;
    Ok(file)
}

/// Whoever made one of them is gone, for the lock is ours.
fn remove_parts(parent: &Path) {
    let entries = std::fs::read_dir(parent).into_iter().flatten().flatten();
    for entry in entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(PART)) {
        drop(std::fs::remove_dir_all(entry.path()));
    }
}

fn fill(jar: Vec<u8>, tree: &Path) -> anyhow::Result<()> {
    let mut jar = ZipArchive::new(Cursor::new(jar))?;
    let names: Vec<_> = jar.file_names().flatten().map(String::from).collect();
    let is_archive = |name: &&String| Path::new(name).extension().is_some_and(|end| end == "txz");
    let name = names.iter().find(is_archive);
    let name = name.context("the jar holds no .txz")?;
    let compressed = jar.by_name(name)?;
    tar::Archive::new(XzReader::new(compressed, true)).unpack(tree)?;
    // The archive names no directories: they are as the umask says.
    open(tree)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A jar like the published ones: a program, a library, and a link to it.
    const TINY: &[u8] = include_bytes!("../tests/tiny.jar");

    fn mode(path: &Path) -> u32 {
        let found = std::fs::metadata(path).expect("it is there");
        found.permissions().mode() & 0o777
    }

    /// What lies in a cache, but for the lock.
    fn names(cache: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(cache).expect("a directory").flatten();
        let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
        names.filter(|name| name != LOCK).collect()
    }

    #[test]
    fn an_archive_is_whole_in_its_place_and_can_be_run_by_others() {
        let cache = tempfile::tempdir().expect("a directory");
        let postgres = cache.path().join("made/postgres");
        let directory = postgres.join("16.0.0");
        unpack(TINY.to_vec(), &directory, || false).expect("it unpacks");
        let open = ["", "bin", "lib", "bin/postgres"].map(|path| mode(&directory.join(path)));
        assert_eq!(open, [0o755; 4]);
        assert_eq!(
            [mode(&postgres), mode(&cache.path().join("made"))],
            [0o755; 2]
        );
        let linked = std::fs::read(directory.join("lib/libpq.so")).expect("a link");
        assert_eq!(linked, b"library\n");
        // Somebody else's is left as it is, and nothing stays beside it.
        std::fs::write(directory.join("theirs"), "").expect("a file");
        unpack(TINY.to_vec(), &directory, || true).expect("another was first");
        assert!(directory.join("theirs").is_file());
        assert_eq!(names(&postgres), ["16.0.0"]);
    }

    #[test]
    fn a_strict_umask_closes_nothing_to_others() {
        let test = "unpack::tests::an_archive_is_whole_in_its_place_and_can_be_run_by_others";
        let again = std::env::current_exe().expect("this test");
        let script = "umask 077 && exec \"$0\" --exact \"$1\"";
        let mut shell = std::process::Command::new("sh");
        let ended = shell.args(["-c", script]).arg(again).arg(test).output();
        let ended = ended.expect("a shell");
        let said = String::from_utf8_lossy(&ended.stdout);
        assert!(
            ended.status.success() && said.contains("1 passed"),
            "{said}"
        );
    }

    #[test]
    fn a_tree_that_is_half_filled_is_replaced_and_what_killed_fetches_left_is_removed() {
        let cache = tempfile::tempdir().expect("a directory");
        let directory = cache.path().join("16.0.0");
        for left in ["16.0.0/bin", "16.0.0/half", ".part-7/tree/bin"] {
            std::fs::create_dir_all(cache.path().join(left)).expect("a directory");
        }
        unpack(TINY.to_vec(), &directory, || false).expect("it unpacks");
        assert!(directory.join("bin/postgres").is_file() && !directory.join("half").exists());
        assert_eq!(names(cache.path()), ["16.0.0"]);
    }

    #[test]
    fn a_tree_that_a_umask_closed_is_opened_as_it_is() {
        let cache = tempfile::tempdir().expect("a directory");
        let bin = cache.path().join("16.0.0/bin");
        std::fs::create_dir_all(&bin).expect("a directory");
        for closed in [&bin, &cache.path().join("16.0.0")] {
            let private = PermissionsExt::from_mode(0o700);
            std::fs::set_permissions(closed, private).expect("a mode");
        }
        open(&cache.path().join("16.0.0")).expect("it is ours");
        assert_eq!([mode(&bin), mode(&cache.path().join("16.0.0"))], [0o755; 2]);
    }

    #[test]
    fn what_is_no_such_archive_leaves_nothing_behind() {
        let cache = tempfile::tempdir().expect("a directory");
        let cut = TINY[..TINY.len() / 2].to_vec();
        let refused = unpack(cut, &cache.path().join("16.0.0"), || false).expect_err("half of it");
        let refused = format!("{refused:#}");
        assert!(
            refused.starts_with("cannot unpack the archive: "),
            "{refused}"
        );
        assert!(names(cache.path()).is_empty());
    }
}
