//! `rate`, `increase` and `delta`: the change over a window, extrapolated to its ends.

use std::sync::Arc;

use model::histogram::{Combined, FloatHistogram, ResetHint};
use model::select::{HistogramPoint, SeriesSamples};

use super::extended;
use super::interpolate::plus;
use super::starts::{Counted, Overlaps};
use crate::annotations::Note;
use crate::ast::Edge;
use crate::eval::column::Column;
use crate::eval::kernel::{KernelContext, RangeInput, Window};

/// What distinguishes the three.
#[derive(Clone, Copy)]
pub(super) struct Kind {
    /// A counter's resets are made up for, and it is not extrapolated below zero.
    pub counter: bool,
    /// Per second instead of over the window.
    pub per_second: bool,
}

/// `rate(m)`: increase of a counter per second.
pub(super) fn rate(input: &RangeInput<'_>, out: &mut Column, context: &mut KernelContext<'_>) {
    extrapolated(
        input,
        out,
        context,
        Kind {
            counter: true,
            per_second: true,
        },
    );
}

/// `increase(m)`: increase of a counter.
pub(super) fn increase(input: &RangeInput<'_>, out: &mut Column, context: &mut KernelContext<'_>) {
    extrapolated(
        input,
        out,
        context,
        Kind {
            counter: true,
            per_second: false,
        },
    );
}

/// `delta(m)`: change of a gauge.
pub(super) fn delta(input: &RangeInput<'_>, out: &mut Column, context: &mut KernelContext<'_>) {
    extrapolated(
        input,
        out,
        context,
        Kind {
            counter: false,
            per_second: false,
        },
    );
}

fn extrapolated(
    input: &RangeInput<'_>,
    out: &mut Column,
    context: &mut KernelContext<'_>,
    kind: Kind,
) {
    if input.windows.edge != Edge::Open {
        return extended::change(input, out, context, kind);
    }
    let histograms = &input.samples.histograms;
    let mut floats = FloatChange::new(input, kind);
    let mut resets: Option<Vec<bool>> = None;
    let mut overlaps = Overlaps::default();
    if kind.counter {
        overlaps = Overlaps::find(histograms.len(), |at| {
            Counted::of_histogram(input.samples, at)
        });
    }
    for (step, window) in input.steps() {
        if window.histograms().is_empty() {
            if let Some(value) = floats.at(step, window) {
                out.set_float(step, value);
            }
            continue;
        }
        if !window.floats().is_empty() {
            context.note_arg(0, &Note::MixedFloatsHistograms(context.metric_name));
            continue;
        }
        let points = window.histograms();
        let start = zero_start(
            input,
            step,
            kind,
            Counted::of_histogram(input.samples, points.start),
        );
        if points.len() < 2 && start.is_none() {
            continue;
        }
        let resets = resets.get_or_insert_with(|| resets_between(input.samples, kind.counter));
        let (points, resets) = (&histograms[points.clone()], &resets[points]);
        let (first, last) = (&points[0], &points[points.len() - 1]);
        let change = match (points.len(), start) {
            (1, _) => Some((*first.histogram).clone()),
            (_, Some(_)) => histogram_change(points, resets, kind.counter, context)
                .and_then(|change| plus(change, &first.histogram, context)),
            (_, None) => histogram_change(points, resets, kind.counter, context),
        };
        let Some(mut change) = change else {
            continue;
        };
        overlaps.look(window.histograms());
        let span = Span {
            first: first.t,
            last: last.t,
            intervals: points.len() - 1,
            zero: (kind.counter && change.count > 0.0 && first.histogram.count >= 0.0)
                .then(|| first.histogram.count / change.count),
            start,
        };
        change.scale(span.factor(input, step, kind.per_second));
        out.push_histogram(step, Arc::new(change));
    }
    if floats.overlaps.seen || overlaps.seen {
        context.note_arg(0, &Note::StartsOverlap(context.metric_name));
    }
}

/// When the counter began within the window of a step: its value was zero then, so that nothing
/// needs to be extrapolated.
#[inline]
fn zero_start(input: &RangeInput<'_>, step: usize, kind: Kind, first: Counted) -> Option<i64> {
    if !kind.counter || first.start == 0 {
        return None;
    }
    first.zero_within(input.windows.start_ms(step))
}

