//! Cold, warm and hot environments by this tool, beside plain kind, kubectl and psql, all in one run.
//!
//! The measure is the time from the command until Data Storage answers that it is ready: what a suite waits for. Binaries and
//! images are built before. PostgreSQL lies in memory with `fsync` off and `synchronous_commit` on for both.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Instant;

use anyhow::{Context as _, bail};
use bench::row::{self, Beside, Bound, Measured, Outcome, Topic, median};
use bench::tool::Tool;
use clap::Parser;

/// Measures the lifecycle
#[derive(Debug, Parser)]
struct Args {
    /// How often each case is run; the median is shown
    #[arg(long, default_value_t = 1)]
    runs: usize,
    /// Leave Kind out
    #[arg(long)]
    local_only: bool,
    /// Start the tool as it is typed, by `cargo xtask`, and not as the program that cargo has built
    #[arg(long)]
    typed: bool,
    /// Leave out what only a machine without a prepared node can show: it would remove those of this machine
    #[arg(long)]
    keep_nodes: bool,
    /// Adds what was found on Kind to this file, a line of JSON for each row
    #[arg(long)]
    json: Option<PathBuf>,
}

/// One row of the closing table: what was done, by whom, and its seconds.
struct Row {
    what: &'static str,
    seconds: f64,
}

/// The name of the cluster that the plain way makes.
const CLUSTER: &str = "e2e-bench-plain";
/// The files of the audit profile, as a person would list them.
const FILES: [&str; 3] = [
    "0001_monthly_partitions",
    "0002_audit_events",
    "0003_audit_events_partitions",
];

/// Creates the partitions around today.
const ENSURE: &str = "SELECT ensure_audit_events_partitions(now(), 3);";
/// Data Storage's settings for that database.
const CONFIG: &str = "\
server: {port: 8080, host: 0.0.0.0}
auth: {open_to: anyone-who-reaches-the-port}
database: {host: postgres, port: 5432, name: action_history, user: slm_user, ssl_mode: disable, \
secretsFile: /etc/datastorage/secrets/db-secrets.yaml, usernameKey: username, passwordKey: password}
queue: {directory: /var/lib/datastorage/queue}
";

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let program = std::env::var_os("E2E_XTASK");
    let program = program.context("run this by `cargo xtask bench lifecycle`")?;
    let tool = if args.typed {
        Tool::Typed
    } else {
        Tool::Program(program.into())
    };
    let mut rows = Vec::new();
    prepare(&tool, args.local_only)?;
    local(&tool, args.runs, &mut rows)?;
    if !args.local_only {
        let create = plain(args.runs, &mut rows)?;
        kind(&tool, &args, &mut rows)?;
        table(&rows);
        let cold = seconds(&rows, "kind: this tool, cold")?;
        let by_hand = seconds(&rows, "kind: plain commands, cold")?;
        say(&format!(
            "cold: {:.2} of the plain commands' time; {:.2} of 1.1 x `kind create --wait` + 6 s",
            cold / by_hand,
            cold / (1.1 * create + 6.0)
        ));
        say(&format!(
            "from the command to Data Storage ready, cold: {:.2} of `kind create --wait` of this run (goal 0.7)",
            cold / create
        ));
        for row in found(&rows)? {
            row.append_to(args.json.as_deref())?;
        }
        return Ok(());
    }
    table(&rows);
    Ok(())
}

