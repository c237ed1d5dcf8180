//! The store from outside: a server that answers as told, real files, real processes.

mod emit;
mod journal;
mod memory;
mod sending;
mod server;
