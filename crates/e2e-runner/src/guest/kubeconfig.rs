//! The user's kubeconfig: read, never written. A run gets a copy of its own with one context in it.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;

use crate::exit::{Exit, Failure};
use crate::process::{Command, Error, Runner};
use crate::settings;
use crate::state::write_private;
use crate::table::nearest;

/// How long kubectl may take to read files.
const READ: Duration = Duration::from_secs(20);
/// The bits of a file's mode by which others than its owner may read it.
const READABLE_BY_OTHERS: u32 = 0o044;
/// What of a user in a kubeconfig proves who somebody is.
const PROOFS: [&str; 3] = ["client-key-data", "token", "password"];

/// The files that make the user's kubeconfig together.
#[derive(Clone, Debug)]
pub struct Kubeconfig {
    files: Vec<PathBuf>,
    /// Whether the command line names it.
    is_named: bool,
}

/// What a kubeconfig says of one context, without what proves who its user is.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// The address of the API server.
    pub server: String,
    /// The namespace that it names.
    pub namespace: Option<String>,
    /// What should be known of it, each in a line with what puts it right.
    pub notes: Vec<(String, String)>,
}

impl Kubeconfig {
    /// The file that is named, else those that `KUBECONFIG` lists, else the one in the home directory.
    pub fn find(named: Option<&Path>) -> Result<Self, Failure> {
        let missing = |what: String| {
            Failure::new(Exit::Usage, what).hint("name one that is there: --kubeconfig FILE")
        };
        if let Some(path) = named {
            if !path.is_file() {
                return Err(missing(format!(
                    "the kubeconfig {} is not there",
                    path.display()
                )));
            }
            return Ok(Self {
                files: vec![std::path::absolute(path).unwrap_or_else(|_| path.to_owned())],
                is_named: true,
            });
        }
        let wanted = settings::kubeconfigs();
        let files: Vec<PathBuf> = wanted
            .iter()
            .filter(|path| path.is_file())
            .cloned()
            .collect();
        if files.is_empty() {
            let wanted: Vec<_> = wanted
                .iter()
                .map(|path| path.display().to_string())
                .collect();
            return Err(missing(format!(
                "there is no kubeconfig: {} is not there",
                wanted.join(", nor ")
            )));
        }
        Ok(Self {
            files,
            is_named: false,
        })
    }

    /// Its files, for messages.
    pub fn name(&self) -> String {
        let names = self.files.iter().map(|path| path.display().to_string());
        names.collect::<Vec<_>>().join(", ")
    }

    /// The flag that names it again, with a space before it, where one did.
    pub fn flag(&self) -> String {
        if self.is_named {
            format!(" --kubeconfig {}", self.name())
        } else {
            String::new()
        }
    }

    /// kubectl with it.
    pub fn kubectl(&self, runner: &Runner) -> Command {
        let list = std::env::join_paths(&self.files).unwrap_or_default();
        runner.command("kubectl").env("KUBECONFIG", list)
    }

    /// What it says of a context, and whether all of it is there.
    pub fn look(&self, runner: &Runner, context: &str) -> Result<Seen, Failure> {
        let view = self
            .kubectl(runner)
            .args(["config", "view", "--output", "json"]);
        let text = view.deadline(READ).read().map_err(|error| match error {
            Error::NotFound { .. } => Failure::new(Exit::Preflight, error.to_string())
                .hint("install kubectl: https://kubernetes.io/docs/tasks/tools/"),
            Error::Failed { tail, .. } => {
                let what = format!(
                    "the kubeconfig {} cannot be read: {}",
                    self.name(),
                    tail.trim()
                );
                Failure::new(Exit::Usage, what)
                    .hint("correct it, or name another: --kubeconfig FILE")
            }
            error => error.into_failure(Exit::Preflight, runner.cancel()),
        })?;
        let whole: Value = serde_json::from_str(&text).map_err(Failure::setup)?;
        let found = self.choose(&whole, context)?;
        let mut seen = Seen {
            server: found.cluster["server"]
                .as_str()
                .unwrap_or_default()
                .to_owned(),
            namespace: found.context["namespace"].as_str().map(str::to_owned),
            notes: self.readable_by_others(),
        };
        if let Some(command) = found.user["exec"]["command"].as_str() {
            self.plugin(&found.user["exec"], command)?;
        }
        if found.cluster["insecure-skip-tls-verify"] == true {
            seen.notes.push((
                format!("the certificate of {} is not checked", seen.server),
                "put its authority in the place of insecure-skip-tls-verify".to_owned(),
            ));
        }
        Ok(seen)
    }

