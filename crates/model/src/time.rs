//! Time: milliseconds since the epoch, half-open ranges, and the clock as an argument.

use std::sync::atomic::{AtomicI64, Ordering};

/// Milliseconds since 1970-01-01T00:00:00Z.
pub type TimestampMs = i64;

/// A half-open range of time: `start <= t < end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TimeRange {
    /// The first instant within.
    pub start: TimestampMs,
    /// The first instant behind.
    pub end: TimestampMs,
}

impl TimeRange {
    /// The range from `start` to `last`, both within.
    pub fn inclusive(start: TimestampMs, last: TimestampMs) -> Self {
        let end = last.saturating_add(1);
        Self { start, end }
    }

    /// All of time.
    pub fn all() -> Self {
        Self {
            start: TimestampMs::MIN,
            end: TimestampMs::MAX,
        }
    }

    /// Whether `t` lies within.
    #[inline]
    pub fn contains(&self, t: TimestampMs) -> bool {
        self.start <= t && t < self.end
    }

    /// Whether nothing lies within.
    pub fn is_empty(&self) -> bool {
        self.start >= self.end
    }

    /// Whether a stretch from `first` to `last`, both within it, has an instant in this range.
    #[inline]
    pub fn overlaps(&self, first: TimestampMs, last: TimestampMs) -> bool {
        first < self.end && last >= self.start
    }
}

/// What time it is: an argument everywhere, so that a test owns it.
pub trait Clock: Send + Sync {
    /// Now.
    fn now_ms(&self) -> TimestampMs;
}

/// The clock of the machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now_ms(&self) -> TimestampMs {
        #[expect(
            clippy::disallowed_methods,
            reason = "the one place that asks the machine"
        )]
        let now = std::time::SystemTime::now();
        let elapsed = now.duration_since(std::time::UNIX_EPOCH);
        elapsed.map_or(0, |d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX))
    }
}

/// A clock that stands still until it is set.
#[derive(Debug, Default)]
pub struct ManualClock(AtomicI64);

impl ManualClock {
    /// A clock that shows `now`.
    pub fn new(now: TimestampMs) -> Self {
        Self(AtomicI64::new(now))
    }

    /// Sets what it shows.
    pub fn set(&self, now: TimestampMs) {
        self.0.store(now, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now_ms(&self) -> TimestampMs {
        self.0.load(Ordering::SeqCst)
    }
}
