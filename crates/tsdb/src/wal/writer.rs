//! Writing segments: padding, rolling over, running out of room, syncing.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::{collections::BTreeSet, io};

use model::Clock;

use super::frame;
use super::replay::ReplayReport;
use super::segment::{BLOCK_BYTES, SegmentHeader, list_segments, segment_path};
use super::{FsyncPolicy, Lsn, WalConfig, WalError, WalStats};
use crate::disk::{Disk, DiskFile, WriteMode, is_full};

/// Free space is looked up after this many bytes, or this many milliseconds.
const ROOM_CHECK_BYTES: u64 = 8 << 20;
const ROOM_CHECK_MS: i64 = 1000;

/// The end of the log. Whoever writes owns it.
pub(super) struct Writer {
    config: WalConfig,
    disk: Arc<dyn Disk>,
    clock: Arc<dyn Clock>,
    instance: u128,
    /// None where there was no room for one.
    current: Option<Segment>,
    next_number: u32,
    oldest: u32,
    /// Segments that replay found damage in.
    damaged: BTreeSet<u32>,
    room: Room,
    stats: WalStats,
    syncs: Arc<AtomicU64>,
}

struct Segment {
    number: u32,
    seed: u32,
    file: Arc<dyn DiskFile>,
    unsynced: Arc<AtomicBool>,
}

/// What is known about free space.
struct Room {
    checked_ms: i64,
    unchecked_bytes: u64,
    full: bool,
}

/// What has been written to a segment and may not be durable yet.
pub(super) struct Unsynced {
    path: std::path::PathBuf,
    file: Arc<dyn DiskFile>,
    syncs: Arc<AtomicU64>,
}

impl Unsynced {
    pub(super) fn sync(&self) -> Result<(), WalError> {
        self.syncs.fetch_add(1, Ordering::Relaxed);
        self.file.sync_data().map_err(WalError::at(&self.path))
    }
}

impl Writer {
    pub(super) fn open(
        config: &WalConfig,
        disk: Arc<dyn Disk>,
        clock: Arc<dyn Clock>,
        instance: u128,
        replayed: &ReplayReport,
    ) -> Result<Self, WalError> {
        let dir = config.dir.as_path();
        disk.create_dir_all(dir).map_err(WalError::at(dir))?;
        if let Some(parent) = dir.parent().filter(|parent| *parent != Path::new("")) {
            disk.sync_dir(parent).map_err(WalError::at(parent))?;
        }
        let segments = list_segments(dir, &*disk).map_err(WalError::at(dir))?;
        let last = segments.last().map_or(0, |(number, _)| *number);
        let next_number = replayed.next_segment.max(last + 1);
        let mut writer = Self {
            config: config.clone(),
            disk,
            clock,
            instance,
            current: None,
            next_number,
            oldest: segments.first().map_or(next_number, |(number, _)| *number),
            damaged: replayed.damaged.iter().map(|range| range.segment).collect(),
            room: Room {
                checked_ms: i64::MIN,
                unchecked_bytes: 0,
                full: false,
            },
            stats: WalStats::default(),
            syncs: Arc::default(),
        };
        match writer.start_segment() {
            Ok(_) | Err(WalError::DiskFull { .. }) => Ok(writer),
            Err(error) => Err(error),
        }
    }

    /// Writes frames, whose checksums are still missing, and makes them durable by the policy.
    pub(super) fn write(&mut self, frames: &mut Vec<u8>) -> Result<Lsn, WalError> {
        let written = self.try_write(frames);
        if let Err(WalError::DiskFull { .. }) = &written {
            self.stats.disk_full += 1;
        }
        written
    }

    fn try_write(&mut self, frames: &mut Vec<u8>) -> Result<Lsn, WalError> {
        self.check_room(frames.len() as u64)?;
        let limit = self.config.segment_bytes;
        let usable = self.current.take_if(|segment| segment.file.size() < limit);
        let segment = match usable {
            Some(segment) => segment,
            None => {
                self.start_segment()?;
                self.current.take().ok_or(WalError::Poisoned)?
            }
        };
        let start = self.write_to(&segment, frames)?;
        self.current = Some(segment);
        Ok(start)
    }

    /// On error, the segment is cut to what it was, and must not be used any more.
    fn write_to(&mut self, segment: &Segment, frames: &mut Vec<u8>) -> Result<Lsn, WalError> {
        frame::seal_all(frames, segment.seed);
        let block = segment.file.block_bytes().max(BLOCK_BYTES as usize);
        frames.resize(frames.len().next_multiple_of(block), 0);
        let start = segment.file.size();
        let path = segment_path(&self.config.dir, segment.number);
        if let Err(error) = segment.file.append(frames) {
            return Err(self.give_up(&path, segment, start, error));
        }
        segment.unsynced.store(true, Ordering::Release);
        self.stats.batches += 1;
        self.stats.written_bytes += frames.len() as u64;
        if self.config.fsync == FsyncPolicy::Always {
            self.sync_segment(segment)?;
        }
        Ok(Lsn(Lsn::new(segment.number, 0).0 + start))
    }

