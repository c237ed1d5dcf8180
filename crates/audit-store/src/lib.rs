//! Buffered audit store for emitting services: what [`Store::store`] accepts reaches Data Storage exactly once, whatever stops in between.
//!
//! An event is accepted when it is in a journal that the operating system holds (D32): a full buffer, an absent server or `kill -9` of the
//! process lose nothing. A thread of the store's own reads the journal, sends batches in order and moves a cursor over what is committed; the
//! next start goes on from there. Every event carries a `UUIDv7`, so that Data Storage stores a repeat once (D29).
//!
//! **Invariants:** accepting never waits for the network; memory does not grow with the backlog; one batch is on its way at a time, which keeps
//! the order; the cursor moves only over events that are committed, or parked with their reason.

mod batch;
mod config;
mod error;
mod event;
pub mod events;
mod frame;
mod journal;
mod memory;
mod metrics;
mod parked;
mod report;
mod sender;
mod shared;
mod stamp;
mod store;
mod sync;

pub use config::{Backoff, Config, JournalConfig, Mode, buffer_size};
pub use error::{CloseError, OpenError, StoreError};
pub use event::Event;
pub use journal::{Recovered, unsettled_bytes};
pub use parked::ParkedEvent;
pub use report::Report;
pub use store::Store;
