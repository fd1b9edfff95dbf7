//! Chunk codecs: up to [`MAX_SAMPLES`] samples of one series as a run of bits.
//!
//! A head appends to an open chunk ([`OpenChunk`], [`OpenHistogramChunk`]) and keeps what
//! `close` returns; a reader decodes those bytes straight into columns. Nothing here does I/O.
//! The formats are drawn in `docs/formats/chunk.md`.

mod bits;
mod number;
mod float_open;
mod float_decode;
mod histogram_layout;
mod histogram_numbers;
mod histogram_open;
mod histogram_decode;

pub use float_decode::decode_into;
pub use float_open::OpenChunk;
pub use histogram_decode::{decode_histogram_samples_into, decode_histograms_into};
pub use histogram_open::OpenHistogramChunk;

/// The samples an open chunk takes before it asks for a new one.
pub const MAX_SAMPLES: usize = 120;

/// What the bytes of a chunk hold. The byte is kept beside the chunk by whoever stores it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ChunkKind {
    /// Float samples.
    Float = 1,
    /// Integer native histograms.
    IntHistogram = 2,
    /// Float native histograms.
    FloatHistogram = 3,
}

impl TryFrom<u8> for ChunkKind {
    type Error = ChunkError;

    fn try_from(byte: u8) -> Result<Self, ChunkError> {
        match byte {
            1 => Ok(Self::Float),
            2 => Ok(Self::IntHistogram),
            3 => Ok(Self::FloatHistogram),
            other => Err(ChunkError::UnknownKind(other)),
        }
    }
}

/// Whether an open chunk took a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum AppendResult {
    /// It did.
    Appended,
    /// It did not and is unchanged: close it and append to a new one.
    NewChunkNeeded,
}

/// Why the bytes of a chunk cannot be decoded. Always a [`crate::ErrorKind::Corrupt`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChunkError {
    /// The kind byte is none we know.
    #[error("unknown chunk kind {0}")]
    UnknownKind(u8),
    /// The header promises more than the bytes can hold, or they end within a sample.
    #[error("chunk is truncated")]
    Truncated,
    /// A field holds a value that no encoder writes.
    #[error("chunk is damaged: bad {0}")]
    Damaged(&'static str),
}

impl ChunkError {
    /// The kind of failure.
    pub fn kind(&self) -> crate::ErrorKind {
        crate::ErrorKind::Corrupt
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod histogram_tests;
