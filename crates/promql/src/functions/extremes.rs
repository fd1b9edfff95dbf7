//! `min_over_time`, `max_over_time` and when they were: the extremes of sliding windows.
//!
//! A queue keeps the samples that are or may become the extreme of a window: those behind which no
//! better one came. Each sample enters and leaves it once, however much windows overlap.

use crate::annotations::Note;
use crate::eval::column::Column;
use crate::eval::kernel::{KernelContext, RangeInput};

/// `min_over_time(m)`.
pub(super) fn min(input: &RangeInput<'_>, out: &mut Column, context: &mut KernelContext<'_>) {
    slide(
        input,
        context,
        |waiting, new| waiting > new,
        |step, at, nan| {
            out.set_float(
                step,
                if nan {
                    f64::NAN
                } else {
                    input.samples.values[at]
                },
            );
        },
    );
}

/// `max_over_time(m)`.
pub(super) fn max(input: &RangeInput<'_>, out: &mut Column, context: &mut KernelContext<'_>) {
    slide(
        input,
        context,
        |waiting, new| waiting < new,
        |step, at, nan| {
            out.set_float(
                step,
                if nan {
                    f64::NAN
                } else {
                    input.samples.values[at]
                },
            );
        },
    );
}

/// `ts_of_min_over_time(m)`: when the last of the lowest samples was taken, in seconds.
pub(super) fn ts_of_min(input: &RangeInput<'_>, out: &mut Column, context: &mut KernelContext<'_>) {
    slide(
        input,
        context,
        |waiting, new| waiting >= new,
        |step, at, _| {
            out.set_float(step, input.samples.ts[at] as f64 / 1000.0);
        },
    );
}

/// `ts_of_max_over_time(m)`: when the last of the highest samples was taken, in seconds.
pub(super) fn ts_of_max(input: &RangeInput<'_>, out: &mut Column, context: &mut KernelContext<'_>) {
    slide(
        input,
        context,
        |waiting, new| waiting <= new,
        |step, at, _| {
            out.set_float(step, input.samples.ts[at] as f64 / 1000.0);
        },
    );
}

/// Finds the extreme of each window with floats. `beaten` says whether a waiting value gives way
/// to a newer one. `found` gets the step and the extreme's index, or where all values are NaN, the
/// last index and true.
fn slide(
    input: &RangeInput<'_>,
    context: &mut KernelContext<'_>,
    beaten: impl Fn(f64, f64) -> bool,
    mut found: impl FnMut(usize, usize, bool),
) {
    let values = &input.samples.values;
    let mut queue: Vec<u32> = Vec::new();
    let mut head = 0;
    let mut taken = 0;
    let mut ignored = false;
    for (step, window) in input.steps() {
        let range = window.floats();
        if range.is_empty() {
            continue;
        }
        ignored |= !window.histograms().is_empty();
        if taken <= range.start {
            // Nothing of the window before is left.
            queue.clear();
            head = 0;
            taken = range.start;
        }
        for (at, &value) in values.iter().enumerate().take(range.end).skip(taken) {
            if value.is_nan() {
                continue;
            }
            while queue.len() > head
                && queue
                    .last()
                    .is_some_and(|waiting| beaten(values[*waiting as usize], value))
            {
                queue.pop();
            }
            queue.push(at as u32);
        }
        taken = range.end;
        while queue
            .get(head)
            .is_some_and(|at| (*at as usize) < range.start)
        {
            head += 1;
        }
        match queue.get(head) {
            Some(at) => found(step, *at as usize, false),
            None => found(step, range.end - 1, true),
        }
    }
    if ignored {
        context.note_arg(0, &Note::HistogramIgnoredInMixedRange(context.metric_name));
    }
}
