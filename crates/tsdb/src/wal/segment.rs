//! Segment files: their names, their header, and reading frames from them.

use std::io;
use std::path::{Path, PathBuf};

use super::frame::{self, FLAG_ZSTD, FRAME_HEADER_BYTES};
use crate::disk::{Disk, ReadFile};

/// Frames of one batch stand back to back; each batch begins at a multiple of this, in bytes.
pub(super) const BLOCK_BYTES: u64 = 512;
/// The header stands in each of the first two blocks, as everything behind hangs on it.
pub(super) const HEADER_COPIES: u64 = 2;
/// Where the first frame can be, in bytes.
pub(super) const FIRST_FRAME: u64 = HEADER_COPIES * BLOCK_BYTES;

const MAGIC: &[u8; 8] = b"TIDEWAL\n";
/// The version of the format that is written.
const VERSION: u32 = 1;
/// Magic, version, segment number, instance, checksum.
const HEADER_BYTES: usize = 8 + 4 + 4 + 16 + 4;
/// What is read from a file at once, in bytes.
const READ_BYTES: usize = 1 << 20;

/// The path of a segment.
pub fn segment_path(dir: &Path, number: u32) -> PathBuf {
    dir.join(format!("{number:08}"))
}

/// The numbers and sizes in bytes of the segments of a directory, ascending.
///
/// # Errors
/// Those of the file system.
pub fn list_segments(dir: &Path, disk: &dyn Disk) -> io::Result<Vec<(u32, u64)>> {
    let files = disk.list(dir)?;
    let numbered = files.iter().filter_map(|file| {
        let number = segment_number(&file.name)?;
        Some((number, file.bytes))
    });
    let mut segments: Vec<_> = numbered.collect();
    segments.sort_unstable();
    Ok(segments)
}

/// The number in a segment's name; none for other files.
fn segment_number(name: &str) -> Option<u32> {
    let digits = name.len() >= 8 && name.bytes().all(|byte| byte.is_ascii_digit());
    let number: u32 = name.parse().ok().filter(|_| digits)?;
    (number > 0 && name == format!("{number:08}")).then_some(number)
}

/// Who wrote a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    pub(super) number: u32,
    pub(super) instance: u128,
}

impl SegmentHeader {
    /// The header's bytes, without padding.
    fn encode(self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.number.to_le_bytes());
        bytes[16..32].copy_from_slice(&self.instance.to_le_bytes());
        let checksum = crc32c::crc32c(&bytes[..32]);
        bytes[32..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// All copies with their padding, as they stand in a file of blocks of this size.
    pub(super) fn encode_padded(self, block_bytes: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(FIRST_FRAME as usize);
        for copy in 1..=HEADER_COPIES {
            bytes.extend_from_slice(&self.encode());
            bytes.resize((copy * BLOCK_BYTES) as usize, 0);
        }
        bytes.resize(bytes.len().next_multiple_of(block_bytes), 0);
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.get(..HEADER_BYTES)?;
        let checksum = crc32c::crc32c(&bytes[..32]);
        let known = bytes.starts_with(MAGIC) && frame::read_u32(&bytes[8..]) == VERSION;
        if !known || frame::read_u32(&bytes[32..]) != checksum {
            return None;
        }
        let mut instance = [0; 16];
        instance.copy_from_slice(&bytes[16..32]);
        Some(Self {
            number: frame::read_u32(&bytes[12..]),
            instance: u128::from_le_bytes(instance),
        })
    }

    /// What the checksums of this segment's frames are seeded with.
    pub(super) fn seed(self) -> u32 {
        crc32c::crc32c(&self.encode())
    }
}

/// What stands at a place of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// A frame of this many bytes, its checksum right.
    Frame(usize),
    /// Zeros up to there.
    Padding(u64),
    /// The end of the file.
    End,
    /// Neither.
    Damage,
}

/// A segment that is being read through a window.
pub(super) struct SegmentReader {
    file: Box<dyn ReadFile>,
    size: u64,
    window: Vec<u8>,
    window_start: u64,
    seed: u32,
    max_body_bytes: usize,
}