    fn choose<'a>(&self, whole: &'a Value, context: &str) -> Result<Found<'a>, Failure> {
        let names: Vec<&str> = names(&whole["contexts"]).collect();
        let Some(entry) = named(&whole["contexts"], context) else {
            let what = format!("{} has no context `{context}`", self.name());
            let has = if names.is_empty() {
                "it has none".to_owned()
            } else {
                format!("it has {}", names.join(", "))
            };
            let near = nearest(context, &names);
            let near = near.map_or_else(String::new, |near| format!("did you mean `{near}`? "));
            return Err(Failure::new(Exit::Usage, what).hint(format!("{near}{has}")));
        };
        let entry = &entry["context"];
        let part =
            |kind: &str, list: &'a Value| {
                let name = entry[kind].as_str().unwrap_or_default();
                named(list, name).map(|found| &found[kind]).ok_or_else(|| {
                let what = format!(
                    "the context `{context}` of {} names the {kind} `{name}`, which is not there",
                    self.name()
                );
                let known: Vec<&str> = self::names(list).collect();
                let next = if known.is_empty() {
                    format!("add the {kind} to it, or name another kubeconfig: --kubeconfig FILE")
                } else {
                    format!("add it, or let the context name one of: {}", known.join(", "))
                };
                Failure::new(Exit::Usage, what).hint(next)
            })
            };
        Ok(Found {
            context: entry,
            cluster: part("cluster", &whole["clusters"])?,
            user: part("user", &whole["users"])?,
        })
    }

    /// The program by which the user of a context proves who it is has to be there.
    fn plugin(&self, exec: &Value, command: &str) -> Result<(), Failure> {
        // One that is named without a directory is looked for on PATH.
        let mut found = if command.contains('/') {
            self.beside(command).into_iter()
        } else {
            vec![command.into()].into_iter()
        };
        if found.any(|program| Runner::find(program, None).is_ok()) {
            return Ok(());
        }
        let what = format!(
            "{} proves who you are by the program `{command}`, which is not installed",
            self.name()
        );
        let hint = exec["installHint"].as_str().unwrap_or_default().trim();
        let hint = if hint.is_empty() {
            format!("install `{command}` on the PATH")
        } else {
            hint.to_owned()
        };
        Err(Failure::new(Exit::Preflight, what).hint(hint))
    }

    /// What a path in a kubeconfig may mean: it starts from the directory of the file that it stands in.
    fn beside(&self, path: &str) -> Vec<PathBuf> {
        let dirs = self.files.iter().filter_map(|file| file.parent());
        dirs.map(|dir| std::path::absolute(dir.join(path)).unwrap_or_else(|_| dir.join(path)))
            .collect()
    }

    /// Files that hold a key and may be read by others.
    fn readable_by_others(&self) -> Vec<(String, String)> {
        let open = self.files.iter().filter(|file| {
            let mode = file.metadata().map(|found| found.mode());
            let text = || std::fs::read_to_string(file).unwrap_or_default();
            mode.is_ok_and(|mode| mode & READABLE_BY_OTHERS != 0) && holds_proof(&text())
        });
        open.map(|file| {
            let file = file.display();
            (
                format!("{file} holds a key or a token and may be read by others"),
                format!("chmod 600 {file}"),
            )
        })
        .collect()
    }

    /// Writes a copy with nothing but one context, which is its current one. Certificates and keys are in it, programs and files of
    /// tokens are named by their whole paths.
    pub fn copy(&self, runner: &Runner, context: &str, path: &Path) -> Result<(), Failure> {
        let view = self.kubectl(runner).args([
            "config",
            "view",
            "--raw",
            "--flatten",
            "--minify",
            "--context",
            context,
            "--output",
            "json",
        ]);
        let text = view.deadline(READ).read().map_err(|error| {
            let told = match error {
                Error::Failed { tail, .. } => error_of(&tail),
                error => return error.into_failure(Exit::Setup, runner.cancel()),
            };
            let what = format!(
                "the context `{context}` of {} cannot be copied: {}",
                self.name(),
                told.trim()
            );
            Failure::new(Exit::Setup, what).hint("correct what it names there")
        })?;
        let mut copy: Value = serde_json::from_str(&text).map_err(Failure::setup)?;
        self.settle(&mut copy);
        let text = serde_json::to_string_pretty(&copy).map_err(Failure::setup)?;
        write_private(path, text.as_bytes()).map_err(Failure::setup)
    }

    /// Names the programs and the files of tokens in a copy by their whole paths: it lies elsewhere.
    fn settle(&self, copy: &mut Value) {
        let users = copy["users"].as_array_mut();
        for user in users.into_iter().flatten() {
            for at in ["/user/tokenFile", "/user/exec/command"] {
                let Some(Value::String(place)) = user.pointer_mut(at) else {
                    continue;
                };
                if at.ends_with("command") && !place.contains('/') {
                    continue;
                }
                let mut found = self.beside(place).into_iter();
                if let Some(found) = found.find(|path| path.is_absolute() && path.exists()) {
                    *place = found.display().to_string();
                }
            }
        }
    }
}

