//! Reading and writing the small parts of a record: varints, texts, floats.

use super::RecordError;

/// Appends a number, seven bits a byte, low bits first.
#[inline]
pub(super) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends bytes behind their count.
pub(super) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Small numbers of either sign as small numbers.
#[inline]
pub(super) fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

/// Undoes [`zigzag`].
#[inline]
pub(super) fn unzigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -((value & 1).cast_signed())
}

/// What is left of a part of a record. An empty part reads as if it said 'no rows'.
#[derive(Clone, Copy)]
pub(super) struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    pub(super) fn new(rest: &'a [u8]) -> Self {
        Self { rest }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.rest.len()
    }

    #[inline]
    pub(super) fn byte(&mut self) -> Result<u8, RecordError> {
        let (&byte, rest) = self.rest.split_first().ok_or(RecordError("too short"))?;
        self.rest = rest;
        Ok(byte)
    }

    #[inline]
    pub(super) fn varint(&mut self) -> Result<u64, RecordError> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                break;
            }
            value |= bits << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(RecordError("number too long"))
    }

    pub(super) fn signed(&mut self) -> Result<i64, RecordError> {
        Ok(unzigzag(self.varint()?))
    }

    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8], RecordError> {
        let split = self.rest.split_at_checked(count);
        let (head, rest) = split.ok_or(RecordError("too short"))?;
        self.rest = rest;
        Ok(head)
    }

    /// Bytes behind their count.
    pub(super) fn sized(&mut self) -> Result<&'a [u8], RecordError> {
        let count = self.varint()?;
        self.take(usize::try_from(count).map_err(|_| RecordError("too short"))?)
    }

    /// A count of things that take at least `bytes_each` bytes of what is left.
    pub(super) fn count(&mut self, bytes_each: usize) -> Result<usize, RecordError> {
        let count = usize::try_from(self.varint()?).ok();
        let fits = |count: &usize| *count <= self.rest.len() / bytes_each;
        count.filter(fits).ok_or(RecordError("count"))
    }

    pub(super) fn text(&mut self) -> Result<&'a str, RecordError> {
        std::str::from_utf8(self.sized()?).map_err(|_| RecordError("no UTF-8"))
    }

    pub(super) fn float(&mut self) -> Result<f64, RecordError> {
        let mut bits = [0; 8];
        bits.copy_from_slice(self.take(8)?);
        Ok(f64::from_bits(u64::from_le_bytes(bits)))
    }

    /// Everything has been read.
    pub(super) fn end(&self) -> Result<(), RecordError> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(RecordError("too long"))
        }
    }
}
