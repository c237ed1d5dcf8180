//! The table of services: `kind/services.toml` as it was when the tool was built, and a team's own file beside it (D4).
//!
//! Modules, each may import those after it: `service`, `suite`, `part`, `source`, `hook`, `image`, `nearest`

pub mod hook;
pub mod image;
pub mod nearest;
pub mod part;
pub mod service;
pub mod source;
pub mod suite;

use std::path::Path;

use serde::Deserialize;
use toml::Spanned;

pub use nearest::nearest;
use part::Part;
use service::{Component, Service};

use crate::exit::{Exit, Failure};
use crate::names::{LITERAL, Unknown};

/// `kind/services.toml`.
const TABLE: &str = include_str!("../../../../kind/services.toml");
/// `kind/parts.toml`: the parts that the words of `components` mean.
const PARTS: &str = include_str!("../../../../kind/parts.toml");
/// How it is named.
const PARTS_FILE: &str = "kind/parts.toml";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(default)]
    part: Vec<Spanned<Part>>,
    #[serde(default)]
    service: Vec<Spanned<Service>>,
}

/// Every service that can be named.
#[derive(Clone, Debug)]
pub struct Table {
    services: Vec<Service>,
    parts: Vec<Part>,
    replaced: Vec<Service>,
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
    /// The tool's own table, and a team's behind it; a team's entry takes the place of the tool's of the same name.
    pub fn load(own: Option<&Path>) -> Result<Self, Failure> {
        let checkout = crate::paths::checkout();
        let (mut services, mut parts) = parse(TABLE, "kind/services.toml", &checkout)?;
        let (mut replaced, mut warnings) = (Vec::new(), Vec::new());
        if let Some(path) = own {
            let name = path.display().to_string();
            let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
            let text = std::fs::read_to_string(&path).map_err(|error| {
                Failure::new(Exit::Usage, format!("cannot read {name}: {error}"))
                    .hint("name a table of services in --services")
            })?;
            let root = path.parent().unwrap_or(Path::new("/"));
            warnings.extend(earlier_words(&text, &name));
            let (own_services, own_parts) = parse(&text, &name, root)?;
            for mut service in own_services {
                match services.iter_mut().find(|known| known.name == service.name) {
                    Some(known) => {
                        service.replaces = true;
                        replaced.push(std::mem::replace(known, service));
                    }
                    None => services.push(service),
                }
            }
            for part in own_parts {
                match parts.iter_mut().find(|known| known.name == part.name) {
                    Some(known) => *known = part,
                    None => parts.push(part),
                }
            }
        }
        let table = Self {
            services,
            parts,
            replaced,
            warnings,
        };
        table.check_needs()?;
        Ok(table)
    }

    /// Every part that a service names, and that a part needs, has to be there, and none may come before itself.
    fn check_needs(&self) -> Result<(), Failure> {
        let names: Vec<&str> = self.parts.iter().map(|part| &*part.name).collect();
        let of_services = self
            .services
            .iter()
            .map(|service| (service.table(), "service", &service.name, &service.parts));
        let of_parts = self
            .parts
            .iter()
            .map(|part| (&*part.table, "part", &part.name, &part.needs));
        for (table, what, name, needs) in of_services.chain(of_parts) {
            for need in needs {
                let built_in = what == "part" && NEEDED.contains(&&**need);
                if built_in || names.contains(&&**need) {
                    continue;
                }
                let failure = Failure::new(
                    Exit::Usage,
                    format!(
                        "{table}: the {what} `{name}` wants the part `{need}`, which no table has"
                    ),
                );
                return Err(match nearest(need, &names) {
                    Some(near) => failure.hint(format!("did you mean `{near}`?")),
                    None => failure.hint(format!("define it: [[part]] with name = \"{need}\"")),
                });
            }
        }
        for part in &self.parts {
            if closure(&part.needs, || self.parts.iter()).contains(&part.name) {
                let what = format!("{}: the part `{}` needs itself", part.table, part.name);
                return Err(Failure::new(Exit::Usage, what)
                    .hint("take one of the needs between it and itself away"));
            }
        }
        Ok(())
    }

