//! Decodes rows of the samples: the light columns first, then the values of those rows that have
//! some.

use std::ops::Range;

use model::sample::stale_nan;
use parquet::data_type::{DataType, DoubleType, Int32Type, Int64Type};

use super::Block;
use super::plan::PlannedRow;
use crate::encode::{CONSTANT, DOUBLES, INTEGERS, decode_integers, spread};
use crate::error::BlockError;
use crate::histogram::{FLOAT, Shape};
use crate::schema::samples;
use crate::table::{Cells, Pages, RowRanges, Table};

/// The level of an element that is there, in a list of which some may be missing.
const PRESENT: i16 = 3;

/// A row as it was written.
#[derive(Debug)]
pub(super) struct DecodedRow {
    pub(super) timeline: i32,
    pub(super) offset: usize,
    pub(super) count: usize,
    pub(super) comp: i32,
    pub(super) bucket: Option<i32>,
    pub(super) values: RowValues,
    /// Empty where none is known.
    pub(super) starts: Vec<i64>,
    pub(super) shape: Option<Shape>,
}

/// The values of a row.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum RowValues {
    /// All are the same.
    Constant(f64),
    /// Where they lie among the values of the group.
    Stored(Range<usize>),
}

/// The decoded rows of one row group.
#[derive(Debug, Default)]
pub(super) struct DecodedRows {
    pub(super) rows: Vec<DecodedRow>,
    pub(super) values: Vec<f64>,
}

impl DecodedRows {
    /// How many samples the rows of a kind have together.
    fn samples_of(&self, kinds: &[i32], kind: i32) -> usize {
        let rows = self.rows.iter().zip(kinds);
        let counts = rows
            .filter(|(_, own)| **own == kind)
            .map(|(row, _)| row.count);
        counts.fold(0, usize::saturating_add)
    }
}

/// Rows of a row group, and which of them have values of which column.
#[derive(Debug, Default)]
pub(super) struct WantedRows {
    group: usize,
    rows: RowRanges,
    constants: RowRanges,
    integers: RowRanges,
    doubles: RowRanges,
    histograms: RowRanges,
}

impl WantedRows {
    /// What is wanted of a group: planned rows of it, which ascend.
    pub(super) fn of<'r>(planned: impl Iterator<Item = &'r PlannedRow>) -> Self {
        let mut wanted = Self::default();
        for row in planned {
            wanted.group = row.group as usize;
            let at = row.row as usize;
            add_row(&mut wanted.rows, at);
            match i32::from(row.kind) {
                CONSTANT => add_row(&mut wanted.constants, at),
                INTEGERS => add_row(&mut wanted.integers, at),
                DOUBLES => add_row(&mut wanted.doubles, at),
                _ => {}
            }
            if row.histogram {
                add_row(&mut wanted.histograms, at);
            }
        }
        wanted
    }

    /// The columns to read, each with its rows.
    pub(super) fn parts(
        &self,
        table: &Table,
    ) -> impl Iterator<Item = (usize, usize, &[Range<usize>])> {
        let small = samples::TIMELINE_ID..=samples::MULT;
        let lists = [
            (samples::V_CONST, &self.constants),
            (samples::VI, &self.integers),
            (samples::VF, &self.doubles),
        ];
        let starts = table.may_have_values(self.group, samples::STARTS, &self.rows);
        let starts = starts.then_some((samples::STARTS, &self.rows));
        let shapes = samples::H_SCHEMA..=samples::H_CUSTOM;
        small
            .map(|column| (column, &self.rows))
            .chain(lists)
            .chain(starts)
            .chain(shapes.map(|column| (column, &self.histograms)))
            .map(|(column, rows)| (self.group, column, rows.as_slice()))
    }
}

