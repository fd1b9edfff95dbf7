//! Quantiles and fractions of histograms, classic or native.
//!
//! A classic histogram is a set of cumulative counts by upper bound. Observations are taken to be
//! spread evenly between two bounds; below the first, from zero if it is positive.

use model::histogram::NanEffect;

use crate::annotations::{Forced, Note};
use crate::eval::column::{Column, ScalarColumn};
use crate::eval::kernel::{BucketGroup, KernelContext};

/// `histogram_quantile(q, v)`. That a quantile is none is noted by whoever calls, as it is to be said
/// of no histograms too.
pub(super) fn quantile(
    group: &BucketGroup<'_>,
    params: &[ScalarColumn],
    out: &mut Column,
    context: &mut KernelContext<'_>,
) {
    let Some(quantiles) = params.first() else {
        return;
    };
    // The second argument: also of histogram_quantiles, which calls this for each of its quantiles.
    let vector_arg = 1;
    let mut forced: Option<Forced> = None;
    each_step(group, out, vector_arg, context, |step, source, context| {
        let q = quantiles.at(step);
        match source {
            Source::Native(histogram) => {
                let (value, effect) = histogram.quantile(q);
                let name = context.metric_name;
                match effect {
                    NanEffect::None => {}
                    NanEffect::Result => {
                        context.note_arg(vector_arg, &Note::QuantileOfNanResult(name));
                    }
                    NanEffect::Skewed => {
                        context.note_arg(vector_arg, &Note::QuantileOfNanSkewed(name));
                    }
                }
                value
            }
            Source::Classic(buckets) => {
                let (value, raised) = quantile_of_buckets(q, buckets);
                if let Some(raised) = raised {
                    let now = context.steps.time(step);
                    let raised = Forced {
                        bounds: raised.bounds,
                        difference: raised.difference,
                        times: (now, now),
                        histograms: 1,
                    };
                    forced = Some(forced.map_or(raised, |forced| forced.or(raised)));
                }
                value
            }
        }
    });
    if let Some(forced) = forced {
        let note = Note::ForcedMonotonicity(context.metric_name, forced);
        context.note_arg(vector_arg, &note);
    }
}

/// `histogram_fraction(lower, upper, v)`.
pub(super) fn fraction(
    group: &BucketGroup<'_>,
    params: &[ScalarColumn],
    out: &mut Column,
    context: &mut KernelContext<'_>,
) {
    let [lower, upper] = params else { return };
    each_step(group, out, 2, context, |step, source, context| {
        let (lower, upper) = (lower.at(step), upper.at(step));
        match source {
            Source::Native(histogram) => {
                let (value, effect) = histogram.fraction(lower, upper);
                if effect != NanEffect::None {
                    context.note_arg(2, &Note::FractionOfNan(context.metric_name));
                }
                value
            }
            Source::Classic(buckets) => fraction_of_buckets(lower, upper, buckets),
        }
    });
}

/// Upper bound and cumulative count.
type ClassicBucket = (f64, f64);

/// The histogram of one step.
enum Source<'a> {
    Native(&'a model::histogram::FloatHistogram),
    /// At least one bucket, ascending by bound.
    Classic(&'a mut Vec<ClassicBucket>),
}

/// Computes a value for each step that has a histogram. Where a step has both kinds, neither is
/// taken to be right.
fn each_step<'a>(
    group: &BucketGroup<'_>,
    out: &mut Column,
    vector_arg: usize,
    context: &mut KernelContext<'a>,
    mut each: impl FnMut(usize, Source<'_>, &mut KernelContext<'a>) -> f64,
) {
    let mut buckets = Vec::with_capacity(group.classic.len());
    for step in 0..out.len() {
        buckets.clear();
        let counts = group.classic.iter();
        buckets.extend(counts.filter_map(|(bound, counts)| Some((*bound, counts.float(step)?))));
        let value = match group.native_at(step) {
            Some(_) if !buckets.is_empty() => {
                context.note_arg(vector_arg, &Note::MixedClassicNative(context.metric_name));
                continue;
            }
            Some(histogram) => each(step, Source::Native(histogram), context),
            None if buckets.is_empty() => continue,
            None => each(step, Source::Classic(&mut buckets), context),
        };
        out.set_float(step, value);
    }
}

/// Differences between counts up to this share of them are taken for rounding.
const SMALL_DIFFERENCE: f64 = 1e-12;

/// Counts that were raised: the bounds of their buckets, and by how much at most.
struct Raised {
    bounds: (f64, f64),
    difference: f64,
}

