//! A run in a Kind cluster.
//!
//! Modules, each may import those after it: `deploy`, `job`, `readiness`, `built_in`, `parts`, `coverage`, `sources`, `images`, `node_archive`, `node_image`, `relay`, `replicas`, `pods`, `diagnostics`, `cluster`, `running_version`, `booted_start`, `booted_node`, `pki`, `apply`, `ports`, `access`, `manifests`, `image_archive`

pub mod access;
pub mod apply;
pub mod booted_node;
pub mod booted_start;
pub mod built_in;
pub mod cluster;
pub mod coverage;
pub mod deploy;
pub mod diagnostics;
pub mod image_archive;
pub mod images;
pub mod job;
pub mod manifests;
pub mod node_archive;
pub mod node_image;
pub mod parts;
pub mod pki;
pub mod pods;
pub mod ports;
pub mod readiness;
pub mod relay;
pub mod replicas;
pub mod running_version;
pub mod sources;
