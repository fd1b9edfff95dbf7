//! Native histograms, for engines that have them.

use std::sync::Arc;

use model::histogram::{CUSTOM_BUCKETS_SCHEMA, FloatHistogram, ResetHint, Span};

use crate::random::Random;

/// A histogram that grows, or a gauge, of one layout; now and then with others between.
#[derive(Clone, Debug)]
pub(super) struct Native {
    random: Random,
    custom: bool,
    gauge: bool,
    buckets: Vec<f64>,
}

/// A sample of such a series.
#[derive(Clone, Debug)]
pub(super) enum Point {
    Float(f64),
    Histogram(Arc<FloatHistogram>),
}

impl Native {
    pub(super) fn new(mut random: Random) -> Self {
        let custom = random.chance(30);
        let gauge = random.chance(30);
        let buckets = vec![0.0; 1 + random.below(12) as usize];
        Self {
            random,
            custom,
            gauge,
            buckets,
        }
    }

    /// The next sample.
    pub(super) fn next(&mut self) -> Point {
        if self.random.chance(2) {
            return Point::Float(self.random.below(100) as f64);
        }
        if self.random.chance(2) {
            self.buckets.fill(0.0);
        }
        for bucket in &mut self.buckets {
            *bucket += self.random.below(20) as f64;
        }
        let layout = if self.random.chance(3) {
            !self.custom
        } else {
            self.custom
        };
        let mut histogram = if layout {
            self.custom()
        } else {
            self.exponential()
        };
        if self.gauge {
            histogram.reset_hint = ResetHint::Gauge;
        }
        if self.random.chance(1) {
            histogram.sum = f64::NAN;
        }
        Point::Histogram(Arc::new(histogram))
    }

    fn exponential(&mut self) -> FloatHistogram {
        let zero_count = self.random.below(10) as f64;
        let negative = self.buckets[..self.buckets.len() / 2].to_vec();
        let spans = |length: usize, offset: i32| {
            let length = length as u32;
            let halves = [(offset, length / 2), (2, length - length / 2)];
            let halves = halves.into_iter().filter(|(_, length)| *length > 0);
            halves
                .map(|(offset, length)| Span { offset, length })
                .collect()
        };
        FloatHistogram {
            schema: *self.random.pick(&[0, 0, 1, 3, 8, -4]),
            zero_threshold: *self.random.pick(&[0.0, 1e-128, 1e-3, 1.0]),
            zero_count,
            count: self.buckets.iter().chain(&negative).sum::<f64>() + zero_count,
            sum: self.buckets.iter().sum::<f64>() * 1.5,
            positive_spans: spans(self.buckets.len(), -2),
            negative_spans: spans(negative.len(), 1),
            positive_buckets: self.buckets.clone(),
            negative_buckets: negative,
            ..FloatHistogram::default()
        }
    }

    fn custom(&mut self) -> FloatHistogram {
        let bounds = self.buckets.len() - 1 + self.random.below(3) as usize;
        let counts = &self.buckets[..self.buckets.len().min(bounds + 1)];
        FloatHistogram {
            schema: CUSTOM_BUCKETS_SCHEMA,
            count: counts.iter().sum(),
            sum: counts.iter().sum::<f64>() * 2.0,
            positive_spans: vec![Span {
                offset: 0,
                length: counts.len() as u32,
            }],
            positive_buckets: counts.to_vec(),
            custom_values: (0..bounds).map(|bound| bound as f64 - 2.0).collect(),
            ..FloatHistogram::default()
        }
    }
}
