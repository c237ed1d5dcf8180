//! The table of services: `kind/services.toml` as it was when the tool was built, and a team's own file beside it (D4).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use toml::Spanned;

use crate::exit::{Exit, Failure};

/// `kind/services.toml`.
const TABLE: &str = include_str!("../../../kind/services.toml");

/// One service that has end-to-end tests.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Service {
    /// Its name, as people type it: a DNS label (RFC 1123), for it is part of namespaces and Kubernetes names.
    pub name: String,
    /// The migration profile that its database gets.
    pub profile: String,
    /// The Kubernetes namespace it runs in.
    pub namespace: String,
    /// What is set up for it.
    pub components: Vec<Component>,
    /// How many Data Storage pods answer behind its Service on Kind, each with a queue of its own that outlives its pod.
    #[serde(default = "one")]
    pub replicas: u16,
    /// Who may call its Data Storage.
    #[serde(default)]
    pub callers: Callers,
    /// Its host ports.
    pub ports: Ports,
    /// The ports of the tier without a cluster, for suites that used a compose file (D8).
    pub integration: Option<Integration>,
    /// Images that its manifests name, brought into the node.
    #[serde(default)]
    pub images: Vec<Image>,
    /// Files, directories and kustomizations that are applied in its namespace.
    #[serde(default)]
    pub manifests: Vec<PathBuf>,
    /// Label selectors of the pods that must be ready.
    #[serde(default)]
    pub ready: Vec<String>,
    /// The service as a process of this machine, for the local target.
    #[serde(default)]
    pub process: Vec<String>,
    /// The path on which the local process answers with 2xx once it is ready; `/health/ready` unless the table says otherwise.
    pub ready_path: Option<String>,
    /// Variables of the suite and of the local process, besides the tool's own.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// The tests; a service without them is refused by `e2e`.
    pub suite: Option<Suite>,
    /// The directory that the entry's paths start from: that of its file, or the checkout.
    #[serde(skip)]
    pub root: PathBuf,
    /// The table that it is from, as it was named.
    #[serde(skip)]
    pub table: String,
    /// Whether it stands for the tool's own entry of that name.
    #[serde(skip)]
    pub replaces: bool,
}

fn one() -> u16 {
    1
}

/// Something that is set up for a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Component {
    /// PostgreSQL with the service's migrations.
    Postgres,
    /// Data Storage on that database.
    Datastorage,
    /// A second Data Storage on a database without any migration.
    Unmigrated,
    /// A fake that plays the service's scenarios.
    #[serde(alias = "double")]
    Fake,
    /// A relay beside the fake, which then has no audit store of its own (D40).
    Relay,
    /// The service itself, by its images, manifests and process.
    Own,
}

/// Who may call a Data Storage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Callers {
    /// Whoever reaches it: services of before send no token.
    #[default]
    Anyone,
    /// Whoever has the run's token.
    Token,
}

/// The host ports of a service.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ports {
    /// What happens when one of them is taken.
    #[serde(default)]
    pub policy: Policy,
    /// Data Storage's, by DD-TEST-001.
    pub datastorage: Option<u16>,
    /// The service's own.
    pub service: Option<u16>,
}

/// Whether a service insists on its host ports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Policy {
    /// Asks for its own numbers and leases others where they are taken.
    #[default]
    Preferred,
    /// Fails where they are taken.
    Fixed,
}

/// The ports of the integration tier.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Integration {
    /// PostgreSQL's.
    pub postgres: u16,
    /// Data Storage's.
    pub datastorage: u16,
}

/// Where an image comes from.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Image {
    /// Its name in the manifests.
    pub name: String,
    /// A directory that Docker builds it from, with the Dockerfile in it.
    pub build: Option<PathBuf>,
    /// An archive that `docker save` wrote.
    pub archive: Option<PathBuf>,
}

