//! Quantiles, fractions and variance of the observations that a histogram stands for.
//!
//! Within an exponential bucket observations are taken to be spread evenly on a logarithmic scale;
//! within the zero bucket and within custom buckets, on a linear one.

use super::FloatHistogram;
use super::iterate::Bucket;
use super::kahan::CompensatedFloat;

/// What observations of NaN did to a result: they count, but lie in no bucket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NanEffect {
    /// Nothing: there are none.
    #[default]
    None,
    /// The result is NaN because of them.
    Result,
    /// The result is another than it would be without them.
    Skewed,
}

impl FloatHistogram {
    /// The value below which the share `q` of all observations lies. NaN without observations and
    /// for `q` NaN; -Inf and +Inf for `q` below 0 and above 1.
    #[must_use]
    pub fn quantile(&self, q: f64) -> (f64, NanEffect) {
        if q < 0.0 {
            return (f64::NEG_INFINITY, NanEffect::None);
        }
        if q > 1.0 {
            return (f64::INFINITY, NanEffect::None);
        }
        if self.count == 0.0 || q.is_nan() {
            return (f64::NAN, NanEffect::None);
        }
        let mut buckets = self.buckets();
        // NaN observations count but are in no bucket, so that only counting from below is right.
        let has_nan = self.sum.is_nan();
        let forward = has_nan || q < 0.5;
        let rank = if forward { q } else { 1.0 - q } * self.count;
        let mut next = || {
            if forward {
                buckets.next()
            } else {
                buckets.next_back()
            }
        };

        let mut found = None;
        let mut seen = 0.0;
        while let Some(bucket) = next() {
            found = Some(bucket);
            if bucket.count == 0.0 {
                continue;
            }
            seen += bucket.count;
            if seen >= rank {
                break;
            }
        }
        let mut bucket = found.unwrap_or(NO_BUCKET);
        if self.uses_custom_buckets() {
            if bucket.lower == f64::NEG_INFINITY {
                if bucket.upper <= 0.0 {
                    return (bucket.upper, NanEffect::None);
                }
                bucket.lower = 0.0;
            } else if bucket.upper == f64::INFINITY {
                return (bucket.lower, NanEffect::None);
            }
        } else if bucket.lower < 0.0 && bucket.upper > 0.0 {
            bucket = self.one_sided(bucket);
        }
        // Rounding may have brought more together than there are.
        seen = seen.min(self.count);
        if seen < rank {
            return if has_nan {
                (f64::NAN, NanEffect::Result)
            } else {
                (bucket.upper, NanEffect::None)
            };
        }
        let within = if forward {
            rank - (seen - bucket.count)
        } else {
            seen - rank
        };
        let mut effect = NanEffect::None;
        if has_nan {
            // Observations of both infinities make the sum NaN too, but they are in buckets.
            while let Some(bucket) = next() {
                seen += bucket.count;
            }
            if seen < self.count {
                effect = NanEffect::Skewed;
            }
        }
        (self.interpolate(&bucket, within / bucket.count), effect)
    }

    /// The value at a share of a bucket, from its lower limit.
    fn interpolate(&self, bucket: &Bucket, share: f64) -> f64 {
        if self.uses_custom_buckets() || (bucket.lower <= 0.0 && bucket.upper >= 0.0) {
            return bucket.lower + (bucket.upper - bucket.lower) * share;
        }
        let lower = bucket.lower.abs().log2();
        let upper = bucket.upper.abs().log2();
        if bucket.lower > 0.0 {
            (lower + (upper - lower) * share).exp2()
        } else {
            -(upper + (lower - upper) * (1.0 - share)).exp2()
        }
    }

    /// The share of a bucket that lies below a value within it.
    pub(super) fn share_below(&self, bucket: &Bucket, value: f64) -> f64 {
        if self.uses_custom_buckets() || (bucket.lower <= 0.0 && bucket.upper >= 0.0) {
            return (value - bucket.lower) / (bucket.upper - bucket.lower);
        }
        let lower = bucket.lower.abs().log2();
        let upper = bucket.upper.abs().log2();
        let value_log = value.abs().log2();
        if value > 0.0 {
            (value_log - lower) / (upper - lower)
        } else {
            1.0 - (value_log - upper) / (lower - upper)
        }
    }

