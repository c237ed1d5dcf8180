//! A prepared node goes from one machine to another as a file; what is no whole file of one leaves nothing.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use super::{Machine, Unprepared, docker};

/// Runs `node` with what the first `bytes` of a file hold as its standard input, or nothing.
fn node(
    image: &Unprepared,
    machine: &Machine,
    args: &[&str],
    input: Option<(&Path, u64)>,
) -> Output {
    let mut command = machine.command(&[&["node"], args].concat());
    command.env("POSTGRES_IMAGE", &image.0).stdin(Stdio::null());
    let head = input.map(|(path, bytes)| {
        let mut head = Command::new("head");
        head.args(["--bytes", &bytes.to_string()]).arg(path);
        head.stdout(Stdio::piped()).spawn().expect("head starts")
    });
    if let Some(mut head) = head {
        command.stdin(head.stdout.take().expect("it is piped"));
        let output = command.output().expect("the tool starts");
        // Where the tool has refused what it read, nobody reads the rest: not this process either.
        drop(command);
        drop(head.wait());
        return output;
    }
    command.output().expect("the tool starts")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_prepared_node_is_exported_and_imported_and_what_is_not_whole_leaves_nothing() {
    let image = Unprepared::new();
    let before = Unprepared::nodes();
    let machine = Machine::new();
    let child = image.run_until(&machine, "create cluster");
    Unprepared::kill_and_reap(&machine, child);
    let [volumes, ..] = Unprepared::nodes();
    let volume = volumes.iter().find(|one| !before[0].contains(one));
    let volume = volume.expect("a node was prepared").clone();
    let key = volume.trim_start_matches("kubernaut-node-").to_owned();
    let name = format!("localhost/kubernaut-node:{key}");
    let remove = || {
        docker(&["image", "rm", &name]);
        docker(&["volume", "rm", &volume]);
    };

    let listed = node(&image, &machine, &[], None);
    let page = String::from_utf8_lossy(&listed.stdout).into_owned();
    assert!(page.contains(&name) && page.contains(&image.0), "{page}");
    assert!(!page.contains("unknown size"), "{page}");

    let file: PathBuf = machine.0.path().join("node.tar");
    let path = file.display().to_string();
    let exported = node(&image, &machine, &["export", &path, "--key", &key], None);
    assert!(exported.status.success(), "{}", said(&exported));
    let size = std::fs::metadata(&file).expect("a file").len();
    remove();

    // In the middle of the images; all but what the end says; another file.
    for (path, bytes) in [
        (&*file, 50_000_000),
        (&*file, size - 3_000),
        (Path::new("/bin/ls"), 100_000),
    ] {
        let refused = node(&image, &machine, &["import", "-"], Some((path, bytes)));
        assert_eq!(refused.status.code(), Some(4), "{}", said(&refused));
        assert!(said(&refused).contains("archive"), "{}", said(&refused));
        assert_eq!(Unprepared::nodes(), before, "{bytes} bytes left something");
    }

    // Runs of another PostgreSQL image make their nodes of that.
    let other = Unprepared::of("other");
    let unused = node(&other, &machine, &["import", &path], None);
    assert!(unused.status.success(), "{}", said(&unused));
    assert!(
        unused.stdout.is_empty() && said(&unused).contains("no run here would use it"),
        "{}",
        said(&unused)
    );
    assert_eq!(Unprepared::nodes(), before);

    let imported = node(&image, &machine, &["import", &path], None);
    assert!(imported.status.success(), "{}", said(&imported));
    assert_eq!(String::from_utf8_lossy(&imported.stdout).trim(), name);
    let again = node(&image, &machine, &["import", &path], None);
    assert!(
        said(&again).contains("was there already"),
        "{}",
        said(&again)
    );

    let machine = Machine::new();
    let child = image.run_until(&machine, "migrate");
    let log = machine.log();
    assert!(
        log.contains(&format!("{name} is there")) && log.contains("is in the node already"),
        "{log}"
    );
    Unprepared::kill_and_reap(&machine, child);
    remove();
    assert_eq!(Unprepared::nodes(), before);
}
