//! `cargo xtask node`: prepared nodes, listed, written to a file and read from one.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufReader, BufWriter, stdin, stdout};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Args, Subcommand};

use crate::commands::args::{Format, Which};
use crate::terminal;
use e2e_runner::exit::{Exit, Failure};
use e2e_runner::process::Runner;
use e2e_runner::run::kind::node_archive::{self, Imported, Listed};
use e2e_runner::table::Table;
use e2e_runner::table::part::Part;

/// Flags of `node`.
#[derive(Debug, Args)]
pub struct Node {
    /// What is done; without it the prepared nodes are listed
    #[command(subcommand)]
    pub what: Option<What>,
    /// Output format of the list
    #[arg(long, value_enum, default_value_t = Format::Human)]
    pub format: Format,
}

/// What is done with prepared nodes.
#[derive(Debug, Subcommand)]
pub enum What {
    /// Writes a prepared node, image and volume, to a file
    #[command(
        after_help = "Examples:\n  cargo xtask node export node.tar\n  cargo xtask node export - | zstd -T0 > node.tar.zst"
    )]
    Export {
        /// The file, or `-` for standard output
        file: PathBuf,
        /// Which one; without it the last made of those that can be exported
        #[arg(long)]
        key: Option<String>,
    },
    /// Makes a prepared node of such a file; prints its image's name where the next run uses it
    ///
    /// What is imported runs as a privileged container later: import only files of those who may be root on this machine.
    #[command(
        after_help = "Examples:\n  cargo xtask node import node.tar\n  zstd -dc node.tar.zst | cargo xtask node import -"
    )]
    Import {
        /// The file, or `-` for standard input
        file: PathBuf,
        /// The services that it is for: their parts may want more images in it
        #[command(flatten)]
        which: Which,
    },
    /// Prints a name for what runs of some services prepare here, made of names of images alone: a cache's key
    #[command(
        after_help = "Examples:\n  echo \"key=$(cargo xtask node cache-key workflowexecution)\" >> \"$GITHUB_OUTPUT\""
    )]
    CacheKey {
        /// The services
        #[command(flatten)]
        which: Which,
    },
}

/// Runs the verb.
pub fn run(
    runner: &Runner,
    table: impl Fn() -> anyhow::Result<Table>,
    args: &Node,
) -> anyhow::Result<Exit> {
    let parts = |which: &Which| -> anyhow::Result<Vec<Part>> {
        if which.services.is_empty() && !which.all {
            return Ok(Vec::new());
        }
        Ok(table()?.choose(&which.services, which.all)?.parts)
    };
    match &args.what {
        None => list(runner, args.format)?,
        Some(What::Export { file, key }) => terminal::message(&format!(
            "the node {} is in {}",
            export(runner, key.as_deref(), file)?,
            file.display()
        )),
        Some(What::Import { file, which }) => {
            terminal::message(&told(import(runner, &parts(which)?, file)?));
        }
        Some(What::CacheKey { which }) => {
            terminal::print(&node_archive::cache_key(runner, parts(which)?.iter())?);
        }
    }
    Ok(Exit::Passed)
}

fn list(runner: &Runner, format: Format) -> anyhow::Result<()> {
    let nodes = node_archive::list(runner)?;
    if format == Format::Json {
        terminal::print(&serde_json::to_string_pretty(&nodes)?);
    } else if nodes.is_empty() {
        terminal::message("no node is prepared; the next run on Kind prepares one");
    } else {
        let pages = nodes.iter().map(page);
        terminal::print(pages.collect::<String>().trim_end());
    }
    Ok(())
}

fn page(node: &Listed) -> String {
    let mut text = format!("{}\n", node.key);
    for (image, bytes) in &node.images {
        let size = bytes.map_or("of unknown size".to_owned(), megabytes);
        writeln!(text, "  image   {image}  {size}").unwrap_or_default();
    }
    for (volume, size) in &node.volumes {
        let size = size.as_deref().unwrap_or("of unknown size");
        writeln!(text, "  volume  {volume}  {size}").unwrap_or_default();
    }
    if let Some(made) = &node.made_from {
        let names = made.images.iter().map(|(name, _)| name.as_str());
        let names = names.collect::<Vec<_>>().join(", ");
        writeln!(text, "  made from {} and {names}", made.base).unwrap_or_default();
    }
    text
}

fn megabytes(bytes: u64) -> String {
    format!("{} MB", bytes / 1_000_000)
}

/// A file is written under another name until it is whole.
fn export(runner: &Runner, key: Option<&str>, path: &Path) -> anyhow::Result<String> {
    if path == Path::new("-") {
        return Ok(node_archive::export(
            runner,
            key,
            &mut BufWriter::new(stdout().lock()),
        )?);
    }
    if path.is_dir() {
        return Err(directory(path, "an archive is written to a file").into());
    }
    let part = path.with_added_extension("part");
    let file = File::create(&part).map_err(|error| {
        let what = format!("the archive cannot be written: {}: {error}", part.display());
        Failure::new(Exit::Usage, what)
            .hint("name a file in a directory that exists and that this user may write to, or `-`")
    })?;
    let exported = node_archive::export(runner, key, &mut BufWriter::new(file));
    if exported.is_err() {
        // The failure is what counts.
        drop(std::fs::remove_file(&part));
    }
    let key = exported?;
    std::fs::rename(&part, path)
        .with_context(|| format!("{} cannot be named {}", part.display(), path.display()))?;
    Ok(key)
}

fn import(runner: &Runner, parts: &[Part], path: &Path) -> Result<Imported, Failure> {
    if path == Path::new("-") {
        return node_archive::import(runner, parts.iter(), &mut BufReader::new(stdin().lock()));
    }
    if path.is_dir() {
        return Err(directory(path, "an archive is read from a file"));
    }
    let file = File::open(path).map_err(|error| {
        let what = format!("the archive cannot be read: {}: {error}", path.display());
        Failure::new(Exit::Usage, what)
            .hint("name a file that `cargo xtask node export FILE` has written, or `-`")
    })?;
    node_archive::import(runner, parts.iter(), &mut BufReader::new(file))
}

/// Told before anything is done: the whole of it would be in vain.
fn directory(path: &Path, why: &str) -> Failure {
    let hint = format!("name a file in it: {}", path.join("node.tar").display());
    let what = format!("{why}, and {} is a directory", path.display());
    Failure::new(Exit::Usage, what).hint(hint)
}

/// Only what the next run uses is data.
fn told(imported: Imported) -> String {
    match imported {
        Imported::Ready(image) => {
            terminal::print(&image);
            format!("{image} is ready: the next run uses it")
        }
        Imported::There(image) => {
            terminal::print(&image);
            format!("{image} was there already: nothing was read")
        }
        Imported::Unused(why) => format!("not imported, for no run here would use it: {why}"),
    }
}
