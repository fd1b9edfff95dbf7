//! Functions of one native histogram that yield a float. Floats have no value under them and drop
//! out.

use model::histogram::FloatHistogram;

use crate::eval::column::{ABSENT, Column, ScalarColumn};
use crate::eval::kernel::KernelContext;

/// Applies a function to every histogram and drops the floats.
fn map(column: &mut Column, each: impl Fn(&FloatHistogram) -> f64) {
    column.floats.fill(ABSENT);
    for (step, histogram) in std::mem::take(&mut column.histograms) {
        column.set_float(step as usize, each(&histogram));
    }
}

/// `histogram_count(v)`.
pub(super) fn count(column: &mut Column, _: &[ScalarColumn], _: &mut KernelContext<'_>) {
    map(column, |histogram| histogram.count);
}

/// `histogram_sum(v)`.
pub(super) fn sum(column: &mut Column, _: &[ScalarColumn], _: &mut KernelContext<'_>) {
    map(column, |histogram| histogram.sum);
}

/// `histogram_avg(v)`.
pub(super) fn avg(column: &mut Column, _: &[ScalarColumn], _: &mut KernelContext<'_>) {
    map(column, |histogram| histogram.sum / histogram.count);
}

/// `histogram_stddev(v)`.
pub(super) fn stddev(column: &mut Column, _: &[ScalarColumn], _: &mut KernelContext<'_>) {
    map(column, |histogram| histogram.variance().sqrt());
}

/// `histogram_stdvar(v)`.
pub(super) fn stdvar(column: &mut Column, _: &[ScalarColumn], _: &mut KernelContext<'_>) {
    map(column, FloatHistogram::variance);
}