impl SegmentReader {
    /// Opens a segment; none where its header is unreadable.
    pub(super) fn open(
        path: &Path,
        number: u32,
        disk: &dyn Disk,
        max_body_bytes: usize,
    ) -> io::Result<Option<Self>> {
        let file = disk.open_read(path)?;
        let mut reader = Self {
            size: file.size()?,
            file,
            window: Vec::new(),
            window_start: 0,
            seed: 0,
            max_body_bytes,
        };
        for copy in 0..HEADER_COPIES {
            let bytes = reader.bytes(copy * BLOCK_BYTES, HEADER_BYTES)?;
            let header = bytes.and_then(SegmentHeader::decode);
            if let Some(header) = header.filter(|header| header.number == number) {
                reader.seed = header.seed();
                return Ok(Some(reader));
            }
        }
        Ok(None)
    }

    pub(super) fn size(&self) -> u64 {
        self.size
    }

    pub(super) fn max_body_bytes(&self) -> usize {
        self.max_body_bytes
    }

    /// The bytes at a place; none where the file ends before.
    pub(super) fn bytes(&mut self, offset: u64, count: usize) -> io::Result<Option<&[u8]>> {
        if offset
            .checked_add(count as u64)
            .is_none_or(|end| end > self.size)
        {
            return Ok(None);
        }
        let window_end = self.window_start + self.window.len() as u64;
        if offset < self.window_start || offset + count as u64 > window_end {
            self.load(offset, count)?;
        }
        let start = (offset - self.window_start) as usize;
        Ok(self.window.get(start..start + count))
    }

    /// Moves the window so that it holds those bytes, and more behind them.
    fn load(&mut self, offset: u64, count: usize) -> io::Result<()> {
        let kept = offset.checked_sub(self.window_start);
        let kept = kept.and_then(|start| usize::try_from(start).ok());
        match kept.filter(|start| *start <= self.window.len()) {
            Some(start) => drop(self.window.drain(..start)),
            None => self.window.clear(),
        }
        self.window_start = offset;
        let rest = usize::try_from(self.size - offset).unwrap_or(usize::MAX);
        let wanted = count.max(READ_BYTES).min(rest);
        let mut filled = self.window.len();
        self.window.resize(wanted.max(filled), 0);
        while filled < wanted {
            let place = &mut self.window[filled..];
            match self.file.read_at(place, offset + filled as u64)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                read => filled += read,
            }
        }
        Ok(())
    }

    /// What stands at a place.
    pub(super) fn look(&mut self, at: u64) -> io::Result<Found> {
        if at >= self.size {
            return Ok(Found::End);
        }
        let block_end = ((at / BLOCK_BYTES + 1) * BLOCK_BYTES).min(self.size);
        let in_block = (block_end - at) as usize;
        let Some(rest) = self.bytes(at, in_block)? else {
            return Ok(Found::End);
        };
        let zero_size = rest.iter().take(4).all(|byte| *byte == 0);
        let zeros = zero_size && rest.iter().all(|byte| *byte == 0);
        let otherwise = if zeros {
            Found::Padding(block_end)
        } else {
            Found::Damage
        };
        // Fewer than four zeros up to the end of a block can be the low bytes of a size as well.
        if zero_size && in_block >= 4 {
            return Ok(otherwise);
        }
        // That it is padding is much likelier, and what follows can look like a huge size then: a
        // byte that is no flags tells most of them, before megabytes are checked for nothing.
        let flags = self.bytes(at, FRAME_HEADER_BYTES + 2)?;
        let flagged = flags.is_some_and(|head| head[FRAME_HEADER_BYTES + 1] <= FLAG_ZSTD);
        if zeros && !flagged {
            return Ok(otherwise);
        }
        Ok(self.sealed_frame(at)?.map_or(otherwise, Found::Frame))
    }

    /// The size of the frame that stands at a place; none where there is none, or its checksum
    /// is wrong.
    fn sealed_frame(&mut self, at: u64) -> io::Result<Option<usize>> {
        let (seed, max_body_bytes) = (self.seed, self.max_body_bytes);
        let Some(length) = self.bytes(at, 4)? else {
            return Ok(None);
        };
        let body = frame::read_u32(length) as usize;
        if !(2..=max_body_bytes).contains(&body) {
            return Ok(None);
        }
        let total = FRAME_HEADER_BYTES + body;
        let whole = self.bytes(at, total)?;
        let sealed = whole.is_some_and(|frame| frame::is_sealed(frame, seed));
        Ok(sealed.then_some(total))
    }
}
