//! Exemplars: single observations, with the trace they belong to.

use crate::labels::Labels;
use crate::time::TimestampMs;

/// One exemplar of a series.
#[derive(Clone, Debug, PartialEq)]
pub struct Exemplar {
    /// Its own labels (`trace_id`), not those of its series.
    pub labels: Labels,
    /// The observed value.
    pub v: f64,
    /// When it was observed.
    pub t: TimestampMs,
}
