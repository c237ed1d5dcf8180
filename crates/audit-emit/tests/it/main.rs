//! The program from outside: real processes, real kills, a scripted Data Storage and the real one.

mod emit;
mod outage;
mod relay;

// What the store's own tests use as well; each takes a part of it.
#[expect(dead_code, reason = "the store's tests use the rest")]
#[path = "../../../audit-store/tests/it/server.rs"]
mod server;
#[path = "../../../audit-store/tests/it/service.rs"]
mod service;
