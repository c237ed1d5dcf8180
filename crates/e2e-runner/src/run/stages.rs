//! The stages of a plan: which function performs each, and the few that are the same on every target.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{OnceLock, PoisonError};
use std::time::Duration;

use crate::bundle;
use crate::exit::{Exit, Failure};
use crate::paths;
use crate::run::check::{Origin, Program, ready_instead};
use crate::run::cluster as guest;
use crate::run::cluster::shared::Shared;
use crate::run::kind::node::Node;
use crate::run::kind::{cluster, images, node_image};
use crate::run::kubernetes::site::Site;
use crate::run::kubernetes::{
    deploy, images as own_images, job, parts as cluster_parts, readiness,
};
use crate::run::layer::Layer;
use crate::run::local::{self, postgres, programs};
use crate::run::plan::{Id, Stage, Step, Target};
use crate::run::reuse::{EMPTIED, GIVEN};
use crate::run::service_run::ServiceRun;
use crate::run::session::Session;
use crate::run::{given_postgres, hooks, suite, wait};
use crate::table::service::Component;
use crate::table::suite::Tests;
use crate::tools::cargo::{self, Form};
use crate::tools::migrate;

/// Performs one stage and returns a few words on what it made.
pub fn run_stage(session: &Session, stage: &Stage) -> Result<String, Failure> {
    let service_run = session.service_run(&stage.id);
    let deadline = stage.deadline;
    let site: &dyn Site = match session.place {
        Target::Cluster => &Shared,
        Target::Kind | Target::Local => &Node,
    };
    match (stage.id.step, session.place) {
        (Step::Preflight, Target::Kind) => cluster::preflight(session),
        (Step::Preflight, Target::Cluster) => guest::preflight::preflight(session),
        (Step::PrepareNamespaces, _) => guest::namespaces::prepare(session, deadline),
        (Step::OpenTunnel, _) => guest::tunnel::open(session, deadline),
        (Step::PushDataStorage, _) => guest::push::push_datastorage(session, deadline),
        (Step::PushFake, _) => guest::push::push_fake(session, deadline),
        (Step::PushRelay, _) => guest::push::push_relay(session, deadline),
        (Step::PushTunnel, _) => guest::push::push_tunnel(session, deadline),
        (Step::PushService, _) => {
            guest::push::push_images(session, &session.part_run(&stage.id).part, deadline)
        }
        (Step::Preflight, Target::Local) => postgres::preflight(session),
        (Step::Build | Step::BuildAll, _) => build(session, &stage.id, deadline),
        (Step::BuildSuite, _) => build_suites(session, deadline),
        (Step::PrepareNode, _) => node_image::prepare(session, deadline),
        (Step::CreateCluster, _) => cluster::create_cluster(session, deadline),
        (Step::LoadPostgres, _) => images::load_postgres(session, deadline),
        (Step::LoadDataStorage, _) => images::load_datastorage(session, deadline),
        (Step::LoadFake, _) => images::load_fake(session, deadline),
        (Step::LoadRelay, _) => images::load_relay(session, deadline),
        (Step::BuildService, _) => {
            let part = &session.part_run(&stage.id).part;
            own_images::build_images(session, part, &stage.id, deadline)
        }
        (Step::LoadService, _) => {
            images::load_images(session, &session.part_run(&stage.id).part, deadline)
        }
        (Step::DeployPostgres, _) if session.postgres_url.is_some() => {
            given_postgres::adopt(session)
        }
        (Step::DeployPostgres, Target::Kind | Target::Cluster) => {
            deploy::deploy_postgres(session, site)
        }
        (Step::DeployPostgres, Target::Local) => postgres::deploy_postgres(session),
        // It answered when the databases were made.
        (Step::AwaitPostgres, _) if session.postgres_url.is_some() => {
            postgres::await_postgres(session)
        }
        (Step::AwaitPostgres, Target::Kind | Target::Cluster) => {
            deploy::await_postgres(session, site, deadline)
        }
        (Step::AwaitPostgres, Target::Local) => postgres::await_postgres(session),
        (Step::Migrate, _) => migrate_database(session, service_run, deadline),
        (Step::DeployDataStorage, Target::Kind | Target::Cluster) => {
            deploy::deploy_datastorage(session, site, service_run)
        }
        (Step::DeployDataStorage, Target::Local) => {
            programs::deploy_datastorage(session, service_run, deadline)
        }
        (Step::AwaitDataStorage, Target::Kind | Target::Cluster) => {
            deploy::await_datastorage(session, service_run, deadline)
        }
        (Step::AwaitDataStorage, Target::Local) => {
            wait::for_datastorage(session, service_run, deadline)
        }
        (Step::DeployService, Target::Kind | Target::Cluster) if stage.id.part.is_some() => {
            cluster_parts::deploy(session, site, session.part_run(&stage.id))
        }
        (Step::DeployService, Target::Local) if stage.id.part.is_some() => {
            local::parts::deploy(session, session.part_run(&stage.id), deadline)
        }
        (Step::AwaitService, Target::Kind | Target::Cluster) if stage.id.part.is_some() => {
            readiness::await_ready(session, session.part_run(&stage.id), deadline)
        }
        (Step::AwaitService, Target::Local) if stage.id.part.is_some() => {
            wait::for_part(session, session.part_run(&stage.id), deadline)
        }
        (Step::DeployService, Target::Kind | Target::Cluster) => {
            deploy::deploy_service(session, site, service_run)
        }
        (Step::DeployService, Target::Local) => {
            programs::deploy_service(session, service_run, deadline)
        }
        (Step::AwaitService, Target::Kind | Target::Cluster) => {
            deploy::await_service(session, service_run, deadline)
        }
        (Step::AwaitService, Target::Local) if service_run.service.has(Component::Own) => {
            wait::for_part(session, &service_run.own, deadline)
        }
        (Step::AwaitService, Target::Local) => wait::for_service(session, service_run, deadline),
        (Step::RunSuite, Target::Cluster) => {
            guest::tunnel::watched(session, || run_suite(session, site, service_run, stage))
        }
        (Step::RunSuite, _) => run_suite(session, site, service_run, stage),
        (Step::Before | Step::After, _) => hooks::run(session, service_run, &stage.id, deadline),
        (Step::CollectEvidence | Step::CollectCoverage | Step::TearDown, _) => Ok(String::new()),
    }
}

