//! What the table says of the services of a run, checked before anything is made.

use std::net::TcpListener;
use std::path::{Path, PathBuf};

use migrations::Selection;

use crate::bundle;
use crate::exit::{Exit, Failure};
use crate::paths::{self, Paths};
use crate::process::Runner;
use crate::run::check_parts;
use crate::run::plan::{PROGRAMS, Target};
use crate::settings;
use crate::table::service::{Component, Policy, Service, storage_of};
use crate::table::suite::{Place, Suite, Tests};
use crate::table::{self, Chosen, nearest};
use crate::tools::elf;

/// Checks profiles, commands, files and programs of the services; with their suites, where those are to run.
pub fn services(chosen: &Chosen, place: Target, tested: bool) -> Result<(), Failure> {
    // One that is broken is told before anything is made.
    paths::bundle()?;
    if let Some(unknown) = settings::unknown_prepared_node() {
        let what = format!(
            "{} is `{unknown}`, which it cannot be",
            e2e_env::PREPARED_NODE
        );
        let values = settings::PREPARED_NODE_VALUES.map(|value| format!("`{value}`"));
        return Err(Failure::new(Exit::Usage, what)
            .hint(format!("set it to {}, or unset it", values.join(" or "))));
    }
    if place.has_pods() {
        storage(&chosen.services)?;
    }
    if let Some(fault) = faults(chosen, place, tested).into_iter().next() {
        return Err(fault);
    }
    for (variable, component) in [
        (e2e_env::DATASTORAGE_BIN, Component::Datastorage),
        (e2e_env::FAKE_BIN, Component::Fake),
    ] {
        if chosen.services.iter().any(|service| service.has(component)) {
            binary(variable, place)?;
        }
    }
    Ok(())
}

/// Where a run takes a program from.
#[derive(Debug, PartialEq, Eq)]
pub enum Origin {
    /// A variable names it.
    Variable(PathBuf),
    /// An image that is named holds it.
    Image,
    /// The bundle that this tool lies in has it.
    Bundle(PathBuf),
    /// It is built from the checkout.
    Checkout,
}

/// A program of the checkout that a run may need.
#[derive(Debug)]
pub struct Program {
    /// The package that it is built from.
    pub package: String,
    /// The variable that names a ready one.
    pub variable: &'static str,
    /// Where this run takes it from.
    pub origin: Origin,
}

impl Program {
    /// That of one of [`PROGRAMS`].
    pub fn of(component: Component, place: Target) -> Result<Self, Failure> {
        let variable = match component {
            Component::Fake => e2e_env::FAKE_BIN,
            Component::Relay => e2e_env::RELAY_BIN,
            _ => e2e_env::DATASTORAGE_BIN,
        };
        let part = table::built_in(component)?;
        let package = part.package().unwrap_or(&part.name).to_owned();
        let is_image = ready_image(component, place).is_some();
        Self::from(package, variable, is_image)
    }

    /// The end of the tunnel in a cluster that others use too.
    pub fn tunnel() -> Result<Self, Failure> {
        let is_image = settings::ready_image(e2e_env::TUNNEL_IMAGE).is_some();
        Self::from("tunnel-relay".to_owned(), e2e_env::TUNNEL_BIN, is_image)
    }

    fn from(package: String, variable: &'static str, is_image: bool) -> Result<Self, Failure> {
        let origin = match settings::ready_binary(variable) {
            Some(path) => Origin::Variable(path),
            None if is_image => Origin::Image,
            None => paths::bundled(&package)?.map_or(Origin::Checkout, Origin::Bundle),
        };
        Ok(Self {
            package,
            variable,
            origin,
        })
    }

    /// Those that a run of services needs.
    pub fn all(
        place: Target,
        has: impl Fn(Component) -> bool,
    ) -> Result<Vec<(Option<Component>, Self)>, Failure> {
        let mut all = Vec::new();
        for component in PROGRAMS.into_iter().filter(|component| has(*component)) {
            all.push((Some(component), Self::of(component, place)?));
        }
        if place == Target::Cluster {
            all.push((None, Self::tunnel()?));
        }
        Ok(all)
    }
}

