//! The JUnit files that a team's suite writes, as tests: in every shape that runners write.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use e2e_report::Outcome;
use roxmltree::{Document, Node, ParsingOptions};

use crate::run::suite::attempt::Test;

/// What the files hold.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Tests {
    /// The tests that ran.
    pub(super) ran: Vec<Test>,
    /// How many were skipped.
    pub(super) skipped: usize,
}

/// How much text of one failure is kept, in bytes: its beginning, where the message is.
const TEXT: usize = 64 << 10;

/// Files by a pattern, of which only those count that were written after it was noted what is there: nothing of a team's is removed.
#[derive(Debug)]
pub(super) struct Files {
    pattern: String,
    began: SystemTime,
    before: BTreeMap<PathBuf, Option<SystemTime>>,
}

impl Files {
    /// Notes what is there below a directory.
    pub(super) fn before(dir: &Path, pattern: &Path) -> Self {
        let dir = glob::Pattern::escape(&dir.to_string_lossy());
        let pattern = format!("{dir}/{}", pattern.display());
        Self {
            before: found(&pattern),
            began: SystemTime::now(),
            pattern,
        }
    }

    /// The files that were written since. A new name of an old file is none of them.
    pub(super) fn written(&self) -> Vec<PathBuf> {
        // File systems count time in coarser steps than the clock.
        let earliest = self.began - Duration::from_secs(1);
        let is_new = |(path, written): (PathBuf, Option<SystemTime>)| {
            let changed = self.before.get(&path) != Some(&written);
            let fresh = written.is_none_or(|written| written >= earliest);
            (changed && fresh).then_some(path)
        };
        found(&self.pattern)
            .into_iter()
            .filter_map(is_new)
            .collect()
    }
}

fn found(pattern: &str) -> BTreeMap<PathBuf, Option<SystemTime>> {
    let paths = glob::glob(pattern);
    let files = paths
        .into_iter()
        .flatten()
        .flatten()
        .filter(|path| path.is_file());
    files
        .map(|path| {
            let written = path.metadata().and_then(|file| file.modified()).ok();
            (path, written)
        })
        .collect()
}

/// Reads files, together as one result, and the reasons of those that are no JUnit files.
pub(super) fn read(paths: &[PathBuf]) -> (Tests, Vec<String>) {
    let (mut tests, mut wrong) = (Tests::default(), Vec::new());
    for path in paths {
        let bytes = std::fs::read(path).map_err(|error| error.to_string());
        let read = bytes.and_then(|bytes| parse(&String::from_utf8_lossy(&bytes)));
        match read {
            Ok(read) => {
                tests.ran.extend(read.ran);
                tests.skipped += read.skipped;
            }
            Err(why) => wrong.push(format!("{}: {why}", path.display())),
        }
    }
    (tests, wrong)
}

fn parse(text: &str) -> Result<Tests, String> {
    let text = without_illegal_characters(text);
    let options = ParsingOptions {
        allow_dtd: true,
        ..ParsingOptions::default()
    };
    let document =
        Document::parse_with_options(&text, options).map_err(|error| error.to_string())?;
    let root = document.root_element();
    if !["testsuites", "testsuite"].contains(&root.tag_name().name()) {
        return Err(format!(
            "it begins with <{}>, not with <testsuites> or <testsuite>",
            root.tag_name().name()
        ));
    }
    let mut tests = Tests::default();
    for case in document
        .descendants()
        .filter(|node| node.tag_name().name() == "testcase")
    {
        let children = |names: &[&str]| -> Vec<Node<'_, '_>> {
            let is_one = |child: &Node<'_, '_>| names.contains(&child.tag_name().name());
            case.children().filter(is_one).collect()
        };
        let wrong = children(&["failure", "error"]);
        let not_run = !children(&["skipped", "disabled"]).is_empty()
            || ["notrun", "skipped", "disabled"]
                .contains(&case.attribute("status").unwrap_or_default());
        if not_run && wrong.is_empty() {
            tests.skipped += 1;
            continue;
        }
        if wrong.is_empty() && is_node_of_a_suite(case) {
            continue;
        }
        let parts = [case.attribute("classname"), case.attribute("name")];
        tests.ran.push(Test {
            name: joined(parts.into_iter().flatten(), " "),
            outcome: if wrong.is_empty() {
                Outcome::Ok
            } else {
                Outcome::Failed
            },
            seconds: case
                .attribute("time")
                .and_then(|time| time.replace(',', "").parse().ok()),
            text: head(joined(wrong.iter().map(|node| reason(*node)), "\n")),
        });
    }
    // A suite may fail outside its tests, as in its set-up.
    for suite in document
        .descendants()
        .filter(|node| node.tag_name().name() == "testsuite")
    {
        let name = suite.attribute("name").unwrap_or("suite");
        for wrong in suite
            .children()
            .filter(|node| ["failure", "error"].contains(&node.tag_name().name()))
        {
            tests.ran.push(Test {
                name: format!("{name} (outside its tests)"),
                outcome: Outcome::Failed,
                seconds: None,
                text: head(reason(wrong)),
            });
        }
        check_totals(suite)?;
    }
    check_totals(root)?;
    Ok(tests)
}

