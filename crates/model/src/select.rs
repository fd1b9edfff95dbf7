//! What a query asks of storage, and what it gets: series by series, as columns.
//!
//! `tsdb` answers it from the head, `promql` consumes it; between them may lie a network.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::error::ErrorKind;
use crate::histogram::FloatHistogram;
use crate::labels::Labels;
use crate::matcher::Matcher;
pub use crate::skipped::Skipped;
use crate::time::{TimeRange, TimestampMs};

/// Which series, over which time.
#[derive(Clone, Debug, PartialEq)]
pub struct SelectRequest {
    /// All must hold.
    pub matchers: Vec<Matcher>,
    /// Only samples within come back.
    pub range: TimeRange,
    /// Which labels the asker will look at.
    pub labels: LabelsNeeded,
    /// Series beyond so many are an error; 0: no limit.
    pub max_series: usize,
    /// Bytes that the set may hold, of what it knows of all its series, beyond which it is an error;
    /// 0: no limit.
    pub max_bytes: usize,
    /// Takes what can't be read, where the asker takes the rest.
    pub skipped: Skipped,
}

/// Which labels of a series the asker needs. What it does not need may be left out, so that
/// several series come back with the same labels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum LabelsNeeded {
    /// All of them.
    #[default]
    All,
    /// These names only, sorted: an aggregation `by` them is all that looks at the result.
    Only(Vec<Arc<str>>),
}

/// The samples of one series within a range, in the order of time.
#[derive(Clone, Debug, Default)]
pub struct SeriesSamples {
    /// Timestamps of the float samples, ascending, each once.
    pub ts: Vec<TimestampMs>,
    /// Their values, stale markers included.
    pub values: Vec<f64>,
    /// Start timestamps of the float samples; empty where none is known, else one each (0: unknown).
    pub starts: Vec<TimestampMs>,
    /// The histogram samples, ascending; no timestamp is in both columns. A stale marker is a
    /// histogram whose sum is the stale NaN.
    pub histograms: Vec<HistogramPoint>,
}

impl SeriesSamples {
    /// Empties the columns and keeps their memory.
    pub fn clear(&mut self) {
        self.ts.clear();
        self.values.clear();
        self.starts.clear();
        self.histograms.clear();
    }

    /// Whether there is no sample.
    pub fn is_empty(&self) -> bool {
        self.ts.is_empty() && self.histograms.is_empty()
    }
}

/// One native histogram of a series.
#[derive(Clone, Debug, PartialEq)]
pub struct HistogramPoint {
    /// When it was taken.
    pub t: TimestampMs,
    /// When the counter behind it started; 0 where unknown.
    pub start: TimestampMs,
    /// The histogram, integer ones converted.
    pub histogram: Arc<FloatHistogram>,
}

/// The selected series, one after the other, in no particular order, each once.
pub trait SeriesSet: Send {
    /// Clears `samples`, fills it with the next series' and returns its labels; `None` at the
    /// end. A series without samples in the range may be left out.
    ///
    /// # Errors
    /// Where stored bytes can't be read, or a source has gone away.
    fn next(&mut self, samples: &mut SeriesSamples) -> Result<Option<Labels>, SelectError>;

    /// How many series are still to come, where that is known.
    fn remaining(&self) -> Option<usize> {
        None
    }

    /// Divides what is still to come into at most `parts` sets that can be consumed at once; one
    /// after the other they yield the same series in the same order.
    fn split(self: Box<Self>, parts: usize) -> Vec<Box<dyn SeriesSet>>;
}

/// What a look-up of names, values or label sets must keep within.
#[derive(Clone, Default)]
pub struct LookupBounds {
    /// Series beyond so many are an error; 0: no limit.
    pub max_series: usize,
    /// Bytes of what is found beyond so many are an error; 0: no limit.
    pub max_bytes: usize,
    /// What others hold under the same limit of bytes.
    pub shared: Option<SharedBytes>,
    /// Takes what can't be read, where the asker takes the rest.
    pub skipped: Skipped,
    /// Whether nobody waits any more; asked between two steps. `None`: somebody always does.
    pub stop: Option<Arc<dyn Fn() -> bool + Send + Sync>>,
}

impl fmt::Debug for LookupBounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LookupBounds")
            .field("max_series", &self.max_series)
            .field("max_bytes", &self.max_bytes)
            .finish_non_exhaustive()
    }
}

impl LookupBounds {
    /// Goes on unless nobody waits.
    ///
    /// # Errors
    /// Where the look-up is to stop.
    pub fn go_on(&self) -> Result<(), SelectError> {
        if self.stop.as_ref().is_some_and(|stop| stop()) {
            return Err(SelectError {
                kind: ErrorKind::Unavailable,
                message: "the look-up was stopped: nobody waits for it".to_owned(),
            });
        }
        Ok(())
    }

    /// Takes so many series.
    ///
    /// # Errors
    /// Where they are more than allowed.
    pub fn series(&self, count: u64) -> Result<(), SelectError> {
        if self.max_series > 0 && count > self.max_series as u64 {
            return Err(SelectError {
                kind: ErrorKind::TooMany,
                message: format!(
                    "the look-up selects more series than the limit max_series_per_query of {}; \
                     narrow its label matchers or raise the limit",
                    self.max_series
                ),
            });
        }
        Ok(())
    }

    /// Takes so many bytes.
    ///
    /// # Errors
    /// Where they are more than allowed.
    pub fn bytes(&self, bytes: usize) -> Result<(), SelectError> {
        let bytes = self.shared.as_ref().map_or(bytes, |all| all.hold(bytes));
        if self.max_bytes > 0 && bytes > self.max_bytes {
            return Err(SelectError {
                kind: ErrorKind::TooMany,
                message: format!(
                    "the look-up finds more than the limit max_memory_per_query of {} bytes; \
                     narrow its label matchers, give a limit, or raise that limit",
                    self.max_bytes
                ),
            });
        }
        Ok(())
    }
}

/// Bytes that several look-ups of one request hold at once, each counted as it goes. A clone is the
/// same one's.
#[derive(Clone, Debug, Default)]
pub struct SharedBytes {
    all: Arc<AtomicUsize>,
    own: Arc<AtomicUsize>,
    /// What this one holds already of earlier steps.
    kept: usize,
}

impl SharedBytes {
    /// Those of one more.
    #[must_use]
    pub fn another(&self) -> Self {
        Self {
            all: Arc::clone(&self.all),
            ..Self::default()
        }
    }

    /// Those of its next step, in which it keeps so many.
    #[must_use]
    pub fn keeping(&self, kept: usize) -> Self {
        Self {
            kept,
            ..self.clone()
        }
    }

    /// Holds so many, beside what it keeps; says how many all hold.
    pub fn hold(&self, bytes: usize) -> usize {
        let own = self.kept.saturating_add(bytes);
        let before = self.own.swap(own, Ordering::Relaxed);
        let all = self.all.fetch_add(own, Ordering::Relaxed);
        self.all.fetch_sub(before, Ordering::Relaxed);
        (all + own).saturating_sub(before)
    }
}

/// Why a select failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct SelectError {
    /// What kind of failure.
    pub kind: ErrorKind,
    /// What, and for whom.
    pub message: String,
}
