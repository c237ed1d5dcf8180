//! The synced local queue for times when the database is away (D28): bounded, in order, exactly once, poison parked.
//!
//! Modules, each may import those after it: `drain`, `handle`, `disk`, `entry`, `repeat`, `group`, `stall`

mod disk;
mod drain;
mod entry;
mod group;
mod handle;
mod repeat;
mod stall;

pub(crate) use self::disk::{Capacity, Depth, Pushed};
pub(crate) use self::drain::Drain;
pub(crate) use self::entry::Write;
pub(crate) use self::handle::{Faults, Queue};
