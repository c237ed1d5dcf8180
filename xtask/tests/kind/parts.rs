//! Parts of a team's environment: declared in its table, deployed before its service, reached by it and by its suite.

use crate::team::Team;

/// A part that two rows could share, a service with two ports, a certificate, a mount, manifests from a command, commands around the
/// suite.
const TABLE: &str = r#"
[[part]]
name = "lookup"
namespace = "lookup"
passwords = ["LOOKUP_PASSWORD"]
images = [{ name = "localhost/e2e-parts-test:e2e", build = "image" }]
manifests = ["lookup"]
publish = [{ env = "LOOKUP_URL", port = 80 }]
ready = [{ crd = "lookups.example.io" }, { http = "/", on = "LOOKUP_URL" }, { run = ["sh", "-c", "test -n \"$LOOKUP_URL\""] }]

[[service]]
name = "parts"
profile = "gateway"
namespace = "parts-e2e"
components = ["postgres", "own"]
ports = {}
parts = ["lookup"]
restarts = 3
mounts = [{ host = "fixtures", node = "/fixtures" }]
certificates = [{ secret = "serving", hosts = ["parts.${NAMESPACE}.svc"] }]
manifests = ["deploy.yaml", { run = ["sh", "print.sh", "${LOOKUP_URL}"] }]
publish = [{ env = "PARTS_URL", port = 80 }, { env = "PARTS_METRICS_URL", service = "metrics", port = 9090 }]
before = [{ name = "seed", run = ["sh", "seed.sh"] }, ["sh", "-c", "echo two >> seeded"]]
after = [{ name = "gather", run = ["sh", "gather.sh", "${NAMESPACE}"] }]
suite = { command = ["sh", "suite.sh"] }
"#;

const LOOKUP: &str = r#"
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: lookups.example.io}
spec:
  group: example.io
  names: {kind: Lookup, plural: lookups}
  scope: Namespaced
  versions:
    - {name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object}}}
---
apiVersion: v1
kind: Secret
metadata: {name: lookup}
stringData: {password: "${LOOKUP_PASSWORD}"}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: lookup}
spec:
  selector: {matchLabels: {app: lookup}}
  template:
    metadata: {labels: {app: lookup}}
    spec:
      containers:
        - name: main
          image: localhost/e2e-parts-test:e2e
          command: [sh, -c, "echo lookup of $RUN in ${NAMESPACE} > /build; exec sh /answer.sh"]
          env: [{name: RUN, value: "${E2E_RUN}"}]
---
apiVersion: v1
kind: Service
metadata: {name: lookup}
spec:
  selector: {app: lookup}
  ports: [{port: 80, targetPort: 8000}]
---
apiVersion: v1
kind: Service
metadata: {name: of-before}
spec:
  type: NodePort
  selector: {app: lookup}
  ports: [{port: 80, targetPort: 8000, nodePort: 30045}]
"#;

/// It ends twice before it stays, as a service does that exits until what it needs is there.
const DEPLOY: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: parts}
spec:
  selector: {matchLabels: {app: parts}}
  template:
    metadata: {labels: {app: parts}}
    spec:
      volumes:
        - {name: tls, secret: {secretName: serving}}
        - {name: fixtures, hostPath: {path: /fixtures, type: Directory}}
        - {name: tries, emptyDir: {}}
      containers:
        - name: main
          image: localhost/e2e-parts-test:e2e
          command:
            - sh
            - -c
            - |
              echo x >> /tries/count
              test $(wc -l < /tries/count) -gt 2 || exit 1
              echo "$DATABASE lookup=$LOOKUP password=$PASSWORD fixture=$(cat /fixtures/file) ca=$(head -1 /tls/ca.crt) image=$IMAGE" > /build
              exec sh /answer.sh
          volumeMounts:
            - {name: tls, mountPath: /tls}
            - {name: fixtures, mountPath: /fixtures}
            - {name: tries, mountPath: /tries}
          env:
            - {name: DATABASE, value: "${DATABASE_URL}"}
            - {name: LOOKUP, value: "${LOOKUP_URL}"}
            - {name: PASSWORD, value: "${LOOKUP_PASSWORD}"}
            - {name: IMAGE, value: "${image:localhost/e2e-parts-test:e2e} $${LITERAL} ${E2E_PARTS_UNSET:-default}"}
