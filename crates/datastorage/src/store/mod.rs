//! PostgreSQL: the only module that holds SQL (D2).
//!
//! Every call waits a bounded time and answers with a [`StoreError`] that says whether the database is away, lacks a part of
//! the schema, or refuses the data.
//!
//! Modules, each may import those after it: `workflows`, `notifications`, `traces`, `query`, `events`, `schema`, `partitions`, `list`, `access`, `pools`, `session`, `copy`, `error`, `transaction`

mod access;
mod copy;
mod error;
mod events;
mod list;
mod notifications;
mod partitions;
mod pools;
mod query;
mod schema;
mod session;
mod traces;
mod transaction;
mod workflows;

pub(crate) use self::access::Store;
pub(crate) use self::error::StoreError;
pub(crate) use self::events::{Group, Inserted};
pub(crate) use self::notifications::Recorded;
pub(crate) use self::pools::{Lane, PoolConnections};
pub(crate) use self::query::{EventFilter, Position};
pub(crate) use self::traces::{Counts, IncidentFilter, RateFilter};
pub(crate) use self::workflows::{
    Candidate, ChangedWorkflow, Found, WorkflowChange, WorkflowFilter, WorkflowRow,
};
