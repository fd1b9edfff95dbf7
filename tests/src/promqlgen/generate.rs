//! Random queries: selectors, numbers, and what kind of expression comes where.
//!
//! Two engines compute sines and deviations a last bit apart. Where that bit decides, as in
//! `floor` or `==`, an operand is generated that both compute to the same bit: see
//! [`Scope::exact`].

use super::tree::{Expr, Kind, Matching};
use super::vocabulary::BEGIN;
use crate::random::Random;

/// What may still be generated at some place.
#[derive(Clone, Copy, Debug)]
pub struct Scope {
    /// How deep it may nest.
    pub depth: u32,
    /// Whether all engines must compute the same bits, however they add up.
    pub exact: bool,
    /// How many subqueries may still nest.
    pub subqueries: u32,
}

impl Scope {
    /// One level down.
    pub(super) fn down(self) -> Self {
        Self {
            depth: self.depth.saturating_sub(1),
            ..self
        }
    }

    /// The same where all bits count.
    pub(super) fn exactly(self) -> Self {
        Self {
            exact: true,
            ..self
        }
    }
}

/// A vector or matrix, and the labels its series have but for their name.
#[derive(Clone, Debug)]
pub(super) struct Made {
    pub expr: Expr,
    pub labels: Vec<&'static str>,
}

impl Made {
    pub(super) fn map(self, with: impl FnOnce(Expr) -> Expr) -> Self {
        Self {
            expr: with(self.expr),
            labels: self.labels,
        }
    }
}

/// When a query is asked; all in seconds.
///
/// Times are 0 or 1 above a multiple of five, steps, offsets and resolutions multiples of five,
/// and the ranges of subqueries two above one: so no step of a subquery is at the edge of its
/// window, which Prometheus 2 and 3 treat differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// For an instant.
    Instant(i64),
    /// For each step from the first to the second time.
    Range(i64, i64, i64),
}

/// Makes queries from a seed.
#[derive(Clone, Debug)]
pub struct Generator {
    pub(super) random: Random,
    /// Whether to use what Prometheus 3 has and 2 has not.
    pub(super) modern: bool,
}

impl Generator {
    /// Of queries for both generations, or with all that the newer has.
    pub fn new(seed: u64, modern: bool) -> Self {
        Self {
            random: Random::new(seed),
            modern,
        }
    }

    /// A query that is allowed at that moment.
    pub fn query(&mut self, moment: Moment) -> Expr {
        let scope = Scope {
            depth: 1 + self.random.below(3) as u32,
            exact: false,
            subqueries: 2,
        };
        match self.random.below(100) {
            0..6 => self.scalar(scope),
            6 => self.text(),
            7..11 if matches!(moment, Moment::Instant(_)) => self.matrix(scope).expr,
            11..17 if matches!(moment, Moment::Instant(_)) => self.sorted(scope),
            17..20 => self.ranked(scope),
            20 | 21 => self.wrong(scope),
            _ => self.vector(scope).expr,
        }
    }

    /// When to ask: mostly where there are data.
    pub fn moment(&mut self) -> Moment {
        let start = BEGIN + 2000 + 5 * self.random.below(740) as i64 + self.random.below(2) as i64;
        if self.random.chance(50) {
            return Moment::Instant(start);
        }
        let step = *self.random.pick(&[5, 15, 30, 60, 60, 120, 300]);
        let count = 1 + self.random.below(16) as i64;
        Moment::Range(start, start + step * count, step)
    }

    pub(super) fn vector(&mut self, scope: Scope) -> Made {
        if scope.depth == 0 {
            return self.selector();
        }
        match self.random.below(100) {
            0..6 => self.selector(),
            6..30 => self.range_function(scope),
            30..45 => self.element_function(scope),
            45..64 => self.aggregation(scope),
            64..86 => self.operator(scope),
            86..91 => self.histogram_function(scope),
            91..94 => self.relabelled(scope),
            94..96 => self.absent(scope),
            96 => {
                let labels = Vec::new();
                let expr = Expr::call("vector", vec![self.scalar(scope.down())]);
                Made { expr, labels }
            }
            97 => self.negation(scope),
            _ if self.modern => self.modern_function(scope),
            _ => self.operator(scope),
        }
    }

