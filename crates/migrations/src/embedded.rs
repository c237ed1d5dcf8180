//! The texts of `migrations/` that this crate carries.

include!(concat!(env!("OUT_DIR"), "/files.rs"));

/// DDL of the ledger, run inside the lock.
pub(crate) const LEDGER: &str = include_str!("../../../migrations/ledger.sql");
/// Roles of the whole server (D31).
pub(crate) const ROLES: &str = include_str!("../../../migrations/roles.sql");
pub(crate) const SHAPES: &str = include_str!("../../../migrations/schema.json");
pub(crate) const PROFILES: &str = include_str!("../../../migrations/profiles.toml");
/// `source` of the schema's own rows in the ledger (D5).
pub const SOURCE: &str = "kubernaut";
/// The role that Data Storage works as.
pub(crate) const ROLE: &str = "datastorage_app";
