//! The write-ahead log: one per process, for all tenants, durable before the acknowledgement.
//!
//! Writers compress their record on their own thread and queue it. Whoever finds nobody writing
//! becomes the leader: it takes all that is queued, writes it to the current [`segment`], syncs,
//! and wakes those who waited. The bytes are described in docs/formats/wal.md.
//!
//! Invariant: bytes once acknowledged are never written again. Each batch begins in a block of
//! its own, so that a torn write can only hit records that nobody was told about.

mod config;
mod error;
mod frame;
pub mod segment;
mod resync;
mod writer;
pub mod replay;
pub mod snapshot;
pub mod record;

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;

use model::Clock;
use parking_lot::{Condvar, Mutex, MutexGuard};

use crate::disk::Disk;
pub use config::{FsyncPolicy, WalConfig};
pub use error::{CommitError, WalError};
use frame::{FramePool, MAX_FRAME_OVERHEAD};
pub use replay::{ReplayOptions, ReplayProgress, ReplayReport, replay};
use writer::Writer;

/// Queue memory that is kept between batches, in bytes.
const KEPT_QUEUE_BYTES: usize = 1 << 20;

/// A place in the log: the segment's number in the upper 32 bits, the byte in its file in the
/// lower. Later records have higher numbers; there are gaps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Lsn(pub u64);

impl Lsn {
    /// The place of a byte of a segment.
    pub fn new(segment: u32, offset: u32) -> Self {
        Self(u64::from(segment) << 32 | u64::from(offset))
    }

    /// The segment's number; 0 is before all segments.
    pub fn segment(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// The byte in the segment's file.
    pub fn offset(self) -> u32 {
        self.0 as u32
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{}", self.segment(), self.offset())
    }
}

/// What a record's payload is; the numbers belong to whoever commits and replays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RecordKind(pub u8);

/// Counters since the log was opened, and what it is like now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WalStats {
    /// Records committed.
    pub records: u64,
    /// Bytes of their payloads before compression.
    pub payload_bytes: u64,
    /// Bytes written, with headers and padding.
    pub written_bytes: u64,
    /// Batches written.
    pub batches: u64,
    /// Syncs of segments.
    pub syncs: u64,
    /// Batches refused for want of room.
    pub disk_full: u64,
    /// Bytes that wait for the disk now.
    pub pending_bytes: u64,
    /// Number of the current segment, 0 where there is none for want of room.
    pub segment: u32,
    /// Number of the oldest segment.
    pub oldest_segment: u32,
}

/// What is called once when the log fails.
type PoisonHook = Box<dyn Fn() + Send + Sync>;

/// The log, open for writing.
pub struct Wal {
    shared: Arc<Shared>,
    syncer: Option<JoinHandle<()>>,
}

struct Shared {
    config: WalConfig,
    frames: FramePool,
    queue: Mutex<Queue>,
    /// Wakes those who wait to write without being part of a batch.
    idle: Condvar,
    writer: Mutex<Writer>,
    poisoned: AtomicBool,
    on_poison: OnceLock<PoisonHook>,
    /// Wakes the syncing thread early, to stop.
    stopped: Mutex<bool>,
    stop: Condvar,
    records: AtomicU64,
    payload_bytes: AtomicU64,
}

struct Queue {
    /// Frames, one after the other, checksums still missing.
    pending: Vec<u8>,
    /// What those wait for whose frames are in `pending`.
    batch: Arc<Batch>,
    /// Whether somebody is writing.
    writing: bool,
    /// The memory of the batch before.
    spare: Vec<u8>,
}

#[derive(Default)]
struct Batch {
    /// Where the batch begins, once it is written.
    done: OnceLock<Result<Lsn, CommitError>>,
    wake: Condvar,
}

