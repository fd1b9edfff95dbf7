//! From matchers to the ids of series.

use std::ops::Range;

use model::matcher::{MatchOp, Matcher, Pattern};
use model::select::{LookupBounds, SelectError};
use parquet::data_type::{ByteArray, ByteArrayType, Int32Type};

use super::Block;
use crate::error::BlockError;
use crate::schema::postings;
use crate::table::{RowRanges, text};

impl Block {
    /// The series for which all matchers hold, ascending.
    pub(super) fn matching(
        &self,
        matchers: &[Matcher],
        bounds: &LookupBounds,
    ) -> Result<Vec<i32>, SelectError> {
        let count = i32::try_from(self.meta.statistics.series).unwrap_or(i32::MAX);
        let mut found: Option<Vec<i32>> = None;
        let (empty, required): (Vec<_>, Vec<_>) =
            matchers.iter().partition(|matcher| matcher.matches_empty());
        for matcher in required {
            bounds.go_on()?;
            let with = self.series_with(matcher, true)?;
            found = Some(found.map_or_else(|| with.clone(), |all| intersection(&all, &with)));
            if found.as_ref().is_some_and(Vec::is_empty) {
                return Ok(Vec::new());
            }
        }
        let mut found = found.unwrap_or_else(|| (0..count).collect());
        for matcher in empty {
            bounds.go_on()?;
            found = difference(&found, &self.series_with(matcher, false)?);
        }
        if found.last().is_some_and(|last| *last >= count) {
            return Err(self
                .postings
                .corrupt("it names series that do not exist")
                .into());
        }
        Ok(found)
    }

    /// The series with a value of the matcher's label for which it holds, or does not.
    fn series_with(&self, matcher: &Matcher, holds: bool) -> Result<Vec<i32>, BlockError> {
        let exact = exact_values(matcher, holds);
        let name = matcher.name.as_bytes();
        let mut ids = Vec::new();
        let mut lists = 0;
        for group in 0..self.postings.groups() {
            let rows = self.rows_of_name(group, name);
            let rows = match &exact {
                Some(values) => {
                    let pages = self
                        .postings
                        .pages_with(group, postings::VALUE, |least, most| {
                            values
                                .iter()
                                .any(|value| least <= value.as_bytes() && value.as_bytes() <= most)
                        });
                    overlap(&rows, &pages)
                }
                None => rows,
            };
            if rows.is_empty() {
                continue;
            }
            let (names, values) = self.read_labels_of_postings(group, &rows)?;
            let mut wanted: RowRanges = Vec::new();
            let all = rows.iter().cloned().flatten();
            for (row, (own, value)) in all.zip(names.iter().zip(&values)) {
                if own.data() != name {
                    continue;
                }
                let value =
                    text(value).ok_or_else(|| self.postings.corrupt("a value is no UTF-8"))?;
                if matcher.matches(value) == holds {
                    match wanted.last_mut() {
                        Some(last) if last.end == row => last.end += 1,
                        _ => wanted.push(row..row + 1),
                    }
                    lists += 1;
                }
            }
            if !wanted.is_empty() {
                let column = postings::SERIES_IDS;
                let pages = self
                    .postings
                    .fetch([(group, wanted.as_slice())], [column])?;
                let cells = self
                    .postings
                    .read_cells::<Int32Type>(&pages, group, column, &wanted)?;
                ids.extend(cells.values);
            }
        }
        if lists > 1 {
            return self.united(&ids);
        }
        if ids.first().is_some_and(|id| *id < 0) || ids.windows(2).any(|two| two[0] >= two[1]) {
            return Err(self.postings.corrupt("its lists do not ascend"));
        }
        Ok(ids)
    }

