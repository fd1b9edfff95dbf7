//! The texts of a record's labels, each once, and the labels of series as numbers of texts.
//!
//! Series that follow each other share most texts at the same places, so that a number is told
//! by its distance from the one at the same place of the series before.

use std::ops::Range;

use hashbrown::HashTable;
use model::write::LabelSource;
use xxhash_rust::xxh3::xxh3_64;

use super::RecordError;
use super::cursor::{Cursor, put_varint, zigzag};

/// What the count of texts takes, at most, in bytes.
const MAX_COUNT_BYTES: usize = 10;

/// Collects texts.
#[derive(Default)]
pub(super) struct SymbolEncoder {
    bytes: Vec<u8>,
    ends: Vec<u32>,
    table: HashTable<u32>,
    /// The numbers of the series before, name and value in turn.
    before: Vec<u32>,
    row: Vec<u32>,
}

impl SymbolEncoder {
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
        self.table.clear();
        self.before.clear();
    }

    /// Appends the labels of a series.
    pub(super) fn labels(&mut self, labels: &dyn LabelSource, out: &mut Vec<u8>) {
        let mut row = std::mem::take(&mut self.row);
        row.clear();
        labels.for_each(&mut |name, value| {
            let place = row.len();
            row.push(self.number(name, place));
            row.push(self.number(value, place + 1));
        });
        put_varint(out, row.len() as u64 / 2);
        for (place, number) in row.iter().enumerate() {
            let before = self.before.get(place).copied().unwrap_or(0);
            put_varint(out, zigzag(i64::from(*number) - i64::from(before)));
        }
        self.row = std::mem::replace(&mut self.before, row);
    }

    /// The number of a text that stands at a place of a series.
    fn number(&mut self, text: &[u8], place: usize) -> u32 {
        if let Some(before) = self.before.get(place)
            && text_at(&self.bytes, &self.ends, *before) == text
        {
            return *before;
        }
        let (bytes, ends) = (&self.bytes, &self.ends);
        let hash = xxh3_64(text);
        let same = |number: &u32| text_at(bytes, ends, *number) == text;
        if let Some(known) = self.table.find(hash, same) {
            return *known;
        }
        let rehash = |number: &u32| xxh3_64(text_at(bytes, ends, *number));
        let number = self.ends.len() as u32;
        self.table.insert_unique(hash, number, rehash);
        self.bytes.extend_from_slice(text);
        self.ends.push(self.bytes.len() as u32);
        number
    }

    /// At most so many bytes are appended by [`Self::write`].
    pub(super) fn size(&self) -> usize {
        // The size of a text takes a byte, and no more than one for each 128 bytes of the text.
        let sizes = self.ends.len() + self.bytes.len() / 128;
        MAX_COUNT_BYTES + sizes + self.bytes.len()
    }

    /// Memory that is held, in bytes.
    pub(super) fn capacity(&self) -> usize {
        let numbers = self.ends.capacity() + self.before.capacity() + self.row.capacity();
        self.bytes.capacity() + 4 * numbers + self.table.allocation_size()
    }

    /// Appends the texts: their count, their sizes, their bytes.
    pub(super) fn write(&self, section: &mut Vec<u8>) {
        if self.ends.is_empty() {
            return;
        }
        put_varint(section, self.ends.len() as u64);
        let mut start = 0;
        for end in &self.ends {
            put_varint(section, u64::from(end - start));
            start = *end;
        }
        section.extend_from_slice(&self.bytes);
    }
}

fn text_at<'a>(bytes: &'a [u8], ends: &[u32], number: u32) -> &'a [u8] {
    let number = number as usize;
    let start = if number == 0 { 0 } else { ends[number - 1] };
    &bytes[start as usize..ends[number] as usize]
}

/// The texts of a record.
pub(super) struct Symbols<'a> {
    texts: Vec<&'a str>,
}

impl<'a> Symbols<'a> {
    pub(super) fn parse(section: &'a [u8]) -> Result<Self, RecordError> {
        let mut cursor = Cursor::new(section);
        let count = if section.is_empty() {
            0
        } else {
            cursor.count(1)?
        };
        let mut ranges: Vec<Range<usize>> = Vec::with_capacity(count);
        let mut end = 0_usize;
        for _ in 0..count {
            let start = end;
            let size = usize::try_from(cursor.varint()?).map_err(|_| RecordError("too short"))?;
            end = start.checked_add(size).ok_or(RecordError("too short"))?;
            ranges.push(start..end);
        }
        let bytes = cursor.take(end)?;
        cursor.end()?;
        let text = |range: Range<usize>| std::str::from_utf8(&bytes[range]);
        let texts: Result<_, _> = ranges.into_iter().map(text).collect();
        Ok(Self {
            texts: texts.map_err(|_| RecordError("no UTF-8"))?,
        })
    }

    /// A reader of the labels of series, one after the other.
    pub(super) fn labels(&self) -> LabelDecoder<'_, 'a> {
        LabelDecoder {
            texts: &self.texts,
            before: Vec::new(),
            row: Vec::new(),
        }
    }
}

/// Reads the labels of series.
pub(super) struct LabelDecoder<'s, 'a> {
    texts: &'s [&'a str],
    before: Vec<i64>,
    row: Vec<(&'a str, &'a str)>,
}

impl<'a> LabelDecoder<'_, 'a> {
    pub(super) fn read(
        &mut self,
        cursor: &mut Cursor<'a>,
    ) -> Result<&[(&'a str, &'a str)], RecordError> {
        let count = cursor.count(2)?;
        self.row.clear();
        self.before.resize(2 * count, 0);
        for label in 0..count {
            let name = self.text(cursor, 2 * label)?;
            let value = self.text(cursor, 2 * label + 1)?;
            self.row.push((name, value));
        }
        Ok(&self.row)
    }

    fn text(&mut self, cursor: &mut Cursor<'a>, place: usize) -> Result<&'a str, RecordError> {
        let number = self.before[place].wrapping_add(cursor.signed()?);
        self.before[place] = number;
        let text = usize::try_from(number)
            .ok()
            .and_then(|number| self.texts.get(number));
        text.copied().ok_or(RecordError("number of a text"))
    }
}
