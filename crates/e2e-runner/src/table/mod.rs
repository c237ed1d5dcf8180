//! The table of services: `kind/services.toml` as it was when the tool was built, and a team's own file beside it (D4).
//!
//! Modules, each may import those after it: `document`, `cluster`, `service`, `suite`, `part`, `source`, `hook`, `image`, `nearest`

pub mod cluster;
mod document;
pub mod hook;
pub mod image;
mod nearest;
pub mod part;
pub mod service;
pub mod source;
pub mod suite;

use std::path::Path;

pub use nearest::nearest;

use cluster::Cluster;
use document::{Document, NEEDED};
use part::{PARTS_FILE, Part};
use service::{Callers, Component, Service};

use crate::exit::{Exit, Failure};
use crate::kubernetes_version::Version;

/// `kind/services.toml`.
const TABLE: &str = include_str!("../../../../kind/services.toml");
/// What it is called.
const NAME: &str = "kind/services.toml";
/// `kind/parts.toml`: the parts that the words of `components` mean.
const PARTS: &str = include_str!("../../../../kind/parts.toml");

/// Its JSON schema, by which editors help.
pub const SCHEMA: &str = include_str!("../../../../kind/services.schema.json");

/// Every service that can be named.
#[derive(Clone, Debug)]
pub struct Table {
    built_in: String,
    own: Option<String>,
    services: Vec<Service>,
    parts: Vec<Part>,
    clusters: Vec<Cluster>,
    replaced: Vec<Service>,
    kubernetes: Vec<(Version, String, String)>,
    warnings: Vec<String>,
}

/// Services of one run, with the parts that they and those parts need, each part after what it needs.
#[derive(Clone, Debug)]
pub struct Chosen {
    /// The services, in the order of the tables.
    pub services: Vec<Service>,
    /// The parts that they share.
    pub parts: Vec<Part>,
}

impl Chosen {
    /// The parts that a service needs, itself first.
    pub fn parts_of<'a>(&'a self, service: &'a Service) -> Vec<&'a Part> {
        let names = closure(&service.parts, || self.parts.iter());
        let shared = self.parts.iter().filter(|part| names.contains(&part.name));
        [&service.own].into_iter().chain(shared).collect()
    }
}

/// The names of parts and of those that they need.
pub fn closure<'a, Parts: Iterator<Item = &'a Part>>(
    names: &[String],
    parts: impl Fn() -> Parts,
) -> Vec<String> {
    let mut names = names.to_vec();
    let mut at = 0;
    while let Some(name) = names.get(at) {
        let part = parts().find(|part| part.name == *name);
        let needs = part.into_iter().flat_map(|part| &part.needs);
        let more: Vec<_> = needs
            .filter(|need| !names.contains(need))
            .cloned()
            .collect();
        names.extend(more);
        at += 1;
    }
    names
}

impl Table {
    /// The built-in table, and a team's behind it; a team's entry takes the place of the built-in one of the same name.
    ///
    /// In a checkout, or where `E2E_SOURCE` names one, the built-in table is that of the checkout, whose suites and programs it speaks of.
    /// The manifests of PostgreSQL and Data Storage (`kind/manifests`) stay those that the tool was built with: they belong to its code.
    pub fn load(own: Option<&Path>) -> Result<Self, Failure> {
        let (table, faults) = Self::inspect(own);
        match faults.into_iter().next() {
            Some(fault) => Err(fault),
            None => Ok(table),
        }
    }

