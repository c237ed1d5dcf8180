//! The limits of the contract, equal to those of the columns: whatever is accepted can be stored.

use jiff::SignedDuration;

/// Characters of `version` (column `event_version`).
pub const VERSION: usize = 10;
/// Characters of `event_type`.
pub const EVENT_TYPE: usize = 100;
/// Characters of `event_action`.
pub const EVENT_ACTION: usize = 50;
/// Characters of `correlation_id`.
pub const CORRELATION_ID: usize = 255;
/// Characters of `actor_type`.
pub const ACTOR_TYPE: usize = 50;
/// Characters of `actor_id`.
pub const ACTOR_ID: usize = 255;
/// Characters of `resource_type`.
pub const RESOURCE_TYPE: usize = 100;
/// Characters of `resource_id`.
pub const RESOURCE_ID: usize = 255;
/// Characters of `namespace`.
pub const NAMESPACE: usize = 253;
/// Characters of `cluster_name`.
pub const CLUSTER_NAME: usize = 255;
/// Characters of `severity`.
pub const SEVERITY: usize = 20;

/// Levels of nesting in `event_data`; PostgreSQL's parser is recursive and bounded by its stack.
pub const EVENT_DATA_DEPTH: usize = 128;
/// Digits of a number in a free object as it is written, without its exponent. PostgreSQL's numeric ends at 131,072 before and 16,383
/// after the point (manual, 8.1.2).
pub const NUMBER_DIGITS: usize = 15_000;
/// Least and greatest exponent of a number in a free object: those of a double, so that every double can be written.
pub const NUMBER_EXPONENT: (i64, i64) = (-324, 308);
/// Digits that the exponents in one free object stand for in all: jsonb writes them out, so that a body of 80 kB could be read as
/// 160 MB.
pub const EXPANSION: i64 = 1_000_000;

/// Events in one batch.
pub const BATCH_EVENTS: usize = 10_000;

/// How far ahead of the server's clock an event may be.
pub const FUTURE: SignedDuration = SignedDuration::from_mins(5);
/// How old an event without an `event_id` may be; with one, see [`crate::time::oldest_accepted`].
pub const AGE: SignedDuration = SignedDuration::from_hours(7 * 24);

/// Events in one page of a query.
pub const PAGE: i32 = 1000;
/// Events in one page of a query that names no limit.
pub const DEFAULT_PAGE: i32 = 50;
/// Bytes of the events in one page, in PostgreSQL's text form, that a page ends at; one that is larger comes alone.
pub const PAGE_BYTES: usize = 2 << 20;
/// Workflow versions in one page of a list that names no limit; at most [`PAGE`].
pub const DEFAULT_WORKFLOWS: i32 = 100;
/// Characters of `workflow_name`.
pub const WORKFLOW_NAME: usize = 255;
