//! Native histograms: integer ones as they come in, float ones as queries use them.

mod bounds;
mod iterate;
mod layout;
mod validate;
mod arithmetic;
mod kahan;
mod reset;
mod quantile;
mod trim;
mod display;
#[cfg(test)]
mod tests;

pub use arithmetic::{Combined, IncompatibleSchemas};
pub use bounds::{exponential_bound, upper_bound};
pub use display::ByLimits;
pub use iterate::{Bucket, Buckets, Indexed};
pub use kahan::{CompensatedFloat, CompensatedHistogram};
pub use quantile::NanEffect;
pub use trim::Keep;
pub use validate::{HistogramError, MAX_BUCKETS_PER_SIDE};

use crate::time::TimestampMs;

/// The coarsest exponential schema.
pub const MIN_EXPONENTIAL_SCHEMA: i32 = -4;

/// The finest exponential schema.
pub const MAX_EXPONENTIAL_SCHEMA: i32 = 8;

/// The schema of histograms with custom bucket bounds.
pub const CUSTOM_BUCKETS_SCHEMA: i32 = -53;

/// A run of consecutive buckets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Gap to the previous span (to bucket 0 for the first), in buckets.
    pub offset: i32,
    /// Number of buckets in the run.
    pub length: u32,
}

/// What is known about a counter reset at a histogram sample.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ResetHint {
    /// Nothing: compare with the sample before.
    #[default]
    Unknown,
    /// The counter was reset before this sample.
    Reset,
    /// It was not.
    NotReset,
    /// A gauge histogram: resets make no sense.
    Gauge,
}

/// An integer histogram, as scraped. Buckets are deltas to the bucket before.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct IntHistogram {
    /// What is known about a reset.
    pub reset_hint: ResetHint,
    /// Resolution: -4 to 8 for exponential buckets, -53 for custom ones.
    pub schema: i32,
    /// Observations up to this absolute value count as zero.
    pub zero_threshold: f64,
    /// Observations in the zero bucket.
    pub zero_count: u64,
    /// All observations.
    pub count: u64,
    /// Sum of all observations.
    pub sum: f64,
    /// Where the positive buckets lie.
    pub positive_spans: Vec<Span>,
    /// Where the negative buckets lie.
    pub negative_spans: Vec<Span>,
    /// Positive buckets: the first absolute, then differences.
    pub positive_deltas: Vec<i64>,
    /// Negative buckets likewise.
    pub negative_deltas: Vec<i64>,
    /// Upper bounds of custom buckets, ascending, without +Inf.
    pub custom_values: Vec<f64>,
}

/// A float histogram. Buckets are absolute counts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FloatHistogram {
    /// What is known about a reset.
    pub reset_hint: ResetHint,
    /// Resolution: -4 to 8 for exponential buckets, -53 for custom ones.
    pub schema: i32,
    /// Observations up to this absolute value count as zero.
    pub zero_threshold: f64,
    /// Observations in the zero bucket.
    pub zero_count: f64,
    /// All observations.
    pub count: f64,
    /// Sum of all observations.
    pub sum: f64,
    /// Where the positive buckets lie.
    pub positive_spans: Vec<Span>,
    /// Where the negative buckets lie.
    pub negative_spans: Vec<Span>,
    /// Counts of the positive buckets.
    pub positive_buckets: Vec<f64>,
    /// Counts of the negative buckets.
    pub negative_buckets: Vec<f64>,
    /// Upper bounds of custom buckets, ascending, without +Inf.
    pub custom_values: Vec<f64>,
}

/// A histogram of either kind.
#[derive(Clone, Debug, PartialEq)]
pub enum Histogram {
    /// Integer counts.
    Int(Box<IntHistogram>),
    /// Float counts.
    Float(Box<FloatHistogram>),
}

/// One histogram sample. A stale marker is a histogram whose sum is the stale NaN.
#[derive(Clone, Debug, PartialEq)]
pub struct HistogramSample {
    /// When it was taken.
    pub t: TimestampMs,
    /// When the counter behind it started; 0 where unknown.
    pub start: TimestampMs,
    /// The histogram.
    pub histogram: Histogram,
}
