//! Summing numbers and histograms without losing the small ones next to large ones.

use super::arithmetic::{Combined, IncompatibleSchemas, rebound_index, same_bounds, shared_bounds};
use super::bounds::exponential_bound;
use super::iterate::Indexed;
use super::layout::{Coarser, Side, coarser_index, outside_zero};
use super::{FloatHistogram, Span};

/// A sum of floats with the rounding error that it has lost so far (Neumaier's variant of Kahan's
/// summation).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct CompensatedFloat {
    /// The running sum.
    pub sum: f64,
    /// What is to be added to it in the end.
    pub lost: f64,
}

impl CompensatedFloat {
    /// Adds a number.
    #[inline]
    pub fn add(&mut self, number: f64) {
        let total = self.sum + number;
        if total.is_infinite() {
            self.lost = 0.0;
        } else if self.sum.abs() >= number.abs() {
            self.lost += (self.sum - total) + number;
        } else {
            self.lost += (number - total) + self.sum;
        }
        self.sum = total;
    }

    /// The sum with what was lost. An infinite sum stays what it is.
    #[must_use]
    #[inline]
    pub fn total(self) -> f64 {
        if self.sum.is_infinite() {
            self.sum
        } else {
            self.sum + self.lost
        }
    }
}

/// A sum of histograms where every number is a [`CompensatedFloat`].
#[derive(Clone, Debug)]
pub struct CompensatedHistogram {
    sum: FloatHistogram,
    /// What each number of `sum` has lost; buckets in the layout of `sum`.
    lost: FloatHistogram,
}

impl CompensatedHistogram {
    /// The sum of one histogram.
    #[must_use]
    pub fn new(first: FloatHistogram) -> Self {
        let mut lost = first.clone();
        lost.for_each_number(|number| *number = 0.0);
        Self { sum: first, lost }
    }

    /// Adds a histogram, with all that [`FloatHistogram::add`] does to bring layouts together.
    ///
    /// # Errors
    /// When only one of both has custom buckets. Nothing has changed then.
    pub fn add(&mut self, other: &FloatHistogram) -> Result<Combined, IncompatibleSchemas> {
        if self.sum.uses_custom_buckets() != other.uses_custom_buckets() {
            return Err(IncompatibleSchemas);
        }
        let reset_hints_collided = self.sum.combine_reset_hint(other.reset_hint);
        let mut bounds_reconciled = false;
        if self.sum.uses_custom_buckets() {
            let shared = if same_bounds(&self.sum.custom_values, &other.custom_values) {
                None
            } else {
                Some(shared_bounds(&self.sum.custom_values, &other.custom_values))
            };
            bounds_reconciled = shared.is_some();
            let (own, bounds) = (self.sum.custom_values.clone(), &other.custom_values);
            let shared_ref = shared.as_deref();
            self.add_positive(
                |index| shared_ref.map_or(index, |shared| rebound_index(index, &own, shared)),
                other.positive().map(|(index, count)| {
                    (
                        shared_ref.map_or(index, |shared| rebound_index(index, bounds, shared)),
                        count,
                    )
                }),
                other,
                bounds_reconciled,
            );
            if let Some(shared) = shared {
                self.sum.custom_values = shared;
            }
        } else {
            self.add_exponential(other);
        }
        add_at(&mut self.sum.count, &mut self.lost.count, other.count);
        add_at(&mut self.sum.sum, &mut self.lost.sum, other.sum);
        Ok(Combined {
            reset_hints_collided,
            bounds_reconciled,
        })
    }

    fn add_exponential(&mut self, other: &FloatHistogram) {
        let other_zero = self.reconcile_zero_bucket(other);
        add_at(
            &mut self.sum.zero_count,
            &mut self.lost.zero_count,
            other_zero,
        );
        let schema = self.sum.schema.min(other.schema);
        let (steps, other_steps) = (self.sum.schema - schema, other.schema - schema);
        let threshold = self.sum.zero_threshold;
        let outside =
            |buckets| Coarser::new(outside_zero(buckets, other.schema, threshold), other_steps);
        let relabel = move |index| {
            if steps == 0 {
                index
            } else {
                coarser_index(index, steps)
            }
        };
        self.add_positive(
            relabel,
            outside(other.positive()),
            other,
            steps != 0 || other_steps != 0,
        );
        let (spans, sums, lost) = add_side(
            (
                &self.sum.negative_spans,
                &self.sum.negative_buckets,
                &self.lost.negative_buckets,
            ),
            relabel,
            outside(other.negative()),
        );
        self.sum.negative_spans = spans;
        self.sum.negative_buckets = sums;
        self.lost.negative_buckets = lost;
        self.sum.schema = schema;
    }