impl Wal {
    /// Opens the log after its replay, whose report says where it goes on. `instance` is a random
    /// number, new at each call. Starts a fresh segment; where there is no room for one, that is
    /// tried again at each commit.
    ///
    /// # Errors
    /// Sizes out of bounds, and file system errors but a full disk.
    pub fn open(
        config: WalConfig,
        disk: Arc<dyn Disk>,
        clock: Arc<dyn Clock>,
        instance: u128,
        replayed: &ReplayReport,
    ) -> Result<Self, WalError> {
        config.check()?;
        let writer = Writer::open(&config, disk, clock, instance, replayed)?;
        let queue = Queue {
            pending: Vec::new(),
            batch: Arc::default(),
            writing: false,
            spare: Vec::new(),
        };
        let shared = Arc::new(Shared {
            config,
            frames: FramePool::default(),
            queue: Mutex::new(queue),
            idle: Condvar::new(),
            writer: Mutex::new(writer),
            poisoned: AtomicBool::new(false),
            on_poison: OnceLock::new(),
            stopped: Mutex::new(false),
            stop: Condvar::new(),
            records: AtomicU64::new(0),
            payload_bytes: AtomicU64::new(0),
        });
        let syncer = match shared.config.fsync {
            FsyncPolicy::Always => None,
            FsyncPolicy::Interval(interval) => {
                let own = Arc::clone(&shared);
                let thread = std::thread::Builder::new().name("wal-sync".to_owned());
                let spawned = thread.spawn(move || own.sync_at(interval));
                Some(spawned.map_err(WalError::at(&shared.config.dir))?)
            }
        };
        Ok(Self { shared, syncer })
    }

    /// Writes a record, and blocks until it is durable by the policy. The payload comes
    /// uncompressed.
    ///
    /// # Errors
    /// See [`CommitError`]. After [`CommitError::Failed`] the record may or may not be found by
    /// the next replay; after the others it will not.
    pub fn commit(&self, kind: RecordKind, payload: &[u8]) -> Result<Lsn, CommitError> {
        let shared = &*self.shared;
        let limit = shared.config.max_record_bytes;
        if payload.len() > limit {
            let bytes = payload.len();
            return Err(CommitError::TooLarge { bytes, limit });
        }
        let lsn = shared.commit(kind, payload)?;
        shared.records.fetch_add(1, Ordering::Relaxed);
        let bytes = payload.len() as u64;
        shared.payload_bytes.fetch_add(bytes, Ordering::Relaxed);
        Ok(lsn)
    }

    /// Starts a new segment and returns its base: every record committed before this call is
    /// below it, every record committed after this call is above.
    ///
    /// # Errors
    /// File system errors, a full disk, an earlier failure.
    pub fn cut(&self) -> Result<Lsn, WalError> {
        let mut queue = self.shared.queue.lock();
        while queue.writing {
            self.shared.idle.wait(&mut queue);
        }
        queue.writing = true;
        let cut = MutexGuard::unlocked(&mut queue, || self.shared.cut());
        self.shared.end_turn(&mut queue);
        cut
    }

    /// Removes the segments that lie wholly below; damaged ones are kept under another name.
    ///
    /// # Errors
    /// File system errors. Some segments may be gone then, the oldest first.
    pub fn truncate_before(&self, lsn: Lsn) -> Result<(), WalError> {
        self.shared.writer.lock().truncate_before(lsn)
    }

    /// Makes everything written so far durable, whatever the policy.
    ///
    /// # Errors
    /// File system errors, an earlier failure.
    pub fn sync(&self) -> Result<(), WalError> {
        self.shared.sync()
    }

    /// Whether a write or a sync failed: every commit fails from then on.
    pub fn is_poisoned(&self) -> bool {
        self.shared.poisoned.load(Ordering::Acquire)
    }

    /// Sets what is called, once, when the log fails; only the first call counts.
    pub fn on_poison(&self, hook: impl Fn() + Send + Sync + 'static) {
        let boxed: PoisonHook = Box::new(hook);
        if self.shared.on_poison.set(boxed).is_ok() && self.is_poisoned() {
            self.shared.call_poison_hook();
        }
    }

    /// Counters.
    pub fn stats(&self) -> WalStats {
        let shared = &*self.shared;
        let mut stats = shared.writer.lock().stats();
        stats.records = shared.records.load(Ordering::Relaxed);
        stats.payload_bytes = shared.payload_bytes.load(Ordering::Relaxed);
        stats.pending_bytes = shared.queue.lock().pending.len() as u64;
        stats
    }
}

impl fmt::Debug for Wal {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dir = &self.shared.config.dir;
        out.debug_struct("Wal")
            .field("dir", dir)
            .finish_non_exhaustive()
    }
}

impl Drop for Wal {
    /// Ends the syncing thread, after a last sync.
    fn drop(&mut self) {
        *self.shared.stopped.lock() = true;
        self.shared.stop.notify_all();
        if let Some(thread) = self.syncer.take()
            && thread.join().is_err()
        {
            tracing::error!("the syncing thread of the write-ahead log has panicked");
        }
    }
}

