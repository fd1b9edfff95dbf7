//! From ids to the labels of series.

use model::labels::{Labels, METRIC_NAME};
use parquet::data_type::{ByteArray, ByteArrayType};

use super::Block;
use crate::error::BlockError;
use crate::schema::series;
use crate::table::{Cells, Table, text};

/// How many series' labels are read at once.
pub(super) const SERIES_AT_ONCE: usize = 1024;

impl Block {
    /// The labels of these series, which ascend.
    pub(super) fn read_labels(&self, ids: &[i32]) -> Result<Vec<Labels>, BlockError> {
        let rows = ids
            .iter()
            .map(|id| usize::try_from(*id).unwrap_or(usize::MAX));
        let mut found = Vec::with_capacity(ids.len());
        for (group, rows) in self.series.locate(rows) {
            let all = series::NAME..series::PROMOTED + self.meta.promoted_labels.len() + 2;
            let pages = self.series.fetch([(group, rows.as_slice())], all)?;
            let pages = &pages;
            let read = |column| {
                self.series
                    .read::<ByteArrayType>(pages, group, column, &rows)
            };
            let names = read(series::NAME)?;
            let promoted = &self.meta.promoted_labels;
            let mut columns = Vec::with_capacity(promoted.len());
            for column in (series::PROMOTED..).take(promoted.len()) {
                columns.push(
                    self.series
                        .read_optional::<ByteArrayType>(pages, group, column, &rows)?,
                );
            }
            let keys = series::PROMOTED + promoted.len();
            let keys_read = self
                .series
                .read_cells::<ByteArrayType>(pages, group, keys, &rows)?;
            let values = self
                .series
                .read_cells::<ByteArrayType>(pages, group, keys + 1, &rows)?;
            let rest = label_pairs(&self.series, &keys_read, &values, names.len())?;
            for (at, (name, rest)) in names.iter().zip(rest).enumerate() {
                let mut pairs = rest;
                pairs.push((METRIC_NAME, label_text(&self.series, name)?));
                for (label, column) in promoted.iter().zip(&columns) {
                    if let Some(value) = column.get(at).and_then(Option::as_ref) {
                        pairs.push((label, label_text(&self.series, value)?));
                    }
                }
                pairs.retain(|(_, value)| !value.is_empty());
                pairs.sort_unstable();
                if pairs.windows(2).any(|two| two[0].0 == two[1].0) {
                    return Err(self.series.corrupt("a series has a label twice"));
                }
                found.push(Labels::from_sorted(pairs.into_iter()));
            }
        }
        if found.len() != ids.len() {
            return Err(self
                .series
                .corrupt("it has fewer series than meta.json says"));
        }
        Ok(found)
    }
}

/// The pairs of a table's column `labels`, by row.
pub(super) fn label_pairs<'c>(
    table: &Table,
    keys: &'c Cells<ByteArray>,
    values: &'c Cells<ByteArray>,
    rows: usize,
) -> Result<Vec<Vec<(&'c str, &'c str)>>, BlockError> {
    let same = keys.repetitions == values.repetitions && keys.definitions == values.definitions;
    if !same || keys.values.len() != values.values.len() {
        return Err(table.corrupt("keys and values of labels differ in number"));
    }
    let mut pairs = keys.values.iter().zip(&values.values);
    let mut rest: Vec<Vec<(&str, &str)>> = Vec::with_capacity(rows);
    for (repetition, definition) in keys.repetitions.iter().zip(&keys.definitions) {
        if *repetition == 0 {
            rest.push(Vec::new());
        }
        if *definition > 0
            && let Some(row) = rest.last_mut()
            && let Some((key, value)) = pairs.next()
        {
            row.push((label_text(table, key)?, label_text(table, value)?));
        }
    }
    if rest.len() != rows {
        return Err(table.corrupt("its columns differ in rows"));
    }
    Ok(rest)
}

fn label_text<'t>(table: &Table, value: &'t ByteArray) -> Result<&'t str, BlockError> {
    text(value).ok_or_else(|| table.corrupt("a label is no UTF-8"))
}
