//! Names, values and label sets: the reads of a head that need no samples.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;

use model::exemplar::Exemplar;
use model::labels::{Labels, METRIC_NAME};
use model::matcher::Matcher;
use model::select::{LookupBounds, SelectError};
use model::time::TimeRange;
use model::write::MetricMetadata;
use roaring::RoaringBitmap;

use super::TenantHead;
use super::series::MemSeries;
use crate::postings::{self, Step};

/// Series looked at under one hold of the series map.
const BATCH: usize = 256;

/// A row of a table of counts.
pub(crate) type NameCount = (String, u64);

/// What a head holds, as tables of the largest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cardinality {
    /// Series in memory.
    pub series: u64,
    /// Distinct pairs of label name and value.
    pub label_pairs: u64,
    /// Chunks, open and closed.
    pub chunks: u64,
    /// Metric names with the most series.
    pub series_by_metric: Vec<NameCount>,
    /// Label names with the most values.
    pub values_by_label: Vec<NameCount>,
    /// Label names whose values take the most bytes.
    pub bytes_by_label: Vec<NameCount>,
    /// `name=value` pairs with the most series.
    pub series_by_pair: Vec<NameCount>,
}

/// Which series a look-up means, and what it must keep within.
#[derive(Clone, Copy, Debug)]
pub struct Lookup<'a> {
    /// Those that satisfy any of the sets; no set: all.
    pub matcher_sets: &'a [Vec<Matcher>],
    /// Those that may have samples in this time.
    pub range: TimeRange,
    /// The most items to find; 0: all.
    pub most: usize,
    /// Beyond these it fails.
    pub bounds: &'a LookupBounds,
}

impl TenantHead {
    /// The series a look-up means.
    fn matching(
        &self,
        lookup: &Lookup<'_>,
        range: TimeRange,
    ) -> Result<RoaringBitmap, SelectError> {
        let mut found = RoaringBitmap::new();
        if !self.overlaps(range) {
            return Ok(found);
        }
        if lookup.matcher_sets.is_empty() {
            return Ok(self.index.read().all().clone());
        }
        for set in lookup.matcher_sets {
            lookup.bounds.go_on()?;
            found |= self.resolve(set);
        }
        Ok(found)
    }

