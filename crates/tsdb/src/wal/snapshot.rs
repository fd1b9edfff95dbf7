//! Snapshots: what a replay of the log up to some place would give, in one file.
//!
//! A stream of frames, whose meaning belongs to the caller, and a footer that counts them. The
//! bytes are described in docs/formats/snapshot.md. A file without its footer is no snapshot.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::frame::{FRAME_HEADER_BYTES, FrameDecoder, FrameEncoder, is_sealed, read_u32};
use super::{Lsn, RecordKind, max_body_bytes};
use crate::disk::{Disk, DiskFile, ReadFile, WriteMode};

/// The largest payload of a frame, in bytes.
pub const MAX_FRAME_BYTES: usize = 64 << 20;
/// The kind of the footer; callers' kinds are below.
const FOOTER: RecordKind = RecordKind(255);

const MAGIC: &[u8; 8] = b"TIDESNAP";
const VERSION: u32 = 1;
/// Magic, version, LSN, checksum.
const HEADER_BYTES: usize = 8 + 4 + 8 + 4;
/// A frame with the count of frames and of payload bytes.
const FOOTER_BYTES: usize = FRAME_HEADER_BYTES + 2 + 16;
/// What is written, or read, at once, in bytes.
const BUFFER_BYTES: usize = 256 << 10;

/// Why a snapshot cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The file system said no.
    #[error("snapshot {path}: {source}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// The bytes are not those that were written.
    #[error("snapshot {path} is damaged at byte {offset}")]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// Where.
        offset: u64,
    },
    /// Another version of the product wrote it. It may be all there is of what was acknowledged.
    #[error("snapshot {path} has format version {found}, this process knows {VERSION}")]
    Version {
        /// Which file.
        path: PathBuf,
        /// The version of its format.
        found: u32,
    },
    /// The payload of a frame is larger than [`MAX_FRAME_BYTES`].
    #[error("snapshot frame of {0} bytes, the limit is {MAX_FRAME_BYTES}")]
    TooLarge(usize),
}

impl SnapshotError {
    fn at(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { path, source }
    }
}

/// A snapshot that is there, with header and footer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotFile {
    /// It holds what the log has below.
    pub lsn: Lsn,
    /// Its file.
    pub path: PathBuf,
    /// Its size, in bytes.
    pub bytes: u64,
}

/// The snapshots of a directory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshots {
    /// Those with header and footer, the newest first.
    pub complete: Vec<SnapshotFile>,
    /// Files that are named like snapshots and are none any more.
    pub damaged: Vec<PathBuf>,
}

/// The snapshots of a directory. Damaged ones are logged.
///
/// # Errors
/// Those of the file system, and a snapshot of a version that is not known: neither says that
/// what it holds is lost.
pub fn list_snapshots(dir: &Path, disk: &dyn Disk) -> Result<Snapshots, SnapshotError> {
    let mut found = Snapshots::default();
    for file in disk.list(dir).map_err(SnapshotError::at(dir))? {
        let path = dir.join(&file.name);
        let Some(lsn) = snapshot_lsn(&file.name) else {
            continue;
        };
        let bytes = file.bytes;
        match SnapshotReader::open(&path, disk) {
            Ok(reader) if reader.lsn == lsn => {
                found.complete.push(SnapshotFile { lsn, path, bytes });
            }
            Ok(_) => {
                tracing::error!(path = %path.display(), "snapshot under another's name");
                found.damaged.push(path);
            }
            Err(error @ SnapshotError::Damaged { .. }) => {
                tracing::error!(%error, "snapshot left out");
                found.damaged.push(path);
            }
            Err(error) => return Err(error),
        }
    }
    found
        .complete
        .sort_by_key(|file| std::cmp::Reverse(file.lsn));
    Ok(found)
}

/// The newest complete snapshot.
///
/// # Errors
/// As [`list_snapshots`].
pub fn latest(dir: &Path, disk: &dyn Disk) -> Result<Option<SnapshotFile>, SnapshotError> {
    Ok(list_snapshots(dir, disk)?.complete.into_iter().next())
}