impl Shared {
    fn commit(&self, kind: RecordKind, payload: &[u8]) -> Result<Lsn, CommitError> {
        let mut scratch = self.frames.take();
        let frame = scratch.encode(kind, payload);
        let mut queue = self.queue.lock();
        if self.poisoned.load(Ordering::Acquire) {
            return Err(CommitError::Failed);
        }
        let offset = queue.pending.len();
        if offset > 0 && offset + frame.len() > self.config.max_pending_bytes {
            let pending_bytes = offset;
            return Err(CommitError::Busy { pending_bytes });
        }
        queue.pending.extend_from_slice(frame);
        self.frames.give_back(scratch);
        let batch = Arc::clone(&queue.batch);
        loop {
            if let Some(done) = batch.done.get() {
                return done.clone().map(|start| Lsn(start.0 + offset as u64));
            }
            if queue.writing {
                batch.wake.wait(&mut queue);
            } else {
                self.lead(&mut queue);
            }
        }
    }

    /// Writes all that is queued, with the queue unlocked meanwhile, and wakes those who wait.
    fn lead(&self, queue: &mut MutexGuard<'_, Queue>) {
        queue.writing = true;
        let spare = std::mem::take(&mut queue.spare);
        let mut bytes = std::mem::replace(&mut queue.pending, spare);
        let batch = std::mem::take(&mut queue.batch);
        let written = MutexGuard::unlocked(queue, || self.write(&mut bytes));
        bytes.clear();
        bytes.shrink_to(KEPT_QUEUE_BYTES);
        queue.spare = bytes;
        if batch.done.set(written).is_err() {
            tracing::error!("a batch of the write-ahead log was written twice");
        }
        batch.wake.notify_all();
        self.end_turn(queue);
    }

    /// Lets the next one write.
    fn end_turn(&self, queue: &mut Queue) {
        queue.writing = false;
        queue.batch.wake.notify_one();
        self.idle.notify_one();
    }

    fn write(&self, frames: &mut Vec<u8>) -> Result<Lsn, CommitError> {
        if self.poisoned.load(Ordering::Acquire) {
            return Err(CommitError::Failed);
        }
        let written = self.writer.lock().write(frames);
        written.map_err(|error| match error {
            WalError::DiskFull { free_bytes } => CommitError::DiskFull { free_bytes },
            other => {
                self.poison(&other);
                CommitError::Failed
            }
        })
    }

    fn cut(&self) -> Result<Lsn, WalError> {
        if self.poisoned.load(Ordering::Acquire) {
            return Err(WalError::Poisoned);
        }
        let cut = self.writer.lock().start_segment();
        self.poison_on_error(cut)
    }

    fn sync(&self) -> Result<(), WalError> {
        if self.poisoned.load(Ordering::Acquire) {
            return Err(WalError::Poisoned);
        }
        let dirty = self.writer.lock().take_unsynced();
        let synced = dirty.map_or(Ok(()), |unsynced| unsynced.sync());
        self.poison_on_error(synced)
    }

    fn poison_on_error<T>(&self, result: Result<T, WalError>) -> Result<T, WalError> {
        if let Err(error) = &result
            && !matches!(error, WalError::DiskFull { .. })
        {
            self.poison(error);
        }
        result
    }

    fn poison(&self, cause: &WalError) {
        if !self.poisoned.swap(true, Ordering::AcqRel) {
            tracing::error!(%cause, "the write-ahead log has failed; nothing is acknowledged any more");
            self.call_poison_hook();
        }
    }

    fn call_poison_hook(&self) {
        if let Some(hook) = self.on_poison.get() {
            hook();
        }
    }

    /// The syncing thread: syncs at each interval until it is told to stop, then once more.
    fn sync_at(&self, interval: Duration) {
        let mut stopped = self.stopped.lock();
        loop {
            if !*stopped {
                self.stop.wait_for(&mut stopped, interval);
            }
            let last = *stopped;
            let synced = MutexGuard::unlocked(&mut stopped, || self.sync());
            if last || synced.is_err() {
                return;
            }
        }
    }
}

/// The longest body of a frame whose payload is within the limit, in bytes.
fn max_body_bytes(max_record_bytes: usize) -> usize {
    max_record_bytes + MAX_FRAME_OVERHEAD
}

#[cfg(test)]
mod tests;
