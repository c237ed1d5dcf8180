//! An image in a file, as `docker save` writes it in either form or as an OCI layout in a tar: its configuration and its layers, each
//! compared with what the archive says of it.
//!
//! A layer that is not compressed is compressed here: always to the same bytes, so that its digest stays the same. Of a layer no more
//! than its compressed form is in memory, and of an archive that is compressed itself the whole.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Cursor, Read, Seek, SeekFrom, Write as _};
use std::path::{Component, Path, PathBuf};

use bytes::Bytes;
use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use crate::failure::{Failure, Kind};

/// A program of 12 MB becomes 5.2 MB in a quarter of a second, which pays wherever the network takes less than 25 MB a second, and
/// again for each node that pulls it. The fastest level saves half of that time and makes it a quarter larger.
const LEVEL: Compression = Compression::new(6);
/// More than this is no manifest, index or configuration.
const DOCUMENT: u64 = 4 << 20;
/// More than this is not unpacked into memory.
const UNPACKED: u64 = 4 << 30;
const GZIP: [u8; 2] = [0x1f, 0x8b];
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// Something that a registry keeps by its digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blob {
    /// What it is (OCI image specification, "Media Types").
    pub media_type: &'static str,
    /// `sha256:` and its SHA-256.
    pub digest: String,
    /// Its content.
    pub bytes: Bytes,
}

impl Blob {
    /// A blob of this content.
    pub fn new(media_type: &'static str, bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        Self {
            media_type,
            digest: digest(&Sha256::digest(&bytes)),
            bytes,
        }
    }
}

fn digest(sum: &[u8]) -> String {
    sum.iter().fold("sha256:".to_owned(), |text, byte| {
        text + &format!("{byte:02x}")
    })
}

trait Source: Read + Seek {}
impl<T: Read + Seek> Source for T {}

/// Where a member of an archive lies, or what it leads to.
enum Member {
    At(u64, u64),
    Link(PathBuf),
}

/// An archive of one image.
pub struct Archive {
    path: PathBuf,
    source: Box<dyn Source>,
    members: BTreeMap<PathBuf, Member>,
    config: Blob,
    layers: Vec<PathBuf>,
    /// The digests of the layers as they are when unpacked.
    unpacked: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    config: PathBuf,
    layers: Vec<PathBuf>,
}

#[derive(Deserialize)]
struct Index {
    manifests: Vec<Descriptor>,
}

#[derive(Deserialize)]
struct Manifest {
    config: Descriptor,
    layers: Vec<Descriptor>,
}

#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    #[serde(default)]
    media_type: String,
    digest: String,
    platform: Option<Platform>,
}

#[derive(Clone, Deserialize)]
struct Platform {
    architecture: String,
}

impl Descriptor {
    /// Where an OCI layout keeps it.
    fn path(&self) -> PathBuf {
        Path::new("blobs").join(self.digest.replacen(':', "/", 1))
    }

    fn is_index(&self) -> bool {
        self.media_type.contains("index") || self.media_type.contains("manifest.list")
    }
}

#[derive(Deserialize)]
struct Config {
    rootfs: RootFs,
}

#[derive(Deserialize)]
struct RootFs {
    diff_ids: Vec<String>,
}

impl Archive {
    /// Reads what an archive holds, but not its layers.
    pub fn open(path: &Path) -> Result<Self, Failure> {
        let mut archive = Self {
            path: path.to_owned(),
            source: Box::new(Cursor::new(Vec::new())),
            members: BTreeMap::new(),
            config: Blob::new("", Vec::new()),
            layers: Vec::new(),
            unpacked: Vec::new(),
        };
        let opened = File::open(path).and_then(unpacked).and_then(members);
        (archive.members, archive.source) =
            opened.map_err(|error| archive.broken(&error.to_string()))?;

        let has = |name: &str| archive.members.contains_key(Path::new(name));
        let (config, layers) = if has("manifest.json") {
            archive.saved()?
        } else if has("index.json") {
            archive.laid_out()?
        } else {
            return Err(archive.broken("it has neither manifest.json nor index.json"));
        };
        let bytes = archive.document(&config)?;
        let read: Config = archive.parsed(&config, &bytes)?;
        if read.rootfs.diff_ids.len() != layers.len() {
            return Err(archive.broken("its configuration is of other layers"));
        }
        archive.config = Blob::new("application/vnd.oci.image.config.v1+json", bytes);
        archive.unpacked = read.rootfs.diff_ids;
        archive.layers = layers;
        Ok(archive)
    }

    /// The configuration.
    pub fn config(&self) -> &Blob {
        &self.config
    }

    /// How many layers there are.
    pub fn layers(&self) -> usize {
        self.layers.len()
    }

