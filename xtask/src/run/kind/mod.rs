//! A run in a Kind cluster.
//!
//! Modules, each may import those after it: deploy, images, node_image, cluster, custom_service, pods, diagnostics, apply, ports, access, manifests, image_archive

mod access;
mod apply;
pub mod cluster;
mod custom_service;
pub mod deploy;
pub mod diagnostics;
mod image_archive;
pub mod images;
mod manifests;
pub mod node_image;
mod pods;
pub mod ports;
