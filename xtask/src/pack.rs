//! Makes an image archive small: what `docker save` writes, with its layers compressed.
//!
//! Layers are named by the digest of their uncompressed bytes in the image's configuration, which stays as it is, so the image
//! keeps its id (OCI image specification, "Image Layer Filesystem Changeset").

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Cursor, Read, Seek, Write};
use std::path::{Component, Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use serde::{Deserialize, Serialize};

/// What is larger than this is a layer and not a description of one.
const DESCRIPTION: u64 = 1 << 20;
/// Half the bytes for a third of the time that higher levels take.
const LEVEL: Compression = Compression::new(1);
/// How the formats that a layer may be compressed by already begin: gzip (RFC 1952) and Zstandard (RFC 8878).
const COMPRESSED: [&[u8]; 2] = [&[0x1f, 0x8b], &[0x28, 0xb5, 0x2f, 0xfd]];
/// Describes the archive's images.
const MANIFEST: &str = "manifest.json";

/// One image of [`MANIFEST`]; layers from the lowest up.
#[derive(Deserialize, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Image {
    config: PathBuf,
    repo_tags: Option<Vec<String>>,
    layers: Vec<PathBuf>,
}

/// A file of the archive that is read.
enum Entry {
    Description(Vec<u8>),
    /// Compressed, and its length.
    Layer(File, u64),
    Link(PathBuf),
}

/// Writes the one image of the archive `saved` to `packed`, layers compressed, under one further name. Layers lie in nameless files
/// in `directory` meanwhile.
///
/// # Errors
/// An archive that is cut short or holds anything but one image; whatever reading and writing fails with.
pub fn pack(
    saved: &mut impl Read,
    name: &str,
    directory: &Path,
    packed: &mut impl Write,
) -> io::Result<()> {
    let mut entries = read(saved, directory)?;
    let Some(Entry::Description(manifest)) = entries.get(Path::new(MANIFEST)) else {
        return Err(invalid("it has no manifest.json"));
    };
    let images: Vec<Image> = serde_json::from_slice(manifest)?;
    let Ok([mut image]) = <[Image; 1]>::try_from(images) else {
        return Err(invalid("it does not hold one image"));
    };
    image
        .repo_tags
        .get_or_insert_default()
        .push(name.to_owned());

    let mut archive = tar::Builder::new(packed);
    let config = description(&entries, &image.config)?.to_owned();
    image.config = "config.json".into();
    append(&mut archive, &image.config, config.len() as u64, &*config)?;
    for (number, layer) in image.layers.iter_mut().enumerate() {
        let path = resolve(&entries, layer)?;
        *layer = format!("{number}.tar.gz").into();
        match entries.get_mut(&path) {
            Some(Entry::Layer(file, length)) => {
                file.rewind()?;
                append(&mut archive, layer, *length, &*file)?;
            }
            Some(Entry::Description(bytes)) => {
                let bytes = compress(Cursor::new(bytes), Vec::new())?;
                append(&mut archive, layer, bytes.len() as u64, &*bytes)?;
            }
            _ => return Err(invalid(&format!("it has no {}", path.display()))),
        }
    }
    let manifest = serde_json::to_vec(&[image])?;
    append(
        &mut archive,
        Path::new(MANIFEST),
        manifest.len() as u64,
        &*manifest,
    )?;
    archive.into_inner()?.flush()
}

