//! A run in a Kind cluster of its own: its node, how images come into it, and how its ports reach this machine.
//!
//! Modules, each may import those after it: `node`, `coverage`, `images`, `node_archive`, `node_image`, `cluster`, `running_version`, `booted_start`, `booted_node`, `pki`, `ports`, `named`

pub mod booted_node;
pub mod booted_start;
pub mod cluster;
pub mod coverage;
pub mod images;
pub mod named;
pub mod node;
pub mod node_archive;
pub mod node_image;
pub mod pki;
pub mod ports;
pub mod running_version;
