//! The table of functions, and their kernels by family.

mod starts;
pub(crate) mod interpolate;
mod rate;
mod extended;
mod instant_rate;
mod transitions;
mod regression;
mod over_time;
mod extremes;
mod spread;
pub(crate) mod math;
pub(crate) mod date;
mod native;
mod buckets;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

use crate::eval::column::ScalarColumn;
use crate::eval::kernel::{BucketKernel, ElementKernel, FunctionDef, Kernel, RangeKernel, Special};
use crate::value::ValueType;
use ValueType::{Matrix, Scalar, String, Vector};

/// Finds a function by name.
pub fn lookup(name: &str) -> Option<&'static FunctionDef> {
    let found = FUNCTIONS.binary_search_by_key(&name, |def| def.name);
    found.ok().map(|index| &FUNCTIONS[index])
}

/// Checks scalar arguments whose values may be an error rather than make no result. It is asked
/// for a step of a series that has samples.
///
/// # Errors
/// What is wrong with which argument.
pub fn check_params(
    name: &str,
    params: &[ScalarColumn],
    step: usize,
) -> Result<(), std::string::String> {
    if name != "double_exponential_smoothing" {
        return Ok(());
    }
    for (what, short, factor) in [
        ("smoothing", "sf", params.first()),
        ("trend", "tf", params.get(1)),
    ] {
        let Some(factor) = factor.map(|factor| factor.at(step)) else {
            continue;
        };
        if factor <= 0.0 || factor >= 1.0 {
            let got = if factor.is_infinite() {
                model::go_float::General(factor).to_string()
            } else {
                format!("{factor:.6}")
            };
            return Err(format!(
                "invalid {what} factor. Expected: 0 < {short} < 1, got: {got}"
            ));
        }
    }
    Ok(())
}

impl FunctionDef {
    const fn new(
        name: &'static str,
        args: &'static [ValueType],
        returns: ValueType,
        kernel: Kernel,
    ) -> Self {
        Self {
            name,
            args,
            variadic: 0,
            returns,
            experimental: false,
            keeps_name: false,
            kernel,
        }
    }

    /// A function of a range vector only.
    const fn range(name: &'static str, kernel: RangeKernel) -> Self {
        Self::new(name, &[Matrix], Vector, Kernel::Range(kernel))
    }

    /// A function of an instant vector only.
    const fn element(name: &'static str, kernel: ElementKernel) -> Self {
        Self::new(name, &[Vector], Vector, Kernel::Element(kernel))
    }

    const fn buckets(name: &'static str, args: &'static [ValueType], kernel: BucketKernel) -> Self {
        Self::new(name, args, Vector, Kernel::Buckets(kernel))
    }

    const fn special(
        name: &'static str,
        args: &'static [ValueType],
        returns: ValueType,
        special: Special,
    ) -> Self {
        Self::new(name, args, returns, Kernel::Special(special))
    }

    const fn with_args(mut self, args: &'static [ValueType]) -> Self {
        self.args = args;
        self
    }

    const fn variadic(mut self, times: i8) -> Self {
        self.variadic = times;
        self
    }

    const fn experimental(mut self) -> Self {
        self.experimental = true;
        self
    }

    const fn keeps_name(mut self) -> Self {
        self.keeps_name = true;
        self
    }
}

