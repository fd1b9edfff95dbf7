//! Rows of later slices of a metric, until all its series have come: in memory, and beyond a bound
//! in one file for each slice.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::path::PathBuf;

use bytes::Bytes;
use parquet::data_type::ByteArray;

use super::rows::{LabelColumns, Row};
use crate::encode::Encoded;
use crate::error::{BlockError, Place};
use crate::histogram::Shape;

/// How many bytes of rows wait in memory.
const MAX_WAITING_BYTES: usize = 64 << 20;

/// How much memory of a slice is kept for the metrics to come.
const KEPT_BYTES: usize = 256 << 10;

/// Rows that wait for the end of their metric.
pub(super) struct Later {
    folder: PathBuf,
    place: Place,
    slices: BTreeMap<i64, Waiting>,
    bytes: usize,
    limit: usize,
}

#[derive(Default)]
struct Waiting {
    rows: Vec<u8>,
    held: u64,
    /// What did not fit into memory; kept open and used again by later metrics.
    file: Option<File>,
    /// How many rows are in the file.
    in_file: u64,
}

impl Later {
    pub(super) fn new(folder: &std::path::Path, block: &str) -> Self {
        Self {
            folder: folder.to_owned(),
            place: Place::new(block, "later rows"),
            slices: BTreeMap::new(),
            bytes: 0,
            limit: MAX_WAITING_BYTES,
        }
    }

    /// Keeps a row.
    pub(super) fn push(&mut self, slice: i64, row: &Row<'_>) -> Result<(), BlockError> {
        let waiting = self.slices.entry(slice).or_default();
        let before = waiting.rows.len();
        put_row(&mut waiting.rows, row);
        waiting.held += 1;
        self.bytes += waiting.rows.len() - before;
        if self.bytes <= self.limit {
            return Ok(());
        }
        self.bytes = 0;
        let spill = |(slice, waiting): (&i64, &mut Waiting)| {
            waiting.spill(|| self.folder.join(format!("slice-{slice}.part")))
        };
        let spilled = self.slices.iter_mut().try_for_each(spill);
        spilled.map_err(|e| self.place.io(e))
    }

