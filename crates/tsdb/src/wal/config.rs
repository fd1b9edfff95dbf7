//! How the log behaves.

use std::path::PathBuf;
use std::time::Duration;

use super::WalError;

/// When a record is durable enough to acknowledge it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FsyncPolicy {
    /// Once it is synced: survives a power loss.
    Always,
    /// Once it is written, with a sync at this interval: survives the death of the process, but
    /// a power loss takes up to this much.
    Interval(Duration),
}

/// How the log behaves.
#[derive(Clone, Debug)]
pub struct WalConfig {
    /// Where its files are.
    pub dir: PathBuf,
    /// Size at which a new segment is begun, in bytes; at most 1 GiB.
    pub segment_bytes: u64,
    /// When a record counts as durable.
    pub fsync: FsyncPolicy,
    /// Free space of the file system below which writes are refused, in bytes.
    pub min_free_bytes: u64,
    /// The largest payload of one record, in bytes; at most 256 MiB.
    pub max_record_bytes: usize,
    /// Compressed bytes that may wait for the disk; writers beyond are refused. At most 1 GiB.
    pub max_pending_bytes: usize,
}

impl WalConfig {
    /// The defaults, for a directory.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            segment_bytes: 128 << 20,
            fsync: FsyncPolicy::Always,
            min_free_bytes: 256 << 20,
            max_record_bytes: 64 << 20,
            max_pending_bytes: 64 << 20,
        }
    }

    /// Whether all sizes are within their bounds.
    pub(super) fn check(&self) -> Result<(), WalError> {
        let fits = self.segment_bytes <= 1 << 30
            && self.max_record_bytes <= 256 << 20
            && self.max_pending_bytes <= 1 << 30;
        if fits { Ok(()) } else { Err(WalError::Config) }
    }
}
