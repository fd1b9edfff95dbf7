//! Frames: a payload with its length and checksum, as segments and snapshots hold them.
//!
//! `body length u32 | crc32c u32 | kind u8 | flags u8 | payload`, little-endian. The checksum
//! covers the length and the body and is seeded with that of the file's header, so that bytes
//! of another file are no frame of this one. Zero instead of a length is padding.

use parking_lot::Mutex;
use zstd::bulk::{Compressor, Decompressor};

use super::RecordKind;

/// Length and checksum, in bytes.
pub(super) const FRAME_HEADER_BYTES: usize = 8;
/// What a body has besides its payload: kind, flags, and the length before compression.
pub(super) const MAX_FRAME_OVERHEAD: usize = 6;
/// The payload is compressed: its length before that as u32, then a zstd frame.
pub(super) const FLAG_ZSTD: u8 = 1;

/// Smaller payloads are not compressed, in bytes.
const MIN_COMPRESSED_BYTES: usize = 64;
/// The level at which a record costs less than the rest of its commit.
const ZSTD_LEVEL: i32 = 1;
/// Compressors that are kept, about 200 KiB each.
const MAX_IDLE: usize = 8;
/// Memory that a kept compressor may hold on to, in bytes.
const KEPT_FRAME_BYTES: usize = 256 << 10;

/// Compressors with their buffers, for use again.
#[derive(Default)]
pub(super) struct FramePool {
    idle: Mutex<Vec<FrameEncoder>>,
}

impl FramePool {
    pub(super) fn take(&self) -> FrameEncoder {
        let idle = self.idle.lock().pop();
        idle.unwrap_or_default()
    }

    pub(super) fn give_back(&self, mut encoder: FrameEncoder) {
        encoder.frame.clear();
        encoder.frame.shrink_to(KEPT_FRAME_BYTES);
        let mut idle = self.idle.lock();
        if idle.len() < MAX_IDLE {
            idle.push(encoder);
        }
    }
}

/// Makes frames, one at a time.
#[derive(Default)]
pub(super) struct FrameEncoder {
    /// None until first used, and where zstd could not get memory.
    compressor: Option<Compressor<'static>>,
    frame: Vec<u8>,
}

impl FrameEncoder {
    /// The frame of a payload, its checksum still zero.
    pub(super) fn encode(&mut self, kind: RecordKind, payload: &[u8]) -> &[u8] {
        let flags = if self.compress(payload) {
            FLAG_ZSTD
        } else {
            let head = FRAME_HEADER_BYTES + 2;
            self.frame.clear();
            self.frame.resize(head, 0);
            self.frame.extend_from_slice(payload);
            0
        };
        let body = (self.frame.len() - FRAME_HEADER_BYTES) as u32;
        self.frame[..4].copy_from_slice(&body.to_le_bytes());
        self.frame[FRAME_HEADER_BYTES] = kind.0;
        self.frame[FRAME_HEADER_BYTES + 1] = flags;
        &self.frame
    }

    /// The frame, sealed.
    pub(super) fn encode_sealed(&mut self, kind: RecordKind, payload: &[u8], seed: u32) -> &[u8] {
        self.encode(kind, payload);
        seal(&mut self.frame, seed);
        &self.frame
    }

    /// Compresses behind room for the header; false where that is not worth it.
    fn compress(&mut self, payload: &[u8]) -> bool {
        if payload.len() < MIN_COMPRESSED_BYTES {
            return false;
        }
        if self.compressor.is_none() {
            self.compressor = Compressor::new(ZSTD_LEVEL).ok();
        }
        let Some(compressor) = &mut self.compressor else {
            return false;
        };
        let start = FRAME_HEADER_BYTES + MAX_FRAME_OVERHEAD;
        let room = zstd::zstd_safe::compress_bound(payload.len());
        if self.frame.len() < start + room {
            self.frame.resize(start + room, 0);
        }
        match compressor.compress_to_buffer(payload, &mut self.frame[start..]) {
            Ok(packed) if packed + 4 < payload.len() => {
                let raw = payload.len() as u32;
                self.frame[start - 4..start].copy_from_slice(&raw.to_le_bytes());
                self.frame.truncate(start + packed);
                true
            }
            _ => false,
        }
    }
}

/// Writes the checksum of a frame.
pub(super) fn seal(frame: &mut [u8], seed: u32) {
    let checksum = checksum(&frame[..4], &frame[FRAME_HEADER_BYTES..], seed);
    frame[4..8].copy_from_slice(&checksum.to_le_bytes());
}

/// Writes the checksums of frames that stand one after the other.
pub(super) fn seal_all(mut frames: &mut [u8], seed: u32) {
    while frames.len() >= FRAME_HEADER_BYTES {
        let body = read_u32(frames) as usize;
        let (frame, rest) = frames.split_at_mut(FRAME_HEADER_BYTES + body);
        seal(frame, seed);
        frames = rest;
    }
}

/// Whether the checksum of a whole frame is right.
pub(super) fn is_sealed(frame: &[u8], seed: u32) -> bool {
    let found = checksum(&frame[..4], &frame[FRAME_HEADER_BYTES..], seed);
    found == read_u32(&frame[4..])
}

fn checksum(length: &[u8], body: &[u8], seed: u32) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c_append(seed, length), body)
}

/// The first four bytes as a number.
pub(super) fn read_u32(bytes: &[u8]) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[..4]);
    u32::from_le_bytes(word)
}

/// Undoes what [`FrameEncoder`] does to payloads.
pub(super) struct FrameDecoder {
    decompressor: Decompressor<'static>,
    max_payload_bytes: usize,
}

impl FrameDecoder {
    /// A decoder that refuses payloads over a limit.
    pub(super) fn new(max_payload_bytes: usize) -> std::io::Result<Self> {
        Ok(Self {
            decompressor: Decompressor::new()?,
            max_payload_bytes,
        })
    }

    /// Kind and payload of a frame whose checksum is right; none where they make no sense.
    pub(super) fn decode(&mut self, frame: &[u8]) -> Option<(RecordKind, Vec<u8>)> {
        let (&[kind, flags], rest) = frame.get(FRAME_HEADER_BYTES..)?.split_first_chunk()?;
        let payload = match flags {
            0 => rest.to_vec(),
            FLAG_ZSTD => {
                let (raw, packed) = rest.split_at_checked(4)?;
                let raw = read_u32(raw) as usize;
                if raw > self.max_payload_bytes {
                    return None;
                }
                let payload = self.decompressor.decompress(packed, raw).ok()?;
                (payload.len() == raw).then_some(payload)?
            }
            _ => return None,
        };
        Some((RecordKind(kind), payload))
    }
}
