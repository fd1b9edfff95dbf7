//! The change of native histograms from the start of a window to its end.

use model::histogram::{FloatHistogram, ResetHint};
use model::select::HistogramPoint;

use super::Bounds;
use crate::annotations::Note;
use crate::eval::kernel::KernelContext;
use crate::functions::interpolate::{self, minus, plus};

/// The change, compacted; nothing where histograms do not go together.
pub(super) fn change(
    points: &[HistogramPoint],
    bounds: Bounds,
    counter: bool,
    context: &mut KernelContext<'_>,
) -> Option<FloatHistogram> {
    let Bounds { first, last, .. } = bounds;
    if !go_together(&points[first..=last], counter, context) {
        return None;
    }
    let mut between = |at: usize, t: i64| {
        interpolate::histogram(&points[at], &points[at + 1], t, counter, context)
    };
    let left = if bounds.smoothed && points[first].t < bounds.start {
        between(first, bounds.start)?
    } else {
        (*points[first].histogram).clone()
    };
    let right = if bounds.smoothed && last > 0 && points[last].t > bounds.end {
        between(last - 1, bounds.end)?
    } else {
        (*points[last].histogram).clone()
    };
    let is_gauge = |h: &FloatHistogram| h.reset_hint == ResetHint::Gauge;
    if !counter && (!is_gauge(&left) || !is_gauge(&right)) {
        context.note_arg(0, &Note::NotGaugeHistogram(context.metric_name));
    }
    let mut change = minus(right.clone(), &left, context)?;
    if counter && let Some(lost) = lost_by_resets(points, bounds, &left, &right, context)? {
        change = plus(change, &lost, context)?;
    }
    change.reset_hint = ResetHint::Gauge;
    change.compact();
    Some(change)
}

/// Whether all are of one kind of buckets; says so where they are not, and where they are no
/// counters but should be.
fn go_together(points: &[HistogramPoint], counter: bool, context: &mut KernelContext<'_>) -> bool {
    let Some(custom) = points
        .first()
        .map(|point| point.histogram.uses_custom_buckets())
    else {
        return false;
    };
    for point in points {
        if point.histogram.uses_custom_buckets() != custom {
            context.note_arg(0, &Note::MixedExponentialCustom(context.metric_name));
            return false;
        }
        if counter && point.histogram.reset_hint == ResetHint::Gauge {
            context.note_arg(0, &Note::NotCounterHistogram(context.metric_name));
        }
    }
    true
}

/// What the counter had counted before each of its resets; the outer `None` where histograms do not
/// go together.
fn lost_by_resets(
    points: &[HistogramPoint],
    bounds: Bounds,
    left: &FloatHistogram,
    right: &FloatHistogram,
    context: &mut KernelContext<'_>,
) -> Option<Option<FloatHistogram>> {
    let Bounds { first, last, .. } = bounds;
    // `left` stands for the first sample. Where it was interpolated over a reset, that reset is in
    // it already, and what follows is compared with the sample behind the reset.
    let (mut from, mut before) = (first + 1, left);
    if bounds.smoothed && points[first].t < bounds.start {
        let next = &points[first + 1].histogram;
        if next.detect_reset(&points[first].histogram) {
            (from, before) = (first + 2, &**next);
        }
    }
    if from > last {
        return Some(None);
    }
    // `right` stands for the last sample, with its hint.
    let within = points[from..last].iter().map(|point| &*point.histogram);
    let mut lost: Option<FloatHistogram> = None;
    for now in within.chain([right]) {
        if now.detect_reset(before) {
            lost = Some(match lost {
                None => before.clone(),
                Some(lost) => plus(lost, before, context)?,
            });
        }
        before = now;
    }
    Some(lost)
}
