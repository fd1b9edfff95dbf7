//! Refusing histograms that contradict themselves, before anything computes with them.

use thiserror::Error;

use super::{
    CUSTOM_BUCKETS_SCHEMA, FloatHistogram, IntHistogram, MAX_EXPONENTIAL_SCHEMA,
    MIN_EXPONENTIAL_SCHEMA, Span,
};
use crate::error::ErrorKind;

/// The most buckets that either side of a histogram may cover. The finest schema has 524 thousand
/// distinct indices; no useful histogram comes near this number.
pub const MAX_BUCKETS_PER_SIDE: usize = 65_536;

/// Bucket indices beyond this denote no float at any schema.
const MAX_INDEX: i64 = 1 << 20;

/// Why a histogram is refused.
#[derive(Clone, Debug, Error, PartialEq)]
pub enum HistogramError {
    /// The schema is not one of those that exist.
    #[error("histogram has the unknown schema {0}: known are -4 to 8 and -53")]
    UnknownSchema(i32),
    /// Spans say another number of buckets than there are.
    #[error("{side} spans of the histogram need {expected} buckets, it has {got}")]
    SpanMismatch {
        /// `positive` or `negative`.
        side: &'static str,
        /// What the spans cover.
        expected: u64,
        /// What is there.
        got: usize,
    },
    /// A span after the first begins before the one before ended, or far outside of all numbers.
    #[error(
        "{side} span number {number} of the histogram has the offset {offset}, which is out of range"
    )]
    SpanOffset {
        /// `positive` or `negative`.
        side: &'static str,
        /// Which span, from 1.
        number: usize,
        /// Its offset.
        offset: i32,
    },
    /// More buckets than a histogram may have.
    #[error("histogram has {got} {side} buckets, more than {MAX_BUCKETS_PER_SIDE}")]
    TooManyBuckets {
        /// `positive` or `negative`.
        side: &'static str,
        /// How many.
        got: u64,
    },
    /// A bucket with less than no observations.
    #[error(
        "{side} bucket number {number} of the histogram has the observation count {count}, which is negative"
    )]
    NegativeBucket {
        /// `positive`, `negative` or `zero`.
        side: &'static str,
        /// Which bucket, from 1.
        number: usize,
        /// Its count.
        count: f64,
    },
    /// Less than no observations at all.
    #[error("histogram has the observation count {0}, which is negative")]
    NegativeCount(f64),
    /// The buckets do not add up to the count.
    #[error("buckets of the histogram add up to {buckets} observations, its count is {count}")]
    CountMismatch {
        /// The sum of the buckets.
        buckets: u64,
        /// The count.
        count: u64,
    },
    /// Custom bounds that do not ascend, or that are no numbers; only the first may be -Inf.
    #[error(
        "custom bound number {number} of the histogram is {bound}, which does not ascend or is no finite number"
    )]
    CustomBounds {
        /// Which bound, from 1.
        number: usize,
        /// The bound.
        bound: f64,
    },
    /// More buckets than custom bounds allow.
    #[error("histogram with {bounds} custom bounds has a bucket with the index {index}")]
    CustomIndex {
        /// How many bounds there are.
        bounds: usize,
        /// The highest index.
        index: i64,
    },
    /// A custom-bucket histogram with a zero bucket or negative buckets, or the reverse.
    #[error("histogram with schema {schema} must not have {what}")]
    Misplaced {
        /// The schema.
        schema: i32,
        /// What does not belong there.
        what: &'static str,
    },
    /// The zero bucket has a width that is none.
    #[error("histogram has the zero threshold {0}, which is no width")]
    ZeroThreshold(f64),
}

impl HistogramError {
    /// Always [`ErrorKind::Invalid`]: sending it again does not help.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        ErrorKind::Invalid
    }
}

/// Everything about a histogram but its counts.
struct Shape<'a> {
    schema: i32,
    zero_threshold: f64,
    zero_is_empty: bool,
    positive: (&'a [Span], usize),
    negative: (&'a [Span], usize),
    custom_values: &'a [f64],
}

impl Shape<'_> {
    fn validate(&self) -> Result<(), HistogramError> {
        let misplaced = |what| {
            Err(HistogramError::Misplaced {
                schema: self.schema,
                what,
            })
        };
        let last = check_spans("positive", self.positive.0, self.positive.1)?;
        check_spans("negative", self.negative.0, self.negative.1)?;
        if self.schema == CUSTOM_BUCKETS_SCHEMA {
            if !self.zero_is_empty || self.zero_threshold != 0.0 {
                return misplaced("a zero bucket");
            }
            if !self.negative.0.is_empty() || self.negative.1 > 0 {
                return misplaced("negative buckets");
            }
            check_bounds(self.custom_values)?;
            if self.positive.0.first().is_some_and(|span| span.offset < 0) {
                return Err(HistogramError::SpanOffset {
                    side: "positive",
                    number: 1,
                    offset: self.positive.0[0].offset,
                });
            }
            if let Some(index) = last.filter(|index| *index > self.custom_values.len() as i64) {
                return Err(HistogramError::CustomIndex {
                    bounds: self.custom_values.len(),
                    index,
                });
            }
            return Ok(());
        }
        if !(MIN_EXPONENTIAL_SCHEMA..=MAX_EXPONENTIAL_SCHEMA).contains(&self.schema) {
            return Err(HistogramError::UnknownSchema(self.schema));
        }
        if !self.custom_values.is_empty() {
            return misplaced("custom bounds");
        }
        if self.zero_threshold.is_nan()
            || self.zero_threshold < 0.0
            || self.zero_threshold.is_infinite()
        {
            return Err(HistogramError::ZeroThreshold(self.zero_threshold));
        }
        Ok(())
    }
}