/// Removes what snapshots left that were never finished, and says how many they were. To be
/// called at the start, as it would take the file of one that is being written.
///
/// # Errors
/// Those of the file system.
pub fn remove_unfinished(dir: &Path, disk: &dyn Disk) -> Result<usize, SnapshotError> {
    let mut removed = 0;
    for file in disk.list(dir).map_err(SnapshotError::at(dir))? {
        let unfinished = file.name.strip_suffix(".tmp").and_then(snapshot_lsn);
        if unfinished.is_some() {
            let path = dir.join(&file.name);
            tracing::warn!(path = %path.display(), bytes = file.bytes, "removes an unfinished snapshot");
            disk.remove(&path).map_err(SnapshotError::at(&path))?;
            removed += 1;
        }
    }
    // A name that a power loss brings back is removed by the next start.
    Ok(removed)
}

/// Removes all snapshots below an LSN, complete or not, and what unfinished ones left.
///
/// # Errors
/// Those of the file system.
pub fn remove_before(dir: &Path, lsn: Lsn, disk: &dyn Disk) -> Result<(), SnapshotError> {
    let mut changed = false;
    for file in disk.list(dir).map_err(SnapshotError::at(dir))? {
        let finished = file.name.strip_suffix(".tmp").unwrap_or(&file.name);
        if snapshot_lsn(finished).is_some_and(|known| known < lsn) {
            let path = dir.join(&file.name);
            disk.remove(&path).map_err(SnapshotError::at(&path))?;
            changed = true;
        }
    }
    if changed {
        disk.sync_dir(dir).map_err(SnapshotError::at(dir))?;
    }
    Ok(())
}

fn snapshot_path(dir: &Path, lsn: Lsn) -> PathBuf {
    dir.join(format!("snapshot-{:016x}", lsn.0))
}

fn snapshot_lsn(name: &str) -> Option<Lsn> {
    let digits = name.strip_prefix("snapshot-")?;
    let lsn = u64::from_str_radix(digits, 16).ok()?;
    (format!("{lsn:016x}") == digits).then_some(Lsn(lsn))
}

/// The header of a snapshot of this version.
fn encode_header(lsn: Lsn) -> [u8; HEADER_BYTES] {
    let mut bytes = [0; HEADER_BYTES];
    bytes[..8].copy_from_slice(MAGIC);
    bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
    bytes[12..20].copy_from_slice(&lsn.0.to_le_bytes());
    let checksum = crc32c::crc32c(&bytes[..20]);
    bytes[20..].copy_from_slice(&checksum.to_le_bytes());
    bytes
}

/// Version and LSN of a header, which every version begins with; none where it is damaged.
fn decode_header(bytes: &[u8; HEADER_BYTES]) -> Option<(u32, Lsn)> {
    let sealed = crc32c::crc32c(&bytes[..20]) == read_u32(&bytes[20..]);
    if !sealed || !bytes.starts_with(MAGIC) {
        return None;
    }
    let mut lsn = [0; 8];
    lsn.copy_from_slice(&bytes[12..20]);
    Some((read_u32(&bytes[8..]), Lsn(u64::from_le_bytes(lsn))))
}

/// Writes one snapshot into a temporary file. Dropped before [`Self::finish`] has succeeded, it
/// removes that; what a crash leaves, [`remove_unfinished`] removes.
pub struct SnapshotWriter {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    lsn: Lsn,
    path: PathBuf,
    file: Arc<dyn DiskFile>,
    seed: u32,
    encoder: FrameEncoder,
    buffer: Vec<u8>,
    frames: u64,
    payload_bytes: u64,
    /// Whether it has its name.
    finished: bool,
}

