//! A prepared node as one file, for the cache of a continuous-integration system: written, read, listed.
//!
//! The file is a tar archive that other programs can list: what it is, the images as `docker save` gives them, the content of each
//! volume, and last the SHA-256 of every one of these. Docker says beforehand how long none of them is, so each is cut into pieces of a
//! few megabytes; nothing is ever whole in memory or in a second file. It is not compressed: caches do that themselves, on all
//! processors.
//!
//! What is imported later runs as a privileged container. Whoever can write the file is root where it is imported: the checksums
//! find a file that is cut or damaged, not one that is forged.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Error as IoError, Read, Write};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tar::{Archive, Builder, Entries, Entry, Header};

use crate::exit::{Exit, Failure};
use crate::fingerprint::{digits, fingerprint};
use crate::process::{Command, Error, Runner};
use crate::run::kind::node_image::{
    MadeFrom, REPOSITORY, discard, find, finish, image_of, is_key, keys, locked, made_from, maker,
    name, part_of, wanted,
};
use crate::settings::node_image;
use crate::table::part::Part;
use crate::tools::{daemon, docker};

/// The first entry: what the file is.
const WHAT: &str = "kubernaut-node.json";
/// The last entry: the SHA-256 of all between.
const END: &str = "end.json";
/// Where the pieces of the images are.
const IMAGES: &str = "images";
/// The longest of the pieces that what Docker gives is cut into.
const PIECE: usize = 8 << 20;
/// Of the two entries that are read whole.
const LONGEST_TEXT: u64 = 1 << 20;
/// What these files look like now.
const FORMAT: u32 = 1;
/// How long a run that prepares the same node is waited for.
const PATIENCE: Duration = Duration::from_mins(5);

/// What a file holds.
#[derive(Debug, Deserialize, Serialize)]
struct What {
    format: u32,
    key: String,
    made_from: MadeFrom,
    /// The tags of the images that it holds, less that of the first one: the key.
    images: Vec<String>,
    volumes: Vec<String>,
}

/// A prepared node of this machine.
#[derive(Debug, Serialize)]
pub struct Listed {
    /// Its key, which is the tag of its image and the end of its volume's name.
    pub key: String,
    /// Its images, and how many bytes each takes with what it shares with others.
    pub images: BTreeMap<String, Option<u64>>,
    /// Its volumes, and what Docker says of their size.
    pub volumes: BTreeMap<String, Option<String>>,
    /// What it was made from; nothing where an earlier version of the tool made it.
    pub made_from: Option<MadeFrom>,
}

/// What became of a file that was to be imported.
#[derive(Debug)]
pub enum Imported {
    /// The next run that needs it finds it, under this name.
    Ready(String),
    /// It was there already, under this name; nothing was read.
    There(String),
    /// No run on this machine would use it, for a reason; nothing was made.
    Unused(String),
}

/// All prepared nodes.
pub fn list(runner: &Runner) -> Result<Vec<Listed>, Failure> {
    let setup = |error: Error| error.into_failure(Exit::Preflight, runner.cancel());
    usable(runner)?;
    let sizes = docker::volume_sizes(runner);
    let listed = keys(runner).into_iter().map(|key| {
        let image = |tag: String| {
            let image = image_of(&tag);
            let bytes = docker::image_size(runner, &image);
            (image, bytes)
        };
        let volumes = volumes_of(runner, &key)?;
        Ok(Listed {
            images: tags_of(runner, &key).into_iter().map(image).collect(),
            volumes: volumes
                .into_iter()
                .map(|volume| (volume.clone(), sizes.get(&volume).cloned()))
                .collect(),
            made_from: made_from(runner, &key),
            key,
        })
    });
    listed.collect::<Result<_, Error>>().map_err(setup)
}

/// Fails unless Docker answers on this machine.
fn usable(runner: &Runner) -> Result<(), Failure> {
    let daemon = daemon::ask(runner)
        .map_err(|error| error.into_failure(Exit::Preflight, runner.cancel()))?;
    daemon.usable().map(drop)
}