    /// Every part, in the order of the tables.
    pub fn parts(&self) -> &[Part] {
        &self.parts
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
                None => failure.hint(format!("name one of: {}", names.join(", "))),
            }
        })
    }

    /// The services of these names, each once, in the order of the table; with `all`, every one that has a suite.
    pub fn choose(&self, names: &[String], all: bool) -> Result<Chosen, Failure> {
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
        if chosen.len() > usize::from(MOST) {
            let what = format!("{} services in one run are too many", chosen.len());
            return Err(Failure::new(Exit::Usage, what)
                .hint(format!("a cluster has ports for {MOST}: start two runs")));
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

/// How many services a run can hold: each has four of a cluster's 32 node ports, and PostgreSQL one.
pub const MOST: u16 = 7;

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

/// What a team's part may need besides other parts.
const NEEDED: [&str; 2] = ["postgres", "datastorage"];
/// The parts of the tool's own.
const BUILT_IN: [&str; 5] = ["postgres", "datastorage", "unmigrated", "fake", "relay"];

/// The part that a component of a service means.
pub fn built_in(component: Component) -> Result<Part, Failure> {
    let (_, parts) = parse(PARTS, PARTS_FILE, Path::new(""))?;
    let wanted = component.part();
    let part = parts.into_iter().find(|part| part.name == wanted);
    part.ok_or_else(|| Failure::setup(format!("{PARTS_FILE} has no part `{wanted}`")))
}

fn parse(text: &str, file: &str, root: &Path) -> Result<(Vec<Service>, Vec<Part>), Failure> {
    let document: Document = toml::from_str(text).map_err(|error| {
        let told = error.to_string();
        Failure::new(
            Exit::Usage,
            format!("{file} cannot be read: {}", told.trim()),
        )
    })?;
    let place = |start: usize, what: &str, why: &str| {
        let line = 1 + text[..start].matches('\n').count();
        Failure::new(Exit::Usage, format!("{file}, line {line}: {what}: {why}"))
    };
    let unknown = |unknown: Unknown| {
        let line = unknown.line(text);
        let line = line.map_or_else(String::new, |line| format!(", line {line}"));
        let what = format!(
            "{file}{line}: nothing is named ${{{}}} where images are: they are made before the run",
            unknown.0
        );
        let next = format!("give it a default: ${{{}:-e2e}}; or {LITERAL}", unknown.0);
        Failure::new(Exit::Usage, what).hint(next)
    };
    let images = |part: &mut Part| {
        let mut images = part.images.iter_mut();
        images.try_for_each(|image| image.expand(&|_| None))
    };
    let mut services: Vec<Service> = Vec::new();
    for entry in document.service {
        let (start, mut service) = (entry.span().start, entry.into_inner());
        images(&mut service.own).map_err(unknown)?;
        root.clone_into(&mut service.own.root);
        file.clone_into(&mut service.own.table);
        let what = format!("service `{}`", service.name);
        service.check().map_err(|why| place(start, &what, &why))?;
        if services.iter().any(|other| other.name == service.name) {
            return Err(
                place(start, &what, "is defined twice").hint("give one of them another name")
            );
        }
        services.push(service);
    }
    let mut parts: Vec<Part> = Vec::new();
    for entry in document.part {
        let (start, mut part) = (entry.span().start, entry.into_inner());
        images(&mut part).map_err(unknown)?;
        root.clone_into(&mut part.root);
        file.clone_into(&mut part.table);
        let what = format!("part `{}`", part.name);
        part.check().map_err(|why| place(start, &what, &why))?;
        if file != PARTS_FILE && BUILT_IN.contains(&&*part.name) {
            let why = "is the tool's own: a component of a service";
            return Err(place(start, &what, why).hint("give it another name"));
        }
        if parts.iter().any(|other| other.name == part.name) {
            return Err(
                place(start, &what, "is defined twice").hint("give one of them another name")
            );
        }
        parts.push(part);
    }
    Ok((services, parts))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENTRY: &str = "[[service]]\nname = \"widget\"\nprofile = \"gateway\"\nnamespace = \"widget\"\ncomponents = [\"postgres\", \"datastorage\", \"own\"]\nports = {}\n";

    fn refused(text: &str) -> String {
        let failure = parse(text, "services.toml", Path::new("/")).unwrap_err();
        assert_eq!(failure.exit, Exit::Usage);
        failure.summary
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
        let (_, parts) = parse(PARTS, PARTS_FILE, Path::new("")).unwrap();
        let names: Vec<_> = parts.iter().map(|part| &*part.name).collect();
        assert_eq!(names, BUILT_IN);
        for part in &parts {
            assert!(part.needs.iter().all(|need| BUILT_IN.contains(&&**need)));
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
        let (services, _) = parse(&text, "services.toml", Path::new("/")).unwrap();
        assert!(services[0].has(Component::Fake));
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
        assert!(parse(ENTRY, "services.toml", Path::new("/")).is_ok());
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
