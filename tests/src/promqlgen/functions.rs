//! Calls of functions.

use super::generate::{Generator, Made, Scope};
use super::tree::{Expr, Grouping};
use super::vocabulary::{Metric, Shape};

/// Functions of windows that give the same bits everywhere.
const EXACT_RANGE: &[&str] = &[
    "count_over_time",
    "min_over_time",
    "max_over_time",
    "last_over_time",
    "present_over_time",
    "changes",
    "resets",
    "idelta",
    "sum_over_time",
];

/// Functions of windows that may differ in the last bits.
const NOISY_RANGE: &[&str] = &[
    "rate",
    "increase",
    "rate",
    "increase",
    "irate",
    "delta",
    "deriv",
    "avg_over_time",
    "stddev_over_time",
    "stdvar_over_time",
    "quantile_over_time",
    "predict_linear",
    "double_exponential_smoothing",
];

/// Functions of numbers, likewise.
const EXACT_ELEMENT: &[&str] = &[
    "abs",
    "ceil",
    "floor",
    "round",
    "sgn",
    "clamp",
    "clamp_min",
    "clamp_max",
    "timestamp",
    "minute",
    "hour",
    "day_of_week",
    "day_of_month",
    "day_of_year",
    "days_in_month",
    "month",
    "year",
];

/// Functions of the C library, which may differ in the last bits.
const NOISY_ELEMENT: &[&str] = &[
    "sqrt", "exp", "ln", "log2", "log10", "sin", "cos", "tan", "asin", "acos", "atan", "sinh",
    "cosh", "tanh", "asinh", "acosh", "atanh", "deg", "rad",
];

/// Whether engines may compute a function's last bits otherwise.
pub fn is_noisy(name: &str) -> bool {
    NOISY_RANGE.contains(&name) || NOISY_ELEMENT.contains(&name) || name == "histogram_quantile"
}

/// Takes `@` off a selector or subquery.
fn without_at(expr: &mut Expr) {
    if let Expr::Select { place, .. } | Expr::Subquery { place, .. } = expr {
        place.at = None;
    }
}

impl Generator {
    /// A function of a range vector.
    pub(super) fn range_function(&mut self, scope: Scope) -> Made {
        let name = if scope.exact || self.random.chance(45) {
            *self.random.pick(EXACT_RANGE)
        } else {
            *self.random.pick(NOISY_RANGE)
        };
        let name = if self.modern && self.random.chance(15) {
            self.modern_range_name()
        } else {
            name
        };
        // What counts changes sees each last bit.
        let steps = matches!(name, "rate" | "increase" | "irate" | "changes" | "resets");
        let inner = if steps { scope.exactly() } else { scope };
        let counter = matches!(name, "rate" | "increase" | "irate" | "resets");
        let fits = |metric: &Metric| {
            let is_counter = matches!(metric.shape, Shape::Counter | Shape::Bucket);
            is_counter == counter || metric.shape == Shape::Extreme
        };
        let range = self.matrix_of(inner, fits);
        let factor = |random: &mut crate::random::Random| {
            Expr::Number(*random.pick(&[0.1, 0.5, 0.25, 0.9, 0.75, 1.5]))
        };
        let mut args = vec![range.expr];
        if name == "predict_linear" && !self.modern {
            // With `@`, the window of Prometheus 2 still moved from step to step. In 3 the engine
            // takes it once where the selector has a timestamp.
            without_at(&mut args[0]);
        }
        match name {
            "quantile_over_time" => args.insert(0, self.quantile(scope)),
            "predict_linear" => args.push(self.scalar(scope.down())),
            "double_exponential_smoothing" => {
                args.push(factor(&mut self.random));
                args.push(factor(&mut self.random));
            }
            _ => {}
        }
        Made {
            expr: Expr::call(name, args),
            labels: range.labels,
        }
    }

    /// Which quantile: mostly one that there is.
    pub(super) fn quantile(&mut self, scope: Scope) -> Expr {
        if self.random.chance(8) {
            return self.scalar(scope.down());
        }
        Expr::Number(
            *self
                .random
                .pick(&[0.5, 0.9, 0.99, 0.25, 0.0, 1.0, 0.1, 1.5, -0.5]),
        )
    }