/// Whether a name is the key, or the key and more that goes with it.
fn is_of(name: &str, key: &str) -> bool {
    let rest = name.strip_prefix(key);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}

/// The tags of all images of a key, its own first.
fn tags_of(runner: &Runner, key: &str) -> Vec<String> {
    let tags = docker::tags(runner, REPOSITORY).into_iter();
    let mut tags: Vec<String> = tags.filter(|tag| is_of(tag, key)).collect();
    // One that is in the making has a dot.
    tags.retain(|tag| !tag.contains('.'));
    tags.sort();
    tags
}

fn volumes_of(runner: &Runner, key: &str) -> Result<Vec<String>, Error> {
    let own = name(key);
    let mut volumes = docker::volumes(runner, &own)?;
    volumes.retain(|volume| is_of(volume, &own));
    volumes.sort();
    Ok(volumes)
}

/// A name for what runs with these parts would prepare here, by the names of images alone: what a cache is asked for before anything
/// is pulled.
pub fn cache_key<'a>(
    runner: &Runner,
    parts: impl Iterator<Item = &'a Part>,
) -> Result<String, Failure> {
    let (base, images) = wanted(runner, node_image(), parts).map_err(|why| {
        Failure::new(Exit::Preflight, why).hint("set KIND_NODE_IMAGE to a node image's name")
    })?;
    let maker = maker();
    let words = [&*base, &*maker].into_iter();
    let words: Vec<&str> = words.chain(images.iter().map(String::as_str)).collect();
    Ok(format!("kubernaut-node-{}", &fingerprint(&words)[..12]))
}

/// Writes a node, unless a key names another the last made of those that say what they were made from, and returns its key.
pub fn export(
    runner: &Runner,
    wanted: Option<&str>,
    file: &mut impl Write,
) -> Result<String, Failure> {
    let setup = |error: Error| error.into_failure(Exit::Setup, runner.cancel());
    usable(runner)?;
    let all = keys(runner);
    let key = match wanted {
        Some(key) => all.iter().find(|one| *one == key),
        None => newest(runner, &all),
    };
    let Some(key) = key else {
        let what = match wanted {
            Some(key) => format!("no prepared node here has the key {key}"),
            None => "no node is prepared here".to_owned(),
        };
        let hint = "a run on Kind prepares one: `cargo xtask node` lists what is here";
        return Err(Failure::new(Exit::Usage, what).hint(hint));
    };
    let _lock = locked(runner, key, PATIENCE)?;
    let Some(made_from) = made_from(runner, key) else {
        let what = format!(
            "the node {key} does not say what it was made from: an earlier version of the tool made it"
        );
        let hint = format!(
            "remove it, and the next run makes it anew: docker image rm {} && docker volume rm {}",
            image_of(key),
            name(key)
        );
        return Err(Failure::new(Exit::Setup, what).hint(hint));
    };
    let what = What {
        format: FORMAT,
        key: key.clone(),
        made_from,
        images: tags_of(runner, key),
        volumes: volumes_of(runner, key).map_err(setup)?,
    };
    // Under the names that they are to have before all else is there too.
    let parts: Vec<String> = what.images.iter().map(|tag| part_of(tag)).collect();
    for (tag, part) in what.images.iter().zip(&parts) {
        docker::tag(runner, &image_of(tag), part).map_err(setup)?;
    }
    let written = write(runner, &what, &parts, file);
    for part in &parts {
        docker::remove_unused_image(runner, part);
    }
    written?;
    Ok(key.clone())
}

/// The node that was made last and can be written, or where none can be, the one that was made last: the failure names it.
fn newest<'a>(runner: &Runner, keys: &'a [String]) -> Option<&'a String> {
    keys.iter().max_by_key(|key| {
        let can_be_written = made_from(runner, key).is_some();
        (can_be_written, docker::created(runner, &image_of(key)))
    })
}

