//! Which existing clusters runs may use: those that the user's configuration or a table of services names (D37).

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use nix::unistd::geteuid;

use crate::exit::{Exit, Failure};
use crate::settings;
use crate::table::cluster::Cluster;
use crate::table::{Table, nearest};

/// The bits of a file's mode by which others than its owner may write it.
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// The clusters that are allowed, and where it is said.
#[derive(Debug)]
pub struct Allowed {
    /// The user's configuration, whether it is there or not; a user without a home has none.
    configuration: Option<PathBuf>,
    /// The table in which a repository says it.
    table: String,
    users: Vec<Cluster>,
    tables: Vec<Cluster>,
}

impl Allowed {
    /// Reads the user's configuration, and takes what the tables say.
    pub fn of(table: &Table) -> Result<Self, Failure> {
        let configuration = configuration();
        let users = match &configuration {
            Some(path) if path.exists() => {
                trusted(path)?;
                read(path)?
            }
            _ => Vec::new(),
        };
        Ok(Self {
            configuration,
            table: table.own().unwrap_or_else(|| table.built_in()).to_owned(),
            users,
            tables: table.clusters().to_vec(),
        })
    }

    /// What is said of a context: by the user first, and what that leaves out by the tables. With the places where it is said.
    pub fn find(&self, context: &str) -> Result<(Cluster, Vec<String>), Failure> {
        let all = self.users.iter().chain(&self.tables);
        let said: Vec<&Cluster> = all.filter(|one| one.context == context).collect();
        let places = said.iter().map(|one| one.place()).collect();
        let found = said
            .into_iter()
            .cloned()
            .reduce(|found, next| found.or(&next));
        found.map_or_else(|| Err(self.refusal(context)), |found| Ok((found, places)))
    }

    fn refusal(&self, context: &str) -> Failure {
        let all: Vec<&Cluster> = self.users.iter().chain(&self.tables).collect();
        let said: Vec<String> = all
            .iter()
            .map(|one| format!("`{}` ({})", one.context, one.place()))
            .collect();
        let allowed = if said.is_empty() {
            "none is".to_owned()
        } else {
            format!("allowed are {}", said.join(", "))
        };
        let what = format!("runs may not use the context `{context}`: {allowed}");
        let names: Vec<&str> = all.iter().map(|one| &*one.context).collect();
        let near = nearest(context, &names);
        let near = near.map_or_else(String::new, |near| format!("did you mean `{near}`? "));
        Failure::new(Exit::Usage, what).hint(format!("{near}{}", self.adding(context)))
    }

    /// The failure of a command line that names no context: the current one is nobody's choice.
    pub fn unnamed(&self) -> Failure {
        let all = self.users.iter().chain(&self.tables);
        let mut names: Vec<&str> = all.map(|one| &*one.context).collect();
        names.sort_unstable();
        names.dedup();
        let next = if names.is_empty() {
            self.adding("NAME")
        } else {
            format!("name one that is allowed: {}", names.join(", "))
        };
        let what = "--target cluster needs --context NAME: the current context is never taken";
        Failure::new(Exit::Usage, what).hint(next)
    }

    /// How a context is allowed.
    fn adding(&self, context: &str) -> String {
        let line = format!("[clusters.{context:?}]");
        let users = self.configuration.as_ref().map(|path| {
            format!(
                "{}, or for everybody who works with this repository to ",
                path.display()
            )
        });
        format!(
            "to allow it, add the line {line} to {}{}",
            users.unwrap_or_default(),
            self.table
        )
    }
}

/// The user's configuration.
fn configuration() -> Option<PathBuf> {
    Some(settings::config_home()?.join("kubernaut-e2e/config.toml"))
}

fn read(path: &Path) -> Result<Vec<Cluster>, Failure> {
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|error| {
        Failure::new(Exit::Usage, format!("cannot read {name}: {error}"))
            .hint("make it a file that you may read, or remove it")
    })?;
    let (clusters, faults) = Table::clusters_in(&text, &name);
    match faults.into_iter().next() {
        None => Ok(clusters),
        Some(fault) => {
            let next = fault.hint.unwrap_or_default();
            // What a table may hold is another matter.
            let near = next.split_once("? ").map(|(near, _)| format!("{near}? "));
            Err(Failure::new(fault.exit, fault.summary).hint(format!(
                "{}correct it there; it holds [clusters.\"CONTEXT\"] and what such an entry may say, which the README lists",
                near.unwrap_or_default()
            )))
        }
    }
}

/// Refuses a configuration that somebody else could have written: it decides where a person's runs go.
fn trusted(path: &Path) -> Result<(), Failure> {
    let refused = |path: &Path, why: &str, next: &str| {
        let path = path.display();
        let what = format!("{path} {why}, and it says which clusters runs may use");
        Err(Failure::new(Exit::Usage, what).hint(format!("{next} {path}")))
    };
    let dir = path.parent().unwrap_or(Path::new("/"));
    for place in [dir, path] {
        let Ok(found) = place.metadata() else {
            continue;
        };
        if found.mode() & WRITABLE_BY_OTHERS != 0 {
            return refused(place, "may be written by others", "chmod go-w");
        }
        if ![0, geteuid().as_raw()].contains(&found.uid()) {
            return refused(place, "belongs to somebody else", "chown \"$USER\"");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(users: &str, tables: &str) -> Allowed {
        let read = |text: &str, file: &str| Table::clusters_in(text, file).0;
        Allowed {
            configuration: Some("/home/me/.config/kubernaut-e2e/config.toml".into()),
            table: "services.toml".to_owned(),
            users: read(users, "config.toml"),
            tables: read(tables, "services.toml"),
        }
    }

    #[test]
    fn what_the_user_says_wins_and_what_the_user_leaves_out_is_the_repository_s() {
        let allowed = allowed(
            "[clusters.a]\nregistry = \"mine\"\n",
            "[clusters.a]\nregistry = \"ours\"\npull_secret = true\n",
        );
        let (found, places) = allowed.find("a").expect("it is allowed");
        assert_eq!(found.registry.as_deref(), Some("mine"));
        assert_eq!(found.pull_secret, Some(true));
        assert_eq!(places, ["config.toml, line 1", "services.toml, line 1"]);
    }

    #[test]
    fn a_context_that_nobody_named_is_refused_with_the_line_that_allows_it() {
        let refused = |users: &str| {
            let failure = allowed(users, "").find("team.staging");
            failure.expect_err("nobody named it").to_string()
        };
        let told = refused("[clusters.team-staging]\n");
        assert!(
            told.contains("`team.staging`: allowed are `team-staging` (config.toml, line 1)")
                && told.contains("did you mean `team-staging`?")
                && told.contains("[clusters.\"team.staging\"] to /home/me/.config/")
                && told.contains("to services.toml"),
            "{told}"
        );
        assert!(refused("").contains("none is"));
    }

    #[test]
    fn a_configuration_that_others_may_write_is_refused() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("config.toml");
        std::fs::write(&file, "").expect("a file");
        let mode = |path: &Path, mode: u32| {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("its own");
        };
        mode(&file, 0o600);
        assert!(trusted(&file).is_ok());
        mode(&file, 0o620);
        let told = trusted(&file)
            .expect_err("a group may write it")
            .to_string();
        assert!(
            told.contains("chmod go-w") && told.contains("config.toml"),
            "{told}"
        );
        mode(&file, 0o600);
        mode(dir.path(), 0o777);
        assert!(trusted(&file).is_err(), "anybody may replace it");
    }
}