    /// A number.
    pub(super) fn scalar(&mut self, scope: Scope) -> Expr {
        if scope.depth == 0 {
            return self.number();
        }
        match self.random.below(12) {
            0..5 => self.number(),
            5 => Expr::Call("time", Kind::Scalar, Vec::new()),
            6 if !scope.exact => Expr::Call("pi", Kind::Scalar, Vec::new()),
            7 | 8 => {
                let one = self.vector(scope.down());
                let one = self.just_one(one);
                Expr::Call("scalar", Kind::Scalar, vec![one])
            }
            9 => Expr::Negate(Box::new(self.scalar(scope.down()))),
            10 if self.modern => self.modern_scalar(),
            _ => self.scalar_operator(scope.down()),
        }
    }

    fn just_one(&mut self, of: Made) -> Expr {
        let op = *self.random.pick(&["sum", "min", "max", "count"]);
        if self.random.chance(10) {
            return of.expr;
        }
        Expr::Aggregate {
            op,
            grouping: None,
            param: None,
            inner: Box::new(of.expr),
        }
    }

    pub(super) fn number(&mut self) -> Expr {
        const USUAL: &[f64] = &[
            0.0, 1.0, 2.0, 3.0, 0.5, 0.25, 10.0, 60.0, 100.0, 1000.0, -1.0, -2.5,
        ];
        const ODD: &[f64] = &[
            f64::NAN,
            f64::INFINITY,
            f64::NEG_INFINITY,
            1e18,
            -1e-3,
            1e-9,
        ];
        const SPELLED: &[&str] = &[
            "0x1F", "1e2", ".5", "5.", "1E-1", "1e+3", "010", "iNf", "nan", "0X0a", "00.50",
            "1e309",
        ];
        if self.random.chance(4) {
            return Expr::Spelled(self.random.word(SPELLED));
        }
        let from = if self.random.chance(92) { USUAL } else { ODD };
        Expr::Number(*self.random.pick(from))
    }

    fn text(&mut self) -> Expr {
        const QUOTED: &[&str] = &[
            "'it''s'",
            r"'a \'b\' \x41\u00e4\U0001F980\101'",
            "`raw \\n\n\"both\"`",
            r#""\a\b\f\n\r\t\v\\\"""#,
            "''",
            "\"\u{1F980}\"",
        ];
        if self.random.chance(50) {
            return Expr::Quoted(self.random.word(QUOTED));
        }
        Expr::Text((*self.random.pick(super::vocabulary::ODD)).to_owned())
    }

    fn negation(&mut self, scope: Scope) -> Made {
        self.vector(scope.down())
            .map(|inner| Expr::Negate(Box::new(inner)))
    }

    /// Two scalars, so that only some operators fit.
    fn scalar_operator(&mut self, scope: Scope) -> Expr {
        let op = *self
            .random
            .pick(&["+", "-", "*", "/", "%", "^", "<", "==", ">=", "atan2"]);
        let op = if scope.exact && matches!(op, "/" | "^" | "atan2") {
            "+"
        } else {
            op
        };
        let discontinuous = matches!(op, "%" | "<" | "==" | ">=" | "atan2");
        let scope = if discontinuous {
            scope.exactly()
        } else {
            scope
        };
        Expr::Binary {
            op,
            returns_bool: matches!(op, "<" | "==" | ">="),
            matching: Matching::default(),
            lhs: Box::new(self.scalar(scope)),
            rhs: Box::new(self.scalar(scope)),
        }
    }

    /// Some of these labels, at least one where there is one.
    pub(super) fn some_of(&mut self, labels: &[&'static str]) -> Vec<&'static str> {
        let mut some: Vec<_> = labels
            .iter()
            .copied()
            .filter(|_| self.random.chance(50))
            .collect();
        if some.is_empty() && !labels.is_empty() {
            some.push(*self.random.pick(labels));
        }
        some
    }
}
