//! The spans and counts of one side of a histogram: building, merging and reducing them.

use super::Span;
use super::bounds::exponential_bound;
use super::iterate::Indexed;

/// Spans and counts under construction, fed with ascending indices.
#[derive(Debug, Default)]
pub(super) struct Side {
    pub(super) spans: Vec<Span>,
    pub(super) counts: Vec<f64>,
    /// One past the last index.
    next: i32,
}

impl Side {
    pub(super) fn with_capacity(counts: usize) -> Self {
        Self {
            spans: Vec::new(),
            counts: Vec::with_capacity(counts),
            next: 0,
        }
    }

    /// Adds a bucket after all others, or to the last one if that has the same index.
    pub(super) fn push(&mut self, index: i32, count: f64) {
        if self.extend_to(index) {
            self.counts.push(count);
        } else if let Some(last) = self.counts.last_mut() {
            *last += count;
        }
    }

    /// Makes room for a bucket with this index; whether it is a new one.
    pub(super) fn extend_to(&mut self, index: i32) -> bool {
        match self.spans.last_mut() {
            Some(_) if index == self.next.wrapping_sub(1) => return false,
            Some(span) if index == self.next => span.length += 1,
            Some(_) => self.spans.push(Span {
                offset: index.wrapping_sub(self.next),
                length: 1,
            }),
            None => self.spans.push(Span {
                offset: index,
                length: 1,
            }),
        }
        self.next = index.wrapping_add(1);
        true
    }
}

/// The index that a bucket has in a schema that is `steps` lower.
pub(super) fn coarser_index(index: i32, steps: i32) -> i32 {
    (index.wrapping_sub(1) >> steps.clamp(0, 31)).wrapping_add(1)
}

/// The buckets of a side in a schema that is `steps` lower, ascending; equal neighbours are summed.
#[derive(Clone, Debug)]
pub(super) struct Coarser<B> {
    buckets: B,
    steps: i32,
    pending: Option<(i32, f64)>,
}

impl<B: Iterator<Item = (i32, f64)>> Coarser<B> {
    pub(super) fn new(buckets: B, steps: i32) -> Self {
        Self {
            buckets,
            steps,
            pending: None,
        }
    }
}

impl<B: Iterator<Item = (i32, f64)>> Iterator for Coarser<B> {
    type Item = (i32, f64);

    fn next(&mut self) -> Option<(i32, f64)> {
        if self.steps == 0 {
            return self.buckets.next();
        }
        let mut current = self.pending.take();
        for (index, count) in self.buckets.by_ref() {
            let index = coarser_index(index, self.steps);
            match &mut current {
                None => current = Some((index, count)),
                Some((same, sum)) if *same == index => *sum += count,
                Some(_) => {
                    self.pending = Some((index, count));
                    break;
                }
            }
        }
        current
    }
}

/// The buckets that do not end within a zero bucket up to `threshold`.
pub(super) fn outside_zero(
    buckets: Indexed<'_>,
    schema: i32,
    threshold: f64,
) -> impl Iterator<Item = (i32, f64)> {
    let within = move |index: i32| threshold > 0.0 && exponential_bound(index, schema) <= threshold;
    buckets.skip_while(move |(index, _)| within(*index))
}

/// `a` plus `sign` times `b`, both in the same schema and ascending.
pub(super) fn merge(
    a: impl Iterator<Item = (i32, f64)>,
    b: impl Iterator<Item = (i32, f64)>,
    sign: f64,
) -> Side {
    let mut a = a.peekable();
    let mut side = Side::with_capacity(a.size_hint().0.max(b.size_hint().0));
    for (index, count) in b {
        while let Some((before, kept)) = a.next_if(|(at, _)| *at < index) {
            side.push(before, kept);
        }
        let base = a
            .next_if(|(at, _)| *at == index)
            .map_or(0.0, |(_, kept)| kept);
        side.push(index, base + sign * count);
    }
    for (index, count) in a {
        side.push(index, count);
    }
    side
}

/// Drops empty buckets and joins spans without a gap, in place.
pub(super) fn compact(spans: &mut Vec<Span>, counts: &mut Vec<f64>) {
    let gapless = |spans: &[Span]| {
        spans
            .iter()
            .enumerate()
            .all(|(i, span)| span.length > 0 && (i == 0 || span.offset > 0))
    };
    if counts.iter().all(|count| *count != 0.0) && gapless(spans) {
        return;
    }
    let mut side = Side::with_capacity(counts.len());
    for (index, count) in Indexed::new(spans, counts) {
        if count != 0.0 {
            side.push(index, count);
        }
    }
    *spans = side.spans;
    *counts = side.counts;
}