    /// The same, of tables that may have faults: what could be read, and all that is wrong with them.
    pub fn inspect(own: Option<&Path>) -> (Self, Vec<Failure>) {
        let checkout = crate::paths::checkout();
        let (text, name) = built_in_table(&checkout);
        let Document {
            services,
            parts,
            clusters,
            kubernetes,
            mut broken,
            mut faults,
        } = document::read(&text, &name, &checkout);
        let mut table = Self {
            built_in: name,
            own: own.map(|path| path.display().to_string()),
            services,
            parts,
            clusters,
            replaced: Vec::new(),
            kubernetes,
            warnings: Vec::new(),
        };
        if let Some(path) = own {
            let name = path.display().to_string();
            let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
            let root = path.parent().unwrap_or(Path::new("/"));
            match std::fs::read_to_string(&path) {
                Ok(text) => {
                    table.warnings.extend(earlier_words(&text, &name));
                    let document = document::read(&text, &name, root);
                    table.add(document.services, document.parts);
                    table.clusters.splice(0..0, document.clusters);
                    table.kubernetes.splice(0..0, document.kubernetes);
                    broken.extend(document.broken);
                    faults.extend(document.faults);
                }
                Err(error) => faults.push(
                    Failure::new(Exit::Usage, format!("cannot read {name}: {error}"))
                        .hint("name a table of services in --services"),
                ),
            }
        }
        faults.extend(table.faults_of_needs(&broken));
        (table, faults)
    }

    /// Adds a team's entries, which take the places of those of the same names.
    fn add(&mut self, services: Vec<Service>, parts: Vec<Part>) {
        for mut service in services {
            let mut known = self.services.iter_mut();
            match known.find(|known| known.name == service.name) {
                Some(known) => {
                    service.replaces = true;
                    self.replaced.push(std::mem::replace(known, service));
                }
                None => self.services.push(service),
            }
        }
        for part in parts {
            match self.parts.iter_mut().find(|known| known.name == part.name) {
                Some(known) => *known = part,
                None => self.parts.push(part),
            }
        }
    }

    /// Every part that a service names, and that a part needs, has to be there, and none may come before itself.
    fn faults_of_needs(&self, broken: &[String]) -> Vec<Failure> {
        let mut faults = Vec::new();
        let names: Vec<&str> = self.parts.iter().map(|part| &*part.name).collect();
        let of_services = self
            .services
            .iter()
            .map(|service| (&service.own, "service", &service.parts));
        let of_parts = self.parts.iter().map(|part| (part, "part", &part.needs));
        for (whose, what, needs) in of_services.chain(of_parts) {
            for need in needs {
                let built_in = what == "part" && NEEDED.contains(&&**need);
                if built_in || names.contains(&&**need) || broken.contains(need) {
                    continue;
                }
                let (place, name) = (whose.place(), &whose.name);
                let failure = Failure::new(
                    Exit::Usage,
                    format!(
                        "{place}: the {what} `{name}` wants the part `{need}`, which no table has"
                    ),
                );
                faults.push(match nearest(need, &names) {
                    Some(near) => failure.hint(format!("did you mean `{near}`?")),
                    None => failure.hint(format!("define it: [[part]] with name = \"{need}\"")),
                });
            }
        }
        for part in &self.parts {
            if closure(&part.needs, || self.parts.iter()).contains(&part.name) {
                let what = format!("{}: the part `{}` needs itself", part.place(), part.name);
                faults.push(
                    Failure::new(Exit::Usage, what)
                        .hint("take one of the needs between it and itself away"),
                );
            }
        }
        faults
    }

    /// The name of the built-in table: a path, where it is that of a checkout and not what the tool was built with.
    pub fn built_in(&self) -> &str {
        &self.built_in
    }

    /// The team's table, as it was named.
    pub fn own(&self) -> Option<&str> {
        self.own.as_deref()
    }

    /// Whose rows these are, in a line.
    pub fn whose(&self) -> String {
        let as_built = if self.built_in == NAME {
            ", as the tool was built"
        } else {
            ""
        };
        let built_in = format!("built-in rows of {}{as_built}", self.built_in);
        let Some(own) = &self.own else {
            return built_in;
        };
        let rows = self.services.iter().filter(|row| row.table() == own);
        let rows = rows.map(|row| {
            if row.replaces {
                format!("{} (in the place of the built-in one)", row.name)
            } else {
                row.name.clone()
            }
        });
        let rows: Vec<String> = rows.collect();
        format!("{built_in}; rows of {own}: {}", rows.join(", "))
    }