/// Whether a case is what Ginkgo runs around all specs, and not one of them: it tells of set-up, clean-up and reports as of specs, where
/// the name of a spec begins with `[It]`.
fn is_node_of_a_suite(case: Node<'_, '_>) -> bool {
    const NODES: [&str; 7] = [
        "BeforeSuite",
        "AfterSuite",
        "SynchronizedBeforeSuite",
        "SynchronizedAfterSuite",
        "ReportBeforeSuite",
        "ReportAfterSuite",
        "DeferCleanup (Suite)",
    ];
    let name = case.attribute("name").unwrap_or_default();
    let node = name.strip_prefix('[').and_then(|name| name.split_once(']'));
    node.is_some_and(|(node, _)| NODES.contains(&node))
}

/// Compares a suite with the counts that the runner wrote itself, where it did: no test is lost on the way.
fn check_totals(suite: Node<'_, '_>) -> Result<(), String> {
    let count = |name: &str| -> usize {
        let text = suite.attribute(name).unwrap_or_default();
        text.trim().parse().unwrap_or(0)
    };
    let named = |names: &'static [&'static str]| {
        let nodes = suite.descendants();
        nodes
            .filter(|node| names.contains(&node.tag_name().name()))
            .count()
    };
    let (declared, held) = (count("tests"), named(&["testcase"]));
    if declared > held {
        return Err(format!("it counts {declared} tests and holds {held}"));
    }
    let wrong = count("failures") + count("errors");
    if wrong > 0 && named(&["failure", "error"]) == 0 {
        return Err(format!("it counts {wrong} failures and holds none"));
    }
    Ok(())
}

/// The message of a failure and all of its text.
fn reason(node: Node<'_, '_>) -> String {
    let text: String = node
        .descendants()
        .filter(Node::is_text)
        .filter_map(|node| node.text())
        .collect();
    let message = node
        .attribute("message")
        // Many runners repeat the message at the beginning of the text.
        .filter(|message| !text.contains(message.trim()));
    joined(
        message
            .into_iter()
            .map(str::to_owned)
            .chain([text.trim().to_owned()]),
        "\n",
    )
}

fn joined(parts: impl Iterator<Item = impl AsRef<str>>, between: &str) -> String {
    let mut text = String::new();
    for part in parts {
        let part = part.as_ref();
        if !text.is_empty() && !part.is_empty() {
            text.push_str(between);
        }
        text.push_str(part);
    }
    text
}

fn head(mut text: String) -> String {
    if text.len() > TEXT {
        let end = (0..=TEXT).rev().find(|at| text.is_char_boundary(*at));
        text.truncate(end.unwrap_or(0));
        text.push_str("\n[cut]");
    }
    text
}

