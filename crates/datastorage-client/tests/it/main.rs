//! The client against a server that answers as told, and against Data Storage itself.

mod answers;
mod service;
