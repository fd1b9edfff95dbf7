//! The disk of the machine.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use rustix::fs::OFlags;

use super::{DirFile, Disk, DiskFile, DiskLock, ReadFile, WriteMode};

/// What the memory of an uncached write is aligned to; no device asks for more.
const MEMORY_ALIGNMENT: usize = 4096;
/// The largest single uncached write, in bytes.
const BUFFER_BYTES: usize = 256 << 10;
/// Block sizes that uncached writes are tried with, in bytes.
const BLOCK_SIZES: [usize; 2] = [512, 4096];
/// In place of a block size, where nothing but cached writes work.
const CACHED_ONLY: usize = 0;

/// A part of a file as memory; see [`Disk::map`].
#[derive(Debug)]
pub struct FileMap(memmap2::Mmap);

impl FileMap {
    /// The mapped bytes; those behind the file's end must not be touched.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// The files of the operating system.
#[derive(Debug, Default)]
pub struct RealDisk {
    /// The smallest block that an uncached write can have, by directory, as each may be on a
    /// device of its own.
    uncached_blocks: Mutex<HashMap<PathBuf, usize>>,
}

impl RealDisk {
    /// The block size for uncached writes, found by trying them on a new, empty file.
    fn uncached_block(&self, path: &Path) -> io::Result<usize> {
        let dir = path.parent().unwrap_or(path);
        let mut known = self.uncached_blocks.lock();
        if let Some(block) = known.get(dir) {
            return Ok(*block);
        }
        let found = match open_uncached(path) {
            Ok(file) => probe(&file)?,
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => CACHED_ONLY,
            Err(error) => return Err(error),
        };
        known.insert(dir.to_owned(), found);
        Ok(found)
    }
}

impl Disk for RealDisk {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        fs::create_dir_all(dir)
    }

    fn create(&self, path: &Path, mode: WriteMode) -> io::Result<Arc<dyn DiskFile>> {
        let cached = OpenOptions::new().write(true).create_new(true).open(path)?;
        let block = match mode {
            WriteMode::Cached => CACHED_ONLY,
            WriteMode::Blocks => self.uncached_block(path)?,
        };
        let (file, buffer) = match block {
            CACHED_ONLY => (cached, None),
            _ => (open_uncached(path)?, Some(AlignedBuffer::new())),
        };
        Ok(Arc::new(RealFile::new(file, 0, block.max(1), buffer)))
    }

    fn open_append(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let file = OpenOptions::new().write(true).open(path)?;
        let end = file.metadata()?.len();
        Ok(Arc::new(RealFile::new(file, end, 1, None)))
    }

    fn open_read(&self, path: &Path) -> io::Result<Box<dyn ReadFile>> {
        Ok(Box::new(File::open(path)?))
    }

    #[expect(unsafe_code, reason = "a memory map has no safe constructor")]
    fn map(&self, path: &Path, bytes: usize) -> io::Result<Option<FileMap>> {
        let file = File::open(path)?;
        // SAFETY: the map is only handed out through `FileMap`, whose users keep to the part of
        // the file that was written: the files below the data directory belong to this process,
        // and those that are mapped are only appended to. A map is worth it: reading the 44,000
        // chunks of a query with a system call each takes about as long as decoding them.
        let map = unsafe { memmap2::MmapOptions::new().len(bytes).map(&file) }?;
        Ok(Some(FileMap(map)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<DirFile>> {
        let entries = match fs::read_dir(dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut files = Vec::new();
        for entry in entries {
            let entry = entry?;
            let found = entry.metadata()?;
            if let (true, Ok(name)) = (found.is_file(), entry.file_name().into_string()) {
                let bytes = found.len();
                files.push(DirFile { name, bytes });
            }
        }
        files.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(files)
    }

    fn lock(&self, path: &Path) -> io::Result<Option<DiskLock>> {
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(DiskLock { _file: Some(file) })),
            Err(fs::TryLockError::WouldBlock) => Ok(None),
            Err(fs::TryLockError::Error(error)) => Err(error),
        }
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }

    fn free_bytes(&self, dir: &Path) -> io::Result<u64> {
        let room = rustix::fs::statvfs(dir)?;
        Ok(room.f_bavail.saturating_mul(room.f_frsize))
    }
}

impl ReadFile for File {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        loop {
            match FileExt::read_at(self, buffer, offset) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => return read,
            }
        }
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }
}

struct RealFile {
    file: File,
    block: usize,
    tail: Mutex<Tail>,
}

struct Tail {
    /// Where the next append goes.
    end: u64,
    /// For uncached writes, memory as the device wants it.
    buffer: Option<AlignedBuffer>,
}

impl RealFile {
    fn new(file: File, end: u64, block: usize, buffer: Option<AlignedBuffer>) -> Self {
        let tail = Mutex::new(Tail { end, buffer });
        Self { file, block, tail }
    }
}

impl DiskFile for RealFile {
    fn append(&self, bytes: &[u8]) -> io::Result<()> {
        if !bytes.len().is_multiple_of(self.block) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let mut tail = self.tail.lock();
        let Tail { end, buffer } = &mut *tail;
        match buffer {
            None => {
                self.file.write_all_at(bytes, *end)?;
                *end += bytes.len() as u64;
            }
            Some(buffer) => {
                for piece in bytes.chunks(BUFFER_BYTES) {
                    self.file.write_all_at(buffer.fill(piece), *end)?;
                    *end += piece.len() as u64;
                }
            }
        }
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn size(&self) -> u64 {
        self.tail.lock().end
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        let mut tail = self.tail.lock();
        self.file.set_len(bytes)?;
        tail.end = bytes;
        Ok(())
    }

    fn block_bytes(&self) -> usize {
        self.block
    }
}

/// Memory whose used part begins at a multiple of [`MEMORY_ALIGNMENT`].
struct AlignedBuffer {
    memory: Vec<u8>,
    start: usize,
}

impl AlignedBuffer {
    fn new() -> Self {
        let memory = vec![0; BUFFER_BYTES + MEMORY_ALIGNMENT];
        let start = memory.as_ptr().align_offset(MEMORY_ALIGNMENT);
        Self { memory, start }
    }

    /// Copies a piece of at most [`BUFFER_BYTES`] in.
    fn fill(&mut self, piece: &[u8]) -> &[u8] {
        let place = &mut self.memory[self.start..self.start + piece.len()];
        place.copy_from_slice(piece);
        place
    }
}

fn open_uncached(path: &Path) -> io::Result<File> {
    let flags = OFlags::DIRECT.bits().cast_signed();
    OpenOptions::new()
        .write(true)
        .custom_flags(flags)
        .open(path)
}

/// The smallest block that can be written to this empty file; it is left empty.
fn probe(file: &File) -> io::Result<usize> {
    let mut buffer = AlignedBuffer::new();
    for size in BLOCK_SIZES {
        match file.write_all_at(buffer.fill(&vec![0; size]), 0) {
            Ok(()) => {
                file.set_len(0)?;
                return Ok(size);
            }
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {}
            Err(error) => return Err(error),
        }
    }
    Ok(CACHED_ONLY)
}
