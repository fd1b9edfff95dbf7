//! All access of this crate to files: the disk of the machine, and one that fails on request.
//!
//! A log's files bypass the page cache where the file system allows it (`O_DIRECT`): an append of
//! 5 KB then costs 5.5 KB on the device rather than the 9.4 KB of rewriting partial pages, and
//! 0.13 ms with its sync rather than 0.15 ms (ext4 on virtio; preallocation gained nothing more).

pub mod faulty;
mod real;

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

pub use faulty::FaultyDisk;
pub use real::{FileMap, RealDisk};

/// How a new file will be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteMode {
    /// Through the page cache, in pieces of any size.
    Cached,
    /// Past the page cache where possible, in whole blocks of [`DiskFile::block_bytes`].
    Blocks,
}

/// One file of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirFile {
    /// Its name, without the directory.
    pub name: String,
    /// Its size, in bytes.
    pub bytes: u64,
}

/// A file system.
///
/// What was written is durable after [`DiskFile::sync_data`], a file's existence, name and
/// removal after [`Disk::sync_dir`] on its directory.
pub trait Disk: Send + Sync + fmt::Debug {
    /// Makes a directory, and those above it; no error where it exists.
    ///
    /// # Errors
    /// Those of the file system.
    fn create_dir_all(&self, dir: &Path) -> io::Result<()>;

    /// Makes a file that does not exist yet, empty.
    ///
    /// # Errors
    /// `AlreadyExists`, `StorageFull`, and others of the file system.
    fn create(&self, path: &Path, mode: WriteMode) -> io::Result<Arc<dyn DiskFile>>;

    /// Opens a file that exists, to go on writing at its end or to cut it.
    ///
    /// # Errors
    /// Those of the file system.
    fn open_append(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;

    /// Opens a file for reading.
    ///
    /// # Errors
    /// Those of the file system.
    fn open_read(&self, path: &Path) -> io::Result<Box<dyn ReadFile>>;

    /// Maps the first `bytes` of a file that may still be growing to that size: what is appended
    /// shows in the map. `None` where the disk has no memory maps: read it piece by piece then.
    /// Bytes behind the file's end must not be touched.
    ///
    /// # Errors
    /// Those of the file system.
    fn map(&self, path: &Path, bytes: usize) -> io::Result<Option<FileMap>>;

    /// Gives a file another name, and replaces what had that name.
    ///
    /// # Errors
    /// Those of the file system.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// Those of the file system.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// The files of a directory, by name; none where there is no such directory.
    ///
    /// # Errors
    /// Those of the file system.
    fn list(&self, dir: &Path) -> io::Result<Vec<DirFile>>;

    /// Takes a lock that holds until the process ends or the answer is dropped; `None` where
    /// another process holds it. The file is made where there is none.
    ///
    /// # Errors
    /// Those of the file system.
    fn lock(&self, path: &Path) -> io::Result<Option<DiskLock>>;

    /// Makes the directory's entries durable.
    ///
    /// # Errors
    /// Those of the file system.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// Bytes that this process may still write to the file system of a directory.
    ///
    /// # Errors
    /// Those of the file system.
    fn free_bytes(&self, dir: &Path) -> io::Result<u64>;
}

/// A lock on a file, see [`Disk::lock`].
#[derive(Debug)]
pub struct DiskLock {
    /// Where the lock belongs to a file of the machine, closing that file gives it back.
    _file: Option<std::fs::File>,
}

/// A file that is being written at its end.
pub trait DiskFile: Send + Sync {
    /// Writes at the end. After an error, any part of the bytes may be there.
    ///
    /// # Errors
    /// `StorageFull`, and others of the file system; `InvalidInput` where the length is no
    /// multiple of [`Self::block_bytes`].
    fn append(&self, bytes: &[u8]) -> io::Result<()>;

    /// Makes everything appended so far durable. After an error nobody knows what is durable:
    /// a second call may succeed although data was lost.
    ///
    /// # Errors
    /// Those of the file system.
    fn sync_data(&self) -> io::Result<()>;

    /// Where the next append goes, in bytes.
    fn size(&self) -> u64;

    /// Cuts the file, or extends it with zeros; the next append goes to the new end.
    ///
    /// # Errors
    /// Those of the file system.
    fn set_len(&self, bytes: u64) -> io::Result<()>;

    /// What the length of each append must be a multiple of; a power of two.
    fn block_bytes(&self) -> usize;
}

/// A file that is being read.
pub trait ReadFile: Send + Sync {
    /// Fills a part of `buffer` from `offset` on; 0 at the end of the file.
    ///
    /// # Errors
    /// Those of the file system.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// The file's size, in bytes.
    ///
    /// # Errors
    /// Those of the file system.
    fn size(&self) -> io::Result<u64>;
}

/// Whether an error says that there is no room for more data.
pub fn is_full(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}
