//! Names, values and label sets: the reads of a head that need no samples.

use std::collections::BTreeSet;

use hashbrown::HashMap;
use model::exemplar::Exemplar;
use model::labels::{Labels, METRIC_NAME};
use model::matcher::Matcher;
use model::time::TimeRange;
use model::write::MetricMetadata;
use roaring::RoaringBitmap;

use super::TenantHead;
use super::series::MemSeries;

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

impl TenantHead {
    /// The series that satisfy any of the matcher sets (no set: all) and may have samples in the
    /// range.
    fn matching(&self, matcher_sets: &[Vec<Matcher>], range: TimeRange) -> RoaringBitmap {
        if !self.overlaps(range) {
            return RoaringBitmap::new();
        }
        if matcher_sets.is_empty() {
            return self.index.read().all().clone();
        }
        let each = matcher_sets.iter().map(|set| self.resolve(set));
        each.fold(RoaringBitmap::new(), |all, found| all | found)
    }

    /// The label sets of series with samples in the range, at most `most` (0: all), sorted; and
    /// whether there are more.
    pub fn series_labels(
        &self,
        matcher_sets: &[Vec<Matcher>],
        range: TimeRange,
        most: usize,
    ) -> (Vec<Labels>, bool) {
        let refs: Vec<u32> = self.matching(matcher_sets, range).iter().collect();
        let mut found: Vec<Labels> = Vec::new();
        let most = if most == 0 { usize::MAX } else { most };
        for batch in refs.chunks(BATCH) {
            let map = self.series.read();
            let index = self.index.read();
            for series in batch.iter().filter_map(|r| map.by_ref(*r)) {
                if series.may_have(range) {
                    if found.len() == most {
                        found.sort_unstable();
                        return (found, true);
                    }
                    found.push(index.labels(&series.labels));
                }
            }
        }
        found.sort_unstable();
        (found, false)
    }

    /// The label names of the series that match, at most `most` (0: all), sorted.
    pub fn label_names(
        &self,
        matcher_sets: &[Vec<Matcher>],
        range: TimeRange,
        most: usize,
    ) -> (Vec<String>, bool) {
        let set = self.matching(matcher_sets, range);
        let index = self.index.read();
        if set.is_empty() {
            return (Vec::new(), false);
        }
        if matcher_sets.is_empty() {
            return smallest(index.names(), most);
        }
        smallest(index.names_among(&set), most)
    }

    /// The values of a label among the series that match, at most `most` (0: all), sorted.
    pub fn label_values(
        &self,
        name: &str,
        matcher_sets: &[Vec<Matcher>],
        range: TimeRange,
        most: usize,
    ) -> (Vec<String>, bool) {
        let set = self.matching(matcher_sets, range);
        let index = self.index.read();
        if set.is_empty() {
            return (Vec::new(), false);
        }
        if matcher_sets.is_empty() {
            return smallest(index.values(name), most);
        }
        smallest(index.values_among(name, &set), most)
    }

    /// Descriptions of one metric or of all.
    pub fn metadata(&self, metric: Option<&str>) -> Vec<MetricMetadata> {
        self.metadata.lock().get(metric)
    }

    /// The exemplars of the series that match, by series.
    pub fn exemplars(
        &self,
        matcher_sets: &[Vec<Matcher>],
        range: TimeRange,
    ) -> Vec<(Labels, Vec<Exemplar>)> {
        let all = TimeRange::all();
        let set = self.matching(matcher_sets, all);
        let found = self.exemplars.lock().select(&set, range);
        let map = self.series.read();
        let index = self.index.read();
        let named = found.into_iter().filter_map(|(series_ref, exemplars)| {
            let series = map.by_ref(series_ref)?;
            Some((index.labels(&series.labels), exemplars))
        });
        let mut named: Vec<_> = named.collect();
        named.sort_by(|(a, _), (b, _)| a.cmp(b));
        named
    }

    /// The largest names, values and metrics, `most` of each.
    pub fn cardinality(&self, most: usize) -> Cardinality {
        let chunks = self.chunk_count();
        let index = self.index.read();
        let mut result = Cardinality {
            series: index.all().len(),
            label_pairs: index.pair_count() as u64,
            chunks,
            ..Cardinality::default()
        };
        let mut values: HashMap<&str, u64> = HashMap::new();
        let mut bytes: HashMap<&str, u64> = HashMap::new();
        let mut pairs: Vec<(&str, &str, u64)> = Vec::new();
        for (name, value, count) in index.cardinality() {
            *values.entry(name).or_default() += 1;
            *bytes.entry(name).or_default() += value.len() as u64 * count;
            pairs.push((name, value, count));
        }
        pairs.sort_unstable_by(|a, b| b.2.cmp(&a.2).then_with(|| (a.0, a.1).cmp(&(b.0, b.1))));
        let metrics = pairs.iter().filter(|(name, _, _)| *name == METRIC_NAME);
        let of_metric = |(_, value, count): &(&str, &str, u64)| ((*value).to_owned(), *count);
        result.series_by_metric = metrics.take(most).map(of_metric).collect();
        let of_pair =
            |(name, value, count): &(&str, &str, u64)| (format!("{name}={value}"), *count);
        result.series_by_pair = pairs.iter().take(most).map(of_pair).collect();
        result.values_by_label = largest(values, most);
        result.bytes_by_label = largest(bytes, most);
        result
    }

    fn chunk_count(&self) -> u64 {
        let mut count = 0;
        let mut from = Some(0);
        while let Some(at) = from {
            let (batch, next) = self.series.read().scan(at, BATCH);
            for series in batch {
                let state = series.state.lock();
                count += state.closed.len() as u64 + u64::from(!state.open.is_empty());
            }
            from = next;
        }
        count
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

/// The `most` smallest texts (0: all), sorted, and whether there are more.
fn smallest<'a>(texts: impl Iterator<Item = &'a str>, most: usize) -> (Vec<String>, bool) {
    let mut kept: BTreeSet<&str> = BTreeSet::new();
    let mut cut = false;
    for text in texts {
        kept.insert(text);
        if most > 0 && kept.len() > most {
            kept.pop_last();
            cut = true;
        }
    }
    (kept.into_iter().map(str::to_owned).collect(), cut)
}

fn largest(counts: HashMap<&str, u64>, most: usize) -> Vec<NameCount> {
    let mut all: Vec<_> = counts.into_iter().collect();
    all.sort_unstable_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(b.0)));
    let rows = all.into_iter().take(most);
    rows.map(|(name, count)| (name.to_owned(), count)).collect()
}
