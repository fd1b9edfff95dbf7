//! Adding, subtracting and scaling histograms.
//!
//! Two exponential histograms meet at the lower of their schemas and at a zero bucket wide enough
//! for both; two custom-bucket histograms meet at the bounds they share. An exponential and a
//! custom-bucket histogram have no sum.

use thiserror::Error;

use super::bounds::exponential_bound;
use super::iterate::Indexed;
use super::layout::{Coarser, Side, compact, merge, outside_zero};
use super::{FloatHistogram, IntHistogram, ResetHint, Span};

/// An exponential and a custom-bucket histogram were to be combined.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("histograms with exponential and custom buckets cannot be combined")]
pub struct IncompatibleSchemas;

/// What a user should hear about a combination of two histograms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Combined {
    /// One said that the counter was reset before it, the other that it was not.
    pub reset_hints_collided: bool,
    /// Custom bounds differed, and those not in both were dropped.
    pub bounds_reconciled: bool,
}

impl Combined {
    /// What is true of either.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            reset_hints_collided: self.reset_hints_collided || other.reset_hints_collided,
            bounds_reconciled: self.bounds_reconciled || other.bounds_reconciled,
        }
    }
}

impl From<&IntHistogram> for FloatHistogram {
    fn from(from: &IntHistogram) -> Self {
        let absolute = |deltas: &[i64]| {
            let mut current = 0i64;
            deltas
                .iter()
                .map(|delta| {
                    current = current.wrapping_add(*delta);
                    current as f64
                })
                .collect()
        };
        Self {
            reset_hint: from.reset_hint,
            schema: from.schema,
            zero_threshold: from.zero_threshold,
            zero_count: from.zero_count as f64,
            count: from.count as f64,
            sum: from.sum,
            positive_spans: from.positive_spans.clone(),
            negative_spans: from.negative_spans.clone(),
            positive_buckets: absolute(&from.positive_deltas),
            negative_buckets: absolute(&from.negative_deltas),
            custom_values: from.custom_values.clone(),
        }
    }
}

impl FloatHistogram {
    /// Whether the buckets have bounds of their own instead of exponential ones.
    #[must_use]
    pub fn uses_custom_buckets(&self) -> bool {
        self.schema == super::CUSTOM_BUCKETS_SCHEMA
    }

    /// Multiplies all counts and the sum. A negative factor makes a gauge of it.
    pub fn scale(&mut self, factor: f64) {
        self.for_each_number(|number| *number *= factor);
        if factor < 0.0 {
            self.reset_hint = ResetHint::Gauge;
        }
    }

    /// Divides all counts and the sum. Division by zero leaves no buckets; a negative divisor makes
    /// a gauge of it.
    pub fn divide(&mut self, divisor: f64) {
        self.for_each_number(|number| *number /= divisor);
        if divisor == 0.0 {
            self.positive_spans.clear();
            self.positive_buckets.clear();
            self.negative_spans.clear();
            self.negative_buckets.clear();
        } else if divisor < 0.0 {
            self.reset_hint = ResetHint::Gauge;
        }
    }

    pub(super) fn for_each_number(&mut self, mut change: impl FnMut(&mut f64)) {
        change(&mut self.zero_count);
        change(&mut self.count);
        change(&mut self.sum);
        self.positive_buckets.iter_mut().for_each(&mut change);
        self.negative_buckets.iter_mut().for_each(&mut change);
    }

    /// Whether any count or the sum is infinite.
    #[must_use]
    pub fn has_overflow(&self) -> bool {
        let infinite = |number: &f64| number.is_infinite();
        infinite(&self.zero_count)
            || infinite(&self.count)
            || infinite(&self.sum)
            || self.positive_buckets.iter().any(infinite)
            || self.negative_buckets.iter().any(infinite)
    }

    /// Drops empty buckets and joins spans without a gap.
    pub fn compact(&mut self) {
        compact(&mut self.positive_spans, &mut self.positive_buckets);
        compact(&mut self.negative_spans, &mut self.negative_buckets);
    }

    /// Adds another histogram.
    ///
    /// # Errors
    /// When only one of both has custom buckets. Nothing has changed then.
    pub fn add(&mut self, other: &Self) -> Result<Combined, IncompatibleSchemas> {
        self.combine(other, 1.0)
    }

    /// Subtracts another histogram. The reset hint becomes what it becomes in [`Self::add`]; the
    /// operator `-` of queries makes a gauge of the result afterwards.
    ///
    /// # Errors
    /// When only one of both has custom buckets. Nothing has changed then.
    pub fn sub(&mut self, other: &Self) -> Result<Combined, IncompatibleSchemas> {
        self.combine(other, -1.0)
    }

