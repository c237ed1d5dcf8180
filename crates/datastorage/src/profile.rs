//! Which tables a profile needs: declared in the file that the migrations go by (D10, D17).

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use crate::tables::TABLES;

/// The declared profiles.
const PROFILES: &str = include_str!("../../../migrations/profiles.toml");

#[derive(Deserialize)]
struct Declared {
    groups: BTreeMap<String, Vec<String>>,
    profiles: BTreeMap<String, Vec<String>>,
}

/// The tables of a profile that this server knows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Requirements {
    tables: Vec<&'static str>,
}

/// A profile or group that is not declared.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("must name profiles or groups of migrations/profiles.toml ({known}), {name:?} is neither")]
pub(crate) struct UnknownProfile {
    name: String,
    known: String,
}

impl Requirements {
    /// What the profiles or groups in `names`, separated by commas, need.
    pub(crate) fn of_profile(names: &str) -> Result<Self, UnknownProfile> {
        let unknown = |name: &str, known: String| UnknownProfile {
            name: name.to_owned(),
            known,
        };
        let declared: Declared =
            toml::from_str(PROFILES).map_err(|error| unknown(names, error.to_string()))?;
        let mut wanted = BTreeSet::new();
        for name in names.split(',').map(str::trim) {
            let own = [name.to_owned()];
            let groups = declared.profiles.get(name).map_or(&own[..], Vec::as_slice);
            for group in groups {
                let Some(tables) = declared.groups.get(group) else {
                    let known: Vec<_> = declared
                        .profiles
                        .keys()
                        .chain(declared.groups.keys())
                        .map(String::as_str)
                        .collect();
                    return Err(unknown(name, known.join(", ")));
                };
                wanted.extend(tables.iter().cloned());
            }
        }
        Ok(Self {
            tables: TABLES
                .iter()
                .map(|(table, _)| *table)
                .filter(|table| wanted.contains(*table))
                .collect(),
        })
    }

    /// The profile's tables, in the order of [`TABLES`].
    pub(crate) fn tables(&self) -> &[&'static str] {
        &self.tables
    }

    /// Whether the profile holds this table.
    pub(crate) fn holds(&self, table: &str) -> bool {
        self.tables.contains(&table)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_a_group_or_several_are_resolved_to_tables() {
        let tables =
            |names: &str| Requirements::of_profile(names).map(|requirements| requirements.tables);
        assert_eq!(tables("audit"), Ok(vec!["audit_events"]));
        assert_eq!(tables("gateway"), Ok(vec!["audit_events"]));
        assert_eq!(
            tables("aianalysis"),
            Ok(vec!["audit_events", "remediation_workflow_catalog"])
        );
        assert_eq!(
            tables("audit, notification-audit"),
            Ok(vec!["audit_events", "notification_audit"])
        );
        let message = tables("nosuch").expect_err("unknown").to_string();
        assert!(
            message.contains("nosuch") && message.contains("aianalysis"),
            "{message}"
        );
    }
}