fn run_suite(
    session: &Session,
    site: &dyn Site,
    service_run: &ServiceRun,
    stage: &Stage,
) -> Result<String, Failure> {
    suite::run(
        session,
        service_run,
        &stage.id,
        || ready_again(session, service_run),
        &|job, on_line| job::run(session, site, service_run, job, on_line),
    )
}

/// How long what a suite has killed may take to be back.
const BACK: Duration = Duration::from_mins(3);

/// Waits until what a suite tests is ready once more, as it was before its first time.
fn ready_again(session: &Session, service_run: &ServiceRun) -> Result<(), Failure> {
    let service = &service_run.service;
    if service.has(Component::Datastorage) {
        wait::for_datastorage(session, service_run, BACK)?;
    }
    if service.has(Component::Fake) {
        wait::for_service(session, service_run, BACK)?;
    }
    for part_run in session.parts_of(service_run) {
        match session.place {
            Target::Kind | Target::Cluster => readiness::await_ready(session, part_run, BACK)?,
            Target::Local => wait::for_part(session, part_run, BACK)?,
        };
    }
    Ok(())
}

/// Builds the programs that the run needs by one call, without those that a variable names as ready or a bundle holds; the suites with
/// them where the stage is for both.
fn build(session: &Session, id: &Id, deadline: Duration) -> Result<String, Failure> {
    let (mut notes, mut wanted) = (Vec::new(), Vec::new());
    let has = |component| session.having(component).next().is_some();
    for (component, program) in Program::all(session.place, has)? {
        let slot = match component {
            None => &session.artifacts.tunnel,
            Some(Component::Fake) => &session.artifacts.fake,
            Some(Component::Relay) => &session.artifacts.relay,
            Some(_) => &session.artifacts.datastorage,
        };
        let Program {
            package,
            variable,
            origin,
        } = program;
        match origin {
            Origin::Variable(path) => {
                let file = std::fs::metadata(&path).map_err(|error| {
                    Failure::new(
                        Exit::Preflight,
                        format!("no {package} binary at {}: {error}", path.display()),
                    )
                    .hint(format!("unset {variable} to build it"))
                })?;
                notes.push(format!("{GIVEN}: {package}, {} KB", file.len() / 1000));
                slot.get_or_init(|| path);
            }
            Origin::Image => {
                notes.push(format!("{package} not built: an image is named for it"));
            }
            Origin::Bundle(path) => {
                let file = std::fs::metadata(&path).map_err(Failure::setup)?;
                let size = file.len() / 1000;
                notes.push(format!("{GIVEN} in the bundle: {package}, {size} KB"));
                slot.get_or_init(|| path);
            }
            Origin::Checkout => wanted.push((package, variable, slot)),
        }
    }
    let suites = if id.step == Step::BuildAll {
        suites_to_build(session)?
    } else {
        BTreeSet::new()
    };
    let mut suites = suites.into_iter();
    let first = suites.next();
    if !wanted.is_empty() || first.is_some() {
        notes.insert(0, build_wanted(session, id, &wanted, first, deadline)?);
    }
    for package in suites {
        notes.push(build_wanted(session, id, &[], Some(package), deadline)?);
    }
    Ok(notes.join("; "))
}