    fn combine(&mut self, other: &Self, sign: f64) -> Result<Combined, IncompatibleSchemas> {
        if self.uses_custom_buckets() != other.uses_custom_buckets() {
            return Err(IncompatibleSchemas);
        }
        let reset_hints_collided = self.combine_reset_hint(other.reset_hint);
        let mut bounds_reconciled = false;
        if self.uses_custom_buckets() {
            bounds_reconciled = !same_bounds(&self.custom_values, &other.custom_values);
            if bounds_reconciled {
                let shared = shared_bounds(&self.custom_values, &other.custom_values);
                let a = rebound(self.positive(), &self.custom_values, &shared);
                let b = rebound(other.positive(), &other.custom_values, &shared);
                let side = merge(a.indexed(), b.indexed(), sign);
                self.positive_spans = side.spans;
                self.positive_buckets = side.counts;
                self.custom_values = shared;
                compact(&mut self.positive_spans, &mut self.positive_buckets);
            } else {
                combine_side(
                    (&mut self.positive_spans, &mut self.positive_buckets),
                    (&other.positive_spans, &other.positive_buckets),
                    (0, 0),
                    (other.schema, 0.0),
                    sign,
                );
            }
        } else {
            self.zero_count += sign * self.reconcile_zero_bucket(other);
            let schema = self.schema.min(other.schema);
            let steps = (self.schema - schema, other.schema - schema);
            let zero = (other.schema, self.zero_threshold);
            combine_side(
                (&mut self.positive_spans, &mut self.positive_buckets),
                (&other.positive_spans, &other.positive_buckets),
                steps,
                zero,
                sign,
            );
            combine_side(
                (&mut self.negative_spans, &mut self.negative_buckets),
                (&other.negative_spans, &other.negative_buckets),
                steps,
                zero,
                sign,
            );
            self.schema = schema;
        }
        self.count += sign * other.count;
        self.sum += sign * other.sum;
        Ok(Combined {
            reset_hints_collided,
            bounds_reconciled,
        })
    }

    /// Settles the hint of a combination; whether the hints contradict each other.
    pub(super) fn combine_reset_hint(&mut self, other: ResetHint) -> bool {
        let (hint, collided) = match (self.reset_hint, other) {
            (own, other) if own == other => (own, false),
            (ResetHint::Gauge, _) | (_, ResetHint::Gauge) => (ResetHint::Gauge, false),
            (ResetHint::Unknown, _) | (_, ResetHint::Unknown) => (ResetHint::Unknown, false),
            _ => (ResetHint::Unknown, true),
        };
        self.reset_hint = hint;
        collided
    }

    /// The same observations in a lower schema, without a reset hint where that is a change. A
    /// schema that is not lower, and custom buckets, stay as they are.
    #[must_use]
    pub fn copy_to_schema(&self, schema: i32) -> Self {
        if self.uses_custom_buckets() || schema >= self.schema {
            return self.clone();
        }
        let mut copy = Self {
            reset_hint: ResetHint::Unknown,
            ..self.clone()
        };
        copy.reduce_to_schema(schema);
        copy
    }

    /// Merges buckets so that they have a lower schema. A schema that is not lower, and custom
    /// buckets, stay as they are.
    pub fn reduce_to_schema(&mut self, schema: i32) {
        let schema = schema.max(super::MIN_EXPONENTIAL_SCHEMA);
        if self.uses_custom_buckets() || schema >= self.schema {
            return;
        }
        let steps = self.schema - schema;
        for (spans, counts) in [
            (&mut self.positive_spans, &mut self.positive_buckets),
            (&mut self.negative_spans, &mut self.negative_buckets),
        ] {
            let mut side = Side::with_capacity(counts.len());
            for (index, count) in Coarser::new(Indexed::new(spans, counts), steps) {
                side.push(index, count);
            }
            *spans = side.spans;
            *counts = side.counts;
        }
        self.schema = schema;
    }

    /// The zero count if the zero bucket were wider, and how wide it then is: a threshold within a
    /// populated bucket moves to the end of that bucket. Never less than the current threshold.
    #[must_use]
    pub fn zero_count_at(&self, threshold: f64) -> (f64, f64) {
        let mut threshold = threshold.max(self.zero_threshold);
        if threshold == self.zero_threshold {
            return (self.zero_count, threshold);
        }
        loop {
            let (positive, end) = swallowed(self.positive(), self.schema, threshold);
            let (negative, wider) = swallowed(self.negative(), self.schema, end);
            threshold = wider;
            // Widening on the negative side may reach further positive buckets.
            if wider == end {
                return (self.zero_count + positive + negative, threshold);
            }
        }
    }

    /// Widens the own zero bucket until neither threshold lies within a populated bucket of the
    /// other histogram; what the zero count of the other would then be.
    fn reconcile_zero_bucket(&mut self, other: &Self) -> f64 {
        let mut count = other.zero_count;
        let mut threshold = other.zero_threshold;
        while threshold != self.zero_threshold {
            if self.zero_threshold > threshold {
                (count, threshold) = other.zero_count_at(self.zero_threshold);
            }
            if threshold > self.zero_threshold {
                self.widen_zero_bucket(threshold);
            }
            if threshold.is_nan() || self.zero_threshold.is_nan() {
                break;
            }
        }
        count
    }