/// All functions, ascending by name.
pub static FUNCTIONS: &[FunctionDef] = &[
    FunctionDef::element("abs", math::abs),
    FunctionDef::special("absent", &[Vector], Vector, Special::Absent),
    FunctionDef::special(
        "absent_over_time",
        &[Matrix],
        Vector,
        Special::AbsentOverTime,
    ),
    FunctionDef::element("acos", math::acos),
    FunctionDef::element("acosh", math::acosh),
    FunctionDef::element("asin", math::asin),
    FunctionDef::element("asinh", math::asinh),
    FunctionDef::element("atan", math::atan),
    FunctionDef::element("atanh", math::atanh),
    FunctionDef::range("avg_over_time", over_time::avg),
    FunctionDef::element("ceil", math::ceil),
    FunctionDef::range("changes", transitions::changes),
    FunctionDef::element("clamp", math::clamp).with_args(&[Vector, Scalar, Scalar]),
    FunctionDef::element("clamp_max", math::clamp_max).with_args(&[Vector, Scalar]),
    FunctionDef::element("clamp_min", math::clamp_min).with_args(&[Vector, Scalar]),
    FunctionDef::element("cos", math::cos),
    FunctionDef::element("cosh", math::cosh),
    FunctionDef::range("count_over_time", over_time::count),
    FunctionDef::element("day_of_month", date::day_of_month).variadic(1),
    FunctionDef::element("day_of_week", date::day_of_week).variadic(1),
    FunctionDef::element("day_of_year", date::day_of_year).variadic(1),
    FunctionDef::element("days_in_month", date::days_in_month).variadic(1),
    FunctionDef::element("deg", math::deg),
    FunctionDef::range("delta", rate::delta),
    FunctionDef::range("deriv", regression::deriv),
    FunctionDef::range(
        "double_exponential_smoothing",
        regression::double_exponential_smoothing,
    )
    .with_args(&[Matrix, Scalar, Scalar])
    .experimental(),
    FunctionDef::special("end", &[], Scalar, Special::End).experimental(),
    FunctionDef::element("exp", math::exp),
    FunctionDef::range("first_over_time", over_time::first)
        .experimental()
        .keeps_name(),
    FunctionDef::element("floor", math::floor),
    FunctionDef::element("histogram_avg", native::avg),
    FunctionDef::element("histogram_count", native::count),
    FunctionDef::buckets(
        "histogram_fraction",
        &[Scalar, Scalar, Vector],
        buckets::fraction,
    ),
    FunctionDef::buckets("histogram_quantile", &[Scalar, Vector], buckets::quantile),
    FunctionDef::special(
        "histogram_quantiles",
        &[Vector, String, Scalar, Scalar],
        Vector,
        Special::HistogramQuantiles,
    )
    .variadic(9)
    .experimental(),
    FunctionDef::element("histogram_stddev", native::stddev),
    FunctionDef::element("histogram_stdvar", native::stdvar),
    FunctionDef::element("histogram_sum", native::sum),
    FunctionDef::element("hour", date::hour).variadic(1),
    FunctionDef::range("idelta", instant_rate::idelta),
    FunctionDef::range("increase", rate::increase),
    FunctionDef::special("info", &[Vector, Vector], Vector, Special::Info)
        .variadic(1)
        .experimental()
        .keeps_name(),
    FunctionDef::range("irate", instant_rate::irate),
    FunctionDef::special(
        "label_join",
        &[Vector, String, String, String],
        Vector,
        Special::LabelJoin,
    )
    .variadic(-1)
    .keeps_name(),
    FunctionDef::special(
        "label_replace",
        &[Vector, String, String, String, String],
        Vector,
        Special::LabelReplace,
    )
    .keeps_name(),
    FunctionDef::range("last_over_time", over_time::last).keeps_name(),
    FunctionDef::element("ln", math::ln),
    FunctionDef::element("log10", math::log10),
    FunctionDef::element("log2", math::log2),
    FunctionDef::range("mad_over_time", spread::mad).experimental(),
    FunctionDef::special("max_of", &[Scalar, Scalar], Scalar, Special::MaxOf).experimental(),
    FunctionDef::range("max_over_time", extremes::max),
    FunctionDef::special("min_of", &[Scalar, Scalar], Scalar, Special::MinOf).experimental(),
    FunctionDef::range("min_over_time", extremes::min),
    FunctionDef::element("minute", date::minute).variadic(1),
    FunctionDef::element("month", date::month).variadic(1),
    FunctionDef::special("pi", &[], Scalar, Special::Pi),
    FunctionDef::range("predict_linear", regression::predict_linear).with_args(&[Matrix, Scalar]),
    FunctionDef::range("present_over_time", over_time::present),
    FunctionDef::range("quantile_over_time", spread::quantile).with_args(&[Scalar, Matrix]),
    FunctionDef::element("rad", math::rad),
    FunctionDef::special("range", &[], Scalar, Special::Range).experimental(),
    FunctionDef::range("rate", rate::rate),
    FunctionDef::range("resets", transitions::resets),
    FunctionDef::element("round", math::round)
        .with_args(&[Vector, Scalar])
        .variadic(1),
    FunctionDef::special("scalar", &[Vector], Scalar, Special::Scalar),
    FunctionDef::element("sgn", math::sgn),
    FunctionDef::element("sin", math::sin),
    FunctionDef::element("sinh", math::sinh),
    FunctionDef::special("sort", &[Vector], Vector, Special::Sort).keeps_name(),
    FunctionDef::special(
        "sort_by_label",
        &[Vector, String],
        Vector,
        Special::SortByLabel,
    )
    .variadic(-1)
    .experimental()
    .keeps_name(),
    FunctionDef::special(
        "sort_by_label_desc",
        &[Vector, String],
        Vector,
        Special::SortByLabelDesc,
    )
    .variadic(-1)
    .experimental()
    .keeps_name(),
    FunctionDef::special("sort_desc", &[Vector], Vector, Special::SortDesc).keeps_name(),
    FunctionDef::element("sqrt", math::sqrt),
    FunctionDef::special("start", &[], Scalar, Special::Start).experimental(),
    FunctionDef::special(
        "start_timestamp",
        &[Vector],
        Vector,
        Special::StartTimestamp,
    )
    .experimental(),
    FunctionDef::range("stddev_over_time", spread::stddev),
    FunctionDef::range("stdvar_over_time", spread::stdvar),
    FunctionDef::special("step", &[], Scalar, Special::Step).experimental(),
    FunctionDef::range("sum_over_time", over_time::sum),
    FunctionDef::element("tan", math::tan),
    FunctionDef::element("tanh", math::tanh),
    FunctionDef::special("time", &[], Scalar, Special::Time),
    FunctionDef::special("timestamp", &[Vector], Vector, Special::Timestamp),
    FunctionDef::range("ts_of_first_over_time", over_time::ts_of_first).experimental(),
    FunctionDef::range("ts_of_last_over_time", over_time::ts_of_last).experimental(),
    FunctionDef::range("ts_of_max_over_time", extremes::ts_of_max).experimental(),
    FunctionDef::range("ts_of_min_over_time", extremes::ts_of_min).experimental(),
    FunctionDef::special("vector", &[Scalar], Vector, Special::Vector),
    FunctionDef::element("year", date::year).variadic(1),
];
