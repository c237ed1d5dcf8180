//! What the table says of parts, checked before anything is made: their files, their programs, and every name in their texts.

use std::collections::BTreeSet;
use std::path::Path;

use crate::exit::{Exit, Failure};
use crate::names::{LITERAL, Unknown, expand, expand_command};
use crate::process::Runner;
use crate::run::plan::Target;
use crate::settings;
use crate::table::Chosen;
use crate::table::image::{Build, Image};
use crate::table::part::{Part, Ready};
use crate::table::service::{Component, Service};
use crate::table::source::{Source, is_kustomization, is_url, manifests_of};
use crate::table::suite::Suite;

/// Checks the parts of each service.
pub fn all(chosen: &Chosen, place: Target) -> Result<(), Failure> {
    let mut seen = BTreeSet::new();
    for service in &chosen.services {
        let parts = chosen.parts_of(service);
        let check = Check {
            names: names(service, &parts, place),
            place,
        };
        for part in parts
            .into_iter()
            .filter(|part| seen.insert(part.name.clone()))
        {
            check.part(part)?;
        }
        let hooks = service.before.iter().chain(&service.after);
        let hooks = hooks.map(|hook| hook.run.clone());
        for words in hooks.chain(service.suites.iter().map(Suite::words)) {
            let words = expand_command(&words, &|name| check.value(name));
            words.map_err(|unknown| in_table(&service.own, &unknown))?;
        }
    }
    Ok(())
}

/// What is made for every service, by the names in its texts.
const ALWAYS: [&str; 11] = [
    e2e_env::RUN,
    e2e_env::SERVICE,
    e2e_env::TARGET,
    e2e_env::TOOL,
    e2e_env::EVIDENCE_DIR,
    e2e_env::PGPASSWORD,
    "NAMESPACE",
    "DATASTORAGE_TOKEN",
    "CA_CERT",
    "CA_BUNDLE",
    "CA_FILE",
];

/// The names that a service's texts may have.
fn names(service: &Service, parts: &[&Part], place: Target) -> BTreeSet<String> {
    let mut names: BTreeSet<String> = ALWAYS.iter().map(|name| (*name).to_owned()).collect();
    let mut add = |name: &str, has: bool| {
        if has {
            names.insert(name.to_owned());
        }
    };
    let kind = place == Target::Kind;
    for name in [
        e2e_env::NAMESPACE,
        e2e_env::KUBECONFIG,
        e2e_env::NODE,
        "NODE",
    ] {
        add(name, kind);
    }
    add(e2e_env::DATABASE_URL, service.has(Component::Postgres));
    for name in [
        e2e_env::DATASTORAGE_URL,
        e2e_env::DATASTORAGE_REPLICAS,
        e2e_env::DATASTORAGE_TOKEN_FILE,
    ] {
        add(name, service.has(Component::Datastorage));
    }
    let unmigrated = service.has(Component::Unmigrated);
    add(e2e_env::DATASTORAGE_UNMIGRATED_URL, unmigrated);
    for part in parts {
        for publish in &part.publish {
            add(&publish.env, true);
            add(&format!("port:{}", publish.env), true);
        }
        for password in &part.passwords {
            add(password, true);
            add(&format!("{password}_FILE"), true);
        }
        for image in &part.images {
            add(&format!("image:{}", image.name), kind);
            add(&format!("binary:{}", image.name), image.is_program());
        }
    }
    add(
        e2e_env::fake::LISTEN_ADDRESS,
        parts.iter().any(|part| !part.process.is_empty()),
    );
    names
}

struct Check {
    names: BTreeSet<String>,
    place: Target,
}

impl Check {
    /// Something for each name that will stand for something.
    fn value(&self, name: &str) -> Option<String> {
        self.names.contains(name).then(String::new)
    }

    fn part(&self, part: &Part) -> Result<(), Failure> {
        let text = |text: &str| {
            let expanded = expand(text, &|name| self.value(name));
            expanded
                .map(drop)
                .map_err(|unknown| in_table(part, &unknown))
        };
        let words = |words: &[String]| {
            let expanded = expand_command(words, &|name| self.value(name));
            expanded
                .map(drop)
                .map_err(|unknown| in_table(part, &unknown))
        };
        for value in part.env.values() {
            text(value)?;
        }
        for ready in &part.ready {
            if let Ready::Run(command) = ready {
                words(&command.run)?;
                program(part, &command.run, &part.root)?;
            }
        }
        match self.place {
            Target::Local => {
                if part.runs_built_program() {
                    part.images.iter().try_for_each(compiler)?;
                }
                words(&part.process)?;
                program(part, &part.process, &part.root)
            }
            Target::Kind => {
                for host in part
                    .certificates
                    .iter()
                    .flat_map(|certificate| &certificate.hosts)
                {
                    text(host)?;
                }
                for image in &part.images {
                    let sources = image.sources(&part.root);
                    sources.map_err(|what| wrong(part, &what))?;
                    compiler(image)?;
                }
                let mut sources = part.manifests.iter();
                sources.try_for_each(|source| self.source(part, source))
            }
        }
    }

