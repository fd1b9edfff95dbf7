//! Finding the next record behind damaged bytes.

use std::io;

use super::frame::{self, FLAG_ZSTD, FRAME_HEADER_BYTES};
use super::segment::{BLOCK_BYTES, FIRST_FRAME, Found, SegmentReader};

/// What a search may checksum, in bytes: about a second. Beyond, only beginnings of blocks are
/// tried, where each batch starts.
const CHECKSUM_BUDGET_BYTES: u64 = 4 << 30;
/// How far the bytes of a search are looked at together.
const STRIDE_BYTES: u64 = 64 << 10;
/// How a zstd frame begins.
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// The first place behind `at` where a frame stands; none where there is none any more.
pub(super) fn find_frame(reader: &mut SegmentReader, at: u64) -> io::Result<Option<u64>> {
    // A length that is damaged itself can lead past whole frames: what lies before is searched.
    let trusted = follow_length(reader, at)?;
    let end = trusted.unwrap_or(reader.size());
    let mut budget = CHECKSUM_BUDGET_BYTES;
    let mut from = (at + 1).max(FIRST_FRAME);
    while from + FRAME_HEADER_BYTES as u64 <= end {
        let to = (from + STRIDE_BYTES).min(end);
        for candidate in candidates(reader, from, to)? {
            let affordable = budget > 0 || candidate.is_multiple_of(BLOCK_BYTES);
            if !affordable {
                continue;
            }
            let length = reader.bytes(candidate, 4)?.map_or(0, frame::read_u32);
            budget = budget.saturating_sub(u64::from(length));
            if let Found::Frame(_) = reader.look(candidate)? {
                return Ok(Some(candidate));
            }
        }
        from = to;
    }
    Ok(trusted)
}

/// Where only the body or the checksum is damaged, the length leads to the next frame.
fn follow_length(reader: &mut SegmentReader, at: u64) -> io::Result<Option<u64>> {
    let Some(length) = reader.bytes(at, 4)?.map(frame::read_u32) else {
        return Ok(None);
    };
    if length as usize > reader.max_body_bytes() {
        return Ok(None);
    }
    let mut next = at + FRAME_HEADER_BYTES as u64 + u64::from(length);
    loop {
        match reader.look(next)? {
            Found::Frame(_) => return Ok(Some(next)),
            Found::Padding(to) => next = to,
            Found::End | Found::Damage => return Ok(None),
        }
    }
}

/// Places in a range that look like a frame's beginning.
fn candidates(reader: &mut SegmentReader, from: u64, to: u64) -> io::Result<Vec<u64>> {
    let size = reader.size();
    let max_body_bytes = reader.max_body_bytes();
    let margin = (FRAME_HEADER_BYTES + 10) as u64;
    let end = (to + margin).min(size);
    let Some(bytes) = reader.bytes(from, (end - from) as usize)? else {
        return Ok(Vec::new());
    };
    let plausible = |start: &usize| {
        let Some(head) = bytes.get(*start..*start + FRAME_HEADER_BYTES + 2) else {
            return false;
        };
        let body = frame::read_u32(head) as usize;
        let frame_end = from + (start + FRAME_HEADER_BYTES + body) as u64;
        let magic = bytes.get(start + 14..start + 18);
        match head[9] {
            0 => (2..=max_body_bytes).contains(&body) && frame_end <= size,
            FLAG_ZSTD => {
                let packed = magic.is_some_and(|magic| magic == ZSTD_MAGIC);
                packed && body <= max_body_bytes && frame_end <= size
            }
            _ => false,
        }
    };
    let starts = (0..(to - from) as usize).filter(plausible);
    Ok(starts.map(|start| from + start as u64).collect())
}
