//! Reading the log back: all records in order, whatever a crash or a bad disk left of it.
//!
//! A thread reads, checks and decompresses ahead of the caller, at most a few MiB.

use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use super::frame::FrameDecoder;
use super::resync::find_frame;
use super::segment::{FIRST_FRAME, Found, SegmentReader, list_segments, segment_path};
use super::{Lsn, RecordKind, WalError, max_body_bytes};
use crate::disk::Disk;

/// Payload bytes that are handed over together.
const BATCH_BYTES: usize = 512 << 10;
/// Batches that may wait for the caller.
const BATCHES_AHEAD: usize = 4;
/// Damaged ranges that a report lists.
const MAX_LISTED: usize = 1000;
/// A file of at most this size whose header cannot be read never held a record: the largest
/// block a header is padded to, in bytes.
const LARGEST_EMPTY_SEGMENT: u64 = 4096;

/// What to replay.
#[derive(Clone, Debug)]
pub struct ReplayOptions {
    /// Where the log is.
    pub dir: PathBuf,
    /// Records below are left out: what a snapshot was cut at, or `Lsn(0)` for all.
    pub from: Lsn,
    /// The largest payload, as in the log's configuration, in bytes.
    pub max_record_bytes: usize,
}

/// How far a replay is, for others to look at.
#[derive(Debug, Default)]
pub struct ReplayProgress {
    /// Bytes to read, once known.
    pub bytes_total: AtomicU64,
    /// Bytes read.
    pub bytes_done: AtomicU64,
    /// Records handed over.
    pub records: AtomicU64,
}

/// Bytes of a segment that are no records any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DamagedRange {
    /// The segment's number.
    pub segment: u32,
    /// Its file.
    pub path: PathBuf,
    /// The first damaged byte.
    pub offset: u64,
    /// Bytes that were skipped.
    pub bytes: u64,
}

/// What a replay found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReplayReport {
    /// Records handed over.
    pub records: u64,
    /// Their bytes, decompressed.
    pub bytes: u64,
    /// Bytes cut from the end of the last segment: a write that a crash interrupted.
    pub truncated_tail: u64,
    /// Damage elsewhere, by place; at most the first 1000.
    pub damaged: Vec<DamagedRange>,
    /// Numbers of segments that should be there and are not, as ranges from first to last.
    pub missing: Vec<(u32, u32)>,
    /// The number that the log goes on with.
    pub next_segment: u32,
}

/// Hands every record to `sink`, in order, until it breaks. Cuts an interrupted write from the
/// end of the last segment; anything else that is no record is reported and skipped.
///
/// # Errors
/// File system errors. Damaged bytes are none.
pub fn replay(
    options: &ReplayOptions,
    disk: &dyn Disk,
    progress: &ReplayProgress,
    sink: &mut dyn FnMut(Lsn, RecordKind, Vec<u8>) -> ControlFlow<()>,
) -> Result<ReplayReport, WalError> {
    let dir = options.dir.as_path();
    let all = list_segments(dir, disk).map_err(WalError::at(dir))?;
    let last = all.last().map_or(0, |(number, _)| *number);
    let wanted = all
        .into_iter()
        .filter(|(number, _)| *number >= options.from.segment());
    let segments: Vec<_> = wanted.collect();
    let total = segments.iter().map(|(_, bytes)| *bytes).sum();
    progress.bytes_total.store(total, Ordering::Relaxed);

    let (sender, receiver) = sync_channel(BATCHES_AHEAD);
    let mut reader = Reader {
        options,
        disk,
        progress,
        sender,
        batch: Batch::default(),
        report: ReplayReport::default(),
        bytes_before: 0,
    };
    reader.report.next_segment = last.max(options.from.segment()) + 1;
    reader.report.missing = missing(options.from, &segments);
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("wal-replay".to_owned());
        let reading = thread
            .spawn_scoped(scope, move || reader.run(&segments))
            .map_err(WalError::at(dir))?;
        let (records, bytes) = hand_over(&receiver, progress, sink);
        drop(receiver);
        let read = reading
            .join()
            .map_err(|_| io::Error::other("the reading thread panicked"));
        let mut report = read.map_err(WalError::at(dir))??;
        report.records = records;
        report.bytes = bytes;
        Ok(report)
    })
}

/// Gaps in the numbers of segments, before the first one too: without a snapshot nothing may
/// have been removed yet.
fn missing(from: Lsn, segments: &[(u32, u64)]) -> Vec<(u32, u32)> {
    let mut missing = Vec::new();
    let mut expected = from.segment().max(1);
    for (number, _) in segments {
        if *number > expected {
            let last = number - 1;
            tracing::error!(
                first = expected,
                last,
                "segments of the write-ahead log are missing"
            );
            missing.push((expected, last));
        }
        expected = number + 1;
    }
    missing
}

/// Calls the sink until it breaks or all is read.
fn hand_over(
    receiver: &Receiver<Batch>,
    progress: &ReplayProgress,
    sink: &mut dyn FnMut(Lsn, RecordKind, Vec<u8>) -> ControlFlow<()>,
) -> (u64, u64) {
    let (mut records, mut bytes) = (0, 0);
    for batch in receiver {
        for (lsn, kind, payload) in batch.records {
            records += 1;
            bytes += payload.len() as u64;
            progress.records.store(records, Ordering::Relaxed);
            if sink(lsn, kind, payload).is_break() {
                return (records, bytes);
            }
        }
    }
    (records, bytes)
}

#[derive(Default)]
struct Batch {
    records: Vec<(Lsn, RecordKind, Vec<u8>)>,
    bytes: usize,
}

