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

impl Rest {
    const NOTHING: Self = Self {
        count: 0.0,
        middle: 0.0,
    };
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
            count.add(rest.count);
            sum.add(rest.count * rest.middle);
        };
        let (mut has_positive, mut has_negative) = (false, false);
        let populated = |(_, count): &(_, &mut f64)| **count != 0.0;
        let positive = self.positive().zip(&mut trimmed.positive_buckets);
        for ((index, _), count) in positive.filter(populated) {
            has_positive = true;
            let bucket = self.positive_bucket(index, *count);
            take(count, self.rest(&bucket, keep, limit));
        }
        let negative = self.negative().zip(&mut trimmed.negative_buckets);
        for ((index, _), count) in negative.filter(populated) {
            has_negative = true;
            let bucket = self.negative_bucket(index, *count);
            take(count, self.rest(&bucket, keep, limit));
        }
        if self.zero_count > 0.0 {
            let mut zero = self.zero_bucket();
            match (has_negative, has_positive) {
                (true, false) => zero.upper = 0.0,
                (false, true) => zero.lower = 0.0,
                _ => {}
            }
            take(&mut trimmed.zero_count, rest_of_zero(&zero, keep, limit));
        }
        if cut {
            trimmed.count = count.total();
            trimmed.sum = sum.total();
            trimmed.compact();
        }
        trimmed
    }

    /// What stays of a positive, negative or custom bucket.
    fn rest(&self, bucket: &Bucket, keep: Keep, limit: f64) -> Rest {
        let (stays, is_cut) = match keep {
            Keep::Below => (bucket.upper <= limit, bucket.lower < limit),
            Keep::Above => (bucket.lower >= limit, bucket.upper > limit),
        };
        if stays {
            return Rest {
                count: bucket.count,
                middle: self.middle(bucket.lower, bucket.upper),
            };
        }
        if !is_cut {
            return Rest::NOTHING;
        }
        if bucket.lower == f64::NEG_INFINITY || bucket.upper == f64::INFINITY {
            return rest_of_endless(bucket, keep, limit);
        }
        let below = bucket.count * self.share_below(bucket, limit);
        match keep {
            Keep::Below => Rest {
                count: below,
                middle: self.middle(bucket.lower, limit),
            },
            Keep::Above => Rest {
                count: bucket.count - below,
                middle: self.middle(limit, bucket.upper),
            },
        }
    }

    /// What observations between two limits of one sign are taken for: the arithmetic mean in custom
    /// buckets, the geometric one in others. Where there is but one limit, it is that.
    fn middle(&self, lower: f64, upper: f64) -> f64 {
        match (lower.is_infinite(), upper.is_infinite()) {
            (true, true) => 0.0,
            (true, false) if upper > 0.0 => upper / 2.0,
            (true, false) => upper,
            (false, true) => lower,
            (false, false) if self.uses_custom_buckets() => (lower + upper) / 2.0,
            (false, false) => {
                let middle = (lower * upper).abs().sqrt();
                if lower < 0.0 || upper < 0.0 {
                    -middle
                } else {
                    middle
                }
            }
        }
    }
}

/// Cuts a bucket with one limit or none. With a positive upper limit it is taken to begin at zero;
/// else, nothing is known of where its observations lie, so that all go with the end that is cut.
fn rest_of_endless(bucket: &Bucket, keep: Keep, limit: f64) -> Rest {
    let all_at = |middle: f64| Rest {
        count: bucket.count,
        middle,
    };
    let upper = bucket.upper;
    if bucket.lower != f64::NEG_INFINITY {
        return match keep {
            Keep::Below => Rest::NOTHING,
            Keep::Above => all_at(limit),
        };
    }
    match keep {
        Keep::Below if limit > 0.0 && upper > 0.0 && upper < f64::INFINITY => Rest {
            count: bucket.count * limit / upper,
            middle: limit / 2.0,
        },
        Keep::Below if upper <= 0.0 => all_at(limit),
        Keep::Above if limit >= 0.0 && upper < f64::INFINITY => Rest {
            count: bucket.count * (1.0 - limit / upper),
            middle: (limit + upper) / 2.0,
        },
        _ => Rest::NOTHING,
    }
}

/// Cuts the zero bucket, in which observations are spread evenly. One without width goes or stays
/// as a whole.
fn rest_of_zero(zero: &Bucket, keep: Keep, limit: f64) -> Rest {
    let (lower, upper) = (zero.lower, zero.upper);
    let all = Rest {
        count: zero.count,
        middle: (lower + upper) / 2.0,
    };
    match keep {
        Keep::Below if limit <= lower => Rest::NOTHING,
        Keep::Below if limit >= upper => all,
        Keep::Below => Rest {
            count: zero.count * ((limit - lower) / (upper - lower)),
            middle: (lower + limit) / 2.0,
        },
        Keep::Above if limit <= lower => all,
        Keep::Above if limit >= upper => Rest::NOTHING,
        Keep::Above => Rest {
            count: zero.count * ((upper - limit) / (upper - lower)),
            middle: (limit + upper) / 2.0,
        },
    }
}
