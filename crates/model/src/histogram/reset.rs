//! Detecting that the counter behind a histogram started anew.

use super::arithmetic::{rebound, same_bounds, shared_bounds};
use super::iterate::Indexed;
use super::layout::{Coarser, Side, outside_zero};
use super::{FloatHistogram, ResetHint};

impl FloatHistogram {
    /// Whether the counter was reset between `previous` and this: by the hint if there is one, else
    /// because some count went down, a populated bucket is gone, the resolution rose or the zero
    /// bucket shrank or grew into a populated bucket. The sum of observations says nothing, as
    /// observations may be negative.
    #[must_use]
    pub fn detect_reset(&self, previous: &Self) -> bool {
        match self.reset_hint {
            ResetHint::Reset => return true,
            ResetHint::NotReset => return false,
            // Resets make no sense for a gauge, but rates of gauges are only warned about.
            ResetHint::Unknown | ResetHint::Gauge => {}
        }
        if self.count < previous.count {
            return true;
        }
        if self.uses_custom_buckets() {
            if !previous.uses_custom_buckets() {
                return true;
            }
            if !same_bounds(&self.custom_values, &previous.custom_values) {
                let shared = shared_bounds(&self.custom_values, &previous.custom_values);
                let now: Side = rebound(self.positive(), &self.custom_values, &shared);
                let before = rebound(previous.positive(), &previous.custom_values, &shared);
                return decreased(now.indexed(), before.indexed());
            }
        }
        if self.schema > previous.schema || self.zero_threshold < previous.zero_threshold {
            return true;
        }
        let (zero_before, threshold) = previous.zero_count_at(self.zero_threshold);
        if threshold != self.zero_threshold || self.zero_count < zero_before {
            return true;
        }
        self.side_decreased(self.positive(), previous.positive(), previous.schema)
            || self.side_decreased(self.negative(), previous.negative(), previous.schema)
    }

    fn side_decreased(&self, now: Indexed<'_>, before: Indexed<'_>, schema_before: i32) -> bool {
        if self.uses_custom_buckets() {
            return decreased(now, before);
        }
        // A custom-bucket histogram before an exponential one: the count alone decides.
        if schema_before < self.schema {
            return false;
        }
        let threshold = self.zero_threshold;
        decreased(
            outside_zero(now, self.schema, threshold),
            Coarser::new(
                outside_zero(before, schema_before, threshold),
                schema_before - self.schema,
            ),
        )
    }
}

/// Whether a bucket has less than before, or is gone though it was populated.
fn decreased(
    now: impl Iterator<Item = (i32, f64)>,
    before: impl Iterator<Item = (i32, f64)>,
) -> bool {
    let mut now = now.peekable();
    for (index, count) in before {
        while now.next_if(|(at, _)| *at < index).is_some() {}
        let gone = match now.next_if(|(at, _)| *at == index) {
            Some((_, current)) => current < count,
            None => count != 0.0,
        };
        if gone {
            return true;
        }
    }
    false
}
