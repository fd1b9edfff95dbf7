//! `rate` and `increase` where a series begins within the window and was near zero.
//!
//! Where the first sample is far from the window's start, half an interval is added. Prometheus 2
//! first looked for where the counter had been zero, and took that as the distance, so that the
//! whole of it could be added. 3 takes half an interval first, and zero only where it is nearer:
//! `extrapolatedRate` of `promql/functions.go`. The samples of the window are fetched, and both
//! answers computed from them.

use std::collections::BTreeMap;

use crate::answer::{Key, Points};
use crate::differential::pair::Pair;
use crate::differential::reduce::Disagreement;
use crate::promqlgen::{Expr, Moment};

pub(super) fn explains(pair: &Pair, found: &Disagreement) -> bool {
    let Expr::Call(name @ ("rate" | "increase"), _, args) = &found.query else {
        return false;
    };
    let (Ok(ours), Ok(theirs)) = (&found.ours, &found.theirs) else {
        return false;
    };
    let (Moment::Instant(t), Some(window)) = (found.moment, Window::of(&args[0], found.moment))
    else {
        return false;
    };
    let Ok(samples) = pair.ask(&args[0], Moment::Instant(t)).1 else {
        return false;
    };
    let per_second = *name == "rate";
    let near = |a: f64, b: f64| a == b || (a - b).abs() <= 1e-9 * a.abs().max(b.abs());
    let is = |points: Option<&Points>, expected: Option<f64>| {
        let value = points.map(|points| points.floats[0].1);
        match (value, expected) {
            (Some(a), Some(b)) => near(a, b) || a.is_nan() && b.is_nan(),
            (a, b) => a.is_none() && b.is_none(),
        }
    };
    let mut samples_of: BTreeMap<Key, &Points> = BTreeMap::new();
    for (labels, points) in &samples.series {
        let labels = labels.iter().filter(|(n, _)| *n != "__name__");
        let key = labels.map(|(n, v)| (n.clone(), v.clone())).collect();
        samples_of.insert(key, points);
    }
    let mut answered = ours.series.keys().chain(theirs.series.keys());
    answered.all(|key| samples_of.contains_key(key))
        && samples_of.iter().all(|(key, points)| {
            let expected = |three| window.rate(&points.floats, three, per_second);
            is(ours.series.get(key), expected(true)) && is(theirs.series.get(key), expected(false))
        })
}

/// A window, in milliseconds.
struct Window {
    start: i64,
    end: i64,
}

impl Window {
    /// That of a range vector at one instant.
    fn of(range: &Expr, moment: Moment) -> Option<Self> {
        use crate::promqlgen::tree::At;
        let (
            Expr::Select {
                range: Some(range),
                place,
                ..
            }
            | Expr::Subquery { range, place, .. },
            Moment::Instant(t),
        ) = (range, moment)
        else {
            return None;
        };
        let at = match place.at {
            Some(At::Time(time)) => time,
            Some(At::Start | At::End) | None => t,
        };
        let end = at - place.offset.unwrap_or(0);
        Some(Self {
            start: (end - range) * 1000,
            end: end * 1000,
        })
    }

    /// The rate or increase as Prometheus 3 computes it, or as 2 does.
    fn rate(&self, samples: &[(i64, f64)], three: bool, per_second: bool) -> Option<f64> {
        let [first, .., last] = samples else {
            return None;
        };
        let mut change = last.1 - first.1;
        for pair in samples.windows(2) {
            if pair[1].1 < pair[0].1 {
                change += pair[0].1;
            }
        }
        let seconds = |ms: i64| ms as f64 / 1000.0;
        let sampled = seconds(last.0 - first.0);
        let interval = sampled / (samples.len() - 1) as f64;
        let (mut to_start, mut to_end) =
            (seconds(first.0 - self.start), seconds(self.end - last.0));
        let shortened = |distance: f64| {
            if distance >= interval * 1.1 {
                interval / 2.0
            } else {
                distance
            }
        };
        let to_zero = if change > 0.0 && first.1 >= 0.0 {
            sampled * (first.1 / change)
        } else {
            f64::INFINITY
        };
        to_start = if three {
            shortened(to_start).min(to_zero)
        } else {
            shortened(to_start.min(to_zero))
        };
        to_end = shortened(to_end);
        let factor = (sampled + to_start + to_end) / sampled;
        let range = if per_second {
            seconds(self.end - self.start)
        } else {
            1.0
        };
        Some(change * factor / range)
    }
}
