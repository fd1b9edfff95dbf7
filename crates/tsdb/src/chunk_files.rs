//! Closed chunks on the local disk: append-only files, read through memory maps, so that a
//! closed chunk costs its 32-byte entry in the series and no heap.
//!
//! A file is `chunks/<number>`: a 16-byte header (`TMCHUNKS`, version, zeros), then chunks, each
//! behind the CRC32C of its bytes. Where a chunk lies and how long it is stands in the series
//! that owns it and in the head snapshot, not in the file. What lies behind the last snapshot's
//! position is made again from the write-ahead log after a restart, so nothing here waits for
//! the disk: files are synced only for a snapshot.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};

use parking_lot::{Mutex, RwLock};

use crate::disk::{Disk, DiskFile, FileMap, ReadFile, WriteMode};

/// Bytes after which a new file is begun.
const FILE_BYTES: u32 = 64 << 20;
/// Bytes gathered before they are written.
const BUFFER_BYTES: usize = 256 << 10;
const HEADER: [u8; 16] = *b"TMCHUNKS\x01\0\0\0\0\0\0\0";
const HEADER_BYTES: u32 = HEADER.len() as u32;
const CRC_BYTES: u32 = 4;

/// Where a closed chunk lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ChunkPlace {
    /// The file's number.
    pub file: u32,
    /// Offset of the chunk's checksum in the file.
    pub offset: u32,
}

impl ChunkPlace {
    /// The place as a number that grows with each chunk that is put.
    pub(crate) fn position(self) -> u64 {
        position(self.file, self.offset)
    }
}

/// Bytes that may wait in memory while the files can't be written.
const BACKLOG_BYTES: usize = 16 << 20;

/// A chunk that can't be read back.
#[derive(Debug, thiserror::Error)]
pub enum ChunkReadError {
    /// The file is gone.
    #[error("chunk file {file:08} does not exist")]
    NoFile {
        /// Its number.
        file: u32,
    },
    /// The place lies outside the file, or the bytes fail their checksum.
    #[error("chunk at offset {} of chunk file {:08} is damaged: {what}", place.offset, place.file)]
    Damaged {
        /// Where.
        place: ChunkPlace,
        /// In which way.
        what: &'static str,
    },
}

/// The chunk files of a process.
pub struct ChunkFiles {
    dir: PathBuf,
    /// No chunk spans a multiple of this: a block is cut there.
    range_ms: i64,
    disk: Arc<dyn Disk>,
    writer: Mutex<Writer>,
    /// File number of the writer and the offset up to which its bytes are in the file.
    written: AtomicU64,
    readers: RwLock<BTreeMap<u32, Arc<Reader>>>,
    /// Bytes in the buffer after a write that failed; 0 after one that did not.
    backlog: AtomicUsize,
    /// A sync failed: nobody knows what is on disk, and a further sync would not tell.
    sync_failed: AtomicBool,
}

struct Writer {
    number: u32,
    file: Option<OpenFile>,
    /// Offset of the buffer's first byte in the file.
    start: u32,
    buffer: Vec<u8>,
    /// Bytes in the buffer at which it is written; more after a failure, so that not every
    /// chunk tries again.
    write_at: usize,
    unsynced: Vec<Arc<dyn DiskFile>>,
}

struct OpenFile {
    file: Arc<dyn DiskFile>,
    reader: Arc<Reader>,
}

/// A file as readers see it.
struct Reader {
    source: Source,
    /// Bytes that may be read: a map reaches further than its file.
    bytes: AtomicU32,
}

enum Source {
    Mapped(FileMap),
    /// For disks that are no part of the machine.
    Unmapped(Box<dyn ReadFile>),
}

impl Reader {
    fn open(disk: &dyn Disk, path: &Path) -> io::Result<Self> {
        let file = disk.open_read(path)?;
        let bytes = u32::try_from(file.size()?).unwrap_or(u32::MAX);
        let source = match disk.map(path, (bytes.max(2 * FILE_BYTES)) as usize)? {
            Some(map) => Source::Mapped(map),
            None => Source::Unmapped(file),
        };
        let bytes = AtomicU32::new(bytes);
        Ok(Self { source, bytes })
    }

