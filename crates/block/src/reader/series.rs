//! From ids to the labels of series.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use model::labels::{Labels, METRIC_NAME};
use parquet::data_type::{ByteArray, ByteArrayType};

use super::Block;
use crate::error::BlockError;
use crate::schema::series;
use crate::table::{Cells, Pages, RowRanges, Table, text};

/// How many series' labels are read at once.
pub(super) const SERIES_AT_ONCE: usize = 1024;

/// The columns that hold some labels.
struct Columns<'b> {
    name: bool,
    /// Promoted labels, each with its column.
    promoted: Vec<(&'b str, usize)>,
    /// The column with the keys of all other labels; the next one has their values.
    keys: Option<usize>,
}

impl<'b> Columns<'b> {
    fn of(block: &'b Block, needed: LabelFilter<'_>) -> Self {
        let promoted = block.meta.promoted_labels.iter().map(String::as_str);
        let keys = series::PROMOTED + promoted.len();
        let is_other = |name: &&str| *name != METRIC_NAME && !promoted.clone().any(|p| p == *name);
        let others = match needed {
            LabelFilter::Only(names) => {
                names.iter().map(|name| &**name).any(|name| is_other(&name))
            }
            LabelFilter::All | LabelFilter::Except(_) => true,
        };
        Self {
            name: needed.wants(METRIC_NAME),
            promoted: promoted
                .zip(series::PROMOTED..)
                .filter(|(name, _)| needed.wants(name))
                .collect(),
            keys: others.then_some(keys),
        }
    }

    fn all(&self) -> impl Iterator<Item = usize> + Clone {
        let name = self.name.then_some(series::NAME).into_iter();
        let promoted = self.promoted.iter().map(|(_, column)| *column);
        let others = self.keys.into_iter().flat_map(|keys| [keys, keys + 1]);
        name.chain(promoted).chain(others)
    }
}

/// Which labels of series are wanted.
#[derive(Clone, Copy)]
pub(super) enum LabelFilter<'n> {
    All,
    /// These.
    Only(&'n [Arc<str>]),
    /// All but these.
    Except(&'n BTreeSet<String>),
}

impl LabelFilter<'_> {
    fn wants(self, name: &str) -> bool {
        match self {
            Self::All => true,
            Self::Only(names) => names.iter().any(|wanted| **wanted == *name),
            Self::Except(names) => !names.contains(name),
        }
    }
}

impl Block {
    /// Those labels of these series, which ascend, that are wanted.
    pub(super) fn read_labels(
        &self,
        ids: &[i32],
        wanted: LabelFilter<'_>,
    ) -> Result<Vec<Labels>, BlockError> {
        let mut found = Vec::with_capacity(ids.len());
        self.each_labels(ids, wanted, |pairs| {
            pairs.sort_unstable();
            if pairs.windows(2).any(|two| two[0].0 == two[1].0) {
                return Err(self.series.corrupt("a series has a label twice"));
            }
            found.push(Labels::from_sorted(pairs.iter().copied()));
            Ok(())
        })?;
        Ok(found)
    }

    /// Hands out the wanted labels of these series, which ascend, series by series, in no order.
    pub(super) fn each_labels(
        &self,
        ids: &[i32],
        wanted: LabelFilter<'_>,
        mut each: impl FnMut(&mut Vec<(&str, &str)>) -> Result<(), BlockError>,
    ) -> Result<(), BlockError> {
        let rows = ids
            .iter()
            .map(|id| usize::try_from(*id).unwrap_or(usize::MAX));
        let columns = Columns::of(self, wanted);
        let mut count = 0;
        for (group, rows) in self.series.locate(rows) {
            let pages = self
                .series
                .fetch([(group, rows.as_slice())], columns.all())?;
            count += self.each_of_group(&pages, group, &rows, &columns, |pairs| {
                pairs.retain(|(name, value)| !value.is_empty() && wanted.wants(name));
                each(pairs)
            })?;
        }
        if count != ids.len() {
            return Err(self
                .series
                .corrupt("it has fewer series than meta.json says"));
        }
        Ok(())
    }

    /// Hands out what columns of a group hold, row by row; says of how many rows.
    fn each_of_group(
        &self,
        pages: &Pages,
        group: usize,
        rows: &RowRanges,
        columns: &Columns<'_>,
        mut each: impl for<'p> FnMut(&mut Vec<(&'p str, &'p str)>) -> Result<(), BlockError>,
    ) -> Result<usize, BlockError> {
        let table = &self.series;
        let count = rows.iter().map(Range::len).sum();
        let names = match columns.name {
            true => table.read::<ByteArrayType>(pages, group, series::NAME, rows)?,
            false => Vec::new(),
        };
        let mut promoted = Vec::with_capacity(columns.promoted.len());
        for (label, column) in &columns.promoted {
            let values = table.read_optional::<ByteArrayType>(pages, group, *column, rows)?;
            promoted.push((*label, values));
        }
        let others = match columns.keys {
            Some(keys) => Some((
                table.read_cells::<ByteArrayType>(pages, group, keys, rows)?,
                table.read_cells::<ByteArrayType>(pages, group, keys + 1, rows)?,
            )),
            None => None,
        };
        let mut others = match &others {
            Some((keys, values)) => label_pairs(table, keys, values, count)?,
            None => Vec::new(),
        };
        let mut pairs = Vec::new();
        for at in 0..count {
            pairs.clear();
            if let Some(others) = others.get_mut(at) {
                pairs.append(others);
            }
            if let Some(name) = names.get(at) {
                pairs.push((METRIC_NAME, label_text(table, name)?));
            }
            for (label, values) in &promoted {
                if let Some(Some(value)) = values.get(at) {
                    pairs.push((*label, label_text(table, value)?));
                }
            }
            each(&mut pairs)?;
        }
        Ok(count)
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
