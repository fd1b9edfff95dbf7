//! `resets` and `changes`: how often something happened from one sample to the next.

use model::histogram::FloatHistogram;
use model::select::SeriesSamples;

use super::starts::Counted;
use crate::ast::Edge;
use crate::eval::column::Column;
use crate::eval::kernel::{KernelContext, RangeInput, Window};

/// `resets(m)`: how often a counter was reset, or changed between float and histogram.
pub(super) fn resets(input: &RangeInput<'_>, out: &mut Column, _: &mut KernelContext<'_>) {
    count(input, out, |(before, was), (now, is)| match (was, is) {
        (Value::Float(was), Value::Float(is)) => is < was || now.began_after(before),
        (Value::Histogram(was), Value::Histogram(is)) => {
            now.began_after(before) || is.detect_reset(was)
        }
        _ => true,
    });
}

/// `changes(m)`: how often the value changed.
pub(super) fn changes(input: &RangeInput<'_>, out: &mut Column, _: &mut KernelContext<'_>) {
    count(input, out, |(_, was), (_, is)| match (was, is) {
        (Value::Float(was), Value::Float(is)) => is != was && !(is.is_nan() && was.is_nan()),
        (Value::Histogram(was), Value::Histogram(is)) => !is.same_as(was),
        _ => true,
    });
}

/// A sample: when it was taken and since when it counts, and its value.
type Sample<'a> = (Counted, Value<'a>);

#[derive(Clone, Copy)]
enum Value<'a> {
    Float(f64),
    Histogram(&'a FloatHistogram),
}

/// Finds all events of the series once, then counts those within each window.
fn count(
    input: &RangeInput<'_>,
    out: &mut Column,
    happened: impl Fn(Sample<'_>, Sample<'_>) -> bool,
) {
    let samples = input.samples;
    // Up to each sample in the order of time, how many events there were.
    let mut events = Vec::with_capacity(samples.ts.len() + samples.histograms.len());
    let mut total = 0u32;
    let mut before = None;
    for now in in_order(samples) {
        total += u32::from(before.is_some_and(|before| happened(before, now)));
        events.push(total);
        before = Some(now);
    }
    for (step, window) in input.steps() {
        if window.is_empty() {
            continue;
        }
        let Some(first) = first_of(input, step, window) else {
            continue;
        };
        let last = (window.float_end + window.histogram_end) as usize - 1;
        out.set_float(step, f64::from(events[last] - events[first]));
    }
}

/// The first sample of a window in the order of time, which is the last one before an anchored
/// window; nothing where no sample is within.
fn first_of(input: &RangeInput<'_>, step: usize, window: &Window) -> Option<usize> {
    let first = (window.float_start + window.histogram_start) as usize;
    if input.windows.edge == Edge::Open {
        return Some(first);
    }
    let start = input.windows.start_ms(step);
    let floats = &input.samples.ts[window.floats()];
    let histograms = &input.samples.histograms[window.histograms()];
    let before = floats.partition_point(|t| *t <= start)
        + histograms.partition_point(|point| point.t <= start);
    let any = before < floats.len() + histograms.len();
    any.then(|| first + before.saturating_sub(1))
}

/// Floats and histograms in the order of time.
fn in_order(samples: &SeriesSamples) -> impl Iterator<Item = Sample<'_>> {
    let (mut float, mut histogram) = (0, 0);
    std::iter::from_fn(move || {
        let next = samples.histograms.get(histogram);
        match samples.ts.get(float) {
            Some(t) if next.is_none_or(|next| *t < next.t) => {
                float += 1;
                let counted = Counted::of_float(samples, float - 1);
                Some((counted, Value::Float(samples.values[float - 1])))
            }
            _ => {
                let next = next?;
                histogram += 1;
                let counted = Counted::of_histogram(samples, histogram - 1);
                Some((counted, Value::Histogram(&next.histogram)))
            }
        }
    })
}
