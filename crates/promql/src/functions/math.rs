//! Functions of one float: rounding, exponentials, trigonometry, clamping. Histograms have no value
//! under them and drop out.

use crate::eval::column::{ABSENT, Column, ScalarColumn, is_absent};
use crate::eval::kernel::KernelContext;

/// Applies a function to every float and drops the histograms.
#[inline]
pub(super) fn map(column: &mut Column, each: impl Fn(f64) -> f64) {
    column.histograms.clear();
    for value in &mut column.floats {
        if !is_absent(*value) {
            let result = each(*value);
            *value = if is_absent(result) { f64::NAN } else { result };
        }
    }
}

/// The same with the number of the step; `None` drops the point.
#[inline]
pub(super) fn map_steps(column: &mut Column, each: impl Fn(usize, f64) -> Option<f64>) {
    column.histograms.clear();
    for (step, value) in column.floats.iter_mut().enumerate() {
        if !is_absent(*value) {
            *value = match each(step, *value) {
                Some(result) if is_absent(result) => f64::NAN,
                Some(result) => result,
                None => ABSENT,
            };
        }
    }
}

/// `abs(v)`.
pub(super) fn abs(column: &mut Column, _: &[ScalarColumn], _: &mut KernelContext<'_>) {
    map(column, f64::abs);
}

/// `ceil(v)`.
pub(super) fn ceil(column: &mut Column, _: &[ScalarColumn], _: &mut KernelContext<'_>) {
    map(column, f64::ceil);
}

/// `floor(v)`.
pub(super) fn floor(column: &mut Column, _: &[ScalarColumn], _: &mut KernelContext<'_>) {
    map(column, f64::floor);
}

/// `exp(v)`.
pub(super) fn exp(column: &mut Column, _: &[ScalarColumn], _: &mut KernelContext<'_>) {
    map(column, f64::exp);
}

/// `sqrt(v)`.
pub(super) fn sqrt(column: &mut Column, _: &[ScalarColumn], _: &mut KernelContext<'_>) {
    map(column, f64::sqrt);
}

/// `ln(v)`.
pub(super) fn ln(column: &mut Column, _: &[ScalarColumn], _: &mut KernelContext<'_>) {
    map(column, f64::ln);
}

/// `log2(v)`.
pub(super) fn log2(column: &mut Column, _: &[ScalarColumn], _: &mut KernelContext<'_>) {
    map(column, f64::log2);
}

/// `log10(v)`.
pub(super) fn log10(column: &mut Column, _: &[ScalarColumn], _: &mut KernelContext<'_>) {
    map(column, f64::log10);
}

/// `sin(v)`.
pub(super) fn sin(column: &mut Column, _: &[ScalarColumn], _: &mut KernelContext<'_>) {
    map(column, f64::sin);
}

/// `cos(v)`.
pub(super) fn cos(column: &mut Column, _: &[ScalarColumn], _: &mut KernelContext<'_>) {
    map(column, f64::cos);
}

/// `tan(v)`.
pub(super) fn tan(column: &mut Column, _: &[ScalarColumn], _: &mut KernelContext<'_>) {
    map(column, f64::tan);
}

/// `asin(v)`.
pub(super) fn asin(column: &mut Column, _: &[ScalarColumn], _: &mut KernelContext<'_>) {
    map(column, f64::asin);
}

/// `acos(v)`.
pub(super) fn acos(column: &mut Column, _: &[ScalarColumn], _: &mut KernelContext<'_>) {
    map(column, f64::acos);
}

/// `atan(v)`.
pub(super) fn atan(column: &mut Column, _: &[ScalarColumn], _: &mut KernelContext<'_>) {
    map(column, f64::atan);
}

/// `sinh(v)`.
pub(super) fn sinh(column: &mut Column, _: &[ScalarColumn], _: &mut KernelContext<'_>) {
    map(column, f64::sinh);
}

/// `cosh(v)`.
pub(super) fn cosh(column: &mut Column, _: &[ScalarColumn], _: &mut KernelContext<'_>) {
    map(column, f64::cosh);
}