/// What in a copy proves who its user is, for [`crate::secrets::Secrets`]. What a program gives kubectl is never seen here.
pub fn secrets_of(copy: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(copy).unwrap_or_default();
    let copy: Value = serde_json::from_str(&text).unwrap_or_default();
    let mut secrets = Vec::new();
    let mut add = |value: &Value| {
        let text = value.as_str().unwrap_or_default().trim();
        if !text.is_empty() {
            secrets.push(text.to_owned());
        }
    };
    for entry in copy["users"].as_array().into_iter().flatten() {
        let user = &entry["user"];
        for proof in PROOFS {
            add(&user[proof]);
        }
        let config = user["auth-provider"]["config"].as_object();
        for (name, value) in config.into_iter().flatten() {
            if is_secret(name) {
                add(value);
            }
        }
        for variable in user["exec"]["env"].as_array().into_iter().flatten() {
            if variable["name"].as_str().is_some_and(is_secret) {
                add(&variable["value"]);
            }
        }
        if let Some(key) = user["client-key-data"].as_str()
            && let Ok(key) = BASE64_STANDARD.decode(key)
        {
            add(&String::from_utf8_lossy(&key).into());
        }
        if let Some(file) = user["tokenFile"].as_str() {
            add(&std::fs::read_to_string(file).unwrap_or_default().into());
        }
    }
    for entry in copy["clusters"].as_array().into_iter().flatten() {
        let proxy = entry["cluster"]["proxy-url"].as_str().unwrap_or_default();
        let account = proxy
            .split_once("://")
            .and_then(|(_, rest)| rest.rsplit_once('@'));
        if let Some((_, password)) = account.and_then(|(account, _)| account.split_once(':')) {
            add(&password.into());
        }
    }
    secrets
}

/// Why kubectl failed. What else it had printed may be half of a copy, with its secrets.
fn error_of(text: &str) -> String {
    let error = text.lines().rfind(|line| line.starts_with("error"));
    error.unwrap_or("kubectl did not end well").to_owned()
}

/// Whether a kubeconfig proves who somebody is by itself.
fn holds_proof(text: &str) -> bool {
    let has =
        |proof: &str| text.contains(&format!("{proof}:")) || text.contains(&format!("{proof}\":"));
    PROOFS.iter().any(|proof| has(proof))
}

/// Whether a variable of such a name holds a secret.
fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let words = ["token", "secret", "password", "key"];
    words.iter().any(|word| name.contains(word))
}

/// A context with what it names.
struct Found<'a> {
    context: &'a Value,
    cluster: &'a Value,
    user: &'a Value,
}