/// Every file of the archive by its path.
fn read(saved: &mut impl Read, directory: &Path) -> io::Result<HashMap<PathBuf, Entry>> {
    let mut entries = HashMap::new();
    for entry in tar::Archive::new(saved).entries()? {
        let mut entry = entry?;
        let path = entry.path()?.into_owned();
        let read = match (entry.link_name()?, entry.size()) {
            (Some(target), _) if entry.header().entry_type().is_hard_link() => {
                Entry::Link(target.into_owned())
            }
            (Some(target), _) => {
                Entry::Link(within(&path.parent().unwrap_or(Path::new("")).join(target)))
            }
            _ if !entry.header().entry_type().is_file() => continue,
            (None, size) if size <= DESCRIPTION => {
                let mut bytes = Vec::new();
                entry.read_to_end(&mut bytes)?;
                Entry::Description(bytes)
            }
            (None, _) => {
                let mut file = compress(&mut entry, tempfile::tempfile_in(directory)?)?;
                let length = file.stream_position()?;
                Entry::Layer(file, length)
            }
        };
        entries.insert(path, read);
    }
    Ok(entries)
}

/// Copies `layer`, compressed unless it is already.
fn compress<W: Write>(mut layer: impl Read, mut into: W) -> io::Result<W> {
    let mut start = Vec::new();
    layer.by_ref().take(4).read_to_end(&mut start)?;
    let compressed = COMPRESSED.iter().any(|magic| start.starts_with(magic));
    let mut whole = Cursor::new(start).chain(layer);
    if compressed {
        io::copy(&mut whole, &mut into)?;
        return Ok(into);
    }
    let mut encoder = GzEncoder::new(into, LEVEL);
    io::copy(&mut whole, &mut encoder)?;
    encoder.finish()
}

/// The path that a chain of links ends at.
fn resolve(entries: &HashMap<PathBuf, Entry>, path: &Path) -> io::Result<PathBuf> {
    let mut path = path;
    // A chain longer than the archive is a circle.
    for _ in 0..=entries.len() {
        match entries.get(path) {
            Some(Entry::Link(target)) => path = target,
            _ => return Ok(path.to_owned()),
        }
    }
    Err(invalid(&format!("{} links to itself", path.display())))
}

fn description<'a>(entries: &'a HashMap<PathBuf, Entry>, path: &Path) -> io::Result<&'a [u8]> {
    match entries.get(&resolve(entries, path)?) {
        Some(Entry::Description(bytes)) => Ok(bytes),
        _ => Err(invalid(&format!("it has no {}", path.display()))),
    }
}

/// `a/../b` as `b`.
fn within(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => drop(plain.pop()),
            Component::Normal(name) => plain.push(name),
            _ => {}
        }
    }
    plain
}

fn append(
    archive: &mut tar::Builder<impl Write>,
    path: &Path,
    length: u64,
    bytes: impl Read,
) -> io::Result<()> {
    crate::image::append(archive, path, 0o644, length, bytes)
}

fn invalid(why: &str) -> io::Error {
    let text = format!("what Docker wrote is no archive of an image: {why}");
    io::Error::new(io::ErrorKind::InvalidData, text)
}

#[cfg(test)]
mod tests {
    use flate2::read::GzDecoder;

    use super::*;

    fn layer(seed: u8) -> Vec<u8> {
        // Larger than a description.
        (0..DESCRIPTION + 4096)
            .map(|at| u8::try_from(at % 251).unwrap() ^ seed)
            .collect()
    }

    fn tar(files: &[(&str, &[u8])], links: &[(&str, &str)]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (path, bytes) in files {
            append(&mut builder, Path::new(path), bytes.len() as u64, *bytes).unwrap();
        }
        for (path, target) in links {
            let mut header = tar::Header::new_ustar();
            header.set_entry_type(tar::EntryType::Symlink);
            header.set_size(0);
            builder.append_link(&mut header, path, target).unwrap();
        }
        builder.into_inner().unwrap()
    }

    fn packed(archive: &[u8]) -> io::Result<HashMap<String, Vec<u8>>> {
        let mut packed = Vec::new();
        let directory = std::env::temp_dir();
        pack(&mut &*archive, "content:1", &directory, &mut packed)?;
        tar::Archive::new(&*packed)
            .entries()?
            .map(|entry| {
                let mut entry = entry?;
                let mut bytes = Vec::new();
                entry.read_to_end(&mut bytes)?;
                Ok((entry.path()?.display().to_string(), bytes))
            })
            .collect()
    }

