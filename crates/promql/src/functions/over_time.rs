//! The `*_over_time` family.

use crate::eval::column::Column;
use crate::eval::kernel::{KernelContext, RangeInput};

/// `sum_over_time(m)`.
pub(super) fn sum(input: &RangeInput<'_>, out: &mut Column, _: &mut KernelContext<'_>) {
    for (step, window) in input.windows.windows.iter().enumerate() {
        let values = &input.samples.values[window.floats()];
        if !values.is_empty() {
            out.set_float(step, values.iter().sum());
        }
    }
}