fn names(list: &Value) -> impl Iterator<Item = &str> {
    let all = list.as_array().into_iter().flatten();
    all.filter_map(|entry| entry["name"].as_str())
}

fn named<'a>(list: &'a Value, name: &str) -> Option<&'a Value> {
    let mut all = list.as_array().into_iter().flatten();
    all.find(|entry| entry["name"] == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn kubeconfig() -> Kubeconfig {
        Kubeconfig {
            files: vec!["/home/me/.kube/config".into()],
            is_named: false,
        }
    }

    #[test]
    fn a_context_and_what_it_names_have_to_be_there() {
        let whole = json!({
            "contexts": [{"name": "good", "context": {"cluster": "c", "user": "u"}},
                {"name": "half", "context": {"cluster": "gone", "user": "u"}}],
            "clusters": [{"name": "c", "cluster": {"server": "https://c"}}],
            "users": [{"name": "u", "user": {}}],
        });
        let told = |context: &str| match kubeconfig().choose(&whole, context) {
            Ok(_) => "good".to_owned(),
            Err(failure) => failure.to_string(),
        };
        assert_eq!(told("good"), "good");
        let unknown = told("goood");
        assert!(
            unknown.contains("has no context `goood`")
                && unknown.contains("did you mean `good`? it has good, half"),
            "{unknown}"
        );
        let half = told("half");
        assert!(
            half.contains("names the cluster `gone`") && half.contains("one of: c"),
            "{half}"
        );
    }

    #[test]
    fn a_copy_names_programs_and_files_of_tokens_where_they_are() {
        let dir = tempfile::tempdir().expect("a directory");
        for name in ["config", "token", "login"] {
            std::fs::write(dir.path().join(name), "").expect("a file");
        }
        let kubeconfig = Kubeconfig::find(Some(&dir.path().join("config"))).expect("it is there");
        let user = |file: &str, command: &str| {
            let mut copy =
                json!({"users": [{"user": {"tokenFile": file, "exec": {"command": command}}}]});
            kubeconfig.settle(&mut copy);
            let user = &copy["users"][0]["user"];
            [user["tokenFile"].clone(), user["exec"]["command"].clone()]
        };
        let here = |name: &str| json!(dir.path().join(name));
        let elsewhere = json!("/elsewhere/token");
        assert_eq!(user("token", "./login"), [here("token"), here("login")]);
        assert_eq!(
            user("/elsewhere/token", "login"),
            [elsewhere, json!("login")]
        );
    }

    #[test]
    fn half_a_copy_is_in_no_failure() {
        let told = error_of("\"token\": \"geheim\"\n");
        assert_eq!(told, "kubectl did not end well");
        assert_eq!(
            error_of("error: cannot locate cluster c"),
            "error: cannot locate cluster c"
        );
    }

    #[test]
    fn all_that_proves_who_somebody_is_becomes_a_secret() {
        let dir = tempfile::tempdir().expect("a directory");
        let token = dir.path().join("token");
        std::fs::write(&token, "from-a-file\n").expect("a file");
        let key = BASE64_STANDARD.encode("the-key-itself");
        let copy = json!({
            "clusters": [{"cluster": {"proxy-url": "http://me:proxy-word@p:1"}}],
            "users": [{"user": {"client-key-data": key, "token": "the-token", "password": "the-password",
                "tokenFile": token, "exec": {"env": [{"name": "MY_SECRET", "value": "of-the-plugin"},
                    {"name": "REGION", "value": "eu-central"}]},
                "auth-provider": {"config": {"refresh-token": "refreshing", "idp": "https://idp"}}}}],
        });
        let path = dir.path().join("kubeconfig");
        std::fs::write(&path, copy.to_string()).expect("a file");
        let mut secrets = secrets_of(&path);
        secrets.sort();
        let mut wanted = [
            &key,
            "the-key-itself",
            "the-token",
            "the-password",
            "from-a-file",
            "of-the-plugin",
            "refreshing",
            "proxy-word",
        ];
        wanted.sort_unstable();
        assert_eq!(secrets, wanted);
    }
}