/// What the extrapolation depends on.
struct Span {
    /// Time of the first sample.
    first: i64,
    /// Time of the last sample.
    last: i64,
    /// Number of samples less one.
    intervals: usize,
    /// The first value as a share of the change, for a counter that went up: so much of the sampled
    /// interval before the first sample, the counter was zero.
    zero: Option<f64>,
    /// When the counter began, where that is known to lie in the window.
    start: Option<i64>,
}

impl Span {
    /// What the change is to be multiplied with.
    ///
    /// Where samples begin or end about where the window does, the change is extrapolated to the
    /// window's end. Where a sample seems to be missing, the series is taken to begin or end
    /// there, and half an interval is added. Where the counter is known to have begun in the window,
    /// that is where its samples begin.
    #[inline]
    fn factor(&self, input: &RangeInput<'_>, step: usize, per_second: bool) -> f64 {
        let window_end = input.windows.end_ms(step);
        let window_start = input.windows.start_ms(step);
        let mut to_start = (self.first - window_start) as f64 / 1000.0;
        let mut to_end = (window_end - self.last) as f64 / 1000.0;
        let mut sampled = (self.last - self.first) as f64 / 1000.0;
        // Of a single sample there is no interval, and nothing to extrapolate by.
        let interval = sampled / self.intervals.max(1) as f64;
        // Ten per cent above the average, as scrapes are never quite regular.
        let threshold = interval * 1.1;
        if to_start >= threshold {
            to_start = interval / 2.0;
        }
        if let Some(share) = self.zero {
            let to_zero = sampled * share;
            if to_zero < to_start {
                to_start = to_zero;
            }
        }
        if let Some(start) = self.start {
            to_start = 0.0;
            sampled = (self.last - start) as f64 / 1000.0;
        }
        if to_end >= threshold {
            to_end = interval / 2.0;
        }
        let mut factor = (sampled + to_start + to_end) / sampled;
        if per_second {
            factor /= input.windows.range_ms as f64 / 1000.0;
        }
        factor
    }
}

/// The change of a float series. Resets are looked for once, and as they are rare, a step mostly
/// only looks at the ends of its window.
struct FloatChange<'a> {
    input: &'a RangeInput<'a>,
    kind: Kind,
    /// Samples before which the counter was reset, ascending.
    resets: Vec<usize>,
    /// The first reset that may lie in the current window or a later one.
    next_reset: usize,
    /// Samples that count again what the one before them counts.
    overlaps: Overlaps,
}

impl<'a> FloatChange<'a> {
    fn new(input: &'a RangeInput<'a>, kind: Kind) -> Self {
        let samples = input.samples;
        let counted = |at| Counted::of_float(samples, at);
        let mut resets = Vec::new();
        let mut overlaps = Overlaps::default();
        if kind.counter {
            let pairs = samples.values.windows(2).enumerate();
            resets.extend(
                pairs
                    .filter(|(_, pair)| pair[1] < pair[0])
                    .map(|(i, _)| i + 1),
            );
            if !samples.starts.is_empty() {
                let began = |at: &usize| counted(*at).began_after(counted(at - 1));
                resets.extend((1..samples.ts.len()).filter(began));
                resets.sort_unstable();
                resets.dedup();
                overlaps = Overlaps::find(samples.ts.len(), counted);
            }
        }
        Self {
            input,
            kind,
            resets,
            next_reset: 0,
            overlaps,
        }
    }

    #[inline]
    fn at(&mut self, step: usize, window: &Window) -> Option<f64> {
        let range = window.floats();
        let (ts, values) = (&self.input.samples.ts, &self.input.samples.values);
        if range.is_empty() {
            return None;
        }
        let (first, last) = (range.start, range.end - 1);
        let start = if self.input.samples.starts.is_empty() {
            None
        } else {
            self.overlaps.look(range.clone());
            let counted = Counted::of_float(self.input.samples, first);
            zero_start(self.input, step, self.kind, counted)
        };
        if range.len() < 2 && start.is_none() {
            return None;
        }
        let mut change = values[last] - values[first];
        if self.kind.counter {
            while self
                .resets
                .get(self.next_reset)
                .is_some_and(|reset| *reset <= first)
            {
                self.next_reset += 1;
            }
            for reset in &self.resets[self.next_reset..] {
                if *reset > last {
                    break;
                }
                change += values[reset - 1];
            }
        }
        if start.is_some() {
            change += values[first];
        }
        let span = Span {
            first: ts[first],
            last: ts[last],
            intervals: last - first,
            zero: (self.kind.counter && change > 0.0 && values[first] >= 0.0)
                .then(|| values[first] / change),
            start,
        };
        Some(change * span.factor(self.input, step, self.kind.per_second))
    }
}

