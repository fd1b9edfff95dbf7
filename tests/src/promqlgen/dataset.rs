//! Series of many kinds, from a seed.
//!
//! Every value of a gauge or counter is a multiple of an eighth and not large, so that sums are
//! exact in whatever order and with whatever care they are added up: a difference between engines
//! is never one of rounding there. Samples lie at odd milliseconds, so that none is at the edge of
//! a window whose ends are whole seconds: whether the edge belongs to it differs between
//! Prometheus 2 and 3.

use crate::promqlgen::vocabulary::{BEGIN, INTERVAL, LENGTH, METRICS, Metric, Shape, values};
use crate::promqlgen::{counters, gauges};
use crate::random::Random;
use crate::remote_write::Series;

/// The bits of the NaN that ends a series.
pub const STALE: u64 = 0x7ff0_0000_0000_0002;

/// All series of one seed; samples ascend in time.
pub fn dataset(seed: u64) -> Vec<Series> {
    let mut random = Random::new(seed);
    let mut all = Vec::new();
    for metric in METRICS {
        for labels in combinations(metric) {
            let mut own = random.fork();
            let times = times(&labels, &mut own);
            let values = match metric.shape {
                Shape::Counter => counters::counter(times.len(), &mut own),
                Shape::Bucket => counters::bucket(metric.name, &labels, times.len(), &mut own),
                Shape::Info => vec![1.0; times.len()],
                Shape::Gauge => gauges::gauge(metric.name, times.len(), &mut own),
                Shape::Extreme => gauges::extreme(labels[1].1, times.len(), &mut own),
                Shape::Native => continue,
            };
            let mut series = Series::new(&[("__name__", metric.name)]);
            let pairs = labels
                .iter()
                .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()));
            series.labels.extend(pairs);
            series.labels.sort();
            series.samples = live(times, values, metric.shape, &mut own);
            all.push(series);
        }
    }
    all
}

/// The label sets of a metric.
pub(super) fn combinations(metric: &Metric) -> Vec<Vec<(&'static str, &'static str)>> {
    let mut sets: Vec<Vec<(&str, &str)>> = vec![Vec::new()];
    for label in metric.labels {
        let with = |set: &Vec<(&'static str, &'static str)>| {
            let set = set.clone();
            let with = move |value: &&'static str| {
                let mut set = set.clone();
                set.push((*label, *value));
                set
            };
            values(label).iter().map(with).collect::<Vec<_>>()
        };
        sets = sets.iter().flat_map(with).collect();
    }
    sets.retain(|set| exists(metric.name, set));
    sets
}

/// Leaves out what would match no other metric, or too well.
fn exists(metric: &str, labels: &[(&str, &str)]) -> bool {
    let of = |name: &str| {
        let found = labels.iter().find(|(known, _)| *known == name);
        found.map_or("", |(_, value)| *value)
    };
    match metric {
        "http_errors_total" => of("code") != "200",
        // One version and branch for each target.
        "build_info" => {
            let old = of("instance") == "a:9100";
            (of("version") == "1.0.0") == old && (of("branch") == "main") == (of("job") == "api")
        }
        "extremes" => of("job") == "api" || of("sort") == "mixed" || of("sort") == "constant",
        // Nothing says how many were counted in all.
        "size_bytes_bucket" => of("job") == "api" || of("le") != "+Inf",
        "latency_seconds_bucket" => of("instance") != "c:9100" || of("le") != "0.5",
        _ => true,
    }
}

/// When the series is scraped: regularly, but for a little jitter and some missing scrapes.
pub(super) fn times(labels: &[(&str, &str)], random: &mut Random) -> Vec<i64> {
    // All series of a target are scraped together.
    let target = labels
        .iter()
        .filter(|(name, _)| matches!(*name, "job" | "instance"));
    let phase: u64 = target
        .flat_map(|(_, value)| value.bytes())
        .map(u64::from)
        .sum();
    let mut jitter = Random::new(phase);
    let phase = (phase % INTERVAL as u64) as i64 * 1000;
    let gap = (
        random.below(LENGTH as u64) as i64,
        60 + random.below(900) as i64,
    );
    let missing = random.below(8);
    let mut times = Vec::new();
    for scrape in 0..LENGTH / INTERVAL {
        let odd = 101 + 2 * jitter.below(400) as i64;
        let second = scrape * INTERVAL;
        let in_gap = gap.0 < second && second < gap.0 + gap.1;
        if random.below(100) >= missing && !(in_gap && missing > 2) {
            times.push((BEGIN + second) * 1000 + phase + odd);
        }
    }
    times
}

/// Has some series begin late, and some end early, with a marker or without.
fn live(times: Vec<i64>, values: Vec<f64>, shape: Shape, random: &mut Random) -> Vec<(i64, f64)> {
    let mut samples: Vec<(i64, f64)> = times.into_iter().zip(values).collect();
    if shape == Shape::Info {
        return samples;
    }
    let length = samples.len();
    let part = |random: &mut Random| length * (20 + random.below(60) as usize) / 100;
    match random.below(12) {
        0 => drop(samples.drain(..part(random))),
        1 => samples.truncate(part(random)),
        2 => {
            samples.truncate(part(random));
            if let Some((t, _)) = samples.last().copied() {
                samples.push((t + INTERVAL * 1000, f64::from_bits(STALE)));
            }
        }
        // Gone for a while, and marked so.
        3 => {
            let at = part(random);
            samples[at].1 = f64::from_bits(STALE);
            samples.drain(at + 1..(at + 12).min(length));
        }
        _ => {}
    }
    samples
}