    /// The label sets of series with samples in the range, sorted; and whether there are more.
    ///
    /// # Errors
    /// Where a bound is hit, or it is to stop.
    pub fn series_labels(&self, lookup: &Lookup<'_>) -> Result<(Vec<Labels>, bool), SelectError> {
        let set = self.matching(lookup, lookup.range)?;
        let refs: Vec<u32> = set.iter().collect();
        let most = if lookup.most == 0 {
            usize::MAX
        } else {
            lookup.most
        };
        let mut found: Vec<Labels> = Vec::new();
        let mut bytes = 0;
        let mut cut = false;
        'all: for batch in refs.chunks(BATCH) {
            lookup.bounds.go_on()?;
            let map = self.series.read();
            let index = self.index.read();
            for series in batch.iter().filter_map(|r| map.by_ref(*r)) {
                if series.may_have(lookup.range) {
                    if found.len() == most {
                        cut = true;
                        break 'all;
                    }
                    let labels = index.labels(&series.labels);
                    bytes += size_of::<Labels>() + labels.heap_bytes();
                    found.push(labels);
                    lookup.bounds.series(found.len() as u64)?;
                    lookup.bounds.bytes(bytes)?;
                }
            }
        }
        found.sort_unstable();
        Ok((found, cut))
    }

    /// The label names of the series that match, sorted; and whether there are more.
    ///
    /// # Errors
    /// Where a bound is hit, or it is to stop.
    pub fn label_names(&self, lookup: &Lookup<'_>) -> Result<(Vec<String>, bool), SelectError> {
        let set = self.matching(lookup, lookup.range)?;
        if set.is_empty() {
            return Ok((Vec::new(), false));
        }
        let among = (!lookup.matcher_sets.is_empty()).then_some(&set);
        lookup.bounds.series(among.map_or(0, RoaringBitmap::len))?;
        let mut found = Smallest::new(lookup);
        {
            let _no_removal = self.scans.read();
            let mut index = self.index.read();
            postings::names_among(&mut index, among, |step| found.step(step))?;
        }
        Ok(found.sorted())
    }

    /// The values of a label among the series that match, sorted; and whether there are more.
    ///
    /// # Errors
    /// Where a bound is hit, or it is to stop.
    pub fn label_values(
        &self,
        name: &str,
        lookup: &Lookup<'_>,
    ) -> Result<(Vec<String>, bool), SelectError> {
        let set = self.matching(lookup, lookup.range)?;
        if set.is_empty() {
            return Ok((Vec::new(), false));
        }
        let among = (!lookup.matcher_sets.is_empty()).then_some(&set);
        lookup.bounds.series(among.map_or(0, RoaringBitmap::len))?;
        let mut found = Smallest::new(lookup);
        {
            let _no_removal = self.scans.read();
            let mut index = self.index.read();
            postings::values_among(&mut index, name, among, |step| found.step(step))?;
        }
        Ok(found.sorted())
    }

    /// Descriptions of one metric or of all.
    pub fn metadata(&self, metric: Option<&str>) -> Vec<MetricMetadata> {
        self.metadata.lock().get(metric)
    }

    /// The exemplars of the series that match, by series.
    ///
    /// # Errors
    /// Where a bound is hit, or it is to stop.
    pub fn exemplars(
        &self,
        lookup: &Lookup<'_>,
    ) -> Result<Vec<(Labels, Vec<Exemplar>)>, SelectError> {
        let set = self.matching(lookup, TimeRange::all())?;
        // What the ring holds is bounded by the tenant's limit of exemplars.
        let found = self.exemplars.lock().select(&set, lookup.range);
        lookup.bounds.series(found.len() as u64)?;
        let mut named = Vec::new();
        let mut bytes = 0;
        let mut found = found.into_iter().peekable();
        while found.peek().is_some() {
            lookup.bounds.go_on()?;
            let map = self.series.read();
            let index = self.index.read();
            for (series_ref, exemplars) in found.by_ref().take(BATCH) {
                let Some(series) = map.by_ref(series_ref) else {
                    continue;
                };
                let labels = index.labels(&series.labels);
                let each = exemplars.iter();
                bytes += labels.heap_bytes() + size_of::<(Labels, Vec<Exemplar>)>();
                bytes += each
                    .map(|one| size_of::<Exemplar>() + one.labels.heap_bytes())
                    .sum::<usize>();
                lookup.bounds.bytes(bytes)?;
                named.push((labels, exemplars));
            }
        }
        named.sort_by(|(a, _), (b, _)| a.cmp(b));
        Ok(named)
    }

    /// The largest names, values and metrics, `most` of each.
    ///
    /// # Errors
    /// Where it is to stop.
    pub fn cardinality(
        &self,
        most: usize,
        bounds: &LookupBounds,
    ) -> Result<Cardinality, SelectError> {
        let chunks = self.chunk_count(bounds)?;
        let mut metrics = Largest::new(most);
        let mut pairs = Largest::new(most);
        let mut values = Largest::new(most);
        let mut bytes = Largest::new(most);
        let (series, label_pairs);
        {
            let _no_removal = self.scans.read();
            let mut index = self.index.read();
            series = index.all().len();
            label_pairs = index.pair_count() as u64;
            // Pairs come name by name.
            let mut sums = (String::new(), 0_u64, 0_u64);
            postings::cardinality(&mut index, |step| {
                let Step::Item((name, value, count)) = step else {
                    return bounds.go_on();
                };
                if sums.0 != name {
                    values.push("", &sums.0, sums.1);
                    bytes.push("", &sums.0, sums.2);
                    sums = (name.to_owned(), 0, 0);
                }
                sums.1 += 1;
                sums.2 += value.len() as u64 * count;
                pairs.push(name, value, count);
                if name == METRIC_NAME {
                    metrics.push("", value, count);
                }
                Ok(())
            })?;
            values.push("", &sums.0, sums.1);
            bytes.push("", &sums.0, sums.2);
        }
        Ok(Cardinality {
            series,
            label_pairs,
            chunks,
            series_by_metric: metrics.sorted(),
            values_by_label: values.sorted(),
            bytes_by_label: bytes.sorted(),
            series_by_pair: pairs.sorted(),
        })
    }

    fn chunk_count(&self, bounds: &LookupBounds) -> Result<u64, SelectError> {
        let mut count = 0;
        let mut from = Some(0);
        while let Some(at) = from {
            bounds.go_on()?;
            let (batch, next) = self.series.read().scan(at, BATCH);
            for series in batch {
                let state = series.state.lock();
                count += state.closed.len() as u64 + u64::from(!state.open.is_empty());
            }
            from = next;
        }
        Ok(count)
    }
}