/// For each histogram whether the counter was reset since the one before.
fn resets_between(samples: &SeriesSamples, counter: bool) -> Vec<bool> {
    let histograms = &samples.histograms;
    let mut resets = vec![false; histograms.len()];
    if counter {
        for i in 1..histograms.len() {
            let counted = |at| Counted::of_histogram(samples, at);
            let reset = || {
                histograms[i]
                    .histogram
                    .detect_reset(&histograms[i - 1].histogram)
            };
            resets[i] = counted(i).began_after(counted(i - 1)) || reset();
        }
    }
    resets
}

/// The change over at least two histograms, compacted; nothing where they do not go together.
fn histogram_change(
    points: &[HistogramPoint],
    resets: &[bool],
    counter: bool,
    context: &mut KernelContext<'_>,
) -> Option<FloatHistogram> {
    let name = context.metric_name;
    let histogram = |i: usize| &*points[i].histogram;
    let (first, last) = (histogram(0), histogram(points.len() - 1));
    // A first histogram from before a reset does not matter, so that it may be of any kind: an empty
    // one in the layout of the second takes its place.
    let empty = resets[1].then(|| FloatHistogram {
        schema: histogram(1).schema,
        custom_values: histogram(1).custom_values.clone(),
        ..FloatHistogram::default()
    });
    let reference = empty.as_ref().unwrap_or(first);
    let custom = reference.uses_custom_buckets();
    let between = || {
        let between = &points[1..points.len() - 1];
        between.iter().map(|point| &*point.histogram)
    };
    let is_gauge = |h: &FloatHistogram| h.reset_hint == ResetHint::Gauge;
    let ends_at_gauge = is_gauge(first) || is_gauge(last);
    if last.uses_custom_buckets() != custom {
        if counter && ends_at_gauge {
            context.note_arg(0, &Note::NotCounterHistogram(name));
        }
        context.note_arg(0, &Note::MixedExponentialCustom(name));
        return None;
    }
    // What lies between does not matter to the change of a gauge.
    if counter && between().any(|h| h.uses_custom_buckets() != custom) {
        context.note_arg(0, &Note::MixedExponentialCustom(name));
        return None;
    }
    if counter && (ends_at_gauge || between().any(is_gauge)) {
        context.note_arg(0, &Note::NotCounterHistogram(name));
    }
    let mut schema = last.schema.min(reference.schema);
    if counter {
        schema = between().fold(schema, |schema, h| schema.min(h.schema));
    } else if !is_gauge(first) || !is_gauge(last) {
        context.note_arg(0, &Note::NotGaugeHistogram(name));
    }
    // Reset hints may well contradict each other here: that is what the loop below is about.
    let mut change = last.copy_to_schema(schema);
    let combined = change.sub(reference).ok()?;
    let mut added = Combined::default();
    if let Some(empty) = &empty {
        let began = Counted::of_point(&points[1]).began_after(Counted::of_point(&points[0]));
        if began || histogram(1).detect_reset(empty) {
            added = change.add(empty).ok()?;
        }
    }
    let later = points.windows(2).zip(&resets[1..]).skip(1);
    for (pair, _) in later.filter(|(_, reset)| **reset) {
        added = added.or(change.add(&pair[0].histogram).ok()?);
    }
    if combined.bounds_reconciled {
        context.note_arg(0, &Note::CustomBucketsReconciled("subtraction"));
    }
    if added.bounds_reconciled {
        context.note_arg(0, &Note::CustomBucketsReconciled("addition"));
    }
    change.reset_hint = ResetHint::Gauge;
    change.compact();
    Some(change)
}
