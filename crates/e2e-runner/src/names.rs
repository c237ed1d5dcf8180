//! What the run makes, by the names under which a team's manifests, commands and variables refer to it: `${NAME}`.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::exit::{Exit, Failure};
use crate::settings;

/// From where an address is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// This machine.
    Here,
    /// The pods of the cluster.
    Pods,
}

/// A name that stands for nothing, or text between `${` and `}` that is no name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unknown(pub String);

/// What can be done about it.
pub const LITERAL: &str = "write `$${` where `${` is meant as it stands";

impl Unknown {
    /// The line, from 1, of the first place in a text where it stands.
    pub fn line(&self, text: &str) -> Option<usize> {
        let at = text.find(&format!("${{{}", self.0))?;
        Some(1 + text[..at].matches('\n').count())
    }
}

impl Unknown {
    /// The failure of a manifest that has it.
    pub fn in_file(&self, text: &str, file: &str) -> Failure {
        match self.line(text) {
            Some(line) => self.at(file, line),
            None => self.told(file),
        }
    }

    /// The failure of a manifest that has it on that line.
    pub fn at(&self, file: &str, line: usize) -> Failure {
        self.told(&format!("{file}, line {line}"))
    }

    fn told(&self, place: &str) -> Failure {
        let what = format!("{place}: nothing is named ${{{}}}", self.0);
        Failure::new(Exit::Usage, what).hint(format!(
            "{LITERAL}, or take the file with `verbatim = true`"
        ))
    }
}

/// Programs that read a script from a word of their own.
const SHELLS: [&str; 6] = ["sh", "bash", "dash", "ash", "zsh", "ksh"];

/// Replaces the names in each word of a command. The script of `sh -c SCRIPT` is left to the shell, which has them as variables.
pub fn expand_command(
    words: &[String],
    value: &dyn Fn(&str) -> Option<String>,
) -> Result<Vec<String>, Unknown> {
    let scripts = scripts(words);
    let words = words.iter().enumerate().map(|(at, word)| {
        if scripts.contains(&at) {
            Ok(word.clone())
        } else {
            expand(word, value)
        }
    });
    words.collect()
}

/// The words of a command in which names are replaced.
pub fn expanded(words: &[String]) -> impl Iterator<Item = &String> {
    let scripts = scripts(words);
    let words = words.iter().enumerate();
    words
        .filter(move |(at, _)| !scripts.contains(at))
        .map(|(_, word)| word)
}

/// Which words are scripts of a shell.
fn scripts(words: &[String]) -> Vec<usize> {
    let program = words.first().map_or("", String::as_str);
    if !SHELLS.contains(&program.rsplit('/').next().unwrap_or_default()) {
        return Vec::new();
    }
    let options = words.iter().enumerate();
    options
        .filter(|(_, option)| option.starts_with('-') && option.ends_with('c'))
        .map(|(at, _)| at + 1)
        .collect()
}

/// Replaces each `${NAME}` by its value; `${NAME:-default}`, where the run has none, by the variable of that name of the shell that
/// started it, else by the default. `$${` is `${`.
///
/// ```
/// use e2e_runner::names::{Unknown, expand};
/// let value = |name: &str| (name == "NAMESPACE").then(|| "here".to_owned());
/// assert_eq!(expand("in ${NAMESPACE}, ${TAG:-e2e}, $${HOME}", &value).unwrap(), "in here, e2e, ${HOME}");
/// assert_eq!(expand("${NAMESPASE}", &value), Err(Unknown("NAMESPASE".to_owned())));
/// ```
pub fn expand(text: &str, value: &dyn Fn(&str) -> Option<String>) -> Result<String, Unknown> {
    let mut expanded = String::with_capacity(text.len());
    match replace(text, value, &mut expanded) {
        None => Ok(expanded),
        Some((unknown, _)) => Err(unknown),
    }
}

/// Every name in a text that stands for nothing, with its line.
pub fn unknowns(text: &str, value: &dyn Fn(&str) -> Option<String>) -> Vec<(Unknown, usize)> {
    let mut found = Vec::new();
    let mut from = 0;
    while let Some((unknown, at)) = replace(&text[from..], value, &mut String::new()) {
        let at = from + at;
        found.push((unknown, 1 + text[..at].matches('\n').count()));
        from = at + 2;
    }
    found
}

