//! Many TCP connections over one transport that may be cut: a session that resumes and loses, repeats and reorders no byte.
//!
//! A [`Local`] end takes connections on this machine, a [`Relay`] opens them to `host:port` where it runs; between the two is one
//! transport at a time, a stream of bytes that some dial function gives. When a transport is lost, closed or silent, the local end
//! dials another one, both sides say what they have, and every connection goes on where it was. What a target does to a connection,
//! its client sees: the end of one direction, and a reset.
//!
//! What is sent and not acknowledged is kept, and that is bounded ([`Limits`]): a connection whose bytes find no room is not read. A
//! session whose transport is away for longer than its bound is dropped by both sides, and its connections are reset.
//!
//! The protocol is a value without clock and socket (`session`); `carry`, `pump`, `local` and `relay` are its edges.
//!
//! Modules, each may import those after it: `local`, `relay`, `pump`, `carry`, `hub`, `session`, `handshake`, `frame`, `limits`

mod carry;
mod frame;
mod handshake;
mod hub;
mod limits;
mod local;
mod pump;
mod relay;
mod session;

pub use limits::Limits;
pub use local::{AsyncDial, DialError, Event, Forward, Local};
pub use relay::{Relay, is_ready};
