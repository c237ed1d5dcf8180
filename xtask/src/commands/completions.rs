//! `cargo xtask completions` and `cargo xtask man`: made from the command line itself.

use std::path::Path;

use clap::Command;
use clap_complete::Shell;

use crate::terminal;
use e2e_runner::exit::Exit;

/// The name of the installed program (D4).
const NAME: &str = "xtask";

/// Prints the completions of a shell.
pub fn completions(command: Command, shell: Shell) -> anyhow::Result<Exit> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut command.name(NAME), NAME, &mut text);
    terminal::print(&String::from_utf8(text)?);
    Ok(Exit::Passed)
}

/// Writes a page for the program and for each of its verbs.
pub fn man(command: Command, dir: &Path) -> anyhow::Result<Exit> {
    std::fs::create_dir_all(dir)?;
    let mut root = command.name(NAME).bin_name(NAME);
    root.build();
    page(dir, &root, NAME)?;
    for verb in root.get_subcommands().filter(|verb| !verb.is_hide_set()) {
        page(dir, verb, &format!("{NAME}-{}", verb.get_name()))?;
    }
    terminal::print(&dir.display().to_string());
    Ok(Exit::Passed)
}

fn page(dir: &Path, command: &Command, name: &str) -> anyhow::Result<()> {
    let mut text = Vec::new();
    // A page's name holds no space.
    let command = command.clone().display_name(name.to_owned());
    clap_mangen::Man::new(command)
        .title(name.to_uppercase())
        .render(&mut text)?;
    std::fs::write(dir.join(format!("{name}.1")), text)?;
    Ok(())
}