    /// A layer, from the lowest, compressed.
    pub fn layer(&mut self, index: usize) -> Result<Blob, Failure> {
        let (path, unpacked) = (self.layers[index].clone(), self.unpacked[index].clone());
        let (layer, sum) = self
            .compressed(&path)
            .map_err(|error| self.broken(&format!("{}: {error}", path.display())))?;
        let named = path.strip_prefix("blobs/sha256").ok();
        let named = named.map(|name| format!("sha256:{}", name.display()));
        let differs = match &sum {
            Some(sum) => *sum != unpacked,
            // That compression is not undone here; its layout names what it has to be.
            None => named.as_ref().is_some_and(|named| *named != layer.digest),
        };
        if differs {
            let what = format!(
                "{} is not the layer that its configuration names",
                path.display()
            );
            return Err(self.broken(&what));
        }
        Ok(layer)
    }

    /// A layer as it is sent, and its digest unpacked where that is known.
    fn compressed(&mut self, path: &Path) -> io::Result<(Blob, Option<String>)> {
        const OF_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
        let mut member = self.member(path)?;
        let mut head = [0; 4];
        let read = member.read(&mut head)?;
        let head = &head[..read];
        let mut whole = head.chain(member);
        if head.starts_with(&GZIP) || *head == ZSTD {
            let mut bytes = Vec::new();
            whole.read_to_end(&mut bytes)?;
            if *head == ZSTD {
                let media_type = "application/vnd.oci.image.layer.v1.tar+zstd";
                return Ok((Blob::new(media_type, bytes), None));
            }
            let mut sum = Sum::default();
            io::copy(&mut MultiGzDecoder::new(&bytes[..]), &mut sum)?;
            return Ok((Blob::new(OF_GZIP, bytes), Some(sum.digest())));
        }
        let (mut sum, mut encoder) = (Sum::default(), GzEncoder::new(Vec::new(), LEVEL));
        let mut chunk = vec![0; 1 << 16];
        loop {
            let read = whole.read(&mut chunk)?;
            if read == 0 {
                break;
            }
            sum.write_all(&chunk[..read])?;
            encoder.write_all(&chunk[..read])?;
        }
        Ok((Blob::new(OF_GZIP, encoder.finish()?), Some(sum.digest())))
    }

    /// What `docker save` says.
    fn saved(&mut self) -> Result<(PathBuf, Vec<PathBuf>), Failure> {
        let path = Path::new("manifest.json");
        let bytes = self.document(path)?;
        let mut saved: Vec<Saved> = self.parsed(path, &bytes)?;
        match (saved.pop(), saved.len()) {
            (Some(one), 0) => Ok((one.config, one.layers)),
            _ => Err(self.broken("it does not hold one image")),
        }
    }

    /// What an OCI layout says: of several platforms, the one of this machine.
    fn laid_out(&mut self) -> Result<(PathBuf, Vec<PathBuf>), Failure> {
        let mut index = PathBuf::from("index.json");
        // An index may name another one; more than a few is a circle.
        for _ in 0..4 {
            let bytes = self.document(&index)?;
            let read: Index = self.parsed(&index, &bytes)?;
            let here = architecture();
            let of = |one: &Descriptor| one.platform.clone().map(|platform| platform.architecture);
            // What is of no known platform says how an image was made.
            let images = read
                .manifests
                .iter()
                .filter(|one| of(one).as_deref() != Some("unknown"));
            let images: Vec<_> = images.collect();
            let only = (images.len() == 1).then(|| images[0]);
            let image = only.or_else(|| {
                let mut images = images.iter();
                images.find(|one| of(one).as_deref() == Some(here)).copied()
            });
            let Some(image) = image else {
                return Err(self.broken(&format!("it does not hold one image for {here}")));
            };
            if image.is_index() {
                index = image.path();
                continue;
            }
            let path = image.path();
            let bytes = self.document(&path)?;
            let manifest: Manifest = self.parsed(&path, &bytes)?;
            let layers = manifest.layers.iter().map(Descriptor::path).collect();
            return Ok((manifest.config.path(), layers));
        }
        Err(self.broken("its index leads nowhere"))
    }

    fn document(&mut self, path: &Path) -> Result<Vec<u8>, Failure> {
        let mut bytes = Vec::new();
        let read = self
            .member(path)
            .and_then(|member| member.take(DOCUMENT).read_to_end(&mut bytes));
        let told = |error: io::Error| self.broken(&format!("{}: {error}", path.display()));
        read.map_err(told)?;
        Ok(bytes)
    }

    fn parsed<'a, T: Deserialize<'a>>(&self, path: &Path, bytes: &'a [u8]) -> Result<T, Failure> {
        serde_json::from_slice(bytes)
            .map_err(|error| self.broken(&format!("{}: {error}", path.display())))
    }

