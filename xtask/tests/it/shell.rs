//! What a shell and `man` get is made from the command line itself.

use std::io::Write as _;
use std::process::{Command, Stdio};

use crate::run;

#[test]
fn bash_reads_its_completions_and_offers_the_verbs() {
    let (code, script, _) = run(&["completions", "bash"]);
    assert_eq!(code, 0);
    let mut bash = Command::new("bash")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("bash starts");
    let ask = "\nCOMP_WORDS=(xtask dia); COMP_CWORD=1; _xtask xtask dia xtask; echo \"${COMPREPLY[@]}\"\n";
    let mut stdin = bash.stdin.take().expect("it is piped");
    stdin
        .write_all((script + ask).as_bytes())
        .expect("bash reads");
    drop(stdin);
    let output = bash.wait_with_output().expect("bash ends");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "diagnose\n");
}

#[test]
fn every_verb_has_a_manual_page() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().to_str().expect("a path in UTF-8");
    assert_eq!(run(&["man", path]).0, 0);
    let (_, help, _) = run(&["--help"]);
    let verbs = help
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty())
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next());
    let mut count = 0;
    for verb in verbs {
        let page = std::fs::read_to_string(dir.path().join(format!("xtask-{verb}.1"))).expect(verb);
        assert!(page.contains(".SH SYNOPSIS"), "{verb}");
        count += 1;
    }
    assert!(count > 15, "the help lists only {count} verbs");
}