    /// Adds to the positive (or custom) side, whose own indices become `relabel`led.
    fn add_positive(
        &mut self,
        relabel: impl Fn(i32) -> i32,
        buckets: impl Iterator<Item = (i32, f64)>,
        other: &FloatHistogram,
        relayout: bool,
    ) {
        let same = !relayout
            && self.sum.positive_spans == other.positive_spans
            && self.sum.zero_threshold == 0.0;
        if same && self.sum.positive_buckets.len() == other.positive_buckets.len() {
            for ((sum, lost), count) in self
                .sum
                .positive_buckets
                .iter_mut()
                .zip(&mut self.lost.positive_buckets)
                .zip(&other.positive_buckets)
            {
                add_at(sum, lost, *count);
            }
            return;
        }
        let (spans, sums, lost) = add_side(
            (
                &self.sum.positive_spans,
                &self.sum.positive_buckets,
                &self.lost.positive_buckets,
            ),
            relabel,
            buckets,
        );
        self.sum.positive_spans = spans;
        self.sum.positive_buckets = sums;
        self.lost.positive_buckets = lost;
    }

    /// As for plain addition; what was lost follows the counts it belongs to.
    fn reconcile_zero_bucket(&mut self, other: &FloatHistogram) -> f64 {
        let (mut count, mut threshold) = (other.zero_count, other.zero_threshold);
        while threshold != self.sum.zero_threshold {
            if self.sum.zero_threshold > threshold {
                (count, threshold) = other.zero_count_at(self.sum.zero_threshold);
            }
            if threshold > self.sum.zero_threshold {
                self.widen_zero_bucket(threshold);
            }
            if threshold.is_nan() || self.sum.zero_threshold.is_nan() {
                break;
            }
        }
        count
    }

    fn widen_zero_bucket(&mut self, threshold: f64) {
        let (_, threshold) = self.sum.zero_count_at(threshold);
        self.sum.zero_threshold = threshold;
        let schema = self.sum.schema;
        let zero = (&mut self.sum.zero_count, &mut self.lost.zero_count);
        for (spans, sums, lost) in [
            (
                &mut self.sum.positive_spans,
                &mut self.sum.positive_buckets,
                &mut self.lost.positive_buckets,
            ),
            (
                &mut self.sum.negative_spans,
                &mut self.sum.negative_buckets,
                &mut self.lost.negative_buckets,
            ),
        ] {
            let mut side = Side::with_capacity(sums.len());
            let mut kept_lost = Vec::with_capacity(lost.len());
            for ((index, count), lost) in Indexed::new(spans, sums).zip(lost.iter()) {
                if exponential_bound(index.wrapping_sub(1), schema) < threshold {
                    add_at(zero.0, zero.1, count);
                    *zero.1 += lost;
                } else {
                    side.push(index, count);
                    kept_lost.push(*lost);
                }
            }
            *spans = side.spans;
            *sums = side.counts;
            *lost = kept_lost;
        }
    }

    /// Multiplies every number.
    pub fn scale(&mut self, factor: f64) {
        self.sum.scale(factor);
        self.lost.scale(factor);
    }

    /// Divides every number.
    pub fn divide(&mut self, divisor: f64) {
        self.sum.divide(divisor);
        self.lost.divide(divisor);
    }

    /// Whether any number became infinite.
    #[must_use]
    pub fn has_overflow(&self) -> bool {
        self.sum.has_overflow()
    }

    /// The sum, with what was lost added back.
    #[must_use]
    pub fn total(self) -> FloatHistogram {
        let Self { mut sum, lost } = self;
        sum.zero_count += lost.zero_count;
        sum.count += lost.count;
        sum.sum += lost.sum;
        for (sum, lost) in sum.positive_buckets.iter_mut().zip(lost.positive_buckets) {
            *sum += lost;
        }
        for (sum, lost) in sum.negative_buckets.iter_mut().zip(lost.negative_buckets) {
            *sum += lost;
        }
        sum
    }
}

fn add_at(sum: &mut f64, lost: &mut f64, number: f64) {
    let mut both = CompensatedFloat {
        sum: *sum,
        lost: *lost,
    };
    both.add(number);
    *sum = both.sum;
    *lost = both.lost;
}

/// One side plus more buckets, with the losses.
fn add_side(
    (spans, sums, lost): (&[Span], &[f64], &[f64]),
    relabel: impl Fn(i32) -> i32,
    buckets: impl Iterator<Item = (i32, f64)>,
) -> (Vec<Span>, Vec<f64>, Vec<f64>) {
    let mut side = Side::with_capacity(sums.len());
    let mut losses = Vec::with_capacity(sums.len());
    let mut put = |index: i32, number: f64, loss: f64| {
        if side.extend_to(index) {
            side.counts.push(number);
            losses.push(loss);
        } else if let (Some(sum), Some(lost)) = (side.counts.last_mut(), losses.last_mut()) {
            add_at(sum, lost, number);
            *lost += loss;
        }
    };
    let mut own = Indexed::new(spans, sums)
        .zip(lost)
        .map(|((index, sum), lost)| (relabel(index), sum, *lost))
        .peekable();
    for (index, count) in buckets {
        while let Some((at, sum, lost)) = own.next_if(|(at, ..)| *at <= index) {
            put(at, sum, lost);
        }
        put(index, count, 0.0);
    }
    for (at, sum, lost) in own {
        put(at, sum, lost);
    }
    (side.spans, side.counts, losses)
}