/// Replaces the names up to the first that stands for nothing, and says where that begins.
fn replace(
    text: &str,
    value: &dyn Fn(&str) -> Option<String>,
    expanded: &mut String,
) -> Option<(Unknown, usize)> {
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        let (before, after) = (&rest[..at], &rest[at + 2..]);
        if let Some(before) = before.strip_suffix('$') {
            expanded.push_str(before);
            expanded.push_str("${");
            rest = after;
            continue;
        }
        expanded.push_str(before);
        let end = after.find('}');
        let inside = &after[..end.unwrap_or(after.len())];
        let (name, default) = match inside.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (inside, None),
        };
        let made = is_name(name).then(|| value(name)).flatten();
        let made = made.or_else(|| {
            let default = default.filter(|_| is_name(name))?;
            // As in a shell, `:-` is also for one that is empty.
            let variable = settings::named_by_a_file(name).filter(|text| !text.is_empty());
            Some(variable.unwrap_or_else(|| default.to_owned()))
        });
        let Some(made) = made.filter(|_| end.is_some()) else {
            let name = name.lines().next().unwrap_or_default();
            let at = text.len() - after.len() - 2;
            return Some((Unknown(name.to_owned()), at));
        };
        expanded.push_str(&made);
        rest = &after[inside.len() + 1..];
    }
    expanded.push_str(rest);
    None
}

/// A name, or what is asked of one: `image:NAME`, `binary:NAME`, `port:NAME`.
fn is_name(text: &str) -> bool {
    let inside = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    match text.split_once(':') {
        Some(("image" | "binary", image)) => !image.is_empty(),
        Some(("port", name)) => !name.is_empty() && name.bytes().all(inside),
        Some(_) => false,
        None => !text.is_empty() && text.bytes().all(inside),
    }
}

/// Replaces the names in every text of an object.
pub fn expand_object(
    object: &mut Value,
    value: &dyn Fn(&str) -> Option<String>,
) -> Result<(), Unknown> {
    match object {
        Value::String(text) => *text = expand(text, value)?,
        Value::Array(items) => {
            for item in items {
                expand_object(item, value)?;
            }
        }
        Value::Object(fields) => {
            for field in fields.values_mut() {
                expand_object(field, value)?;
            }
        }
        _ => {}
    }
    Ok(())
}

/// Replaces the names in the values of variables.
pub fn expand_map(
    variables: &BTreeMap<String, String>,
    value: &dyn Fn(&str) -> Option<String>,
) -> Result<BTreeMap<String, String>, Unknown> {
    variables
        .iter()
        .map(|(name, text)| Ok((name.clone(), expand(text, value)?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn value(name: &str) -> Option<String> {
        match name {
            "A" => Some("one".to_owned()),
            "image:w:e2e" => Some("localhost/w@1".to_owned()),
            _ => None,
        }
    }

    #[test]
    fn names_are_replaced_wherever_they_stand() {
        for (text, expected) in [
            ("", ""),
            ("no name, $5, $A, }", "no name, $5, $A, }"),
            ("${A}${A}", "oneone"),
            ("${A:-two} ${B:-two} ${B:-}", "one two "),
            ("--image=${image:w:e2e}", "--image=localhost/w@1"),
            ("$${A} and $$${A}", "${A} and $${A}"),
        ] {
            assert_eq!(expand(text, &value).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_stands_for_nothing_is_an_error_with_its_line() {
        for (text, name) in [
            ("x ${B}", "B"),
            ("${A", "A"),
            ("${}", ""),
            ("${A#x}", "A#x"),
            ("${image:}", "image:"),
            ("${other:A}", "other:A"),
        ] {
            assert_eq!(
                expand(text, &value),
                Err(Unknown(name.to_owned())),
                "{text}"
            );
        }
        assert_eq!(Unknown("B".to_owned()).line("a\nb ${A}\nc ${B}"), Some(3));
        let found = unknowns("${A} $${B}\n${B}${C:-c}\n${B#x} ${D", &value);
        let found: Vec<_> = found
            .iter()
            .map(|(Unknown(name), line)| (&**name, *line))
            .collect();
        assert_eq!(found, [("B", 2), ("B#x", 3), ("D", 3)]);
    }

    #[test]
    fn the_script_of_a_shell_is_the_shell_s() {
        let words = |words: &[&str]| {
            words
                .iter()
                .map(|word| (*word).to_owned())
                .collect::<Vec<_>>()
        };
        let script = words(&["/bin/sh", "-ec", "echo ${B#x}", "${A}"]);
        let expected = words(&["/bin/sh", "-ec", "echo ${B#x}", "one"]);
        assert_eq!(expand_command(&script, &value), Ok(expected));
        assert!(expand_command(&words(&["run", "-c", "${B}"]), &value).is_err());
    }

    #[test]
    fn every_text_of_an_object_is_looked_at() {
        let mut object = json!({"a": ["${A}", 1, {"b": "x${A}"}], "c": null});
        expand_object(&mut object, &value).unwrap();
        assert_eq!(object, json!({"a": ["one", 1, {"b": "xone"}], "c": null}));
        assert!(expand_object(&mut json!({"a": {"b": ["${B}"]}}), &value).is_err());
    }
}
