//! Values of counters and of classic buckets.

use crate::random::Random;

/// A counter in steps of an eighth; some start again.
pub(super) fn counter(length: usize, random: &mut Random) -> Vec<f64> {
    let pace = 1 + random.below(400);
    let resets = random.below(4);
    let mut value = random.below(40_000) as f64 / 8.0;
    let mut values = Vec::with_capacity(length);
    for _ in 0..length {
        if random.below(400) < resets {
            value = if random.chance(50) {
                0.0
            } else {
                random.below(80) as f64 / 8.0
            };
        } else if !random.chance(10) {
            value += random.below(pace) as f64 / 8.0;
        }
        values.push(value);
    }
    values
}

/// How much larger the counts of the buckets are from bound to bound; one is smaller than the one
/// before, as happens where buckets are scraped at different times.
const SHARES: &[(&str, u64)] = &[
    ("0.1", 3),
    ("0.5", 10),
    ("1", 9),
    ("2.5", 14),
    ("10", 15),
    ("+Inf", 16),
];

/// One bucket of a histogram. Those of a metric grow by the same pace and with equal luck, times a
/// share.
pub(super) fn bucket(
    metric: &str,
    labels: &[(&str, &str)],
    length: usize,
    random: &mut Random,
) -> Vec<f64> {
    let le = labels
        .iter()
        .find(|(name, _)| *name == "le")
        .map_or("", |(_, le)| *le);
    let share = SHARES
        .iter()
        .find(|(bound, _)| *bound == le)
        .map_or(1, |(_, share)| *share);
    let others = labels.iter().filter(|(name, _)| *name != "le");
    let seed: u64 = others
        .flat_map(|(_, value)| value.bytes())
        .map(u64::from)
        .sum();
    let mut shared = Random::new(seed);
    let monotonic = metric == "latency_seconds_bucket" && seed.is_multiple_of(2);
    let mut value = 0;
    let mut values = Vec::with_capacity(length);
    for _ in 0..length {
        value += shared.below(20) * share;
        let wobble = if monotonic { 0 } else { random.below(40) };
        values.push((value + wobble) as f64);
    }
    values
}