    /// Moves what lies within a wider zero bucket into it.
    pub(super) fn widen_zero_bucket(&mut self, threshold: f64) {
        let (count, threshold) = self.zero_count_at(threshold);
        self.zero_count = count;
        self.zero_threshold = threshold;
        for (spans, counts) in [
            (&mut self.positive_spans, &mut self.positive_buckets),
            (&mut self.negative_spans, &mut self.negative_buckets),
        ] {
            let mut side = Side::with_capacity(counts.len());
            for (index, count) in Indexed::new(spans, counts) {
                if exponential_bound(index.wrapping_sub(1), self.schema) >= threshold
                    && count != 0.0
                {
                    side.push(index, count);
                }
            }
            *spans = side.spans;
            *counts = side.counts;
        }
    }

    /// Whether both are the same data: bit by bit, so that NaN equals NaN, and without regard to
    /// how gaps between buckets are written or to reset hints.
    #[must_use]
    pub fn same_as(&self, other: &Self) -> bool {
        let bits = |a: f64, b: f64| a.to_bits() == b.to_bits();
        let side = |a: Indexed<'_>, b: Indexed<'_>| {
            a.size_hint() == b.size_hint() && a.zip(b).all(|(a, b)| a.0 == b.0 && bits(a.1, b.1))
        };
        self.schema == other.schema
            && bits(self.count, other.count)
            && bits(self.sum, other.sum)
            && bits(self.zero_count, other.zero_count)
            && self.zero_threshold == other.zero_threshold
            && (!self.uses_custom_buckets()
                || same_bounds(&self.custom_values, &other.custom_values))
            && side(self.positive(), other.positive())
            && side(self.negative(), other.negative())
    }
}

/// What a zero bucket up to `threshold` takes in of one side, and where it must end so as not to
/// end within a populated bucket.
fn swallowed(side: Indexed<'_>, schema: i32, threshold: f64) -> (f64, f64) {
    let mut sum = 0.0;
    for (index, count) in side {
        if exponential_bound(index.wrapping_sub(1), schema) >= threshold {
            break;
        }
        sum += count;
        let end = exponential_bound(index, schema);
        if end > threshold {
            return (sum, if count != 0.0 { end } else { threshold });
        }
    }
    (sum, threshold)
}

/// Adds `sign` times one side to another. `steps` are those of either to the schema at which they
/// meet; `zero` is the schema of `b` and the zero threshold, within which `b` is left out.
fn combine_side(
    (spans, counts): (&mut Vec<Span>, &mut Vec<f64>),
    b: (&[Span], &[f64]),
    (steps, b_steps): (i32, i32),
    zero: (i32, f64),
    sign: f64,
) {
    let skips = zero.1 > 0.0
        && b.0
            .first()
            .is_some_and(|span| exponential_bound(span.offset, zero.0) <= zero.1);
    // Successive samples of one series mostly have the same layout.
    let same = spans.as_slice() == b.0 && counts.len() == b.1.len();
    if steps == 0 && b_steps == 0 && !skips && same {
        for (count, other) in counts.iter_mut().zip(b.1) {
            *count += sign * other;
        }
        return;
    }
    let side = merge(
        Coarser::new(Indexed::new(spans, counts), steps),
        Coarser::new(
            outside_zero(Indexed::new(b.0, b.1), zero.0, zero.1),
            b_steps,
        ),
        sign,
    );
    *spans = side.spans;
    *counts = side.counts;
}

/// Whether custom bounds are the same.
#[must_use]
pub(super) fn same_bounds(a: &[f64], b: &[f64]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a == b)
}

/// The bounds that are in both.
pub(super) fn shared_bounds(a: &[f64], b: &[f64]) -> Vec<f64> {
    let mut b = b.iter().copied().peekable();
    let mut shared = Vec::new();
    for &bound in a {
        while b.next_if(|other| *other < bound).is_some() {}
        if b.next_if(|other| *other == bound).is_some() {
            shared.push(bound);
        }
    }
    shared
}

/// Custom buckets over fewer bounds.
pub(super) fn rebound(buckets: Indexed<'_>, bounds: &[f64], shared: &[f64]) -> Side {
    let mut side = Side::default();
    for (index, count) in buckets {
        side.push(rebound_index(index, bounds, shared), count);
    }
    side
}

/// The bucket over `shared` that the bucket with this index over `bounds` falls into.
pub(super) fn rebound_index(index: i32, bounds: &[f64], shared: &[f64]) -> i32 {
    let bound = usize::try_from(index)
        .ok()
        .and_then(|index| bounds.get(index));
    bound.map_or(shared.len(), |bound| {
        shared.partition_point(|kept| kept < bound)
    }) as i32
}

impl Side {
    pub(super) fn indexed(&self) -> Indexed<'_> {
        Indexed::new(&self.spans, &self.counts)
    }
}
