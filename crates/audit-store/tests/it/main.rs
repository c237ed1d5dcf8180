//! The store from outside: a server with scripted answers, real files, real processes.

mod access;
mod chaos;
mod incident;
mod journal;
mod memory;
mod metrics;
mod sending;
mod server;
mod service;