/// The caller wants no more.
struct Stopped;

/// The reading thread.
struct Reader<'a> {
    options: &'a ReplayOptions,
    disk: &'a dyn Disk,
    progress: &'a ReplayProgress,
    sender: SyncSender<Batch>,
    batch: Batch,
    report: ReplayReport,
    /// Sizes of the segments that are done.
    bytes_before: u64,
}

impl Reader<'_> {
    fn run(mut self, segments: &[(u32, u64)]) -> Result<ReplayReport, WalError> {
        for (index, (number, bytes)) in segments.iter().enumerate() {
            let is_last = index + 1 == segments.len();
            if self.segment(*number, *bytes, is_last)?.is_err() {
                return Ok(self.report);
            }
            self.bytes_before += bytes;
            self.progress
                .bytes_done
                .store(self.bytes_before, Ordering::Relaxed);
        }
        let rest = std::mem::take(&mut self.batch);
        // Nobody listening is no error: the sink broke off.
        drop(self.sender.send(rest));
        Ok(self.report)
    }

    fn segment(
        &mut self,
        number: u32,
        bytes: u64,
        is_last: bool,
    ) -> Result<Result<(), Stopped>, WalError> {
        let path = segment_path(&self.options.dir, number);
        let max_body = max_body_bytes(self.options.max_record_bytes);
        let opened = SegmentReader::open(&path, number, self.disk, max_body);
        let Some(mut reader) = opened.map_err(WalError::at(&path))? else {
            self.without_header(number, bytes, &path, is_last)?;
            return Ok(Ok(()));
        };
        let read = self.frames(&mut reader, number, &path, is_last);
        let Ok(torn_at) = read.map_err(WalError::at(&path))? else {
            return Ok(Err(Stopped));
        };
        drop(reader);
        if let Some(end) = torn_at {
            self.cut_tail(&path, end, bytes.saturating_sub(end))?;
        }
        Ok(Ok(()))
    }

    /// Hands on the frames of one segment. Returns where its end is torn off.
    fn frames(
        &mut self,
        reader: &mut SegmentReader,
        number: u32,
        path: &Path,
        is_last: bool,
    ) -> io::Result<Result<Option<u64>, Stopped>> {
        let mut decoder = FrameDecoder::new(self.options.max_record_bytes)?;
        let from = self.options.from;
        let first = if from.segment() == number {
            u64::from(from.offset())
        } else {
            0
        };
        let mut at = first.max(FIRST_FRAME);
        loop {
            let found = reader.look(at)?;
            let next = match found {
                Found::End => break,
                Found::Padding(to) => to,
                Found::Frame(length) => {
                    let frame = reader.bytes(at, length)?.unwrap_or_default();
                    match decoder.decode(frame) {
                        Some(record) => {
                            let lsn = Lsn(Lsn::new(number, 0).0 + at);
                            if self.push(lsn, record).is_err() {
                                return Ok(Err(Stopped));
                            }
                        }
                        None => self.damage(number, path, at, length as u64),
                    }
                    at + length as u64
                }
                Found::Damage => match find_frame(reader, at)? {
                    Some(next) => {
                        self.damage(number, path, at, next - at);
                        next
                    }
                    None if is_last => return Ok(Ok(Some(at))),
                    None => {
                        self.damage(number, path, at, reader.size() - at);
                        break;
                    }
                },
            };
            at = next;
            let done = self.bytes_before + at;
            self.progress.bytes_done.store(done, Ordering::Relaxed);
        }
        Ok(Ok(None))
    }

    fn push(&mut self, lsn: Lsn, (kind, payload): (RecordKind, Vec<u8>)) -> Result<(), Stopped> {
        self.batch.bytes += payload.len();
        self.batch.records.push((lsn, kind, payload));
        if self.batch.bytes < BATCH_BYTES {
            return Ok(());
        }
        let full = std::mem::take(&mut self.batch);
        self.sender.send(full).map_err(|_| Stopped)
    }

    fn damage(&mut self, segment: u32, path: &Path, offset: u64, bytes: u64) {
        let path = path.to_owned();
        tracing::error!(path = %path.display(), offset, bytes, "damage in the write-ahead log");
        if self.report.damaged.len() < MAX_LISTED {
            self.report.damaged.push(DamagedRange {
                segment,
                path,
                offset,
                bytes,
            });
        }
    }

    /// A segment that was just being made when the process ended is removed; any other has lost
    /// what is in it.
    fn without_header(
        &mut self,
        number: u32,
        bytes: u64,
        path: &Path,
        is_last: bool,
    ) -> Result<(), WalError> {
        if !is_last || bytes > LARGEST_EMPTY_SEGMENT {
            self.damage(number, path, 0, bytes);
            return Ok(());
        }
        tracing::warn!(path = %path.display(), bytes, "removes a segment that was never begun");
        self.report.truncated_tail += bytes;
        // It is the last one, so that its number leaves no gap when it is used again.
        self.report.next_segment = number;
        self.disk.remove(path).map_err(WalError::at(path))?;
        let dir = &self.options.dir;
        self.disk.sync_dir(dir).map_err(WalError::at(dir))
    }

    fn cut_tail(&mut self, path: &Path, end: u64, bytes: u64) -> Result<(), WalError> {
        let shown = path.display();
        tracing::warn!(path = %shown, offset = end, bytes, "cuts an interrupted write from the write-ahead log");
        self.report.truncated_tail += bytes;
        let file = self.disk.open_append(path).map_err(WalError::at(path))?;
        let cut = file.set_len(end).and_then(|()| file.sync_data());
        cut.map_err(WalError::at(path))
    }
}
