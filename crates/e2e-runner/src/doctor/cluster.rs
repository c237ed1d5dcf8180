//! An existing cluster: whether runs may use it, whether it answers, what a run would lack there. Nothing is made, the server is only asked.

use crate::doctor::check::{Check, For, Level};
use crate::doctor::tools::minor;
use crate::exit::Failure;
use crate::guest::allowed::Allowed;
use crate::guest::rights::{Needed, Uses, lines};
use crate::guest::server::Versions;
use crate::guest::{Guest, Wanted, reviews, role, server};
use crate::process::{Command, Runner};
use crate::table::cluster::Cluster;
use crate::table::{Chosen, Table};

/// What runs of these services do there: all that they can do.
const ALL: Uses = Uses {
    suites: true,
    exec: true,
    creator_becomes_admin: false,
};

/// Every check on an existing cluster for runs of these services.
pub fn checks(runner: &Runner, table: &Table, wanted: &Wanted, chosen: &Chosen) -> Vec<Check> {
    let (context, guest) = guest(runner, table, wanted);
    let mut checks = vec![context];
    let guest = match guest {
        Ok(guest) => guest,
        Err(failure) => {
            checks.push(problem("kubeconfig", failure));
            return checks;
        }
    };
    checks.extend(kubeconfig(&guest));
    let kubectl = guest.kubectl(runner);
    match server::versions(&kubectl) {
        Ok(versions) => checks.extend(answering(&guest.server, &versions)),
        Err(failure) => {
            let summary = format!("{}: {}", guest.server, failure.summary);
            checks.push(problem("API server", Failure { summary, ..failure }));
            return checks;
        }
    }
    checks.extend(namespaces(&guest, &kubectl));
    // A command that names no service means all of them.
    let is_whole = chosen.services.len() == table.all().len();
    let services = chosen.services.iter().filter(|_| !is_whole);
    let services: Vec<&str> = services.map(|service| &*service.name).collect();
    checks.extend(rights(&guest, &kubectl, chosen, &services));
    checks.push(registry(&guest));
    checks
}

/// The roles by which a user could run these services there, for an administrator to apply.
pub fn role(
    runner: &Runner,
    table: &Table,
    wanted: &Wanted,
    chosen: &Chosen,
) -> Result<String, Failure> {
    let guest = guest(runner, table, wanted).1?;
    let user = reviews::who(&guest.kubectl(runner));
    let needed = guest.needs(chosen, ALL);
    Ok(role::manifests(&needed.rights, user.as_deref()))
}

/// The cluster, and whether runs may use it. To be asked what is missing there it need not be allowed yet.
fn guest(runner: &Runner, table: &Table, wanted: &Wanted) -> (Check, Result<Guest, Failure>) {
    let found = Allowed::of(table).and_then(|allowed| allowed.find(&wanted.context));
    let (check, said, places) = match found {
        Ok((said, places)) => {
            let places_told = places.join(" and ");
            let detail = format!("`{}` is allowed by {places_told}", wanted.context);
            (Check::ok("context", For::Cluster, detail), said, places)
        }
        Err(failure) => (problem("context", failure), Cluster::default(), Vec::new()),
    };
    let seen = Guest::look(runner, wanted);
    let guest = seen.and_then(|seen| Guest::of(wanted, said, places, seen));
    (check, guest)
}

fn problem(name: &'static str, failure: Failure) -> Check {
    let fix = failure.hint.unwrap_or_default();
    Check::ok(name, For::Cluster, failure.summary).with_problem(Level::Problem, fix)
}

fn kubeconfig(guest: &Guest) -> Vec<Check> {
    let ok = |detail| Check::ok("kubeconfig", For::Cluster, detail);
    let seen = format!("{}, server {}", guest.kubeconfig.name(), guest.server);
    let notes = guest.notes.iter();
    let notes = notes.map(|(what, fix)| ok(what.clone()).with_problem(Level::Warning, fix));
    std::iter::once(ok(seen)).chain(notes).collect()
}

