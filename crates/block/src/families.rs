//! Synthetic series as fleets have them, for benchmarks: ten families, 24 h at 15 s, with the jitter
//! of each target's scrapes. The same seed gives the same series everywhere.

mod random;

use std::sync::Arc;

use model::histogram::{FloatHistogram, Span};
use model::labels::Labels;
use model::select::HistogramPoint;
use model::time::{TimeRange, TimestampMs};

use crate::writer::SortKey;
use random::Random;

/// An hour, in milliseconds.
pub const HOUR: i64 = 3_600_000;
/// How far samples are apart, in milliseconds.
pub const STEP: i64 = 15_000;
/// How many samples a series has.
pub const SAMPLES: usize = (24 * HOUR / STEP) as usize;
/// How many targets are scraped.
pub const TARGETS: usize = 16;
/// The seed of the published figures.
pub const SEED: u64 = 0x9e37_79b9_7f4a_7c15;
/// Where all samples lie.
pub const RANGE: TimeRange = TimeRange {
    start: START,
    end: START + 24 * HOUR,
};

const START: i64 = 1_789_948_800_000;
/// How far a scrape is from where it should be, at most, in milliseconds.
pub const JITTER: i64 = 20;
/// Buckets of a native histogram.
const BUCKETS: usize = 24;

/// One series of floats.
#[derive(Debug)]
pub struct FleetSeries {
    /// Its labels.
    pub labels: Labels,
    /// What kind of values it has.
    pub family: Family,
    /// Which target it is of; its timestamps are those of the target.
    pub target: usize,
    /// One value for each of the timestamps.
    pub values: Vec<f64>,
}

/// What kind of values a series has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Values that hardly ever change.
    Constants,
    /// Buckets of classic histograms.
    Buckets,
    /// Counters of events, bytes and seconds.
    Counters,
    /// Values that go up and down.
    Gauges,
}

/// The series of some targets.
#[derive(Debug)]
pub struct Fleet {
    /// All series, in the order in which a block takes them.
    pub series: Vec<FleetSeries>,
    /// The timestamps of each target.
    pub timelines: Vec<Vec<TimestampMs>>,
    random: Random,
    family: Family,
    jitter: i64,
}

impl Fleet {
    /// Makes the series of [`TARGETS`] targets.
    #[must_use]
    pub fn of(seed: u64) -> Self {
        Self::of_targets(seed, TARGETS, JITTER)
    }

    /// Makes the series of up to 64 targets whose scrapes are that many milliseconds, at most, from
    /// where they should be: 160 series of each.
    #[must_use]
    pub fn of_targets(seed: u64, targets: usize, jitter: i64) -> Self {
        let mut fleet = Self {
            series: Vec::new(),
            timelines: Vec::new(),
            random: Random::of(seed),
            family: Family::Constants,
            jitter,
        };
        for target in 0..targets {
            let timeline = fleet.timeline(target);
            fleet.timelines.push(timeline);
            fleet.constants(target);
            fleet.histograms(target);
            fleet.counters(target);
            fleet.gauges(target);
        }
        fleet
            .series
            .sort_by(|a, b| SortKey::compare(&a.labels, &b.labels));
        fleet
    }

    /// More timestamps at which a target could have been scraped.
    pub fn timeline(&mut self, target: usize) -> Vec<TimestampMs> {
        timeline(&mut self.random, target, self.jitter)
    }

    /// A native histogram that grows, at the timestamps of a target.
    pub fn native(&mut self, target: usize) -> Vec<HistogramPoint> {
        let ts = self.timelines.get(target).map_or(&[][..], Vec::as_slice);
        native(&mut self.random, ts)
    }

