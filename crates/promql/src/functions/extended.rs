//! `rate`, `increase` and `delta` over windows with an edge: from the value at the window's start
//! to that at its end.
//!
//! Where the window is anchored, these are the values of the last samples up to then. Where it is
//! smoothed, they are interpolated between the samples around. Nothing is extrapolated.

mod histograms;

use std::sync::Arc;

use super::interpolate;
use super::rate::Kind;
use crate::annotations::Note;
use crate::ast::Edge;
use crate::eval::column::Column;
use crate::eval::kernel::{KernelContext, RangeInput};

/// Where one step's window begins and ends, in time and among the samples around it.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    /// The window's start in milliseconds.
    start: i64,
    /// Its end.
    end: i64,
    /// Whether the values at both are interpolated.
    smoothed: bool,
    /// The sample at or before the start, or the first one.
    first: usize,
    /// The sample at the end or, where interpolated, behind it; or the last one.
    last: usize,
}

impl Bounds {
    /// Finds them among so many samples, at least one, ascending in time; `None` where none is in the
    /// window.
    fn find(
        input: &RangeInput<'_>,
        step: usize,
        count: usize,
        t: impl Fn(usize) -> i64,
    ) -> Option<Self> {
        let (start, end) = (input.windows.start_ms(step), input.windows.end_ms(step));
        let smoothed = input.windows.edge == Edge::Smoothed;
        let newest = count.checked_sub(1)?;
        let first = search(newest, |at| t(at) > start).saturating_sub(1);
        let last = if smoothed {
            search(newest, |at| t(at) >= end)
        } else {
            newest
        };
        if t(last) <= start || (smoothed && t(first) > end) {
            return None;
        }
        Some(Self {
            start,
            end,
            smoothed,
            first,
            last,
        })
    }
}

/// The first index below `count` at which what holds from somewhere on holds; `count` where it does
/// nowhere.
fn search(count: usize, holds: impl Fn(usize) -> bool) -> usize {
    let (mut low, mut high) = (0, count);
    while low < high {
        let middle = low + (high - low) / 2;
        if holds(middle) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    low
}

/// The change over each window.
pub(super) fn change(
    input: &RangeInput<'_>,
    out: &mut Column,
    context: &mut KernelContext<'_>,
    kind: Kind,
) {
    let seconds = input.windows.range_ms as f64 / 1000.0;
    for (step, window) in input.steps() {
        let (floats, points) = (window.floats(), window.histograms());
        if !floats.is_empty() && !points.is_empty() {
            context.note_arg(0, &Note::MixedFloatsHistograms(context.metric_name));
            continue;
        }
        if !points.is_empty() {
            let points = &input.samples.histograms[points];
            let Some(bounds) = Bounds::find(input, step, points.len(), |at| points[at].t) else {
                continue;
            };
            if let Some(mut change) = histograms::change(points, bounds, kind.counter, context) {
                if kind.per_second {
                    change.divide(seconds);
                }
                out.push_histogram(step, Arc::new(change));
            }
            continue;
        }
        let ts = &input.samples.ts[floats.clone()];
        let Some(bounds) = Bounds::find(input, step, ts.len(), |at| ts[at]) else {
            continue;
        };
        let change = float_change(ts, &input.samples.values[floats], bounds, kind.counter);
        let change = if kind.per_second {
            change / seconds
        } else {
            change
        };
        out.set_float(step, change);
    }
}

fn float_change(ts: &[i64], values: &[f64], bounds: Bounds, counter: bool) -> f64 {
    let Bounds { first, last, .. } = bounds;
    let point = |at: usize| (ts[at], values[at]);
    let between = |at, t| interpolate::float(point(at), point(at + 1), t, counter);
    let left = if bounds.smoothed && ts[first] < bounds.start {
        between(first, bounds.start)
    } else {
        values[first]
    };
    let right = if bounds.smoothed && last > 0 && ts[last] > bounds.end {
        between(last - 1, bounds.end)
    } else {
        values[last]
    };
    let mut change = right - left;
    if counter {
        // Resets at the bounds are in the interpolated values already.
        let from = first + usize::from(ts[first] <= bounds.start);
        let to = last + usize::from(ts[last] < bounds.end);
        let mut before = left;
        let within = values.get(from..to).unwrap_or_default();
        for &now in within.iter().chain([&right]) {
            if now < before {
                change += before;
            }
            before = now;
        }
    }
    change
}

#[cfg(test)]
mod tests {
    use super::search;

    #[test]
    fn finds_where_something_begins_to_hold() {
        for count in 0..5 {
            for from in 0..=count {
                assert_eq!(search(count, |at| at >= from), from);
            }
        }
    }
}
