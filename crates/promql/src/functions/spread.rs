//! How the floats of a window are spread: `stddev_`, `stdvar_`, `quantile_` and `mad_over_time`.

use std::cmp::Ordering;

use model::histogram::CompensatedFloat;

use crate::annotations::Note;
use crate::eval::column::Column;
use crate::eval::kernel::{KernelContext, RangeInput, Window};

/// `stddev_over_time(m)`.
pub(super) fn stddev(input: &RangeInput<'_>, out: &mut Column, context: &mut KernelContext<'_>) {
    each_distinct(input, out, context, |_, values| variance(values).sqrt());
}

/// `stdvar_over_time(m)`.
pub(super) fn stdvar(input: &RangeInput<'_>, out: &mut Column, context: &mut KernelContext<'_>) {
    each_distinct(input, out, context, |_, values| variance(values));
}

/// `mad_over_time(m)`: the median distance from the median; NaN where a value is.
pub(super) fn mad(input: &RangeInput<'_>, out: &mut Column, context: &mut KernelContext<'_>) {
    let mut buffer = Vec::new();
    each_distinct(input, out, context, |_, values| {
        if values.iter().any(|value| value.is_nan()) {
            return f64::NAN;
        }
        buffer.clear();
        buffer.extend_from_slice(values);
        let median = quantile_of(0.5, &mut buffer);
        buffer.clear();
        buffer.extend(values.iter().map(|value| (value - median).abs()));
        quantile_of(0.5, &mut buffer)
    });
}

/// How many values that are no quantiles are told of one series.
const MAX_INVALID: usize = 100;

/// `quantile_over_time(q, m)`.
pub(super) fn quantile(input: &RangeInput<'_>, out: &mut Column, context: &mut KernelContext<'_>) {
    let Some(quantiles) = input.params.first() else {
        return;
    };
    let mut buffer = Vec::new();
    let mut invalid: Vec<f64> = Vec::new();
    // The range is the second argument, but it is the first that its notes are about.
    for_each_floats(input, context, |step, _, values| {
        let q = quantiles.at(step);
        if !(0.0..=1.0).contains(&q)
            && invalid.last().map(|q| q.to_bits()) != Some(q.to_bits())
            && invalid.len() < MAX_INVALID
        {
            invalid.push(q);
        }
        buffer.clear();
        buffer.extend_from_slice(values);
        out.set_float(step, quantile_of(q, &mut buffer));
    });
    for q in invalid {
        context.note_arg(0, &Note::InvalidQuantile(q));
    }
}

/// One result per window of floats; where a window is the one before, its result again.
fn each_distinct(
    input: &RangeInput<'_>,
    out: &mut Column,
    context: &mut KernelContext<'_>,
    mut each: impl FnMut(usize, &[f64]) -> f64,
) {
    let mut before = (Window::default(), 0.0);
    for_each_floats(input, context, |step, window, values| {
        if *window != before.0 {
            before = (*window, each(step, values));
        }
        out.set_float(step, before.1);
    });
}

/// Calls back for each window with floats; notes those with histograms too.
fn for_each_floats(
    input: &RangeInput<'_>,
    context: &mut KernelContext<'_>,
    mut each: impl FnMut(usize, &Window, &[f64]),
) {
    let mut ignored = false;
    for (step, window) in input.steps() {
        let range = window.floats();
        if range.is_empty() {
            continue;
        }
        ignored |= !window.histograms().is_empty();
        each(step, window, &input.samples.values[range]);
    }
    if ignored {
        context.note_arg(0, &Note::HistogramIgnoredInMixedRange(context.metric_name));
    }
}

/// The variance of the values around their mean, in one pass.
fn variance(values: &[f64]) -> f64 {
    let mut mean = CompensatedFloat::default();
    let mut squares = CompensatedFloat::default();
    let mut count = 0.0;
    for value in values {
        count += 1.0;
        let delta = value - (mean.sum + mean.lost);
        mean.add(delta / count);
        squares.add(delta * (value - (mean.sum + mean.lost)));
    }
    (squares.sum + squares.lost) / count
}

/// The value below which the share `q` of the values lies, between two of them in proportion; NaN
/// counts as the lowest value. Reorders the values. NaN for no values or `q` NaN; -Inf and +Inf for
/// `q` below 0 and above 1.
fn quantile_of(q: f64, values: &mut [f64]) -> f64 {
    if values.is_empty() || q.is_nan() {
        return f64::NAN;
    }
    if q < 0.0 {
        return f64::NEG_INFINITY;
    }
    if q > 1.0 {
        return f64::INFINITY;
    }
    let rank = q * (values.len() - 1) as f64;
    let lower = (rank.floor() as usize).min(values.len() - 1);
    let weight = rank - rank.floor();
    let (_, &mut low, above) = values.select_nth_unstable_by(lower, nan_first);
    let high = above.iter().copied().min_by(nan_first).unwrap_or(low);
    low * (1.0 - weight) + high * weight
}

/// Ascending, NaN before all.
fn nan_first(a: &f64, b: &f64) -> Ordering {
    a.partial_cmp(b)
        .unwrap_or_else(|| b.is_nan().cmp(&a.is_nan()))
}