    /// Cuts away what a failed write may have left.
    fn give_up(
        &mut self,
        path: &Path,
        segment: &Segment,
        start: u64,
        error: io::Error,
    ) -> WalError {
        if !is_full(&error) {
            return WalError::at(path)(error);
        }
        let cut = segment.file.set_len(start);
        if let Err(error) = cut.and_then(|()| segment.file.sync_data()) {
            return WalError::at(path)(error);
        }
        self.run_full()
    }

    /// Starts the next segment, once the current one is durable. Returns its base.
    pub(super) fn start_segment(&mut self) -> Result<Lsn, WalError> {
        if let Some(segment) = &self.current {
            self.sync_segment(segment)?;
        }
        let number = self.next_number;
        let path = segment_path(&self.config.dir, number);
        let segment = match self.create_segment(&path, number) {
            Ok(segment) => segment,
            Err(error) if is_full(&error) => {
                // What was begun is no segment; should it stay, replay ignores it.
                if self.disk.remove(&path).is_err() {
                    self.next_number += 1;
                }
                return Err(self.run_full());
            }
            Err(error) => return Err(WalError::at(&path)(error)),
        };
        self.next_number = number + 1;
        self.stats.segment = number;
        self.current = Some(segment);
        Ok(Lsn::new(number, 0))
    }

    fn create_segment(&mut self, path: &Path, number: u32) -> io::Result<Segment> {
        let instance = self.instance;
        let header = SegmentHeader { number, instance };
        let file = self.disk.create(path, WriteMode::Blocks)?;
        let bytes = header.encode_padded(file.block_bytes());
        file.append(&bytes)?;
        file.sync_data()?;
        self.disk.sync_dir(&self.config.dir)?;
        self.stats.written_bytes += bytes.len() as u64;
        Ok(Segment {
            number,
            seed: header.seed(),
            file,
            unsynced: Arc::default(),
        })
    }

    /// Refuses a batch where too little room is left, as far as that is known.
    fn check_room(&mut self, bytes: u64) -> Result<(), WalError> {
        let now = self.clock.now_ms();
        let room = &mut self.room;
        room.unchecked_bytes += bytes;
        let age = now.saturating_sub(room.checked_ms);
        let recent = (0..ROOM_CHECK_MS).contains(&age);
        if recent && room.unchecked_bytes < ROOM_CHECK_BYTES && !room.full {
            return Ok(());
        }
        let free_bytes = self.free_bytes();
        let full = free_bytes < self.config.min_free_bytes.saturating_add(bytes);
        if full != self.room.full {
            if full {
                tracing::warn!(free_bytes, "writes are refused: the disk is full");
            } else {
                tracing::info!(free_bytes, "writes are taken again: the disk has room");
            }
        }
        self.room = Room {
            checked_ms: now,
            unchecked_bytes: 0,
            full,
        };
        if full {
            Err(WalError::DiskFull { free_bytes })
        } else {
            Ok(())
        }
    }

    /// Notes that the file system had no room.
    fn run_full(&mut self) -> WalError {
        let free_bytes = self.free_bytes();
        if !self.room.full {
            tracing::warn!(free_bytes, "writes are refused: the disk is full");
        }
        self.room.full = true;
        WalError::DiskFull { free_bytes }
    }

    /// Free space as far as it is known: where it is not, a write will tell.
    fn free_bytes(&self) -> u64 {
        let dir = &self.config.dir;
        self.disk.free_bytes(dir).unwrap_or(u64::MAX)
    }

    fn sync_segment(&self, segment: &Segment) -> Result<(), WalError> {
        match self.unsynced(segment) {
            Some(unsynced) => unsynced.sync(),
            None => Ok(()),
        }
    }

    fn unsynced(&self, segment: &Segment) -> Option<Unsynced> {
        let dirty = segment.unsynced.swap(false, Ordering::AcqRel);
        dirty.then(|| Unsynced {
            path: segment_path(&self.config.dir, segment.number),
            file: Arc::clone(&segment.file),
            syncs: Arc::clone(&self.syncs),
        })
    }

    /// What has to be synced, to do so without holding the writer.
    pub(super) fn take_unsynced(&self) -> Option<Unsynced> {
        self.current
            .as_ref()
            .and_then(|segment| self.unsynced(segment))
    }

    pub(super) fn truncate_before(&mut self, lsn: Lsn) -> Result<(), WalError> {
        let dir = self.config.dir.clone();
        let keep_from = lsn.segment().min(self.next_number.saturating_sub(1));
        let segments = list_segments(&dir, &*self.disk).map_err(WalError::at(&dir))?;
        let mut changed = false;
        for (number, _) in segments {
            let path = segment_path(&dir, number);
            if number >= keep_from {
                self.oldest = number;
                break;
            }
            let gone = if self.damaged.contains(&number) {
                self.disk.rename(&path, &path.with_extension("damaged"))
            } else {
                self.disk.remove(&path)
            };
            gone.map_err(WalError::at(&path))?;
            changed = true;
        }
        if changed {
            self.disk.sync_dir(&dir).map_err(WalError::at(&dir))?;
        }
        Ok(())
    }

    pub(super) fn stats(&self) -> WalStats {
        WalStats {
            syncs: self.syncs.load(Ordering::Relaxed),
            segment: self.current.as_ref().map_or(0, |segment| segment.number),
            oldest_segment: self.oldest,
            ..self.stats
        }
    }
}
