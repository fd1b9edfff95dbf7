//! What Prometheus 3 has and 2 has not, experimental things included.

use super::generate::{Generator, Made, Scope};
use super::tree::{Expr, Kind};

const RANGE: &[&str] = &[
    "first_over_time",
    "mad_over_time",
    "ts_of_first_over_time",
    "ts_of_last_over_time",
    "ts_of_max_over_time",
    "ts_of_min_over_time",
];

impl Generator {
    pub(super) fn modern_range_name(&mut self) -> &'static str {
        self.random.word(RANGE)
    }

    pub(super) fn modern_aggregation_name(&mut self) -> &'static str {
        self.random.word(&["limitk", "limit_ratio"])
    }

    pub(super) fn modern_scalar(&mut self) -> Expr {
        let call = |name, args| Expr::Call(name, Kind::Scalar, args);
        match self.random.below(6) {
            0 => call("start", Vec::new()),
            1 => call("end", Vec::new()),
            2 => call("step", Vec::new()),
            3 => call("range", Vec::new()),
            4 => call("min_of", vec![self.number(), self.number()]),
            _ => call("max_of", vec![self.number(), self.number()]),
        }
    }

    /// Functions of native histograms and others that are new.
    pub(super) fn modern_function(&mut self, scope: Scope) -> Made {
        let input = self.vector(scope.down());
        let Made { expr, labels } = input;
        let text = |text: &str| Expr::Text(text.to_owned());
        let (name, args) = match self.random.below(9) {
            0 => ("histogram_avg", vec![expr]),
            1 => ("histogram_count", vec![expr]),
            2 => ("histogram_sum", vec![expr]),
            3 => ("histogram_stddev", vec![expr]),
            4 => ("histogram_stdvar", vec![expr]),
            5 => {
                let bounds = [self.number(), self.number()];
                ("histogram_fraction", [bounds.to_vec(), vec![expr]].concat())
            }
            6 => {
                let quantiles = vec![self.quantile(scope), self.quantile(scope)];
                let args = vec![expr, text("q")];
                ("histogram_quantiles", [args, quantiles].concat())
            }
            7 => {
                let name = *self.random.pick(&["sort_by_label", "sort_by_label_desc"]);
                (name, vec![expr, text("instance"), text("job")])
            }
            _ => ("info", vec![expr]),
        };
        Made {
            expr: Expr::call(name, args),
            labels,
        }
    }
}
