//! Selectors, ranges and subqueries, at the time of the query or another.

use super::generate::{Generator, Made, Scope};
use super::print::quoted;
use super::tree::{At, Expr, Place};
use super::vocabulary::{BEGIN, LENGTH, METRICS, Metric, NATIVE, Shape, values};

impl Generator {
    /// An instant selector of any metric.
    pub(super) fn selector(&mut self) -> Made {
        let native = self.modern && self.random.chance(30);
        let metric = self.random.pick(if native { NATIVE } else { METRICS });
        self.selector_of(metric)
    }

    pub(super) fn selector_of(&mut self, metric: &'static Metric) -> Made {
        let mut matchers = Vec::new();
        let mut name = Some(metric.name);
        if self.random.chance(3) {
            name = None;
            let regex = quoted(&format!("{}.*", &metric.name[..metric.name.len() - 2]));
            matchers.push(format!("__name__=~{regex}"));
        }
        while self.random.chance(30) {
            let label = *self.random.pick(metric.labels);
            matchers.push(self.matcher(label));
        }
        if self.random.chance(2) {
            matchers.push("missing=\"\"".to_owned());
        }
        if self.random.chance(2) {
            name = Some("no_such_metric");
        }
        Made {
            expr: Expr::Select {
                metric: name,
                matchers,
                range: None,
                place: self.place(),
                extension: None,
            },
            labels: metric.labels.to_vec(),
        }
    }

    fn matcher(&mut self, label: &'static str) -> String {
        let value = *self.random.pick(values(label));
        let other = *self.random.pick(values(label));
        let escaped = |text: &str| regex::escape(text);
        match self.random.below(10) {
            0..3 => format!("{label}={}", quoted(value)),
            3..6 => format!("{label}!={}", quoted(value)),
            6 => format!(
                "{label}=~{}",
                quoted(&format!("{}|{}", escaped(value), escaped(other)))
            ),
            7 => format!("{label}!~{}", quoted(&escaped(value))),
            8 => {
                let first: String = value.chars().take(1).collect();
                format!("{label}=~{}", quoted(&format!("{}.*", escaped(&first))))
            }
            _ => format!("{label}=~\".+\""),
        }
    }

    pub(super) fn place(&mut self) -> Place {
        let at = match self.random.below(40) {
            0 => Some(At::Time(
                BEGIN + 1500 + 5 * self.random.below(LENGTH as u64 / 6) as i64,
            )),
            1 => Some(At::Start),
            2 => Some(At::End),
            _ => None,
        };
        let offsets = &[5, 30, 60, 300, 600, -5, -30, -60, -300, -600];
        let offset = self.random.chance(10).then(|| *self.random.pick(offsets));
        Place { at, offset }
    }

    /// A range vector: of stored samples, or of a subquery.
    pub(super) fn matrix(&mut self, scope: Scope) -> Made {
        self.matrix_of(scope, |_| true)
    }

    /// The same over a metric that `fits`.
    pub(super) fn matrix_of(&mut self, scope: Scope, fits: impl Fn(&Metric) -> bool) -> Made {
        if scope.subqueries > 0 && scope.depth > 1 && self.random.chance(22) {
            return self.subquery(scope);
        }
        let native = self.modern && self.random.chance(30);
        let metrics = if native { NATIVE } else { METRICS };
        let fitting: Vec<&'static Metric> = metrics
            .iter()
            .filter(|metric| native || fits(metric))
            .collect();
        let metric = *self.random.pick(&fitting);
        let length = *self
            .random
            .pick(&[40, 60, 90, 120, 300, 300, 600, 900, 1800]);
        let mut made = self.selector_of(metric);
        let extended = self.modern && self.random.chance(8);
        if let Expr::Select {
            range, extension, ..
        } = &mut made.expr
        {
            *range = Some(length);
            *extension = extended.then(|| *self.random.pick(&["anchored", "smoothed"]));
        }
        made
    }

    fn subquery(&mut self, scope: Scope) -> Made {
        let inner = Scope {
            subqueries: scope.subqueries - 1,
            ..scope.down()
        };
        // The outer of two is coarse, so that the inner is not evaluated all too often.
        let coarse = scope.subqueries < 2;
        let (lengths, steps): (&[i64], &[i64]) = if coarse {
            (&[62, 122, 302], &[30, 60])
        } else {
            (&[62, 152, 302, 602, 1202], &[15, 30, 60, 120])
        };
        // None is shorter than its resolution: with no step within, upstream yet computes one
        // where the inner expression is the same at all steps.
        let range = *self.random.pick(lengths);
        let steps: Vec<i64> = steps.iter().copied().filter(|step| *step < range).collect();
        let step = self.random.chance(85).then(|| *self.random.pick(&steps));
        let place = self.place();
        self.vector(inner).map(|inner| Expr::Subquery {
            inner: Box::new(inner),
            range,
            step,
            place,
        })
    }

    /// A metric of that shape.
    pub(super) fn metric_of(&mut self, shape: Shape) -> &'static Metric {
        let fitting: Vec<&'static Metric> = METRICS
            .iter()
            .filter(|metric| metric.shape == shape)
            .collect();
        let chosen: &&Metric = self.random.pick(&fitting);
        chosen
    }
}
