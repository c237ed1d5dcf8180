//! Whose rows a team's files are in the ledger: a name that survives other directories of the same last name.

use std::path::Path;

use serde::Deserialize;

use e2e_runner::exit::{Exit, Failure};
use e2e_runner::process::Runner;

/// What a directory of migrations may say of itself.
const FILE: &str = "migrations.toml";
/// The source of the schema that this tool carries.
const OWN: &str = migrations::SOURCE;

/// `migrations.toml`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    source: String,
}

/// The source of the files in `directory`: as given, else as its `migrations.toml` says, else its repository's owner and name and the path in
/// it.
pub fn of(runner: &Runner, directory: &Path, given: Option<&str>) -> Result<String, Failure> {
    let source = match given {
        Some(given) => given.to_owned(),
        None => match written(directory)? {
            Some(written) => written,
            None => in_repository(runner, directory)?,
        },
    };
    if source.trim().is_empty() || source == OWN {
        let what = format!("`{source}` cannot be the source of a team's files");
        return Err(Failure::new(Exit::Usage, what)
            .hint("give --source a name of the team's or the repository's"));
    }
    Ok(source)
}

fn written(directory: &Path) -> Result<Option<String>, Failure> {
    let file = directory.join(FILE);
    let text = match std::fs::read_to_string(&file) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            return Err(Failure::new(
                Exit::Usage,
                format!("{}: {error}", file.display()),
            ));
        }
    };
    let settings: Result<Settings, _> = toml::from_str(&text);
    settings
        .map(|settings| Some(settings.source))
        .map_err(|error| {
            Failure::new(Exit::Usage, format!("{} cannot be read", file.display()))
                .detail(error.to_string())
                .hint("it holds one line: source = \"a name that stays\"")
        })
}

fn in_repository(runner: &Runner, directory: &Path) -> Result<String, Failure> {
    let git = |args: &[&str]| {
        let asked = runner
            .command("git")
            .args(args.iter().copied())
            .dir(directory)
            .read();
        asked
            .ok()
            .map(|answer| answer.trim().to_owned())
            .filter(|answer| !answer.is_empty())
    };
    let found = git(&["rev-parse", "--show-toplevel"]).and_then(|top| {
        let top = Path::new(&top);
        let path = inside(top, directory)?;
        let remote = git(&["config", "--get", "remote.origin.url"]);
        let name = remote.as_deref().and_then(last_names);
        let name = name.or_else(|| Some(top.file_name()?.to_str()?.to_owned()))?;
        Some(
            [name.as_str(), path.as_str()]
                .join("/")
                .trim_end_matches('/')
                .to_owned(),
        )
    });
    found.ok_or_else(|| {
        let what = format!("{} is in no git repository, so nothing says whose migrations these are", directory.display());
        Failure::new(Exit::Usage, what).hint(format!(
            "give --source NAME, or write {FILE} into the directory with the line: source = \"NAME\""
        ))
    })
}

/// The directory's path in the repository; a link keeps the name that it was given by.
fn inside(top: &Path, directory: &Path) -> Option<String> {
    // `..` is no name, and what it leads to depends on the links before it.
    let named = directory
        .components()
        .all(|part| part != std::path::Component::ParentDir);
    let as_given = std::path::absolute(directory).ok().filter(|_| named);
    let as_given = as_given.and_then(|path| Some(path.strip_prefix(top).ok()?.to_owned()));
    let path = match as_given {
        Some(path) => path,
        None => directory
            .canonicalize()
            .ok()?
            .strip_prefix(top)
            .ok()?
            .to_owned(),
    };
    let parts = path.components().map(|part| part.as_os_str().to_str());
    Some(parts.collect::<Option<Vec<_>>>()?.join("/"))
}

/// The repository's owner and name at the end of its address.
fn last_names(address: &str) -> Option<String> {
    let path = address.trim_end_matches('/');
    let path = path.strip_suffix(".git").unwrap_or(path);
    let mut names: Vec<&str> = path
        .rsplit(['/', ':'])
        .filter(|name| !name.is_empty())
        .take(2)
        .collect();
    names.reverse();
    (!names.is_empty()).then(|| names.join("/"))
}

#[cfg(test)]
mod tests {
    use super::last_names;

    #[test]
    fn a_repository_is_called_as_its_address_ends() {
        for address in [
            "git@example.org:team/billing.git",
            "https://example.org/group/team/billing/",
        ] {
            assert_eq!(last_names(address).as_deref(), Some("team/billing"));
        }
    }
}
