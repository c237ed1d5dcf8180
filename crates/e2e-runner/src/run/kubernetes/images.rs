//! Images of a team's own, made before they are brought to where pods run: built, read, or wrapped in memory by this tool. Each is known
//! by its content.

use std::path::{Path, PathBuf};
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use crate::exit::{Exit, Failure};
use crate::fingerprint::fingerprint;
use crate::run::kubernetes::image_archive::{Layer, architecture};
use crate::run::plan::{Id, Target};
use crate::run::session::Session;
use crate::table::image::{Build, Image};
use crate::table::part::Part;
use crate::tools::{cargo, docker, elf, go};

/// The directory of a run that holds what it wraps as images by itself.
const IMAGES: &str = "images";
/// Who names an image of a part.
pub const TABLE: &str = "the table of services";

/// Makes the images that a part's manifests name, which needs no cluster: built, read from an archive or pulled by Docker, or wrapped
/// by this tool.
pub fn build_images(
    session: &Session,
    part: &Part,
    id: &Id,
    deadline: Duration,
) -> Result<String, Failure> {
    let runner = &session.runner;
    let mut told = Vec::new();
    // Without a cluster an image is only the program that it would be made of.
    let wanted = |image: &&Image| session.place.has_pods() || image.is_program();
    for image in part.images.iter().filter(wanted) {
        let (began, at) = (Instant::now(), |path: &Path| part.root.join(path));
        let made = match (&image.build, &image.archive) {
            (Some(Build::Docker(dir)), _) => {
                let place = (&*part.root, &*at(dir));
                docker::build_as(runner, image, place, deadline, session.lines(id))?;
                if session.coverage {
                    session.report.note(&format!(
                        "{} is taken as its Dockerfile builds it: a program in it writes coverage if `args` or the Dockerfile make it",
                        image.name
                    ));
                }
                format!("{} built", image.name)
            }
            (Some(build), _) => {
                let program = program(session, part, build, id)?;
                if let Some(program) = &program {
                    session.record_program(&image.name, program);
                }
                match program {
                    Some(program) if session.place == Target::Local => {
                        program.display().to_string()
                    }
                    program => wrap(session, part, image, build, program)?,
                }
            }
            // What the cluster pulls by itself, or a file that is pushed as it is, needs no Docker.
            (None, _) if session.place == Target::Cluster => image.name.clone(),
            (None, Some(archive)) => {
                docker::load(runner, &at(archive), &image.name, deadline)?;
                format!("{} from an archive", image.name)
            }
            (None, None) => {
                docker::ensure_image(runner, &image.name, TABLE, deadline)?;
                image.name.clone()
            }
        };
        told.push(if part.images.len() > 1 {
            format!("{made} in {:.1} s", began.elapsed().as_secs_f64())
        } else {
            made
        });
    }
    Ok(told.join(", "))
}

/// Builds the program of an image, where it is one.
fn program(
    session: &Session,
    part: &Part,
    build: &Build,
    id: &Id,
) -> Result<Option<PathBuf>, Failure> {
    let (runner, lines) = (&session.runner, session.lines(id));
    Ok(match build {
        Build::Go(go) => {
            let directory = own_directory(session)?;
            // A directory for each program, whose name may be that of its module: what is in it is the build before.
            let module = std::fs::read_to_string(part.root.join(&go.dir).join("go.mod"));
            let root = part.root.to_string_lossy();
            let key = fingerprint(&[&root, &format!("{go:?}"), &module.unwrap_or_default()]);
            let into = directory.join(&key[..12]);
            let (place, architecture) = ((go, &*part.root), architecture());
            Some(go::build(
                runner,
                place,
                architecture,
                &into,
                session.coverage,
                lines,
            )?)
        }
        Build::Cargo(cargo) => {
            let (root, coverage) = (&part.root, session.coverage);
            Some(cargo::build_program(
                runner,
                &session.paths,
                cargo,
                root,
                coverage,
                lines,
            )?)
        }
        Build::Files(_) | Build::Docker(_) => None,
    })
}

/// The directory of the run for what it builds and wraps, recorded before it is made.
pub fn own_directory(session: &Session) -> Result<PathBuf, Failure> {
    let directory = session.run.dir().join(IMAGES);
    let made = session.run.make_directory(&directory);
    made.map_err(Failure::setup)?;
    Ok(directory)
}

