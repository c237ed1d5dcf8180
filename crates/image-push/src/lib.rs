//! Pushes images to a container registry without Docker (D38): only what is missing there, named by digest.
//!
//! A program of its own, run by the tool as a process and linked by nothing: an HTTP client with TLS is no part of the tool's build.
//!
//! Modules, each may import those after it: `push`, `client`, `archive`, `credentials`, `address`, `failure`

pub mod address;
pub mod archive;
#[cfg(feature = "registry")]
pub mod client;
pub mod credentials;
pub mod failure;
#[cfg(feature = "registry")]
pub mod push;
