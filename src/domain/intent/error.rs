//! What can be wrong with an author's annotations.

use thiserror::Error;

/// Why the annotations cannot be followed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum IntentError {
    /// A value outside the allowed ones.
    #[error("annotation {key} has the value {value:?}: allowed are {allowed}; correct it and apply again")]
    BadValue {
        /// The annotation.
        key: &'static str,
        /// Its value, as the author wrote it.
        value: String,
        /// What may stand there.
        allowed: &'static str,
    },
    /// A name that is no container of the pod.
    #[error(
        "annotation {key} names container {name:?}, which the pod does not have: it has {known}; name one of those and apply again"
    )]
    UnknownContainer {
        /// The annotation.
        key: &'static str,
        /// The unknown name.
        name: String,
        /// The names that exist.
        known: String,
    },
    /// Nothing to lock.
    #[error(
        "the pod has no containers, so there is no daemon whose memory could be locked; add one to spec.containers and apply again"
    )]
    NoContainers,
}

impl IntentError {
    /// A bounded word for logs and audit annotations.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::BadValue { .. } => "InvalidAnnotation",
            Self::UnknownContainer { .. } => "UnknownContainer",
            Self::NoContainers => "NoContainers",
        }
    }
}
