//! A column of numbers as runs of equal differences: series numbers, times.

use super::RecordError;
use super::cursor::{Cursor, put_bytes, put_varint, zigzag};

/// The run that is not ended yet and the size in front of a column: three varints, in bytes.
const MAX_OPEN_BYTES: usize = 3 * 10;

/// Collects a column.
#[derive(Default)]
pub(super) struct RunEncoder {
    last: i64,
    /// The difference of the current run, and its length.
    step: i64,
    length: u64,
    any: bool,
    out: Vec<u8>,
}

impl RunEncoder {
    pub(super) fn clear(&mut self) {
        let mut out = std::mem::take(&mut self.out);
        out.clear();
        *self = Self {
            out,
            ..Self::default()
        };
    }

    #[inline]
    pub(super) fn push(&mut self, value: i64) {
        let step = value.wrapping_sub(self.last);
        self.last = value;
        self.any |= value != 0;
        if step == self.step {
            self.length += 1;
        } else {
            self.end_run();
            self.step = step;
            self.length = 1;
        }
    }

    #[inline]
    fn end_run(&mut self) {
        if self.length > 0 {
            put_varint(&mut self.out, zigzag(self.step));
            put_varint(&mut self.out, self.length);
        }
    }

    /// At most so many bytes are appended by [`Self::write`].
    pub(super) fn size(&self) -> usize {
        self.out.len() + MAX_OPEN_BYTES
    }

    /// Memory that is held, in bytes.
    pub(super) fn capacity(&self) -> usize {
        self.out.capacity()
    }

    /// Appends the column behind its size in bytes.
    pub(super) fn write(&mut self, section: &mut Vec<u8>) {
        self.end_run();
        self.length = 0;
        put_bytes(section, &self.out);
    }

    /// As [`Self::write`], but nothing for a column of zeros.
    pub(super) fn write_unless_zero(&mut self, section: &mut Vec<u8>) {
        if self.any {
            self.write(section);
        } else {
            put_bytes(section, &[]);
        }
    }
}

/// Reads a column.
pub(super) struct RunDecoder<'a> {
    cursor: Cursor<'a>,
    last: i64,
    step: i64,
    left: u64,
}

impl<'a> RunDecoder<'a> {
    /// The column at the cursor; where a section is empty, a column without rows.
    pub(super) fn parse(cursor: &mut Cursor<'a>) -> Result<Self, RecordError> {
        let column = if cursor.is_empty() {
            &[]
        } else {
            cursor.sized()?
        };
        Ok(Self {
            cursor: Cursor::new(column),
            last: 0,
            step: 0,
            left: 0,
        })
    }

    /// As [`Self::parse`], where an empty column is one of zeros.
    pub(super) fn parse_unless_zero(cursor: &mut Cursor<'a>) -> Result<Self, RecordError> {
        let mut column = Self::parse(cursor)?;
        if column.cursor.is_empty() {
            column.left = u64::MAX;
        }
        Ok(column)
    }

    #[inline]
    pub(super) fn next(&mut self) -> Result<i64, RecordError> {
        if self.left == 0 {
            self.step = self.cursor.signed()?;
            self.left = self.cursor.varint()?;
            if self.left == 0 {
                return Err(RecordError("empty run"));
            }
        }
        self.left -= 1;
        self.last = self.last.wrapping_add(self.step);
        Ok(self.last)
    }

    /// All of the column has been read.
    pub(super) fn end(&self) -> Result<(), RecordError> {
        let zeros = self.step == 0 && self.last == 0;
        let all = self.left == 0 || zeros;
        if all {
            self.cursor.end()
        } else {
            Err(RecordError("run too long"))
        }
    }
}