    fn plain(bytes: &[u8]) -> Vec<u8> {
        let mut plain = Vec::new();
        GzDecoder::new(bytes).read_to_end(&mut plain).unwrap();
        plain
    }

    #[test]
    fn an_archive_of_either_form_keeps_its_configuration_and_every_byte_of_its_layers() {
        let (large, small) = (layer(1), b"small".as_slice());
        let legacy = tar(
            &[
                ("a/layer.tar", &large),
                ("b/layer.tar", small),
                ("abc.json", b"{}"),
                (
                    MANIFEST,
                    br#"[{"Config":"abc.json","RepoTags":["it:1"],"Layers":["a/layer.tar","b/layer.tar","c/layer.tar"]}]"#,
                ),
            ],
            // A layer that occurs twice is a link the second time.
            &[("c/layer.tar", "../a/layer.tar")],
        );
        let oci = tar(
            &[
                ("blobs/sha256/1", &large),
                ("blobs/sha256/2", small),
                ("blobs/sha256/3", b"{}"),
                ("index.json", b"{}"),
                (
                    MANIFEST,
                    br#"[{"Config":"blobs/sha256/3","RepoTags":["it:1"],"Layers":["blobs/sha256/1","blobs/sha256/2","blobs/sha256/1"]}]"#,
                ),
            ],
            &[],
        );
        for archive in [legacy, oci] {
            let packed = packed(&archive).unwrap();
            assert_eq!(
                std::str::from_utf8(&packed[MANIFEST]).unwrap(),
                r#"[{"Config":"config.json","RepoTags":["it:1","content:1"],"Layers":["0.tar.gz","1.tar.gz","2.tar.gz"]}]"#
            );
            assert_eq!(packed["config.json"], b"{}");
            assert!(packed["0.tar.gz"].len() < large.len() / 2);
            assert_eq!(plain(&packed["0.tar.gz"]), large);
            assert_eq!(plain(&packed["1.tar.gz"]), small);
            assert_eq!(plain(&packed["2.tar.gz"]), large);
        }
    }

    #[test]
    fn a_layer_that_is_compressed_already_stays_as_it_is() {
        let compressed = [&[0x28, 0xb5, 0x2f, 0xfd][..], &layer(2)].concat();
        let archive = tar(
            &[
                ("l", &compressed),
                ("c", b"{}"),
                (
                    MANIFEST,
                    br#"[{"Config":"c","RepoTags":null,"Layers":["l"]}]"#,
                ),
            ],
            &[],
        );
        let packed = packed(&archive).unwrap();
        assert_eq!(packed["0.tar.gz"], compressed);
        assert!(String::from_utf8_lossy(&packed[MANIFEST]).contains(r#"["content:1"]"#));
    }

    #[test]
    fn what_is_no_image_is_refused_with_the_reason() {
        let one = br#"[{"Config":"c","RepoTags":null,"Layers":["l"]}]"#.as_slice();
        let two = br#"[{"Config":"c","Layers":[]},{"Config":"c","Layers":[]}]"#.as_slice();
        let refused = |files: &[(&str, &[u8])], links: &[(&str, &str)], why: &str| {
            let error = packed(&tar(files, links)).unwrap_err();
            assert!(error.to_string().contains(why), "{error}");
        };
        let config = ("c", b"{}".as_slice());
        refused(&[("x", b"y")], &[], "no manifest.json");
        refused(&[(MANIFEST, two)], &[], "does not hold one image");
        refused(&[(MANIFEST, one)], &[], "it has no c");
        refused(&[(MANIFEST, one), config], &[], "it has no l");
        refused(&[(MANIFEST, one), config], &[("l", "l")], "links to itself");
        let whole = tar(&[("l", &layer(3)), (MANIFEST, one)], &[]);
        assert!(packed(&whole[..whole.len() / 2]).is_err(), "cut short");
    }
}
