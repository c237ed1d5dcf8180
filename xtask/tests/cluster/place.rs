//! The cluster of others and the registry, made once for all tests; both go when this process ends, whatever ended it.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use e2e_runner::paths::Paths;
use e2e_runner::process::Runner;
use e2e_runner::process::cancel::Cancel;
use e2e_runner::tools::cargo::{Form, Wanted, build};

/// The one of all tests.
pub(crate) static PLACE: LazyLock<Place> = LazyLock::new(Place::make);

/// Who may push to the registry, and pull from it.
const ACCOUNT: (&str, &str) = ("e2e", "secret");
/// The same as an htpasswd file has it.
const HTPASSWD: &str = "e2e:$2b$04$tgP5iwX5ued5NZOndbRD5.S8o0hDPU9EtvC/U4wNJaACuNLKuC6WW\n";
/// How long the programs may take to compile.
const COMPILED: Duration = Duration::from_mins(30);
/// How long the cluster may take.
const MADE: Duration = Duration::from_mins(5);

/// A cluster that stands for one of others.
pub(crate) struct Place {
    /// Its files: kubeconfigs, the registry's, Docker's with the account.
    pub(crate) dir: PathBuf,
    /// `HOST:PORT/PREFIX` of the registry.
    pub(crate) registry: String,
    /// The programs of the checkout, by the variables that name them.
    programs: Vec<(&'static str, PathBuf)>,
    /// Ends with this process, and removes everything then.
    _cleaner: Child,
}

impl Place {
    fn make() -> Self {
        let name = format!("others-{:x}", std::process::id());
        let dir = std::env::temp_dir().join(format!("e2e-{name}"));
        fs::create_dir_all(dir.join("docker")).expect("a directory");
        let cleaner = cleaner(&name, &dir);
        let create = ["create", "cluster", "--name", &name, "--wait", "120s"];
        let mut kind = Command::new("kind");
        kind.args(create).arg("--kubeconfig").arg(dir.join("admin"));
        if let Ok(image) = std::env::var("KIND_NODE_IMAGE") {
            kind.args(["--image", &image]);
        }
        succeeds(&mut kind);
        let node = format!("{name}-control-plane");
        let gateway = "{{(index .IPAM.Config 0).Gateway}}";
        let gateway = printed(
            Command::new("docker").args(["network", "inspect", "kind", "--format", gateway]),
        );
        let registry = serve_registry(&dir, &gateway);
        trust(&node, &registry);
        if let Ok(image) = std::env::var("POSTGRES_IMAGE") {
            succeeds(Command::new("kind").args(["load", "docker-image", &image, "--name", &name]));
        }
        let place = Self {
            registry: format!("{registry}/team/e2e"),
            programs: programs(),
            dir,
            _cleaner: cleaner,
        };
        place.user("boss", "");
        place.user("maker", "");
        place.user("tenant", "team-b");
        place.user("nobody", "");
        place
    }

    /// kubectl as who may do everything.
    pub(crate) fn kubectl(&self, args: &[&str]) -> String {
        let mut kubectl = Command::new("kubectl");
        kubectl.arg("--kubeconfig").arg(self.dir.join("admin"));
        printed(kubectl.args(args))
    }

    /// Applies objects as who may do everything.
    pub(crate) fn apply(&self, objects: &str) {
        let mut kubectl = Command::new("kubectl");
        kubectl.arg("--kubeconfig").arg(self.dir.join("admin"));
        kubectl.args(["apply", "--filename", "-"]);
        let mut child = kubectl
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("kubectl is installed");
        let mut stdin = child.stdin.take().expect("a pipe");
        stdin.write_all(objects.as_bytes()).expect("it is read");
        drop(stdin);
        assert!(child.wait().expect("a child").success(), "{objects}");
    }

    /// The namespaces that carry the label of a run, whoever's.
    pub(crate) fn of_runs(&self) -> Vec<String> {
        let names = [
            "get",
            "namespaces",
            "--selector",
            "kubernaut.io/e2e-run",
            "--output",
            "name",
        ];
        self.kubectl(&names).lines().map(str::to_owned).collect()
    }