    /// Hands out all rows, slice by slice, in the order in which they came.
    pub(super) fn drain(
        &mut self,
        mut sink: impl FnMut(&Row<'_>) -> Result<(), BlockError>,
    ) -> Result<(), BlockError> {
        self.bytes = 0;
        for waiting in self.slices.values_mut() {
            let mut reader = RowReader::default();
            if let Some(file) = waiting.file.as_mut().filter(|_| waiting.in_file > 0) {
                file.seek(SeekFrom::Start(0))
                    .map_err(|e| self.place.io(e))?;
                let mut spilled = BufReader::with_capacity(256 << 10, &mut *file);
                for _ in 0..std::mem::take(&mut waiting.in_file) {
                    reader.read(&mut spilled).map_err(|e| self.place.io(e))?;
                    sink(&reader.row())?;
                }
                file.seek(SeekFrom::Start(0))
                    .map_err(|e| self.place.io(e))?;
            }
            let mut held = waiting.rows.as_slice();
            for _ in 0..std::mem::take(&mut waiting.held) {
                reader.read(&mut held).map_err(|e| self.place.io(e))?;
                sink(&reader.row())?;
            }
            waiting.rows.clear();
            waiting.rows.shrink_to(KEPT_BYTES);
        }
        Ok(())
    }

    /// Removes the files.
    pub(super) fn remove(&mut self) -> Result<(), BlockError> {
        for (slice, waiting) in std::mem::take(&mut self.slices) {
            if waiting.file.is_some() {
                let path = self.folder.join(format!("slice-{slice}.part"));
                fs::remove_file(path).map_err(|e| self.place.io(e))?;
            }
        }
        Ok(())
    }
}

impl Waiting {
    fn spill(&mut self, path: impl FnOnce() -> PathBuf) -> io::Result<()> {
        if self.file.is_none() {
            let options = File::options()
                .read(true)
                .write(true)
                .create_new(true)
                .open(path())?;
            self.file = Some(options);
        }
        if let Some(file) = &mut self.file {
            file.write_all(&self.rows)?;
            self.in_file += std::mem::take(&mut self.held);
        }
        self.rows = Vec::new();
        Ok(())
    }
}

fn put_row(out: &mut Vec<u8>, row: &Row<'_>) {
    let encoded = &row.encoded;
    out.extend(row.slice_start.to_le_bytes());
    out.extend(encoded.mult.to_le_bytes());
    for number in [
        row.series_id,
        row.timeline.0,
        row.timeline.1,
        row.count,
        row.comp,
        encoded.kind,
        encoded.exp,
    ] {
        out.extend(number.to_le_bytes());
    }
    put_optional(out, row.bucket.map(|bucket| u64::from(bucket as u32)));
    put_optional(out, encoded.constant.map(f64::to_bits));
    put_list(out, encoded.integers.iter().map(|i| *i as u64));
    put_list(out, encoded.doubles.iter().map(|v| v.to_bits()));
    let present = encoded.present.unwrap_or_default();
    put_list(out, present.chunks(64).map(bits));
    put_list(
        out,
        row.starts.unwrap_or_default().iter().map(|t| *t as u64),
    );
    put_optional(out, row.shape.map(|shape| u64::from(shape.schema as u32)));
    if let Some(shape) = row.shape {
        out.extend(shape.zero_threshold.to_bits().to_le_bytes());
        put_list(out, shape.custom_values.iter().map(|v| v.to_bits()));
    }
    out.extend((row.labels.pairs.len() as u32).to_le_bytes());
    put_text(out, &row.labels.name);
    for (name, value) in &row.labels.pairs {
        put_text(out, name);
        put_text(out, value);
    }
}

fn bits(flags: &[bool]) -> u64 {
    let set = flags.iter().enumerate().filter(|(_, set)| **set);
    set.fold(0, |bits, (at, _)| bits | 1 << at)
}

fn put_optional(out: &mut Vec<u8>, value: Option<u64>) {
    out.push(u8::from(value.is_some()));
    out.extend(value.unwrap_or_default().to_le_bytes());
}

fn put_list(out: &mut Vec<u8>, values: impl ExactSizeIterator<Item = u64>) {
    out.extend((values.len() as u32).to_le_bytes());
    out.extend(values.flat_map(u64::to_le_bytes));
}

fn put_text(out: &mut Vec<u8>, text: &ByteArray) {
    out.extend((text.len() as u32).to_le_bytes());
    out.extend(text.data());
}

/// Reads rows that this process wrote, in memory that it keeps.
#[derive(Default)]
struct RowReader {
    slice_start: i64,
    mult: i64,
    numbers: [i32; 7],
    bucket: Option<i32>,
    constant: Option<f64>,
    integers: Vec<i64>,
    doubles: Vec<f64>,
    present: Vec<bool>,
    starts: Vec<i64>,
    shape: Option<Shape>,
    labels: LabelColumns,
}

impl RowReader {
    fn read(&mut self, from: &mut impl Read) -> io::Result<()> {
        self.slice_start = word(from)? as i64;
        self.mult = word(from)? as i64;
        for number in &mut self.numbers {
            *number = half(from)? as i32;
        }
        self.bucket = optional(from)?.map(|bucket| bucket as i32);
        self.constant = optional(from)?.map(f64::from_bits);
        list(from, &mut self.integers, |word| word as i64)?;
        list(from, &mut self.doubles, f64::from_bits)?;
        let mut masks = Vec::new();
        list(from, &mut masks, |word| word)?;
        self.present.clear();
        if !masks.is_empty() {
            let flag = |at: usize| {
                masks
                    .get(at / 64)
                    .is_some_and(|mask| mask >> (at % 64) & 1 == 1)
            };
            self.present.extend((0..self.numbers[3] as usize).map(flag));
        }
        list(from, &mut self.starts, |word| word as i64)?;
        self.shape = None;
        if let Some(schema) = optional(from)? {
            let mut shape = Shape {
                schema: schema as i32,
                zero_threshold: f64::from_bits(word(from)?),
                custom_values: Vec::new(),
            };
            list(from, &mut shape.custom_values, f64::from_bits)?;
            self.shape = Some(shape);
        }
        let pairs = half(from)?;
        self.labels.name = text(from)?;
        self.labels.pairs.clear();
        for _ in 0..pairs {
            self.labels.pairs.push((text(from)?, text(from)?));
        }
        Ok(())
    }

