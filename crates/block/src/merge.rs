//! Several sources of series as one: each series once, each of its timestamps once. It holds one
//! series of each source at a time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use model::labels::Labels;
use model::select::{HistogramPoint, SelectError, SeriesSamples, SeriesSet};
use model::time::TimestampMs;

use crate::at_once::at_once;
use crate::writer::SortKey;

/// Merges sets whose series all come with all labels, sorted by [`SortKey`]. Where several have a
/// sample at the same time, that of the first set counts.
#[must_use]
pub fn merge(mut sets: Vec<Box<dyn SeriesSet>>) -> Box<dyn SeriesSet> {
    if sets.len() == 1
        && let Some(only) = sets.pop()
    {
        return only;
    }
    Box::new(Merged {
        sources: sets.into_iter().map(Source::new).collect(),
        order: BinaryHeap::new(),
        begun: false,
        spare: SeriesSamples::default(),
    })
}

/// One of the sets, and the series it stands at.
struct Source {
    set: Box<dyn SeriesSet>,
    samples: SeriesSamples,
}

impl Source {
    fn new(set: Box<dyn SeriesSet>) -> Self {
        Self {
            set,
            samples: SeriesSamples::default(),
        }
    }
}

/// The series a source stands at, by where it belongs.
struct Place {
    labels: Labels,
    source: usize,
}

impl PartialEq for Place {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Place {}

impl PartialOrd for Place {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Place {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        let labels = SortKey::compare(&self.labels, &other.labels);
        labels.then(self.source.cmp(&other.source))
    }
}

struct Merged {
    sources: Vec<Source>,
    order: BinaryHeap<Reverse<Place>>,
    begun: bool,
    /// Memory for what two sources have together; used again.
    spare: SeriesSamples,
}

impl Merged {
    fn advance(&mut self, source: usize) -> Result<(), SelectError> {
        let Source { set, samples } = &mut self.sources[source];
        if let Some(labels) = set.next(samples)? {
            self.order.push(Reverse(Place { labels, source }));
        }
        Ok(())
    }
}

impl SeriesSet for Merged {
    fn next(&mut self, samples: &mut SeriesSamples) -> Result<Option<Labels>, SelectError> {
        samples.clear();
        if !self.begun {
            self.begun = true;
            let first = |source: &mut Source| source.set.next(&mut source.samples);
            at_once(&mut self.sources, first, |source, labels| {
                let place = labels?.map(|labels| Reverse(Place { labels, source }));
                self.order.extend(place);
                Ok::<_, SelectError>(())
            })?;
        }
        let Some(Reverse(first)) = self.order.pop() else {
            return Ok(None);
        };
        std::mem::swap(samples, &mut self.sources[first.source].samples);
        self.advance(first.source)?;
        while let Some(Reverse(next)) = self.order.peek() {
            if next.labels != first.labels {
                break;
            }
            let source = next.source;
            self.order.pop();
            join(samples, &self.sources[source].samples, &mut self.spare);
            self.advance(source)?;
        }
        Ok(Some(first.labels))
    }

    fn split(self: Box<Self>, _parts: usize) -> Vec<Box<dyn SeriesSet>> {
        vec![self]
    }
}

/// Adds samples to others of the same series: those at times that the others lack.
pub(crate) fn join(into: &mut SeriesSamples, from: &SeriesSamples, spare: &mut SeriesSamples) {
    if from.is_empty() {
        return;
    }
    if is_behind(into, from) {
        append(into, from);
        return;
    }
    spare.clear();
    let histogram_ts = |samples: &SeriesSamples| -> Vec<TimestampMs> {
        samples.histograms.iter().map(|point| point.t).collect()
    };
    let own = histogram_ts(into);
    let taken = |ts: &[TimestampMs], t: TimestampMs| ts.binary_search(&t).is_ok();
    let any_starts = !into.starts.is_empty() || !from.starts.is_empty();
    let (mut a, mut b) = (0, 0);
    while a < into.ts.len() || b < from.ts.len() {
        let mine = into.ts.get(a).copied();
        let theirs = from.ts.get(b).copied();
        let (samples, at) = match (mine, theirs) {
            (Some(mine), Some(theirs)) if theirs < mine => (from, &mut b),
            (None, Some(_)) => (from, &mut b),
            _ => (&*into, &mut a),
        };
        let (i, is_mine) = (*at, std::ptr::eq(samples, &*into));
        *at += 1;
        let t = samples.ts[i];
        let is_twin = spare.ts.last() == Some(&t) || (!is_mine && taken(&own, t));
        if !is_twin {
            spare.ts.push(t);
            spare.values.push(samples.values[i]);
            if any_starts {
                spare
                    .starts
                    .push(samples.starts.get(i).copied().unwrap_or_default());
            }
        }
    }
    let floats = |t: TimestampMs| taken(&into.ts, t);
    let theirs = from.histograms.iter().filter(|point| !floats(point.t));
    let mut points: Vec<&HistogramPoint> = into.histograms.iter().chain(theirs).collect();
    // The sort keeps the order of equals: the first set's come first.
    points.sort_by_key(|point| point.t);
    points.dedup_by_key(|point| point.t);
    spare.histograms.extend(points.into_iter().cloned());
    std::mem::swap(into, spare);
}

/// Whether all of `next` comes after all of `samples`.
fn is_behind(samples: &SeriesSamples, next: &SeriesSamples) -> bool {
    let points = &samples.histograms;
    let last = samples.ts.last().copied().max(points.last().map(|p| p.t));
    let first = [
        next.ts.first().copied(),
        next.histograms.first().map(|p| p.t),
    ];
    last.is_none_or(|last| first.into_iter().flatten().all(|first| last < first))
}

fn append(into: &mut SeriesSamples, from: &SeriesSamples) {
    if !from.starts.is_empty() || !into.starts.is_empty() {
        into.starts.resize(into.ts.len(), 0);
        into.starts.extend_from_slice(&from.starts);
        into.starts.resize(into.ts.len() + from.ts.len(), 0);
    }
    into.ts.extend_from_slice(&from.ts);
    into.values.extend_from_slice(&from.values);
    into.histograms.extend_from_slice(&from.histograms);
}

/// Takes out of samples those at times that others of the same series have.
pub fn subtract(samples: &mut SeriesSamples, others: &SeriesSamples) {
    let points: Vec<TimestampMs> = others.histograms.iter().map(|point| point.t).collect();
    let is_new =
        |t: TimestampMs| others.ts.binary_search(&t).is_err() && points.binary_search(&t).is_err();
    samples.histograms.retain(|point| is_new(point.t));
    let kept: Vec<bool> = samples.ts.iter().map(|t| is_new(*t)).collect();
    let keep = |at: &mut usize| {
        *at += 1;
        kept[*at - 1]
    };
    let (mut values, mut starts, mut ts) = (0, 0, 0);
    samples.values.retain(|_| keep(&mut values));
    samples.starts.retain(|_| keep(&mut starts));
    samples.ts.retain(|_| keep(&mut ts));
}

/// A set of nothing.
#[derive(Debug)]
pub struct NoSeries;

impl SeriesSet for NoSeries {
    fn next(&mut self, samples: &mut SeriesSamples) -> Result<Option<Labels>, SelectError> {
        samples.clear();
        Ok(None)
    }

    fn remaining(&self) -> Option<usize> {
        Some(0)
    }

    fn split(self: Box<Self>, _parts: usize) -> Vec<Box<dyn SeriesSet>> {
        vec![self]
    }
}

#[cfg(test)]
mod tests;
