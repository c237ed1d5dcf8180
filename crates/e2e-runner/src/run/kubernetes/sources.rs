//! Where a part's objects come from: files, directories, kustomizations, URLs, commands, Helm charts.

use std::path::{Path, PathBuf};
use std::time::Duration;

use host_names::Names;
use serde_json::Value;

use crate::exit::{Exit, Failure};
use crate::names::{Seen, expand, expand_command, expand_object};
use crate::process::Command;
use crate::run::kubernetes::access::kubectl;
use crate::run::kubernetes::manifests;
use crate::run::part_run::PartRun;
use crate::run::session::Session;
use crate::state::write_private;
use crate::table::source::{Chart, Output, Source, is_kustomization, is_url, manifests_of};
use crate::tools::names;

/// How long a URL, a command or a chart may take.
const PRINTED: Duration = Duration::from_mins(2);
/// How much of what is no object a failure repeats, in characters.
const SHOWN: usize = 200;
/// More than this is no manifest.
const LONGEST: u64 = 64 << 20;

/// The objects of a part's manifests, with the names in them replaced by what the run has made.
pub fn objects(session: &Session, part_run: &PartRun) -> Result<Vec<Value>, Failure> {
    let reader = Reader { session, part_run };
    let mut objects = Vec::new();
    for source in &part_run.part.manifests {
        objects.extend(reader.read(source)?);
    }
    Ok(objects)
}

struct Reader<'a> {
    session: &'a Session,
    part_run: &'a PartRun,
}

