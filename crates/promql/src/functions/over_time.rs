//! Totals and single samples of a window: `sum_`, `avg_`, `count_`, `present_`, `first_`, `last_`,
//! `ts_of_first_` and `ts_of_last_over_time`.

use std::sync::Arc;

use model::histogram::{
    CompensatedFloat, CompensatedHistogram, FloatHistogram, IncompatibleSchemas, ResetHint,
};
use model::select::HistogramPoint;

use crate::annotations::Note;
use crate::eval::column::Column;
use crate::eval::kernel::{KernelContext, RangeInput, Window};

/// `sum_over_time(m)`.
pub(super) fn sum(input: &RangeInput<'_>, out: &mut Column, context: &mut KernelContext<'_>) {
    total(input, out, context, sum_of_floats, |points, combined| {
        let mut total = CompensatedHistogram::new((*points[0].histogram).clone());
        for point in &points[1..] {
            *combined |= total.add(&point.histogram)?.bounds_reconciled;
        }
        Ok(total.total())
    });
}

/// `avg_over_time(m)`.
pub(super) fn avg(input: &RangeInput<'_>, out: &mut Column, context: &mut KernelContext<'_>) {
    total(input, out, context, mean_of_floats, mean_of_histograms);
}

fn sum_of_floats(values: &[f64]) -> f64 {
    let mut total = CompensatedFloat::default();
    for value in values {
        total.add(*value);
    }
    total.total()
}

/// The sum over the number, or where the sum overflows, from there on the mean step by step.
fn mean_of_floats(values: &[f64]) -> f64 {
    let mut total = CompensatedFloat {
        sum: values[0],
        lost: 0.0,
    };
    for (i, &value) in values.iter().enumerate().skip(1) {
        let mut next = total;
        next.add(value);
        if next.sum.is_infinite() {
            return running_mean(total, i, values);
        }
        total = next;
    }
    let count = values.len() as f64;
    total.sum / count + total.lost / count
}

/// The mean of all values, given the sum of those before `from`.
#[cold]
fn running_mean(total: CompensatedFloat, from: usize, values: &[f64]) -> f64 {
    let mut mean = CompensatedFloat {
        sum: total.sum / from as f64,
        lost: total.lost / from as f64,
    };
    for (i, &value) in values.iter().enumerate().skip(from) {
        let count = (i + 1) as f64;
        let share = (count - 1.0) / count;
        mean.sum *= share;
        mean.lost *= share;
        mean.add(value / count);
    }
    mean.sum + mean.lost
}

/// The same for histograms.
fn mean_of_histograms(
    points: &[HistogramPoint],
    reconciled: &mut bool,
) -> Result<FloatHistogram, IncompatibleSchemas> {
    let mut total = CompensatedHistogram::new((*points[0].histogram).clone());
    let mut running = false;
    for (i, point) in points.iter().enumerate().skip(1) {
        let count = (i + 1) as f64;
        if !running {
            let mut next = total.clone();
            *reconciled |= next.add(&point.histogram)?.bounds_reconciled;
            if !next.has_overflow() {
                total = next;
                continue;
            }
            running = true;
            total.divide(count - 1.0);
        }
        total.scale((count - 1.0) / count);
        let mut share = (*point.histogram).clone();
        share.divide(count);
        *reconciled |= total.add(&share)?.bounds_reconciled;
    }
    if !running {
        total.divide(points.len() as f64);
    }
    Ok(total.total())
}

/// A total of all floats, or of all histograms, of each window; windows with both have none.
fn total(
    input: &RangeInput<'_>,
    out: &mut Column,
    context: &mut KernelContext<'_>,
    of_floats: impl Fn(&[f64]) -> f64,
    of_histograms: impl Fn(&[HistogramPoint], &mut bool) -> Result<FloatHistogram, IncompatibleSchemas>,
) {
    let name = context.metric_name;
    let mut before = (Window::default(), 0.0);
    for (step, window) in input.steps() {
        if window.histograms().is_empty() {
            if window.floats().is_empty() {
                continue;
            }
            // Steps shorter than the scrape interval see the same samples again.
            if *window != before.0 {
                before = (*window, of_floats(&input.samples.values[window.floats()]));
            }
            out.set_float(step, before.1);
            continue;
        }
        if !window.floats().is_empty() {
            context.note_arg(0, &Note::MixedFloatsHistograms(name));
            continue;
        }
        let points = &input.samples.histograms[window.histograms()];
        let mut reconciled = false;
        match of_histograms(points, &mut reconciled) {
            Ok(total) => {
                let has = |hint| {
                    points
                        .iter()
                        .any(|point| point.histogram.reset_hint == hint)
                };
                if has(ResetHint::Reset) && has(ResetHint::NotReset) {
                    context.note_arg(0, &Note::CounterResetCollision("aggregation"));
                }
                if reconciled {
                    context.note_arg(0, &Note::CustomBucketsReconciled("aggregation"));
                }
                out.push_histogram(step, Arc::new(total));
            }
            Err(IncompatibleSchemas) => context.note_arg(0, &Note::MixedExponentialCustom(name)),
        }
    }
}

