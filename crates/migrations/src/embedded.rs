//! The files of `migrations/`, and what else makes them this schema: whose rows they are, its role, and what came before.

use std::sync::{Arc, LazyLock};

use migrator::{Catalogue, Error};

include!(concat!(env!("OUT_DIR"), "/files.rs"));

const ROLES: &str = include_str!("../../../migrations/roles.sql");
const SHAPES: &str = include_str!("../../../migrations/schema.json");
const PROFILES: &str = include_str!("../../../migrations/profiles.toml");

/// `source` of the schema's own rows in the ledger (D5).
pub const SOURCE: &str = "kubernaut";
/// The role that Data Storage works as (D31).
pub const ROLE: &str = "datastorage_app";
/// The first half of the locks' keys.
pub(crate) const LOCK_CLASS: i32 = i32::from_be_bytes(*b"KUBE");

/// A table that the earlier library made too.
const TABLE: &str = "audit_events";
/// An object that only the earlier library makes, which keeps no ledger (D19); null without one.
const EARLIER: &str = "SELECT min(relname) FROM pg_class \
WHERE relnamespace = 'public'::regnamespace AND relname ~ '^audit_events_20[0-9][0-9]_[0-9][0-9]$'";

/// The schema's migrations, with their profiles, recorded shapes and role.
pub fn catalogue() -> Arc<Catalogue> {
    static CATALOGUE: LazyLock<Arc<Catalogue>> = LazyLock::new(|| {
        // This crate's tests keep files that contradict each other from being built in.
        Arc::new(read().expect("the embedded migrations agree with each other"))
    });
    Arc::clone(&CATALOGUE)
}

fn read() -> Result<Catalogue, Error> {
    Ok(
        Catalogue::from_files(SOURCE, FILES.iter().copied(), PROFILES)?
            .with_shapes(SHAPES)?
            .with_roles(ROLES)
            .refuse_unmanaged(TABLE, EARLIER),
    )
}
