//! One series over all steps of a query, as a column; and the steps themselves.

use std::sync::Arc;

use model::histogram::FloatHistogram;
use model::sample::STALE_NAN_BITS;
use model::select::SeriesSamples;
use model::time::TimestampMs;

/// Marks a step at which a series has no float. It is the stale marker, which is never a value
/// of a result: arithmetic on it yields another NaN, and selectors never let it through.
pub const ABSENT: f64 = f64::from_bits(STALE_NAN_BITS);

/// Whether a column's float says 'no value here'.
#[inline]
pub fn is_absent(value: f64) -> bool {
    value.to_bits() == STALE_NAN_BITS
}

/// The steps at which an expression is evaluated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Steps {
    /// The first.
    pub start: TimestampMs,
    /// Milliseconds between two; at least 1.
    pub step: i64,
    /// How many; at least 1.
    pub count: usize,
}

impl Steps {
    /// The one step of an instant query.
    pub fn instant(t: TimestampMs) -> Self {
        Self {
            start: t,
            step: 1,
            count: 1,
        }
    }

    /// The steps from `start` to `end`, both within.
    pub fn range(start: TimestampMs, end: TimestampMs, step: i64) -> Self {
        let step = step.max(1);
        let span = i128::from(end) - i128::from(start);
        let count = usize::try_from(span / i128::from(step) + 1)
            .unwrap_or(1)
            .max(1);
        Self { start, step, count }
    }

    /// The time of a step.
    #[inline]
    pub fn time(&self, step: usize) -> TimestampMs {
        let index = i64::try_from(step).unwrap_or(i64::MAX);
        self.start.saturating_add(index.saturating_mul(self.step))
    }

    /// The time of the last step.
    pub fn end(&self) -> TimestampMs {
        self.time(self.count - 1)
    }

    /// The times of all steps.
    pub fn times(&self) -> impl Iterator<Item = TimestampMs> + use<> {
        let steps = *self;
        (0..steps.count).map(move |step| steps.time(step))
    }
}

/// The histograms of a column: (step, histogram), ascending by step.
pub type HistogramSteps = Vec<(u32, Arc<FloatHistogram>)>;

/// One series' values over all steps. A step has a float, or a histogram, or nothing, never both.
#[derive(Clone, Debug, Default)]
pub struct Column {
    /// A float per step; [`ABSENT`] where there is none.
    pub floats: Vec<f64>,
    /// The histograms, sparse, ascending by step.
    pub histograms: HistogramSteps,
}

impl Column {
    /// A column of `steps` steps without a value.
    pub fn absent(steps: usize) -> Self {
        Self {
            floats: vec![ABSENT; steps],
            histograms: Vec::new(),
        }
    }

    /// Empties the column, keeps its memory and makes it `steps` long.
    pub fn reset(&mut self, steps: usize) {
        self.floats.clear();
        self.floats.resize(steps, ABSENT);
        self.histograms.clear();
    }

    /// How many steps it spans.
    pub fn len(&self) -> usize {
        self.floats.len()
    }

    /// Whether no step has a value.
    pub fn is_empty(&self) -> bool {
        self.histograms.is_empty() && self.floats.iter().all(|v| is_absent(*v))
    }

    /// The float of a step.
    #[inline]
    pub fn float(&self, step: usize) -> Option<f64> {
        let value = self.floats[step];
        (!is_absent(value)).then_some(value)
    }

    /// The histogram of a step.
    #[inline]
    pub fn histogram(&self, step: usize) -> Option<&Arc<FloatHistogram>> {
        if self.histograms.is_empty() {
            return None;
        }
        let step = u32::try_from(step).ok()?;
        let found = self.histograms.binary_search_by_key(&step, |(at, _)| *at);
        found.ok().map(|index| &self.histograms[index].1)
    }

    /// Sets a float. A NaN that reads as [`ABSENT`] becomes an ordinary one.
    #[inline]
    pub fn set_float(&mut self, step: usize, value: f64) {
        self.floats[step] = if is_absent(value) { f64::NAN } else { value };
    }

    /// Adds a histogram behind those there are: `step` must be above theirs.
    pub fn push_histogram(&mut self, step: usize, histogram: Arc<FloatHistogram>) {
        let step = u32::try_from(step).unwrap_or(u32::MAX);
        debug_assert!(self.histograms.last().is_none_or(|(last, _)| *last < step));
        self.histograms.push((step, histogram));
    }

    /// How many values it has: a float counts one, a histogram as upstream counts it.
    pub fn sample_count(&self) -> usize {
        let floats = self.floats.iter().filter(|v| !is_absent(**v)).count();
        floats
            + self
                .histograms
                .iter()
                .map(|(_, h)| histogram_samples(h))
                .sum::<usize>()
    }

    /// Bytes it holds on the heap.
    pub fn heap_bytes(&self) -> usize {
        self.floats.capacity() * size_of::<f64>() + self.histogram_bytes()
    }

    /// Bytes that its histograms take.
    pub fn histogram_bytes(&self) -> usize {
        let histograms = self.histograms.iter();
        histograms.map(|(_, h)| histogram_bytes(h)).sum()
    }
}

/// What a histogram takes in memory.
pub fn histogram_bytes(h: &FloatHistogram) -> usize {
    let buckets = h.positive_buckets.len() + h.negative_buckets.len() + h.custom_values.len();
    let spans = h.positive_spans.len() + h.negative_spans.len();
    size_of::<FloatHistogram>() + 8 * (buckets + spans) + 16
}

/// How many samples a histogram counts as in the limit of samples: its bytes by 16.
pub fn histogram_samples(h: &FloatHistogram) -> usize {
    (histogram_bytes(h) / 16).max(1)
}

/// How many samples a decoded series holds, histograms counted by their size.
pub fn held_samples(samples: &SeriesSamples) -> usize {
    let histograms = samples.histograms.iter();
    samples.ts.len()
        + histograms
            .map(|point| histogram_samples(&point.histogram))
            .sum::<usize>()
}

/// A scalar over all steps.
#[derive(Clone, Debug, PartialEq)]
pub enum ScalarColumn {
    /// The same at every step.
    Const(f64),
    /// One per step.
    PerStep(Vec<f64>),
}

impl ScalarColumn {
    /// The value at a step.
    #[inline]
    pub fn at(&self, step: usize) -> f64 {
        match self {
            Self::Const(value) => *value,
            Self::PerStep(values) => values[step],
        }
    }

    /// The value where it is the same at every step.
    pub fn constant(&self) -> Option<f64> {
        match self {
            Self::Const(value) => Some(*value),
            Self::PerStep(_) => None,
        }
    }
}