/// The image that takes the place of a program of the checkout, where a variable names one. On Kind that is Data Storage's alone.
pub fn ready_image(component: Component, place: Target) -> Option<String> {
    match (place, component) {
        (Target::Kind | Target::Cluster, Component::Datastorage) => settings::datastorage_image(),
        (Target::Cluster, Component::Fake) => settings::ready_image(e2e_env::FAKE_IMAGE),
        (Target::Cluster, Component::Relay) => settings::ready_image(e2e_env::RELAY_IMAGE),
        _ => None,
    }
}

/// What replaces the building of programs that these variables name.
pub fn ready_instead(variables: &[&str]) -> String {
    format!(
        "{} to ready binaries, or {} to an image for Kind",
        variables.join(", "),
        e2e_env::DATASTORAGE_IMAGE
    )
}

/// Fails where a program or a suite would have to be built and cannot be, before anything is made.
pub fn buildable(
    chosen: &Chosen,
    place: Target,
    tested: bool,
    paths: &Paths,
) -> Result<(), Failure> {
    let has = |component| chosen.services.iter().any(|service| service.has(component));
    let programs = Program::all(place, has)?;
    let built = programs.iter().map(|(_, program)| program);
    let built = built.filter(|program| program.origin == Origin::Checkout);
    let built: Vec<_> = built.map(|program| program.variable).collect();
    if !built.is_empty() {
        paths.can_build(&ready_instead(&built))?;
    }
    let suites = chosen.services.iter().flat_map(|service| &service.suites);
    let mut built = suites.filter_map(|suite| match suite.tests() {
        Tests::Cargo(package, _) => Some(package),
        Tests::Command(_) => None,
    });
    let bundled = paths::bundled(bundle::SUITES)?.is_some();
    if tested && built.any(|package| package != "e2e" || !bundled) {
        paths.can_build("run a suite of your own")?;
    }
    Ok(())
}

/// Real services of one namespace share a database and a Data Storage there, so they have to want the same of it.
fn storage(services: &[Service]) -> Result<(), Failure> {
    for service in services {
        let storage = storage_of(services, service);
        let has = |component| (service.has(component), storage.has(component));
        let same = |(one, other): (bool, bool)| one == other;
        let differs = [
            ("postgres", same(has(Component::Postgres))),
            ("datastorage", same(has(Component::Datastorage))),
            ("unmigrated", same(has(Component::Unmigrated))),
            ("callers", service.callers == storage.callers),
            ("replicas", service.replicas == storage.replicas),
        ];
        if let Some((field, _)) = differs.iter().find(|(_, same)| !same) {
            let (one, other) = (&storage.name, &service.name);
            let what = format!(
                "`{one}` and `{other}` run in the namespace {} and would share its Data Storage, yet differ in `{field}`",
                service.namespace
            );
            return Err(Failure::new(Exit::Usage, what).hint(format!(
                "make them the same, or start them in runs of their own: {other} can say `alone = true`"
            )));
        }
    }
    Ok(())
}

/// All that is wrong with the services of a table, and with their suites, where those are to run.
pub fn faults(chosen: &Chosen, place: Target, tested: bool) -> Vec<Failure> {
    let mut faults = Vec::new();
    for service in &chosen.services {
        let name = &service.name;
        faults.extend(profile(service).err().map(|failure| Failure {
            summary: format!(
                "{}: the service `{name}`: {}",
                service.own.place(),
                failure.summary
            ),
            ..failure
        }));
        if tested {
            faults.extend(suites(service, place).err());
        }
        for hook in service.before.iter().chain(&service.after) {
            let dir = service.root().join(&hook.dir);
            faults.extend(command(service, &hook.run, &dir, &hook.name).err());
        }
    }
    faults.extend(check_parts::faults(chosen, place));
    faults
}

fn profile(service: &Service) -> Result<(), Failure> {
    let selection = Selection::all().and_profile(&service.profile);
    let Err(error) = migrations::catalogue().resolve(&selection) else {
        return Ok(());
    };
    let failure = Failure::new(Exit::Usage, error.to_string());
    let migrations::Error::UnknownProfile { name, known } = &error else {
        return Err(failure);
    };
    let known: Vec<&str> = known.iter().map(String::as_str).collect();
    Err(match nearest(name, &known) {
        Some(near) => failure.hint(format!("did you mean `{near}`?")),
        None => failure.hint("correct `profile` in the table of services"),
    })
}

