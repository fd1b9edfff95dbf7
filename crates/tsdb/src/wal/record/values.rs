//! A column of floats: a tag byte for each, and as few bytes as its kind needs.
//!
//! Most values of scraped metrics are whole numbers, and the buckets of a classic histogram,
//! which follow each other, differ little: such a value is told by its distance from the one
//! before. Times and sums are often decimals with few places, memory sizes are whole pages.

use model::sample::{STALE_NAN_BITS, stale_nan};

use super::RecordError;
use super::cursor::{Cursor, put_bytes, unzigzag, zigzag};

// The upper half of a tag; the lower half counts the bytes that follow.
const WHOLE: u8 = 0;
const WHOLE_NEGATIVE: u8 = 1;
const UP: u8 = 2;
const DOWN: u8 = 3;
const PAGES: u8 = 4;
/// The first of [`SCALES`].
const DECIMAL: u8 = 5;
const FLOAT: u8 = 10;
const STALE: u8 = 11;

/// What the size of the whole numbers takes, at most.
const MAX_SIZE_BYTES: usize = 10;
const PAGE_SHIFT: u32 = 12;
/// What a decimal is multiplied with to be a whole number.
const SCALES: [f64; 5] = [1e1, 1e2, 1e3, 1e6, 1e9];

/// Collects a column.
#[derive(Default)]
pub(super) struct ValueEncoder {
    tags: Vec<u8>,
    wholes: Vec<u8>,
    floats: Vec<[u8; 8]>,
    last_whole: i64,
    last_scale: usize,
}

impl ValueEncoder {
    pub(super) fn clear(&mut self) {
        self.tags.clear();
        self.wholes.clear();
        self.floats.clear();
        self.last_whole = 0;
        self.last_scale = 0;
    }

    #[inline]
    pub(super) fn push(&mut self, value: f64) {
        let whole = value as i64;
        if (whole as f64).to_bits() == value.to_bits() {
            self.push_whole(whole);
        } else {
            self.push_other(value);
        }
    }

    #[inline]
    fn push_whole(&mut self, whole: i64) {
        let step = whole.wrapping_sub(self.last_whole);
        self.last_whole = whole;
        let magnitude = whole.unsigned_abs();
        let distance = step.unsigned_abs();
        let kind = if whole < 0 { WHOLE_NEGATIVE } else { WHOLE };
        let step_kind = if step < 0 { DOWN } else { UP };
        let full = bytes_of(magnitude);
        let short = bytes_of(distance);
        if short < full {
            self.put(step_kind, distance, short);
        } else if full > 2 && whole > 0 && whole.trailing_zeros() >= PAGE_SHIFT {
            let pages = magnitude >> PAGE_SHIFT;
            self.put(PAGES, pages, bytes_of(pages));
        } else {
            self.put(kind, magnitude, full);
        }
    }

    fn push_other(&mut self, value: f64) {
        let bits = value.to_bits();
        if bits == STALE_NAN_BITS {
            self.tags.push(STALE << 4);
            return;
        }
        let order = std::iter::once(self.last_scale).chain(0..SCALES.len());
        for scale in order {
            if let Some(whole) = as_decimal(value, SCALES[scale]) {
                let number = zigzag(whole);
                let width = bytes_of(number);
                if width < 8 {
                    self.last_scale = scale;
                    self.put(DECIMAL + scale as u8, number, width);
                    return;
                }
            }
        }
        self.tags.push(FLOAT << 4);
        self.floats.push(bits.to_le_bytes());
    }

    #[inline]
    fn put(&mut self, kind: u8, number: u64, width: usize) {
        self.tags.push(kind << 4 | width as u8);
        let end = self.wholes.len() + width;
        self.wholes.extend_from_slice(&number.to_le_bytes());
        self.wholes.truncate(end);
    }

    /// At most so many bytes are appended by [`Self::write`].
    pub(super) fn size(&self) -> usize {
        self.tags.len() + MAX_SIZE_BYTES + self.wholes.len() + 8 * self.floats.len()
    }

    /// Memory that is held, in bytes.
    pub(super) fn capacity(&self) -> usize {
        self.tags.capacity() + self.wholes.capacity() + 8 * self.floats.capacity()
    }

