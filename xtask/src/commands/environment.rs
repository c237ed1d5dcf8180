//! The environment that is up, for every verb that works on one; and its variables as lines that a shell can read.

use std::path::PathBuf;

use e2e_runner::exit::{Exit, Failure};
use e2e_runner::paths::Paths;
use e2e_runner::run::private::Private;
use e2e_runner::settings;
use e2e_runner::state::{Run, State};

/// The newest environment that is up and that `wanted` names, by one of its services or by its run; without a name, the newest
/// of all.
pub fn up(paths: &Paths, wanted: Option<&str>) -> Result<Run, Failure> {
    let runs: Vec<Run> = Run::list(&paths.runs())
        .into_iter()
        .filter(Run::is_up)
        .collect();
    let others: Vec<String> = runs.iter().map(Run::id).collect();
    let named = runs
        .into_iter()
        .filter(|run| wanted.is_none_or(|name| is_named(&run.state(), name)));
    named
        .max_by_key(|run| run.state().expires)
        .ok_or_else(|| none(wanted, &others))
}

/// The service of an environment that is meant: the one that is named, else the first.
pub fn service_of(run: &Run, wanted: Option<&str>) -> String {
    let services = run.state().services;
    let named = services.iter().find(|name| wanted == Some(name.as_str()));
    named.or(services.first()).cloned().unwrap_or_default()
}

/// That no environment is up of which this is the name, and which others are.
pub fn none(wanted: Option<&str>, others: &[String]) -> Failure {
    let what = match wanted {
        Some(name) => format!("no running environment for {name}"),
        None => "no running environment".to_owned(),
    };
    let seen = match others {
        [] => String::new(),
        others => format!("running: {}", others.join(", ")),
    };
    let service = wanted.unwrap_or("SERVICE");
    Failure::new(Exit::Preflight, what)
        .detail(seen)
        .hint(format!("start one with `cargo xtask up {service}`"))
}

/// The run whose suite this process is part of, else the environment of the service that is up.
pub fn around_or_up(paths: &Paths, service: &str) -> anyhow::Result<Run> {
    let evidence: Option<PathBuf> = settings::evidence_dir();
    let around = evidence.iter().flat_map(|dir| dir.ancestors().take(2));
    match around
        .into_iter()
        .find(|dir| dir.join("state.json").is_file())
    {
        Some(dir) => Run::open(dir),
        None => Ok(up(paths, Some(service))?),
    }
}

fn is_named(state: &State, name: &str) -> bool {
    state.run == name || state.services.iter().any(|service| service == name)
}

/// How the variables of an environment are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Variables {
    /// Lines that a shell evaluates: `eval "$(cargo xtask up SERVICE)"`
    Shell,
    /// `NAME=value` lines, as `$GITHUB_ENV` and `env` files take them
    Env,
    /// One document
    Json,
}

/// The variables of a kept run's environment. Of several services each has its name before its variables'; the password is read from
/// its file, which only its user can.
pub fn variables(run: &Run, form: Variables) -> String {
    let state = run.state();
    let several = state.environments.len() > 1;
    let password = run.dir().join("password");
    let mut lines = Vec::new();
    for (service, environment) in &state.environments {
        let prefix = if several {
            service.to_uppercase().replace('-', "_") + "_"
        } else {
            String::new()
        };
        let named = environment
            .iter()
            .map(|(name, value)| (format!("{prefix}{name}"), value));
        match form {
            Variables::Shell => {
                lines.extend(named.map(|(name, value)| format!("export {name}={}", quoted(value))));
            }
            Variables::Env => lines.extend(named.map(|(name, value)| format!("{name}={value}"))),
            Variables::Json => {}
        }
    }
    let file = password.display().to_string();
    match form {
        Variables::Shell => {
            let read = format!(
                "export {}=\"$(cat {})\"",
                e2e_env::PGPASSWORD,
                quoted(&file)
            );
            lines.push(read);
            for name in Private::passwords_of(run).into_keys() {
                let file = Private::password_file_of(run, &name).display().to_string();
                lines.push(format!("export {name}=\"$(cat {})\"", quoted(&file)));
            }
        }
        Variables::Env => {}
        Variables::Json => {
            let document = serde_json::json!({
                "run": state.run,
                "target": state.target,
                "expires": state.expires,
                "password_file": file,
                "services": state.environments,
            });
            return serde_json::to_string_pretty(&document).unwrap_or_default();
        }
    }
    lines.join("\n")
}

/// A word for a POSIX shell (Shell Command Language, "Single-Quotes"), quoted where it has to be.
pub fn quoted(text: &str) -> String {
    let plain =
        |character: char| character.is_ascii_alphanumeric() || "/_-.:@%+,=".contains(character);
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// What a person needs to know of an environment that is kept.
pub fn describe(run: &Run) -> String {
    let state = run.state();
    let services = state.services.join(" ");
    let first = state.services.first().map_or("", String::as_str);
    let mut lines = vec![
        format!("kept: {} on {}", state.run, state.target),
        format!("  password: {}", run.dir().join("password").display()),
        format!("  look:     cargo xtask shell {first}, cargo xtask logs {first}"),
    ];
    if state.target != "local" {
        for environment in state.environments.values() {
            if let (Some(kubeconfig), Some(namespace)) = (
                environment.get(e2e_env::KUBECONFIG),
                environment.get(e2e_env::NAMESPACE),
            ) {
                lines.push(format!(
                    "            kubectl --kubeconfig {} --namespace {namespace} get pods",
                    quoted(kubeconfig)
                ));
            }
        }
    }
    lines.push(format!("  remove:   cargo xtask down {services}"));
    lines.push(format!("  expires:  {}", remaining(&state)));
    lines.join("\n")
}

/// How long an environment is kept, and until when.
pub fn remaining(state: &State) -> String {
    let left = state.expires.duration_since(jiff::Timestamp::now());
    let minutes = left.as_secs().max(0) / 60;
    let left = match (minutes / 60, minutes % 60) {
        (0, minutes) => format!("{minutes} min"),
        (hours, 0) => format!("{hours} h"),
        (hours, minutes) => format!("{hours} h {minutes} min"),
    };
    format!("in {left} ({})", state.expires.strftime("%H:%M UTC"))
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn a_word_of_a_shell_is_one_word() {
        assert_eq!(quoted("postgres://u@h:1/d"), "postgres://u@h:1/d");
        assert_eq!(quoted("/tmp/sp ü/x"), "'/tmp/sp ü/x'");
        assert_eq!(quoted("it's $HOME"), r"'it'\''s $HOME'");
        assert_eq!(quoted(""), "''");
    }
}
