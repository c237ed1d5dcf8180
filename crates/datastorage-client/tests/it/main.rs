//! The client against a server that answers as told.

mod answers;
