//! A run in a cluster that others use too: it is a guest there, in namespaces of its own or in given ones (D37).
//!
//! Modules, each may import those after it: `expired`, `gone`, `preflight`, `namespaces`, `turn`, `push`, `tunnel`, `shared`, `wide`, `fit`

pub mod expired;
pub mod fit;
pub mod gone;
pub mod namespaces;
pub mod preflight;
pub mod push;
pub mod shared;
pub mod tunnel;
pub mod turn;
pub mod wide;