/// Without the characters that XML 1.0 does not know (section 2.2), as they are and as references: runners write the colours of a
/// terminal as they come.
fn without_illegal_characters(text: &str) -> String {
    let is_legal = |character: char| matches!(character, '\t' | '\n' | '\r' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..);
    let text = text.trim_start_matches('\u{feff}');
    let mut clean = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("&#") {
        let (before, reference) = rest.split_at(at);
        clean.push_str(before);
        let end = reference.find(';').unwrap_or(0);
        let number = reference.get(2..end).unwrap_or_default();
        let code = match number.strip_prefix(['x', 'X']) {
            Some(digits) => u32::from_str_radix(digits, 16),
            None => number.parse(),
        };
        let illegal = code.is_ok_and(|code| !char::from_u32(code).is_some_and(is_legal));
        let skipped = if illegal { end + 1 } else { 2 };
        if !illegal {
            clean.push_str("&#");
        }
        rest = &reference[skipped..];
    }
    clean.push_str(rest);
    clean.retain(is_legal);
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<(String, Outcome)> {
        let tests = parse(text).unwrap();
        let named = |test: Test| (test.name, test.outcome);
        tests.ran.into_iter().map(named).collect()
    }

    #[test]
    fn passed_failed_and_skipped_tests_are_told_apart() {
        let text = "<testsuites><testsuite name='s'><testcase classname='Audit' name='stores' time='0.25'/><testcase name='fails'>\
                    <failure message='expected 2'>at audit_test.go:7</failure></testcase><testcase name='later'><skipped/></testcase>\
                    <testcase name='off' status='notrun'/></testsuite></testsuites>";
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
            ("expected 2\nat audit_test.go:7", 2)
        );
    }

    #[test]
    fn what_ginkgo_runs_around_its_specs_is_a_test_only_where_it_failed() {
        let around = |failed: &str| {
            format!(
                "<testsuites><testsuite name='Gateway' tests='6'><testcase name='[SynchronizedBeforeSuite]'/>\
                 <testcase name='[BeforeSuite]'/><testcase name='[It] audit stores'/><testcase name='[DeferCleanup (Suite)]'/>\
                 <testcase name='[ReportAfterSuite] Autogenerated ReportAfterSuite for --junit-report'/>\
                 <testcase name='[AfterSuite]'>{failed}</testcase></testsuite></testsuites>"
            )
        };
        let spec = || ("[It] audit stores".to_owned(), Outcome::Ok);
        assert_eq!(names(&around("")), [spec()]);
        let failed = ("[AfterSuite]".to_owned(), Outcome::Failed);
        assert_eq!(names(&around("<failure message='why'/>")), [spec(), failed]);
    }

    #[test]
    fn nested_suites_character_data_namespaces_and_doctypes_are_read() {
        let text = "\u{feff}<?xml version='1.0'?><!DOCTYPE testsuites><testsuites><testsuite><testsuite xmlns='urn:j'><testcase name='deep'>\
                    <error><![CDATA[a < b]]> and <![CDATA[c & d]]></error></testcase></testsuite></testsuite></testsuites>";
        let tests = parse(text).unwrap();
        assert_eq!(tests.ran[0].text, "a < b and c & d");
    }

    #[test]
    fn control_characters_and_references_to_them_lose_no_test() {
        let text = "<testsuite><testcase name='red \u{1b}[31m&#27;[0m&#x1B;&#65;'><system-out>\u{0}\u{7}&#8;</system-out></testcase></testsuite>";
        assert_eq!(names(text), [("red [31m[0mA".to_owned(), Outcome::Ok)]);
    }

    #[test]
    fn what_is_no_junit_file_is_refused_with_the_reason() {
        assert!(parse("").is_err());
        assert!(parse("ok").is_err());
        assert!(parse("<html/>").unwrap_err().contains("<html>"));
        assert!(parse("<testsuite><testcase").is_err());
    }

    #[test]
    fn a_count_that_the_file_does_not_hold_is_refused() {
        let lost = "<testsuites tests='2'><testsuite tests='2'><testcase name='a'/></testsuite></testsuites>";
        assert_eq!(parse(lost).unwrap_err(), "it counts 2 tests and holds 1");
        let red = "<testsuites><testsuite tests='1' failures='1'><testcase name='a'/></testsuite></testsuites>";
        assert_eq!(
            parse(red).unwrap_err(),
            "it counts 1 failures and holds none"
        );
        let below = "<testsuites tests='1'><testsuite tests='5'><testcase name='a'/></testsuite></testsuites>";
        assert_eq!(parse(below).unwrap_err(), "it counts 5 tests and holds 1");
        let whole = "<testsuite tests='2' failures='0'><testsuite tests='2'><testcase name='a'/><testcase name='b'><skipped/></testcase></testsuite></testsuite>";
        assert_eq!(parse(whole).unwrap().ran.len(), 1);
    }

    #[test]
    fn a_suite_that_fails_outside_its_tests_has_failed() {
        let text =
            "<testsuite name='s'><testcase name='a'/><error message='set-up failed'/></testsuite>";
        assert_eq!(
            names(text),
            [
                ("a".to_owned(), Outcome::Ok),
                ("s (outside its tests)".to_owned(), Outcome::Failed)
            ]
        );
    }

    #[test]
    fn twenty_thousand_cases_and_a_huge_message_are_read() {
        let case = "<testcase name='t'/>";
        let text = format!(
            "<testsuite>{}<testcase name='f'><failure>{}</failure></testcase></testsuite>",
            case.repeat(20_000),
            "é".repeat(TEXT)
        );
        let tests = parse(&text).unwrap();
        assert_eq!(tests.ran.len(), 20_001);
        assert!(tests.ran[20_000].text.len() <= TEXT + 6);
    }

    #[test]
    fn only_files_that_were_written_since_count_and_none_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let old = dir.path().join("old.xml");
        std::fs::write(&old, "<testsuite/>").unwrap();
        let files = Files::before(dir.path(), Path::new("*.xml"));
        assert!(files.written().is_empty());
        let new = dir.path().join("new.xml");
        std::fs::write(&new, "<testsuite><testcase name='a'/></testsuite>").unwrap();
        assert_eq!(files.written(), std::slice::from_ref(&new));
        let (tests, wrong) = read(&[new, dir.path().join("none.xml")]);
        assert_eq!((tests.ran.len(), wrong.len()), (1, 1));
        assert!(old.exists());
    }
}