impl Reader<'_> {
    fn read(&self, source: &Source) -> Result<Vec<Value>, Failure> {
        match source {
            Source::Named(url) if is_url(url) => {
                let url = self.word(url)?;
                let names = names::of_machine(&self.session.runner);
                some(parse(&fetch(&url, names)?, &url)?, &url)
            }
            Source::Named(path) => {
                let path = self.word(path)?;
                self.files(&self.part_run.part.root.join(path), true)
            }
            Source::File(file) => {
                self.files(&self.part_run.part.root.join(&file.file), !file.verbatim)
            }
            Source::Output(output) => self.output(output),
            Source::Chart(chart) => self.chart(chart),
        }
    }

    /// The objects of a file, of the files of a directory, or of a kustomization.
    fn files(&self, path: &Path, names: bool) -> Result<Vec<Value>, Failure> {
        if is_kustomization(path) {
            let build = kubectl(self.session, &self.part_run.namespace)
                .command()
                .arg("kustomize")
                .arg(path);
            let text = self.printed(build)?;
            return self.expanded(&text, &path.display().to_string(), names);
        }
        let mut objects = Vec::new();
        for file in manifests_of(path).map_err(|error| self.unreadable(path, &error))? {
            let text =
                std::fs::read_to_string(&file).map_err(|error| self.unreadable(&file, &error))?;
            objects.extend(self.expanded(&text, &file.display().to_string(), names)?);
        }
        Ok(objects)
    }

    fn unreadable(&self, path: &Path, error: &std::io::Error) -> Failure {
        let what = format!("cannot read the manifest {}: {error}", path.display());
        Failure::new(Exit::Usage, what).hint(format!(
            "look at `manifests` of {} in {}",
            self.part_run.part.name, self.part_run.part.table
        ))
    }

    fn expanded(&self, text: &str, from: &str, names: bool) -> Result<Vec<Value>, Failure> {
        let mut objects = parse(text, from)?;
        if names {
            for object in &mut objects {
                expand_object(object, &|name| self.value(name))
                    .map_err(|unknown| unknown.in_file(text, from))?;
            }
        }
        Ok(objects)
    }

    /// What a command prints; its words and variables have the names as pods see them.
    fn output(&self, output: &Output) -> Result<Vec<Value>, Failure> {
        let words = self.words(&output.run)?;
        let Some((program, args)) = words.split_first() else {
            return Ok(Vec::new());
        };
        let service_run = self.session.user_of(self.part_run);
        let mut environment = self.session.secret_environment(service_run);
        let names: Vec<String> = environment.keys().cloned().collect();
        for name in names
            .into_iter()
            .chain([e2e_env::DATASTORAGE_URL.to_owned()])
        {
            if let Some(value) = self.session.value(service_run, Seen::Pods, &name) {
                environment.insert(name, value);
            }
        }
        let command = self.session.runner.command(program).args(args);
        let command = command.dir(self.part_run.part.root.join(&output.dir));
        let command = environment
            .iter()
            .fold(command, |command, (name, value)| command.env(name, value));
        let from = format!("`{}`", output.run.join(" "));
        some(parse(&self.printed(command)?, &from)?, &from)
    }

    /// What `helm template` makes of a chart, with the files of values that have the names replaced.
    fn chart(&self, chart: &Chart) -> Result<Vec<Value>, Failure> {
        let part = &self.part_run.part;
        let release = chart.release.as_ref().unwrap_or(&part.name);
        let name = self.word(&chart.chart)?;
        let local = part.root.join(&name);
        let mut helm = self
            .session
            .runner
            .command("helm")
            .args(["template", release]);
        helm = if local.exists() {
            helm.arg(local)
        } else {
            helm.arg(&name)
        };
        helm = helm.args(["--namespace", &self.part_run.namespace, "--include-crds"]);
        for (flag, text) in [("--repo", &chart.repository), ("--version", &chart.version)] {
            if let Some(text) = text {
                helm = helm.args([flag, &self.word(text)?]);
            }
        }
        for (number, path) in chart.values.iter().enumerate() {
            let path = part.root.join(path);
            let text =
                std::fs::read_to_string(&path).map_err(|error| self.unreadable(&path, &error))?;
            let text = expand(&text, &|name| self.value(name))
                .map_err(|unknown| unknown.in_file(&text, &path.display().to_string()))?;
            helm = helm
                .arg("--values")
                .arg(self.private_file(&number.to_string(), &text)?);
        }
        // Not on the command line, where a password would be in the process list.
        let mut single = serde_json::Map::new();
        for (path, value) in &chart.set {
            let mut value = value.clone();
            expand_object(&mut value, &|name| self.value(name))
                .map_err(|unknown| self.part_run.unknown(&unknown))?;
            nest(&mut single, path, value);
        }
        if !single.is_empty() {
            let text = Value::from(single).to_string();
            helm = helm.arg("--values").arg(self.private_file("set", &text)?);
        }
        let from = format!("the chart {name}");
        some(parse(&self.printed(helm)?, &from)?, &from)
    }

    /// A file that may hold a password.
    fn private_file(&self, what: &str, text: &str) -> Result<PathBuf, Failure> {
        self.session.private()?;
        let name = format!("values-{}-{what}.yaml", self.part_run.part.name);
        let path = self.session.run.dir().join("private").join(name);
        write_private(&path, text.as_bytes()).map_err(Failure::setup)?;
        Ok(path)
    }

    fn printed(&self, command: Command) -> Result<String, Failure> {
        let text = command.deadline(PRINTED).read();
        text.map_err(|error| {
            error
                .into_failure(Exit::Setup, self.session.runner.cancel())
                .hint(format!(
                    "run it by hand, or look at `manifests` of {} in {}",
                    self.part_run.part.name, self.part_run.part.table
                ))
        })
    }

    fn value(&self, name: &str) -> Option<String> {
        self.session.pod_value(self.part_run, name)
    }

    fn word(&self, text: &str) -> Result<String, Failure> {
        self.session.text(self.part_run, text)
    }

    fn words(&self, words: &[String]) -> Result<Vec<String>, Failure> {
        expand_command(words, &|name| self.value(name))
            .map_err(|unknown| self.part_run.unknown(&unknown))
    }
}

fn fetch(url: &str, names: Option<Names>) -> Result<String, Failure> {
    let config = ureq::Agent::config_builder()
        .timeout_global(Some(PRINTED))
        .build();
    let agent = host_names::agent(config, names);
    let body = agent.get(url).call();
    let text = body.and_then(|mut response| {
        let body = response.body_mut().with_config().limit(LONGEST);
        body.read_to_string()
    });
    text.map_err(|error| {
        Failure::setup(format!(
            "the manifests at {url} could not be fetched: {error}"
        ))
        .hint(
            "look whether this machine reaches it, or download the file and name it in `manifests`",
        )
    })
}