impl Block {
    /// Decodes rows of a row group.
    pub(super) fn read_rows(
        &self,
        pages: &Pages,
        wanted: &WantedRows,
    ) -> Result<DecodedRows, BlockError> {
        let (group, rows) = (wanted.group, &wanted.rows);
        let int32 = |column| self.samples.read::<Int32Type>(pages, group, column, rows);
        let timelines = int32(samples::TIMELINE_ID)?;
        let offsets = int32(samples::T_OFF)?;
        let counts = int32(samples::N)?;
        let comps = int32(samples::COMP)?;
        let kinds = int32(samples::KIND)?;
        let mut decoded = DecodedRows::default();
        for (at, kind) in kinds.iter().enumerate() {
            let natural = |number: i32, least: i32| {
                let fits = usize::try_from(number).ok().filter(|_| number >= least);
                fits.ok_or_else(|| self.samples.corrupt("a row lies outside of its timeline"))
            };
            if ![CONSTANT, INTEGERS, DOUBLES].contains(kind) {
                return Err(self.samples.corrupt(format!("a row is of the kind {kind}")));
            }
            decoded.rows.push(DecodedRow {
                timeline: timelines[at],
                offset: natural(offsets[at], 0)?,
                count: natural(counts[at], 1)?,
                comp: comps[at],
                bucket: None,
                values: RowValues::Constant(stale_nan()),
                starts: Vec::new(),
                shape: None,
            });
        }
        self.read_values(pages, group, rows, &kinds, &mut decoded)?;
        if self.samples.may_have_values(group, samples::STARTS, rows) {
            self.read_starts(pages, group, rows, &mut decoded.rows)?;
        }
        if comps.iter().any(|comp| *comp != FLOAT) {
            self.read_shapes(pages, group, rows, &mut decoded.rows)?;
        }
        Ok(decoded)
    }

    fn read_values(
        &self,
        pages: &Pages,
        group: usize,
        rows: &RowRanges,
        kinds: &[i32],
        decoded: &mut DecodedRows,
    ) -> Result<(), BlockError> {
        if kinds.contains(&CONSTANT) {
            let wanted = of_kind(rows, kinds, CONSTANT);
            let constants = self.samples.read_optional::<DoubleType>(
                pages,
                group,
                samples::V_CONST,
                &wanted,
            )?;
            let of_kind = decoded.rows.iter_mut().zip(kinds);
            let of_kind = of_kind.filter(|(_, kind)| **kind == CONSTANT);
            for ((row, _), constant) in of_kind.zip(constants) {
                row.values = RowValues::Constant(constant.unwrap_or_else(stale_nan));
            }
        }
        if kinds.contains(&INTEGERS) {
            let exps = self
                .samples
                .read::<Int32Type>(pages, group, samples::EXP, rows)?;
            let mults = self
                .samples
                .read::<Int64Type>(pages, group, samples::MULT, rows)?;
            let wanted = of_kind(rows, kinds, INTEGERS);
            let count = decoded.samples_of(kinds, INTEGERS);
            let (table, column) = (&self.samples, samples::VI);
            let cells = table.read_lists::<Int64Type>(pages, group, column, &wanted, count)?;
            let scales = exps.into_iter().zip(mults).collect::<Vec<_>>();
            self.take_lists(&cells, kinds, INTEGERS, decoded, |at, part, values| {
                let (exp, mult) = scales[at];
                decode_integers(part, exp, mult, values)
            })?;
        }
        if kinds.contains(&DOUBLES) {
            let wanted = of_kind(rows, kinds, DOUBLES);
            let count = decoded.samples_of(kinds, DOUBLES);
            let (table, column) = (&self.samples, samples::VF);
            let cells = table.read_lists::<DoubleType>(pages, group, column, &wanted, count)?;
            self.take_lists(&cells, kinds, DOUBLES, decoded, |_, part, values| {
                values.extend_from_slice(part);
                true
            })?;
        }
        Ok(())
    }

    /// Divides what was read of a list column among the rows of a kind.
    fn take_lists<T>(
        &self,
        cells: &Cells<T>,
        kinds: &[i32],
        kind: i32,
        decoded: &mut DecodedRows,
        decode: impl Fn(usize, &[T], &mut Vec<f64>) -> bool,
    ) -> Result<(), BlockError> {
        let short = || {
            self.samples
                .corrupt("a row has another number of values than it says")
        };
        let (mut level, mut value) = (0_usize, 0_usize);
        let DecodedRows { rows, values } = decoded;
        values.reserve(cells.definitions.len());
        for (at, row) in rows
            .iter_mut()
            .enumerate()
            .filter(|(at, _)| kinds[*at] == kind)
        {
            let levels = level..level.saturating_add(row.count);
            let definitions = cells.definitions.get(levels.clone()).ok_or_else(short)?;
            let repetitions = cells.repetitions.get(levels.clone()).ok_or_else(short)?;
            if repetitions.first() != Some(&0) || repetitions[1..].contains(&0) {
                return Err(short());
            }
            let present = definitions
                .iter()
                .filter(|level| **level == PRESENT)
                .count();
            let part = cells.values.get(value..value + present).ok_or_else(short)?;
            let start = values.len();
            if !decode(at, part, values) {
                return Err(self
                    .samples
                    .corrupt("a row has an exponent that does not exist"));
            }
            if present < row.count {
                spread(
                    values,
                    start,
                    definitions.iter().map(|level| *level == PRESENT),
                );
            }
            row.values = RowValues::Stored(start..start + row.count);
            (level, value) = (levels.end, value + present);
        }
        if level != cells.definitions.len() || value != cells.values.len() {
            return Err(short());
        }
        Ok(())
    }