/// The rows of Kind beside the plain commands.
fn found(rows: &[Row]) -> anyhow::Result<Vec<row::Row>> {
    let create = seconds(rows, "  kind create --wait 60s")?;
    let by_hand = seconds(rows, "kind: plain commands, cold")?;
    let mut found = Vec::new();
    // A kept cluster is not created: that is no floor of it.
    for (case, more, of_create, goal) in [
        ("first of all", "", true, None),
        ("cold", "", true, Some(0.7)),
        (
            "warm",
            ": another Data Storage on a kept cluster",
            false,
            Some(3.0),
        ),
        ("hot", ": nothing has changed", false, Some(0.7)),
    ] {
        let what = format!("Kind until Data Storage is ready, {case}{more}");
        let Ok(value) = seconds(rows, &format!("kind: this tool, {case}")) else {
            let why = "--keep-nodes: it would remove the prepared nodes of this machine";
            let why = Outcome::NotRun(why.to_owned());
            found.push(row::Row::new(Topic::Kind, &what, why));
            continue;
        };
        let goal = goal.map(Bound::AtMost);
        let instead = Beside::measured("plain commands, cold", by_hand, value / by_hand);
        let figure = Measured::new(value, "s").instead(instead);
        let figure = if of_create {
            let floor = Beside::measured("`kind create --wait`", create, value / create);
            figure.floor(goal.into_iter().fold(floor, Beside::goal))
        } else {
            goal.into_iter().fold(figure, Measured::goal)
        };
        found.push(row::Row::measured(Topic::Kind, &what, figure));
    }
    Ok(found)
}

/// Builds what a run builds, so that no row counts a compiler.
fn prepare(tool: &Tool, local_only: bool) -> anyhow::Result<()> {
    // The programs of a node are others than those of this machine.
    let targets: &[&str] = if local_only {
        &["local"]
    } else {
        &["local", "kind"]
    };
    for target in targets {
        up(tool, target, &["--fresh"], None)?;
        if *target == "kind" {
            // With a Data Storage that is given, as in the warm case, the fake is built by itself: another build for cargo.
            up(tool, target, &[], Some(&binary()?))?;
        }
        run(tool.command().arg("down"))?;
    }
    Ok(())
}

fn local(tool: &Tool, runs: usize, rows: &mut Vec<Row>) -> anyhow::Result<()> {
    let (mut cold, mut hot) = (Vec::new(), Vec::new());
    for _ in 0..runs {
        cold.push(up(tool, "local", &["--fresh"], None)?);
        // The first run on a kept environment builds the database's template; the next ones clone it.
        up(tool, "local", &[], None)?;
        hot.push(up(tool, "local", &[], None)?);
        run(tool.command().arg("down"))?;
    }
    rows.push(Row {
        what: "local: this tool, cold",
        seconds: median(&mut cold),
    });
    rows.push(Row {
        what: "local: this tool, hot",
        seconds: median(&mut hot),
    });
    Ok(())
}

fn first_of_all(tool: &Tool, rows: &mut Vec<Row>) -> anyhow::Result<()> {
    // On this machine for the first time: the node image is prepared, which the table of stages above times as a build.
    forget_nodes()?;
    settle();
    let first = up(tool, "kind", &["--fresh"], None)?;
    run(tool.command().arg("down"))?;
    rows.push(Row {
        what: "kind: this tool, first of all",
        seconds: first,
    });
    // The next one finds the prepared node and boots it once.
    settle();
    let second = up(tool, "kind", &["--fresh"], None)?;
    run(tool.command().arg("down"))?;
    rows.push(Row {
        what: "kind: this tool, second of all",
        seconds: second,
    });
    Ok(())
}

fn kind(tool: &Tool, args: &Args, rows: &mut Vec<Row>) -> anyhow::Result<()> {
    if !args.keep_nodes {
        first_of_all(tool, rows)?;
    }
    let (mut cold, mut warm, mut hot) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..args.runs {
        settle();
        cold.push(up(tool, "kind", &["--fresh"], None)?);
        up(tool, "kind", &[], None)?;
        hot.push(up(tool, "kind", &[], None)?);
        // Another Data Storage: a byte behind the file's end changes its digest and nothing else.
        let other = std::env::temp_dir().join(format!("datastorage-bench-{}", std::process::id()));
        let mut bytes = std::fs::read(binary()?)?;
        bytes.push(0);
        std::fs::write(&other, bytes)?;
        warm.push(up(tool, "kind", &[], Some(&other))?);
        std::fs::remove_file(&other)?;
        run(tool.command().arg("down"))?;
    }
    rows.push(Row {
        what: "kind: this tool, cold",
        seconds: median(&mut cold),
    });
    rows.push(Row {
        what: "kind: this tool, warm",
        seconds: median(&mut warm),
    });
    rows.push(Row {
        what: "kind: this tool, hot",
        seconds: median(&mut hot),
    });
    Ok(())
}