/// `tanh(v)`.
pub(super) fn tanh(column: &mut Column, _: &[ScalarColumn], _: &mut KernelContext<'_>) {
    map(column, f64::tanh);
}

/// `asinh(v)`.
pub(super) fn asinh(column: &mut Column, _: &[ScalarColumn], _: &mut KernelContext<'_>) {
    map(column, f64::asinh);
}

/// `acosh(v)`.
pub(super) fn acosh(column: &mut Column, _: &[ScalarColumn], _: &mut KernelContext<'_>) {
    map(column, f64::acosh);
}

/// `atanh(v)`.
pub(super) fn atanh(column: &mut Column, _: &[ScalarColumn], _: &mut KernelContext<'_>) {
    map(column, f64::atanh);
}

/// `deg(v)`.
pub(super) fn deg(column: &mut Column, _: &[ScalarColumn], _: &mut KernelContext<'_>) {
    map(column, |v| v * 180.0 / std::f64::consts::PI);
}

/// `rad(v)`.
pub(super) fn rad(column: &mut Column, _: &[ScalarColumn], _: &mut KernelContext<'_>) {
    map(column, |v| v * std::f64::consts::PI / 180.0);
}

/// `sgn(v)`.
pub(super) fn sgn(column: &mut Column, _: &[ScalarColumn], _: &mut KernelContext<'_>) {
    // Zeros and NaN are their own sign.
    map(column, |v| match v {
        v if v < 0.0 => -1.0,
        v if v > 0.0 => 1.0,
        v => v,
    });
}

/// `round(v, to_nearest = 1)`: ties go up.
pub(super) fn round(column: &mut Column, params: &[ScalarColumn], _: &mut KernelContext<'_>) {
    // Multiplying with the inverse loses less than dividing.
    let rounded = |v: f64, inverse: f64| (v * inverse + 0.5).floor() / inverse;
    match params.first() {
        None => map(column, |v| rounded(v, 1.0)),
        Some(nearest) => map_steps(column, |step, v| Some(rounded(v, 1.0 / nearest.at(step)))),
    }
}

/// `clamp(v, min, max)`: nothing where `max` is below `min`.
pub(super) fn clamp(column: &mut Column, params: &[ScalarColumn], _: &mut KernelContext<'_>) {
    if let [min, max] = params {
        map_steps(column, |step, v| {
            let (min, max) = (min.at(step), max.at(step));
            if max < min {
                None
            } else {
                Some(larger(min, smaller(max, v)))
            }
        });
    }
}

/// `clamp_min(v, min)`.
pub(super) fn clamp_min(column: &mut Column, params: &[ScalarColumn], _: &mut KernelContext<'_>) {
    if let [min] = params {
        map_steps(column, |step, v| Some(larger(min.at(step), v)));
    }
}

/// `clamp_max(v, max)`.
pub(super) fn clamp_max(column: &mut Column, params: &[ScalarColumn], _: &mut KernelContext<'_>) {
    if let [max] = params {
        map_steps(column, |step, v| Some(smaller(max.at(step), v)));
    }
}

/// The smaller of two numbers: -Inf if one is, else NaN if one is. Minus zero is the smaller zero.
pub(crate) fn smaller(a: f64, b: f64) -> f64 {
    if a == f64::NEG_INFINITY || b == f64::NEG_INFINITY {
        f64::NEG_INFINITY
    } else if a.is_nan() || b.is_nan() {
        f64::NAN
    } else if a == b {
        if a.is_sign_negative() { a } else { b }
    } else {
        a.min(b)
    }
}

/// The larger of two numbers: +Inf if one is, else NaN if one is. Minus zero is the smaller zero.
pub(crate) fn larger(a: f64, b: f64) -> f64 {
    if a == f64::INFINITY || b == f64::INFINITY {
        f64::INFINITY
    } else if a.is_nan() || b.is_nan() {
        f64::NAN
    } else if a == b {
        if a.is_sign_negative() { b } else { a }
    } else {
        a.max(b)
    }
}
