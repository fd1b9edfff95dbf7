//! All heads of a process and the one write-ahead log beneath them.
//!
//! A write goes: series found or made → log record encoded → durable → samples appended. That
//! order means that what a head holds is in the log, so that a duplicate of a sample may be
//! acknowledged for the sample's sake, and that a failed log write leaves nothing behind.

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam::queue::ArrayQueue;
use dashmap::DashMap;
use model::error::ErrorKind;
use model::limits::Limits;
use model::tenant::TenantId;
use model::time::{Clock, TimestampMs};
use model::write::{LabelSource, WriteBatch, WriteOutcome};
use parking_lot::{Mutex, RwLock};

use crate::chunk_files::ChunkFiles;
use crate::disk::{Disk, DiskLock};
use crate::head::TenantHead;
use crate::head::append::{AppendTimes, ResolvedRows, log_batch};
use crate::head::cut::{Cut, CutMark};
use crate::head::truncate::Truncated;
use crate::wal::record::RecordEncoder;
use crate::wal::{self, CommitError, Wal, WalConfig, WalError};

mod open;
#[cfg(test)]
pub(crate) mod tests;
mod snapshot;
#[cfg(test)]
mod cut_tests;

pub use open::{OpenDeps, OpenProgress, OpenReport};

/// Record kind of a write in the log.
pub(crate) const WRITE_RECORD: wal::RecordKind = wal::RecordKind(1);
/// Scratch space kept for this many appends at once.
const SCRATCH: usize = 64;
/// Rows and bytes that scratch space is kept for; what a larger batch took is given back.
const SCRATCH_ROWS: usize = 10_000;
const SCRATCH_BYTES: usize = 4 << 20;
/// Heads there may be: each is some kilobytes, and anyone who may name a tenant makes one.
const MAX_TENANTS: usize = 100_000;

/// Looks up a tenant's limits.
pub type LimitsOf = Arc<dyn Fn(&TenantId) -> Arc<Limits> + Send + Sync>;

/// How a store keeps its data.
#[derive(Clone, Debug)]
pub struct StoreConfig {
    /// Where everything lies: `wal/`, `chunks/` and head snapshots.
    pub dir: PathBuf,
    /// The log.
    pub wal: WalConfig,
    /// How long the ranges of time are that become a block each, in milliseconds.
    pub block_range_ms: i64,
}

/// The heads of all tenants, durable on this machine's disk.
pub struct Store {
    config: StoreConfig,
    disk: Arc<dyn Disk>,
    clock: Arc<dyn Clock>,
    limits: LimitsOf,
    tenants: DashMap<TenantId, Arc<TenantHead>>,
    files: Arc<ChunkFiles>,
    wal: Wal,
    /// Held for reading by each append from before its log record until it is applied.
    appends: RwLock<()>,
    /// One pass of truncation or snapshot at a time.
    maintenance: Mutex<()>,
    /// Files that wait for readers before they are removed.
    unused: Mutex<Option<Unused>>,
    _lock: DiskLock,
    scratch: ArrayQueue<Scratch>,
    closed: AtomicBool,
}

/// Chunk files that no series needs any more, but readers may who began before.
struct Unused {
    files: BTreeSet<u32>,
    /// Of each head the first reader that can't need them.
    readers: Vec<(Arc<TenantHead>, u64)>,
}

impl Unused {
    fn is_read_no_more(&self) -> bool {
        let mut readers = self.readers.iter();
        readers.all(|(head, reader)| head.readers_are_done_before(*reader))
    }
}

/// What an append needs; used again.
#[derive(Default)]
struct Scratch {
    rows: ResolvedRows,
    encoder: RecordEncoder,
}

/// Why a whole batch was not taken.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// The log refused.
    #[error("tenant {tenant}: {error}")]
    Log {
        /// Whose batch.
        tenant: TenantId,
        /// Why.
        error: CommitError,
    },
    /// Closed chunks gather in memory because their files can't be written.
    #[error(
        "tenant {tenant}: chunk files cannot be written, and too many chunks wait in memory; make room on the disk"
    )]
    ChunksBehind {
        /// Whose batch.
        tenant: TenantId,
    },
    /// There are as many tenants as there may be.
    #[error(
        "tenant {tenant} is new, and there are {MAX_TENANTS} tenants already; check what names the tenants"
    )]
    TooManyTenants {
        /// Whose batch.
        tenant: TenantId,
    },
    /// The store was closed.
    #[error("the store is shutting down; try again in a moment")]
    Closed,
}

