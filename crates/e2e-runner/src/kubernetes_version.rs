//! Versions of Kubernetes, as people ask for them and as images and servers name them.

use std::fmt;
use std::str::FromStr;

/// `1.34`, or with its patch version `1.34.4`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// The minor version.
    pub minor: u32,
    /// The patch version; none where any will do.
    pub patch: Option<u32>,
}

impl FromStr for Version {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "write a version of Kubernetes, such as 1.34 or 1.34.4".to_owned();
        let digits = text.strip_prefix('v').unwrap_or(text);
        let numbers: Option<Vec<u32>> = digits
            .split('.')
            .map(|number| {
                let is_plain = number == "0" || !number.starts_with(['0', '+']);
                number.parse().ok().filter(|_| is_plain)
            })
            .collect();
        match numbers.as_deref() {
            Some([1, minor]) => Ok(Self {
                minor: *minor,
                patch: None,
            }),
            Some([1, minor, patch]) => Ok(Self {
                minor: *minor,
                patch: Some(*patch),
            }),
            _ => Err(wrong()),
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "1.{}", self.minor)?;
        self.patch.map_or(Ok(()), |patch| write!(f, ".{patch}"))
    }
}

impl Version {
    /// The same without a patch version.
    #[must_use]
    pub const fn of_minor(self) -> Self {
        Self {
            patch: None,
            ..self
        }
    }

    /// Whether what is of another version, named whole, is what is asked for.
    pub fn is_met_by(self, other: Self) -> bool {
        self.minor == other.minor && self.patch.is_none_or(|patch| other.patch == Some(patch))
    }

    /// The version that a server or a tag tells, such as `v1.34.4` or `v1.34.4-gke.1`.
    pub fn told(text: &str) -> Option<Self> {
        let digits = text.strip_prefix('v').unwrap_or(text);
        let end = digits
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(digits.len());
        let version: Self = digits[..end].parse().ok()?;
        version.patch.map(|_| version)
    }

    /// The version that the tag of an image tells.
    pub fn of_image(image: &str) -> Option<Self> {
        let name = image.split('@').next()?;
        let (_, tag) = name.rsplit('/').next()?.split_once(':')?;
        Self::told(tag)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_read_as_people_servers_and_images_write_it() {
        let version = |text: &str| text.parse::<Version>().expect("a version");
        assert_eq!(version("v1.34").to_string(), "1.34");
        assert_eq!(version("1.34.4").to_string(), "1.34.4");
        for wrong in ["2.0", "1", "1.", "1.34.x", "1.034", "1.+3", "", "1.34.4.1"] {
            assert!(wrong.parse::<Version>().is_err(), "{wrong}");
        }
        assert_eq!(Version::told("v1.34.4-gke.1"), Some(version("1.34.4")));
        assert_eq!(
            Version::of_image("host:5000/kindest/node:v1.32.8@sha256:00"),
            Some(version("1.32.8"))
        );
        assert_eq!(Version::of_image("host:5000/node"), None);
        assert_eq!(Version::of_image("node:latest"), None);
    }

    #[test]
    fn any_patch_version_is_what_a_minor_version_asks_for() {
        let version = |text: &str| text.parse::<Version>().expect("a version");
        assert!(version("1.34").is_met_by(version("1.34.4")));
        assert!(version("1.34.4").is_met_by(version("1.34.4")));
        assert!(!version("1.34.5").is_met_by(version("1.34.4")));
        assert!(!version("1.3").is_met_by(version("1.34.4")));
    }
}
