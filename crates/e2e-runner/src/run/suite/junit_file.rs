//! The JUnit file that a team's suite writes, as tests.

use std::path::Path;

use e2e_report::Outcome;

use crate::exit::{Exit, Failure};

/// One test of the file.
#[derive(Clone, Debug, PartialEq)]
pub struct Test {
    /// Class and name.
    pub name: String,
    /// Whether it passed.
    pub outcome: Outcome,
    /// Its duration in seconds, where the file tells it.
    pub seconds: Option<f64>,
    /// Why it failed.
    pub text: String,
}

/// What the file tells.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tests {
    /// The tests that ran.
    pub ran: Vec<Test>,
    /// How many were skipped.
    pub skipped: usize,
}

/// Reads a file.
pub fn read(path: &Path) -> Result<Tests, Failure> {
    let failed = |why: String| {
        Failure::new(
            Exit::TestsFailed,
            format!(
                "the suite's JUnit file {} cannot be read: {why}",
                path.display()
            ),
        )
        .hint("look at `junit` of the suite in the table of services")
    };
    let text = std::fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
    parse(&text).map_err(failed)
}

fn parse(text: &str) -> Result<Tests, String> {
    let document = roxmltree::Document::parse(text).map_err(|error| error.to_string())?;
    let cases = document
        .descendants()
        .filter(|node| node.has_tag_name("testcase"));
    let mut tests = Tests::default();
    for case in cases {
        let child = |name: &str| case.children().find(|child| child.has_tag_name(name));
        if child("skipped").is_some() {
            tests.skipped += 1;
            continue;
        }
        let wrong = child("failure").or_else(|| child("error"));
        let text = wrong.map(|node| {
            [node.attribute("message"), node.text()]
                .into_iter()
                .flatten()
                .collect::<Vec<_>>()
                .join("\n")
        });
        let parts = [case.attribute("classname"), case.attribute("name")];
        tests.ran.push(Test {
            name: parts
                .into_iter()
                .flatten()
                .filter(|part| !part.is_empty())
                .collect::<Vec<_>>()
                .join(" "),
            outcome: if wrong.is_some() {
                Outcome::Failed
            } else {
                Outcome::Ok
            },
            seconds: case.attribute("time").and_then(|time| time.parse().ok()),
            text: text.unwrap_or_default(),
        });
    }
    Ok(tests)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passed_failed_and_skipped_tests_are_told_apart() {
        let text = "<testsuites><testsuite name='s'><testcase classname='Audit' name='stores' time='0.25'/><testcase name='fails'>\
                    <failure message='expected 2'>at audit_test.go:7</failure></testcase><testcase name='later'><skipped/></testcase>\
                    </testsuite></testsuites>";
        let tests = parse(text).unwrap();
        let told: Vec<_> = tests
            .ran
            .iter()
            .map(|test| (test.name.as_str(), test.outcome, test.seconds))
            .collect();
        assert_eq!(
            told,
            [
                ("Audit stores", Outcome::Ok, Some(0.25)),
                ("fails", Outcome::Failed, None)
            ]
        );
        assert_eq!(
            (tests.ran[1].text.as_str(), tests.skipped),
            ("expected 2\nat audit_test.go:7", 1)
        );
    }

    #[test]
    fn a_file_that_is_no_xml_is_an_error() {
        assert!(parse("ok").is_err());
    }
}
