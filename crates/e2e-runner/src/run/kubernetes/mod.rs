//! A run in a cluster, its own or another's: objects applied, pods waited for, suites as Jobs, what the cluster knows kept as evidence.
//!
//! What differs between the two is [`site::Site`].
//!
//! Modules, each may import those after it: `deploy`, `job`, `readiness`, `built_in`, `parts`, `sources`, `images`, `relay`, `replicas`, `pods`, `diagnostics`, `apply`, `site`, `endpoints`, `access`, `manifests`, `image_archive`

pub mod access;
pub mod apply;
pub mod built_in;
pub mod deploy;
pub mod diagnostics;
pub mod endpoints;
pub mod image_archive;
pub mod images;
pub mod job;
pub mod manifests;
pub mod parts;
pub mod pods;
pub mod readiness;
pub mod relay;
pub mod replicas;
pub mod site;
pub mod sources;
