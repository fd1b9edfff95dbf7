//! The data set in memory, for an engine without a server.

use model::labels::{Labels, METRIC_NAME};
use promql::memory::MemoryStorage;

use super::dataset::{self, combinations, times};
use super::natives::{Native, Point};
use super::vocabulary::{Metric, NATIVE};
use crate::random::Random;

/// All series of one seed, native histograms among them.
pub fn storage(seed: u64) -> MemoryStorage {
    let mut storage = MemoryStorage::new();
    for series in dataset::dataset(seed) {
        let pairs = series.labels.iter().map(|(n, v)| (n.as_str(), v.as_str()));
        let labels = Labels::from_pairs(pairs);
        for (t, value) in series.samples {
            storage.append(&labels, t, value);
        }
    }
    let mut random = Random::new(seed);
    for metric in NATIVE {
        fill(&mut storage, metric, &mut random);
    }
    storage
}

fn fill(storage: &mut MemoryStorage, metric: &Metric, random: &mut Random) {
    for combination in combinations(metric) {
        let mut own = random.fork();
        let times = times(&combination, &mut own);
        let pairs = combination
            .iter()
            .copied()
            .chain([(METRIC_NAME, metric.name)]);
        let labels = Labels::from_pairs(pairs);
        let mut native = Native::new(own);
        for t in times {
            match native.next() {
                Point::Float(value) => storage.append(&labels, t, value),
                Point::Histogram(histogram) => storage.append_histogram(&labels, t, 0, histogram),
            }
        }
    }
}
