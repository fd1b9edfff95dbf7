//! Aggregations.

use super::generate::{Generator, Made, Scope};
use super::tree::{Expr, Grouping};
use super::vocabulary::Shape;

/// Aggregations that give the same bits everywhere.
const EXACT: &[&str] = &[
    "sum",
    "min",
    "max",
    "count",
    "group",
    "topk",
    "bottomk",
    "count_values",
];
const NOISY: &[&str] = &["sum", "avg", "avg", "stddev", "stdvar", "quantile"];

/// Whether upstream takes an expression to be the same at all steps.
///
/// It asks that of what an aggregation is over, and not of its parameter (`preprocessExprHelper`):
/// a parameter that varies is computed once where the rest does not vary, and `@` within it is not
/// resolved. So neither is generated.
fn invariant(expr: &Expr) -> bool {
    const OF_STEP: &[&str] = &["time", "timestamp", "predict_linear"];
    match expr {
        Expr::Select { place, .. } | Expr::Subquery { place, .. } => place.at.is_some(),
        Expr::Call(name, _, args) => {
            let date = args.is_empty() && *name != "pi";
            !date && !OF_STEP.contains(name) && args.iter().all(invariant)
        }
        Expr::Aggregate { inner, .. } => invariant(inner),
        _ => expr.children().into_iter().all(invariant),
    }
}

/// Takes every `@` away.
fn without_at(expr: &mut Expr) {
    if let Expr::Select { place, .. } | Expr::Subquery { place, .. } = expr {
        place.at = None;
    }
    expr.children_mut().into_iter().for_each(without_at);
}

impl Generator {
    /// Any aggregation of any vector.
    pub(super) fn aggregation(&mut self, scope: Scope) -> Made {
        let mut op = if scope.exact || self.random.chance(60) {
            *self.random.pick(EXACT)
        } else {
            *self.random.pick(NOISY)
        };
        if self.modern && self.random.chance(12) {
            op = self.modern_aggregation_name();
        }
        // A last bit decides who is first, and which text a value has.
        let inner = if matches!(op, "topk" | "bottomk" | "count_values") {
            scope.exactly()
        } else {
            scope
        };
        let input = match op {
            // Which of equals stay is left open, and Prometheus 2 takes others each time: within
            // a query, only what has hardly any equals is ranked.
            "topk" | "bottomk" if !self.modern => {
                let metric = self.metric_of(Shape::Counter);
                self.selector_of(metric)
            }
            _ => self.vector(inner.down()),
        };
        self.aggregated(op, input, scope)
    }

    /// The largest or smallest of any vector.
    pub(super) fn ranked(&mut self, scope: Scope) -> Expr {
        let input = self.vector(scope.exactly());
        let op = *self.random.pick(&["topk", "bottomk"]);
        self.aggregated(op, input, scope).expr
    }

    /// This aggregation of that vector.
    pub(super) fn aggregated(&mut self, op: &'static str, input: Made, scope: Scope) -> Made {
        let grouping = self.grouping(&input.labels);
        let varies = !invariant(&input.expr);
        let param = match op {
            "topk" | "bottomk" | "limitk" if varies && self.random.chance(12) => {
                let mut param = self.scalar(scope.exactly().down());
                without_at(&mut param);
                Some(param)
            }
            "topk" | "bottomk" | "limitk" => Some(Expr::Number(
                *self.random.pick(&[1.0, 2.0, 3.0, 5.0, 100.0, 0.0]),
            )),
            "limit_ratio" => Some(Expr::Number(*self.random.pick(&[0.5, -0.5, 0.1, 1.0]))),
            "quantile" => {
                let mut param = self.quantile(scope);
                if !varies && !matches!(param, Expr::Number(_)) {
                    param = Expr::Number(0.5);
                }
                without_at(&mut param);
                Some(param)
            }
            "count_values" => {
                // Prometheus 2 lost a label of `by` at the second step where this one sorts before
                // the last of them (3 copies the slice it sorts): it sorts last.
                let by = grouping.as_ref().is_some_and(|grouping| grouping.by);
                let label = if !by && self.random.chance(20) {
                    "job"
                } else {
                    "x_value"
                };
                Some(Expr::Text(label.to_owned()))
            }
            _ => None,
        };
        let keeps = matches!(op, "topk" | "bottomk" | "limitk" | "limit_ratio");
        let mut labels = match &grouping {
            _ if keeps => input.labels,
            None => Vec::new(),
            Some(grouping) if grouping.by => grouping.labels.clone(),
            Some(grouping) => {
                let mut rest = input.labels;
                rest.retain(|label| !grouping.labels.contains(label));
                rest
            }
        };
        if op == "count_values" {
            labels.push("x_value");
        }
        Made {
            expr: Expr::Aggregate {
                op,
                grouping,
                param: param.map(Box::new),
                inner: Box::new(input.expr),
            },
            labels,
        }
    }

    fn grouping(&mut self, labels: &[&'static str]) -> Option<Grouping> {
        let by = self.random.chance(65);
        match self.random.below(10) {
            0 | 1 => None,
            2 => Some(Grouping {
                by,
                labels: vec!["missing"],
            }),
            3 => Some(Grouping {
                by,
                labels: Vec::new(),
            }),
            _ => {
                let labels = self.some_of(labels);
                Some(Grouping { by, labels })
            }
        }
    }
}
