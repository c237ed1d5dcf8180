//! The suites of a service, and which of them a command line asks for.

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::exit::{Exit, Failure};
use crate::table::nearest::nearest;
use crate::table::part::label;

/// The tests: a module of a package of this workspace, or any command.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Suite {
    /// Its name, which tells it from the others of its service.
    pub name: String,
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
    /// How often failed tests are run again.
    pub retries: u32,
    /// The words by which the command runs only some tests: `${FILTER}` in them is the text.
    pub filter: Vec<String>,
    /// Whether it starts together with the one before it.
    pub beside: bool,
    deadline_seconds: Option<u64>,
    /// Where the command runs.
    #[serde(rename = "in")]
    pub place: Place,
    /// The image that it runs in, where that is not this machine.
    pub image: Option<String>,
    /// Whether its service has several.
    #[serde(skip)]
    one_of_several: bool,
    /// The text that the names of its tests have to hold, where only some are asked for.
    #[serde(skip)]
    pub only: Option<String>,
}

/// The tests of a suite, as one of the two kinds.
#[derive(Clone, Copy, Debug)]
pub enum Tests<'a> {
    /// A package and its module.
    Cargo(&'a str, &'a str),
    /// A program with its arguments.
    Command(&'a [String]),
}

/// Where a command runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Place {
    /// On this machine.
    #[default]
    Host,
    /// In a container beside the environment, on this machine's network.
    Container,
    /// In a Job of the cluster, in the service's namespace.
    Job,
}

/// What the words of `filter` have for the text.
const FILTER: &str = "${FILTER}";
/// The name of a suite that needs none.
const ONLY: &str = "suite";
/// How often a failed test may be run again: what fails that often is not flaky.
pub const MOST_RETRIES: u32 = 9;

impl Suite {
    /// How long it may take at each attempt: ten minutes unless the table says otherwise.
    pub fn deadline(&self) -> Duration {
        Duration::from_secs(self.deadline_seconds.unwrap_or(600))
    }

    /// How long all of its attempts may take.
    pub fn longest(&self) -> Duration {
        self.deadline().saturating_mul(1 + self.retries)
    }

    /// Its name, where its service has several.
    pub fn part(&self) -> Option<&str> {
        self.one_of_several.then_some(&self.name)
    }

    /// The file of what it printed.
    pub fn log(&self) -> String {
        match self.part() {
            Some(name) => format!("suite-{name}.log"),
            None => "suite.log".to_owned(),
        }
    }

    /// The directory of what it wrote in a Job.
    pub fn results(&self) -> String {
        self.log().replace(".log", "-results")
    }

    /// What is run.
    pub fn tests(&self) -> Tests<'_> {
        match (&self.package, &self.module) {
            (Some(package), Some(module)) => Tests::Cargo(package, module),
            _ => Tests::Command(&self.command),
        }
    }

    /// The words of its command, with those of the filter where only some tests are asked for.
    pub fn words(&self) -> Vec<String> {
        let filter = self.only.iter().flat_map(|text| {
            let words = self.filter.iter();
            words.map(move |word| word.replace(FILTER, text))
        });
        self.command.iter().cloned().chain(filter).collect()
    }

    /// The tests in a few words.
    pub fn describe(&self) -> String {
        let tests = match self.tests() {
            Tests::Cargo(package, module) => format!("{package}::{module}"),
            Tests::Command(command) => command.join(" "),
        };
        match self.part() {
            Some(name) => format!("{name}: {tests}"),
            None => tests,
        }
    }

    fn check(&self) -> Result<(), String> {
        let is_command = match (&self.package, &self.module, self.command.is_empty()) {
            (Some(_), Some(_), true) => false,
            (None, None, false) => true,
            _ => return Err("a suite is `package` with `module`, or `command`".to_owned()),
        };
        label("the name of a suite", &self.name)?;
        if self.retries > MOST_RETRIES {
            return Err(format!("`retries` is 0 to {MOST_RETRIES}"));
        }
        match (self.place, &self.image) {
            (Place::Host, None) => {}
            (Place::Host, Some(_)) => {
                return Err("`image` belongs to `in`, which says where".to_owned());
            }
            (_, None) => return Err("`in` needs the `image` that the command runs in".to_owned()),
            (_, Some(_)) if !is_command => return Err("`in` belongs to `command`".to_owned()),
            (Place::Job, Some(_)) if !self.dir.as_os_str().is_empty() => {
                return Err("a Job runs where its image says, not in `dir`".to_owned());
            }
            (_, Some(_)) => {}
        }
        if self.filter.is_empty() {
            return Ok(());
        }
        if !is_command {
            return Err(
                "`filter` belongs to `command`: a module's tests are filtered by their names"
                    .to_owned(),
            );
        }
        if !self.filter.iter().any(|word| word.contains(FILTER)) {
            return Err(format!("`filter` has no {FILTER}, where the text goes"));
        }
        // A runner that finds no test passes.
        if self.junit.is_none() {
            return Err("`filter` needs `junit`, which says whether any test ran".to_owned());
        }
        Ok(())
    }
}