impl SnapshotWriter {
    /// Begins the snapshot of what the log has below `lsn`.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn create(dir: &Path, lsn: Lsn, disk: Arc<dyn Disk>) -> Result<Self, SnapshotError> {
        disk.create_dir_all(dir).map_err(SnapshotError::at(dir))?;
        let path = snapshot_path(dir, lsn).with_extension("tmp");
        match disk.remove(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            removed => removed.map_err(SnapshotError::at(&path))?,
        }
        let created = disk.create(&path, WriteMode::Blocks);
        let file = created.map_err(SnapshotError::at(&path))?;
        let header = encode_header(lsn);
        Ok(Self {
            disk,
            dir: dir.to_owned(),
            lsn,
            path,
            file,
            seed: crc32c::crc32c(&header),
            encoder: FrameEncoder::default(),
            buffer: header.to_vec(),
            frames: 0,
            payload_bytes: 0,
            finished: false,
        })
    }

    /// Adds a frame; its kind is below 255.
    ///
    /// # Errors
    /// Those of the file system; a payload that is too large.
    pub fn frame(&mut self, kind: RecordKind, payload: &[u8]) -> Result<(), SnapshotError> {
        if payload.len() > MAX_FRAME_BYTES {
            return Err(SnapshotError::TooLarge(payload.len()));
        }
        let frame = self.encoder.encode_sealed(kind, payload, self.seed);
        self.buffer.extend_from_slice(frame);
        self.frames += 1;
        self.payload_bytes += payload.len() as u64;
        if self.buffer.len() < BUFFER_BYTES {
            return Ok(());
        }
        let whole = self.buffer.len() / self.file.block_bytes() * self.file.block_bytes();
        self.write(whole)
    }

    /// Ends the snapshot and makes it durable under its name.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn finish(mut self) -> Result<SnapshotFile, SnapshotError> {
        let mut counts = self.frames.to_le_bytes().to_vec();
        counts.extend_from_slice(&self.payload_bytes.to_le_bytes());
        let footer = self.encoder.encode_sealed(FOOTER, &counts, self.seed);
        // The footer ends the file, so that it can be found; zeros in front of it fill the block.
        let end = self.buffer.len() + footer.len();
        let padding = end.next_multiple_of(self.file.block_bytes()) - end;
        self.buffer.resize(self.buffer.len() + padding, 0);
        self.buffer.extend_from_slice(footer);
        self.write(self.buffer.len())?;
        self.file
            .sync_data()
            .map_err(SnapshotError::at(&self.path))?;
        let path = snapshot_path(&self.dir, self.lsn);
        let renamed = self.disk.rename(&self.path, &path);
        renamed.map_err(SnapshotError::at(&path))?;
        self.finished = true;
        self.disk
            .sync_dir(&self.dir)
            .map_err(SnapshotError::at(&self.dir))?;
        Ok(SnapshotFile {
            lsn: self.lsn,
            path,
            bytes: self.file.size(),
        })
    }

    fn write(&mut self, bytes: usize) -> Result<(), SnapshotError> {
        let written = self.file.append(&self.buffer[..bytes]);
        written.map_err(SnapshotError::at(&self.path))?;
        self.buffer.drain(..bytes);
        Ok(())
    }
}

impl Drop for SnapshotWriter {
    /// Removes the file of a snapshot that was not finished.
    fn drop(&mut self) {
        if self.finished {
            return;
        }
        if let Err(error) = self.disk.remove(&self.path) {
            let path = self.path.display();
            tracing::warn!(%path, %error, "an unfinished snapshot stays until the next start");
        }
    }
}

/// Reads one snapshot, frame by frame.
pub struct SnapshotReader {
    path: PathBuf,
    file: Box<dyn ReadFile>,
    lsn: Lsn,
    seed: u32,
    decoder: FrameDecoder,
    /// What was read and not handed out yet; begins at byte `offset` of the file.
    buffer: Vec<u8>,
    start: usize,
    offset: u64,
    /// Where the footer begins.
    end: u64,
    footer: [u8; 16],
    frames: u64,
    payload_bytes: u64,
}

