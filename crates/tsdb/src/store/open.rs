//! Opening a store: the newest snapshot that is whole, then the log behind it.

use std::fmt;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam::queue::ArrayQueue;
use dashmap::DashMap;
use hashbrown::HashMap;
use model::limits::Limits;
use model::tenant::TenantId;
use model::time::{Clock, TimestampMs};
use parking_lot::{Mutex, RwLock};

use super::snapshot::{FILES_FRAME, HEAD_FRAME, STATES_FRAME};
use super::{LimitsOf, OpenError, SCRATCH, Store, StoreConfig, WRITE_RECORD};
use crate::chunk_files::ChunkFiles;
use crate::disk::{Disk, DiskLock};
use crate::head::TenantHead;
use crate::head::snapshot::decode_states;
use crate::wal::record::{Record, RecordError};
use crate::wal::snapshot::{
    SnapshotError, SnapshotFile, SnapshotReader, list_snapshots, remove_unfinished,
};
use crate::wal::{Lsn, RecordKind, ReplayOptions, ReplayProgress, ReplayReport, Wal, replay};

/// Malformed records that are logged one by one.
const LOGGED_FAULTS: u64 = 10;

/// What a store is given.
pub struct OpenDeps {
    /// The disk for the log and the snapshots.
    pub disk: Arc<dyn Disk>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// The limits of each tenant.
    pub limits: LimitsOf,
    /// A random number, new for each start of the process.
    pub instance: u128,
}

/// How far opening has got, for others to look at.
#[derive(Debug, Default)]
pub struct OpenProgress {
    replay: ReplayProgress,
}

impl OpenProgress {
    /// Bytes of the log that were read.
    pub fn done_bytes(&self) -> u64 {
        self.replay.bytes_done.load(Ordering::Relaxed)
    }

    /// Bytes of the log there are to read; 0 before that is known.
    pub fn total_bytes(&self) -> u64 {
        self.replay.bytes_total.load(Ordering::Relaxed)
    }
}

/// What opening found.
#[derive(Clone, Debug, Default)]
pub struct OpenReport {
    /// The snapshot that was read.
    pub snapshot: Option<Lsn>,
    /// What the log held behind it.
    pub replayed: ReplayReport,
    /// Records and frames that made no sense, and were left out.
    pub malformed: u64,
    /// Closed chunks whose file is gone.
    pub missing_chunks: u64,
    /// Series in memory now.
    pub series: u64,
}

impl fmt::Display for OpenReport {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "{} series; {} log records of {} bytes replayed",
            self.series, self.replayed.records, self.replayed.bytes
        )?;
        if let Some(lsn) = self.snapshot {
            write!(out, " behind snapshot {lsn}")?;
        }
        if self.replayed.truncated_tail > 0 {
            let bytes = self.replayed.truncated_tail;
            write!(out, "; an unfinished write of {bytes} bytes was cut off")?;
        }
        if !self.replayed.damaged.is_empty() || !self.replayed.missing.is_empty() {
            let (damaged, missing) = (self.replayed.damaged.len(), self.replayed.missing.len());
            write!(
                out,
                "; {damaged} damaged and {missing} missing parts of the log were skipped"
            )?;
        }
        if self.malformed > 0 {
            write!(out, "; {} malformed records were skipped", self.malformed)?;
        }
        if self.missing_chunks > 0 {
            write!(
                out,
                "; {} chunks are gone with their files",
                self.missing_chunks
            )?;
        }
        Ok(())
    }
}

