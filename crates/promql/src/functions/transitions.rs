//! `resets` and `changes`: how often something happened from one sample to the next.

use model::histogram::FloatHistogram;
use model::select::SeriesSamples;

use crate::eval::column::Column;
use crate::eval::kernel::{KernelContext, RangeInput};

/// `resets(m)`: how often a counter was reset, or changed between float and histogram.
pub(super) fn resets(input: &RangeInput<'_>, out: &mut Column, _: &mut KernelContext<'_>) {
    count(
        input,
        out,
        |before, now| now < before,
        |before, now| now.detect_reset(before),
    );
}

/// `changes(m)`: how often the value changed.
pub(super) fn changes(input: &RangeInput<'_>, out: &mut Column, _: &mut KernelContext<'_>) {
    let changed = |before: f64, now: f64| now != before && !(now.is_nan() && before.is_nan());
    count(input, out, changed, |before, now| !now.same_as(before));
}

/// Finds all events of the series once, then counts those within each window.
fn count(
    input: &RangeInput<'_>,
    out: &mut Column,
    floats: impl Fn(f64, f64) -> bool,
    histograms: impl Fn(&FloatHistogram, &FloatHistogram) -> bool,
) {
    let samples = input.samples;
    // Up to each sample in the order of time, how many events there were.
    let mut events = Vec::with_capacity(samples.ts.len() + samples.histograms.len());
    let mut total = 0u32;
    if samples.histograms.is_empty() {
        let mut before = samples.values.first().copied().unwrap_or_default();
        for (i, &value) in samples.values.iter().enumerate() {
            total += u32::from(i > 0 && floats(before, value));
            events.push(total);
            before = value;
        }
    } else {
        let mut before = None;
        for now in in_order(samples) {
            total += u32::from(match (before, now) {
                (None, _) => false,
                (Some(Value::Float(before)), Value::Float(now)) => floats(before, now),
                (Some(Value::Histogram(before)), Value::Histogram(now)) => histograms(before, now),
                _ => true,
            });
            events.push(total);
            before = Some(now);
        }
    }
    for (step, window) in input.steps() {
        if window.is_empty() {
            continue;
        }
        let first = (window.float_start + window.histogram_start) as usize;
        let last = (window.float_end + window.histogram_end) as usize - 1;
        out.set_float(step, f64::from(events[last] - events[first]));
    }
}

#[derive(Clone, Copy)]
enum Value<'a> {
    Float(f64),
    Histogram(&'a FloatHistogram),
}

/// Floats and histograms in the order of time.
fn in_order(samples: &SeriesSamples) -> impl Iterator<Item = Value<'_>> {
    let (mut float, mut histogram) = (0, 0);
    std::iter::from_fn(move || {
        let next = samples.histograms.get(histogram);
        match samples.ts.get(float) {
            Some(t) if next.is_none_or(|next| *t < next.t) => {
                float += 1;
                Some(Value::Float(samples.values[float - 1]))
            }
            _ => {
                histogram += 1;
                next.map(|next| Value::Histogram(&next.histogram))
            }
        }
    })
}