    fn row(&self) -> Row<'_> {
        let [series_id, timeline, offset, count, comp, kind, exp] = self.numbers;
        Row {
            slice_start: self.slice_start,
            series_id,
            timeline: (timeline, offset),
            count,
            comp,
            bucket: self.bucket,
            encoded: Encoded {
                kind,
                exp,
                mult: self.mult,
                constant: self.constant,
                integers: &self.integers,
                doubles: &self.doubles,
                present: Some(self.present.as_slice()).filter(|present| !present.is_empty()),
            },
            starts: Some(self.starts.as_slice()).filter(|starts| !starts.is_empty()),
            shape: self.shape.as_ref(),
            labels: &self.labels,
        }
    }
}

fn word(from: &mut impl Read) -> io::Result<u64> {
    let mut bytes = [0; 8];
    from.read_exact(&mut bytes)?;
    Ok(u64::from_le_bytes(bytes))
}

fn half(from: &mut impl Read) -> io::Result<u32> {
    let mut bytes = [0; 4];
    from.read_exact(&mut bytes)?;
    Ok(u32::from_le_bytes(bytes))
}

fn optional(from: &mut impl Read) -> io::Result<Option<u64>> {
    let mut some = [0];
    from.read_exact(&mut some)?;
    let value = word(from)?;
    Ok((some[0] != 0).then_some(value))
}

fn list<T>(from: &mut impl Read, values: &mut Vec<T>, of: impl Fn(u64) -> T) -> io::Result<()> {
    values.clear();
    let count = half(from)?;
    for _ in 0..count {
        values.push(of(word(from)?));
    }
    Ok(())
}

fn text(from: &mut impl Read) -> io::Result<ByteArray> {
    let mut bytes = vec![0; half(from)? as usize];
    from.read_exact(&mut bytes)?;
    Ok(ByteArray::from(Bytes::from(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::labels::Labels;

    #[test]
    fn rows_come_back_by_slice_from_memory_and_files() {
        let folder = tempfile::tempdir().unwrap();
        let labels = LabelColumns::of(&Labels::from_pairs([("__name__", "m"), ("a", "b")]));
        let shape = Shape {
            schema: -53,
            zero_threshold: 0.5,
            custom_values: vec![1.0, 2.0],
        };
        for limit in [1 << 20, 300, 0] {
            let mut later = Later::new(folder.path(), "b");
            later.limit = limit;
            for metric in 0..2 {
                let mut expected = Vec::new();
                for series_id in 0..5 {
                    for slice in [2, 1] {
                        let row = Row {
                            slice_start: slice * 10,
                            series_id,
                            timeline: (metric, 7),
                            count: 3,
                            comp: 4,
                            bucket: (slice == 1).then_some(-3),
                            encoded: Encoded {
                                kind: 1,
                                exp: 2,
                                mult: 3,
                                constant: (slice == 2).then_some(-0.0),
                                integers: &[1, -2],
                                doubles: &[],
                                present: Some(&[true, false, true]),
                            },
                            starts: (series_id == 3).then_some(&[1, 2, 3]),
                            shape: (series_id == 2).then_some(&shape),
                            labels: &labels,
                        };
                        later.push(slice, &row).unwrap();
                        expected.push((slice, format!("{row:?}")));
                    }
                }
                expected.sort_by_key(|(slice, _)| *slice);
                let mut found = Vec::new();
                let sink = |row: &Row<'_>| {
                    found.push((row.slice_start / 10, format!("{row:?}")));
                    Ok(())
                };
                later.drain(sink).unwrap();
                assert_eq!(found, expected, "limit {limit}");
            }
            later.remove().unwrap();
            assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        }
    }
}