    fn read_starts(
        &self,
        pages: &Pages,
        group: usize,
        rows: &RowRanges,
        decoded: &mut [DecodedRow],
    ) -> Result<(), BlockError> {
        let starts = self.read_lists::<Int64Type>(pages, group, samples::STARTS, rows)?;
        for (row, starts) in decoded.iter_mut().zip(starts) {
            if !starts.is_empty() && starts.len() != row.count {
                return Err(self
                    .samples
                    .corrupt("a row has another number of starts than samples"));
            }
            row.starts = starts;
        }
        Ok(())
    }

    fn read_shapes(
        &self,
        pages: &Pages,
        group: usize,
        rows: &RowRanges,
        decoded: &mut [DecodedRow],
    ) -> Result<(), BlockError> {
        let of_histograms = rows.iter().cloned().flatten().zip(&*decoded);
        let mut rows = RowRanges::new();
        for (row, _) in of_histograms.filter(|(_, row)| row.comp != FLOAT) {
            add_row(&mut rows, row);
        }
        let table = &self.samples;
        let buckets = table.read_optional::<Int32Type>(pages, group, samples::BUCKET, &rows)?;
        let schemas = table.read_optional::<Int32Type>(pages, group, samples::H_SCHEMA, &rows)?;
        let column = samples::H_ZERO_THRESHOLD;
        let thresholds = table.read_optional::<DoubleType>(pages, group, column, &rows)?;
        let customs = self.read_lists::<DoubleType>(pages, group, samples::H_CUSTOM, &rows)?;
        let columns = buckets.into_iter().zip(schemas);
        let columns = columns.zip(thresholds).zip(customs);
        let of_histograms = decoded.iter_mut().filter(|row| row.comp != FLOAT);
        for (row, (((bucket, schema), threshold), custom_values)) in of_histograms.zip(columns) {
            row.bucket = bucket;
            let (Some(schema), Some(zero_threshold)) = (schema, threshold) else {
                return Err(self.samples.corrupt("a histogram lacks its schema"));
            };
            row.shape = Some(Shape {
                schema,
                zero_threshold,
                custom_values,
            });
        }
        Ok(())
    }

    /// Reads lists whose elements are all there; one that is missing is empty.
    fn read_lists<T: DataType>(
        &self,
        pages: &Pages,
        group: usize,
        column: usize,
        rows: &RowRanges,
    ) -> Result<Vec<Vec<T::T>>, BlockError> {
        let cells = self.samples.read_cells::<T>(pages, group, column, rows)?;
        let mut lists: Vec<Vec<T::T>> = Vec::new();
        let mut values = cells.values.into_iter();
        for (repetition, definition) in cells.repetitions.iter().zip(&cells.definitions) {
            if *repetition == 0 {
                lists.push(Vec::new());
            }
            if *definition > 1 {
                lists
                    .last_mut()
                    .into_iter()
                    .for_each(|list| list.extend(values.next()));
            }
        }
        Ok(lists)
    }
}

/// The rows of a kind among those read.
fn of_kind(rows: &RowRanges, kinds: &[i32], kind: i32) -> RowRanges {
    let mut wanted: RowRanges = Vec::new();
    let rows = rows.iter().cloned().flatten().zip(kinds);
    for (row, _) in rows.filter(|(_, own)| **own == kind) {
        add_row(&mut wanted, row);
    }
    wanted
}

/// Adds the next row to ranges.
fn add_row(ranges: &mut RowRanges, row: usize) {
    match ranges.last_mut() {
        Some(last) if last.end == row => last.end += 1,
        _ => ranges.push(row..row + 1),
    }
}