/// A program to build: its package, the variable that would name a ready one, where its path is kept.
type Wanted<'a> = (String, &'static str, &'a OnceLock<PathBuf>);

fn build_wanted(
    session: &Session,
    id: &Id,
    wanted: &[Wanted<'_>],
    suites: Option<&str>,
    deadline: Duration,
) -> Result<String, Failure> {
    let variables: Vec<_> = wanted.iter().map(|(_, variable, _)| *variable).collect();
    session.paths.can_build(&if wanted.is_empty() {
        "run a suite of your own".to_owned()
    } else {
        ready_instead(&variables)
    })?;
    let form = match session.place {
        Target::Kind | Target::Cluster if suites.is_none() => Form::Release,
        Target::Kind | Target::Cluster | Target::Local => Form::Dev,
    };
    let packages: Vec<_> = wanted
        .iter()
        .map(|(package, ..)| package.as_str())
        .collect();
    let lines = session.lines(id);
    let (runner, paths) = (&session.runner, &session.paths);
    let needed = cargo::Wanted {
        programs: &packages,
        suites,
    };
    let built = cargo::build(runner, paths, needed, form, deadline, lines)?;
    let mut notes = Vec::new();
    for (package, _, slot) in wanted {
        let binary = &built.executables[package.as_str()];
        let file = std::fs::metadata(binary).map_err(Failure::setup)?;
        notes.push(format!("{package} {} KB", file.len() / 1000));
        slot.get_or_init(|| binary.clone());
    }
    if let Some(package) = suites {
        keep_suite(session, package, built.executables[package].clone());
    }
    if built.is_unchanged {
        notes.push("unchanged".to_owned());
    }
    Ok(notes.join(", "))
}

fn build_suites(session: &Session, deadline: Duration) -> Result<String, Failure> {
    let mut notes = BTreeSet::new();
    let id = Step::BuildSuite.into();
    for package in suites_to_build(session)? {
        notes.insert(build_wanted(session, &id, &[], Some(package), deadline)?);
    }
    if notes.is_empty() {
        notes.insert(format!("{GIVEN} in the bundle"));
    }
    Ok(notes.into_iter().collect::<Vec<_>>().join(", "))
}

/// The packages of the run's suites, without those that a bundle holds, which are kept for the suites' stages.
fn suites_to_build(session: &Session) -> Result<BTreeSet<&str>, Failure> {
    let suites = session.service_runs.iter();
    let suites = suites.flat_map(|service_run| &service_run.service.suites);
    let tests = suites.filter_map(|suite| match suite.tests() {
        Tests::Cargo(package, _) => Some(package),
        Tests::Command(_) => None,
    });
    let mut packages: BTreeSet<_> = tests.collect();
    if packages.contains(cargo::SUITES)
        && let Some(binary) = paths::bundled(bundle::SUITES)?
    {
        packages.remove(cargo::SUITES);
        keep_suite(session, cargo::SUITES, binary);
    }
    Ok(packages)
}

fn keep_suite(session: &Session, package: &str, binary: PathBuf) {
    let suites = session.artifacts.suites.lock();
    let mut suites = suites.unwrap_or_else(PoisonError::into_inner);
    suites.insert(package.to_owned(), binary);
}

/// Brings a database to its profile: by migrations where it is new, by a clone of the profile's template where an earlier run
/// has written to it, or where several services share the server.
fn migrate_database(
    session: &Session,
    service_run: &ServiceRun,
    deadline: Duration,
) -> Result<String, Failure> {
    let database = session.database(service_run)?;
    let (profile, runner) = (&service_run.service.profile, &session.runner);
    let used = session.fingerprint_matches(service_run.level(Layer::Database), profile);
    let is_shared = service_run.storage != service_run.service.name;
    if !is_shared && session.postgres_url.is_some() {
        let name = given_postgres::clone_database(session, service_run, deadline)?;
        session.record_fingerprint(service_run.level(Layer::Database), profile)?;
        return Ok(format!("a clone of {name}"));
    }
    // What another service has made of its database stays.
    if !is_shared && (used || session.is_shared()) {
        let name =
            migrate::replace_by_clone(&session.runtime, &database, profile, deadline, runner)?;
        session.record_fingerprint(service_run.level(Layer::Database), profile)?;
        return Ok(format!(
            "{}a clone of {name}",
            if used { EMPTIED } else { "" }
        ));
    }
    let report = migrate::apply_profile(
        &session.runtime,
        &database.secret(),
        profile,
        deadline,
        runner,
    )?;
    session.record_fingerprint(service_run.level(Layer::Database), profile)?;
    Ok(migrate::summary(&report))
}
