//! Operators between vectors and numbers, mostly such that series find each other.

use super::generate::{Generator, Made, Scope};
use super::tree::{Expr, Grouping, Kind, Matching, Place};
use super::vocabulary::{METRICS, Metric};

const EXACT: &[&str] = &["+", "-", "*", "<", ">", "<=", ">=", "==", "!="];
const NOISY: &[&str] = &["+", "-", "*", "/", "/", "<", ">", "<=", ">=", "^"];
const SETS: &[&str] = &["and", "or", "unless"];

fn compares(op: &str) -> bool {
    matches!(op, "<" | ">" | "<=" | ">=" | "==" | "!=")
}

impl Generator {
    /// Any operator with at least one vector.
    pub(super) fn operator(&mut self, scope: Scope) -> Made {
        match self.random.below(10) {
            0..4 => self.with_scalar(scope),
            4 => self.chain(scope),
            5 => self.set(scope),
            6 => self.same_series(scope),
            7 => self.same_groups(scope),
            8 => self.many_to_one(scope),
            _ => self.anything(scope),
        }
    }

    /// An operator, and the scope its operands have.
    fn choose(&mut self, scope: Scope) -> (&'static str, Scope) {
        if scope.exact {
            return (*self.random.pick(EXACT), scope);
        }
        if self.modern && self.random.chance(4) {
            return (*self.random.pick(&["</", ">/"]), scope);
        }
        match self.random.below(10) {
            0 => ("%", scope.exactly()),
            1 => (*self.random.pick(&["==", "!=", "atan2"]), scope.exactly()),
            _ => {
                let op = *self.random.pick(NOISY);
                let inner = if compares(op) { scope.exactly() } else { scope };
                (op, inner)
            }
        }
    }

    fn with_scalar(&mut self, scope: Scope) -> Made {
        let (op, inner) = self.choose(scope);
        let vector = self.vector(inner.down());
        let scalar = self.scalar(
            Scope {
                depth: inner.depth.min(2),
                ..inner
            }
            .down(),
        );
        let returns_bool = compares(op) && self.random.chance(30);
        let left = self.random.chance(70);
        vector.map(|vector| {
            let (lhs, rhs) = if left {
                (vector, scalar)
            } else {
                (scalar, vector)
            };
            binary(op, returns_bool, Matching::default(), lhs, rhs)
        })
    }

    /// `a + b * 2 ^ c` without parentheses.
    fn chain(&mut self, scope: Scope) -> Made {
        let ops: &[&str] = if scope.exact {
            &["+", "-", "*"]
        } else {
            &["+", "-", "*", "/", "^"]
        };
        let vector = self.vector(scope.down());
        let mut operands: Vec<_> = (0..2 + self.random.below(3))
            .map(|_| self.number())
            .collect();
        if self.random.chance(40) {
            operands.push(Expr::Negate(Box::new(self.number())));
        }
        let at = self.random.below(operands.len() as u64) as usize;
        operands.insert(at, vector.expr);
        let mut operands = operands.into_iter();
        let first = operands.next().expect("several");
        let rest = operands
            .map(|operand| (*self.random.pick(ops), operand))
            .collect();
        let chain = Expr::Chain(Box::new(first), rest);
        Made {
            expr: if self.random.chance(25) {
                Expr::Negate(Box::new(chain))
            } else {
                chain
            },
            labels: vector.labels,
        }
    }

    fn set(&mut self, scope: Scope) -> Made {
        let op = *self.random.pick(SETS);
        let lhs = self.vector(scope.down());
        let rhs = self.vector(scope.down());
        let common: Vec<_> = lhs
            .labels
            .iter()
            .copied()
            .filter(|l| rhs.labels.contains(l))
            .collect();
        let matching = Matching {
            labels: match self.random.below(4) {
                0 => None,
                1 => Some((false, self.some_of(&lhs.labels))),
                2 => Some((true, Vec::new())),
                _ => Some((true, self.some_of(&common))),
            },
            ..Matching::default()
        };
        Made {
            expr: binary(op, false, matching, lhs.expr, rhs.expr),
            labels: lhs.labels,
        }
    }

    /// A vector with what is computed from the same: each series has its like.
    fn same_series(&mut self, scope: Scope) -> Made {
        let (op, inner) = self.choose(scope);
        let lhs = self.vector(inner.down());
        let mut rhs = lhs.expr.clone();
        if let Expr::Select { place, .. } = &mut rhs {
            *place = Place {
                offset: Some(60),
                ..*place
            };
        } else {
            let steps = if inner.exact {
                *self.random.pick(&["floor", "sgn"])
            } else {
                "abs"
            };
            let name = if self.random.chance(50) { steps } else { "abs" };
            rhs = Expr::call(name, vec![rhs]);
        }
        let returns_bool = compares(op) && self.random.chance(30);
        let matching = self.some_matching(&lhs.labels);
        lhs.map(|lhs| binary(op, returns_bool, matching, lhs, rhs))
    }