    /// What a team's entries leave out that those had whose places they take: an entry is whole, and nothing of another is added to it.
    pub fn lost(&self) -> Vec<String> {
        let pairs = self.replaced.iter().filter_map(|before| {
            let mut services = self.services.iter();
            let now = services.find(|service| service.name == before.name)?;
            let lost = left_out(before, now).join(", ");
            let (name, place) = (&now.name, now.own.place());
            (!lost.is_empty()).then(|| {
                format!(
                    "{place}: `{name}` takes the whole place of the one of {}, and leaves out: {lost}",
                    before.table()
                )
            })
        });
        pairs.collect()
    }

    /// Every part, in the order of the tables.
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// The existing clusters that a user's configuration allows, and all that is wrong with it.
    pub fn clusters_in(text: &str, file: &str) -> (Vec<Cluster>, Vec<Failure>) {
        let document = document::clusters(text, file);
        (document.clusters, document.faults)
    }

    /// The existing clusters that the tables allow; those of a team's own come first.
    pub fn clusters(&self) -> &[Cluster] {
        &self.clusters
    }

    /// Services with their parts and what those need, each once. The namespace of one that names none is that of the first service that
    /// uses it.
    pub fn together(&self, services: Vec<Service>) -> Chosen {
        let mut parts: Vec<Part> = Vec::new();
        for service in &services {
            for name in &service.parts {
                self.add_part(name, service, &mut parts);
            }
        }
        Chosen { services, parts }
    }

    fn add_part(&self, name: &str, service: &Service, ordered: &mut Vec<Part>) {
        let known = self.parts.iter().find(|part| part.name == name);
        let Some(part) = known.filter(|part| ordered.iter().all(|other| other.name != part.name))
        else {
            return;
        };
        for need in &part.needs {
            self.add_part(need, service, ordered);
        }
        let mut part = part.clone();
        part.namespace
            .get_or_insert_with(|| service.namespace.clone());
        ordered.push(part);
    }

    /// The node image that a table names for a version of Kubernetes, and the place where it does; a team's before the tool's own.
    pub fn node_image(&self, version: Version) -> Option<(&str, &str)> {
        let named = self.kubernetes.iter().find(|(known, ..)| *known == version);
        named.map(|(_, image, place)| (&**image, &**place))
    }

    /// What is still read, but should be written in another way.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Every service, in the order of the tables.
    pub fn all(&self) -> &[Service] {
        &self.services
    }

    /// The tool's own entries that a team's stand for.
    pub fn replaced(&self) -> &[Service] {
        &self.replaced
    }

    /// The service of that name.
    pub fn find(&self, name: &str) -> Result<&Service, Failure> {
        let known = |service: &&Service| service.name == name;
        self.services.iter().find(known).ok_or_else(|| {
            let names: Vec<_> = self.services.iter().map(|service| &*service.name).collect();
            let failure = Failure::new(Exit::Usage, format!("no service is named `{name}`"));
            match nearest(name, &names) {
                Some(near) => failure.hint(format!(
                    "did you mean `{near}`? the services are: {}",
                    names.join(", ")
                )),
                None => failure.hint(format!(
                    "name one of: {}; a table of your own is named by --services or E2E_SERVICES",
                    names.join(", ")
                )),
            }
        })
    }

    /// The services of these names, each once, in the order of the table; with `all`, every one that has a suite. They may be more than
    /// one run can hold.
    pub fn named(&self, names: &[String], all: bool) -> Result<Vec<Service>, Failure> {
        for name in names {
            self.find(name)?;
        }
        let wanted = |service: &&Service| {
            (all && !service.suites.is_empty()) || names.contains(&service.name)
        };
        let chosen: Vec<_> = self.services.iter().filter(wanted).cloned().collect();
        if chosen.is_empty() {
            let names: Vec<_> = self.services.iter().map(|service| &*service.name).collect();
            let next = format!("name some of: {}; or --all", names.join(", "));
            return Err(Failure::new(Exit::Usage, "no service given").hint(next));
        }
        Ok(chosen)
    }