    /// Appends the column: tags, whole numbers behind their size, floats byte by byte.
    pub(super) fn write(&self, section: &mut Vec<u8>) {
        section.extend_from_slice(&self.tags);
        put_bytes(section, &self.wholes);
        for place in 0..8 {
            section.extend(self.floats.iter().map(|bytes| bytes[place]));
        }
    }
}

/// The whole number that gives this value when divided by the scale.
#[inline]
fn as_decimal(value: f64, scale: f64) -> Option<i64> {
    let whole = (value * scale + 0.5_f64.copysign(value)) as i64;
    ((whole as f64 / scale).to_bits() == value.to_bits()).then_some(whole)
}

/// How many bytes a number needs, 0 for 0.
#[inline]
fn bytes_of(number: u64) -> usize {
    (71 - number.leading_zeros() as usize) / 8
}

/// Reads a column.
pub(super) struct ValueDecoder<'a> {
    tags: std::slice::Iter<'a, u8>,
    wholes: &'a [u8],
    floats: &'a [u8],
    float_count: usize,
    next_float: usize,
    last_whole: i64,
}

impl<'a> ValueDecoder<'a> {
    pub(super) fn parse(cursor: &mut Cursor<'a>, count: usize) -> Result<Self, RecordError> {
        let tags = cursor.take(count)?;
        let wholes = if count == 0 { &[] } else { cursor.sized()? };
        let needed: usize = tags.iter().map(|tag| usize::from(tag & 0xf)).sum();
        if needed != wholes.len() {
            return Err(RecordError("size of values"));
        }
        let floats = cursor.take(cursor.len())?;
        Ok(Self {
            tags: tags.iter(),
            wholes,
            floats,
            float_count: floats.len() / 8,
            next_float: 0,
            last_whole: 0,
        })
    }

    #[inline]
    pub(super) fn next(&mut self) -> Result<f64, RecordError> {
        let tag = *self.tags.next().ok_or(RecordError("too few values"))?;
        let (kind, width) = (tag >> 4, usize::from(tag & 0xf));
        let number = self.number(width)?;
        let whole = match kind {
            WHOLE => number.cast_signed(),
            WHOLE_NEGATIVE => number.wrapping_neg().cast_signed(),
            UP => self.last_whole.wrapping_add_unsigned(number),
            DOWN => self.last_whole.wrapping_sub_unsigned(number),
            PAGES => (number << PAGE_SHIFT).cast_signed(),
            _ => return self.other(kind, number),
        };
        self.last_whole = whole;
        Ok(whole as f64)
    }

    #[inline]
    fn number(&mut self, width: usize) -> Result<u64, RecordError> {
        let (bytes, mask) = match (self.wholes.first_chunk::<8>(), width) {
            (_, 9..) => return Err(RecordError("value width")),
            (_, 0) => return Ok(0),
            (Some(bytes), _) => (*bytes, u64::MAX >> (64 - 8 * width)),
            (None, _) => {
                let mut bytes = [0; 8];
                let head = self
                    .wholes
                    .get(..width)
                    .ok_or(RecordError("too few values"))?;
                bytes[..width].copy_from_slice(head);
                (bytes, u64::MAX)
            }
        };
        self.wholes = self.wholes.get(width..).unwrap_or_default();
        Ok(u64::from_le_bytes(bytes) & mask)
    }

    fn other(&mut self, kind: u8, number: u64) -> Result<f64, RecordError> {
        match kind {
            DECIMAL..FLOAT => {
                let scale = SCALES[usize::from(kind - DECIMAL)];
                Ok(unzigzag(number) as f64 / scale)
            }
            FLOAT => self.float(),
            STALE => Ok(stale_nan()),
            _ => Err(RecordError("kind of value")),
        }
    }

    fn float(&mut self) -> Result<f64, RecordError> {
        if self.next_float >= self.float_count {
            return Err(RecordError("too few floats"));
        }
        let mut bits = 0;
        for place in 0..8 {
            let byte = self.floats[place * self.float_count + self.next_float];
            bits |= u64::from(byte) << (8 * place);
        }
        self.next_float += 1;
        Ok(f64::from_bits(bits))
    }

    /// All of the column has been read.
    pub(super) fn end(&self) -> Result<(), RecordError> {
        let all = self.next_float * 8 == self.floats.len();
        if all {
            Ok(())
        } else {
            Err(RecordError("too many floats"))
        }
    }
}