/// kubectl may be one minor version off the server (<https://kubernetes.io/releases/version-skew-policy/#kubectl>).
fn answering(address: &str, versions: &Versions) -> [Check; 2] {
    let Versions { client, server } = versions;
    let ok = |name, detail: String| Check::ok(name, For::Cluster, detail);
    let own = match (minor(client), minor(server)) {
        (Some(one), Some(other)) if one.abs_diff(other) > 1 => {
            let detail =
                format!("{client}, and the server is {server}: more than one minor version off");
            let fix = format!("install kubectl 1.{other}");
            ok("kubectl", detail).with_problem(Level::Warning, fix)
        }
        _ => ok("kubectl", client.clone()),
    };
    [own, ok("API server", format!("{address} is {server}"))]
}

fn namespaces(guest: &Guest, kubectl: &Command) -> Vec<Check> {
    let ok = |detail: String| Check::ok("namespace", For::Cluster, detail);
    if guest.namespaces.is_empty() {
        return vec![ok("a run makes its own".to_owned())];
    }
    let check = |name: &String| match server::namespace(kubectl, name) {
        Ok(found) => {
            let level = match found.enforces.as_str() {
                "" => "no level of Pod Security is seen".to_owned(),
                level => format!("Pod Security {level}"),
            };
            let told = [vec![format!("{name}: {level}")], found.bounds].concat();
            let check = ok(told.join("; "));
            if found.full.is_empty() {
                check
            } else {
                let fix = format!(
                    "make room, for which a run waits up to {} s: {}",
                    guest.wait_for_room.as_secs(),
                    found.full.join(", ")
                );
                check.with_problem(Level::Warning, fix)
            }
        }
        Err(failure) => problem("namespace", failure),
    };
    guest.namespaces.iter().map(check).collect()
}

fn rights(guest: &Guest, kubectl: &Command, chosen: &Chosen, services: &[&str]) -> Vec<Check> {
    let Needed { rights, unread } = guest.needs(chosen, ALL);
    let missing = match reviews::missing(kubectl, &rights) {
        Ok(missing) => missing,
        Err(failure) => return vec![problem("rights", failure)],
    };
    let ok = |detail: String| Check::ok("rights", For::Cluster, detail);
    let given = rights.len() - missing.len();
    let mut checks = vec![ok(format!(
        "{given} of the {} that a run needs",
        rights.len()
    ))];
    let lacking = lines(&missing).into_iter().map(|line| Check {
        level: Level::Problem,
        ..ok(format!("missing: {line}"))
    });
    checks.extend(lacking);
    if !missing.is_empty()
        && let Some(last) = checks.last_mut()
    {
        last.fix = Some(guest.next(services));
    }
    if !unread.is_empty() {
        let unread = unread.join(", ");
        checks.push(ok(format!(
            "not known beforehand is what these need: {unread}"
        )));
    }
    checks
}

/// What a registry says to a push is the pushing program's to find out.
fn registry(guest: &Guest) -> Check {
    let ok = |detail: String| Check::ok("registry", For::Cluster, detail);
    let Some(registry) = &guest.registry else {
        let detail = "none is named: a run can use only images that the cluster has or pulls";
        return ok(detail.to_owned()).with_problem(
            Level::Warning,
            "name one that you may push to: --registry HOST/PATH, or `registry` of the cluster's entry",
        );
    };
    let how = match (guest.insecure_registry, guest.pull_secret) {
        (true, true) => ", without TLS, pods pull by a Secret",
        (true, false) => ", without TLS",
        (false, true) => ", pods pull by a Secret",
        (false, false) => "",
    };
    ok(format!("{registry}{how}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kubectl_two_minors_off_the_server_is_warned_of() {
        let level = |client: &str, server: &str| {
            let versions = Versions {
                client: client.to_owned(),
                server: server.to_owned(),
            };
            answering("https://c", &versions)[0].level
        };
        assert_eq!(level("v1.34.4", "v1.33.9-eks-1"), Level::Ok);
        assert_eq!(level("v1.34.4", "v1.32.9+k3s1"), Level::Warning);
    }
}
