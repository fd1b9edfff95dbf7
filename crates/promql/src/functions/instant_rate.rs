//! `irate` and `idelta`: the change between the last two samples of a window.

use std::sync::Arc;

use model::histogram::{FloatHistogram, ResetHint};

use super::starts::Counted;
use crate::annotations::Note;
use crate::eval::column::Column;
use crate::eval::kernel::{KernelContext, RangeInput, Window};

/// `irate(m)`: increase of a counter per second.
pub(super) fn irate(input: &RangeInput<'_>, out: &mut Column, context: &mut KernelContext<'_>) {
    last_two(input, out, context, true);
}

/// `idelta(m)`: change of a gauge.
pub(super) fn idelta(input: &RangeInput<'_>, out: &mut Column, context: &mut KernelContext<'_>) {
    last_two(input, out, context, false);
}

/// One of the last two samples.
#[derive(Clone, Copy)]
enum Point<'a> {
    Float(f64),
    Histogram(&'a FloatHistogram),
}

/// The last sample among the given numbers of floats and histograms, which it counts down.
fn take_last<'a>(
    input: &RangeInput<'a>,
    window: &Window,
    floats: &mut usize,
    histograms: &mut usize,
) -> Option<(Counted, Point<'a>)> {
    let samples = input.samples;
    let float = (*floats > window.floats().start).then(|| samples.ts[*floats - 1]);
    let histogram =
        (*histograms > window.histograms().start).then(|| samples.histograms[*histograms - 1].t);
    match (float, histogram) {
        (Some(t), other) if other.is_none_or(|other| t > other) => {
            *floats -= 1;
            Some((
                Counted::of_float(samples, *floats),
                Point::Float(samples.values[*floats]),
            ))
        }
        (_, Some(_)) => {
            *histograms -= 1;
            Some((
                Counted::of_histogram(samples, *histograms),
                Point::Histogram(&samples.histograms[*histograms].histogram),
            ))
        }
        _ => None,
    }
}

fn last_two(input: &RangeInput<'_>, out: &mut Column, context: &mut KernelContext<'_>, rate: bool) {
    for (step, window) in input.steps() {
        let (mut floats, mut histograms) = (window.floats().end, window.histograms().end);
        let last = take_last(input, window, &mut floats, &mut histograms);
        let before = take_last(input, window, &mut floats, &mut histograms);
        let (Some((counted, last)), Some((counted_before, before))) = (last, before) else {
            continue;
        };
        if counted.t == counted_before.t {
            continue;
        }
        let seconds = (counted.t - counted_before.t) as f64 / 1000.0;
        let began = rate && counted.began_after(counted_before);
        match (before, last) {
            (Point::Float(before), Point::Float(last)) => {
                // After a reset the counter went up from zero.
                let change = if rate && (last < before || began) {
                    last
                } else {
                    last - before
                };
                out.set_float(step, if rate { change / seconds } else { change });
            }
            (Point::Histogram(before), Point::Histogram(last)) => {
                if let Some(mut change) = histogram_change(before, last, rate, began, context) {
                    if rate {
                        change.divide(seconds);
                    }
                    out.push_histogram(step, Arc::new(change));
                }
            }
            _ => context.note_arg(0, &Note::MixedFloatsHistograms(context.metric_name)),
        }
    }
}

fn histogram_change(
    before: &FloatHistogram,
    last: &FloatHistogram,
    rate: bool,
    began: bool,
    context: &mut KernelContext<'_>,
) -> Option<FloatHistogram> {
    let name = context.metric_name;
    let gauges = [before, last].map(|h| h.reset_hint == ResetHint::Gauge);
    if rate && gauges.contains(&true) {
        context.note_arg(0, &Note::NotCounterHistogram(name));
    }
    if !rate && gauges.contains(&false) {
        context.note_arg(0, &Note::NotGaugeHistogram(name));
    }
    let mut change = last.clone();
    if !rate || !(began || last.detect_reset(before)) {
        match change.sub(before) {
            Ok(combined) if combined.bounds_reconciled => {
                context.note_arg(0, &Note::CustomBucketsReconciled("subtraction"));
            }
            Ok(_) => {}
            Err(_) => {
                context.note_arg(0, &Note::MixedExponentialCustom(name));
                return None;
            }
        }
    }
    change.reset_hint = ResetHint::Gauge;
    change.compact();
    Some(change)
}