impl AppendError {
    /// What kind of failure this is to the sender.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Log { error, .. } => error.kind(),
            Self::TooManyTenants { .. } => ErrorKind::TooMany,
            Self::ChunksBehind { .. } | Self::Closed => ErrorKind::Unavailable,
        }
    }
}

impl Store {
    /// Appends a batch and returns when what it counts as written is durable.
    ///
    /// # Errors
    /// Where the log refuses: nothing is acknowledged, and the sender may try again.
    pub fn append<L: LabelSource>(
        &self,
        tenant: &TenantId,
        limits: &Limits,
        batch: &WriteBatch<L>,
    ) -> Result<WriteOutcome, AppendError> {
        let mut scratch = self.scratch.pop().unwrap_or_default();
        let result = self.append_with(tenant, limits, batch, &mut scratch);
        scratch.rows.clear(SCRATCH_ROWS);
        scratch.encoder.shrink(SCRATCH_BYTES);
        // A full queue means that there is scratch enough.
        drop(self.scratch.push(scratch));
        result
    }

    fn append_with<L: LabelSource>(
        &self,
        tenant: &TenantId,
        limits: &Limits,
        batch: &WriteBatch<L>,
        scratch: &mut Scratch,
    ) -> Result<WriteOutcome, AppendError> {
        let mut outcome = WriteOutcome::default();
        let _applied = self.appends.read();
        if self.closed.load(Ordering::Acquire) {
            return Err(AppendError::Closed);
        }
        if self.files.is_behind() {
            let tenant = tenant.clone();
            return Err(AppendError::ChunksBehind { tenant });
        }
        let head = self.head_or_new(tenant)?;
        head.resolve_rows(batch, limits, &mut scratch.rows, &mut outcome);
        let now = self.clock.now_ms();
        let times = AppendTimes::new(&head, limits, now);
        if log_batch(&head, batch, &scratch.rows, &times, &mut scratch.encoder) {
            let record = scratch.encoder.finish();
            let committed = self.wal.commit(WRITE_RECORD, record);
            committed.map_err(|error| AppendError::Log {
                tenant: tenant.clone(),
                error,
            })?;
            scratch.rows.set_defined();
        }
        head.apply(batch, &scratch.rows, limits, &times, &mut outcome);
        Ok(outcome)
    }

    /// The head of a tenant, if it has one.
    pub fn head(&self, tenant: &TenantId) -> Option<Arc<TenantHead>> {
        self.tenants.get(tenant).map(|head| Arc::clone(&head))
    }

    /// All heads.
    pub fn heads(&self) -> Vec<Arc<TenantHead>> {
        self.tenants.iter().map(|head| Arc::clone(&head)).collect()
    }

    fn head_or_new(&self, tenant: &TenantId) -> Result<Arc<TenantHead>, AppendError> {
        if let Some(head) = self.tenants.get(tenant) {
            return Ok(Arc::clone(&head));
        }
        if self.tenants.len() >= MAX_TENANTS {
            let tenant = tenant.clone();
            return Err(AppendError::TooManyTenants { tenant });
        }
        let made = || Arc::new(TenantHead::new(tenant.clone(), Arc::clone(&self.files)));
        Ok(Arc::clone(
            &self.tenants.entry(tenant.clone()).or_insert_with(made),
        ))
    }

    /// The log, for its counters.
    pub fn wal(&self) -> &Wal {
        &self.wal
    }

    /// Chunk files there are, and bytes of chunks that wait to be written.
    pub fn chunk_file_stats(&self) -> (usize, usize) {
        self.files.stats()
    }

