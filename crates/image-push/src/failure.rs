//! Why an image is not pushed: a kind that a program reads, one line of cause, the next move.

use serde::Serialize;

/// What stands in the way, as the program that asked reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// The request, or the name of the registry, cannot be meant.
    Request,
    /// A file of an image is missing, cut, or not what it says it is.
    BrokenArchive,
    /// A file of credentials, or the program that it names, gives none.
    Credentials,
    /// Nothing answers there.
    Unreachable,
    /// What answers does not prove that it is the registry.
    Untrusted,
    /// What answers is no container registry.
    UnknownRegistry,
    /// The registry wants a repository to be made first.
    UnknownRepository,
    /// The registry knows who asks and does not let them, or does not know them.
    Refused,
    /// No answer in time.
    TimedOut,
    /// The connection broke, each time.
    CutOff,
    /// The registry itself is in trouble.
    RegistryFailed,
}

/// A failure, told to a person and to the program that asked.
#[derive(Debug, PartialEq, Eq, thiserror::Error, Serialize)]
#[error("{what}")]
pub struct Failure {
    /// What stands in the way.
    pub kind: Kind,
    /// The cause in one line, without secrets.
    pub what: String,
    /// The next move.
    pub hint: String,
}

impl Failure {
    /// A failure whose texts are made one line each.
    pub fn new(kind: Kind, what: impl AsRef<str>, hint: impl AsRef<str>) -> Self {
        let line = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        Self {
            kind,
            what: line(what.as_ref()),
            hint: line(hint.as_ref()),
        }
    }
}