/// Checks the suites of a service.
pub fn suites(service: &Service, place: Target) -> Result<(), Failure> {
    service
        .suites
        .iter()
        .try_for_each(|entry| suite(service, entry, place))
}

fn suite(service: &Service, suite: &Suite, place: Target) -> Result<(), Failure> {
    if let Tests::Command(words) = suite.tests() {
        let dir = service.root().join(&suite.dir);
        let docker = ["docker".to_owned()];
        let words = match suite.place {
            Place::Host => words,
            Place::Container | Place::Job => &docker,
        };
        command(service, words, &dir, "suite")?;
    }
    if suite.place == Place::Job {
        as_job(service, suite, place)?;
    }
    let Some(junit) = &suite.junit else {
        return Ok(());
    };
    let wrong = |why: &str| {
        let what = format!(
            "{}: the service `{}`: `junit` of its suite is {}: {why}",
            service.own.place(),
            service.name,
            junit.display()
        );
        Err(Failure::new(Exit::Usage, what)
            .hint("name the XML file, or files by a pattern such as `reports/*.xml`"))
    };
    if junit.extension().is_none_or(|extension| extension != "xml") {
        return wrong("it does not end with .xml");
    }
    if glob::Pattern::new(&junit.to_string_lossy()).is_err() {
        return wrong("it is no pattern of files");
    }
    Ok(())
}

/// A Job needs a cluster, and its image in the node.
fn as_job(service: &Service, suite: &Suite, place: Target) -> Result<(), Failure> {
    let named = format!("the suite `{}` of `{}`", suite.name, service.name);
    if !place.has_pods() {
        let what = format!("{named} runs as a Job, which needs a cluster");
        return Err(Failure::new(Exit::Usage, what)
            .hint("use `--target kind`, or name another suite by `--suite`"));
    }
    let mut images = service.own.images.iter();
    let image = suite.image.as_deref().unwrap_or_default();
    if images.any(|known| known.name == image) {
        return Ok(());
    }
    let what = format!("{named} runs in the image {image}, which is not brought into the node");
    Err(Failure::new(Exit::Usage, what).hint(format!(
        "add it to the service in the table: images = [{{ name = \"{image}\" }}]"
    )))
}

/// A program of the table has to be there, and the directory that it runs in.
fn command(service: &Service, words: &[String], dir: &Path, what: &str) -> Result<(), Failure> {
    let failed = |exit, why: String| {
        let (place, name) = (service.own.place(), &service.name);
        Failure::new(
            exit,
            format!("{place}: the service `{name}`: its {what}: {why}"),
        )
    };
    if !dir.is_dir() {
        let why = format!("there is no directory {}", dir.display());
        return Err(failed(Exit::Usage, why).hint("correct `dir` in the table of services"));
    }
    // One with names in it is known only in the run.
    let Some(program) = words.first().filter(|program| !program.contains("${")) else {
        return Ok(());
    };
    Runner::find(program, Some(dir)).map(drop).map_err(|error| {
        failed(Exit::Preflight, error.to_string()).hint(format!(
            "install `{program}`, or correct the command in the table of services"
        ))
    })
}

/// Ports of this machine that a service insists on have to be free.
pub fn fixed_ports(service: &Service) -> Result<(), Failure> {
    if service.ports.policy != Policy::Fixed {
        return Ok(());
    }
    let ports = [service.ports.datastorage, service.ports.service];
    for port in ports.into_iter().flatten() {
        if let Err(error) = TcpListener::bind(("127.0.0.1", port)) {
            let what = format!(
                "the service `{}` insists on port {port}, which cannot be had: {error}",
                service.name
            );
            return Err(Failure::new(Exit::Preflight, what).hint(
                "end what has the port, or leave out `policy = \"fixed\"` in the table of services",
            ));
        }
    }
    Ok(())
}