/// The quantile, and which counts had to be raised for it to exist.
fn quantile_of_buckets(q: f64, buckets: &mut Vec<ClassicBucket>) -> (f64, Option<Raised>) {
    if q.is_nan() {
        return (f64::NAN, None);
    }
    if q < 0.0 {
        return (f64::NEG_INFINITY, None);
    }
    if q > 1.0 {
        return (f64::INFINITY, None);
    }
    if buckets.last().is_none_or(|last| last.0 != f64::INFINITY) {
        return (f64::NAN, None);
    }
    join_equal_bounds(buckets);
    let forced = make_monotonic(buckets);
    let last = buckets.len() - 1;
    let all = buckets[last].1;
    if last == 0 || all == 0.0 {
        return (f64::NAN, forced);
    }
    let rank = q * all;
    // The first bucket that reaches the rank; +Inf's, if none before it does.
    let found = buckets[..last].partition_point(|(_, count)| {
        let reaches = *count >= rank;
        !reaches
    });
    if found == last {
        return (buckets[last - 1].0, forced);
    }
    let (end, count) = buckets[found];
    if found == 0 {
        let value = if end <= 0.0 {
            end
        } else {
            end * (rank / count)
        };
        return (value, forced);
    }
    let (start, below) = buckets[found - 1];
    (
        start + (end - start) * ((rank - below) / (count - below)),
        forced,
    )
}

/// The share of the observations between two values.
fn fraction_of_buckets(lower: f64, upper: f64, buckets: &mut Vec<ClassicBucket>) -> f64 {
    if buckets.last().is_none_or(|last| last.0 != f64::INFINITY) {
        return f64::NAN;
    }
    join_equal_bounds(buckets);
    let all = buckets[buckets.len() - 1].1;
    if all == 0.0 || lower.is_nan() || upper.is_nan() {
        return f64::NAN;
    }
    if lower >= upper {
        return 0.0;
    }
    let rank = |limit: f64| {
        let rank = rank_of(limit, buckets).unwrap_or(all);
        if rank > all { all } else { rank }
    };
    (rank(upper) - rank(lower)) / all
}

/// How many observations lie below a value; `None` where all do.
fn rank_of(limit: f64, buckets: &[ClassicBucket]) -> Option<f64> {
    let mut start = if buckets[0].0 > 0.0 {
        0.0
    } else {
        f64::NEG_INFINITY
    };
    let mut below = 0.0;
    for &(end, count) in buckets {
        if start >= limit {
            return Some(below);
        }
        if end > limit {
            return Some(if start == f64::NEG_INFINITY {
                // Nothing is known of how far down the first bucket goes.
                count
            } else {
                below + (count - below) * (limit - start) / (end - start)
            });
        }
        start = end;
        below = count;
    }
    None
}

/// Adds up the counts of buckets with the same bound.
fn join_equal_bounds(buckets: &mut Vec<ClassicBucket>) {
    buckets.dedup_by(|next, kept| {
        let same = next.0 == kept.0;
        if same {
            kept.1 += next.1;
        }
        same
    });
}

/// Raises counts that are below the one before, as cumulative counts can't be: the buckets were
/// scraped or computed at different times. Which there were beyond rounding.
fn make_monotonic(buckets: &mut [ClassicBucket]) -> Option<Raised> {
    let mut raised: Option<Raised> = None;
    let mut before = buckets[0].1;
    for (bound, count) in &mut buckets[1..] {
        if *count == before {
            continue;
        }
        if almost_equal(before, *count) {
            *count = before;
        } else if *count < before {
            let difference = before - *count;
            raised = Some(Raised {
                bounds: (
                    raised.as_ref().map_or(*bound, |raised| raised.bounds.0),
                    *bound,
                ),
                difference: raised.map_or(difference, |raised| raised.difference.max(difference)),
            });
            *count = before;
        } else {
            before = *count;
        }
    }
    raised
}

fn almost_equal(a: f64, b: f64) -> bool {
    if a.is_nan() || b.is_nan() {
        return a.is_nan() && b.is_nan();
    }
    let (sum, difference) = (a.abs() + b.abs(), (a - b).abs());
    if a == 0.0 || b == 0.0 || sum < f64::MIN_POSITIVE {
        return difference < SMALL_DIFFERENCE * f64::MIN_POSITIVE;
    }
    difference / sum.min(f64::MAX) < SMALL_DIFFERENCE
}
