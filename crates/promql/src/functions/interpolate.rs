//! Values between two samples, and sums of histograms that say what is odd about them.

use model::histogram::{FloatHistogram, ResetHint};
use model::select::HistogramPoint;

use crate::annotations::Note;
use crate::eval::kernel::KernelContext;

/// A float and its time in milliseconds.
pub(crate) type FloatPoint = (i64, f64);

/// The value at a time between two samples. A counter that was reset went up from zero.
pub(crate) fn float(before: FloatPoint, behind: FloatPoint, t: i64, counter: bool) -> f64 {
    let reset = counter && behind.1 < before.1;
    let from = if reset { 0.0 } else { before.1 };
    from + (behind.1 - from) * (t - before.0) as f64 / (behind.0 - before.0) as f64
}

/// The same of histograms; nothing where they do not go together.
pub(crate) fn histogram(
    before: &HistogramPoint,
    behind: &HistogramPoint,
    t: i64,
    counter: bool,
    context: &mut KernelContext<'_>,
) -> Option<FloatHistogram> {
    if t == before.t {
        return Some((*before.histogram).clone());
    }
    let mut value = (*behind.histogram).clone();
    if t == behind.t {
        return Some(value);
    }
    let share = (t - before.t) as f64 / (behind.t - before.t) as f64;
    if counter && value.detect_reset(&before.histogram) {
        value.scale(share);
        return Some(value);
    }
    let mut value = minus(value, &before.histogram, context)?;
    value.scale(share);
    plus(value, &before.histogram, context)
}

/// Whether two neighbours are of a counter: unless both say that they are of a gauge.
pub(crate) fn is_counter(before: &HistogramPoint, behind: &HistogramPoint) -> bool {
    let gauge = |point: &HistogramPoint| point.histogram.reset_hint == ResetHint::Gauge;
    !gauge(before) || !gauge(behind)
}

/// A sum of two histograms; nothing where they do not go together.
pub(crate) fn plus(
    mut sum: FloatHistogram,
    other: &FloatHistogram,
    context: &mut KernelContext<'_>,
) -> Option<FloatHistogram> {
    let Ok(combined) = sum.add(other) else {
        context.note_arg(0, &Note::MixedExponentialCustom(context.metric_name));
        return None;
    };
    if combined.bounds_reconciled {
        context.note_arg(0, &Note::CustomBucketsReconciled("addition"));
    }
    Some(sum)
}

/// A difference of two histograms; nothing where they do not go together.
pub(crate) fn minus(
    mut difference: FloatHistogram,
    other: &FloatHistogram,
    context: &mut KernelContext<'_>,
) -> Option<FloatHistogram> {
    let Ok(combined) = difference.sub(other) else {
        context.note_arg(0, &Note::MixedExponentialCustom(context.metric_name));
        return None;
    };
    if combined.bounds_reconciled {
        context.note_arg(0, &Note::CustomBucketsReconciled("subtraction"));
    }
    Some(difference)
}

#[cfg(test)]
mod tests {
    use super::float;

    #[test]
    fn lies_between_its_neighbours() {
        let check = |before, behind, t, counter, expected: f64| {
            assert_eq!(float(before, behind, t, counter), expected);
        };
        check((0, 1.0), (10, 3.0), 5, false, 2.0);
        check((0, 1.0), (10, 3.0), 0, true, 1.0);
        check((0, 3.0), (10, 1.0), 5, false, 2.0);
        // A counter began at zero again.
        check((0, 3.0), (10, 1.0), 5, true, 0.5);
        check((0, 3.0), (10, 1.0), 10, true, 1.0);
    }
}
