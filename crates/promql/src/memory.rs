//! A source of series in memory: for tests, the conformance runner, and rule tests.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::ErrorKind;
use model::histogram::FloatHistogram;
use model::labels::Labels;
use model::select::{
    HistogramPoint, LabelsNeeded, SelectError, SelectRequest, SeriesSamples, SeriesSet,
};
use model::time::{TimeRange, TimestampMs};

use crate::eval::Queryable;

/// Series in memory.
#[derive(Clone, Debug, Default)]
pub struct MemoryStorage {
    series: BTreeMap<Labels, Arc<SeriesSamples>>,
}

impl MemoryStorage {
    /// Without series.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a float; one at the same time is replaced.
    pub fn append(&mut self, labels: &Labels, t: TimestampMs, value: f64) {
        self.append_with_start(labels, t, 0, value);
    }

    /// Adds a float whose counter started at `start` (0: unknown).
    pub fn append_with_start(
        &mut self,
        labels: &Labels,
        t: TimestampMs,
        start: TimestampMs,
        value: f64,
    ) {
        let samples = self.samples(labels);
        samples.histograms.retain(|point| point.t != t);
        if start != 0 || !samples.starts.is_empty() {
            samples.starts.resize(samples.ts.len(), 0);
        }
        let has_starts = start != 0 || !samples.starts.is_empty();
        match samples.ts.binary_search(&t) {
            Ok(at) => {
                samples.values[at] = value;
                if has_starts {
                    samples.starts[at] = start;
                }
            }
            Err(at) => {
                samples.ts.insert(at, t);
                samples.values.insert(at, value);
                if has_starts {
                    samples.starts.insert(at, start);
                }
            }
        }
    }

    /// Adds a histogram; a sample at the same time is replaced.
    pub fn append_histogram(
        &mut self,
        labels: &Labels,
        t: TimestampMs,
        start: TimestampMs,
        histogram: Arc<FloatHistogram>,
    ) {
        let samples = self.samples(labels);
        if let Ok(at) = samples.ts.binary_search(&t) {
            samples.ts.remove(at);
            samples.values.remove(at);
            if !samples.starts.is_empty() {
                samples.starts.remove(at);
            }
        }
        let point = HistogramPoint {
            t,
            start,
            histogram,
        };
        match samples.histograms.binary_search_by_key(&t, |point| point.t) {
            Ok(at) => samples.histograms[at] = point,
            Err(at) => samples.histograms.insert(at, point),
        }
    }

    /// Removes all series.
    pub fn clear(&mut self) {
        self.series.clear();
    }

    /// How many series there are.
    pub fn len(&self) -> usize {
        self.series.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.series.is_empty()
    }

    fn samples(&mut self, labels: &Labels) -> &mut SeriesSamples {
        Arc::make_mut(self.series.entry(labels.clone()).or_default())
    }
}

impl Queryable for MemoryStorage {
    fn select(&self, request: &SelectRequest) -> Result<Box<dyn SeriesSet>, SelectError> {
        let matches = |labels: &Labels| {
            request
                .matchers
                .iter()
                .all(|m| m.matches(labels.get(&m.name).unwrap_or_default()))
        };
        let found: Vec<_> = self
            .series
            .iter()
            .filter(|(labels, _)| matches(labels))
            .map(|(labels, samples)| (needed(labels, &request.labels), Arc::clone(samples)))
            .collect();
        if request.max_series > 0 && found.len() > request.max_series {
            let (found, limit) = (found.len(), request.max_series);
            return Err(SelectError {
                kind: ErrorKind::TooMany,
                message: format!("query selects {found} series, the limit is {limit}"),
            });
        }
        Ok(Box::new(MemorySet {
            series: found.into(),
            range: request.range,
        }))
    }
}

fn needed(labels: &Labels, needed: &LabelsNeeded) -> Labels {
    match needed {
        LabelsNeeded::All => labels.clone(),
        LabelsNeeded::Only(names) => {
            labels.retain(|name| names.iter().any(|known| **known == *name))
        }
    }
}

/// What a select found.
struct MemorySet {
    series: std::collections::VecDeque<(Labels, Arc<SeriesSamples>)>,
    range: TimeRange,
}

impl SeriesSet for MemorySet {
    fn next(&mut self, samples: &mut SeriesSamples) -> Result<Option<Labels>, SelectError> {
        samples.clear();
        let Some((labels, all)) = self.series.pop_front() else {
            return Ok(None);
        };
        let first = all.ts.partition_point(|t| *t < self.range.start);
        let last = all.ts.partition_point(|t| *t < self.range.end).max(first);
        samples.ts.extend_from_slice(&all.ts[first..last]);
        samples.values.extend_from_slice(&all.values[first..last]);
        if !all.starts.is_empty() {
            samples.starts.extend_from_slice(&all.starts[first..last]);
        }
        let within = all
            .histograms
            .iter()
            .filter(|point| self.range.contains(point.t));
        samples.histograms.extend(within.cloned());
        Ok(Some(labels))
    }

    fn remaining(&self) -> Option<usize> {
        Some(self.series.len())
    }

    fn split(mut self: Box<Self>, parts: usize) -> Vec<Box<dyn SeriesSet>> {
        let size = self.series.len().div_ceil(parts.max(1)).max(1);
        let mut sets: Vec<Box<dyn SeriesSet>> = Vec::new();
        while !self.series.is_empty() {
            let rest = self.series.split_off(size.min(self.series.len()));
            let series = std::mem::replace(&mut self.series, rest);
            sets.push(Box::new(Self {
                series,
                range: self.range,
            }));
        }
        sets
    }
}
