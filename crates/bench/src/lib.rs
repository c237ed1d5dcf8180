//! What several benchmarks share.
//!
//! Modules, each may import those after it: `plot`, `readme`, `history`, `row`, `rest`, `processor`, `disk`, `tool`, `goose`

pub mod disk;
pub mod goose;
pub mod history;
pub mod plot;
pub mod processor;
pub mod readme;
pub mod rest;
pub mod row;
pub mod tool;