    /// The services of one run: those of these names, or with `all` every one that has a suite.
    pub fn choose(&self, names: &[String], all: bool) -> Result<Chosen, Failure> {
        let chosen = self.named(names, all)?;
        if chosen.len() > usize::from(MOST) {
            let what = format!("{} services in one run are too many", chosen.len());
            return Err(Failure::new(Exit::Usage, what).hint(format!(
                "a cluster has ports for {MOST}: start {} runs",
                chosen.len().div_ceil(usize::from(MOST))
            )));
        }
        if let Some(service) = chosen
            .iter()
            .find(|service| service.alone && chosen.len() > 1)
        {
            let (name, table) = (&service.name, service.table());
            let what = format!("{table}: `{name}` is never with others in a run (`alone = true`)");
            return Err(Failure::new(Exit::Usage, what).hint(format!(
                "start `{name}` and the others in runs of their own"
            )));
        }
        Ok(self.together(chosen))
    }
}

/// How many services a run can hold: each has three of the 80 node ports that a cluster can have, PostgreSQL one, and what they publish
/// besides the rest.
pub const MOST: u16 = 24;

/// Says so where a table has the earlier word for the component `fake`.
fn earlier_words(text: &str, file: &str) -> Option<String> {
    let table: toml::Table = toml::from_str(text).ok()?;
    let services = table.get("service")?.as_array()?;
    let has_it = |service: &toml::Value| {
        let components = service.get("components").and_then(toml::Value::as_array);
        components.is_some_and(|list| list.iter().any(|word| word.as_str() == Some("double")))
    };
    services
        .iter()
        .any(has_it)
        .then(|| format!("{file}: the component `double` is called `fake` now"))
}

/// The built-in table and its name: that of a checkout, where it is another than what the tool was built with.
fn built_in_table(checkout: &Path) -> (String, String) {
    let path = checkout.join("kind/services.toml");
    match std::fs::read_to_string(&path) {
        Ok(text) if text != TABLE => (text, path.display().to_string()),
        _ => (TABLE.to_owned(), NAME.to_owned()),
    }
}

/// The part that a component of a service means.
pub fn built_in(component: Component) -> Result<Part, Failure> {
    let Document { parts, faults, .. } = document::read(PARTS, PARTS_FILE, Path::new(""));
    if let Some(fault) = faults.into_iter().next() {
        return Err(fault);
    }
    let wanted = component.part();
    let part = parts.into_iter().find(|part| part.name == wanted);
    part.ok_or_else(|| Failure::setup(format!("{PARTS_FILE} has no part `{wanted}`")))
}

