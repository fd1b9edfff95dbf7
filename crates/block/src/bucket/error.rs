//! Why a bucket did not do what it was asked.

use model::error::ErrorKind;

use super::Operation;

/// Why a request failed.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct BucketError {
    kind: ErrorKind,
    denied: bool,
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

    /// Whether the keys or the policy of the bucket do not allow it.
    #[must_use]
    pub fn is_denied(&self) -> bool {
        self.denied
    }

    pub(super) fn config(message: String) -> Self {
        Self {
            kind: ErrorKind::Invalid,
            denied: false,
            message,
        }
    }

    /// The failure of an operation on a key of a bucket, described as in logs.
    pub(super) fn of(
        kind: ErrorKind,
        bucket: &str,
        operation: Operation,
        key: &str,
        what: &str,
    ) -> Self {
        let operation = operation.name();
        Self {
            kind,
            denied: false,
            message: format!("bucket {bucket}: {operation} of {key:?} failed: {what}"),
        }
    }

    /// The same, where access is denied: it may be given back while the process runs.
    pub(super) fn denied(bucket: &str, operation: Operation, key: &str, what: &str) -> Self {
        let what = format!("access is denied; check the keys and the policy of the bucket: {what}");
        Self {
            denied: true,
            ..Self::of(ErrorKind::Unavailable, bucket, operation, key, &what)
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
