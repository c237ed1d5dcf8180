//! A table's text, read as services, parts and clusters: with every fault in it, each with its line.

use std::borrow::Cow;
use std::path::Path;

use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeTable, DeValue, Error, ValueDeserializer};

use crate::exit::{Exit, Failure};
use crate::kubernetes_version::Version;
use crate::names::LITERAL;
use crate::table::cluster::{self, Cluster};
use crate::table::nearest;
use crate::table::part::{PARTS_FILE, Part};
use crate::table::service::Service;

/// What a team's part may need besides other parts.
pub(super) const NEEDED: [&str; 2] = ["postgres", "datastorage"];
/// Their names.
pub(super) const BUILT_IN: [&str; 5] = ["postgres", "datastorage", "unmigrated", "fake", "relay"];

/// What a text says.
#[derive(Default)]
pub(super) struct Document {
    /// Its services without a fault.
    pub(super) services: Vec<Service>,
    /// Its parts without a fault.
    pub(super) parts: Vec<Part>,
    /// The existing clusters that it allows, those without a fault.
    pub(super) clusters: Vec<Cluster>,
    /// The node image of each version of Kubernetes that it names one for, with its place.
    pub(super) kubernetes: Vec<(Version, String, String)>,
    /// The names of its parts that have one: what wants them is not wrong for that.
    pub(super) broken: Vec<String>,
    /// All that is wrong with it, in its order.
    pub(super) faults: Vec<Failure>,
}

/// Reads a text that people know as `file`, whose paths start from `root`.
pub(super) fn read(text: &str, file: &str, root: &Path) -> Document {
    read_only(
        text,
        file,
        root,
        &["part", "service", "clusters", "kubernetes"],
    )
}

/// Reads a user's configuration, which holds clusters and nothing else.
pub(super) fn clusters(text: &str, file: &str) -> Document {
    read_only(text, file, Path::new("/"), &["clusters"])
}

fn read_only(text: &str, file: &str, root: &Path, kinds: &[&str]) -> Document {
    let (table, wrong) = DeTable::parse_recoverable(text);
    let mut reader = Reader {
        text,
        file,
        root,
        faults: Vec::new(),
    };
    let mut document = Document::default();
    // What stands behind a fault of syntax may mean anything.
    let entries = if wrong.is_empty() {
        table.into_inner()
    } else {
        DeTable::default()
    };
    for error in wrong {
        reader.shape(error);
    }
    for (key, value) in entries {
        let at = key.span().start;
        let known = key.get_ref().as_ref();
        if !kinds.contains(&known) {
            reader.unknown(at, known, kinds);
            continue;
        }
        let entries = match (known, value.into_inner()) {
            ("part" | "service", DeValue::Array(entries)) => entries,
            ("clusters", DeValue::Table(entries)) => {
                for (context, entry) in entries {
                    reader.cluster(&context, entry, &mut document);
                }
                continue;
            }
            ("clusters", _) => {
                reader.wrong(at, "`clusters` is not written as [clusters.\"CONTEXT\"]");
                continue;
            }
            ("kubernetes", DeValue::Table(versions)) => {
                reader.versions(versions, &mut document);
                continue;
            }
            ("kubernetes", _) => {
                reader.wrong(at, "`kubernetes` is not written as [kubernetes]");
                continue;
            }
            (known, _) => {
                let what = format!("`{known}` is not written as [[{known}]]");
                reader.wrong(at, &what);
                continue;
            }
        };
        for entry in entries {
            if key.get_ref() == "part" {
                reader.part(entry, &mut document);
            } else {
                reader.service(entry, &mut document);
            }
        }
    }
    let mut faults = reader.faults;
    faults.sort_by_key(|(line, _)| *line);
    document.faults = faults.into_iter().map(|(_, fault)| fault).collect();
    document
}

struct Reader<'a> {
    text: &'a str,
    file: &'a str,
    root: &'a Path,
    /// Each with its line.
    faults: Vec<(usize, Failure)>,
}

