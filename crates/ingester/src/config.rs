//! What an ingester is told.

use std::path::PathBuf;

use model::quantity::{ByteSize, DurationMs};
use tsdb::wal::FsyncPolicy;

/// Where and how an ingester keeps its data.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The directory that holds everything.
    pub data_dir: PathBuf,
    /// When a write counts as durable.
    pub fsync: FsyncPolicy,
    /// Size at which a new segment of the log is begun.
    pub segment_size: ByteSize,
    /// Free disk space below which writes are refused.
    pub min_free_space: ByteSize,
    /// How long the range of time is that becomes a block.
    pub block_duration: DurationMs,
    /// How long a block stays on this disk once it is committed.
    pub local_block_retention: DurationMs,
    /// Time between two snapshots of the heads: a restart replays at most about as much.
    pub snapshot_interval: DurationMs,
}