    /// Two aggregations by the same labels.
    fn same_groups(&mut self, scope: Scope) -> Made {
        let (op, inner) = self.choose(scope);
        let (lhs, rhs) = (self.vector(inner.down()), self.vector(inner.down()));
        let common: Vec<_> = lhs
            .labels
            .iter()
            .copied()
            .filter(|l| rhs.labels.contains(l))
            .collect();
        let labels = if common.is_empty() {
            vec!["job"]
        } else {
            self.some_of(&common)
        };
        let mut group = |input: Expr| Expr::Aggregate {
            op: self.random.word(&["sum", "max", "min", "count"]),
            grouping: Some(Grouping {
                by: true,
                labels: labels.clone(),
            }),
            param: None,
            inner: Box::new(input),
        };
        let (lhs, rhs) = (group(lhs.expr), group(rhs.expr));
        let returns_bool = compares(op) && self.random.chance(30);
        let matching = self.some_matching(&labels);
        Made {
            expr: binary(op, returns_bool, matching, lhs, rhs),
            labels,
        }
    }

    /// Series of targets with what is known of each target.
    fn many_to_one(&mut self, scope: Scope) -> Made {
        let (op, inner) = self.choose(scope);
        let many = self.vector(inner.down());
        let targets: Vec<_> = METRICS
            .iter()
            .filter(|m| m.labels.starts_with(&["job", "instance"]))
            .collect();
        let metric: &&Metric = self.random.pick(&targets);
        let one = self.selector_of(metric).map(|inner| match metric.labels {
            ["job", "instance"] | [_, _, "version", _] => inner,
            _ => Expr::Aggregate {
                op: "max",
                grouping: Some(Grouping {
                    by: true,
                    labels: vec!["job", "instance"],
                }),
                param: None,
                inner: Box::new(inner),
            },
        });
        let takes = if metric.name == "build_info" && self.random.chance(70) {
            self.some_of(&["version", "branch"])
        } else {
            Vec::new()
        };
        let returns_bool = compares(op) && self.random.chance(30);
        let left = self.random.chance(70);
        let matching = Matching {
            labels: Some((true, vec!["job", "instance"])),
            group: Some((
                if left { "group_left" } else { "group_right" },
                takes.clone(),
            )),
            fill: None,
        };
        let (lhs, rhs) = if left {
            (many.expr, one.expr)
        } else {
            (one.expr, many.expr)
        };
        Made {
            expr: binary(op, returns_bool, matching, lhs, rhs),
            labels: [many.labels, takes].concat(),
        }
    }

    /// Two vectors and some modifier: often an error, or nothing.
    fn anything(&mut self, scope: Scope) -> Made {
        let (op, inner) = self.choose(scope);
        let (lhs, rhs) = (self.vector(inner.down()), self.vector(inner.down()));
        let mut matching = self.some_matching(&lhs.labels);
        if self.random.chance(30) {
            let takes = if self.random.chance(50) {
                vec!["missing"]
            } else {
                Vec::new()
            };
            matching.group = Some((*self.random.pick(&["group_left", "group_right"]), takes));
        }
        if self.modern && self.random.chance(15) {
            matching.fill = Some((*self.random.pick(&["fill", "fill_left", "fill_right"]), 0.5));
        }
        let returns_bool = compares(op) && self.random.chance(30);
        Made {
            expr: binary(op, returns_bool, matching, lhs.expr, rhs.expr),
            labels: lhs.labels,
        }
    }

    /// None, or `on` all of the labels, or `ignoring` one that is not there.
    fn some_matching(&mut self, labels: &[&'static str]) -> Matching {
        let labels = match self.random.below(6) {
            0 => Some((true, labels.to_vec())),
            1 => Some((false, vec!["missing"])),
            2 if !labels.is_empty() => Some((true, self.some_of(labels))),
            _ => None,
        };
        Matching {
            labels,
            ..Matching::default()
        }
    }
}

fn binary(op: &'static str, returns_bool: bool, matching: Matching, lhs: Expr, rhs: Expr) -> Expr {
    // Prometheus 2 forgot to drop the metric name here (`changesMetricSchema` of 3 has it), so
    // that it is dropped before.
    let nameless = |expr: Expr| match expr.kind() {
        Kind::Vector if op == "atan2" => {
            let rest = vec![("*", Expr::Number(1.0))];
            Expr::Chain(Box::new(expr), rest)
        }
        _ => expr,
    };
    let (lhs, rhs) = (nameless(lhs), nameless(rhs));
    Expr::Binary {
        op,
        returns_bool,
        matching,
        lhs: Box::new(lhs),
        rhs: Box::new(rhs),
    }
}
