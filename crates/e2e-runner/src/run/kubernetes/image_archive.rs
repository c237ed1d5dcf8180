//! An image of files without a base, in one layer, as the archive that `docker load` reads: made in memory and named by its content.

use std::collections::BTreeMap;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::fingerprint::hex;

/// The user and the group that such an image runs as: nobody's.
const USER: &str = "65532:65532";

/// An image archive in the form that `docker save` writes, made in memory.
#[derive(Debug)]
pub struct Image {
    /// Its name, or the digest of its configuration: another content has another one.
    pub reference: String,
    /// The archive.
    pub archive: Vec<u8>,
}

/// Wraps a static binary as an image, with a tag that changes with the content: an old image can never be taken for it.
pub fn of_binary(name: &str, binary: &[u8]) -> io::Result<Image> {
    let mut layer = Layer::default();
    layer.add_bytes(&format!("/usr/bin/{name}"), binary, 0o755);
    let (config, layer) = layer.image(&[format!("/usr/bin/{name}")], "/usr/bin")?;
    let reference = format!(
        "localhost/kubernaut-{name}:{}",
        &hex(config.as_bytes())[..12]
    );
    let archive = archive(&config, &layer, std::slice::from_ref(&reference))?;
    Ok(Image { reference, archive })
}

/// The files of a layer by their paths, so that the order in which they are found does not count.
#[derive(Debug, Default)]
pub struct Layer {
    entries: BTreeMap<PathBuf, Entry>,
}

#[derive(Debug)]
struct Entry {
    mode: u32,
    content: Content,
}

#[derive(Debug)]
enum Content {
    Bytes(Vec<u8>),
    Directory,
    Link(PathBuf),
}

impl Layer {
    fn insert(&mut self, path: &Path, mode: u32, content: Content) {
        // Names in an archive are relative; the root itself is not named.
        let path = path.strip_prefix("/").unwrap_or(path).components();
        let path = path.as_path();
        if !path.as_os_str().is_empty() {
            self.entries
                .insert(path.to_owned(), Entry { mode, content });
        }
    }

    /// Adds a file that is in memory.
    pub fn add_bytes(&mut self, path: &str, bytes: impl Into<Vec<u8>>, mode: u32) {
        self.insert(Path::new(path), mode, Content::Bytes(bytes.into()));
    }

    /// Adds a directory for what a program has for a moment, which many expect.
    pub fn add_tmp(&mut self) {
        self.insert(Path::new("/tmp"), 0o1777, Content::Directory);
    }

    /// Adds a file, or a directory with all that is in it. Links within it stay what they are.
    pub fn add(&mut self, path: &Path, host: &Path) -> io::Result<()> {
        let at =
            |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", host.display()));
        // What the table names is followed, as a person means what it leads to.
        self.add_found(path, host, &fs::metadata(host).map_err(at)?)
            .map_err(|error| match error.kind() {
                io::ErrorKind::Unsupported => error,
                _ => at(error),
            })
    }

    fn add_found(&mut self, path: &Path, host: &Path, found: &Metadata) -> io::Result<()> {
        let mode = found.permissions().mode() & 0o7777;
        let kind = found.file_type();
        if kind.is_dir() {
            self.insert(path, mode, Content::Directory);
            for entry in fs::read_dir(host)? {
                let entry = entry?;
                let found = entry.path().symlink_metadata()?;
                self.add_found(&path.join(entry.file_name()), &entry.path(), &found)?;
            }
        } else if kind.is_symlink() {
            self.insert(path, 0o777, Content::Link(fs::read_link(host)?));
        } else if kind.is_file() {
            self.insert(path, mode, Content::Bytes(fs::read(host)?));
        } else {
            let what = match () {
                () if kind.is_socket() => "a socket",
                () if kind.is_fifo() => "a pipe",
                () => "a device",
            };
            let told = format!("{} is {what}, which no image holds", host.display());
            return Err(io::Error::new(io::ErrorKind::Unsupported, told));
        }
        Ok(())
    }