/// `count_over_time(m)`.
pub(super) fn count(input: &RangeInput<'_>, out: &mut Column, _: &mut KernelContext<'_>) {
    each_populated(input, |step, window| {
        out.set_float(
            step,
            (window.floats().len() + window.histograms().len()) as f64,
        );
    });
}

/// `present_over_time(m)`.
pub(super) fn present(input: &RangeInput<'_>, out: &mut Column, _: &mut KernelContext<'_>) {
    each_populated(input, |step, _| out.set_float(step, 1.0));
}

/// `first_over_time(m)`.
pub(super) fn first(input: &RangeInput<'_>, out: &mut Column, _: &mut KernelContext<'_>) {
    each_populated(input, |step, window| {
        let (float, histogram) = firsts(input, window);
        put(
            input,
            out,
            step,
            window.float_start,
            window.histogram_start,
            float < histogram,
        );
    });
}

/// `last_over_time(m)`.
pub(super) fn last(input: &RangeInput<'_>, out: &mut Column, _: &mut KernelContext<'_>) {
    each_populated(input, |step, window| {
        let (float, histogram) = lasts(input, window);
        put(
            input,
            out,
            step,
            window.float_end.wrapping_sub(1),
            window.histogram_end.wrapping_sub(1),
            float > histogram,
        );
    });
}

/// `ts_of_first_over_time(m)`: when the first sample was taken, in seconds.
pub(super) fn ts_of_first(input: &RangeInput<'_>, out: &mut Column, _: &mut KernelContext<'_>) {
    each_populated(input, |step, window| {
        let (float, histogram) = firsts(input, window);
        out.set_float(step, float.min(histogram) as f64 / 1000.0);
    });
}

/// `ts_of_last_over_time(m)`: when the last sample was taken, in seconds.
pub(super) fn ts_of_last(input: &RangeInput<'_>, out: &mut Column, _: &mut KernelContext<'_>) {
    each_populated(input, |step, window| {
        let (float, histogram) = lasts(input, window);
        out.set_float(step, float.max(histogram) as f64 / 1000.0);
    });
}

#[inline]
fn each_populated(input: &RangeInput<'_>, mut each: impl FnMut(usize, &Window)) {
    for (step, window) in input.steps() {
        if !window.is_empty() {
            each(step, window);
        }
    }
}

/// When the first float and the first histogram were taken; the far future where there is none.
#[inline]
fn firsts(input: &RangeInput<'_>, window: &Window) -> (i64, i64) {
    let (floats, histograms) = (window.floats(), window.histograms());
    let samples = input.samples;
    (
        if floats.is_empty() {
            i64::MAX
        } else {
            samples.ts[floats.start]
        },
        if histograms.is_empty() {
            i64::MAX
        } else {
            samples.histograms[histograms.start].t
        },
    )
}

/// When the last float and the last histogram were taken; the far past where there is none.
#[inline]
fn lasts(input: &RangeInput<'_>, window: &Window) -> (i64, i64) {
    let (floats, histograms) = (window.floats(), window.histograms());
    let samples = input.samples;
    (
        if floats.is_empty() {
            i64::MIN
        } else {
            samples.ts[floats.end - 1]
        },
        if histograms.is_empty() {
            i64::MIN
        } else {
            samples.histograms[histograms.end - 1].t
        },
    )
}

/// Puts out the float or the histogram.
#[inline]
fn put(
    input: &RangeInput<'_>,
    out: &mut Column,
    step: usize,
    float: u32,
    histogram: u32,
    is_float: bool,
) {
    if is_float {
        out.set_float(step, input.samples.values[float as usize]);
    } else {
        out.push_histogram(
            step,
            Arc::clone(&input.samples.histograms[histogram as usize].histogram),
        );
    }
}