    fn read<R>(
        &self,
        place: ChunkPlace,
        len: u32,
        read: impl FnOnce(&[u8]) -> R,
    ) -> Result<R, ChunkReadError> {
        let readable = self.bytes.load(Ordering::Acquire);
        let outside = || ChunkReadError::Damaged {
            place,
            what: "it lies outside the file",
        };
        let end = place
            .offset
            .checked_add(CRC_BYTES)
            .and_then(|at| at.checked_add(len));
        let end = end.filter(|end| *end <= readable).ok_or_else(outside)?;
        match &self.source {
            Source::Mapped(map) => {
                let bytes = map.bytes().get(place.offset as usize..end as usize);
                checked(bytes.ok_or_else(outside)?, place).map(read)
            }
            Source::Unmapped(file) => {
                let mut bytes = vec![0; (end - place.offset) as usize];
                let got = file.read_at(&mut bytes, u64::from(place.offset));
                if got.is_ok_and(|got| got == bytes.len()) {
                    checked(&bytes, place).map(read)
                } else {
                    Err(outside())
                }
            }
        }
    }
}

impl ChunkFiles {
    /// Opens the files below `dir`. New chunks go into new files behind them; none spans a
    /// multiple of `range_ms`.
    ///
    /// # Errors
    /// Where the directory or a file can't be read.
    pub fn open(dir: &Path, range_ms: i64, disk: Arc<dyn Disk>) -> io::Result<Self> {
        disk.create_dir_all(dir)?;
        let mut readers = BTreeMap::new();
        for entry in disk.list(dir)? {
            if let Ok(number) = entry.name.parse::<u32>() {
                let path = dir.join(&entry.name);
                readers.insert(number, Arc::new(Reader::open(&*disk, &path)?));
            }
        }
        let number = readers.last_key_value().map_or(0, |(last, _)| last + 1);
        Ok(Self {
            dir: dir.to_owned(),
            range_ms: range_ms.max(1),
            disk,
            writer: Mutex::new(Writer {
                number,
                file: None,
                start: HEADER_BYTES,
                buffer: Vec::new(),
                write_at: BUFFER_BYTES,
                unsynced: Vec::new(),
            }),
            written: AtomicU64::new(position(number, HEADER_BYTES)),
            readers: RwLock::new(readers),
            backlog: AtomicUsize::new(0),
            sync_failed: AtomicBool::new(false),
        })
    }

    /// Keeps a chunk. Never fails: while the disk refuses writes, chunks stay in the buffer.
    pub fn put(&self, chunk: &[u8]) -> ChunkPlace {
        let mut writer = self.writer.lock();
        let bytes = CRC_BYTES + u32::try_from(chunk.len()).expect("a chunk is far below 4 GiB");
        if writer.start as usize + writer.buffer.len() + bytes as usize > FILE_BYTES as usize
            && self.flush(&mut writer).is_ok()
        {
            self.roll(&mut writer);
        }
        let place = ChunkPlace {
            file: writer.number,
            offset: writer.start + writer.buffer.len() as u32,
        };
        writer
            .buffer
            .extend_from_slice(&crc32c::crc32c(chunk).to_le_bytes());
        writer.buffer.extend_from_slice(chunk);
        if writer.buffer.len() >= writer.write_at
            && let Err(error) = self.flush(&mut writer)
        {
            tracing::warn!(%error, dir = %self.dir.display(), "chunks stay in memory: cannot write chunk file");
        }
        place
    }

    /// Whether so many chunks wait for the disk that no more samples should be taken. Tries to
    /// write them first.
    pub fn is_behind(&self) -> bool {
        if self.backlog.load(Ordering::Relaxed) < BACKLOG_BYTES {
            return false;
        }
        self.flush(&mut self.writer.lock()).is_err()
    }

