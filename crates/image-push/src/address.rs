//! The registry that images go to, as a person names it: `HOST[:PORT][/PREFIX]`.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use crate::failure::{Failure, Kind};

/// The registry that needs no name in most tools, and whose host for pushes has another one.
const DOCKER_HUB: &str = "docker.io";
/// What files of credentials call it.
const DOCKER_HUB_ACCOUNT: &str = concat!("https://index.", "docker.io", "/v1/");

/// A registry, with what stands before the names of all repositories there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registry {
    /// `HOST[:PORT]`.
    pub host: String,
    /// The path that the names of repositories begin with; empty for none.
    pub prefix: String,
}

impl Registry {
    /// The whole name of a repository, without the host.
    pub fn repository(&self, name: &str) -> Result<String, Failure> {
        let whole = if self.prefix.is_empty() {
            name.to_owned()
        } else {
            format!("{}/{name}", self.prefix)
        };
        if whole.len() > 255 || !whole.split('/').all(is_component) {
            return Err(Failure::new(
                Kind::Request,
                format!("`{whole}` is no name of a repository"),
                "use lower-case letters, digits, and single `.`, `_`, `-` between them",
            ));
        }
        Ok(whole)
    }

    /// Whether the registry is on this machine, where nobody listens in between.
    pub fn is_loopback(&self) -> bool {
        let name = match self.host.rsplit_once(':') {
            Some((name, port)) if !name.is_empty() && port.parse::<u16>().is_ok() => name,
            _ => &self.host,
        };
        let name = name.trim_start_matches('[').trim_end_matches(']');
        name == "localhost"
            || name
                .parse::<IpAddr>()
                .is_ok_and(|address| address.is_loopback())
    }

    /// The name under which files of credentials keep those of this registry.
    pub fn server(&self) -> &str {
        if self.host == DOCKER_HUB {
            DOCKER_HUB_ACCOUNT
        } else {
            &self.host
        }
    }
}

/// A part of a repository's name between slashes (OCI distribution specification, "Pulling manifests").
fn is_component(part: &str) -> bool {
    let separator = |c: char| ['.', '_', '-'].contains(&c);
    !part.is_empty()
        && !part.starts_with(separator)
        && !part.ends_with(separator)
        && part
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || separator(c))
}

impl FromStr for Registry {
    type Err = Failure;

    fn from_str(text: &str) -> Result<Self, Failure> {
        let wrong = |why: &str| {
            Failure::new(
                Kind::Request,
                format!("the registry {why}"),
                "name it as HOST[:PORT][/PREFIX], as in registry.example/team or localhost:5000",
            )
        };
        if text.contains('@') {
            // A name and a password may stand before it: the text is not repeated.
            return Err(wrong(
                "holds an `@`: credentials come from docker's or podman's own file",
            ));
        }
        if text.contains("://") {
            return Err(wrong(&format!("`{text}` begins with a scheme")));
        }
        let text = text.trim_end_matches('/');
        let (host, prefix) = text.split_once('/').unwrap_or((text, ""));
        if host != "localhost" && !host.contains(['.', ':']) {
            return Err(wrong(&format!("`{text}` names no host")));
        }
        let allowed = |c: char| c.is_ascii_alphanumeric() || ".-_:[]".contains(c);
        if !host.chars().all(allowed) {
            return Err(wrong(&format!(
                "`{text}` has a host that is no host's name"
            )));
        }
        let registry = Self {
            host: host.to_owned(),
            prefix: prefix.to_owned(),
        };
        if !prefix.is_empty() {
            registry.repository("x")?;
        }
        Ok(registry)
    }
}

impl fmt::Display for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.host)?;
        if !self.prefix.is_empty() {
            write!(f, "/{}", self.prefix)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registry(text: &str) -> Registry {
        text.parse().expect("a registry")
    }

    #[test]
    fn a_registry_is_a_host_and_what_names_begin_with() {
        let team = registry("registry.example/team/e2e/");
        assert_eq!(
            (&*team.host, &*team.prefix),
            ("registry.example", "team/e2e")
        );
        assert_eq!(
            team.repository("datastorage"),
            Ok("team/e2e/datastorage".to_owned())
        );
        assert_eq!(
            registry("localhost:5000").repository("a"),
            Ok("a".to_owned())
        );
        assert_eq!(registry("docker.io/me").server(), DOCKER_HUB_ACCOUNT);
    }

    #[test]
    fn only_this_machine_is_loopback() {
        for host in [
            "localhost",
            "localhost:5000",
            "127.0.0.1:1",
            "127.9.9.9:1",
            "[::1]:5000",
        ] {
            assert!(registry(host).is_loopback(), "{host}");
        }
        for host in [
            "registry.example",
            "localhost.example.org",
            "10.0.0.1:5000",
            "127.example.org",
        ] {
            assert!(!registry(host).is_loopback(), "{host}");
        }
    }

    #[test]
    fn what_is_no_registry_is_refused_and_a_password_in_it_is_not_repeated() {
        for text in [
            "team",
            "https://registry.example/team",
            "registry.example/Team",
            "registry.example/-x",
            "gh cr.io",
            "",
        ] {
            let failure = text.parse::<Registry>().expect_err(text);
            assert_eq!(failure.kind, Kind::Request, "{text}");
        }
        let failure = "me:s3cret@registry.example"
            .parse::<Registry>()
            .expect_err("it has a password");
        assert!(!failure.what.contains("s3cret"), "{failure}");
        assert!(registry("registry.example").repository("Upper").is_err());
    }
}
