//! Closed chunks on the local disk: append-only files, read through memory maps, so that a
//! closed chunk costs its 32-byte entry in the series and no heap.
//!
//! A file is `chunks/<number>`: a 16-byte header (`TMCHUNKS`, version, zeros), then chunks, each
//! behind the CRC32C of its bytes. Where a chunk lies and how long it is stands in the series
//! that owns it and in the head snapshot, not in the file. What lies behind the last snapshot's
//! position is made again from the write-ahead log after a restart, so nothing here waits for
//! the disk: files are synced only for a snapshot.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use memmap2::Mmap;
use parking_lot::{Mutex, RwLock};

/// Bytes of one file. A file is sparse until it is written to.
const FILE_BYTES: u32 = 64 << 20;
/// Bytes gathered before they are written.
const BUFFER_BYTES: usize = 256 << 10;
const HEADER: [u8; 16] = *b"TMCHUNKS\x01\0\0\0\0\0\0\0";
const CRC_BYTES: u32 = 4;

/// Where a closed chunk lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ChunkPlace {
    /// The file's number.
    pub file: u32,
    /// Offset of the chunk's checksum in the file.
    pub offset: u32,
}

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
    writer: Mutex<Writer>,
    /// File number of the writer and the offset up to which its bytes are in the file.
    written: AtomicU64,
    maps: RwLock<BTreeMap<u32, Arc<Mmap>>>,
}

struct Writer {
    number: u32,
    file: Option<Arc<File>>,
    /// Offset of the buffer's first byte in the file.
    start: u32,
    buffer: Vec<u8>,
    unsynced: Vec<Arc<File>>,
}

impl ChunkFiles {
    /// Opens the files below `dir`. New chunks go into new files behind them.
    ///
    /// # Errors
    /// Where the directory or a file can't be read.
    pub fn open(dir: &Path) -> io::Result<Self> {
        fs::create_dir_all(dir)?;
        let mut maps = BTreeMap::new();
        for entry in fs::read_dir(dir)? {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| name.to_str());
            let Some(number) = name.and_then(|name| name.parse::<u32>().ok()) else {
                continue;
            };
            maps.insert(number, Arc::new(map(&File::open(&path)?)?));
        }
        let number = maps.last_key_value().map_or(0, |(last, _)| last + 1);
        Ok(Self {
            dir: dir.to_owned(),
            writer: Mutex::new(Writer {
                number,
                file: None,
                start: HEADER.len() as u32,
                buffer: Vec::new(),
                unsynced: Vec::new(),
            }),
            written: AtomicU64::new(u64::from(number) << 32 | HEADER.len() as u64),
            maps: RwLock::new(maps),
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
        if writer.buffer.len() >= BUFFER_BYTES
            && let Err(error) = self.flush(&mut writer)
            && writer.buffer.len() < 2 * BUFFER_BYTES
        {
            tracing::warn!(%error, dir = %self.dir.display(), "chunks stay in memory: cannot write chunk file");
        }
        place
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
        let written = self.written.load(Ordering::Acquire);
        let here = u64::from(place.file) << 32 | u64::from(place.offset);
        if here >= written {
            let writer = self.writer.lock();
            // It may have been written between the two looks.
            if writer.number == place.file && place.offset >= writer.start {
                let from = (place.offset - writer.start) as usize;
                return checked(&writer.buffer, from, len, place).map(read);
            }
        }
        let map = self.maps.read().get(&place.file).map(Arc::clone);
        let map = map.ok_or(ChunkReadError::NoFile { file: place.file })?;
        checked(&map, place.offset as usize, len, place).map(read)
    }

    /// Writes and syncs everything; returns the number of the last file with chunks.
    ///
    /// # Errors
    /// Where the disk refuses.
    pub fn sync(&self) -> io::Result<u32> {
        let (number, files) = {
            let mut writer = self.writer.lock();
            self.flush(&mut writer)?;
            let mut files = std::mem::take(&mut writer.unsynced);
            files.extend(writer.file.as_ref().map(Arc::clone));
            (writer.number, files)
        };
        for file in files {
            file.sync_data()?;
        }
        File::open(&self.dir)?.sync_all()?;
        Ok(number)
    }

    /// Whether the file of a chunk is there.
    pub fn has(&self, place: ChunkPlace) -> bool {
        self.maps.read().contains_key(&place.file)
    }

    /// The number of the file that is written to.
    pub fn current(&self) -> u32 {
        self.writer.lock().number
    }

    /// Removes the files before the current one that `keep` does not want.
    pub fn retain(&self, keep: impl Fn(u32) -> bool) {
        let current = self.current();
        let mut maps = self.maps.write();
        let numbers = maps.keys().copied();
        let gone: Vec<u32> = numbers.filter(|n| *n < current && !keep(*n)).collect();
        for number in &gone {
            maps.remove(number);
        }
        drop(maps);
        for number in gone {
            let path = self.path(number);
            if let Err(error) = fs::remove_file(&path) {
                tracing::warn!(%error, path = %path.display(), "cannot remove chunk file");
            }
        }
    }

    /// Files there are, and bytes gathered in memory.
    pub fn stats(&self) -> (usize, usize) {
        let buffered = self.writer.lock().buffer.len();
        (self.maps.read().len(), buffered)
    }

    fn path(&self, number: u32) -> PathBuf {
        self.dir.join(format!("{number:08}"))
    }

    fn flush(&self, writer: &mut Writer) -> io::Result<()> {
        if writer.buffer.is_empty() {
            return Ok(());
        }
        let file = match &writer.file {
            Some(file) => Arc::clone(file),
            None => {
                let file = Arc::new(self.create(writer.number)?);
                writer.file = Some(Arc::clone(&file));
                file
            }
        };
        file.write_all_at(&writer.buffer, u64::from(writer.start))?;
        writer.start += writer.buffer.len() as u32;
        if writer.start > FILE_BYTES {
            // More gathered while the disk was full than the file was made for.
            file.set_len(u64::from(writer.start))?;
            self.maps.write().insert(writer.number, Arc::new(map(&file)?));
        }
        writer.buffer.clear();
        writer.buffer.shrink_to(BUFFER_BYTES + (64 << 10));
        let written = u64::from(writer.number) << 32 | u64::from(writer.start);
        self.written.store(written, Ordering::Release);
        Ok(())
    }

    fn create(&self, number: u32) -> io::Result<File> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(self.path(number))?;
        file.set_len(u64::from(FILE_BYTES))?;
        file.write_all_at(&HEADER, 0)?;
        self.maps.write().insert(number, Arc::new(map(&file)?));
        Ok(file)
    }

