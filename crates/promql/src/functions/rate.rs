//! The rate family.

use crate::eval::column::Column;
use crate::eval::kernel::{KernelContext, RangeInput};

/// `rate(m)`.
pub(super) fn rate(input: &RangeInput<'_>, out: &mut Column, _: &mut KernelContext<'_>) {
    for (step, window) in input.windows.windows.iter().enumerate() {
        let range = window.floats();
        if range.len() < 2 {
            continue;
        }
        let seconds = input.windows.range_ms as f64 / 1000.0;
        let values = &input.samples.values[range];
        out.set_float(step, (values[values.len() - 1] - values[0]) / seconds);
    }
}