impl SnapshotReader {
    /// Opens a snapshot, and looks at its header and footer.
    ///
    /// # Errors
    /// Those of the file system; a file that is no complete snapshot, or of a version that is
    /// not known.
    pub fn open(path: &Path, disk: &dyn Disk) -> Result<Self, SnapshotError> {
        let damaged = |offset| SnapshotError::Damaged {
            path: path.to_owned(),
            offset,
        };
        let file = disk.open_read(path).map_err(SnapshotError::at(path))?;
        let size = file.size().map_err(SnapshotError::at(path))?;
        if size < HEADER_BYTES as u64 {
            return Err(damaged(0));
        }
        let mut header = [0; HEADER_BYTES];
        read_exact(&*file, &mut header, 0).map_err(SnapshotError::at(path))?;
        let (version, lsn) = decode_header(&header).ok_or_else(|| damaged(0))?;
        // Everything behind the header may be another's business.
        if version != VERSION {
            return Err(SnapshotError::Version {
                path: path.to_owned(),
                found: version,
            });
        }
        let end = size.checked_sub(FOOTER_BYTES as u64);
        let end = end
            .filter(|end| *end >= HEADER_BYTES as u64)
            .ok_or_else(|| damaged(size))?;
        let seed = crc32c::crc32c(&header);
        let mut frame = [0; FOOTER_BYTES];
        read_exact(&*file, &mut frame, end).map_err(SnapshotError::at(path))?;
        let mut decoder = FrameDecoder::new(MAX_FRAME_BYTES).map_err(SnapshotError::at(path))?;
        let sized = read_u32(&frame) as usize == FOOTER_BYTES - FRAME_HEADER_BYTES;
        let decoded = (sized && is_sealed(&frame, seed)).then(|| decoder.decode(&frame));
        let footer = match decoded.flatten() {
            Some((FOOTER, counts)) => counts.try_into().map_err(|_| damaged(end))?,
            _ => return Err(damaged(end)),
        };
        Ok(Self {
            path: path.to_owned(),
            file,
            lsn,
            seed,
            decoder,
            buffer: Vec::new(),
            start: 0,
            offset: HEADER_BYTES as u64,
            end,
            footer,
            frames: 0,
            payload_bytes: 0,
        })
    }

    /// What the log has below this is in the snapshot.
    pub fn lsn(&self) -> Lsn {
        self.lsn
    }

    /// The next frame; none once all have been read and counted.
    ///
    /// # Errors
    /// Those of the file system; damage, after which nothing more can be read.
    pub fn next_frame(&mut self) -> Result<Option<(RecordKind, Vec<u8>)>, SnapshotError> {
        if self.offset == self.end {
            return self.finish();
        }
        let head = usize::try_from(self.end - self.offset).unwrap_or(usize::MAX);
        let head = head.min(FRAME_HEADER_BYTES);
        self.fill(head)?;
        if self.buffer[self.start..self.start + head]
            .iter()
            .take(4)
            .all(|byte| *byte == 0)
        {
            self.offset = self.end;
            return self.finish();
        }
        let body = match head {
            FRAME_HEADER_BYTES => read_u32(&self.buffer[self.start..]) as usize,
            _ => return Err(self.damaged()),
        };
        let total = FRAME_HEADER_BYTES + body;
        let fits = body >= 2 && body <= max_body_bytes(MAX_FRAME_BYTES);
        if !fits || self.offset + total as u64 > self.end {
            return Err(self.damaged());
        }
        self.fill(total)?;
        let frame = &self.buffer[self.start..self.start + total];
        let decoded = is_sealed(frame, self.seed).then(|| self.decoder.decode(frame));
        let Some((kind, payload)) = decoded.flatten() else {
            return Err(self.damaged());
        };
        self.start += total;
        self.offset += total as u64;
        self.frames += 1;
        self.payload_bytes += payload.len() as u64;
        Ok(Some((kind, payload)))
    }

    fn finish(&self) -> Result<Option<(RecordKind, Vec<u8>)>, SnapshotError> {
        let mut counts = self.frames.to_le_bytes().to_vec();
        counts.extend_from_slice(&self.payload_bytes.to_le_bytes());
        if counts == self.footer {
            Ok(None)
        } else {
            Err(self.damaged())
        }
    }

    fn damaged(&self) -> SnapshotError {
        SnapshotError::Damaged {
            path: self.path.clone(),
            offset: self.offset,
        }
    }

    /// Has at least that many bytes of the file in the buffer; they are in front of the footer.
    fn fill(&mut self, wanted: usize) -> Result<(), SnapshotError> {
        let have = self.buffer.len() - self.start;
        if have >= wanted {
            return Ok(());
        }
        self.buffer.drain(..self.start);
        self.start = 0;
        let rest = usize::try_from(self.end - self.offset).unwrap_or(usize::MAX);
        self.buffer.resize(wanted.max(BUFFER_BYTES).min(rest), 0);
        let place = &mut self.buffer[have..];
        let read = read_exact(&*self.file, place, self.offset + have as u64);
        read.map_err(SnapshotError::at(&self.path))
    }
}

fn read_exact(file: &dyn ReadFile, mut place: &mut [u8], mut offset: u64) -> io::Result<()> {
    while !place.is_empty() {
        match file.read_at(place, offset)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => {
                place = &mut place[read..];
                offset += read as u64;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
