//! What the table says of parts, checked before anything is made: their files, their programs, and every name in their texts.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::exit::{Exit, Failure};
use crate::names::{LITERAL, Unknown, expanded, unknowns};
use crate::process::Runner;
use crate::run::plan::Target;
use crate::settings;
use crate::table::Chosen;
use crate::table::image::{Build, Image};
use crate::table::part::{Part, Ready};
use crate::table::service::{Component, Service};
use crate::table::source::{Source, is_kustomization, is_url, manifests_of};
use crate::tools::cargo::BUILDS_STATIC;

/// All that is wrong with the parts of each service.
pub fn faults(chosen: &Chosen, place: Target) -> Vec<Failure> {
    let mut seen = BTreeSet::new();
    let mut faults = Vec::new();
    for service in &chosen.services {
        let parts = chosen.parts_of(service);
        let mut check = Check {
            names: names(service, &parts, place),
            place,
            faults: Vec::new(),
        };
        check.variables(&parts);
        for part in parts
            .into_iter()
            .filter(|part| seen.insert(part.name.clone()))
        {
            check.part(part);
        }
        for hook in service.before.iter().chain(&service.after) {
            check.words(&service.own, &hook.run);
        }
        for suite in &service.suites {
            check.words(&service.own, &suite.words());
        }
        faults.extend(check.faults);
    }
    faults
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
    for name in [e2e_env::NAMESPACE, e2e_env::KUBECONFIG] {
        add(name, place.has_pods());
    }
    for name in [e2e_env::NODE, "NODE"] {
        add(name, place == Target::Kind);
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
            add(&format!("image:{}", image.name), place.has_pods());
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
    faults: Vec<Failure>,
}

impl Check {
    /// Something for each name that will stand for something.
    fn value(&self, name: &str) -> Option<String> {
        self.names.contains(name).then(String::new)
    }

    fn note(&mut self, result: Result<(), Failure>) {
        self.faults.extend(result.err());
    }

    /// The names in a text of the table.
    fn text(&mut self, part: &Part, text: &str) {
        let found = unknowns(text, &|name| self.value(name));
        let faults = found.iter().map(|(unknown, _)| in_table(part, unknown));
        self.faults.extend(faults);
    }

    /// The names in a command.
    fn words(&mut self, part: &Part, words: &[String]) {
        for word in expanded(words) {
            self.text(part, word);
        }
        let is_expanded = |word: &&String| expanded(words).any(|other| other == *word);
        let asked = ["${port:", "${image:", "${binary:"];
        for script in words.iter().filter(|word| !is_expanded(word)) {
            if let Some(asked) = asked.iter().find(|asked| script.contains(**asked)) {
                let what = format!("{asked}…}} stands in a shell's script, which the shell reads");
                self.faults.push(wrong(part, &what).hint(
                    "give it to the script as a word of its own behind it, which is `$0`, `$1` …, or as a variable in `env`",
                ));
            }
        }
    }

    /// The names in a command, and its program.
    fn command(&mut self, part: &Part, words: &[String], dir: &Path) {
        self.words(part, words);
        self.note(program(part, words, dir));
    }

    /// A suite has each variable once.
    fn variables(&mut self, parts: &[&Part]) {
        let mut known: BTreeMap<&str, &str> = BTreeMap::new();
        for part in parts {
            let published = part.publish.iter().map(|publish| &publish.env);
            for name in published.chain(&part.passwords) {
                if let Some(other) = known
                    .insert(name, &part.name)
                    .filter(|other| *other != part.name)
                {
                    let what = format!("its variable {name} is one of `{other}` as well");
                    self.faults.push(wrong(part, &what));
                }
            }
        }
    }

    fn part(&mut self, part: &Part) {
        for value in part.env.values() {
            self.text(part, value);
        }
        for ready in &part.ready {
            if let Ready::Run(command) = ready {
                self.command(part, &command.run, &part.root);
            }
        }
        match self.place {
            Target::Local => {
                if part.runs_built_program() {
                    for image in &part.images {
                        self.note(compiler(image, BUILDS_STATIC));
                    }
                }
                self.command(part, &part.process, &part.root);
            }
            Target::Kind | Target::Cluster => {
                let certificates = part.certificates.iter();
                for host in certificates.flat_map(|certificate| &certificate.hosts) {
                    self.text(part, host);
                }
                for image in &part.images {
                    self.note(compiler(image, BUILDS_STATIC));
                    let sources = image.sources(&part.root);
                    self.note(sources.map_err(|what| wrong(part, &what)));
                }
                for source in &part.manifests {
                    self.source(part, source);
                }
            }
        }
    }

    fn source(&mut self, part: &Part, source: &Source) {
        match source {
            Source::Named(url) if is_url(url) => self.text(part, url),
            // A path with names in it is known only in the run.
            Source::Named(path) if path.contains("${") => self.text(part, path),
            Source::Named(path) => self.files(part, &part.root.join(path), true),
            Source::File(file) => self.files(part, &part.root.join(&file.file), !file.verbatim),
            Source::Output(output) => {
                self.command(part, &output.run, &part.root.join(&output.dir));
            }
            Source::Chart(chart) => {
                self.text(part, &chart.chart);
                for text in chart.repository.iter().chain(&chart.version) {
                    self.text(part, text);
                }
                for value in chart.set.values() {
                    self.text(part, &value.to_string());
                }
                for path in &chart.values {
                    self.files(part, &part.root.join(path), true);
                }
                self.note(program(part, &["helm".to_owned()], &part.root));
            }
        }
    }

    /// Files of manifests, or of values, with the names in them.
    fn files(&mut self, part: &Part, path: &Path, names: bool) {
        if !path.exists() {
            let what = format!("its manifest {} is not there", path.display());
            self.faults.push(wrong(part, &what));
            return;
        }
        // What its files become together is known only to kustomize.
        if !names || is_kustomization(path) {
            return;
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
            let found = unknowns(&said.join("\n"), &|name| self.value(name));
            let file = file.display().to_string();
            let faults = found.iter().map(|(unknown, line)| unknown.at(&file, *line));
            self.faults.extend(faults);
        }
    }
}

/// The failure of a name in the table itself.
fn in_table(part: &Part, unknown: &Unknown) -> Failure {
    let file = part
        .root
        .join(Path::new(&part.table).file_name().unwrap_or_default());
    let text = std::fs::read_to_string(file).unwrap_or_default();
    // The first place within its entry.
    let before = part.line.saturating_sub(1);
    let entry: Vec<&str> = text.lines().skip(before).collect();
    let line = unknown
        .line(&entry.join("\n"))
        .map_or(part.line, |line| before + line);
    let what = format!(
        "{}, line {line}: `{}`: nothing is named ${{{}}}",
        part.table, part.name, unknown.0
    );
    Failure::new(Exit::Usage, what).hint(LITERAL)
}

fn wrong(part: &Part, what: &str) -> Failure {
    let kind = if part.is_service { "service" } else { "part" };
    let what = format!("{}: the {kind} `{}`: {what}", part.place(), part.name);
    Failure::new(Exit::Usage, what).hint(format!("correct its entry in {}", part.table))
}

/// What compiles an image's program has to be there.
fn compiler(image: &Image, builds_static: bool) -> Result<(), Failure> {
    let compiler = match &image.build {
        Some(Build::Cargo(_)) if !builds_static => {
            let what = format!(
                "the image {} cannot be built: cargo makes no static program for a node on this system",
                image.name
            );
            let hint = "build it by a Dockerfile, `build = \"DIRECTORY\"`, or name a ready image";
            return Err(Failure::new(Exit::Preflight, what).hint(hint));
        }
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
        let what = format!("{}: `{}`: {error}", part.place(), part.name);
        Failure::new(Exit::Preflight, what).hint(format!(
            "install `{program}`, or correct the command in the table of services"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_cargo_cannot_build_for_a_node_here_is_refused_before_anything_is_made() {
        let image: Image =
            toml::from_str("name = \"w:e2e\"\nbuild = { cargo = \"w\" }").expect("an image");
        assert!(compiler(&image, true).is_ok());
        let failure = compiler(&image, false).expect_err("no such system");
        assert_eq!(failure.exit, Exit::Preflight);
        assert!(failure.hint.is_some_and(|hint| hint.contains("Dockerfile")));
    }
}
