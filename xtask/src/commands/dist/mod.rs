//! `cargo xtask dist`: everything of a release for this machine's architecture, as files.
//!
//! Modules, each may import those after it: `provenance`, `sbom`, `origin`, `archive`

mod archive;
mod origin;
mod provenance;
mod sbom;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use e2e_runner::bundle::{Bundle, FILE, Program};
use e2e_runner::exit::Exit;
use e2e_runner::fingerprint::hex;
use e2e_runner::paths::Paths;
use e2e_runner::process::Runner;
use e2e_runner::run::kubernetes::image_archive::{Layer, architecture};
use e2e_runner::tools::cargo::STATIC_TARGET;
use e2e_runner::tools::release;

use crate::terminal;

/// Flags of `dist`.
#[derive(Debug, Args)]
pub struct Dist {
    /// The directory that the files go to; left out: `dist` in cargo's target directory
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Fail unless this is the tag of the workspace's version, `vVERSION`, and nothing was changed since the commit
    #[arg(long, value_name = "TAG")]
    pub tag: Option<String>,
}

/// Runs the verb.
pub fn run(runner: &Runner, args: Dist) -> anyhow::Result<Exit> {
    let paths = Paths::find(runner)?;
    paths.has_checkout()?;
    let release = origin::release(runner, &paths, args.tag.as_deref())?;
    let out = args.out.unwrap_or_else(|| paths.target.join("dist"));
    is_writable(&out)?;
    let origin::Release {
        version, commit, ..
    } = &release;
    let told = format!("{version} ({commit} of {}, {STATIC_TARGET})", release.built);
    terminal::message(&format!("release {told}"));
    let built = release::build(runner, &paths, &told, |line| {
        terminal::message(line);
    })?;
    let name = format!("kubernaut-e2e-{version}-{STATIC_TARGET}");
    let dir = out.join(&name);
    if dir.exists() {
        fs::remove_dir_all(&dir).with_context(|| format!("cannot remove {}", dir.display()))?;
    }
    fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;

    let mut members = Vec::new();
    for (name, path) in &built {
        let program = fs::read(path).with_context(|| format!("no {name} at {}", path.display()))?;
        members.push((*name, 0o755, program));
    }
    let bundle = Bundle {
        version: version.clone(),
        commit: commit.clone(),
        target: STATIC_TARGET.to_owned(),
        built: release.built,
        programs: members
            .iter()
            .map(|(name, _, program)| Program::new(name, program))
            .collect(),
        dir: PathBuf::new(),
    };
    members.push((FILE, 0o644, pretty(&serde_json::to_value(&bundle)?)));
    let license = fs::read(paths.source.join("LICENSE")).context("cannot read LICENSE")?;
    members.push(("LICENSE", 0o644, license));
    for (name, mode, content) in &members {
        write(&dir.join(name), content)?;
        fs::set_permissions(dir.join(name), fs::Permissions::from_mode(*mode))?;
    }

    let archived = archive::archive(&name, &members, release.time)?;
    let mut files = vec![(format!("{name}.tar.gz"), archived)];
    let datastorage = members.iter().find(|(name, ..)| *name == "datastorage");
    let (_, _, datastorage) = datastorage.context("no Data Storage was built")?;
    files.push((
        format!("kubernaut-datastorage-{version}-{}.tar.gz", architecture()),
        image(version, datastorage)?,
    ));
    let bom = sbom::bom(runner, &paths, &release)?;
    files.push((format!("{name}.cdx.json"), pretty(&bom)));
    let statement = provenance::statement(runner, &paths, &release, &files)?;
    files.push((format!("{name}.intoto.json"), pretty(&statement)));
    let sums = files
        .iter()
        .map(|(name, content)| format!("{}  {name}", hex(content)));
    let sums = sums.collect::<Vec<_>>().join("\n") + "\n";
    files.push(("SHA256SUMS".to_owned(), sums.into_bytes()));
    for (name, content) in &files {
        write(&out.join(name), content)?;
        terminal::print(&format!(
            "{:>7} KB  {}",
            content.len() / 1000,
            out.join(name).display()
        ));
    }
    Ok(Exit::Passed)
}

/// Data Storage's image for `docker load`.
fn image(version: &str, program: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut layer = Layer::default();
    layer.add_bytes("/usr/bin/datastorage", program, 0o755);
    let entrypoint = ["/usr/bin/datastorage".to_owned()];
    let name = format!("localhost/kubernaut-datastorage:{version}");
    let image = layer.into_image(&entrypoint, |_| vec![name])?;
    Ok(archive::compressed(&image.archive)?)
}

fn pretty(value: &serde_json::Value) -> Vec<u8> {
    format!("{value:#}\n").into_bytes()
}

/// Makes a directory, and fails where no file can be made in it: before the build, which takes minutes.
fn is_writable(dir: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
    let probe = dir.join(".writable");
    write(&probe, b"")?;
    fs::remove_file(&probe).with_context(|| format!("cannot remove {}", probe.display()))
}

fn write(path: &Path, content: &[u8]) -> anyhow::Result<()> {
    fs::write(path, content).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::is_writable;

    #[test]
    fn a_place_that_takes_no_files_is_refused_by_its_name() {
        let dir = tempfile::tempdir().expect("a directory");
        let out = dir.path().join("a/b");
        is_writable(&out).expect("it is made");
        assert_eq!(std::fs::read_dir(&out).expect("it").count(), 0);
        let file = dir.path().join("file");
        std::fs::write(&file, "").expect("a file");
        let refused = is_writable(&file.join("dist")).expect_err("no directory");
        assert!(
            refused.to_string().starts_with("cannot create "),
            "{refused}"
        );
    }
}
