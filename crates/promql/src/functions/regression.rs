//! `deriv`, `predict_linear` and `double_exponential_smoothing`: lines through a window.

use model::histogram::CompensatedFloat;

use crate::annotations::Note;
use crate::eval::column::Column;
use crate::eval::kernel::{KernelContext, RangeInput, Window};

/// `deriv(m)`: slope of the least-squares line, per second.
pub(super) fn deriv(input: &RangeInput<'_>, out: &mut Column, context: &mut KernelContext<'_>) {
    for_each_pair(input, context, |step, ts, values| {
        // A time near the samples keeps the numbers small.
        out.set_float(step, Line::through(ts, values, ts[0]).slope);
    });
}

/// `predict_linear(m, seconds)`: where the least-squares line will be.
pub(super) fn predict_linear(
    input: &RangeInput<'_>,
    out: &mut Column,
    context: &mut KernelContext<'_>,
) {
    let Some(ahead) = input.params.first() else {
        return;
    };
    let steps = input.windows.steps;
    for_each_pair(input, context, |step, ts, values| {
        let line = Line::through(ts, values, steps.time(step));
        out.set_float(step, line.slope * ahead.at(step) + line.intercept);
    });
}

/// `double_exponential_smoothing(m, smoothing, trend)`: the smoothed value at the window's end.
pub(super) fn double_exponential_smoothing(
    input: &RangeInput<'_>,
    out: &mut Column,
    context: &mut KernelContext<'_>,
) {
    let [smoothing, trend] = input.params else {
        return;
    };
    for_each_pair(input, context, |step, _, values| {
        // Factors out of range have failed the query before; NaN makes NaN.
        let (smoothing, trend) = (smoothing.at(step), trend.at(step));
        let mut before = 0.0;
        let mut smoothed = values[0];
        let mut slope = values[1] - values[0];
        for (i, value) in values.iter().enumerate().skip(1) {
            if i > 1 {
                slope = trend * (smoothed - before) + (1.0 - trend) * slope;
            }
            let next = smoothing * value + (1.0 - smoothing) * (smoothed + slope);
            (before, smoothed) = (smoothed, next);
        }
        out.set_float(step, smoothed);
    });
}

/// Calls back for each window of at least two floats; notes those with histograms too.
fn for_each_pair(
    input: &RangeInput<'_>,
    context: &mut KernelContext<'_>,
    mut each: impl FnMut(usize, &[i64], &[f64]),
) {
    let mut ignored = false;
    for (step, window) in input.steps() {
        let Window {
            float_start,
            float_end,
            ..
        } = *window;
        ignored |= float_end > float_start && !window.histograms().is_empty();
        if float_end - float_start >= 2 {
            let range = window.floats();
            each(
                step,
                &input.samples.ts[range.clone()],
                &input.samples.values[range],
            );
        }
    }
    if ignored {
        context.note_arg(0, &Note::HistogramIgnoredInMixedRange(context.metric_name));
    }
}

/// A straight line over time in seconds.
struct Line {
    slope: f64,
    /// Its value at the time that counts as zero.
    intercept: f64,
}

impl Line {
    /// The least-squares line through at least one point.
    fn through(ts: &[i64], values: &[f64], zero_ms: i64) -> Self {
        let first = values[0];
        if values.iter().all(|value| *value == first) {
            if first.is_infinite() {
                return Self {
                    slope: f64::NAN,
                    intercept: f64::NAN,
                };
            }
            return Self {
                slope: 0.0,
                intercept: first,
            };
        }
        let mut sums = [CompensatedFloat::default(); 4];
        for (t, &y) in ts.iter().zip(values) {
            let x = (t - zero_ms) as f64 / 1e3;
            sums[0].add(x);
            sums[1].add(y);
            sums[2].add(x * y);
            sums[3].add(x * x);
        }
        let [x, y, xy, xx] = sums.map(|sum| sum.sum + sum.lost);
        let n = values.len() as f64;
        let slope = (xy - x * y / n) / (xx - x * x / n);
        Self {
            slope,
            intercept: y / n - slope * x / n,
        }
    }
}