    /// The zero bucket reaches only to the side on which there are other buckets, if it is one.
    fn one_sided(&self, mut zero: Bucket) -> Bucket {
        match (
            self.negative_buckets.is_empty(),
            self.positive_buckets.is_empty(),
        ) {
            (true, false) => zero.lower = 0.0,
            (false, true) => zero.upper = 0.0,
            _ => {}
        }
        zero
    }

    /// The share of all observations between two values. NaN without observations and for a NaN
    /// limit.
    #[must_use]
    pub fn fraction(&self, lower: f64, upper: f64) -> (f64, NanEffect) {
        if self.count == 0.0 || lower.is_nan() || upper.is_nan() {
            return (f64::NAN, NanEffect::None);
        }
        if lower >= upper {
            return (0.0, NanEffect::None);
        }
        // A limit's rank: how many observations lie below it.
        let (mut lower_rank, mut upper_rank) = (None, None);
        let mut below = 0.0;
        let mut buckets = self.buckets();
        for mut bucket in buckets.by_ref() {
            if self.uses_custom_buckets() {
                // As of classic buckets: the first begins at zero unless it ends there or below.
                if bucket.lower == f64::NEG_INFINITY && bucket.upper > 0.0 {
                    bucket.lower = 0.0;
                }
            } else if bucket.lower <= 0.0 && bucket.upper >= 0.0 {
                bucket = self.one_sided(bucket);
            }
            let rank = |limit: f64| {
                if bucket.lower >= limit {
                    Some(below)
                } else if bucket.upper <= limit {
                    None
                } else if bucket.lower == f64::NEG_INFINITY && self.uses_custom_buckets() {
                    // Nothing is known of how far down the first bucket goes.
                    Some(bucket.count)
                } else if bucket.upper == f64::INFINITY && self.uses_custom_buckets() {
                    Some(below)
                } else {
                    Some(below + bucket.count * self.share_below(&bucket, limit))
                }
            };
            lower_rank = lower_rank.or_else(|| rank(lower));
            upper_rank = upper_rank.or_else(|| rank(upper));
            below += bucket.count;
            if lower_rank.is_some() && upper_rank.is_some() {
                break;
            }
        }
        let mut counted = self.count;
        let mut effect = NanEffect::None;
        if self.sum.is_nan() {
            counted = below + buckets.map(|bucket| bucket.count).sum::<f64>();
            if counted < self.count {
                effect = NanEffect::Skewed;
            }
        }
        let rank = |rank: Option<f64>| rank.filter(|rank| *rank <= counted).unwrap_or(counted);
        ((rank(upper_rank) - rank(lower_rank)) / self.count, effect)
    }

    /// The estimated variance of the observations.
    #[must_use]
    pub fn variance(&self) -> f64 {
        let mean = self.sum / self.count;
        let mut total = CompensatedFloat::default();
        for bucket in self.buckets().filter(|bucket| bucket.count != 0.0) {
            let value = if self.uses_custom_buckets() {
                (bucket.upper + bucket.lower) / 2.0
            } else {
                geometric_middle(&bucket)
            };
            let delta = value - mean;
            total.add(bucket.count * delta * delta);
        }
        (total.sum + total.lost) / self.count
    }
}

/// Where there is none.
const NO_BUCKET: Bucket = Bucket {
    lower: 0.0,
    upper: 0.0,
    lower_inclusive: false,
    upper_inclusive: false,
    count: 0.0,
    index: 0,
};

/// The middle of an exponential bucket; zero for the zero bucket.
fn geometric_middle(bucket: &Bucket) -> f64 {
    if bucket.lower <= 0.0 && bucket.upper >= 0.0 {
        return 0.0;
    }
    let middle = (bucket.upper * bucket.lower).sqrt();
    if bucket.upper < 0.0 { -middle } else { middle }
}