impl MemSeries {
    /// Whether a chunk of the series, or what came late, overlaps a range.
    fn may_have(&self, range: TimeRange) -> bool {
        let state = self.state.lock();
        let open = &state.open;
        if open
            .first_t()
            .is_some_and(|first| range.overlaps(first, open.last_t()))
        {
            return true;
        }
        let mut closed = state.closed.iter();
        if closed.any(|chunk| range.overlaps(chunk.first_t, chunk.last_t)) {
            return true;
        }
        state.rare.as_ref().is_some_and(|rare| {
            let open = rare.open.as_ref();
            open.is_some_and(|open| range.overlaps(open.first_t(), open.last_t()))
                || rare.floats.iter().any(|sample| range.contains(sample.t))
                || rare
                    .histograms
                    .iter()
                    .any(|sample| range.contains(sample.t))
        })
    }
}

/// The smallest of the texts that come, each once, copied so that no lock is needed to sort them.
struct Smallest<'a> {
    lookup: &'a Lookup<'a>,
    kept: BinaryHeap<String>,
    bytes: usize,
    cut: bool,
}

impl<'a> Smallest<'a> {
    fn new(lookup: &'a Lookup<'a>) -> Self {
        Self {
            lookup,
            kept: BinaryHeap::new(),
            bytes: 0,
            cut: false,
        }
    }

    fn step(&mut self, step: Step<&str>) -> Result<(), SelectError> {
        let Step::Item(text) = step else {
            return self.lookup.bounds.go_on();
        };
        if self.lookup.most > 0 && self.kept.len() == self.lookup.most {
            self.cut = true;
            let Some(largest) = self.kept.peek_mut().filter(|kept| text < kept.as_str()) else {
                return Ok(());
            };
            self.bytes -= largest.len() + size_of::<String>();
            PeekMut::pop(largest);
        }
        self.bytes += text.len() + size_of::<String>();
        self.kept.push(text.to_owned());
        self.lookup.bounds.bytes(self.bytes)
    }

    fn sorted(self) -> (Vec<String>, bool) {
        (self.kept.into_sorted_vec(), self.cut)
    }
}

/// A row of a table; the greatest is the one to go first.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Row {
    count: Reverse<u64>,
    name: String,
    value: String,
}

/// The rows with the largest counts; of equal ones, the first in the order of texts.
struct Largest {
    most: usize,
    rows: BinaryHeap<Row>,
}

impl Largest {
    fn new(most: usize) -> Self {
        Self {
            most,
            rows: BinaryHeap::new(),
        }
    }

    fn push(&mut self, name: &str, value: &str, count: u64) {
        if count == 0 || self.most == 0 {
            return;
        }
        if self.rows.len() == self.most {
            let last = self.rows.peek_mut().filter(|last| {
                (Reverse(count), name, value) < (last.count, &*last.name, &*last.value)
            });
            let Some(last) = last else {
                return;
            };
            PeekMut::pop(last);
        }
        self.rows.push(Row {
            count: Reverse(count),
            name: name.to_owned(),
            value: value.to_owned(),
        });
    }

    fn sorted(self) -> Vec<NameCount> {
        let rows = self.rows.into_sorted_vec().into_iter();
        let text = |row: &Row| match row.name.as_str() {
            "" => row.value.clone(),
            name => format!("{name}={}", row.value),
        };
        rows.map(|row| (text(&row), row.count.0)).collect()
    }
}