/// The last index of a side.
fn check_spans(
    side: &'static str,
    spans: &[Span],
    buckets: usize,
) -> Result<Option<i64>, HistogramError> {
    let mut end = 0i64;
    let mut covered = 0u64;
    for (i, span) in spans.iter().enumerate() {
        end += i64::from(span.offset);
        if i > 0 && span.offset < 0 || end.abs() > MAX_INDEX {
            return Err(HistogramError::SpanOffset {
                side,
                number: i + 1,
                offset: span.offset,
            });
        }
        end += i64::from(span.length);
        covered += u64::from(span.length);
        if covered > MAX_BUCKETS_PER_SIDE as u64 {
            return Err(HistogramError::TooManyBuckets { side, got: covered });
        }
    }
    if covered != buckets as u64 {
        return Err(HistogramError::SpanMismatch {
            side,
            expected: covered,
            got: buckets,
        });
    }
    Ok((covered > 0).then_some(end - 1))
}

fn check_bounds(bounds: &[f64]) -> Result<(), HistogramError> {
    if bounds.len() > MAX_BUCKETS_PER_SIDE {
        return Err(HistogramError::TooManyBuckets {
            side: "custom",
            got: bounds.len() as u64,
        });
    }
    let mut before = f64::NEG_INFINITY;
    for (i, &bound) in bounds.iter().enumerate() {
        let ascends = bound > before || (i == 0 && bound == f64::NEG_INFINITY);
        if !ascends || bound == f64::INFINITY {
            return Err(HistogramError::CustomBounds {
                number: i + 1,
                bound,
            });
        }
        before = bound;
    }
    Ok(())
}

fn check_counts(side: &'static str, counts: &[f64]) -> Result<(), HistogramError> {
    match counts.iter().position(|count| *count < 0.0) {
        Some(at) => Err(HistogramError::NegativeBucket {
            side,
            number: at + 1,
            count: counts[at],
        }),
        None => Ok(()),
    }
}

impl FloatHistogram {
    /// Checks that spans, buckets and bounds belong together and that no count is negative. The
    /// count is not compared with the buckets, as rounding may part them.
    ///
    /// # Errors
    /// The first contradiction.
    pub fn validate(&self) -> Result<(), HistogramError> {
        Shape {
            schema: self.schema,
            zero_threshold: self.zero_threshold,
            zero_is_empty: self.zero_count == 0.0,
            positive: (&self.positive_spans, self.positive_buckets.len()),
            negative: (&self.negative_spans, self.negative_buckets.len()),
            custom_values: &self.custom_values,
        }
        .validate()?;
        check_counts("negative", &self.negative_buckets)?;
        check_counts("zero", &[self.zero_count])?;
        check_counts("positive", &self.positive_buckets)?;
        if self.count < 0.0 {
            return Err(HistogramError::NegativeCount(self.count));
        }
        Ok(())
    }
}

impl IntHistogram {
    /// Checks that spans, buckets and bounds belong together, that no count is negative, and that
    /// the buckets add up to the count (or to less where NaN was observed).
    ///
    /// # Errors
    /// The first contradiction.
    pub fn validate(&self) -> Result<(), HistogramError> {
        Shape {
            schema: self.schema,
            zero_threshold: self.zero_threshold,
            zero_is_empty: self.zero_count == 0,
            positive: (&self.positive_spans, self.positive_deltas.len()),
            negative: (&self.negative_spans, self.negative_deltas.len()),
            custom_values: &self.custom_values,
        }
        .validate()?;
        let buckets = sum_deltas("negative", &self.negative_deltas)?
            .saturating_add(sum_deltas("positive", &self.positive_deltas)?)
            .saturating_add(self.zero_count);
        let fits = if self.sum.is_nan() {
            buckets <= self.count
        } else {
            buckets == self.count
        };
        if fits {
            Ok(())
        } else {
            Err(HistogramError::CountMismatch {
                buckets,
                count: self.count,
            })
        }
    }
}

fn sum_deltas(side: &'static str, deltas: &[i64]) -> Result<u64, HistogramError> {
    let mut current = 0i64;
    let mut sum = 0u64;
    for (i, delta) in deltas.iter().enumerate() {
        current = current.saturating_add(*delta);
        let count = u64::try_from(current).map_err(|_| HistogramError::NegativeBucket {
            side,
            number: i + 1,
            count: current as f64,
        })?;
        sum = sum.saturating_add(count);
    }
    Ok(sum)
}
