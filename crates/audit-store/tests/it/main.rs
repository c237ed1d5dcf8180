//! The store from outside: a server that answers as told, real files, real processes.

mod chaos;
mod emit;
mod incident;
mod journal;
mod memory;
mod metrics;
mod outage;
mod sending;
mod server;
mod service;
