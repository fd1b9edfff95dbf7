//! Walking over the buckets of a histogram, from either end, without allocating.

use super::bounds::upper_bound;
use super::{FloatHistogram, Span};

/// One bucket with its limits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bucket {
    /// The lower limit.
    pub lower: f64,
    /// The upper limit.
    pub upper: f64,
    /// Whether the lower limit itself belongs to the bucket.
    pub lower_inclusive: bool,
    /// Whether the upper limit itself belongs to the bucket.
    pub upper_inclusive: bool,
    /// Observations in it.
    pub count: f64,
    /// Its index within the schema and sign; 0 for the zero bucket.
    pub index: i32,
}

/// The `(index, count)` pairs of one side of a histogram, ascending by index.
///
/// Where spans and counts do not belong together, what both cover is walked over.
#[derive(Clone, Debug)]
pub struct Indexed<'a> {
    spans: &'a [Span],
    counts: &'a [f64],
    /// Where the front stands: the span, how far into it, and the index of the next bucket.
    front_span: usize,
    front_taken: u32,
    front_index: i32,
    /// Where the back stands: one past the span, how much of it is left, one past its last index.
    back_span: usize,
    back_left: u32,
    back_index: i32,
}

impl<'a> Indexed<'a> {
    /// Walks over counts that lie where the spans say.
    #[must_use]
    pub fn new(spans: &'a [Span], counts: &'a [f64]) -> Self {
        let mut end = 0i32;
        let mut covered = 0u64;
        for span in spans {
            end = end
                .wrapping_add(span.offset)
                .wrapping_add(span.length as i32);
            covered += u64::from(span.length);
        }
        let counts = &counts[..counts
            .len()
            .min(usize::try_from(covered).unwrap_or(usize::MAX))];
        let mut walk = Self {
            spans,
            counts,
            front_span: 0,
            front_taken: 0,
            front_index: spans.first().map_or(0, |span| span.offset),
            back_span: spans.len(),
            back_left: spans.last().map_or(0, |span| span.length),
            back_index: end,
        };
        let mut uncounted = covered - counts.len() as u64;
        while uncounted > 0 {
            walk.settle_back();
            let step = uncounted.min(u64::from(walk.back_left)) as u32;
            walk.back_left -= step;
            walk.back_index = walk.back_index.wrapping_sub(step as i32);
            uncounted -= u64::from(step);
        }
        walk
    }

    /// Moves the back into the next span before it that has buckets left.
    fn settle_back(&mut self) {
        while self.back_left == 0 && self.back_span > 1 {
            self.back_index = self
                .back_index
                .wrapping_sub(self.spans[self.back_span - 1].offset);
            self.back_span -= 1;
            self.back_left = self.spans[self.back_span - 1].length;
        }
    }
}

impl Iterator for Indexed<'_> {
    type Item = (i32, f64);

    fn next(&mut self) -> Option<(i32, f64)> {
        let (&count, rest) = self.counts.split_first()?;
        while self.front_taken >= self.spans[self.front_span].length {
            self.front_span += 1;
            self.front_taken = 0;
            self.front_index = self
                .front_index
                .wrapping_add(self.spans[self.front_span].offset);
        }
        self.counts = rest;
        let index = self.front_index;
        self.front_taken += 1;
        self.front_index = index.wrapping_add(1);
        Some((index, count))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.counts.len(), Some(self.counts.len()))
    }
}

impl DoubleEndedIterator for Indexed<'_> {
    fn next_back(&mut self) -> Option<(i32, f64)> {
        let (&count, rest) = self.counts.split_last()?;
        self.settle_back();
        self.counts = rest;
        self.back_left = self.back_left.saturating_sub(1);
        self.back_index = self.back_index.wrapping_sub(1);
        Some((self.back_index, count))
    }
}

