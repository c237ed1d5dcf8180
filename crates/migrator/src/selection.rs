//! What a caller asks for: profiles, groups, tables and other objects, or everything.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use crate::error::{CatalogueError, Error};

/// What to apply: profiles, groups, tables, or everything.
///
/// The default is everything, as the library's callers expect of an empty list of tables.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    pub(crate) profiles: Vec<String>,
    pub(crate) tables: Vec<String>,
}

impl Selection {
    /// Every migration of the catalogue.
    pub fn all() -> Self {
        Self::default()
    }

    /// A profile, or a group; `all` is a group too.
    pub fn profile(name: impl Into<String>) -> Self {
        Self::default().and_profile(name)
    }

    /// Tables by their names or aliases, or other objects of the schema; an empty list means everything.
    pub fn tables<I: IntoIterator<Item: Into<String>>>(names: I) -> Self {
        Self {
            profiles: Vec::new(),
            tables: names.into_iter().map(Into::into).collect(),
        }
    }

    /// Adds a profile or group.
    #[must_use]
    pub fn and_profile(mut self, name: impl Into<String>) -> Self {
        self.profiles.push(name.into());
        self
    }

    /// Adds tables, or other objects by their names.
    #[must_use]
    pub fn and_tables<I: IntoIterator<Item: Into<String>>>(mut self, names: I) -> Self {
        self.tables.extend(names.into_iter().map(Into::into));
        self
    }
}

impl std::fmt::Display for Selection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<&str> = self
            .profiles
            .iter()
            .chain(&self.tables)
            .map(String::as_str)
            .collect();
        f.write_str(if names.is_empty() { "all" } else { "" })?;
        f.write_str(&names.join(","))
    }
}

/// `profiles.toml`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Profiles {
    #[serde(default)]
    groups: BTreeMap<String, Vec<String>>,
    #[serde(default, rename = "profiles")]
    services: BTreeMap<String, Vec<String>>,
    #[serde(default)]
    aliases: BTreeMap<String, String>,
}

/// The group of every object; it needs no line in the file.
const ALL: &str = "all";

impl Profiles {
    pub(crate) fn parse(text: &str) -> Result<Self, Error> {
        toml::from_str(text)
            .map_err(|error| CatalogueError::new("profiles.toml", error.to_string()).into())
    }

    /// Every object and group that the file names exists.
    pub(crate) fn check(&self, objects: &BTreeSet<&str>) -> Result<(), Error> {
        let invalid = |reason: String| Error::from(CatalogueError::new("profiles.toml", reason));
        for (group, members) in &self.groups {
            if let Some(unknown) = members.iter().find(|name| !objects.contains(name.as_str())) {
                return Err(invalid(format!(
                    "group `{group}` names `{unknown}`, which no migration provides"
                )));
            }
        }
        for (profile, groups) in &self.services {
            if let Some(unknown) = groups
                .iter()
                .find(|group| !self.groups.contains_key(*group) && *group != ALL)
            {
                return Err(invalid(format!(
                    "profile `{profile}` names group `{unknown}`, which does not exist"
                )));
            }
            if self.groups.contains_key(profile) {
                return Err(invalid(format!(
                    "`{profile}` is both a profile and a group"
                )));
            }
        }
        Ok(())
    }

    /// Every alias stands for something that `is_known`.
    pub(crate) fn check_aliases(&self, is_known: impl Fn(&str) -> bool) -> Result<(), Error> {
        match self.aliases.iter().find(|(_, real)| !is_known(real)) {
            None => Ok(()),
            Some((alias, real)) => Err(CatalogueError::new(
                "profiles.toml",
                format!("alias `{alias}` stands for `{real}`, which no migration makes"),
            )
            .into()),
        }
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.services
            .keys()
            .chain(self.groups.keys())
            .map(String::as_str)
            .chain([ALL])
    }

    /// The name that this project uses for `name`.
    pub(crate) fn real_name<'a>(&'a self, name: &'a str) -> &'a str {
        self.aliases.get(name).map_or(name, String::as_str)
    }

    /// Objects of a profile or group; `None` means every one.
    pub(crate) fn roots(&self, name: &str) -> Result<Option<Vec<&str>>, Error> {
        let groups: Vec<&str> = match self.services.get(name) {
            Some(groups) => groups.iter().map(String::as_str).collect(),
            None => vec![name],
        };
        let mut objects = Vec::new();
        for group in groups {
            match self.groups.get(group) {
                Some(members) => objects.extend(members.iter().map(String::as_str)),
                None if group == ALL => return Ok(None),
                None => {
                    let known = self.names().map(str::to_owned).collect();
                    return Err(Error::UnknownProfile {
                        name: name.to_owned(),
                        known,
                    });
                }
            }
        }
        Ok(Some(objects))
    }
}