/// Wraps a program or files as an image of one layer: an archive of the run, and the name of its content.
fn wrap(
    session: &Session,
    part: &Part,
    image: &Image,
    build: &Build,
    program: Option<PathBuf>,
) -> Result<String, Failure> {
    own_directory(session)?;
    let mut layer = Layer::default();
    layer.add_tmp();
    let (entrypoint, warning) = match (build, program) {
        (_, Some(program)) => (add_program(&mut layer, &program)?, String::new()),
        (Build::Files(files), None) => {
            for (path, host) in &files.files {
                layer
                    .add(Path::new(path), &part.root.join(host))
                    .map_err(|error| {
                        Failure::new(
                            Exit::Setup,
                            format!("the image {} is not made: {error}", image.name),
                        )
                        .hint(format!("look at `files` of {}", part.name))
                    })?;
            }
            let program = files.entrypoint.first();
            let program = program.and_then(|path| Some((path, layer.file(path)?)));
            let dynamic = program.filter(|(_, bytes)| elf::is_dynamic(bytes));
            let warning = dynamic.map_or(String::new(), |(path, _)| {
                format!(" ({path} needs shared libraries: they have to be among its files)")
            });
            (files.entrypoint.clone(), warning)
        }
        _ => (Vec::new(), String::new()),
    };
    let name = docker::tagged(&image.name);
    let names = |id: &str| vec![docker::content_name(id), name];
    let wrapped = layer
        .into_image(&entrypoint, names)
        .map_err(Failure::setup)?;
    let content = docker::content_name(&wrapped.reference);
    let file = archive_file(session, &image.name, &content);
    std::fs::write(file, &wrapped.archive).map_err(Failure::setup)?;
    record_content(session, &image.name, &content);
    let size = wrapped.archive.len() / 1000;
    Ok(format!("{} of {size} KB{warning}", image.name))
}

/// Puts a static program at the root of an image, and returns how it is started.
fn add_program(layer: &mut Layer, program: &Path) -> Result<Vec<String>, Failure> {
    let bytes = std::fs::read(program).map_err(Failure::setup)?;
    if elf::is_dynamic(&bytes) {
        let what = format!(
            "{} needs shared libraries, which its image does not have",
            program.display()
        );
        return Err(Failure::new(Exit::Setup, what).hint(
            "take out of `args` and `env` what links it so (CGO_ENABLED, -buildmode=pie), or build its image by a Dockerfile",
        ));
    }
    let name = program.file_name().unwrap_or_default().to_string_lossy();
    let path = format!("/{name}");
    layer.add_bytes(&path, bytes, 0o755);
    Ok(vec![path])
}

/// Where an archive of a run's own waits for its node.
pub fn archive_file(session: &Session, image: &str, content: &str) -> PathBuf {
    let key = fingerprint(&[image, content]);
    session.run.dir().join(IMAGES).join(format!("{key}.tar"))
}

/// Records what an image's name stands for in this run.
pub fn record_content(session: &Session, image: &str, content: &str) {
    let loaded = &session.artifacts.loaded;
    let mut loaded = loaded.lock().unwrap_or_else(PoisonError::into_inner);
    loaded.insert(image.to_owned(), content.to_owned());
}

/// The name by which pods get an image of the host: that of its content.
pub fn pinned(session: &Session, image: &str) -> String {
    let loaded = &session.artifacts.loaded;
    let loaded = loaded.lock().unwrap_or_else(PoisonError::into_inner);
    loaded
        .get(image)
        .cloned()
        .unwrap_or_else(|| image.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_needs_shared_libraries_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("gateway");
        std::fs::write(&program, b"\x7fELF /lib64/ld-linux-x86-64.so.2").unwrap();
        let failure = add_program(&mut Layer::default(), &program).unwrap_err();
        assert!(failure.summary.contains("gateway needs shared libraries"));
        assert!(failure.hint.unwrap().contains("CGO_ENABLED"));
        std::fs::write(&program, b"\x7fELF static").unwrap();
        let mut layer = Layer::default();
        assert_eq!(add_program(&mut layer, &program).unwrap(), ["/gateway"]);
        assert_eq!(layer.file("/gateway"), Some(&b"\x7fELF static"[..]));
    }
}
