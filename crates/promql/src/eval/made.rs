//! Histograms that an operation makes, up to one per step. They are charged before they are made:
//! a subquery can have millions of steps, and a histogram takes kilobytes.

use model::select::HistogramPoint;

use super::budget::{Budget, Held};
use super::column::{Column, histogram_bytes};
use super::kernel::Windows;
use super::{EvalError, Evaluator};

/// Histograms that may be made between two looks at whether the query is to stop: a
/// millisecond's.
const PER_CHECK: usize = 1024;

/// Functions over windows whose results are histograms of their own.
const MAKERS: [&str; 7] = [
    "avg_over_time",
    "delta",
    "idelta",
    "increase",
    "irate",
    "rate",
    "sum_over_time",
];

/// To be called for each histogram made, with how many there were before.
pub(super) fn check(budget: &Budget<'_>, made: usize) -> Result<(), EvalError> {
    if made.is_multiple_of(PER_CHECK) {
        budget.stopped()?;
    }
    Ok(())
}

impl Evaluator<'_> {
    /// Takes the memory of the histograms that a function makes of windows.
    pub(super) fn hold_of_windows(
        &self,
        function: &str,
        points: &[HistogramPoint],
        windows: &Windows,
    ) -> Result<Held<'_>, EvalError> {
        if points.is_empty() || !MAKERS.contains(&function) {
            return Ok(self.budget.hold());
        }
        let made = windows.windows.iter();
        let made = made.filter(|window| !window.histograms().is_empty());
        self.hold_made(made.count(), points)
    }

    /// Takes the memory of so many histograms, each as large as the largest of those that they are
    /// made of.
    pub(super) fn hold_made(
        &self,
        count: usize,
        of: &[HistogramPoint],
    ) -> Result<Held<'_>, EvalError> {
        let bytes = of.iter().map(|point| histogram_bytes(&point.histogram));
        let mut held = self.budget.hold();
        held.charge(count.saturating_mul(bytes.max().unwrap_or_default()))?;
        Ok(held)
    }

    /// Takes the memory of a histogram made of each of a column's.
    pub(super) fn hold_copies(&self, column: &Column) -> Result<Held<'_>, EvalError> {
        let mut held = self.budget.hold();
        held.charge(column.histogram_bytes())?;
        Ok(held)
    }
}