    /// Whether there is such a file, or a link to follow.
    pub fn file(&self, path: &str) -> Option<&[u8]> {
        let path = Path::new(path.strip_prefix('/').unwrap_or(path));
        match &self.entries.get(path)?.content {
            Content::Bytes(bytes) => Some(bytes),
            Content::Directory | Content::Link(_) => None,
        }
    }

    /// The image of this layer alone, whose reference is the digest of its content, as a node gets it: under names.
    pub fn into_image(
        self,
        entrypoint: &[String],
        names: impl FnOnce(&str) -> Vec<String>,
    ) -> io::Result<Image> {
        let (config, layer) = self.image(entrypoint, "/")?;
        let reference = format!("sha256:{}", hex(config.as_bytes()));
        let archive = archive(&config, &layer, &names(&reference))?;
        Ok(Image { reference, archive })
    }

    /// The configuration and the layer.
    fn image(&self, entrypoint: &[String], path: &str) -> io::Result<(String, Vec<u8>)> {
        let layer = self.tar()?;
        let entrypoint = match entrypoint {
            [] => Value::Null,
            words => json!(words),
        };
        let config = json!({
            "architecture": architecture(),
            "os": "linux",
            "config": {"Entrypoint": entrypoint, "User": USER, "Env": [format!("PATH={path}")]},
            "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{}", hex(&layer))]},
        });
        Ok((config.to_string(), layer))
    }

    fn tar(&self) -> io::Result<Vec<u8>> {
        let mut builder = tar::Builder::new(Vec::new());
        for (path, entry) in &self.entries {
            let mut header = header(entry.mode);
            match &entry.content {
                Content::Bytes(bytes) => {
                    header.set_size(bytes.len() as u64);
                    builder.append_data(&mut header, path, &bytes[..])?;
                }
                Content::Directory => {
                    header.set_entry_type(tar::EntryType::Directory);
                    builder.append_data(&mut header, path, io::empty())?;
                }
                Content::Link(target) => {
                    header.set_entry_type(tar::EntryType::Symlink);
                    builder.append_link(&mut header, path, target)?;
                }
            }
        }
        builder.into_inner()
    }
}

/// With owner root and time zero: only content may change a digest.
fn header(mode: u32) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_size(0);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header
}

/// An archive of one image under names.
fn archive(config: &str, layer: &[u8], names: &[String]) -> io::Result<Vec<u8>> {
    let config_name = format!("{}.json", hex(config.as_bytes()));
    let manifest = json!([{"Config": config_name, "RepoTags": names, "Layers": ["layer.tar"]}]);
    let manifest = manifest.to_string();
    let mut builder = tar::Builder::new(Vec::new());
    for (path, bytes) in [
        (&*config_name, config.as_bytes()),
        ("layer.tar", layer),
        ("manifest.json", manifest.as_bytes()),
    ] {
        let mut header = header(0o644);
        header.set_size(bytes.len() as u64);
        builder.append_data(&mut header, path, bytes)?;
    }
    builder.into_inner()
}

