//! Cutting observations off a histogram: the operators `</` (keep what is lower) and `>/` (keep
//! what is higher).

use super::iterate::Bucket;
use super::{FloatHistogram, kahan::CompensatedFloat};

/// Which observations stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// Those up to the limit.
    Below,
    /// Those from the limit.
    Above,
}

/// What stays of one bucket.
struct Rest {
    count: f64,
    /// The middle of what stays.
    middle: f64,
}

impl FloatHistogram {
    /// Cuts off the observations on one side of `limit`. A bucket around it is cut as a quantile
    /// would cut it; of a bucket without end on the side to cut, nothing stays. The sum becomes the
    /// estimate from the middles of the buckets, unless nothing is cut off.
    #[must_use]
    pub fn trim(&self, keep: Keep, limit: f64) -> Self {
        let mut trimmed = self.clone();
        let mut cut = false;
        let mut count = CompensatedFloat::default();
        let mut sum = CompensatedFloat::default();
        let mut take = |before: &mut f64, rest: Rest| {
            cut |= rest.count != *before;
            *before = rest.count;
            if rest.count != 0.0 {
                count.add(rest.count);
                sum.add(rest.count * rest.middle);
            }
        };
        let custom = self.uses_custom_buckets();
        for ((index, _), before) in self.positive().zip(&mut trimmed.positive_buckets) {
            let mut bucket = self.positive_bucket(index, *before);
            bucket.lower = if custom {
                bucket.lower
            } else {
                bucket.lower.max(self.zero_threshold)
            };
            let rest = if custom {
                linear(&bucket, keep, limit)
            } else {
                exponential(&bucket, keep, limit)
            };
            take(before, rest);
        }
        for ((index, _), before) in self.negative().zip(&mut trimmed.negative_buckets) {
            let mut bucket = self.negative_bucket(index, *before);
            bucket.upper = bucket.upper.min(-self.zero_threshold);
            take(before, exponential(&bucket, keep, limit));
        }
        if self.zero_count != 0.0 {
            let bucket = self.one_sided(self.zero_bucket());
            take(&mut trimmed.zero_count, linear(&bucket, keep, limit));
        }
        if cut {
            trimmed.count = count.total();
            trimmed.sum = sum.total();
            trimmed.compact();
        }
        trimmed
    }
}

/// What stays of a bucket with finite limits where `share` of it lies below the limit.
fn part(
    bucket: &Bucket,
    keep: Keep,
    limit: f64,
    share: f64,
    middle: impl Fn(f64, f64) -> f64,
) -> Rest {
    match keep {
        Keep::Below => Rest {
            count: bucket.count * share,
            middle: middle(bucket.lower, limit),
        },
        Keep::Above => Rest {
            count: bucket.count * (1.0 - share),
            middle: middle(limit, bucket.upper),
        },
    }
}

/// Whether the whole bucket stays, or nothing of it; `None` where the limit cuts through it.
fn whole(bucket: &Bucket, keep: Keep, limit: f64) -> Option<bool> {
    match keep {
        Keep::Below if limit >= bucket.upper => Some(true),
        Keep::Above if limit <= bucket.lower => Some(true),
        Keep::Below if limit <= bucket.lower => Some(false),
        Keep::Above if limit >= bucket.upper => Some(false),
        _ => None,
    }
}

/// Cuts an exponential bucket, whose limits have one sign.
fn exponential(bucket: &Bucket, keep: Keep, limit: f64) -> Rest {
    let middle = |lower: f64, upper: f64| (lower * upper).sqrt().copysign(lower);
    match whole(bucket, keep, limit) {
        Some(true) => Rest {
            count: bucket.count,
            middle: middle(bucket.lower, bucket.upper),
        },
        Some(false) => Rest {
            count: 0.0,
            middle: 0.0,
        },
        None => {
            let lower = bucket.lower.abs().log2();
            let upper = bucket.upper.abs().log2();
            let share = (limit.abs().log2() - lower) / (upper - lower);
            part(bucket, keep, limit, share, middle)
        }
    }
}

/// Cuts a custom bucket or the zero bucket.
fn linear(bucket: &Bucket, keep: Keep, limit: f64) -> Rest {
    let middle = |lower: f64, upper: f64| (lower + upper) / 2.0;
    if bucket.lower == f64::NEG_INFINITY {
        return first_custom(bucket, keep, limit);
    }
    if bucket.upper == f64::INFINITY {
        return last_custom(bucket, keep, limit);
    }
    match whole(bucket, keep, limit) {
        Some(true) => Rest {
            count: bucket.count,
            middle: middle(bucket.lower, bucket.upper),
        },
        Some(false) => Rest {
            count: 0.0,
            middle: 0.0,
        },
        None => {
            let share = (limit - bucket.lower) / (bucket.upper - bucket.lower);
            part(bucket, keep, limit, share, middle)
        }
    }
}

/// Cuts the custom bucket from -Inf. With a positive upper limit it is taken to begin at zero.
fn first_custom(bucket: &Bucket, keep: Keep, limit: f64) -> Rest {
    let finite = bucket.upper < f64::INFINITY;
    let whole_middle = match bucket.upper {
        upper if !finite || upper.is_nan() => 0.0,
        upper if upper > 0.0 => upper / 2.0,
        upper => upper,
    };
    let all = Rest {
        count: bucket.count,
        middle: whole_middle,
    };
    let none = Rest {
        count: 0.0,
        middle: 0.0,
    };
    match keep {
        Keep::Below if limit >= bucket.upper => all,
        Keep::Below if limit == f64::NEG_INFINITY => none,
        Keep::Below if finite && bucket.upper <= 0.0 => Rest {
            count: bucket.count,
            middle: limit,
        },
        Keep::Below if finite && limit > 0.0 => Rest {
            count: bucket.count * limit / bucket.upper,
            middle: limit / 2.0,
        },
        Keep::Above if limit == f64::NEG_INFINITY => all,
        Keep::Above if finite && limit >= 0.0 && bucket.upper > limit => Rest {
            count: bucket.count * (1.0 - limit / bucket.upper),
            middle: (limit + bucket.upper) / 2.0,
        },
        _ => none,
    }
}

/// Cuts the custom bucket to +Inf, whose observations are taken to lie at its lower limit, or as
/// low as the cut allows.
fn last_custom(bucket: &Bucket, keep: Keep, limit: f64) -> Rest {
    match keep {
        Keep::Below if limit < f64::INFINITY => Rest {
            count: 0.0,
            middle: 0.0,
        },
        Keep::Above if limit == f64::INFINITY => Rest {
            count: 0.0,
            middle: 0.0,
        },
        Keep::Above => Rest {
            count: bucket.count,
            middle: bucket.lower.max(limit),
        },
        Keep::Below => Rest {
            count: bucket.count,
            middle: bucket.lower,
        },
    }
}