/// The suites of an entry, with the names that the reports have.
pub(super) fn named(mut suites: Vec<Suite>) -> Vec<Suite> {
    let several = suites.len() > 1;
    for suite in &mut suites {
        suite.one_of_several = several;
        if !several && suite.name.is_empty() {
            ONLY.clone_into(&mut suite.name);
        }
    }
    suites
}

/// What no type can say about them.
pub(super) fn check(suites: &[Suite]) -> Result<(), String> {
    let mut names = BTreeSet::new();
    for suite in suites {
        if suite.name.is_empty() {
            return Err("each of several suites has a `name`".to_owned());
        }
        suite.check()?;
        if !names.insert(&suite.name) {
            return Err(format!("two suites have the name `{}`", suite.name));
        }
    }
    match suites.first() {
        Some(first) if first.beside => {
            Err("`beside` is for a suite that comes after another".to_owned())
        }
        _ => Ok(()),
    }
}

/// Reads one suite or a list of them.
pub(super) fn one_or_several<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<Suite>, D::Error> {
    struct OneOrSeveral;
    impl<'de> Visitor<'de> for OneOrSeveral {
        type Value = Vec<Suite>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a suite or a list of suites")
        }

        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
            Suite::deserialize(MapAccessDeserializer::new(map)).map(|suite| vec![suite])
        }

        fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Self::Value, A::Error> {
            Vec::deserialize(SeqAccessDeserializer::new(list))
        }
    }
    deserializer.deserialize_any(OneOrSeveral)
}

/// What a command line says of suites.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// The suites that run; none for all of them.
    pub names: Vec<String>,
    /// How often failed tests are run again, whatever the table says.
    pub retries: Option<u32>,
    /// The text that the names of the tests have to hold.
    pub filter: Option<String>,
}