fn parse(text: &str, from: &str) -> Result<Vec<Value>, Failure> {
    let objects = manifests::parse(text).map_err(|failure| Failure {
        summary: format!("{from}: {}", failure.summary),
        ..failure
    })?;
    // An empty document, as between two separators, is nothing; what is anything else than an object was meant to be one.
    let objects: Vec<Value> = objects.into_iter().filter(|one| !one.is_null()).collect();
    if let Some(wrong) = objects.iter().find(|one| one["kind"].as_str().is_none()) {
        let text: String = wrong.to_string().chars().take(SHOWN).collect();
        let what = format!("{from} has something that is no Kubernetes object");
        return Err(Failure::new(Exit::Setup, what)
            .detail(text)
            .hint("look at it there: an object has `apiVersion` and `kind`"));
    }
    let objects = objects.into_iter();
    // A list of objects, as kubectl prints them, is its objects.
    Ok(objects.flat_map(items).collect())
}

/// What is fetched or printed has an object at least: nothing would be taken for all that there is.
fn some(objects: Vec<Value>, from: &str) -> Result<Vec<Value>, Failure> {
    if objects.is_empty() {
        let what = format!("{from} has no object");
        return Err(Failure::new(Exit::Setup, what)
            .hint("run it by hand, or take it out of `manifests` in the table of services"));
    }
    Ok(objects)
}

/// The objects of a list, or the only object.
fn items(mut object: Value) -> Vec<Value> {
    let is_list = object["kind"] == "List";
    match object.get_mut("items").map(Value::take) {
        Some(Value::Array(items)) if is_list => items,
        Some(other) => {
            object["items"] = other;
            vec![object]
        }
        None => vec![object],
    }
}

/// Sets a value by its path, whose steps are separated by dots.
fn nest(fields: &mut serde_json::Map<String, Value>, path: &str, value: Value) {
    match path.split_once('.') {
        None => drop(fields.insert(path.to_owned(), value)),
        Some((first, rest)) => {
            let inner = fields
                .entry(first)
                .or_insert_with(|| Value::Object(serde_json::Map::new()));
            if let Some(inner) = inner.as_object_mut() {
                nest(inner, rest, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_list_of_objects_is_its_objects() {
        let text = "kind: List\nitems: [{kind: A}, {kind: B}]\n---\nkind: C\nitems: [1]\n---\nkind: D\n---\n";
        let objects = parse(text, "m.yaml").unwrap();
        let kinds: Vec<_> = objects
            .iter()
            .map(|object| object["kind"].as_str())
            .collect();
        assert_eq!(kinds, [Some("A"), Some("B"), Some("C"), Some("D")]);
        assert_eq!(objects[3], json!({"kind": "D"}));
        assert_eq!(objects[2]["items"], json!([1]));
    }

    #[test]
    fn what_is_no_object_is_an_error_and_never_left_out() {
        for text in [
            "<html>no</html>",
            "kind: A\n---\nhello",
            "a: b",
            "- kind: A",
        ] {
            let failure = parse(text, "there").unwrap_err();
            assert!(
                failure.summary.starts_with("there has something"),
                "{failure}"
            );
        }
        assert_eq!(parse("---\n---\n", "there").unwrap(), Vec::<Value>::new());
        assert!(
            some(Vec::new(), "there")
                .unwrap_err()
                .summary
                .ends_with("has no object")
        );
    }

    #[test]
    fn a_single_value_of_a_chart_goes_where_its_path_leads() {
        let mut fields = serde_json::Map::new();
        nest(&mut fields, "image.tag", json!("1"));
        nest(&mut fields, "image.name", json!("w"));
        nest(&mut fields, "replicas", json!("2"));
        assert_eq!(
            Value::from(fields),
            json!({"image": {"tag": "1", "name": "w"}, "replicas": "2"})
        );
    }
}