    /// Closes all chunks of a tenant before an instant and lets `build` make blocks of them; no
    /// snapshot and no truncation runs meanwhile.
    pub fn cut<R>(
        &self,
        head: &TenantHead,
        before: TimestampMs,
        build: impl FnOnce(&Cut<'_>) -> R,
    ) -> R {
        let _one = self.maintenance.lock();
        build(&head.cut(before))
    }

    /// Forgets the chunks of a cut, which committed blocks hold now. The next snapshot is without
    /// them. Returns how many chunks that were.
    pub fn drop_cut(&self, head: &TenantHead, mark: &CutMark) -> usize {
        let _one = self.maintenance.lock();
        head.drop_cut(mark, &self.appends)
    }

    /// Forgets what lies behind retention and what is idle.
    pub fn truncate(&self) {
        let _one = self.maintenance.lock();
        let now = self.clock.now_ms();
        for head in self.heads() {
            // A sample from the future, of a time when a clock was wrong, makes nothing old.
            let newest = head.newest().min(now);
            let oldest = newest.saturating_sub((self.limits)(&head.tenant).kept_ms());
            let Truncated { chunks, series } = head.truncate(oldest, &self.appends);
            if chunks + series > 0 {
                tracing::info!(tenant = %head.tenant, chunks, series, "truncated head");
            }
        }
        // A tenant without series and descriptions is one that only was named.
        let _no_append = self.appends.write();
        self.tenants.retain(|_, head| !head.is_unused());
    }

    /// Removes chunk files that no series needs any more, and no reader that began when one did. A
    /// snapshot should have been written since chunks were dropped: what an older one names in
    /// vain is left out when it is read.
    pub fn remove_unused_files(&self) {
        let _one = self.maintenance.lock();
        let mut unused = self.unused.lock();
        if let Some(earlier) = unused.take_if(|unused| unused.is_read_no_more()) {
            self.files.retain(|file| !earlier.files.contains(&file));
        }
        if unused.is_none() {
            let found = self.find_unused();
            if found.is_read_no_more() {
                self.files.retain(|file| !found.files.contains(&file));
            } else {
                *unused = Some(found);
            }
        }
    }

    fn find_unused(&self) -> Unused {
        let heads = self.heads();
        // Chunks that are closed from here on lie in the current file or behind.
        let mut files = self.files.before_current();
        let mut needed = BTreeSet::new();
        heads.iter().for_each(|head| head.needed_files(&mut needed));
        files.retain(|file| !needed.contains(file));
        let readers = heads.into_iter().map(|head| {
            let reader = head.next_reader();
            (head, reader)
        });
        Unused {
            readers: readers.collect(),
            files,
        }
    }

    /// Writes a snapshot and drops the log before it, so that a restart reads little.
    ///
    /// # Errors
    /// Where the disk refuses; the log is then kept.
    pub fn snapshot(&self) -> Result<(), SnapshotError> {
        let _one = self.maintenance.lock();
        self.write_snapshot(false)
    }

    /// Refuses appends from here on, and writes a snapshot with every chunk closed.
    ///
    /// # Errors
    /// Where the disk refuses; the log then still has everything.
    pub fn close(&self) -> Result<(), SnapshotError> {
        self.closed.store(true, Ordering::Release);
        let _one = self.maintenance.lock();
        self.write_snapshot(true)
    }
}

/// Why a snapshot could not be written.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The log.
    #[error(transparent)]
    Wal(#[from] WalError),
    /// The snapshot's file.
    #[error(transparent)]
    File(#[from] wal::snapshot::SnapshotError),
    /// The chunk files.
    #[error("cannot sync chunk files: {0}")]
    Chunks(#[from] io::Error),
}

/// Why a store can't be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The log.
    #[error(transparent)]
    Wal(#[from] WalError),
    /// A snapshot.
    #[error(transparent)]
    Snapshot(#[from] wal::snapshot::SnapshotError),
    /// Another process has the directory.
    #[error("the data directory {} is in use by another process; stop that one, or choose another directory", .0.display())]
    InUse(PathBuf),
    /// The lock on the directory can't be taken.
    #[error("cannot lock the data directory {}: {error}", dir.display())]
    Lock {
        /// The directory.
        dir: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// There are snapshots, and none can be read.
    #[error("all head snapshots in {} are damaged; move them elsewhere to start with what the log still has", .0.display())]
    NoWholeSnapshot(PathBuf),
    /// The chunk files.
    #[error("cannot open chunk files below {}: {error}", dir.display())]
    Chunks {
        /// Where they lie.
        dir: PathBuf,
        /// Why.
        error: io::Error,
    },
}
