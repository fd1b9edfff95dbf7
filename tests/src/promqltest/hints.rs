//! What a store tells about counter resets when histograms are read back.
//!
//! A store that keeps counter histograms in chunks, each without a reset inside, knows of every
//! histogram but the first of a chunk that there was no reset before it.

use super::notation::Value;
use model::histogram::{FloatHistogram, ResetHint};

/// Sets the hints of a series' histograms to what a store would tell.
pub(super) fn as_stored(samples: &mut [(i64, i64, Value)]) {
    let mut before: Option<FloatHistogram> = None;
    for (_, _, value) in samples {
        let Value::Histogram(histogram, _) = value else {
            before = None;
            continue;
        };
        if histogram.reset_hint == ResetHint::Unknown
            && let Some(before) = &before
            && before.reset_hint != ResetHint::Gauge
            && before.schema == histogram.schema
            && before.zero_threshold == histogram.zero_threshold
            && before.custom_values == histogram.custom_values
            && !histogram.detect_reset(before)
        {
            histogram.reset_hint = ResetHint::NotReset;
        }
        before = Some((**histogram).clone());
    }
}