/// The architecture of the node, which is the machine's, as images name it (GOARCH).
pub fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn the_same_binary_has_the_same_name_and_another_has_not() {
        let one = of_binary("datastorage", b"\x7fELF one").unwrap();
        assert_eq!(
            one.reference,
            of_binary("datastorage", b"\x7fELF one").unwrap().reference
        );
        assert_ne!(
            one.reference,
            of_binary("datastorage", b"\x7fELF two").unwrap().reference
        );
    }

    /// A directory with files whose times and order of creation are its own.
    fn made(order: &[&str], mtime: u64) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("etc/deep")).unwrap();
        for name in order {
            let path = dir.path().join(name);
            fs::write(&path, format!("content of {name}")).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
            let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(mtime);
            fs::File::options()
                .write(true)
                .open(&path)
                .and_then(|file| file.set_modified(time))
                .unwrap();
        }
        symlink("deep/b", dir.path().join("etc/link")).unwrap();
        for inner in ["etc", "etc/deep"] {
            let mode = fs::Permissions::from_mode(0o755);
            fs::set_permissions(dir.path().join(inner), mode).unwrap();
        }
        dir
    }

    fn layer(dir: &Path, program_mode: u32) -> Layer {
        let mut layer = Layer::default();
        layer.add(Path::new("/etc/x/"), &dir.join("etc")).unwrap();
        layer.add_bytes("/app/run", b"program", program_mode);
        layer.add_tmp();
        layer
    }

    fn image(layer: Layer, entrypoint: &[&str]) -> Image {
        let entrypoint: Vec<_> = entrypoint.iter().map(|&word| word.to_owned()).collect();
        let names = |id: &str| vec![format!("localhost/{}", &id[7..]), "x:e2e".to_owned()];
        layer.into_image(&entrypoint, names).unwrap()
    }

    #[test]
    fn the_same_files_have_the_same_digest_whenever_and_in_whatever_order_they_were_made() {
        let one = made(&["etc/a", "etc/deep/b"], 1_000);
        let other = made(&["etc/deep/b", "etc/a"], 2_000);
        let digest = |dir: &Path| image(layer(dir, 0o755), &["/app/run"]).reference;
        assert_eq!(digest(one.path()), digest(other.path()));

        fs::write(other.path().join("etc/a"), "another").unwrap();
        assert_ne!(digest(one.path()), digest(other.path()));
        let starts = |words: &[&str]| image(layer(one.path(), 0o755), words).reference;
        assert_ne!(starts(&["/app/run"]), starts(&["/app/run", "--flag"]));
        let mode = |mode| image(layer(one.path(), mode), &[]).reference;
        assert_ne!(mode(0o755), mode(0o644));
    }

    #[test]
    fn an_archive_holds_the_files_with_their_modes_links_entrypoint_and_names() {
        let dir = made(&["etc/a", "etc/deep/b"], 1_000);
        let image = image(layer(dir.path(), 0o755), &["/app/run", "--flag"]);
        let mut files = BTreeMap::new();
        for entry in tar::Archive::new(&image.archive[..]).entries().unwrap() {
            let mut entry = entry.unwrap();
            let mut bytes = Vec::new();
            io::Read::read_to_end(&mut entry, &mut bytes).unwrap();
            files.insert(entry.path().unwrap().display().to_string(), bytes);
        }
        let read = |name: &str| serde_json::from_slice::<Value>(&files[name]).unwrap();
        let manifest = &read("manifest.json")[0];
        let id = image.reference.strip_prefix("sha256:").unwrap();
        assert_eq!(manifest["Config"], format!("{id}.json"));
        assert_eq!(
            manifest["RepoTags"],
            json!([format!("localhost/{id}"), "x:e2e"])
        );
        let config = read(&format!("{id}.json"));
        assert_eq!(
            config["config"]["Entrypoint"],
            json!(["/app/run", "--flag"])
        );
        assert_eq!(config["config"]["User"], USER);
        assert_eq!(
            config["rootfs"]["diff_ids"][0],
            format!("sha256:{}", hex(&files["layer.tar"]))
        );

        let mut told = Vec::new();
        for entry in tar::Archive::new(&files["layer.tar"][..])
            .entries()
            .unwrap()
        {
            let entry = entry.unwrap();
            let header = entry.header();
            assert_eq!((header.mtime().unwrap(), header.uid().unwrap()), (0, 0));
            let link = entry.link_name().unwrap();
            told.push(format!(
                "{} {:o} {}",
                entry.path().unwrap().display(),
                header.mode().unwrap(),
                link.map_or(String::new(), |link| link.display().to_string())
            ));
        }
        assert_eq!(
            told,
            [
                "app/run 755 ",
                "etc/x 755 ",
                "etc/x/a 640 ",
                "etc/x/deep 755 ",
                "etc/x/deep/b 640 ",
                "etc/x/link 777 deep/b",
                "tmp 1777 ",
            ]
        );
    }

    #[test]
    fn what_no_image_can_hold_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(dir.path().join("s.sock")).unwrap();
        let mut layer = Layer::default();
        let told = layer
            .add(Path::new("/x"), dir.path())
            .unwrap_err()
            .to_string();
        assert!(
            told.contains("s.sock is a socket, which no image holds"),
            "{told}"
        );
        let gone = layer.add(Path::new("/x"), &dir.path().join("gone"));
        assert!(gone.unwrap_err().to_string().contains("gone: No such file"));
    }
}