impl Store {
    /// Opens the store below `config.dir`, made where there is none. Blocks until all that was
    /// acknowledged is back.
    ///
    /// # Errors
    /// Where the disk fails. Damaged bytes are reported and left out.
    pub fn open(
        config: StoreConfig,
        deps: OpenDeps,
        progress: &OpenProgress,
    ) -> Result<(Self, OpenReport), OpenError> {
        let lock = lock_dir(&config.dir, &*deps.disk)?;
        remove_unfinished(&config.dir, &*deps.disk)?;
        let chunks = config.dir.join("chunks");
        let files = ChunkFiles::open(&chunks, config.block_range_ms, Arc::clone(&deps.disk))
            .map_err(|error| OpenError::Chunks { dir: chunks, error })?;
        let files = Arc::new(files);
        let mut report = OpenReport::default();
        let mut restore = Restore::new(&files, &deps.limits);
        let first_new_file = files.current();
        let mut last_file = None;
        let snapshots = list_snapshots(&config.dir, &*deps.disk)?;
        for snapshot in &snapshots.complete {
            match restore.read_snapshot(snapshot, &*deps.disk) {
                Ok(file) => {
                    report.snapshot = Some(snapshot.lsn);
                    last_file = file;
                    break;
                }
                Err(error @ SnapshotError::Damaged { .. }) => {
                    tracing::error!(%error, "snapshot is damaged, trying the one before");
                    restore = Restore::new(&files, &deps.limits);
                }
                Err(error) => return Err(error.into()),
            }
        }
        let options = ReplayOptions {
            dir: config.wal.dir.clone(),
            from: report.snapshot.unwrap_or_default(),
            max_record_bytes: config.wal.max_record_bytes,
        };
        let mut sink = |_: Lsn, kind: RecordKind, payload: Vec<u8>| {
            if kind == WRITE_RECORD {
                restore.record(&payload);
            } else {
                restore.malformed += 1;
            }
            ControlFlow::Continue(())
        };
        report.replayed = replay(&options, &*deps.disk, &progress.replay, &mut sink)?;
        let some = !snapshots.complete.is_empty() || !snapshots.damaged.is_empty();
        let beginning_gone = report.replayed.missing.iter().any(|(first, _)| *first == 1);
        if some && report.snapshot.is_none() && beginning_gone {
            // What the log still has would look like a store that lost its past.
            return Err(OpenError::NoWholeSnapshot(config.dir));
        }
        // Files behind the snapshot's hold copies of what the log gives again.
        files.retain(|file| file >= first_new_file || last_file.is_some_and(|last| file <= last));
        report.malformed = restore.malformed;
        report.missing_chunks = restore.missing_chunks;
        if report.missing_chunks > 0 {
            tracing::error!(
                chunks = report.missing_chunks,
                dir = %config.dir.display(),
                "chunks that retention still keeps are gone with their files"
            );
        }
        let heads = std::mem::take(&mut restore.heads);
        drop(restore);
        for head in heads.values() {
            let mut series = head.series.write();
            series.drop_aliases();
            report.series += series.len() as u64;
        }
        let wal = Wal::open(
            config.wal.clone(),
            Arc::clone(&deps.disk),
            Arc::clone(&deps.clock),
            deps.instance,
            &report.replayed,
        )?;
        let store = Self {
            config,
            disk: deps.disk,
            clock: deps.clock,
            limits: deps.limits,
            tenants: heads.into_iter().collect::<DashMap<_, _>>(),
            files,
            wal,
            appends: RwLock::new(()),
            maintenance: Mutex::new(()),
            unused: Mutex::new(None),
            _lock: lock,
            scratch: ArrayQueue::new(SCRATCH),
            closed: AtomicBool::new(false),
        };
        Ok((store, report))
    }
}

/// Heads that are being put back.
struct Restore<'a> {
    files: &'a Arc<ChunkFiles>,
    limits: &'a LimitsOf,
    heads: HashMap<TenantId, Arc<TenantHead>>,
    limits_of: HashMap<TenantId, Arc<Limits>>,
    malformed: u64,
    missing_chunks: u64,
}

impl<'a> Restore<'a> {
    fn new(files: &'a Arc<ChunkFiles>, limits: &'a LimitsOf) -> Self {
        Self {
            files,
            limits,
            heads: HashMap::new(),
            limits_of: HashMap::new(),
            malformed: 0,
            missing_chunks: 0,
        }
    }

    fn head(&mut self, tenant: &TenantId) -> Arc<TenantHead> {
        if let Some(head) = self.heads.get(tenant) {
            return Arc::clone(head);
        }
        let head = Arc::new(TenantHead::new(tenant.clone(), Arc::clone(self.files)));
        self.heads.insert(tenant.clone(), Arc::clone(&head));
        head
    }

    fn limits(&mut self, tenant: &TenantId) -> Arc<Limits> {
        let look_up = || (self.limits)(tenant);
        Arc::clone(self.limits_of.entry_ref(tenant).or_insert_with(look_up))
    }