impl Reader<'_> {
    fn line(&self, at: usize) -> usize {
        1 + self.text[..at].matches('\n').count()
    }

    fn wrong(&mut self, at: usize, what: &str) {
        let (file, line) = (self.file, self.line(at));
        let fault = Failure::new(Exit::Usage, format!("{file}, line {line}: {what}"));
        self.faults.push((line, fault.hint(NEXT)));
    }

    /// A kind of entry that nobody knows.
    fn unknown(&mut self, at: usize, name: &str, kinds: &[&str]) {
        let known: Vec<String> = kinds.iter().map(|kind| format!("`{kind}`")).collect();
        let known = known.join(" or ");
        let what = format!("unknown field `{name}`, expected {known}");
        self.wrong(at, &what);
        if let (Some(near), Some((_, fault))) = (nearest(name, kinds), self.faults.last_mut()) {
            fault.hint = Some(format!("did you mean `{near}`? {NEXT}"));
        }
    }

    fn shape(&mut self, mut error: Error) {
        error.set_input(Some(self.text));
        let mut line = error.span().map_or(0, |span| self.line(span.start));
        // It may be written in another way, which is what was told before.
        if error.message().starts_with("missing field") {
            line = line.max(self.faults.last().map_or(0, |(line, _)| *line));
        }
        let told = error.to_string();
        let what = format!("{} cannot be read: {}", self.file, told.trim());
        let fault = Failure::new(Exit::Usage, what).hint(NEXT);
        self.faults.push((line, fault));
    }

    /// The node image of each version of Kubernetes.
    fn versions(&mut self, versions: DeTable<'_>, document: &mut Document) {
        for (key, image) in versions {
            let at = key.span().start;
            let version = match key.get_ref().parse::<Version>() {
                Ok(version) => version,
                Err(why) => {
                    self.wrong(at, &format!("[kubernetes] `{}`: {why}", key.get_ref()));
                    continue;
                }
            };
            match image.get_ref().as_str() {
                Some(image) if !image.trim().is_empty() => {
                    let place = format!("{}, line {}", self.file, self.line(at));
                    document.kubernetes.push((version, image.to_owned(), place));
                }
                _ => self.wrong(
                    at,
                    &format!(
                        "[kubernetes] `{}` is not the name of a node image",
                        key.get_ref()
                    ),
                ),
            }
        }
    }

    fn service(&mut self, entry: Spanned<DeValue<'_>>, document: &mut Document) {
        let at = entry.span().start;
        let Some(mut service) = self.entry::<Service>(entry) else {
            return;
        };
        self.images(&mut service.own);
        self.root.clone_into(&mut service.own.root);
        self.file.clone_into(&mut service.own.table);
        service.own.line = self.line(at);
        let what = format!("service `{}`", service.name);
        let mut wrong = service.faults();
        if document
            .services
            .iter()
            .any(|other| other.name == service.name)
        {
            wrong.push("is defined twice".to_owned());
        }
        for why in &wrong {
            self.wrong(at, &format!("{what}: {why}"));
        }
        if wrong.is_empty() {
            document.services.push(service);
        }
    }

    fn part(&mut self, entry: Spanned<DeValue<'_>>, document: &mut Document) {
        let at = entry.span().start;
        let name = entry
            .get_ref()
            .get("name")
            .and_then(|name| name.get_ref().as_str());
        let name = name.unwrap_or_default().to_owned();
        let Some(mut part) = self.entry::<Part>(entry) else {
            document.broken.push(name);
            return;
        };
        self.images(&mut part);
        self.root.clone_into(&mut part.root);
        self.file.clone_into(&mut part.table);
        part.line = self.line(at);
        let mut wrong = part.faults();
        if self.file != PARTS_FILE && BUILT_IN.contains(&&*name) {
            wrong.push("is the tool's own: a component of a service".to_owned());
        }
        if document.parts.iter().any(|other| other.name == name) {
            wrong.push("is defined twice".to_owned());
        }
        for why in &wrong {
            self.wrong(at, &format!("part `{name}`: {why}"));
        }
        if wrong.is_empty() {
            document.parts.push(part);
        } else {
            document.broken.push(name);
        }
    }

    fn cluster(
        &mut self,
        context: &Spanned<Cow<'_, str>>,
        entry: Spanned<DeValue<'_>>,
        document: &mut Document,
    ) {
        let at = context.span().start;
        let name = context.get_ref().as_ref();
        let DeValue::Table(fields) = entry.get_ref() else {
            let what = format!("the context `{name}` is not written as [clusters.{name:?}]");
            self.wrong(at, &what);
            return;
        };
        // A dot in a name that is not quoted makes a table within a table.
        let inner = fields.iter().find_map(|(key, value)| {
            let is_table = matches!(value.get_ref(), DeValue::Table(_));
            is_table.then(|| key.get_ref().to_string())
        });
        if let Some(inner) = inner {
            let whole = format!("{name}.{inner}");
            let what =
                format!("a context with a dot in its name is written as [clusters.{whole:?}]");
            self.wrong(at, &what);
            return;
        }
        let told = self.faults.len();
        let read = self.entry::<Cluster>(entry);
        for (_, fault) in &mut self.faults[told..] {
            let unknown = fault.summary.split("unknown field `").nth(1);
            let unknown = unknown.and_then(|rest| rest.split('`').next());
            let near = unknown.and_then(|unknown| nearest(unknown, &cluster::FIELDS));
            if let Some(near) = near {
                fault.hint = Some(format!("did you mean `{near}`? {NEXT}"));
            }
        }
        let Some(mut cluster) = read else {
            return;
        };
        name.clone_into(&mut cluster.context);
        self.file.clone_into(&mut cluster.file);
        cluster.line = self.line(at);
        let wrong = cluster.faults();
        for why in &wrong {
            self.wrong(at, &format!("the context `{name}`: {why}"));
        }
        if wrong.is_empty() {
            document.clusters.push(cluster);
        }
    }

    /// Replaces the names in a part's images. They are made before the run has anything that a name could stand for, but a default.
    fn images(&mut self, part: &mut Part) {
        for image in &mut part.images {
            let Err(unknown) = image.expand(&|_| None) else {
                continue;
            };
            let line = unknown.line(self.text).unwrap_or_default();
            let (file, name) = (self.file, &unknown.0);
            let what = format!(
                "{file}, line {line}: nothing is named ${{{name}}} where images are: they are made before the run"
            );
            let next = format!("give it a default: ${{{name}:-e2e}}; or {LITERAL}");
            self.faults
                .push((line, Failure::new(Exit::Usage, what).hint(next)));
        }
    }

    /// An entry without a fault. What else is wrong with one shows once the field with the first fault is taken away.
    fn entry<T: for<'de> Deserialize<'de>>(
        &mut self,
        mut entry: Spanned<DeValue<'_>>,
    ) -> Option<T> {
        let mut taken: Vec<String> = Vec::new();
        loop {
            let error = match T::deserialize(ValueDeserializer::from(entry.clone())) {
                Ok(read) => return taken.is_empty().then_some(read),
                Err(error) => error,
            };
            let is_told = |field: &String| error.message() == format!("missing field `{field}`");
            if taken.iter().any(is_told) {
                return None;
            }
            let at = error.span().map_or(0, |span| span.start);
            self.shape(error);
            let DeValue::Table(fields) = entry.get_mut() else {
                return None;
            };
            let around = |(key, value): (&Spanned<_>, &Spanned<DeValue<'_>>)| {
                (key.span().start..value.span().end.max(key.span().end)).contains(&at)
            };
            let key = fields
                .iter()
                .find(|field| around(*field))?
                .0
                .get_ref()
                .clone();
            fields.remove(&*key);
            taken.push(key.into_owned());
        }
    }
}