/// The tests: a module of a package of this workspace, or any command.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Suite {
    /// Cargo package of the checkout whose `it` test holds the module.
    pub package: Option<String>,
    /// Module name, which selects the tests.
    pub module: Option<String>,
    /// A command in any language that exits with 0 when the tests passed.
    pub command: Vec<String>,
    /// Where the command runs.
    pub dir: PathBuf,
    /// The JUnit file that the command writes, whose tests are reported as the tool's own.
    pub junit: Option<PathBuf>,
    deadline_seconds: Option<u64>,
}

/// The tests of a suite, as one of the two kinds.
#[derive(Clone, Copy, Debug)]
pub enum Tests<'a> {
    /// A package and its module.
    Cargo(&'a str, &'a str),
    /// A program with its arguments.
    Command(&'a [String]),
}

impl Suite {
    /// How long the whole suite may take: ten minutes unless the table says otherwise.
    pub fn deadline(&self) -> Duration {
        Duration::from_secs(self.deadline_seconds.unwrap_or(600))
    }

    /// What is run.
    pub fn tests(&self) -> Tests<'_> {
        match (&self.package, &self.module) {
            (Some(package), Some(module)) => Tests::Cargo(package, module),
            _ => Tests::Command(&self.command),
        }
    }

    /// The tests in a few words.
    pub fn describe(&self) -> String {
        match self.tests() {
            Tests::Cargo(package, module) => format!("{package}::{module}"),
            Tests::Command(command) => command.join(" "),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    service: Vec<Spanned<Service>>,
}

/// Every service that can be named.
#[derive(Clone, Debug)]
pub struct Table {
    services: Vec<Service>,
    replaced: Vec<Service>,
    warnings: Vec<String>,
}

impl Table {
    /// The tool's own table, and a team's behind it; a team's entry takes the place of the tool's of the same name.
    pub fn load(own: Option<&Path>) -> Result<Self, Failure> {
        let checkout = crate::paths::checkout();
        let mut services = parse(TABLE, "kind/services.toml", &checkout)?;
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
            for mut service in parse(&text, &name, root)? {
                let known = services.iter_mut().find(|known| known.name == service.name);
                match known {
                    Some(known) if known.table == name => {
                        let what =
                            format!("{name}: the service `{}` is defined twice", service.name);
                        return Err(
                            Failure::new(Exit::Usage, what).hint("give one of them another name")
                        );
                    }
                    Some(known) => {
                        service.replaces = true;
                        replaced.push(std::mem::replace(known, service));
                    }
                    None => services.push(service),
                }
            }
        }
        Ok(Self {
            services,
            replaced,
            warnings,
        })
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
    pub fn choose(&self, names: &[String], all: bool) -> Result<Vec<Service>, Failure> {
        for name in names {
            self.find(name)?;
        }
        let wanted =
            |service: &&Service| (all && service.suite.is_some()) || names.contains(&service.name);
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
        Ok(chosen)
    }
}

/// How many replicas of Data Storage one database serves: each may open 16 connections, and the server takes 200.
const MOST_REPLICAS: u16 = 9;

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

fn parse(text: &str, file: &str, root: &Path) -> Result<Vec<Service>, Failure> {
    let document: Document = toml::from_str(text).map_err(|error| {
        let told = error.to_string();
        Failure::new(
            Exit::Usage,
            format!("{file} cannot be read: {}", told.trim()),
        )
    })?;
    let mut services = Vec::new();
    for entry in document.service {
        let line = 1 + text[..entry.span().start].matches('\n').count();
        let service = Service {
            root: root.to_owned(),
            table: file.to_owned(),
            ..entry.into_inner()
        };
        if let Err(why) = service.check() {
            let what = format!("{file}, line {line}: service `{}`: {why}", service.name);
            return Err(Failure::new(Exit::Usage, what));
        }
        services.push(service);
    }
    Ok(services)
}

impl Service {
    /// Whether a component is set up for it.
    pub fn has(&self, component: Component) -> bool {
        self.components.contains(&component)
    }

    /// The suite, or the failure that says there is none yet.
    pub fn suite(&self) -> Result<&Suite, Failure> {
        self.suite.as_ref().ok_or_else(|| {
            Failure::new(Exit::Usage, format!("the service `{}` has no suite yet", self.name)).hint(format!(
                "add `suite` to its entry in the table of services, or use `cargo xtask migrate --profile {}`",
                self.profile
            ))
        })
    }

    /// What no type can say about an entry.
    fn check(&self) -> Result<(), String> {
        let label = |text: &str| {
            let inside =
                |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
            (1..=40).contains(&text.len())
                && text.bytes().all(inside)
                && !text.starts_with('-')
                && !text.ends_with('-')
        };
        for (field, text) in [("name", &self.name), ("namespace", &self.namespace)] {
            if !label(text) {
                return Err(format!(
                    "{field} must be lower-case letters, digits and dashes, 40 at most (RFC 1123)"
                ));
            }
        }
        let needs = |component, other, words: &str| {
            if self.has(component) && !self.has(other) {
                Err(words.to_owned())
            } else {
                Ok(())
            }
        };
        needs(
            Component::Datastorage,
            Component::Postgres,
            "`datastorage` needs `postgres`",
        )?;
        needs(
            Component::Unmigrated,
            Component::Datastorage,
            "`unmigrated` needs `datastorage`",
        )?;
        needs(
            Component::Fake,
            Component::Datastorage,
            "`fake` needs `datastorage`",
        )?;
        needs(Component::Relay, Component::Fake, "`relay` needs `fake`")?;
        if !(1..=MOST_REPLICAS).contains(&self.replicas) {
            return Err(format!("`replicas` is 1 to {MOST_REPLICAS}"));
        }
        if self.replicas > 1 && !self.has(Component::Datastorage) {
            return Err("`replicas` belongs to the component `datastorage`".to_owned());
        }
        if self.has(Component::Fake) && self.has(Component::Own) {
            return Err("components hold the service itself or its fake, not both".to_owned());
        }
        let own = !(self.images.is_empty() && self.manifests.is_empty() && self.process.is_empty());
        if own && !self.has(Component::Own) {
            return Err("images, manifests and process belong to the component `own`".to_owned());
        }
        for image in &self.images {
            if image.build.is_some() && image.archive.is_some() {
                return Err(format!(
                    "the image {} has one source: `build` or `archive`",
                    image.name
                ));
            }
        }
        let Some(suite) = &self.suite else {
            return Ok(());
        };
        match (&suite.package, &suite.module, suite.command.is_empty()) {
            (Some(_), Some(_), true) | (None, None, false) => Ok(()),
            _ => Err("a suite is `package` with `module`, or `command`".to_owned()),
        }
    }
}

/// The name that was probably meant, if one is near enough.
pub fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    // clap's own threshold for its suggestions.
    const ENOUGH: f64 = 0.7;
    known
        .iter()
        .map(|near| (strsim::jaro_winkler(name, near), *near))
        .filter(|(likeness, _)| *likeness > ENOUGH)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, near)| near)
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
    fn an_entry_of_a_team_takes_the_place_of_the_built_in_one_but_not_of_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("services.toml");
        let own = ENTRY.replace("widget", "gateway");
        std::fs::write(&file, &own).unwrap();
        let table = Table::load(Some(&file)).unwrap();
        let gateway = table.find("gateway").unwrap();
        assert!(gateway.has(Component::Own) && gateway.replaces);
        assert_eq!((table.all().len(), table.replaced().len()), (7, 1));
        assert_eq!(table.replaced()[0].table, "kind/services.toml");
        std::fs::write(&file, own.repeat(2)).unwrap();
        let refused = Table::load(Some(&file)).unwrap_err().summary;
        assert!(refused.ends_with("is defined twice"), "{refused}");
    }

    #[test]
    fn the_earlier_word_for_a_fake_is_read_with_a_warning() {
        let text = ENTRY.replace("\"own\"", "\"double\"");
        let services = parse(&text, "services.toml", Path::new("/")).unwrap();
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
        let chosen: Vec<_> = chosen.iter().map(|service| &*service.name).collect();
        assert_eq!(chosen, ["gateway", "notification"]);
        assert!(table.choose(&[], false).is_err());
        assert_eq!(table.choose(&[], true).unwrap().len(), 7);
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
