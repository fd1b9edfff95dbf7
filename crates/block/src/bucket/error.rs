//! Why a bucket did not do what it was asked.

use model::error::ErrorKind;

use super::Operation;

/// Why a request failed.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct BucketError {
    kind: ErrorKind,
    message: String,
}

impl BucketError {
    /// What kind of failure it is: `NotFound` where there is no such object.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Whether there is no such object.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.kind == ErrorKind::NotFound
    }

    pub(super) fn config(message: String) -> Self {
        Self {
            kind: ErrorKind::Invalid,
            message,
        }
    }

    pub(super) fn damaged(operation: Operation, key: &str, what: String) -> Self {
        Self::of(ErrorKind::Corrupt, operation, key, &what)
    }

    pub(super) fn of(kind: ErrorKind, operation: Operation, key: &str, what: &str) -> Self {
        Self {
            kind,
            message: format!("bucket: {} of {key:?} failed: {what}", operation.name()),
        }
    }
}

impl From<BucketError> for std::io::Error {
    fn from(error: BucketError) -> Self {
        let kind = match error.kind {
            ErrorKind::NotFound => std::io::ErrorKind::NotFound,
            ErrorKind::Corrupt => std::io::ErrorKind::UnexpectedEof,
            _ => std::io::ErrorKind::Other,
        };
        Self::new(kind, error)
    }
}