/// Removes the prepared node images with what they share.
fn forget_nodes() -> anyhow::Result<()> {
    let list = [
        "image",
        "ls",
        "--format",
        "{{.Tag}}",
        "localhost/kubernaut-node",
    ];
    for key in run(Command::new("docker").args(list))?.lines() {
        let image = format!("localhost/kubernaut-node:{key}");
        run(Command::new("docker").args(["image", "rm", &image]))?;
        let volume = format!("kubernaut-node-{key}");
        run(Command::new("docker").args(["volume", "rm", &volume]))?;
    }
    // What is kept of those that were booted once.
    let kept = embedded_postgres::cache_directory().join("nodes");
    for entry in std::fs::read_dir(kept).into_iter().flatten().flatten() {
        let is_kept = entry.file_name().to_string_lossy().contains("-booted.");
        if is_kept {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Gives every cold case the same start. What the case before it deleted is still in the system's caches, and makes new files slow:
/// ext4 passes over inodes that were deleted a moment ago, one by one.
fn settle() {
    let dropped = run(&mut Command::new("sync"))
        .and_then(|_| Ok(std::fs::write("/proc/sys/vm/drop_caches", "3")?));
    if let Err(error) = dropped {
        say(&format!(
            "the system's caches stay as they are ({error:#}): a case pays for what the one before it deleted"
        ));
    }
}

/// One `up` by the tool, in seconds; its own table of stages is shown.
fn up(
    tool: &Tool,
    target: &str,
    flags: &[&str],
    datastorage: Option<&Path>,
) -> anyhow::Result<f64> {
    let mut command = tool.command();
    command
        .args(["up", "workflowexecution", "--target", target])
        .args(flags);
    if let Some(path) = datastorage {
        command.env("E2E_DATASTORAGE_BIN", path);
    }
    let began = Instant::now();
    let stages = output_of(&mut command)?.stderr;
    let stages = String::from_utf8_lossy(&stages).into_owned();
    let seconds = began.elapsed().as_secs_f64();
    say(&format!("\n== up --target {target} {}", flags.join(" ")));
    for line in stages
        .lines()
        .skip_while(|line| !line.starts_with("stage "))
        .take_while(|line| !line.starts_with("timeline: "))
    {
        say(line);
    }
    Ok(seconds)
}

/// What a person would type: create, load, apply, wait, psql per file, apply, wait. Returns the seconds of `kind create`.
fn plain(runs: usize, rows: &mut Vec<Row>) -> anyhow::Result<f64> {
    let (mut create, mut load, mut database, mut migrate, mut service, mut total) =
        (vec![], vec![], vec![], vec![], vec![], vec![]);
    let postgres =
        std::env::var("POSTGRES_IMAGE").unwrap_or_else(|_| "postgres:16-alpine".to_owned());
    let dir = tempfile::tempdir()?;
    let image = scratch_image(dir.path())?;
    for _ in 0..runs {
        settle();
        let kubeconfig = dir.path().join("kubeconfig");
        let result = plain_run(&kubeconfig, &postgres, &image);
        run(Command::new("kind")
            .args(["delete", "cluster", "--name", CLUSTER, "--kubeconfig"])
            .arg(&kubeconfig))?;
        let [made, loaded, ready, migrated, served] = result?;
        create.push(made);
        load.push(loaded);
        database.push(ready);
        migrate.push(migrated);
        service.push(served);
        total.push(made + loaded + ready + migrated + served);
    }
    run(Command::new("docker").args(["image", "rm", "--force", &image]))?;
    let create = median(&mut create);
    rows.push(Row {
        what: "  kind create --wait 60s",
        seconds: create,
    });
    rows.push(Row {
        what: "  kind load, both images",
        seconds: median(&mut load),
    });
    rows.push(Row {
        what: "  apply PostgreSQL, wait",
        seconds: median(&mut database),
    });
    rows.push(Row {
        what: "  kubectl exec psql per file",
        seconds: median(&mut migrate),
    });
    rows.push(Row {
        what: "  apply Data Storage, wait",
        seconds: median(&mut service),
    });
    rows.push(Row {
        what: "kind: plain commands, cold",
        seconds: median(&mut total),
    });
    Ok(create)
}

/// The five steps of one plain run, in seconds.
fn plain_run(kubeconfig: &Path, postgres: &str, image: &str) -> anyhow::Result<[f64; 5]> {
    let by_hand = ByHand {
        kubeconfig,
        root: Path::new(env!("CARGO_MANIFEST_DIR")).join("../.."),
    };
    Ok([
        timed(|| by_hand.create())?,
        timed(|| {
            let images = ["load", "docker-image", postgres, image, "--name", CLUSTER];
            run(Command::new("kind").args(images)).map(drop)
        })?,
        timed(|| by_hand.deploy_postgres(postgres))?,
        timed(|| by_hand.migrate())?,
        timed(|| by_hand.deploy_datastorage(image))?,
    ])
}

/// What a person types, with this kubeconfig and the files of this checkout.
struct ByHand<'a> {
    kubeconfig: &'a Path,
    root: PathBuf,
}

impl ByHand<'_> {
    fn kubectl(&self, args: &[&str]) -> Command {
        let mut command = Command::new("kubectl");
        command.arg("--kubeconfig").arg(self.kubeconfig);
        command.args(["--namespace", "kubernaut-system"]).args(args);
        command
    }

    /// A manifest with the values in the place of its names.
    fn manifest(&self, name: &str, values: &[(&str, &str)]) -> anyhow::Result<String> {
        let text = std::fs::read_to_string(self.root.join("kind/manifests").join(name))?;
        filled(text, values).with_context(|| name.to_owned())
    }

    fn create(&self) -> anyhow::Result<()> {
        let mut command = Command::new("kind");
        command
            .args([
                "create",
                "cluster",
                "--name",
                CLUSTER,
                "--wait",
                "60s",
                "--kubeconfig",
            ])
            .arg(self.kubeconfig);
        if let Ok(node) = std::env::var("KIND_NODE_IMAGE") {
            command.args(["--image", &node]);
        }
        run(&mut command).map(drop)
    }

    fn deploy_postgres(&self, image: &str) -> anyhow::Result<()> {
        let values = [
            ("${NAME}", "postgres"),
            ("${PGPASSWORD}", "bench"),
            // Kubernetes finds one.
            ("${ADDRESS}", "\"\""),
            ("${POSTGRES_IMAGE:-postgres:16-alpine}", image),
        ];
        let manifest = self.manifest("postgres.yaml", &values)?;
        feed(
            &mut self.kubectl(&["apply", "-f", "-"]),
            &self.manifest("namespace.yaml", &[("${NAMESPACE}", "kubernaut-system")])?,
        )?;
        feed(&mut self.kubectl(&["apply", "-f", "-"]), &manifest)?;
        run(&mut self.kubectl(&[
            "wait",
            "--for=condition=Available",
            "deployment/postgres",
            "--timeout=120s",
        ]))
        .map(drop)
    }

    fn migrate(&self) -> anyhow::Result<()> {
        let psql = [
            "exec",
            "-i",
            "deployment/postgres",
            "--",
            "psql",
            "-q",
            "-v",
            "ON_ERROR_STOP=1",
        ];
        let psql = [psql.as_slice(), &["-U", "slm_user", "-d", "action_history"]].concat();
        for file in FILES {
            let sql = std::fs::read_to_string(self.root.join(format!("migrations/{file}.up.sql")))?;
            feed(&mut self.kubectl(&psql), &sql)?;
        }
        // What `apply` does after every run: without this month's partition nothing can be stored.
        feed(&mut self.kubectl(&psql), ENSURE)
    }

    fn deploy_datastorage(&self, image: &str) -> anyhow::Result<()> {
        let image = format!("image: {image}");
        // A string of JSON is one of YAML.
        let config = serde_json::to_string(CONFIG)?;
        let values = [
            ("${NAME}", "datastorage"),
            ("${CONFIG}", config.as_str()),
            (
                "${DATABASE_SECRETS}",
                "\"{username: slm_user, password: bench}\"",
            ),
            ("${DATASTORAGE_TOKEN}", "unused"),
            ("${ADDRESS}", "\"\""),
            // A person asks the cluster's DNS.
            (
                "      hostAliases:\n        - {ip: \"${SERVER_ADDRESS}\", hostnames: [\"${SERVER}\"]}\n",
                "",
            ),
            ("image: localhost/kubernaut-datastorage", image.as_str()),
        ];
        let manifest = self.manifest("datastorage.yaml", &values)?;
        feed(&mut self.kubectl(&["apply", "-f", "-"]), &manifest)?;
        run(&mut self.kubectl(&[
            "wait",
            "--for=condition=Available",
            "deployment/datastorage",
            "--timeout=120s",
        ]))
        .map(drop)
    }
}

/// The text with the values; what it does not have, or has besides, is an error: the manifests have changed.
fn filled(mut text: String, values: &[(&str, &str)]) -> anyhow::Result<String> {
    for (name, value) in values {
        anyhow::ensure!(text.contains(name), "the manifest has no {name} any more");
        text = text.replace(name, value);
    }
    match text.lines().find(|line| line.contains("${")) {
        Some(line) => bail!("this benchmark has no value for {}", line.trim()),
        None => Ok(text),
    }
}

/// The image of Data Storage as `docker build` makes it.
fn scratch_image(dir: &Path) -> anyhow::Result<String> {
    let image = "localhost/datastorage-bench:1".to_owned();
    std::fs::copy(binary()?, dir.join("datastorage"))?;
    std::fs::write(
        dir.join("Dockerfile"),
        "FROM scratch\nCOPY datastorage /usr/bin/datastorage\nENTRYPOINT [\"/usr/bin/datastorage\"]\n",
    )?;
    run(Command::new("docker")
        .args(["build", "--quiet", "--tag", &image])
        .arg(dir))?;
    Ok(image)
}

/// The static Data Storage binary that the tool has built.
fn binary() -> anyhow::Result<PathBuf> {
    let this = std::env::current_exe()?;
    let target = this
        .ancestors()
        .nth(2)
        .context("this program lies in cargo's target directory")?;
    let path = target.join("x86_64-unknown-linux-gnu/release/datastorage");
    anyhow::ensure!(
        path.exists(),
        "no Data Storage binary at {}",
        path.display()
    );
    Ok(path)
}

fn timed(work: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<f64> {
    let began = Instant::now();
    work()?;
    Ok(began.elapsed().as_secs_f64())
}

fn run(command: &mut Command) -> anyhow::Result<String> {
    let output = output_of(command)?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn output_of(command: &mut Command) -> anyhow::Result<Output> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start {command:?}"))?;
    if !output.status.success() {
        bail!(
            "{command:?} failed: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(output)
}

fn feed(command: &mut Command, input: &str) -> anyhow::Result<()> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()?;
    child
        .stdin
        .take()
        .context("a pipe was asked for")?
        .write_all(input.as_bytes())?;
    anyhow::ensure!(child.wait()?.success(), "{command:?} failed");
    Ok(())
}

fn seconds(rows: &[Row], what: &str) -> anyhow::Result<f64> {
    rows.iter()
        .find(|row| row.what == what)
        .map(|row| row.seconds)
        .with_context(|| format!("no row {what}"))
}

fn table(rows: &[Row]) {
    say("\ncase                              seconds");
    for Row { what, seconds } in rows {
        say(&format!("{what:<32} {seconds:>8.2}"));
    }
}

fn say(line: &str) {
    // Nobody may be reading any more; the measurement goes on to its clean-up all the same.
    drop(writeln!(std::io::stdout().lock(), "{line}"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_that_has_changed_is_refused_by_the_name_that_nobody_fills() {
        let fill = |text: &str| filled(text.to_owned(), &[("${NAME}", "postgres")]);
        assert_eq!(fill("name: ${NAME}").expect("a value"), "name: postgres");
        let more = fill("name: ${NAME}\nuid: ${UID}").expect_err("no value");
        assert!(more.to_string().contains("uid: ${UID}"), "{more}");
        let less = fill("name: postgres").expect_err("no name");
        assert!(less.to_string().contains("has no ${NAME}"), "{less}");
    }
}
