//! Which rows of the samples a select reads, series by series.

use model::select::SharedBytes;
use model::time::TimeRange;
use parquet::data_type::{Int32Type, Int64Type};

use super::Block;
use crate::error::BlockError;
use crate::histogram::FLOAT;
use crate::schema::samples;
use crate::table::Pages;

/// The most rows of a select: they are listed before the first is read.
const MAX_SELECTED_ROWS: usize = 16 << 20;

/// What a row takes while rows are looked for.
const ROW_BYTES: usize = size_of::<(i32, PlannedRow)>();

/// The columns a plan is made of.
const COLUMNS: [usize; 5] = [
    samples::SLICE_START,
    samples::SERIES_ID,
    samples::N,
    samples::COMP,
    samples::KIND,
];
/// The other small ones, which reading the rows needs.
const OTHERS: [usize; 5] = [
    samples::TIMELINE_ID,
    samples::T_OFF,
    samples::BUCKET,
    samples::EXP,
    samples::MULT,
];

/// Row groups whose rows are looked at with one fetch.
const GROUPS_AT_ONCE: usize = 64;

/// One row to read.
#[derive(Clone, Copy, Debug)]
pub(super) struct PlannedRow {
    pub(super) group: u32,
    pub(super) row: u32,
    /// How many samples it has.
    pub(super) count: u32,
    /// How its values are stored.
    pub(super) kind: i8,
    /// Whether it is a component of histograms.
    pub(super) histogram: bool,
}

/// The rows to read, by series, and of a series by time.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// The series that have rows, ascending.
    pub(super) ids: Vec<i32>,
    /// Where in `rows` those of each series end.
    pub(super) ends: Vec<usize>,
    pub(super) rows: Vec<PlannedRow>,
}

impl Plan {
    /// Finds the rows of these series, which ascend, that may have samples in a range. The plans of
    /// all blocks of a select may take so many bytes together (0: no limit).
    pub(super) fn of(
        block: &Block,
        ids: &[i32],
        range: TimeRange,
        max_bytes: usize,
        shared: &SharedBytes,
    ) -> Result<Self, BlockError> {
        let mut found: Vec<(i32, PlannedRow)> = Vec::new();
        let meta = &block.meta;
        let in_range =
            |start: i64| start < range.end && start.saturating_add(meta.slice_ms) > range.start;
        let groups =
            (0..block.samples.groups()).filter(|group| may_hold(block, *group, ids, range));
        let groups: Vec<_> = groups
            .map(|group| (group, 0..block.samples.group_rows(group)))
            .collect();
        let mut pages = Pages::default();
        for (at, (group, all)) in groups.iter().enumerate() {
            if at % GROUPS_AT_ONCE == 0 {
                let next = &groups[at..groups.len().min(at + GROUPS_AT_ONCE)];
                let next = next.iter();
                let rows = next.map(|(group, all)| (*group, std::slice::from_ref(all)));
                // With all else that is small of these rows: reading them asks for no more than
                // their values then.
                pages = block.samples.fetch_with(rows, &COLUMNS, &OTHERS)?;
            }
            let (group, all) = (*group, std::slice::from_ref(all));
            let table = &block.samples;
            let series = table.read::<Int32Type>(&pages, group, samples::SERIES_ID, all)?;
            let slices = table.read::<Int64Type>(&pages, group, samples::SLICE_START, all)?;
            let counts = table.read::<Int32Type>(&pages, group, samples::N, all)?;
            let comps = table.read::<Int32Type>(&pages, group, samples::COMP, all)?;
            let kinds = table.read::<Int32Type>(&pages, group, samples::KIND, all)?;
            let columns = series
                .iter()
                .zip(&slices)
                .zip(&counts)
                .zip(comps.iter().zip(&kinds));
            for (row, (((id, slice), count), (comp, kind))) in columns.enumerate() {
                if !in_range(*slice) || ids.binary_search(id).is_err() {
                    continue;
                }
                let count = u32::try_from(*count).ok().filter(|count| *count > 0);
                let count = count.ok_or_else(|| block.samples.corrupt("a row has no samples"))?;
                let planned = PlannedRow {
                    group: group as u32,
                    row: row as u32,
                    count,
                    kind: i8::try_from(*kind).unwrap_or(i8::MAX),
                    histogram: *comp != FLOAT,
                };
                found.push((*id, planned));
            }
            let too_many = |what: String| BlockError::TooMany {
                block: meta.block_id.clone(),
                what,
            };
            if found.len() > MAX_SELECTED_ROWS {
                let what = format!("more rows than max_selected_rows of {MAX_SELECTED_ROWS}");
                return Err(too_many(what));
            }
            let all = shared.hold(found.len() * ROW_BYTES);
            if max_bytes > 0 && all > max_bytes {
                let rows = found.len();
                let what = format!(
                    "{rows} rows or more, of which a list is kept; with those of other blocks it \
                     takes more than max_memory_per_query of {max_bytes} bytes: select fewer series \
                     or a shorter range"
                );
                return Err(too_many(what));
            }
        }
        // Rows of a series come in the order of time already.
        found.sort_by_key(|(id, _)| *id);
        let mut plan = Self::default();
        for (at, (id, row)) in found.iter().enumerate() {
            if plan.ids.last() != Some(id) {
                plan.ids.push(*id);
                plan.ends.push(at);
            }
            if let Some(end) = plan.ends.last_mut() {
                *end = at + 1;
            }
            plan.rows.push(*row);
        }
        shared.hold(plan.bytes());
        Ok(plan)
    }

    /// What it takes.
    pub(super) fn bytes(&self) -> usize {
        self.rows.len() * size_of::<PlannedRow>()
            + self.ids.len() * (size_of::<i32>() + size_of::<usize>())
    }

    /// Where in `rows` those of the series number `at` begin.
    pub(super) fn start(&self, at: usize) -> usize {
        at.checked_sub(1)
            .and_then(|before| self.ends.get(before))
            .copied()
            .unwrap_or(0)
    }
}

/// Whether a row group may have rows of these series in a range, by its statistics.
fn may_hold(block: &Block, group: usize, ids: &[i32], range: TimeRange) -> bool {
    if let Some((least, most)) = block.samples.bounds(group, samples::SERIES_ID) {
        let first = ids.partition_point(|id| i64::from(*id) < least);
        if ids.get(first).is_none_or(|id| i64::from(*id) > most) {
            return false;
        }
    }
    let slices = block.samples.bounds(group, samples::SLICE_START);
    slices.is_none_or(|(least, most)| {
        least < range.end && most.saturating_add(block.meta.slice_ms) > range.start
    })
}