impl FloatHistogram {
    /// The positive buckets as `(index, count)`, towards +Inf. Custom buckets are all here.
    #[must_use]
    pub fn positive(&self) -> Indexed<'_> {
        Indexed::new(&self.positive_spans, &self.positive_buckets)
    }

    /// The negative buckets as `(index, count)`, towards -Inf.
    #[must_use]
    pub fn negative(&self) -> Indexed<'_> {
        Indexed::new(&self.negative_spans, &self.negative_buckets)
    }

    /// All buckets from -Inf to +Inf, the zero bucket among them if it is populated. A bucket that
    /// reaches into the zero bucket is cut off there.
    #[must_use]
    pub fn buckets(&self) -> Buckets<'_> {
        Buckets {
            histogram: self,
            negative: self.negative(),
            zero: self.zero_count > 0.0,
            positive: self.positive(),
        }
    }

    /// The limits of a positive (or custom) bucket.
    #[must_use]
    pub fn positive_bucket(&self, index: i32, count: f64) -> Bucket {
        let lower = upper_bound(index.wrapping_sub(1), self.schema, &self.custom_values);
        let upper = upper_bound(index, self.schema, &self.custom_values);
        let custom = self.uses_custom_buckets();
        Bucket {
            lower,
            upper,
            lower_inclusive: if custom { index == 0 } else { lower < 0.0 },
            upper_inclusive: custom || upper > 0.0,
            count,
            index,
        }
    }

    /// The limits of a negative bucket.
    #[must_use]
    pub fn negative_bucket(&self, index: i32, count: f64) -> Bucket {
        let lower = -upper_bound(index, self.schema, &[]);
        let upper = -upper_bound(index.wrapping_sub(1), self.schema, &[]);
        Bucket {
            lower,
            upper,
            lower_inclusive: lower < 0.0,
            upper_inclusive: upper > 0.0,
            count,
            index,
        }
    }

    /// The zero bucket.
    #[must_use]
    pub fn zero_bucket(&self) -> Bucket {
        Bucket {
            lower: -self.zero_threshold,
            upper: self.zero_threshold,
            lower_inclusive: true,
            upper_inclusive: true,
            count: self.zero_count,
            index: 0,
        }
    }
}

/// All buckets of a histogram in the order of their limits.
#[derive(Clone, Debug)]
pub struct Buckets<'a> {
    histogram: &'a FloatHistogram,
    negative: Indexed<'a>,
    zero: bool,
    positive: Indexed<'a>,
}

impl Buckets<'_> {
    /// Cuts off what a bucket shares with the zero bucket.
    fn outside_zero(&self, mut bucket: Bucket) -> Bucket {
        let threshold = self.histogram.zero_threshold;
        if bucket.upper < 0.0 && bucket.upper > -threshold {
            bucket.upper = -threshold;
        } else if bucket.lower > 0.0 && bucket.lower < threshold {
            bucket.lower = threshold;
        }
        bucket
    }

    fn take_zero(&mut self) -> Option<Bucket> {
        std::mem::take(&mut self.zero).then(|| self.histogram.zero_bucket())
    }
}

impl Iterator for Buckets<'_> {
    type Item = Bucket;

    fn next(&mut self) -> Option<Bucket> {
        if let Some((index, count)) = self.negative.next_back() {
            return Some(self.outside_zero(self.histogram.negative_bucket(index, count)));
        }
        if let Some(zero) = self.take_zero() {
            return Some(zero);
        }
        let (index, count) = self.positive.next()?;
        Some(self.outside_zero(self.histogram.positive_bucket(index, count)))
    }
}

impl DoubleEndedIterator for Buckets<'_> {
    fn next_back(&mut self) -> Option<Bucket> {
        if let Some((index, count)) = self.positive.next_back() {
            return Some(self.outside_zero(self.histogram.positive_bucket(index, count)));
        }
        if let Some(zero) = self.take_zero() {
            return Some(zero);
        }
        let (index, count) = self.negative.next()?;
        Some(self.outside_zero(self.histogram.negative_bucket(index, count)))
    }
}