    fn add(&mut self, target: usize, name: &str, own: &[(&str, String)], values: Vec<f64>) {
        let service = format!("svc-{}", target % 8);
        let instance = format!("10.0.{}.{}:9100", target % 64, (target * 37) % 251);
        let pod = format!("{service}-{:06x}", (target * 2_654_435_761) & 0xff_ffff);
        let shared = [
            ("__name__", name),
            ("cluster", "prod-eu-1"),
            ("env", "production"),
            ("instance", &instance),
            ("job", &service),
            ("pod", &pod),
        ];
        let own = own.iter().map(|(name, value)| (*name, value.as_str()));
        let labels = Labels::from_pairs(shared.into_iter().chain(own));
        self.series.push(FleetSeries {
            labels,
            family: self.family,
            target,
            values,
        });
    }

    /// A value that goes on from the one before.
    fn walk(
        &mut self,
        mut value: f64,
        mut step: impl FnMut(&mut Random, f64) -> f64,
        shown: impl Fn(f64) -> f64,
    ) -> Vec<f64> {
        let next = |_| {
            value = step(&mut self.random, value);
            shown(value)
        };
        (0..SAMPLES).map(next).collect()
    }

    fn constants(&mut self, target: usize) {
        self.family = Family::Constants;
        for number in 0..72 {
            let value = match self.random.bits() % 20 {
                0..12 => 0.0,
                12..16 => 1.0,
                16..18 => self.random.below(100_000_000_000),
                _ => 1.79e9 + (self.random.unit() * 1e9).round() / 100.0,
            };
            let changes = self.random.bits().is_multiple_of(20);
            let step = |random: &mut Random, value: f64| {
                let change = changes && random.bits().is_multiple_of(SAMPLES as u64 / 2);
                if change { random.below(3) } else { value }
            };
            let values = self.walk(value, step, |v| v);
            let collector = ("collector", format!("c{}", number % 2));
            self.add(
                target,
                &format!("app_info_state_{:02}", number / 2),
                &[collector],
                values,
            );
        }
    }

    fn histograms(&mut self, target: usize) {
        self.family = Family::Buckets;
        let shares = [0.05, 0.15, 0.25, 0.25, 0.12, 0.08, 0.05, 0.03, 0.015, 0.005];
        let bounds = [
            "0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1", "2.5", "+Inf",
        ];
        for number in 0..4 {
            let mean = (self.random.normal() * 1.5 + 1.0).exp();
            let before = self.random.below(1_000_000);
            let mut columns = vec![Vec::with_capacity(SAMPLES); shares.len()];
            let mut counts = shares.map(|share: f64| (before * share).round());
            for _ in 0..SAMPLES {
                let mut total = 0.0;
                for ((count, share), column) in counts.iter_mut().zip(shares).zip(&mut columns) {
                    total += self.random.poisson(mean * share);
                    *count += total;
                    column.push(*count);
                }
            }
            let name = format!("http_{number}_request_duration_seconds_bucket");
            for (bound, values) in bounds.iter().zip(columns) {
                self.add(target, &name, &[("le", (*bound).to_owned())], values);
            }
        }
    }

    fn counters(&mut self, target: usize) {
        self.family = Family::Counters;
        for number in 0..12 {
            let mean = (self.random.normal() * 1.5).exp();
            let first = self.random.below(10_000_000);
            let values = self.walk(first, |random, v| v + random.poisson(mean), |v| v);
            let code = ("code", format!("{}", 200 + 204 * (number % 2)));
            self.add(
                target,
                &format!("requests_total_{:02}", number / 2),
                &[code],
                values,
            );
        }
        for number in 0..10 {
            let rate = (self.random.normal() * 2.0 + 13.0).exp();
            let first = self.random.below(1_000_000_000_000);
            let step = |random: &mut Random, v: f64| {
                v + (rate * (1.0 + 0.2 * random.normal()).max(0.0)).round()
            };
            let values = self.walk(first, step, |v| v);
            let device = ("device", format!("eth{}", number % 2));
            self.add(
                target,
                &format!("network_bytes_total_{}", number / 2),
                &[device],
                values,
            );
        }
        for (mode, share) in [0.25, 0.05, 0.6, 0.001, 0.02, 0.0, 0.0, 0.01]
            .into_iter()
            .enumerate()
        {
            let first = self.random.below(100_000_000);
            let step = |random: &mut Random, v: f64| {
                v + (1500.0 * share * (1.0 + 0.25 * random.normal()))
                    .round()
                    .max(0.0)
            };
            let values = self.walk(first, step, |v| v / 100.0);
            self.add(
                target,
                "cpu_seconds_total",
                &[("mode", format!("m{mode}"))],
                values,
            );
        }
        for number in 0..4 {
            let mean = self.random.normal().exp() * 3.0;
            let first = self.random.unit() * 1e4;
            let step = |random: &mut Random, v: f64| {
                let events = random.poisson(mean).min(20.0) as usize;
                (0..events).fold(v, |v, _| v + 0.01 * (random.normal() * 0.8).exp())
            };
            let values = self.walk(first, step, |v| v);
            self.add(
                target,
                &format!("http_{number}_request_duration_seconds_sum"),
                &[],
                values,
            );
        }
    }