/// A program that a variable names has to be there, and for an image without a file system to run without one.
fn binary(variable: &str, place: Target) -> Result<(), Failure> {
    let Some(path) = settings::ready_binary(variable) else {
        return Ok(());
    };
    let failed = |why: String| {
        Failure::new(
            Exit::Preflight,
            format!("{variable} is {}: {why}", path.display()),
        )
    };
    let head = elf::head(&path).map_err(|error| {
        failed(error.to_string()).hint(format!("unset {variable} to build the program"))
    })?;
    if place.has_pods() && elf::is_dynamic(&head) {
        return Err(
            failed("it needs shared libraries, which its image does not have".to_owned())
                .hint("build it for a musl target, which makes a static program"),
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::Table;

    fn service(entry: &str) -> (tempfile::TempDir, Chosen) {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("services.toml");
        let text = format!(
            "[[service]]\nname = \"widget\"\nnamespace = \"widget\"\nports = {{}}\n{entry}"
        );
        std::fs::write(&file, text).unwrap();
        let table = Table::load(Some(&file)).unwrap();
        let services = table.choose(&["widget".to_owned()], false).unwrap();
        (dir, services)
    }

    #[test]
    fn a_wrong_profile_command_directory_or_file_is_found_with_nothing_made() {
        let datastorage = "components = [\"postgres\", \"datastorage\"]\n";
        let own = "components = [\"postgres\", \"own\"]\nprofile = \"gateway\"\n";
        for (entry, place, exit, told) in [
            (
                format!("{datastorage}profile = \"gatewy\"\nsuite = {{ command = [\"true\"] }}"),
                Target::Kind,
                Exit::Usage,
                "gatewy",
            ),
            (
                format!(
                    "{datastorage}profile = \"gateway\"\nsuite = {{ command = [\"no-such-ginkgo\"] }}"
                ),
                Target::Local,
                Exit::Preflight,
                "no-such-ginkgo",
            ),
            (
                format!(
                    "{datastorage}profile = \"gateway\"\nsuite = {{ command = [\"./run.sh\"] }}"
                ),
                Target::Local,
                Exit::Preflight,
                "./run.sh",
            ),
            (
                format!(
                    "{datastorage}profile = \"gateway\"\nsuite = {{ command = [\"true\"], dir = \"sub\" }}"
                ),
                Target::Local,
                Exit::Usage,
                "no directory",
            ),
            (
                format!(
                    "{datastorage}profile = \"gateway\"\nsuite = {{ command = [\"true\"], junit = \"go.mod\" }}"
                ),
                Target::Local,
                Exit::Usage,
                ".xml",
            ),
            (
                format!("{own}process = [\"./server\"]\nsuite = {{ command = [\"true\"] }}"),
                Target::Local,
                Exit::Preflight,
                "./server",
            ),
            (
                format!(
                    "{own}manifests = [\"deploy.yaml\"]\nready = [\"app=widget\"]\nsuite = {{ command = [\"true\"] }}"
                ),
                Target::Kind,
                Exit::Usage,
                "deploy.yaml",
            ),
        ] {
            let (_dir, chosen) = service(&entry);
            let failure = services(&chosen, place, true).unwrap_err();
            assert_eq!(failure.exit, exit, "{entry}: {failure}");
            assert!(failure.summary.contains(told), "{entry}: {failure}");
            assert!(failure.hint.is_some(), "{failure}");
        }
    }

    #[test]
    fn a_program_that_the_run_builds_is_not_looked_for_before() {
        let entry = "components = [\"postgres\", \"own\"]\nprofile = \"gateway\"\nsuite = { command = [\"true\"] }\n\
            images = [{ name = \"w:e2e\", build = { cargo = \"w\" } }]\nprocess = [\"${binary:w:e2e}\"]";
        let (_dir, chosen) = service(entry);
        services(&chosen, Target::Local, true).unwrap();
    }

    #[test]
    fn a_command_beside_its_table_is_found_from_anywhere() {
        let entry = "components = [\"postgres\"]\nprofile = \"gateway\"\nsuite = { command = [\"./run.sh\"] }";
        let (dir, chosen) = service(entry);
        let script = dir.path().join("run.sh");
        std::fs::write(&script, "#!/bin/sh\n").unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&script, mode).unwrap();
        services(&chosen, Target::Local, true).unwrap();
    }
}
