//! Services that cannot become ready, each for a reason that only a real cluster shows, and what a person is told of it.

use std::fmt::Write as _;
use std::fs;
use std::process::Command;

/// A service's name, its pod's specification, more objects, and what the run has to say of it; nothing where it becomes ready.
struct Trouble {
    name: &'static str,
    pod: &'static str,
    more: &'static str,
    told: &'static str,
}

const TROUBLES: [Trouble; 6] = [
    Trouble {
        name: "init",
        pod: "initContainers: [{name: schema, image: IMAGE, imagePullPolicy: Never, command: [sh, -c, 'echo no such relation; exit 1']}]\n      \
              containers: [{name: main, image: IMAGE, imagePullPolicy: Never, command: [sleep, '600']}]",
        more: "",
        told: "init container schema: CrashLoopBackOff: ended with exit 1 (Error)",
    },
    Trouble {
        name: "loop",
        pod: "containers: [{name: main, image: IMAGE, imagePullPolicy: Never, command: [sh, -c, 'echo no such relation; exit 7']}]",
        more: "",
        told: "container main: CrashLoopBackOff: ended with exit 7 (Error)",
    },
    Trouble {
        name: "volume",
        pod: "volumes: [{name: c, configMap: {name: nope}}]\n      \
              containers: [{name: main, image: IMAGE, imagePullPolicy: Never, command: [sleep, '600'], volumeMounts: [{name: c, mountPath: /c}]}]",
        more: "",
        told: "configmap \"nope\" not found",
    },
    Trouble {
        name: "quota",
        pod: "containers: [{name: main, image: IMAGE, imagePullPolicy: Never, command: [sleep, '600']}]",
        more: "apiVersion: v1\nkind: ResourceQuota\nmetadata: {name: few}\nspec: {hard: {pods: '0'}}\n---\n",
        told: "exceeded quota: few",
    },
    Trouble {
        name: "secret",
        pod: "containers: [{name: main, image: IMAGE, imagePullPolicy: Never, command: [sleep, '600'], envFrom: [{secretRef: {name: db}}]}]",
        more: "",
        told: "container main: CreateContainerConfigError secret \"db\" not found",
    },
    Trouble {
        name: "once",
        pod: "volumes: [{name: d, emptyDir: {}}]\n      containers: [{name: main, image: IMAGE, imagePullPolicy: Never, \
              command: [sh, -c, '[ -e /d/x ] && sleep 600; touch /d/x; exit 1'], volumeMounts: [{name: d, mountPath: /d}]}]",
        more: "",
        told: "",
    },
];

#[test]
fn each_trouble_of_a_pod_is_told_by_its_cause_and_one_that_passes_is_waited_for() {
    let image = std::env::var("POSTGRES_IMAGE").unwrap_or_else(|_| "postgres:16-alpine".to_owned());
    let (place, dir) = (tempfile::tempdir(), tempfile::tempdir());
    let (place, dir) = (place.expect("a directory"), dir.expect("a directory"));
    let mut table = String::new();
    for Trouble {
        name, pod, more, ..
    } in TROUBLES
    {
        write!(
            table,
            "[[service]]\nname = \"{name}\"\nprofile = \"gateway\"\nnamespace = \"{name}-e2e\"\ncomponents = [\"postgres\", \"own\"]\n\
             ports = {{}}\nmanifests = [\"{name}.yaml\"]\nready = [\"app={name}\"]\nsuite = {{ command = [\"true\"] }}\n"
        )
        .expect("text");
        let manifest = format!(
            "{more}apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: {name}}}\nspec:\n  selector: {{matchLabels: {{app: {name}}}}}\n  \
             template:\n    metadata: {{labels: {{app: {name}}}}}\n    spec:\n      {}\n",
            pod.replace("IMAGE", &image)
        );
        fs::write(dir.path().join(format!("{name}.yaml")), manifest).expect("a manifest");
    }
    let services = dir.path().join("services.toml");
    fs::write(&services, table).expect("a table");
    let output = Command::new(env!("CARGO_BIN_EXE_xtask"))
        .arg("e2e")
        .args(TROUBLES.map(|trouble| trouble.name))
        .args(["--target", "kind", "--services"])
        .arg(services)
        .env("CARGO_TARGET_DIR", place.path())
        .output()
        .expect("the tool starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(4), "{said}");
    for Trouble { name, told, .. } in TROUBLES {
        let outcome = said
            .lines()
            .find(|line| line.starts_with(&format!("{name} ")))
            .unwrap_or_default();
        if told.is_empty() {
            assert!(outcome.contains("`true` passed"), "{name}: {said}");
        } else {
            assert!(outcome.contains(told), "{name}: {outcome}\n{said}");
        }
    }
    assert!(
        said.matches("no such relation").count() >= 2,
        "the logs of the init container and of the loop: {said}"
    );
    // What failed and may pass is told before it is certain.
    assert!(
        said.contains("· once-") && said.contains("container main: ended with exit 1 (Error)"),
        "{said}"
    );
}