    fn gauges(&mut self, target: usize) {
        self.family = Family::Gauges;
        for number in 0..6 {
            let scale = [10.0, 100.0, 1000.0][number / 2];
            let spread = [2.0, 5.0, 30.0][number / 2];
            let first = 20.0 * scale + self.random.below(500);
            let step = |random: &mut Random, v: f64| match random.unit() < 0.7 {
                true => (v + (random.normal() * spread).round()).max(0.0),
                false => v,
            };
            let values = self.walk(first, step, |v| v / scale);
            self.add(target, &format!("gauge_decimal_{number}"), &[], values);
        }
        for number in 0..6 {
            let (moves, spread, scale) = match number {
                0..4 => (0.9, 300.0, 4096.0),
                _ => (0.4, 2.0, 1.0),
            };
            let first = 20.0 + self.random.below(if number < 4 { 1_000_000 } else { 80 });
            let step = |random: &mut Random, v: f64| match random.unit() < moves {
                true => (v + (random.normal() * spread).round()).max(0.0),
                false => v,
            };
            let values = self.walk(first, step, |v| v * scale);
            let name = if number < 4 {
                "memory_bytes"
            } else {
                "goroutines"
            };
            self.add(target, &format!("{name}_{number}"), &[], values);
        }
        for number in 0..2 {
            let first = self.random.unit();
            let step = |random: &mut Random, v: f64| {
                (0.98 * v + 0.02 * random.unit()) * (1.0 + 0.0001 * random.normal())
            };
            let values = self.walk(first, step, |v| v);
            self.add(target, &format!("ratio_{number}"), &[], values);
        }
    }
}

/// The timestamps of a target.
fn timeline(random: &mut Random, target: usize, jitter: i64) -> Vec<i64> {
    let phase = 100 + (target as i64 * 7919) % (STEP - 200);
    let mut at = |k| {
        let off = (random.bits() % (2 * jitter as u64 + 1)) as i64 - jitter;
        START + phase + k * STEP + off
    };
    (0..SAMPLES as i64).map(&mut at).collect()
}

/// A native histogram that grows, at each of these instants.
fn native(random: &mut Random, ts: &[i64]) -> Vec<HistogramPoint> {
    let mut histogram = FloatHistogram {
        schema: 3,
        zero_threshold: 2f64.powi(-128),
        positive_spans: vec![Span {
            offset: -8,
            length: BUCKETS as u32,
        }],
        positive_buckets: vec![0.0; BUCKETS],
        ..FloatHistogram::default()
    };
    let mean = (random.normal() * 1.5 + 2.0).exp();
    let grow = |t: &i64| {
        for (bucket, count) in histogram.positive_buckets.iter_mut().enumerate() {
            let share = (-((bucket as f64 - 11.0) / 5.0).powi(2)).exp() / 8.9;
            let new = random.poisson(mean * share);
            *count += new;
            histogram.count += new;
            histogram.sum += new * 0.1 * (1.0 + 0.3 * random.normal());
        }
        HistogramPoint {
            t: *t,
            start: START - HOUR,
            histogram: Arc::new(histogram.clone()),
        }
    };
    ts.iter().map(grow).collect()
}