    /// A file of the archive, links followed.
    fn member(&mut self, path: &Path) -> io::Result<impl Read> {
        let mut path = path.to_owned();
        for _ in 0..8 {
            match self.members.get(&path) {
                Some(Member::At(from, length)) => {
                    let (from, length) = (*from, *length);
                    self.source.seek(SeekFrom::Start(from))?;
                    return Ok((&mut self.source).take(length));
                }
                Some(Member::Link(target)) => path.clone_from(target),
                None => break,
            }
        }
        Err(io::Error::other("it is not in the archive"))
    }

    fn broken(&self, why: &str) -> Failure {
        Failure::new(
            Kind::BrokenArchive,
            format!(
                "{} is no whole archive of an image: {why}",
                self.path.display()
            ),
            "make it anew, as `docker save --output FILE IMAGE` does",
        )
    }
}

/// A digest while it is computed.
#[derive(Default)]
struct Sum(Sha256);

impl Sum {
    fn digest(self) -> String {
        digest(&self.0.finalize())
    }
}

impl io::Write for Sum {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// An archive as it is in a file, or in memory where it is compressed.
fn unpacked(mut file: File) -> io::Result<Box<dyn Source>> {
    let mut head = Vec::new();
    (&mut file).take(2).read_to_end(&mut head)?;
    file.rewind()?;
    if head != GZIP {
        return Ok(Box::new(BufReader::new(file)));
    }
    let mut bytes = Vec::new();
    let read = MultiGzDecoder::new(file)
        .take(UNPACKED)
        .read_to_end(&mut bytes)?;
    if read as u64 == UNPACKED {
        return Err(io::Error::other(
            "it is too large to be compressed as a whole",
        ));
    }
    Ok(Box::new(Cursor::new(bytes)))
}

/// What an archive holds, and the archive.
fn members(source: Box<dyn Source>) -> io::Result<(BTreeMap<PathBuf, Member>, Box<dyn Source>)> {
    let (mut members, mut archive) = (BTreeMap::new(), tar::Archive::new(source));
    for entry in archive.entries_with_seek()? {
        let entry = entry?;
        let path = plain(&entry.path()?);
        let member = match entry.link_name()? {
            Some(target) if entry.header().entry_type().is_symlink() => {
                Member::Link(plain(&path.join("..").join(target)))
            }
            Some(target) => Member::Link(plain(&target)),
            None => Member::At(entry.raw_file_position(), entry.size()),
        };
        members.insert(path, member);
    }
    Ok((members, archive.into_inner()))
}

/// A path without `.` and `..`, from the root of the archive.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => plain.push(name),
            Component::ParentDir => drop(plain.pop()),
            Component::CurDir | Component::RootDir | Component::Prefix(_) => (),
        }
    }
    plain
}

