//! Start timestamps: since when a counter counts, and what that says of its resets.
//!
//! A kernel sees start timestamps only where they are to be used; elsewhere all of them are 0,
//! which means unknown.

use std::ops::Range;

use model::select::{HistogramPoint, SeriesSamples};
use model::time::TimestampMs;

/// When a sample was taken, and since when its counter counts (0: unknown).
#[derive(Clone, Copy, Debug)]
pub(super) struct Counted {
    /// When it was taken.
    pub t: TimestampMs,
    /// Since when it counts.
    pub start: TimestampMs,
}

impl Counted {
    /// What is counted by a float sample.
    #[inline]
    pub(super) fn of_float(samples: &SeriesSamples, at: usize) -> Self {
        Self {
            t: samples.ts[at],
            start: samples.starts.get(at).copied().unwrap_or_default(),
        }
    }

    /// What is counted by a histogram sample.
    #[inline]
    pub(super) fn of_histogram(samples: &SeriesSamples, at: usize) -> Self {
        Self::of_point(&samples.histograms[at])
    }

    /// What is counted by a histogram.
    pub(super) fn of_point(point: &HistogramPoint) -> Self {
        Self {
            t: point.t,
            start: point.start,
        }
    }

    /// Whether the start is a time before the sample; one at it or behind it says nothing.
    fn is_known(self) -> bool {
        self.start != 0 && self.start < self.t
    }

    /// Whether the counter began anew since the sample before.
    ///
    /// A start at the very time of the sample before it is a reset where samples count what came
    /// since the one before (deltas), and none where the start was unknown to begin with and is
    /// given as the time of the first sample.
    pub(super) fn began_after(self, before: Self) -> bool {
        if !self.is_known() || self.start < before.t {
            return false;
        }
        self.start > before.t || before.is_known()
    }

    /// Whether the sample counts again some of the time that the one before counted, and is no
    /// continuation of it.
    pub(super) fn overlaps(self, before: Self) -> bool {
        self.start != 0 && self.start < before.t && self.start != before.start
    }

    /// The start, where it lies between the beginning of a window and the sample: there the counter
    /// was zero.
    pub(super) fn zero_within(self, window_start: TimestampMs) -> Option<TimestampMs> {
        (self.is_known() && self.start > window_start).then_some(self.start)
    }
}

/// Samples of a series that count again some of what the one before them counts.
#[derive(Debug, Default)]
pub(super) struct Overlaps {
    /// Which, ascending.
    at: Vec<usize>,
    /// Whether one of them was looked at.
    pub seen: bool,
}

impl Overlaps {
    /// Finds them among so many samples.
    pub(super) fn find(count: usize, counted: impl Fn(usize) -> Counted) -> Self {
        let overlaps = |at: &usize| counted(*at).overlaps(counted(at - 1));
        Self {
            at: (1..count).filter(overlaps).collect(),
            seen: false,
        }
    }

    /// Looks for one among the samples of a window.
    #[inline]
    pub(super) fn look(&mut self, window: Range<usize>) {
        if self.seen || self.at.is_empty() {
            return;
        }
        let behind_first = self.at.partition_point(|at| *at <= window.start);
        self.seen = self.at.get(behind_first).is_some_and(|at| *at < window.end);
    }
}

#[cfg(test)]
mod tests {
    use super::Counted;

    /// Both samples as (start, time): whether there was a reset between them, and whether they
    /// overlap.
    fn check(before: (i64, i64), now: (i64, i64), reset: bool, overlap: bool) {
        let counted = |(start, t)| Counted { t, start };
        let (before, now) = (counted(before), counted(now));
        assert_eq!(now.began_after(before), reset, "{now:?} after {before:?}");
        assert_eq!(now.overlaps(before), overlap, "{now:?} after {before:?}");
    }

    #[test]
    fn starts_tell_resets() {
        // The same counter all the time; one without a start.
        check((10, 20), (10, 30), false, false);
        check((10, 20), (0, 30), false, false);
        check((0, 20), (0, 30), false, false);
        // Begun between the samples, or just when the first was taken.
        check((10, 20), (25, 30), true, false);
        check((0, 20), (25, 30), true, false);
        check((10, 20), (20, 30), true, false);
        // An unknown start that is given as the first sample's time.
        check((20, 20), (20, 30), false, false);
        check((0, 20), (20, 30), false, false);
        check((21, 20), (20, 30), false, false);
        // Starts that can't be.
        check((10, 20), (30, 30), false, false);
        check((10, 20), (31, 30), false, false);
        // Some time is counted twice.
        check((10, 20), (15, 30), false, true);
        check((0, 20), (15, 30), false, true);
    }

    #[test]
    fn a_start_within_the_window_is_a_zero() {
        let counted = Counted { t: 30, start: 20 };
        assert_eq!(counted.zero_within(19), Some(20));
        assert_eq!(counted.zero_within(20), None);
        assert_eq!(Counted { t: 20, start: 20 }.zero_within(0), None);
        assert_eq!(Counted { t: 20, start: 0 }.zero_within(-10), None);
    }
}