    /// A user of the cluster with a kubeconfig of the same name, whose context is `others` and is the current one of nobody: `boss` may do everything, `maker`
    /// may make namespaces and is administrator everywhere, `tenant` only of one namespace, `nobody` may do nothing.
    fn user(&self, name: &str, namespace: &str) {
        let account = format!(
            "apiVersion: v1\nkind: ServiceAccount\nmetadata: {{name: {name}, namespace: default}}\n---\n"
        );
        let subject =
            format!("subjects: [{{kind: ServiceAccount, name: {name}, namespace: default}}]\n");
        let role = |kind: &str, role: &str, name: &str| {
            format!(
                "apiVersion: rbac.authorization.k8s.io/v1\nkind: {kind}\nmetadata: {{name: {name}{}}}\n\
                 roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: {role}}}\n{subject}---\n",
                if kind == "RoleBinding" {
                    format!(", namespace: {namespace}")
                } else {
                    String::new()
                }
            )
        };
        let objects = match name {
            "maker" => format!(
                "{account}apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {{name: maker}}\n\
                 rules: [{{apiGroups: [\"\"], resources: [namespaces], verbs: [get, list, watch, create, patch, delete]}}]\n---\n{}{}",
                role("ClusterRoleBinding", "maker", "maker"),
                role("ClusterRoleBinding", "admin", "maker-admin"),
            ),
            "boss" => account + &role("ClusterRoleBinding", "cluster-admin", "boss"),
            "tenant" => format!(
                "{account}apiVersion: v1\nkind: Namespace\nmetadata: {{name: {namespace}}}\n---\n{}",
                role("RoleBinding", "admin", "tenant"),
            ),
            _ => account,
        };
        self.apply(&objects);
        let token = self.kubectl(&["create", "token", name, "--duration", "24h"]);
        let server = self.kubectl(&[
            "config",
            "view",
            "--raw",
            "--minify",
            "--output",
            "jsonpath={.clusters[0].cluster.server}",
        ]);
        let authority = "jsonpath={.clusters[0].cluster.certificate-authority-data}";
        let authority =
            self.kubectl(&["config", "view", "--raw", "--minify", "--output", authority]);
        let config = format!(
            "apiVersion: v1\nkind: Config\n\
             clusters: [{{name: c, cluster: {{server: \"{server}\", certificate-authority-data: {authority}}}}}]\n\
             users: [{{name: u, user: {{token: {token}}}}}]\n\
             contexts: [{{name: others, context: {{cluster: c, user: u}}}}]\n"
        );
        write_private(&self.dir.join(name), &config);
    }

    /// Names the programs of the checkout, which are built once for all tests.
    pub(crate) fn with_programs(&self, command: &mut Command) {
        command.envs(self.programs.iter().map(|(name, path)| (*name, path)));
    }

    /// The tool as one of the users, in a target directory of its own; the context is allowed by its table.
    pub(crate) fn tool(&self, user: &str, machine: &Path, args: &[&str]) -> Command {
        let table = machine.join("config/kubernaut-e2e/config.toml");
        if !table.exists() {
            fs::create_dir_all(table.parent().expect("a parent")).expect("a directory");
            let text = format!(
                "[clusters.others]\nregistry = \"{}\"\ninsecure_registry = true\npull_secret = true\n",
                self.registry
            );
            write_private(&table, &text);
        }
        let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
        command
            .args(args)
            .env("KUBECONFIG", self.dir.join(user))
            .env("XDG_CONFIG_HOME", machine.join("config"))
            .env("DOCKER_CONFIG", self.dir.join("docker"));
        command
    }

