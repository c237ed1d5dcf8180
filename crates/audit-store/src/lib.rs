//! Buffered audit store for emitting services: what [`Store::store`] accepts reaches Data Storage exactly once, whatever stops in between.
//!
//! An event is accepted when it is in a journal that the operating system holds (D32): a full buffer, an absent server or `kill -9` of the
//! process lose nothing. A thread of the store's own reads the journal, sends batches in order and moves a cursor over what is committed; the
//! next start goes on from there. Every event carries a `UUIDv7`, so that Data Storage stores a repeat once (D29).
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use audit_store::events::workflowexecution::{self, Execution};
//! use audit_store::{Config, Store};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let config = Config::for_service("workflowexecution", "/var/lib/audit");
//! let store = Store::open("http://datastorage:8080", config)?;
//! let execution = Execution {
//!     execution_name: "restart-checkout".to_owned(),
//!     ..Execution::default()
//! };
//! store.store(workflowexecution::started(None, &execution))?;
//! let report = store.close(Duration::from_secs(10)).await?;
//! assert!(report.is_complete());
//! # Ok(())
//! # }
//! ```
//!
//! What is lost when, of events that were accepted (tests in `tests/it`, and of `audit-emit` in its own):
//!
//! | what happens | lost | test |
//! |---|---|---|
//! | the process is killed | nothing | `audit-emit: emit::what_a_killed_process_accepted_is_stored_exactly_once_by_the_next` |
//! | Data Storage is away, the process killed meanwhile | nothing | `audit-emit: outage::no_event_is_lost_or_doubled_when_the_server_is_away_and_the_emitter_is_killed` |
//! | PostgreSQL is killed | nothing | `audit-emit: outage::events_that_data_storage_queued_while_its_database_was_killed_are_stored_exactly_once` |
//! | the network delays, cuts, resets | nothing | `chaos::nothing_is_lost_or_doubled_on_a_way_that_delays_cuts_resets_and_fails_at_random` |
//! | a proxy, a captive portal or another server answers in its place | nothing: only the 201 for the same events settles them | `sending::no_answer_but_the_201_for_the_same_events_makes_the_store_forget_them` |
//! | Data Storage does not let the store in (401, 403) | nothing: it waits, says so, and is sent once the token or certificate is mended | `access::events_wait_while_the_store_is_not_let_in_and_are_sent_once_its_token_is_mended` |
//! | tables or partitions are missing | nothing | `incident::missing_and_reverted_migrations_and_a_missing_partition_are_three_named_errors_and_lose_nothing` |
//! | the disk is full | nothing: further events are refused | `audit-emit: emit::on_a_full_disk_events_are_refused_and_what_was_accepted_is_stored_later` |
//! | Data Storage refuses an event | nothing: it is parked | `sending::one_bad_event_is_parked_with_its_reason_and_the_rest_is_stored` |
//! | a clock was ahead, here or there | nothing: what is refused for a time ahead is sent again until its time comes; beyond a day it is parked | `sending::an_event_whose_time_is_ahead_is_sent_again_until_its_time_comes_and_keeps_its_place` |
//! | Data Storage stays away into the second month after an event | nothing: it is too old by then, parked, and counted in [`Report::too_old`] | `sending::events_that_grew_too_old_while_they_waited_are_parked_and_counted_as_such` |
//! | the disk damages a part of the journal | the events in it, counted as lost; the file is kept while there is space | `journal::a_damaged_event_costs_itself_and_its_file_is_kept_as_evidence` |
//! | somebody removes a file of the journal | the events in it; told and counted, unless it was the last file of a store that is not running | `journal::a_file_of_events_that_was_removed_between_two_starts_is_told_and_counted` |
//! | the machine crashes | the last 10 ms, unless [`Store::durable`] returned | by construction of `fsync` |
//! | the journal's directory is deleted, with its pod for example | what waits in it | |
//! | a memory-only store ends | what waits in it, counted | `memory::a_full_buffer_refuses_events_and_a_close_counts_the_lost` |
//!
//! Where Data Storage asks who calls, [`Config::access`] names the files of a token or a client certificate; they are read again when they
//! change. While the store is not let in (401, 403) everything waits in the journal, [`Report::blocked_by`] says what to mend, and the metric
//! `audit_access_refused` is 1.
//!
//! **Invariants:** accepting never waits for the network; memory does not grow with the backlog; one batch is on its way at a time, which keeps
//! the order; the cursor moves only over events that are committed, or parked with their reason.
//!
//! Modules, each may import those after it: `store`, `sender`, `recovery`, `sync`, `shared`, `memory`, `metrics`, `parked`, `batch`, `journal`, `frame`, `stamp`, `error`, `report`, `config`, `events`, `event`

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
mod recovery;
mod report;
mod sender;
mod shared;
mod stamp;
mod store;
mod sync;

pub use datastorage_client::Access;

pub use config::{Backoff, Config, JournalConfig, Mode, buffer_size};
pub use error::{CloseError, OpenError, StoreError};
pub use event::Event;
pub use journal::{Recovered, unsettled_bytes};
pub use parked::ParkedEvent;
pub use report::Report;
pub use store::Store;