impl Asked {
    /// Leaves of a service's suites those that are asked for, as they are asked for.
    pub fn choose(
        &self,
        service: &str,
        table: &str,
        suites: &mut Vec<Suite>,
    ) -> Result<(), Failure> {
        let known: Vec<_> = suites.iter().map(|suite| &*suite.name).collect();
        for name in &self.names {
            if known.contains(&&**name) {
                continue;
            }
            let what = format!("the service `{service}` has no suite named `{name}`");
            let names = known.join(", ");
            let failure = Failure::new(Exit::Usage, what);
            return Err(match nearest(name, &known) {
                Some(near) => {
                    failure.hint(format!("did you mean `{near}`? its suites are: {names}"))
                }
                None => failure.hint(format!("its suites are: {names}")),
            });
        }
        if !self.names.is_empty() {
            suites.retain(|suite| self.names.contains(&suite.name));
        }
        for suite in suites {
            suite.retries = self.retries.unwrap_or(suite.retries);
            suite.only.clone_from(&self.filter);
            let deaf = matches!(suite.tests(), Tests::Command(_)) && suite.filter.is_empty();
            if self.filter.is_some() && deaf {
                let what = format!(
                    "the suite `{}` of `{service}` does not say how it runs only some tests",
                    suite.name
                );
                return Err(Failure::new(Exit::Usage, what).hint(format!(
                    "add to it in {table}, in its runner's words: filter = [\"--ginkgo.focus\", \"{FILTER}\"]"
                )));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    struct Entry {
        #[serde(deserialize_with = "one_or_several")]
        suite: Vec<Suite>,
    }

    fn read(text: &str) -> Vec<Suite> {
        let entry: Entry = toml::from_str(text).expect("a table");
        named(entry.suite)
    }

    fn refused(text: &str) -> String {
        check(&read(text)).expect_err(text)
    }

    #[test]
    fn one_suite_needs_no_name_and_several_are_told_apart_by_theirs() {
        let one = read("suite = { command = [\"true\"] }");
        check(&one).unwrap();
        assert_eq!((&*one[0].name, one[0].part()), ("suite", None));
        assert_eq!(one[0].log(), "suite.log");
        let two = read(
            "suite = [{ name = \"smoke\", command = [\"true\"] }, { name = \"full\", command = [\"true\"], beside = true }]",
        );
        check(&two).unwrap();
        assert_eq!(two[1].part(), Some("full"));
        assert_eq!(two[1].log(), "suite-full.log");
    }

    #[test]
    fn a_wrong_field_is_named_with_its_line_in_a_list_too() {
        let text = "suite = [\n  { name = \"a\", command = [\"true\"] },\n  { name = \"b\", comand = [\"true\"] },\n]";
        let why = toml::from_str::<Entry>(text).unwrap_err().to_string();
        assert!(why.contains("line 3") && why.contains("comand"), "{why}");
    }

    #[test]
    fn what_would_run_something_else_than_it_says_is_refused() {
        let two = |more: &str| {
            format!(
                "suite = [{{ name = \"a\", command = [\"true\"] }}, {{ command = [\"true\"]{more} }}]"
            )
        };
        let one = |more: &str| format!("suite = {{ {more} }}");
        for (text, why) in [
            (two(""), "has a `name`"),
            (two(", name = \"a\""), "two suites"),
            (two(", name = \"A b\""), "RFC 1123"),
            (one("command = [\"true\"], beside = true"), "after another"),
            (one("command = [\"true\"], retries = 10"), "0 to 9"),
            (
                one("command = [\"true\"], in = \"job\", image = \"s:1\", dir = \"x\""),
                "not in `dir`",
            ),
            (
                one("command = [\"true\"], in = \"container\""),
                "needs the `image`",
            ),
            (
                one("command = [\"true\"], image = \"suite:1\""),
                "belongs to `in",
            ),
            (
                one("package = \"e2e\", module = \"m\", in = \"container\", image = \"suite:1\""),
                "belongs to `command`",
            ),
            (
                one("package = \"e2e\", module = \"m\", filter = [\"${FILTER}\"]"),
                "belongs to `command`",
            ),
            (
                one("command = [\"true\"], junit = \"a.xml\", filter = [\"-k\"]"),
                "no ${FILTER}",
            ),
            (
                one("command = [\"true\"], filter = [\"${FILTER}\"]"),
                "needs `junit`",
            ),
        ] {
            let told = refused(&text);
            assert!(told.contains(why), "{text}: {told}");
        }
    }

    #[test]
    fn a_command_line_chooses_suites_and_has_the_last_word_on_retries() {
        let table = "suite = [{ name = \"smoke\", command = [\"a\"], junit = \"a.xml\", retries = 2, filter = [\"-k\", \"x${FILTER}\"] }, \
                     { name = \"full\", command = [\"b\"] }]";
        let mut suites = read(table);
        let asked = Asked {
            names: vec!["smoke".to_owned()],
            retries: Some(1),
            filter: Some("audit".to_owned()),
        };
        asked.choose("widget", "t", &mut suites).unwrap();
        assert_eq!(suites.len(), 1);
        assert_eq!(suites[0].words(), ["a", "-k", "xaudit"]);
        assert_eq!(suites[0].longest(), Duration::from_mins(20));
        assert_eq!(suites[0].part(), Some("smoke"), "its name is what it was");
        let unknown = Asked {
            names: vec!["smok".to_owned()],
            ..Asked::default()
        };
        let failure = unknown.choose("widget", "t", &mut read(table)).unwrap_err();
        assert_eq!(failure.exit, Exit::Usage);
        assert_eq!(
            failure.hint.as_deref(),
            Some("did you mean `smoke`? its suites are: smoke, full")
        );
        let filter = Asked {
            filter: Some("audit".to_owned()),
            ..Asked::default()
        };
        let failure = filter.choose("widget", "t", &mut read(table)).unwrap_err();
        assert!(failure.summary.contains("`full` of `widget`"), "{failure}");
        assert!(failure.hint.unwrap().contains("filter = ["));
    }
}