/// The architecture of this machine as images name it (GOARCH).
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    /// A tar of these files, in this order.
    fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (path, bytes) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            builder
                .append_data(&mut header, path, *bytes)
                .expect("in memory");
        }
        builder.into_inner().expect("in memory")
    }

    fn sum(bytes: &[u8]) -> String {
        digest(&Sha256::digest(bytes))
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(bytes).expect("in memory");
        encoder.finish().expect("in memory")
    }

    /// A layer with a file, and the configuration of an image of it.
    fn image(content: &str) -> (Vec<u8>, Vec<u8>) {
        let layer = tar(&[("usr/bin/x", content.as_bytes())]);
        let config = json!({"os": "linux", "rootfs": {"diff_ids": [sum(&layer)]}});
        (layer, config.to_string().into_bytes())
    }

    fn saved(config: &str, layer: &str) -> Vec<u8> {
        json!([{"Config": config, "RepoTags": null, "Layers": [layer]}])
            .to_string()
            .into_bytes()
    }

    fn opened(archive: &[u8]) -> Result<(Archive, tempfile::TempDir), Failure> {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("x.tar");
        std::fs::write(&path, archive).expect("a file");
        Ok((Archive::open(&path)?, dir))
    }

    fn read(archive: &[u8]) -> Result<(Blob, Blob), Failure> {
        let (mut archive, _dir) = opened(archive)?;
        assert_eq!(archive.layers(), 1);
        Ok((archive.config().clone(), archive.layer(0)?))
    }

    #[test]
    fn each_form_of_the_same_image_gives_the_same_configuration_and_the_same_layer() {
        let (layer, config) = image("one");
        let path = |bytes: &[u8]| format!("blobs/{}", sum(bytes).replace(':', "/"));
        let (layer_path, config_path) = (path(&layer), path(&config));
        let older = tar(&[
            ("c.json", &config),
            ("layer.tar", &layer),
            ("manifest.json", &saved("c.json", "layer.tar")),
        ]);
        let newer = tar(&[
            (&layer_path, &layer),
            (&config_path, &config),
            ("manifest.json", &saved(&config_path, &layer_path)),
            ("index.json", b"{}"),
        ]);
        let manifest = json!({
            "config": {"digest": sum(&config)}, "layers": [{"digest": sum(&layer)}]
        });
        let manifest = manifest.to_string().into_bytes();
        let other = json!({"architecture": "other"});
        let inner = json!({"manifests": [
            {"digest": "sha256:0", "platform": other},
            {"digest": sum(&manifest), "platform": {"architecture": architecture()}},
            {"digest": "sha256:1", "platform": {"architecture": "unknown"}},
        ]});
        let inner = inner.to_string().into_bytes();
        let index = json!({"manifests": [{
            "mediaType": "application/vnd.oci.image.index.v1+json", "digest": sum(&inner)
        }]});
        let laid_out = tar(&[
            ("index.json", index.to_string().as_bytes()),
            (&path(&inner), &inner),
            (&path(&manifest), &manifest),
            (&config_path, &config),
            (&layer_path, &layer),
        ]);
        let (of_config, of_layer) = read(&older).expect("an image");
        assert_eq!(&of_config.bytes[..], config);
        let mut unpacked = Vec::new();
        MultiGzDecoder::new(&of_layer.bytes[..])
            .read_to_end(&mut unpacked)
            .expect("it is compressed");
        assert_eq!(unpacked, layer);
        for other in [older.clone(), newer, laid_out, gzip(&older)] {
            assert_eq!(read(&other), Ok((of_config.clone(), of_layer.clone())));
        }
    }

    #[test]
    fn a_layer_that_is_compressed_is_sent_as_it_is_and_a_link_to_it_is_followed() {
        let (layer, config) = image("one");
        let compressed = gzip(&layer);
        let mut builder = tar::Builder::new(tar(&[("a/layer.tar", &compressed)]));
        // Over the two empty blocks that end an archive.
        let end = builder.get_ref().len() - 1024;
        builder.get_mut().truncate(end);
        let mut link = tar::Header::new_gnu();
        link.set_entry_type(tar::EntryType::Symlink);
        link.set_size(0);
        builder
            .append_link(&mut link, "b/layer.tar", "../a/layer.tar")
            .expect("in memory");
        for (path, bytes) in [
            ("c.json", &config),
            ("manifest.json", &saved("c.json", "b/layer.tar")),
        ] {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            builder
                .append_data(&mut header, path, &bytes[..])
                .expect("in memory");
        }
        let archive = builder.into_inner().expect("in memory");
        let (_, blob) = read(&archive).expect("an image");
        assert_eq!(
            (&blob.bytes[..], blob.digest),
            (&compressed[..], sum(&compressed))
        );
    }

    #[test]
    fn what_is_no_whole_archive_is_told_by_what_is_wrong_with_it() {
        let (layer, config) = image("one");
        let (other, _) = image("two");
        let of = |layer: &[u8], manifest: &[u8]| {
            tar(&[
                ("c.json", &config),
                ("manifest.json", manifest),
                ("layer.tar", layer),
            ])
        };
        let good = saved("c.json", "layer.tar");
        let mut two: Value = serde_json::from_slice(&good).expect("JSON");
        let one = two[0].clone();
        two.as_array_mut().expect("images").push(one);
        let whole = of(&layer, &good);
        for (archive, why) in [
            (
                b"no tar, just words that are long enough".to_vec(),
                "failed to read entire block",
            ),
            (tar(&[("x", b"y")]), "neither manifest.json nor index.json"),
            (
                of(&other, &good),
                "is not the layer that its configuration names",
            ),
            (whole[..whole.len() - 2048].to_vec(), "is not the layer"),
            (
                of(&layer, two.to_string().as_bytes()),
                "does not hold one image",
            ),
            (
                of(&layer, &saved("c.json", "gone.tar")),
                "gone.tar: it is not in the archive",
            ),
            (of(&layer, &saved("layer.tar", "layer.tar")), "layer.tar: "),
            (of(&layer, b"[{"), "manifest.json: EOF"),
        ] {
            let failure = read(&archive).expect_err(why);
            assert_eq!(failure.kind, Kind::BrokenArchive);
            assert!(failure.what.contains(why), "{why}: {failure}");
        }
        let gone = Archive::open(Path::new("/gone.tar"))
            .err()
            .expect("it is gone");
        assert!(gone.what.contains("/gone.tar") && gone.what.contains("No such file"));
    }
}