    /// The same, where it is to run on the cluster.
    pub(crate) fn on_cluster(&self, user: &str, machine: &Path, args: &[&str]) -> Command {
        let mut command = self.tool(user, machine, args);
        command.args(["--target", "cluster", "--context", "others"]);
        command
    }
}

/// Builds the programs of the checkout as runs do.
fn programs() -> Vec<(&'static str, PathBuf)> {
    let runner = Runner::new(Cancel::default());
    let paths = Paths::find(&runner).expect("the checkout");
    let built = |packages: &[(&'static str, &'static str)], form| {
        let names: Vec<&str> = packages.iter().map(|(package, _)| *package).collect();
        let wanted = Wanted {
            programs: &names,
            suites: None,
        };
        let built = build(&runner, &paths, wanted, form, COMPILED, |_| {});
        let built = built.unwrap_or_else(|failure| panic!("{failure}"));
        let built = built.executables;
        let programs = packages.iter();
        let programs = programs.map(|(package, variable)| (*variable, built[*package].clone()));
        programs.collect::<Vec<_>>()
    };
    let in_pods = [
        ("datastorage", e2e_env::DATASTORAGE_BIN),
        ("service-fake", e2e_env::FAKE_BIN),
        ("audit-emit", e2e_env::RELAY_BIN),
        ("tunnel-relay", e2e_env::TUNNEL_BIN),
    ];
    let here = [("image-push", e2e_env::IMAGE_PUSH_BIN)];
    [built(&in_pods, Form::Release), built(&here, Form::Dev)].concat()
}

/// Removes cluster, registry and files once this process has ended: its standard input ends then.
fn cleaner(name: &str, dir: &Path) -> Child {
    let script = format!(
        "cat >/dev/null; kill $(cat {dir}/registry.pid) 2>/dev/null; kind delete cluster --name {name} >/dev/null 2>&1; rm -rf {dir}",
        dir = dir.display()
    );
    Command::new("setsid")
        .args(["sh", "-c", &script])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("a shell")
}

/// Starts a registry that pods of the cluster reach, for those who have the account; returns its address.
fn serve_registry(dir: &Path, host: &str) -> String {
    let port = std::net::TcpListener::bind((host, 0))
        .and_then(|listener| listener.local_addr())
        .expect("a free port")
        .port();
    let address = format!("{host}:{port}");
    let config = format!(
        "version: 0.1\nlog: {{level: error}}\nstorage:\n  filesystem: {{rootdirectory: {dir}/images}}\n  delete: {{enabled: true}}\n\
         http: {{addr: \"{address}\"}}\nauth:\n  htpasswd: {{realm: e2e, path: {dir}/htpasswd}}\n",
        dir = dir.display()
    );
    fs::write(dir.join("htpasswd"), HTPASSWD).expect("a file");
    fs::write(dir.join("registry.yml"), config).expect("a file");
    let account = base64(&format!("{}:{}", ACCOUNT.0, ACCOUNT.1));
    let docker = format!("{{\"auths\": {{\"{address}\": {{\"auth\": \"{account}\"}}}}}}");
    write_private(&dir.join("docker/config.json"), &docker);
    let log = fs::File::create(dir.join("registry.log")).expect("a file");
    // Ended by the cleaner.
    #[expect(clippy::zombie_processes, reason = "it outlives this function")]
    let registry = Command::new("docker-registry")
        .arg("serve")
        .arg(dir.join("registry.yml"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .expect("docker-registry is installed");
    fs::write(dir.join("registry.pid"), registry.id().to_string()).expect("a file");
    let began = Instant::now();
    while std::net::TcpStream::connect(&address).is_err() {
        assert!(began.elapsed() < MADE, "the registry does not listen");
        std::thread::sleep(Duration::from_millis(50));
    }
    address
}

/// Lets the node's container runtime pull from a registry without TLS.
fn trust(node: &str, registry: &str) {
    let script = format!(
        "mkdir -p /etc/containerd/certs.d/{registry} && printf '[host.\"http://{registry}\"]\\n' > /etc/containerd/certs.d/{registry}/hosts.toml"
    );
    succeeds(Command::new("docker").args(["exec", node, "sh", "-c", &script]));
}

fn base64(text: &str) -> String {
    let mut encoder = Command::new("base64");
    let mut child = encoder
        .arg("--wrap=0")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("coreutils");
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin.write_all(text.as_bytes()).expect("it is read");
    drop(stdin);
    let output = child.wait_with_output().expect("a child");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub(crate) fn write_private(path: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    fs::write(path, text).expect("a file");
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("its own");
}

/// Runs a command that has to succeed.
pub(crate) fn succeeds(command: &mut Command) -> Output {
    let output = command.output().expect("it is installed");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {told}");
    output
}

/// What a command that has to succeed prints.
pub(crate) fn printed(command: &mut Command) -> String {
    let output = succeeds(command);
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}