    /// A function of an instant vector, number by number.
    pub(super) fn element_function(&mut self, scope: Scope) -> Made {
        let (name, inner) = if scope.exact || self.random.chance(55) {
            (*self.random.pick(EXACT_ELEMENT), scope.exactly())
        } else {
            let name = *self.random.pick(NOISY_ELEMENT);
            // Others have edges, or make a last bit the first.
            let smooth = matches!(
                name,
                "exp" | "atan" | "sinh" | "tanh" | "asinh" | "deg" | "rad"
            );
            (name, if smooth { scope } else { scope.exactly() })
        };
        let is_date = matches!(
            name,
            "minute"
                | "hour"
                | "day_of_week"
                | "day_of_month"
                | "day_of_year"
                | "days_in_month"
                | "month"
                | "year"
        );
        if is_date && self.random.chance(20) {
            let (expr, labels) = (Expr::call(name, Vec::new()), Vec::new());
            return Made { expr, labels };
        }
        let input = if is_date && self.random.chance(60) {
            let gauges = super::vocabulary::METRICS;
            let starts = gauges
                .iter()
                .find(|metric| metric.name == "start_time_seconds");
            self.selector_of(starts.expect("a metric of dates"))
        } else if name == "timestamp" && self.random.chance(60) {
            let mut selector = self.selector();
            if !self.modern {
                // Prometheus 2 forgot the offset where there is `@` too; 3 adds both up
                // (`setOffsetForAtModifier`).
                without_at(&mut selector.expr);
            }
            selector
        } else {
            self.vector(inner.down())
        };
        let mut args = vec![input.expr];
        match name {
            "clamp" => args.extend([self.number(), self.number()]),
            "clamp_min" | "clamp_max" => args.push(self.scalar(scope.exactly().down())),
            "round" if self.random.chance(50) => {
                args.push(Expr::Number(
                    *self.random.pick(&[0.5, 2.0, 10.0, 0.125, -4.0, 0.0]),
                ));
            }
            _ => {}
        }
        Made {
            expr: Expr::call(name, args),
            labels: input.labels,
        }
    }

    /// Quantiles of classic histograms: mostly of sums of rates, as they are used.
    pub(super) fn histogram_function(&mut self, scope: Scope) -> Made {
        if scope.exact {
            return self.aggregation(scope);
        }
        let metric = self.metric_of(Shape::Bucket);
        let mut buckets = self.selector_of(metric);
        if self.random.chance(60) {
            let length = *self.random.pick(&[120, 300, 600]);
            if let Expr::Select { range, .. } = &mut buckets.expr {
                *range = Some(length);
            }
            let name = *self.random.pick(&["rate", "increase", "max_over_time"]);
            buckets = buckets.map(|range| Expr::call(name, vec![range]));
        }
        if self.random.chance(40) {
            let labels = if self.random.chance(50) {
                vec!["le"]
            } else {
                vec!["le", "job"]
            };
            buckets = Made {
                expr: Expr::Aggregate {
                    op: self.random.word(&["sum", "max", "avg"]),
                    grouping: Some(Grouping {
                        by: true,
                        labels: labels.clone(),
                    }),
                    param: None,
                    inner: Box::new(buckets.expr),
                },
                labels,
            };
        }
        let mut labels = buckets.labels;
        labels.retain(|label| *label != "le");
        let quantile = self.quantile(scope);
        Made {
            expr: Expr::call("histogram_quantile", vec![quantile, buckets.expr]),
            labels,
        }
    }

    /// `label_replace` and `label_join`.
    pub(super) fn relabelled(&mut self, scope: Scope) -> Made {
        let Made { expr, mut labels } = self.vector(scope.down());
        let source = match labels.as_slice() {
            [] => "job",
            known => *self.random.pick(known),
        };
        let target = *self
            .random
            .pick(&["made", "made", "instance", "job", "__name__"]);
        let text = |text: &str| Expr::Text(text.to_owned());
        let expr = if self.random.chance(60) {
            let (replacement, regex) = *self.random.pick(&[
                ("$1", "(.*)"),
                ("x_$1", "(.).*"),
                ("${1}_y", "([a-z]+).*"),
                ("${first}", "(?P<first>[^:]*).*"),
                ("", ".*"),
                ("fixed", "no such value"),
                ("$2$1$$", "(.+?)([a-z0-9]*)"),
            ]);
            let args = [target, replacement, source, regex].map(text);
            Expr::call("label_replace", [vec![expr], args.to_vec()].concat())
        } else {
            let separator = *self.random.pick(&["-", "", "ä"]);
            let mut sources = self.some_of(&labels);
            sources.push("missing");
            let sources: Vec<_> = sources.into_iter().map(text).collect();
            let args = vec![expr, text(target), text(separator)];
            Expr::call("label_join", [args, sources].concat())
        };
        if target == "made" {
            labels.push("made");
        }
        Made { expr, labels }
    }

    /// `absent` and `absent_over_time`.
    pub(super) fn absent(&mut self, scope: Scope) -> Made {
        let expr = if self.random.chance(50) {
            let input = self.vector(scope.down());
            Expr::call("absent", vec![input.expr])
        } else {
            let input = self.matrix(scope);
            Expr::call("absent_over_time", vec![input.expr])
        };
        Made {
            expr,
            labels: Vec::new(),
        }
    }

    /// What orders its series, at the outside where the order is to be seen.
    pub(super) fn sorted(&mut self, scope: Scope) -> Expr {
        let input = self.vector(scope.exactly());
        let name = *self.random.pick(&["sort", "sort_desc"]);
        Expr::call(name, vec![input.expr])
    }
}
