//! Why the log refuses.

use std::io;
use std::path::{Path, PathBuf};

use model::ErrorKind;

/// Why the log cannot be opened, cut, truncated or replayed.
#[derive(Debug, thiserror::Error)]
pub enum WalError {
    /// A size is out of its bounds.
    #[error("a size of the write-ahead log's configuration is out of bounds")]
    Config,
    /// The file system said no.
    #[error("write-ahead log {path}: {source}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// The log has failed before; see [`Wal::is_poisoned`](super::Wal::is_poisoned).
    #[error("the write-ahead log has failed, a restart is needed")]
    Poisoned,
    /// There is no room for a new segment.
    #[error("no room for the write-ahead log: {free_bytes} bytes are free")]
    DiskFull {
        /// Free bytes.
        free_bytes: u64,
    },
}

impl WalError {
    /// Says which file an error is about.
    pub(super) fn at(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { path, source }
    }
}

/// Why a record is not in the log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    /// There is too little room. The log goes on by itself once there is more.
    #[error("no room for the write-ahead log: {free_bytes} bytes are free")]
    DiskFull {
        /// Free bytes when that was found.
        free_bytes: u64,
    },
    /// A write or a sync failed, now or before: nobody knows what is durable until the log has
    /// been replayed, so that the process has to restart.
    #[error("the write-ahead log has failed, a restart is needed")]
    Failed,
    /// The payload is larger than the limit.
    #[error("record of {bytes} bytes, the limit of the write-ahead log is {limit}")]
    TooLarge {
        /// Bytes of the payload.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// More waits for the disk than is allowed.
    #[error("{pending_bytes} bytes wait for the disk already")]
    Busy {
        /// Bytes that wait.
        pending_bytes: usize,
    },
}

impl CommitError {
    /// What a caller may make of it.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::TooLarge { .. } => ErrorKind::Invalid,
            Self::DiskFull { .. } | Self::Failed | Self::Busy { .. } => ErrorKind::Unavailable,
        }
    }
}