    /// Hands the bytes of a chunk to `read`.
    ///
    /// # Errors
    /// Where the file is gone or the bytes are not what was written.
    pub fn read<R>(
        &self,
        place: ChunkPlace,
        len: u32,
        read: impl FnOnce(&[u8]) -> R,
    ) -> Result<R, ChunkReadError> {
        if position(place.file, place.offset) >= self.written.load(Ordering::Acquire) {
            let writer = self.writer.lock();
            // It may have been written between the two looks.
            if writer.number == place.file && place.offset >= writer.start {
                let from = (place.offset - writer.start) as usize;
                let bytes = writer.buffer.get(from..from + (CRC_BYTES + len) as usize);
                let bytes = bytes.ok_or(ChunkReadError::Damaged {
                    place,
                    what: "it lies outside the file",
                })?;
                return checked(bytes, place).map(read);
            }
        }
        let reader = self.readers.read().get(&place.file).map(Arc::clone);
        let reader = reader.ok_or(ChunkReadError::NoFile { file: place.file })?;
        reader.read(place, len, read)
    }

    /// Writes and syncs everything; returns the number of the last file with chunks.
    ///
    /// # Errors
    /// Where the disk refuses.
    pub fn sync(&self) -> io::Result<u32> {
        if self.sync_failed.load(Ordering::Acquire) {
            return Err(io::Error::other(
                "an earlier sync failed: restart the process, which replays the log",
            ));
        }
        let (number, files) = {
            let mut writer = self.writer.lock();
            self.flush(&mut writer)?;
            let mut files = std::mem::take(&mut writer.unsynced);
            files.extend(writer.file.as_ref().map(|open| Arc::clone(&open.file)));
            (writer.number, files)
        };
        for file in files {
            if let Err(error) = file.sync_data() {
                // A second sync may succeed although bytes were lost: never ask again.
                self.sync_failed.store(true, Ordering::Release);
                return Err(error);
            }
        }
        self.disk.sync_dir(&self.dir)?;
        Ok(number)
    }

    /// How long the ranges are that no chunk spans two of, in milliseconds.
    pub fn range_ms(&self) -> i64 {
        self.range_ms
    }

    /// The position of the next chunk: those that were put lie before.
    pub fn position(&self) -> u64 {
        let writer = self.writer.lock();
        position(writer.number, writer.start + writer.buffer.len() as u32)
    }

    /// Whether the file of a chunk is there.
    pub fn has(&self, place: ChunkPlace) -> bool {
        self.readers.read().contains_key(&place.file)
    }

    /// The number of the file that is written to.
    pub fn current(&self) -> u32 {
        self.writer.lock().number
    }

    /// The numbers of the files that are not written to any more.
    pub fn before_current(&self) -> BTreeSet<u32> {
        let current = self.current();
        let readers = self.readers.read();
        readers
            .range(..current)
            .map(|(number, _)| *number)
            .collect()
    }

    /// Removes the files before the current one that `keep` does not want.
    pub fn retain(&self, keep: impl Fn(u32) -> bool) {
        let current = self.current();
        let mut readers = self.readers.write();
        // The last one stays, so that its number is not given again after a restart.
        let last = readers.last_key_value().map(|(last, _)| *last);
        let numbers = readers.keys().copied();
        let gone: Vec<u32> = numbers
            .filter(|n| *n < current && Some(*n) != last && !keep(*n))
            .collect();
        for number in &gone {
            readers.remove(number);
        }
        drop(readers);
        for number in gone {
            let path = self.path(number);
            if let Err(error) = self.disk.remove(&path) {
                tracing::warn!(%error, path = %path.display(), "cannot remove chunk file");
            }
        }
    }

    /// Files there are, and bytes gathered in memory.
    pub fn stats(&self) -> (usize, usize) {
        let buffered = self.writer.lock().buffer.len();
        (self.readers.read().len(), buffered)
    }

    fn path(&self, number: u32) -> PathBuf {
        self.dir.join(format!("{number:08}"))
    }

    fn flush(&self, writer: &mut Writer) -> io::Result<()> {
        let written = self.write_out(writer);
        let left = writer.buffer.len();
        writer.write_at = left + BUFFER_BYTES;
        self.backlog.store(left, Ordering::Relaxed);
        written
    }

