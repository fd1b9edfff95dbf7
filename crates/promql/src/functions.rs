//! The table of functions.

mod rate;
mod over_time;

use crate::eval::kernel::{FunctionDef, Kernel};
use crate::value::ValueType;

/// Finds a function by name.
pub fn lookup(name: &str) -> Option<&'static FunctionDef> {
    FUNCTIONS.iter().find(|def| def.name == name)
}

/// All functions.
pub static FUNCTIONS: &[FunctionDef] = &[
    FunctionDef {
        name: "rate",
        args: &[ValueType::Matrix],
        variadic: 0,
        returns: ValueType::Vector,
        experimental: false,
        keeps_name: false,
        kernel: Kernel::Range(rate::rate),
    },
    FunctionDef {
        name: "sum_over_time",
        args: &[ValueType::Matrix],
        variadic: 0,
        returns: ValueType::Vector,
        experimental: false,
        keeps_name: false,
        kernel: Kernel::Range(over_time::sum),
    },
];