    /// Puts back what a snapshot holds; returns the last chunk file it relies on.
    fn read_snapshot(
        &mut self,
        snapshot: &SnapshotFile,
        disk: &dyn Disk,
    ) -> Result<Option<u32>, SnapshotError> {
        let mut reader = SnapshotReader::open(&snapshot.path, disk)?;
        let mut last_file = None;
        let mut current: Option<Arc<TenantHead>> = None;
        while let Some((kind, payload)) = reader.next_frame()? {
            match kind {
                WRITE_RECORD => self.record(&payload),
                HEAD_FRAME => match parse_intro(&payload) {
                    Some(Intro {
                        tenant,
                        newest,
                        oldest,
                        next_ref,
                    }) => {
                        let head = self.head(&tenant);
                        head.series.write().reserve_refs(next_ref);
                        if newest != TimestampMs::MIN {
                            head.note_times(oldest.min(newest), newest);
                        }
                        current = Some(head);
                    }
                    None => self.malformed += 1,
                },
                STATES_FRAME => match &current {
                    Some(head) => {
                        let head = Arc::clone(head);
                        self.states(&head, &payload);
                    }
                    None => self.malformed += 1,
                },
                FILES_FRAME => {
                    last_file = payload
                        .first_chunk()
                        .map(|bytes| u32::from_le_bytes(*bytes));
                }
                _ => self.malformed += 1,
            }
        }
        Ok(last_file)
    }

    /// Puts back what a log record holds: as it was appended, so it is again.
    fn record(&mut self, payload: &[u8]) {
        if let Err(error) = self.try_record(payload) {
            self.malformed += 1;
            if self.malformed <= LOGGED_FAULTS {
                tracing::error!(%error, "a record, or the rest of one, is left out");
            }
        }
    }

    fn try_record(&mut self, payload: &[u8]) -> Result<(), RecordError> {
        let record = Record::parse(payload)?;
        let head = self.head(record.tenant());
        let limits = self.limits(record.tenant());
        head.define_series(&record)?;
        head.replay_samples(&record)?;
        record.each_exemplar(|series_ref, exemplar| {
            head.replay_exemplar(series_ref, &exemplar, limits.max_exemplars);
        })?;
        record.each_metadata(|metadata| head.metadata.lock().set(&metadata, limits.max_metadata))
    }

    fn states(&mut self, head: &TenantHead, payload: &[u8]) {
        let keep = self.limits(&head.tenant).kept_ms();
        let map = head.series.read();
        let mut missing = 0;
        let oldest = head.newest().saturating_sub(keep);
        let decoded = decode_states(payload, |series_ref, restored| {
            if let Some(series) = map.by_ref(series_ref) {
                missing += restored.put_into(&mut series.state.lock(), oldest, self.files);
            }
        });
        self.missing_chunks += missing as u64;
        if let Err(error) = decoded {
            self.malformed += 1;
            tracing::error!(%error, tenant = %head.tenant, "part of a snapshot is left out");
        }
    }
}

/// What a head frame says.
struct Intro {
    tenant: TenantId,
    newest: TimestampMs,
    oldest: TimestampMs,
    next_ref: u32,
}

fn parse_intro(payload: &[u8]) -> Option<Intro> {
    let (newest, rest) = payload.split_first_chunk()?;
    let (oldest, rest) = rest.split_first_chunk()?;
    let (next_ref, rest) = rest.split_first_chunk()?;
    Some(Intro {
        tenant: TenantId::new(str::from_utf8(rest).ok()?).ok()?,
        newest: TimestampMs::from_le_bytes(*newest),
        oldest: TimestampMs::from_le_bytes(*oldest),
        next_ref: u32::from_le_bytes(*next_ref),
    })
}

/// Makes the directory, durably, and takes it for this process alone.
fn lock_dir(dir: &Path, disk: &dyn Disk) -> Result<DiskLock, OpenError> {
    let failed = |error| OpenError::Lock {
        dir: dir.to_owned(),
        error,
    };
    disk.create_dir_all(dir).map_err(failed)?;
    let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty());
    disk.sync_dir(parent.unwrap_or(Path::new(".")))
        .map_err(failed)?;
    let lock = disk.lock(&dir.join("lock")).map_err(failed)?;
    lock.ok_or_else(|| OpenError::InUse(dir.to_owned()))
}
