//! The columns of the row group that is being filled: a batch of values each, and the writer that
//! makes pages of them.

use parquet::column::writer::ColumnWriter;
use parquet::data_type::ByteArray;
use parquet::errors::Result as ParquetResult;

use super::sink::SharedPages;

/// A column's part of a batch.
pub(super) enum Values {
    Int32(Vec<i32>),
    Int64(Vec<i64>),
    Double(Vec<f64>),
    Text(Vec<ByteArray>),
}

/// A column of the row group that is being filled.
pub(super) struct Column {
    pub(super) values: Values,
    pub(super) definitions: Vec<i16>,
    pub(super) repetitions: Vec<i16>,
    pub(super) writer: ColumnWriter<'static>,
    pub(super) pages: SharedPages,
}

impl Values {
    pub(super) fn of(writer: &ColumnWriter<'_>) -> Self {
        match writer {
            ColumnWriter::Int32ColumnWriter(_) => Self::Int32(Vec::new()),
            ColumnWriter::Int64ColumnWriter(_) => Self::Int64(Vec::new()),
            ColumnWriter::DoubleColumnWriter(_) => Self::Double(Vec::new()),
            _ => Self::Text(Vec::new()),
        }
    }
}

impl Column {
    pub(super) fn int32(&mut self) -> &mut Vec<i32> {
        match &mut self.values {
            Values::Int32(values) => values,
            _ => unreachable!("the schema has another type here"),
        }
    }

    pub(super) fn int64(&mut self) -> &mut Vec<i64> {
        match &mut self.values {
            Values::Int64(values) => values,
            _ => unreachable!("the schema has another type here"),
        }
    }

    pub(super) fn double(&mut self) -> &mut Vec<f64> {
        match &mut self.values {
            Values::Double(values) => values,
            _ => unreachable!("the schema has another type here"),
        }
    }

    pub(super) fn text(&mut self) -> &mut Vec<ByteArray> {
        match &mut self.values {
            Values::Text(values) => values,
            _ => unreachable!("the schema has another type here"),
        }
    }

    /// The levels of a list whose elements are all there. `level` is that of an element; an empty
    /// list is one below.
    pub(super) fn list(&mut self, count: usize, level: i16) {
        self.repetitions.push(0);
        if count == 0 {
            self.definitions.push(level - 1);
            return;
        }
        let (definitions, repetitions) = (self.definitions.len(), self.repetitions.len());
        self.definitions.resize(definitions + count, level);
        self.repetitions.resize(repetitions + count - 1, 1);
    }

    /// The levels of a list of which some elements are missing; no list where all are.
    pub(super) fn sparse_list(&mut self, values: usize, present: Option<&[bool]>) {
        match present {
            _ if values == 0 => {
                self.definitions.push(0);
                self.repetitions.push(0);
            }
            None => self.list(values, 3),
            Some(present) => {
                let before = self.repetitions.len();
                self.repetitions.resize(before + present.len(), 1);
                self.repetitions[before] = 0;
                let levels = present.iter().map(|present| 2 + i16::from(*present));
                self.definitions.extend(levels);
            }
        }
    }

    pub(super) fn write_batch(&mut self) -> ParquetResult<()> {
        let given = |levels: &[i16]| !levels.is_empty();
        let definitions = Some(self.definitions.as_slice()).filter(|levels| given(levels));
        let repetitions = Some(self.repetitions.as_slice()).filter(|levels| given(levels));
        match (&mut self.writer, &mut self.values) {
            (ColumnWriter::Int32ColumnWriter(writer), Values::Int32(values)) => {
                writer.write_batch(values, definitions, repetitions)?;
                values.clear();
            }
            (ColumnWriter::Int64ColumnWriter(writer), Values::Int64(values)) => {
                writer.write_batch(values, definitions, repetitions)?;
                values.clear();
            }
            (ColumnWriter::DoubleColumnWriter(writer), Values::Double(values)) => {
                writer.write_batch(values, definitions, repetitions)?;
                values.clear();
            }
            (ColumnWriter::ByteArrayColumnWriter(writer), Values::Text(values)) => {
                writer.write_batch(values, definitions, repetitions)?;
                values.clear();
            }
            _ => unreachable!("columns are opened with the type of their writer"),
        }
        self.definitions.clear();
        self.repetitions.clear();
        Ok(())
    }
}
