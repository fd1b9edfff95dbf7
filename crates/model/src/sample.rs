//! Float samples and the stale marker.

use crate::time::TimestampMs;

/// The bits of the NaN that says 'this series ended here'. Any other NaN is a value.
pub const STALE_NAN_BITS: u64 = 0x7ff0_0000_0000_0002;

/// Whether a value is the stale marker.
#[inline]
pub fn is_stale(value: f64) -> bool {
    value.to_bits() == STALE_NAN_BITS
}

/// The stale marker.
#[inline]
pub fn stale_nan() -> f64 {
    f64::from_bits(STALE_NAN_BITS)
}

/// One float sample.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sample {
    /// When it was taken.
    pub t: TimestampMs,
    /// Its value, any bit pattern.
    pub v: f64,
    /// When the counter behind it started; 0 where unknown.
    pub start: TimestampMs,
}