fn write(
    runner: &Runner,
    what: &What,
    parts: &[String],
    file: &mut impl Write,
) -> Result<(), Failure> {
    let setup = |error: Error| error.into_failure(Exit::Setup, runner.cancel());
    let unwritten =
        |error: IoError| Failure::setup(format!("the archive cannot be written: {error}"));
    let mut archive = Builder::new(file);
    let mut sums = BTreeMap::new();
    add(
        &mut archive,
        WHAT,
        &serde_json::to_vec_pretty(what).unwrap_or_default(),
    )
    .map_err(unwritten)?;
    let mut pieces = Pieces::new(&mut archive, IMAGES);
    let save = docker::save(runner, parts).deadline(docker::ARCHIVED);
    save.write_to(&mut pieces).map_err(setup)?;
    sums.insert(IMAGES.to_owned(), pieces.end().map_err(unwritten)?);
    for volume in &what.volumes {
        let mut pieces = Pieces::new(&mut archive, volume);
        docker::pack_volume(runner, volume, &image_of(&what.key))
            .write_to(&mut pieces)
            .map_err(setup)?;
        sums.insert(volume.clone(), pieces.end().map_err(unwritten)?);
    }
    add(
        &mut archive,
        END,
        &serde_json::to_vec_pretty(&sums).unwrap_or_default(),
    )
    .map_err(unwritten)?;
    let file = archive.into_inner().map_err(unwritten)?;
    file.flush().map_err(unwritten)
}

fn add(archive: &mut Builder<&mut impl Write>, name: &str, bytes: &[u8]) -> Result<(), IoError> {
    let mut header = Header::new_gnu();
    header.set_mode(0o644);
    header.set_size(bytes.len() as u64);
    archive.append_data(&mut header, name, bytes)
}

/// What is written here goes into an archive as one entry after the other.
struct Pieces<'a, 'b, W: Write> {
    archive: &'a mut Builder<&'b mut W>,
    name: &'a str,
    count: usize,
    waiting: Vec<u8>,
    sum: Sha256,
}

impl<'a, 'b, W: Write> Pieces<'a, 'b, W> {
    fn new(archive: &'a mut Builder<&'b mut W>, name: &'a str) -> Self {
        Self {
            archive,
            name,
            count: 0,
            waiting: Vec::with_capacity(PIECE),
            sum: Sha256::new(),
        }
    }

    fn put(&mut self) -> Result<(), IoError> {
        if !self.waiting.is_empty() {
            let name = format!("{}/{:06}", self.name, self.count);
            add(self.archive, &name, &self.waiting)?;
            self.count += 1;
            self.waiting.clear();
        }
        Ok(())
    }

    /// The SHA-256 of everything.
    fn end(mut self) -> Result<String, IoError> {
        self.put()?;
        Ok(hex(&self.sum))
    }
}