/// What an entry has and another does not say.
fn left_out(before: &Service, now: &Service) -> Vec<String> {
    let components = [
        (Component::Postgres, "postgres"),
        (Component::Datastorage, "datastorage"),
        (Component::Unmigrated, "unmigrated"),
    ];
    let lost = components
        .into_iter()
        .filter(|(component, _)| before.has(*component) && !now.has(*component));
    let mut lost: Vec<String> = lost
        .map(|(_, word)| format!("component \"{word}\""))
        .collect();
    let mut add = |is_lost: bool, what: &str| {
        if is_lost {
            lost.push(what.to_owned());
        }
    };
    let was_asked = before.callers == Callers::Token && now.callers == Callers::Anyone;
    add(was_asked, "callers = \"token\"");
    add(
        before.integration.is_some() && now.integration.is_none(),
        "integration",
    );
    add(
        before.ports.datastorage.is_some() && now.ports.datastorage.is_none(),
        "ports.datastorage",
    );
    add(before.replicas > 1 && now.replicas == 1, "replicas");
    lost
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENTRY: &str = "[[service]]\nname = \"widget\"\nprofile = \"gateway\"\nnamespace = \"widget\"\ncomponents = [\"postgres\", \"datastorage\", \"own\"]\nports = {}\n";

    fn refused(text: &str) -> String {
        let faults = document::read(text, "services.toml", Path::new("/")).faults;
        let failure = faults.first().unwrap();
        assert_eq!(failure.exit, Exit::Usage);
        failure.summary.clone()
    }

    #[test]
    fn a_run_holds_as_many_services_as_a_cluster_has_ports_for() {
        let row = |number: u16| {
            let name = format!("row-{number}");
            ENTRY.replace("\"widget\"", &format!("\"{name}\""))
        };
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("services.toml");
        let rows: String = (0..=2 * MOST).map(row).collect();
        std::fs::write(&file, rows).unwrap();
        let table = Table::load(Some(&file)).unwrap();
        let names = |count: u16| (0..count).map(|number| format!("row-{number}"));
        let chosen = |count: u16| table.choose(&names(count).collect::<Vec<_>>(), false);
        assert_eq!(chosen(MOST).unwrap().services.len(), usize::from(MOST));
        for (count, runs) in [(MOST + 1, "start 2 runs"), (2 * MOST + 1, "start 3 runs")] {
            let failure = chosen(count).unwrap_err();
            assert!(failure.to_string().contains(runs), "{failure}");
        }
    }

    #[test]
    fn the_table_names_the_seven_services_once_each() {
        let table = Table::load(None).unwrap();
        let mut names: Vec<_> = table.all().iter().map(|service| &service.name).collect();
        assert_eq!(names.len(), 7);
        names.sort();
        names.dedup();
        assert_eq!(names.len(), 7);
    }

    #[test]
    fn every_component_but_a_service_s_own_is_a_part_of_the_tool_s_table_and_no_other_may_have_its_name()
     {
        let parts = document::read(PARTS, PARTS_FILE, Path::new("")).parts;
        let names: Vec<_> = parts.iter().map(|part| &*part.name).collect();
        assert_eq!(names, document::BUILT_IN);
        for part in &parts {
            assert!(
                part.needs
                    .iter()
                    .all(|need| document::BUILT_IN.contains(&&**need))
            );
            let told = refused(&format!("[[part]]\nname = \"{}\"\n", part.name));
            assert!(told.contains("the tool's own"), "{told}");
        }
        let postgres = built_in(Component::Postgres).unwrap();
        assert_eq!(postgres.images[0].name, crate::settings::postgres_image());
        let relay = built_in(Component::Relay).unwrap();
        assert_eq!(
            (&*relay.name, relay.package()),
            ("relay", Some("audit-emit"))
        );
    }

    #[test]
    fn an_entry_of_a_team_takes_the_place_of_the_built_in_one_but_not_of_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("services.toml");
        let own = ENTRY.replace("widget", "gateway");
        std::fs::write(&file, &own).unwrap();
        let table = Table::load(Some(&file)).unwrap();
        let gateway = table.find("gateway").unwrap();
        assert!(gateway.has(Component::Own) && gateway.replaces);
        assert_eq!((table.all().len(), table.replaced().len()), (7, 1));
        assert_eq!(table.replaced()[0].table(), "kind/services.toml");
        std::fs::write(&file, own.repeat(2)).unwrap();
        let refused = Table::load(Some(&file)).unwrap_err().summary;
        assert!(refused.ends_with("is defined twice"), "{refused}");
    }

    #[test]
    fn the_earlier_word_for_a_fake_is_read_with_a_warning() {
        let text = ENTRY.replace("\"own\"", "\"double\"");
        let read = document::read(&text, "services.toml", Path::new("/"));
        assert!(read.services[0].has(Component::Fake));
        let warning = earlier_words(&text, "services.toml").unwrap();
        assert!(warning.contains("is called `fake` now"), "{warning}");
        assert_eq!(earlier_words(ENTRY, "services.toml"), None);
    }

    #[test]
    fn an_unknown_field_is_refused_with_its_line() {
        let what = refused("[[service]]\nname = \"x\"\nprofil = \"x\"\n");
        assert!(what.contains("line 3") && what.contains("profil"), "{what}");
    }

    #[test]
    fn what_no_type_can_say_is_refused_with_its_file_and_line() {
        assert!(
            document::read(ENTRY, "services.toml", Path::new("/"))
                .faults
                .is_empty()
        );
        let twice = format!(
            "{ENTRY}\n{}",
            ENTRY.replace("name = \"widget\"", "name = \"Widget\"")
        );
        for (text, line, why) in [
            (twice, "line 8", "RFC 1123"),
            (
                ENTRY.replace("\"postgres\", ", ""),
                "line 1",
                "needs `postgres`",
            ),
            (
                ENTRY.replace("\"own\"", "\"own\", \"fake\""),
                "line 1",
                "not both",
            ),
            (
                ENTRY.replace(", \"own\"", "") + "manifests = [\"a\"]\n",
                "line 1",
                "belong to",
            ),
            (
                ENTRY.replace("\"own\"", "\"own\", \"relay\""),
                "line 1",
                "needs `fake`",
            ),
            (format!("{ENTRY}replicas = 0\n"), "line 1", "1 to 9"),
            (
                ENTRY.replace(", \"datastorage\"", "") + "replicas = 2\n",
                "line 1",
                "component `datastorage`",
            ),
            (
                format!("{ENTRY}suite = {{ package = \"e2e\" }}\n"),
                "line 1",
                "`package` with `module`",
            ),
        ] {
            let what = refused(&text);
            assert!(what.contains(line) && what.contains(why), "{what}");
        }
    }

    #[test]
    fn names_in_images_are_the_shell_s_or_their_default_and_others_are_refused_with_their_line() {
        let image = |name: &str| {
            format!(
                "{ENTRY}images = [{{ name = \"{name}\", build = \"{name}\", args = {{ TAG = \"{name}\" }} }}]\n"
            )
        };
        let text = image("w-${E2E_UNSET_BY_ALL:-e2e}");
        let document = document::read(&text, "services.toml", Path::new("/"));
        let made = &document.services[0].own.images[0];
        let build = image::Build::Docker("w-e2e".into());
        assert_eq!(
            (&*made.name, &made.build, &*made.args["TAG"]),
            ("w-e2e", &Some(build), "w-e2e")
        );
        let what = refused(&image("w-${NAMESPACE}"));
        assert!(
            what.contains("line 7: nothing is named ${NAMESPACE}"),
            "{what}"
        );
    }

    #[test]
    fn parts_come_after_what_they_need_and_none_may_need_itself() {
        let part =
            |name: &str, needs: &str| format!("[[part]]\nname = \"{name}\"\nneeds = [{needs}]\n");
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("services.toml");
        let load = |parts: &[String]| {
            let entry = format!("{ENTRY}parts = [\"a\"]\n");
            std::fs::write(&file, format!("{}{entry}", parts.concat())).unwrap();
            Table::load(Some(&file))
        };
        let table = load(&[
            part("a", "\"b\", \"postgres\""),
            part("b", ""),
            part("c", ""),
        ])
        .unwrap();
        let chosen = table.choose(&["widget".to_owned()], false).unwrap();
        let names: Vec<_> = chosen.parts.iter().map(|part| &*part.name).collect();
        assert_eq!(names, ["b", "a"]);
        assert_eq!(chosen.parts[0].namespace.as_deref(), Some("widget"));
        let failure = load(&[part("a", "\"b\""), part("b", "\"a\"")]).unwrap_err();
        assert!(
            failure.summary.contains("the part `a` needs itself"),
            "{failure}"
        );
        let failure = load(&[part("a", ""), part("a", "")]).unwrap_err();
        assert!(
            failure
                .summary
                .contains("line 4: part `a`: is defined twice"),
            "{failure}"
        );
        let failure = load(&[part("a", ""), part("postgres", "")]).unwrap_err();
        assert!(failure.summary.contains("is the tool's own"), "{failure}");
    }

    #[test]
    fn services_are_chosen_once_each_in_the_tables_order() {
        let table = Table::load(None).unwrap();
        let names = ["notification", "gateway", "notification"].map(str::to_owned);
        let chosen = table.choose(&names, false).unwrap();
        let chosen: Vec<_> = chosen
            .services
            .iter()
            .map(|service| &*service.name)
            .collect();
        assert_eq!(chosen, ["gateway", "notification"]);
        assert!(table.choose(&[], false).is_err());
        assert_eq!(table.choose(&[], true).unwrap().services.len(), 7);
    }

    #[test]
    fn an_unknown_service_lists_those_that_exist() {
        let failure = Table::load(None).unwrap().find("workflow").unwrap_err();
        let told = failure.to_string();
        assert!(
            told.contains("workflowexecution, datastorage, gateway"),
            "{told}"
        );
    }
}