    /// The ids of several lists, ascending, each once: a bit for each series is quicker than a
    /// sort.
    fn united(&self, lists: &[i32]) -> Result<Vec<i32>, BlockError> {
        let count = usize::try_from(self.meta.statistics.series).unwrap_or_default();
        let mut words = vec![0_u64; count.div_ceil(64)];
        for id in lists {
            let at = usize::try_from(*id).ok().filter(|at| *at < count);
            let at =
                at.ok_or_else(|| self.postings.corrupt("it names series that do not exist"))?;
            words[at / 64] |= 1 << (at % 64);
        }
        let mut ids = Vec::with_capacity(lists.len());
        for (at, mut word) in words.into_iter().enumerate() {
            while word != 0 {
                ids.push((at * 64) as i32 + word.trailing_zeros() as i32);
                word &= word - 1;
            }
        }
        Ok(ids)
    }

    /// The names and the values of postings.
    fn read_labels_of_postings(
        &self,
        group: usize,
        rows: &[Range<usize>],
    ) -> Result<(Vec<ByteArray>, Vec<ByteArray>), BlockError> {
        let columns = [postings::NAME, postings::VALUE];
        let pages = self.postings.fetch([(group, rows)], columns)?;
        let read = |column| {
            self.postings
                .read::<ByteArrayType>(&pages, group, column, rows)
        };
        Ok((read(postings::NAME)?, read(postings::VALUE)?))
    }

    /// Hands out the name and value of each posting, of one name or of all.
    pub(super) fn each_posting(
        &self,
        only: Option<&str>,
        bounds: &LookupBounds,
        mut sink: impl FnMut(&str, &str),
    ) -> Result<(), SelectError> {
        for group in 0..self.postings.groups() {
            bounds.go_on()?;
            let rows = match only {
                Some(name) => self.rows_of_name(group, name.as_bytes()),
                None => std::iter::once(0..self.postings.group_rows(group)).collect(),
            };
            if rows.is_empty() {
                continue;
            }
            let (names, values) = self.read_labels_of_postings(group, &rows)?;
            for (name, value) in names.iter().zip(&values) {
                let (Some(name), Some(value)) = (text(name), text(value)) else {
                    return Err(self.postings.corrupt("a label is no UTF-8").into());
                };
                if only.is_none_or(|only| only == name) {
                    sink(name, value);
                }
            }
        }
        Ok(())
    }

    fn rows_of_name(&self, group: usize, name: &[u8]) -> RowRanges {
        let holds = |least: &[u8], most: &[u8]| least <= name && name <= most;
        self.postings.pages_with(group, postings::NAME, holds)
    }
}

/// The values that alone can be wanted, where they are few.
fn exact_values(matcher: &Matcher, holds: bool) -> Option<Vec<String>> {
    match (matcher.op, matcher.pattern()) {
        (MatchOp::Equal, _) if holds => Some(vec![matcher.value.to_string()]),
        (MatchOp::NotEqual, _) if !holds => Some(vec![matcher.value.to_string()]),
        (MatchOp::Regex, Some(Pattern::Literals(values))) if holds => Some(values.clone()),
        (MatchOp::NotRegex, Some(Pattern::Literals(values))) if !holds => Some(values.clone()),
        _ => None,
    }
}

fn overlap(a: &[Range<usize>], b: &[Range<usize>]) -> RowRanges {
    let mut both = Vec::new();
    for one in a {
        for other in b {
            let range = one.start.max(other.start)..one.end.min(other.end);
            if !range.is_empty() {
                both.push(range);
            }
        }
    }
    both
}

fn intersection(a: &[i32], b: &[i32]) -> Vec<i32> {
    let (small, large) = if a.len() < b.len() { (a, b) } else { (b, a) };
    let mut rest = large;
    let mut both = Vec::new();
    for id in small {
        rest = &rest[rest.partition_point(|other| other < id)..];
        if rest.first() == Some(id) {
            both.push(*id);
        }
    }
    both
}

fn difference(a: &[i32], b: &[i32]) -> Vec<i32> {
    let mut rest = b;
    let kept = a.iter().copied().filter(|id| {
        let passed = rest.iter().take_while(|other| *other < id).count();
        rest = &rest[passed..];
        rest.first() != Some(id)
    });
    kept.collect()
}