/// What can be done about a fault.
const NEXT: &str = "correct it there; `cargo xtask services --schema` prints what a table may hold";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::cluster::FIELDS;

    fn told(text: &str) -> String {
        let faults = clusters(text, "config.toml").faults;
        let faults = faults.iter().map(ToString::to_string);
        faults.collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn a_cluster_is_allowed_by_nothing_but_its_name() {
        let text = "[clusters.\"arn:aws:eks:eu/x\"]\n[clusters.staging]\nregistry = \"r.example:5000/e2e\"\n";
        let Document {
            clusters, faults, ..
        } = clusters(text, "config.toml");
        assert!(faults.is_empty(), "{faults:?}");
        let seen: Vec<_> = clusters
            .iter()
            .map(|one| (&*one.context, one.place()))
            .collect();
        assert_eq!(
            seen,
            [
                ("arn:aws:eks:eu/x", "config.toml, line 1".to_owned()),
                ("staging", "config.toml, line 2".to_owned())
            ]
        );
    }

    #[test]
    fn each_fault_of_an_entry_is_told_with_its_line_and_the_nearest_name() {
        for (text, what) in [
            ("[clusters.a]\nregistri = \"x\"", "did you mean `registry`?"),
            ("[cluster.a]\n", "did you mean `clusters`?"),
            ("[clusters.eks.eu]\n", "[clusters.\"eks.eu\"]"),
            ("clusters = 3", "is not written as [clusters.\"CONTEXT\"]"),
            ("[clusters]\na = 3", "[clusters.\"a\"]"),
            (
                "[clusters.a]\nregistry = \"https://x\"",
                "line 1: the context `a`: the registry",
            ),
            ("[clusters.a]\nregistry = \"u:p@x\"", "is not HOST"),
            ("[clusters.a]\nnamespaces = []", "no namespace is named"),
            ("[clusters.a]\nnamespaces = [\"A\"]", "RFC 1123"),
            (
                "[clusters.a]\nnamespaces = [\"kube-system\"]",
                "cluster's own",
            ),
            ("[clusters.a]\nnamespaces = [\"x\", \"x\"]", "named twice"),
            (
                "[clusters.a]\nwait_for_room_seconds = 90000",
                "86400 at most",
            ),
            ("[clusters.a]\npull_secret = \"yes\"", "expected a boolean"),
            ("[[service]]\nname = \"x\"", "expected `clusters`"),
        ] {
            let told = told(text);
            assert!(told.contains(what), "{text}: {told}");
        }
        let secret = told("[clusters.a]\npostgres_url = \"postgres://u:geheim-wort@h\"");
        assert!(
            secret.contains("PGPASSWORD") && !secret.contains("geheim-wort"),
            "{secret}"
        );
    }

    #[test]
    fn the_known_fields_are_those_that_are_read() {
        let unknown =
            Cluster::deserialize(toml::de::ValueDeserializer::parse("{x = 1}").expect("TOML"))
                .expect_err("an unknown field");
        for field in FIELDS {
            assert!(
                unknown.message().contains(&format!("`{field}`")),
                "{unknown}"
            );
        }
        assert_eq!(unknown.message().matches('`').count(), 2 + 2 * FIELDS.len());
    }
}