"#;

/// Prints the Services, as a template engine would.
const PRINT: &str = r#"
echo "printed for $1" >&2
for name in parts:80 metrics:9090; do
cat <<END
---
apiVersion: v1
kind: Service
metadata: {name: ${name%%:*}, annotations: {lookup: "$1"}}
spec:
  selector: {app: parts}
  ports: [{port: ${name##*:}, targetPort: 8000}]
END
done
"#;

const SUITE: &str = r#"set -e
for url in $LOOKUP_URL $PARTS_URL $PARTS_METRICS_URL; do curl --silent --show-error --http0.9 $url/; done
test "$SERVICE_URL" = "$PARTS_URL"
test "$(cat $LOOKUP_PASSWORD_FILE)" = "$LOOKUP_PASSWORD"
echo seeded: $(cat seeded)
"#;

#[test]
fn a_table_s_parts_are_there_before_the_service_and_its_commands_run_around_the_suite() {
    let team = Team::new("parts", TABLE);
    let path = |name: &str| team.dir.path().join(name);
    for dir in ["lookup", "fixtures"] {
        std::fs::create_dir(path(dir)).expect("a directory");
    }
    team.write("lookup/all.yaml", LOOKUP);
    team.write("deploy.yaml", DEPLOY);
    team.write("print.sh", PRINT);
    team.write("fixtures/file", "from-the-host");
    team.write("image/build", "unused");
    team.write(
        "seed.sh",
        "curl --fail --silent $PARTS_URL/ >/dev/null && echo one > seeded",
    );
    team.write(
        "gather.sh",
        "echo in $1 > gathered; kubectl --namespace $1 get pods --output name >> gathered",
    );
    team.write("suite.sh", &format!("{SUITE}exit 3\n"));
    let (code, said) = team.run(&["e2e", "parts", "--target", "kind", "--keep", "always"]);
    assert_eq!(code, Some(1), "{said}");
    for part in [
        "lookup of ",
        "postgres://slm_user@postgres.parts-e2e.svc:5432/action_history lookup=http://lookup.lookup.svc:80 password=***",
        "fixture=from-the-host ca=-----BEGIN CERTIFICATE-----",
        "image=localhost/kubernaut-loaded:",
        "${LITERAL} default",
        "seeded: one two",
        "node port 30045 of the Service of-before is one of the run's own",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let gathered =
        std::fs::read_to_string(path("gathered")).expect("the command after a red suite");
    assert!(gathered.starts_with("in parts-e2e\npod/"), "{gathered}");

    let run = team.kubeconfig().expect("the environment is kept");
    let evidence = run.with_file_name("namespace-lookup").join("pods.yaml");
    let evidence = std::fs::read_to_string(evidence).expect("evidence of the part's namespace");
    assert!(evidence.contains("name: lookup-"), "{evidence}");

    team.write("suite.sh", SUITE);
    let said = team.passes();
    for part in ["lookup", "parts"] {
        assert!(
            said.contains("is used again: same objects"),
            "{part}: {said}"
        );
    }

    // A name that stands for nothing is found with nothing made.
    team.write(
        "deploy.yaml",
        &DEPLOY.replace("${LOOKUP_URL}", "${LOKUP_URL}"),
    );
    let (code, said) = team.run(&["e2e", "parts", "--target", "kind"]);
    assert_eq!(code, Some(2), "{said}");
    let line = DEPLOY
        .lines()
        .position(|line| line.contains("${LOOKUP_URL}"));
    let line = 1 + line.expect("the name is in the manifest");
    let told = format!("deploy.yaml, line {line}: nothing is named ${{LOKUP_URL}}");
    assert!(
        said.contains(&told) && team.kubeconfig().is_some(),
        "{said}"
    );
}