    fn source(&self, part: &Part, source: &Source) -> Result<(), Failure> {
        let text = |text: &str| {
            let expanded = expand(text, &|name| self.value(name));
            expanded.map_err(|unknown| in_table(part, &unknown))
        };
        match source {
            Source::Named(url) if is_url(url) => text(url).map(drop),
            // A path with names in it is known only in the run.
            Source::Named(path) if path.contains("${") => text(path).map(drop),
            Source::Named(path) => self.files(part, &part.root.join(path), true),
            Source::File(file) => self.files(part, &part.root.join(&file.file), !file.verbatim),
            Source::Output(output) => {
                let words = expand_command(&output.run, &|name| self.value(name));
                words.map_err(|unknown| in_table(part, &unknown))?;
                program(part, &output.run, &part.root.join(&output.dir))
            }
            Source::Chart(chart) => {
                text(&chart.chart)?;
                for path in &chart.values {
                    self.files(part, &part.root.join(path), true)?;
                }
                program(part, &["helm".to_owned()], &part.root)
            }
        }
    }

    /// Files of manifests, or of values, with the names in them.
    fn files(&self, part: &Part, path: &Path, names: bool) -> Result<(), Failure> {
        if !path.exists() {
            return Err(wrong(
                part,
                &format!("its manifest {} is not there", path.display()),
            ));
        }
        // What its files become together is known only to kustomize.
        if !names || is_kustomization(path) {
            return Ok(());
        }
        for file in manifests_of(path).unwrap_or_default() {
            let Ok(text) = std::fs::read_to_string(&file) else {
                continue;
            };
            // Comments may say what they like.
            let said: Vec<&str> = text
                .lines()
                .map(|line| {
                    if line.trim_start().starts_with('#') {
                        ""
                    } else {
                        line
                    }
                })
                .collect();
            expand(&said.join("\n"), &|name| self.value(name)).map_err(|unknown| {
                unknown.in_file(&said.join("\n"), &file.display().to_string())
            })?;
        }
        Ok(())
    }
}

/// The failure of a name in the table itself.
fn in_table(part: &Part, unknown: &Unknown) -> Failure {
    let file = part
        .root
        .join(Path::new(&part.table).file_name().unwrap_or_default());
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let line = unknown.line(&text);
    let line = line.map_or_else(String::new, |line| format!(", line {line}"));
    let what = format!(
        "{}{line}: `{}`: nothing is named ${{{}}}",
        part.table, part.name, unknown.0
    );
    Failure::new(Exit::Usage, what).hint(LITERAL)
}

fn wrong(part: &Part, what: &str) -> Failure {
    let kind = if part.is_service { "service" } else { "part" };
    Failure::new(Exit::Usage, format!("the {kind} `{}`: {what}", part.name))
        .hint(format!("correct its entry in {}", part.table))
}

/// What compiles an image's program has to be there.
fn compiler(image: &Image) -> Result<(), Failure> {
    let compiler = match &image.build {
        Some(Build::Go(_)) => "go".into(),
        Some(Build::Cargo(_)) => settings::cargo(),
        _ => return Ok(()),
    };
    Runner::find(compiler, None).map(drop).map_err(|error| {
        let what = format!("the image {} cannot be built: {error}", image.name);
        Failure::new(Exit::Preflight, what)
            .hint("install it, or build the image by a Dockerfile: `build = \"DIRECTORY\"`")
    })
}

/// The program of a command has to be there.
fn program(part: &Part, words: &[String], dir: &Path) -> Result<(), Failure> {
    let Some(program) = words.first().filter(|program| !program.contains("${")) else {
        return Ok(());
    };
    Runner::find(program, Some(dir)).map(drop).map_err(|error| {
        let what = format!("`{}` in {}: {error}", part.name, part.table);
        Failure::new(Exit::Preflight, what).hint(format!(
            "install `{program}`, or correct the command in the table of services"
        ))
    })
}
