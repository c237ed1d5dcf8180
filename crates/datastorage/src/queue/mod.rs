//! The synced local queue for times when the database is away (D28): bounded, in order, exactly once, poison parked.
//!
//! Modules, each may import those after it: `drain`, `handle`, `disk`, `group`, `stall`

mod disk;
mod drain;
mod group;
mod handle;
mod stall;

pub(crate) use self::disk::{Capacity, Depth, Pushed, Write};
pub(crate) use self::drain::Drain;
pub(crate) use self::handle::Queue;