impl<W: Write> Write for Pieces<'_, '_, W> {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, IoError> {
        let taken = bytes.len().min(PIECE - self.waiting.len());
        self.sum.update(&bytes[..taken]);
        self.waiting.extend_from_slice(&bytes[..taken]);
        if self.waiting.len() == PIECE {
            self.put()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> Result<(), IoError> {
        Ok(())
    }
}

fn hex(sum: &Sha256) -> String {
    digits(&sum.clone().finalize())
}

/// Makes a node of what [`export`] has written, unless it is there, or no run on this machine would use it.
pub fn import<'a>(
    runner: &Runner,
    parts: impl Iterator<Item = &'a Part>,
    file: &mut impl Read,
) -> Result<Imported, Failure> {
    usable(runner)?;
    let mut archive = Archive::new(file);
    let mut source = Source::new(&mut archive).map_err(|error| foreign(&error))?;
    let what = read_what(&mut source)?;
    let key = &what.key;
    if let Some(why) = unused(runner, &what, wanted(runner, node_image(), parts)) {
        return Ok(Imported::Unused(why));
    }
    let lock = locked(runner, key, PATIENCE)?;
    if let Some(node) = find(runner, key) {
        return Ok(Imported::There(node.image));
    }
    let imported = take(runner, &what, &mut source);
    if imported.is_err() {
        drop(lock);
        // A signal that has ended the import must not keep it from cleaning up; what stays then, the next import removes.
        drop(clear(&runner.after(1), &what));
    }
    imported.map(Imported::Ready)
}

/// Removes all of a node that is not whole.
fn clear(runner: &Runner, what: &What) -> Result<(), String> {
    for tag in &what.images {
        docker::remove_unused_image(runner, &part_of(tag));
        if *tag != what.key {
            docker::remove_unused_image(runner, &image_of(tag));
        }
    }
    discard(runner, &what.key)?;
    if find(runner, &what.key).is_none() {
        docker::remove_volumes(runner, &what.volumes);
    }
    Ok(())
}

/// Why nobody would use it, if that is known beforehand.
fn unused(
    runner: &Runner,
    what: &What,
    wanted: Result<(String, Vec<String>), &'static str>,
) -> Option<String> {
    let made = &what.made_from;
    if made.key() != what.key {
        return Some("another user, or another version of the tool, made it".to_owned());
    }
    let (base, images) = match wanted {
        Ok(wanted) => wanted,
        Err(why) => return Some(why.to_owned()),
    };
    if base != made.base {
        return Some(format!(
            "it was made from {}, and runs here make their nodes from {base}",
            made.base
        ));
    }
    let held = |name: &String| made.images.iter().any(|(held, _)| held == name);
    if let Some(name) = images.iter().find(|name| !held(name)) {
        return Some(format!("it does not hold {name}"));
    }
    let pairs = [(&made.base, &made.base_id)].into_iter();
    let mut pairs = pairs.chain(made.images.iter().map(|(name, id)| (name, id)));
    let other = pairs.find(|(name, id)| {
        let here = docker::image_id(runner, name);
        here.is_some_and(|here| here != **id)
    });
    other.map(|(name, _)| format!("{name} is another image here than the one in it"))
}

fn take<R: Read>(
    runner: &Runner,
    what: &What,
    source: &mut Source<'_, R>,
) -> Result<String, Failure> {
    let setup = |error: Error| error.into_failure(Exit::Setup, runner.cancel());
    let own = name(&what.key);
    // What an import or a run that was killed has left.
    docker::remove_container(runner, &own).map_err(setup)?;
    docker::remove_volumes(runner, &what.volumes);
    let mut sums = BTreeMap::new();
    let (loaded, sum) = pour(runner, source, IMAGES, &docker::load_piped(runner))?;
    sums.insert(IMAGES.to_owned(), sum);
    let part = part_of(&what.key);
    let expected: BTreeSet<String> = what.images.iter().map(|tag| part_of(tag)).collect();
    let names = loaded
        .lines()
        .filter_map(|line| line.strip_prefix("Loaded image: "));
    if names.map(str::to_owned).collect::<BTreeSet<_>>() != expected {
        let what = "the archive holds other images than those of its node";
        return Err(Failure::setup(what).detail(loaded));
    }
    for volume in &what.volumes {
        docker::create_volume(runner, volume).map_err(setup)?;
        let unpack = docker::unpack_volume(runner, volume, &part, &own);
        let (_, sum) = pour(runner, source, volume, &unpack)?;
        sums.insert(volume.clone(), sum);
    }
    let told: BTreeMap<String, String> = source
        .text(END)
        .map_err(|error| foreign(&error))
        .and_then(|text| serde_json::from_value(text).map_err(|error| foreign(&error)))?;
    if told != sums {
        return Err(Failure::setup(
            "the archive is damaged: its checksums are others",
        ));
    }
    // The node's own name comes last: whoever finds that finds all.
    for tag in what.images.iter().filter(|tag| **tag != what.key) {
        docker::tag(runner, &part_of(tag), &image_of(tag)).map_err(setup)?;
        docker::remove_unused_image(runner, &part_of(tag));
    }
    finish(runner, &what.key)
        .map(|node| node.image)
        .map_err(setup)
}

/// Hands the pieces of one name to a command, and returns what that printed and their SHA-256.
fn pour<R: Read>(
    runner: &Runner,
    source: &mut Source<'_, R>,
    name: &str,
    command: &Command,
) -> Result<(String, String), Failure> {
    let mut stream = Stream::new(source, name);
    let said = command.read_while(&mut stream);
    if let Some(fault) = stream.fault {
        return Err(foreign(&fault));
    }
    let said = said.map_err(|error| error.into_failure(Exit::Setup, runner.cancel()))?;
    Ok((said, hex(&stream.sum)))
}

/// A file that is none of ours, or not whole.
fn foreign(error: &dyn std::fmt::Display) -> Failure {
    let what = format!("this is no whole archive of a prepared node: {error}");
    Failure::setup(what).hint("write one with `cargo xtask node export FILE`")
}

fn read_what<R: Read>(source: &mut Source<'_, R>) -> Result<What, Failure> {
    let text = source.text(WHAT).map_err(|error| foreign(&error))?;
    if text["format"] != FORMAT {
        let what = format!("the archive has format {}, not {FORMAT}", text["format"]);
        return Err(Failure::setup(what).hint("export it with this version of the tool"));
    }
    let what: What = serde_json::from_value(text).map_err(|error| foreign(&error))?;
    // It names what is made: nothing but a node of its key.
    let (key, own) = (&what.key, name(&what.key));
    let plain = |text: &String| {
        let mut letters = text.chars();
        letters.all(|letter| letter.is_ascii_alphanumeric() || letter == '-')
    };
    let images = what.images.iter().all(|tag| is_of(tag, key) && plain(tag));
    let volumes = what
        .volumes
        .iter()
        .all(|volume| is_of(volume, &own) && plain(volume));
    if !is_key(key) || !images || !volumes || !what.images.contains(key) {
        return Err(foreign(&"it names images or volumes of others"));
    }
    Ok(what)
}

/// The entries of an archive, one ahead.
struct Source<'a, R: Read> {
    entries: Entries<'a, R>,
    current: Option<Entry<'a, R>>,
}

