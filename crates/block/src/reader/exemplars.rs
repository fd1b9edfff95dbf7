//! Exemplars of series: ids and timestamps of the row groups that may hold some, then the rest of
//! those rows that do.

use model::exemplar::Exemplar;
use model::labels::Labels;
use model::matcher::Matcher;
use model::select::{LookupBounds, SelectError};
use model::time::TimeRange;
use parquet::data_type::{ByteArrayType, DoubleType, Int32Type, Int64Type};

use super::Block;
use super::series::{LabelFilter, SERIES_AT_ONCE, label_pairs};
use crate::error::BlockError;
use crate::schema::exemplars;
use crate::table::{RowRanges, Table};

/// The exemplars of series, by their ids.
type ById = Vec<(i32, Vec<Exemplar>)>;

impl Block {
    /// The exemplars of matching series in a range, in the order of time; series come in the order
    /// of their names and labels, and without exemplars not at all.
    ///
    /// # Errors
    /// Where a file is damaged, or more is found than allowed.
    pub fn exemplars(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
        bounds: &LookupBounds,
    ) -> Result<Vec<(Labels, Vec<Exemplar>)>, SelectError> {
        let Some(table) = &self.exemplars else {
            return Ok(Vec::new());
        };
        let ids = self.matching(matchers, bounds)?;
        let mut found = ById::new();
        let mut bytes = 0;
        for group in 0..table.groups() {
            bounds.go_on()?;
            let wanted = wanted(table, group, &ids, range)?;
            bytes += read_group(table, group, wanted, &mut found)?;
            bounds.bytes(bytes)?;
            bounds.series(found.len() as u64)?;
        }
        let mut labels = Vec::with_capacity(found.len());
        for part in found.chunks(SERIES_AT_ONCE) {
            bounds.go_on()?;
            let ids: Vec<i32> = part.iter().map(|(id, _)| *id).collect();
            labels.extend(self.read_labels(&ids, LabelFilter::All)?);
            bytes += labels[labels.len() - ids.len()..]
                .iter()
                .map(Labels::heap_bytes)
                .sum::<usize>();
            bounds.bytes(bytes)?;
        }
        let exemplars = found.into_iter().map(|(_, exemplars)| exemplars);
        Ok(labels.into_iter().zip(exemplars).collect())
    }
}

/// The rows of a group that are wanted.
#[derive(Default)]
struct Wanted {
    rows: RowRanges,
    /// The series and the time of each.
    keys: Vec<(i32, i64)>,
}

/// Finds the rows of these series, which ascend, in a range.
fn wanted(
    table: &Table,
    group: usize,
    ids: &[i32],
    range: TimeRange,
) -> Result<Wanted, BlockError> {
    let mut wanted = Wanted::default();
    if let Some((least, most)) = table.bounds(group, exemplars::SERIES_ID) {
        let first = ids.partition_point(|id| i64::from(*id) < least);
        if ids.get(first).is_none_or(|id| i64::from(*id) > most) {
            return Ok(wanted);
        }
    }
    let times = table.bounds(group, exemplars::TS);
    if times.is_some_and(|(least, most)| !range.overlaps(least, most)) {
        return Ok(wanted);
    }
    let all = 0..table.group_rows(group);
    let all = std::slice::from_ref(&all);
    let columns = [exemplars::SERIES_ID, exemplars::TS];
    let pages = table.fetch([(group, all)], columns)?;
    let series = table.read::<Int32Type>(&pages, group, exemplars::SERIES_ID, all)?;
    let times = table.read::<Int64Type>(&pages, group, exemplars::TS, all)?;
    for (row, (id, t)) in series.into_iter().zip(times).enumerate() {
        if !range.contains(t) || ids.binary_search(&id).is_err() {
            continue;
        }
        match wanted.rows.last_mut() {
            Some(last) if last.end == row => last.end += 1,
            _ => wanted.rows.push(row..row + 1),
        }
        wanted.keys.push((id, t));
    }
    Ok(wanted)
}

/// Reads the exemplars of these rows; says how many bytes they take.
fn read_group(
    table: &Table,
    group: usize,
    wanted: Wanted,
    found: &mut ById,
) -> Result<usize, BlockError> {
    let Wanted { rows, keys } = wanted;
    if keys.is_empty() {
        return Ok(0);
    }
    let columns = exemplars::VALUE..=exemplars::LABEL_VALUE;
    let pages = table.fetch([(group, rows.as_slice())], columns)?;
    let values = table.read::<DoubleType>(&pages, group, exemplars::VALUE, &rows)?;
    let texts = |column| table.read_cells::<ByteArrayType>(&pages, group, column, &rows);
    let (names, texts) = (texts(exemplars::LABEL_KEY)?, texts(exemplars::LABEL_VALUE)?);
    let labels = label_pairs(table, &names, &texts, keys.len())?;
    let mut bytes = 0;
    for (((id, t), v), mut pairs) in keys.into_iter().zip(values).zip(labels) {
        pairs.sort_unstable();
        if pairs.windows(2).any(|two| two[0].0 == two[1].0) {
            return Err(table.corrupt("an exemplar has a label twice"));
        }
        let labels = Labels::from_sorted(pairs.into_iter().filter(|(_, value)| !value.is_empty()));
        bytes += size_of::<Exemplar>() + labels.heap_bytes();
        let exemplar = Exemplar { labels, v, t };
        let last = found
            .last()
            .and_then(|(last, exemplars)| Some((*last, exemplars.last()?.t)));
        if last.is_some_and(|last| last > (id, t)) {
            return Err(table.corrupt("its rows are out of order"));
        }
        match found.last_mut() {
            Some((last, exemplars)) if *last == id => exemplars.push(exemplar),
            _ => found.push((id, vec![exemplar])),
        }
    }
    Ok(bytes)
}
