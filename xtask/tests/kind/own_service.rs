//! A team's service on an environment that is kept: what runs is what was built last, and what should be there is there.

use std::net::TcpListener;

use crate::team::Team;

/// The built-in name, a second namespace, no `ready`: the tool has to find out by itself what it waits for.
const TABLE: &str = "[[service]]\nname = \"workflowexecution\"\nprofile = \"gateway\"\nnamespace = \"kubernaut-system\"\n\
    components = [\"postgres\", \"own\"]\nports = { policy = \"fixed\", service = PORT }\nmanifests = [\"deploy.yaml\"]\n\
    images = [{ name = \"localhost/e2e-workflowexecution-test:e2e\", build = \"image\" }]\nsuite = { command = [\"sh\", \"suite.sh\"] }\n";

/// It answers each connection with what was built into its image, and takes its time to end.
const DEPLOY: &str = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: controller}\nspec:\n  selector: {matchLabels: {app: controller}}\n  \
    template:\n    metadata: {labels: {app: controller}}\n    spec:\n      terminationGracePeriodSeconds: 4\n      containers:\n        \
    - name: main\n          image: localhost/e2e-workflowexecution-test:e2e\n          imagePullPolicy: Never\n          command: [sh, -c, echo answering; exec sh /answer.sh]\n---\n\
    apiVersion: v1\nkind: Service\nmetadata: {name: workflowexecution}\nspec:\n  selector: {app: controller}\n  ports: [{port: 80, targetPort: 8000}]\n";

const ELSEWHERE: &str = "---\napiVersion: v1\nkind: Namespace\nmetadata: {name: kubernaut-workflows}\n---\n\
    apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings, namespace: kubernaut-workflows}\ndata: {a: b}\n";

/// What a suite sees: which build answers, how many pods there are, and what is in the other namespace.
const SUITE: &str = "set -e\ncurl --silent --show-error $SERVICE_URL/\n\
    kubectl --namespace $E2E_NAMESPACE get pods --selector app=controller --output name\n\
    echo elsewhere: $(kubectl --namespace kubernaut-workflows get configmap settings --ignore-not-found --output name)\n";

#[test]
fn what_runs_on_a_kept_environment_is_what_was_built_and_what_the_manifests_say() {
    let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    let port = free.expect("a free port").port();
    let team = Team::new(
        "workflowexecution",
        &TABLE.replace("PORT", &port.to_string()),
    );
    let both = format!("{DEPLOY}{ELSEWHERE}");
    team.write("deploy.yaml", &both);
    team.write("suite.sh", SUITE);
    team.write("image/build", "the first build\n");
    let said = team.passes();
    assert!(
        said.contains("workflowexecution is the one of") && said.contains("the first build"),
        "{said}"
    );
    assert!(said.contains("elsewhere: configmap/settings"), "{said}");

    // The same tag, another content: neither the old image nor the old pod is tested.
    team.write("image/build", "the second build\n");
    let damage = "kubectl --namespace $E2E_NAMESPACE scale deployment controller --replicas 0\n\
        kubectl --namespace kubernaut-workflows delete configmap settings\n";
    team.write("suite.sh", &format!("{SUITE}{damage}"));
    let said = team.passes();
    assert!(
        said.contains("the second build") && !said.contains("the first build"),
        "{said}"
    );
    assert_eq!(said.matches("pod/controller-").count(), 1, "{said}");

    // The suite before has scaled the service down and removed what it needs.
    team.write("suite.sh", SUITE);
    let said = team.passes();
    assert!(
        said.contains("put back") && said.contains("elsewhere: configmap/settings"),
        "{said}"
    );

    team.write("deploy.yaml", DEPLOY);
    team.write("suite.sh", &SUITE.replace("elsewhere", "left"));
    let said = team.passes();
    assert!(
        said.contains("left: \n") || said.contains("left:\n"),
        "{said}"
    );

    // A build of before, which the node has, under the name of the one after it.
    team.write("image/build", "the first build\n");
    team.write("suite.sh", &SUITE.replace("kubernaut-workflows", "default"));
    let said = team.passes();
    assert!(said.contains("the first build"), "{said}");

    // An `up` that fails leaves what stood before, whose fixed port is no other's.
    team.write("deploy.yaml", &DEPLOY.replace("apps/v1", "apps/v9"));
    let (code, said) = team.run(&["up", "workflowexecution", "--target", "kind"]);
    assert_eq!(code, Some(4), "{said}");
    assert!(team.kubeconfig().is_some(), "{said}");
    team.write("deploy.yaml", DEPLOY);
    let (code, said) = team.run(&["up", "workflowexecution", "--target", "kind"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("is used again: same configuration"), "{said}");

    // Whatever labels its pods have.
    let logs = team.command(&["logs", "workflowexecution"]).output();
    let logs = logs.expect("the tool starts");
    let said = String::from_utf8_lossy(&logs.stdout).into_owned();
    assert!(
        logs.status.success() && said.contains("pod/controller-"),
        "{said}"
    );
    let (code, said) = team.run(&["kill", "service", "--service", "workflowexecution"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("killed the service of"), "{said}");
}
