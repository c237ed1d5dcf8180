//! The audit trail: POST one event or a batch, GET pages.

mod create;
mod query;
mod writer;

pub(crate) use self::create::{batch, single};
pub(crate) use self::query::query;
pub(crate) use self::writer::CommitLane;
pub(crate) use self::writer::Writer;
