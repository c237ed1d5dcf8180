//! The client against a server with scripted answers, and against Data Storage itself.

mod access;
mod answers;
mod service;