    fn roll(&self, writer: &mut Writer) {
        let done = writer.file.take();
        writer.unsynced.extend(done);
        writer.number += 1;
        writer.start = HEADER.len() as u32;
        let written = u64::from(writer.number) << 32 | u64::from(writer.start);
        self.written.store(written, Ordering::Release);
    }
}

fn checked(
    bytes: &[u8],
    from: usize,
    len: u32,
    place: ChunkPlace,
) -> Result<&[u8], ChunkReadError> {
    let damaged = |what| ChunkReadError::Damaged { place, what };
    let outside = || damaged("it lies outside the file");
    let (crc, rest) = bytes
        .get(from..)
        .and_then(|rest| rest.split_first_chunk::<4>())
        .ok_or_else(outside)?;
    let chunk = rest.get(..len as usize).ok_or_else(outside)?;
    if crc32c::crc32c(chunk) != u32::from_le_bytes(*crc) {
        return Err(damaged("its checksum does not match"));
    }
    Ok(chunk)
}

#[expect(unsafe_code, reason = "a memory map has no safe constructor")]
fn map(file: &File) -> io::Result<Mmap> {
    // SAFETY: the file is ours, in a directory that only one process opens; it is created at its
    // full length and never truncated while mapped, and its bytes are only appended to: a place
    // that readers know of does not change any more. A map is worth it: reading 44,000 chunks of
    // a query through `pread` takes about as long again as decoding them.
    unsafe { Mmap::map(file) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_back_what_was_put_before_and_after_it_was_written() {
        let dir = tempfile::tempdir().unwrap();
        let files = ChunkFiles::open(dir.path()).unwrap();
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
        let again = ChunkFiles::open(dir.path()).unwrap();
        check(&again);
        assert_eq!(again.current(), last + 1);
        again.retain(|_| false);
        assert!(again.read(places[0], 50, |_| ()).is_err());
    }

    #[test]
    fn damage_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let files = ChunkFiles::open(dir.path()).unwrap();
        let place = files.put(b"some chunk");
        let last = files.sync().unwrap();
        let path = dir.path().join(format!("{last:08}"));
        let file = OpenOptions::new().write(true).open(path).unwrap();
        file.write_all_at(b"X", u64::from(place.offset) + 6).unwrap();
        assert!(matches!(
            files.read(place, 10, |_| ()),
            Err(ChunkReadError::Damaged { .. })
        ));
        assert!(files.read(place, 80 << 20, |_| ()).is_err());
        let elsewhere = ChunkPlace { offset: u32::MAX, ..place };
        assert!(files.read(elsewhere, 10, |_| ()).is_err());
    }
}