impl<'a, R: Read> Source<'a, R> {
    fn new(archive: &'a mut Archive<R>) -> Result<Self, IoError> {
        let mut entries = archive.entries()?;
        let current = entries.next().transpose()?;
        Ok(Self { entries, current })
    }

    fn advance(&mut self) -> Result<(), IoError> {
        // What is left of one is skipped before the next is looked for.
        self.current = None;
        self.current = self.entries.next().transpose()?;
        Ok(())
    }

    /// An entry that is read whole.
    fn text(&mut self, name: &str) -> Result<Value, IoError> {
        let entry = self.current.as_mut().filter(|entry| {
            let path = entry.path_bytes();
            *path == *name.as_bytes()
        });
        let entry = entry.ok_or_else(|| IoError::other(format!("{name} is missing")))?;
        let mut text = String::new();
        entry.take(LONGEST_TEXT).read_to_string(&mut text)?;
        let value = serde_json::from_str(&text)?;
        self.advance()?;
        Ok(value)
    }
}

/// The pieces of one name, as what they were cut from.
struct Stream<'s, 'a, R: Read> {
    source: &'s mut Source<'a, R>,
    begins: String,
    sum: Sha256,
    /// Why there is no more of it.
    fault: Option<String>,
}

impl<'s, 'a, R: Read> Stream<'s, 'a, R> {
    fn new(source: &'s mut Source<'a, R>, name: &str) -> Self {
        Self {
            source,
            begins: format!("{name}/"),
            sum: Sha256::new(),
            fault: None,
        }
    }
}

impl<R: Read> Read for Stream<'_, '_, R> {
    fn read(&mut self, into: &mut [u8]) -> Result<usize, IoError> {
        let read = self.next(into);
        self.fault = read.as_ref().err().map(ToString::to_string);
        read
    }
}

impl<R: Read> Stream<'_, '_, R> {
    fn next(&mut self, into: &mut [u8]) -> Result<usize, IoError> {
        loop {
            let begins = self.begins.as_bytes();
            let Some(entry) = &mut self.source.current else {
                return Err(IoError::other("the archive ends early"));
            };
            if !entry.path_bytes().starts_with(begins) {
                return Ok(0);
            }
            let read = entry.read(into)?;
            if read > 0 {
                self.sum.update(&into[..read]);
                return Ok(read);
            }
            self.source.advance()?;
        }
    }
}
