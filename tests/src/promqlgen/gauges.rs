//! Values of gauges.

use super::vocabulary::BEGIN;
use crate::random::Random;

/// A gauge in steps of an eighth.
pub(super) fn gauge(metric: &str, length: usize, random: &mut Random) -> Vec<f64> {
    match metric {
        // Few different numbers, so that there are ties and counts.
        "queue_length" => walk(length, random, 1.0, 6),
        "start_time_seconds" => starts(length, random),
        _ if random.chance(10) => vec![random.below(800) as f64 / 8.0; length],
        _ => {
            let base = random.below(1600) as f64 / 8.0 - 60.0;
            let values = walk(length, random, 0.125, 400);
            values.into_iter().map(|value| base + value).collect()
        }
    }
}

/// Goes up or down or stays, between 0 and `most` steps.
fn walk(length: usize, random: &mut Random, step: f64, most: u64) -> Vec<f64> {
    let mut at = random.below(most);
    let mut value = || {
        let far = 1 + most / 20;
        match random.below(5) {
            0 | 1 => at = (at + random.below(far) + 1).min(most),
            2 | 3 => at = at.saturating_sub(random.below(far) + 1),
            _ => {}
        }
        at as f64 * step
    };
    (0..length).map(|_| value()).collect()
}

/// When a process was started: some days to months before the data, and again now and then.
fn starts(length: usize, random: &mut Random) -> Vec<f64> {
    let mut start = BEGIN - 3600 * random.below(9_000) as i64;
    let mut value = |scrape: usize| {
        if random.chance(2) {
            start = BEGIN + 15 * scrape as i64;
        }
        start as f64
    };
    (0..length).map(&mut value).collect()
}

/// Numbers at the edges of what there is.
pub(super) fn extreme(sort: &str, length: usize, random: &mut Random) -> Vec<f64> {
    let mut value = |_| match sort {
        "nan" => f64::NAN,
        "inf" => f64::INFINITY,
        "neginf" => f64::NEG_INFINITY,
        "huge" => 1e300,
        "tiny" => 2f64.powi(-1000) * (1 + random.below(8)) as f64,
        "negative" => -(1.0 + random.below(800) as f64 / 8.0),
        "constant" => 42.0,
        "zero" => 0.0,
        _ => match random.below(8) {
            0 => f64::NAN,
            1 => f64::INFINITY,
            2 => f64::NEG_INFINITY,
            _ => random.below(80) as f64 / 8.0 - 5.0,
        },
    };
    (0..length).map(&mut value).collect()
}