    fn write_out(&self, writer: &mut Writer) -> io::Result<()> {
        if writer.buffer.is_empty() {
            return Ok(());
        }
        if writer.file.is_none() {
            writer.file = Some(self.create(writer.number)?);
        }
        let Some(open) = &writer.file else {
            return Ok(());
        };
        if open.file.size() != u64::from(writer.start) {
            // An earlier write left a part of itself.
            open.file.set_len(u64::from(writer.start))?;
        }
        open.file.append(&writer.buffer)?;
        writer.start += writer.buffer.len() as u32;
        open.reader.bytes.store(writer.start, Ordering::Release);
        writer.buffer.clear();
        writer.buffer.shrink_to(BUFFER_BYTES + (64 << 10));
        let written = position(writer.number, writer.start);
        self.written.store(written, Ordering::Release);
        Ok(())
    }

    fn create(&self, number: u32) -> io::Result<OpenFile> {
        let path = self.path(number);
        // What an earlier attempt left may be there.
        let file = match self.disk.create(&path, WriteMode::Cached) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let file = self.disk.open_append(&path)?;
                file.set_len(0)?;
                file
            }
            created => created?,
        };
        file.append(&HEADER)?;
        let reader = Arc::new(Reader::open(&*self.disk, &path)?);
        self.readers.write().insert(number, Arc::clone(&reader));
        Ok(OpenFile { file, reader })
    }

    fn roll(&self, writer: &mut Writer) {
        let done = writer.file.take();
        writer.unsynced.extend(done.map(|open| open.file));
        writer.number += 1;
        writer.start = HEADER_BYTES;
        let written = position(writer.number, writer.start);
        self.written.store(written, Ordering::Release);
    }
}

fn position(number: u32, offset: u32) -> u64 {
    u64::from(number) << 32 | u64::from(offset)
}

/// The chunk behind its checksum.
fn checked(bytes: &[u8], place: ChunkPlace) -> Result<&[u8], ChunkReadError> {
    match bytes.split_first_chunk::<4>() {
        Some((crc, chunk)) if crc32c::crc32c(chunk) == u32::from_le_bytes(*crc) => Ok(chunk),
        _ => Err(ChunkReadError::Damaged {
            place,
            what: "its checksum does not match",
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::RealDisk;

    fn open(dir: &Path) -> ChunkFiles {
        ChunkFiles::open(dir, 7_200_000, Arc::new(RealDisk::default())).unwrap()
    }

    #[test]
    fn gives_back_what_was_put_before_and_after_it_was_written() {
        let dir = tempfile::tempdir().unwrap();
        let files = open(dir.path());
        let chunk = |i: u32| vec![(i % 251) as u8; 50 + (i % 300) as usize];
        let places: Vec<_> = (0..5_000).map(|i| files.put(&chunk(i))).collect();
        let check = |files: &ChunkFiles| {
            for (i, place) in (0..).zip(&places) {
                let expected = chunk(i);
                let same = files.read(*place, expected.len() as u32, |b| b == expected);
                assert!(same.unwrap());
            }
        };
        check(&files);
        let last = files.sync().unwrap();
        check(&files);
        drop(files);
        let again = open(dir.path());
        check(&again);
        assert_eq!(again.current(), last + 1);
        again.put(b"one more file");
        again.sync().unwrap();
        again.retain(|_| false);
        assert!(again.read(places[0], 50, |_| ()).is_err());
        assert_eq!(open(dir.path()).current(), last + 2);
    }

    #[test]
    fn damage_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let files = open(dir.path());
        let place = files.put(b"some chunk");
        let last = files.sync().unwrap();
        let path = dir.path().join(format!("{last:08}"));
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[place.offset as usize + 6] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        assert!(matches!(
            files.read(place, 10, |_| ()),
            Err(ChunkReadError::Damaged { .. })
        ));
        assert!(files.read(place, 80 << 20, |_| ()).is_err());
        let elsewhere = ChunkPlace {
            offset: u32::MAX,
            ..place
        };
        assert!(files.read(elsewhere, 10, |_| ()).is_err());
    }
}
