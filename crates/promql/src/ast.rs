//! The expression tree: what a query says, before it is planned.

use std::sync::Arc;

use model::matcher::Matcher;
use model::time::TimestampMs;

use crate::annotations::Pos;
use crate::eval::kernel::FunctionDef;
use crate::value::ValueType;

/// An expression and where it stands.
#[derive(Clone)]
pub struct Expr {
    /// What it is.
    pub kind: ExprKind,
    /// Where it stands in the text.
    pub pos: Pos,
}

/// The kinds of expressions.
#[derive(Clone)]
pub enum ExprKind {
    /// A number; whether it was written as a duration.
    Number(f64, bool),
    /// A text.
    String(String),
    /// An instant selector.
    Selector(Selector),
    /// A range selector: the selector, and the window's length.
    Range(Selector, Length),
    /// A subquery.
    Subquery(Box<Subquery>),
    /// A function call.
    Call(&'static FunctionDef, Vec<Expr>),
    /// An aggregation.
    Aggregate(Box<Aggregate>),
    /// An operator between two expressions.
    Binary(Box<Binary>),
    /// A negation.
    Negate(Box<Expr>),
    /// A plus sign in front of an expression, which changes nothing.
    Plus(Box<Expr>),
    /// Parentheses.
    Paren(Box<Expr>),
}

/// The `@` modifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum At {
    /// A fixed time.
    Time(TimestampMs),
    /// The first step of the query.
    Start,
    /// The last step of the query.
    End,
}

/// How a window takes samples from beyond its bounds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Edge {
    /// Not at all.
    #[default]
    Open,
    /// `anchored`: the last sample before the window stands at its start.
    Anchored,
    /// `smoothed`: values at both bounds are interpolated.
    Smoothed,
}

/// A length of time.
#[derive(Clone, Debug, PartialEq)]
pub enum Length {
    /// In milliseconds.
    Fixed(i64),
    /// To be computed from the times of the query.
    Computed(Arc<DurationExpr>),
}

impl Length {
    /// No time.
    pub const ZERO: Self = Self::Fixed(0);
}

/// Arithmetic with lengths of time, in seconds.
#[derive(Clone, Debug, PartialEq)]
pub enum DurationExpr {
    /// A number of seconds; whether it was written as a duration.
    Number(f64, bool),
    /// `step()`: the resolution of the query.
    Step,
    /// `range()`: from the first step of the query to its last.
    Range,
    /// `min_of(a, b)`
    MinOf(Box<Self>, Box<Self>),
    /// `max_of(a, b)`
    MaxOf(Box<Self>, Box<Self>),
    /// An operator: one of `+ - * / % ^`.
    Binary(BinaryOp, Box<Self>, Box<Self>),
    /// A negation.
    Negate(Box<Self>),
    /// Parentheses.
    Paren(Box<Self>),
}

/// Selects series.
#[derive(Clone, Debug, PartialEq)]
pub struct Selector {
    /// The metric name, where it was written in front of the braces.
    pub name: Option<Arc<str>>,
    /// All matchers, that of a name in front of the braces last.
    pub matchers: Vec<Matcher>,
    /// `offset`.
    pub offset: Length,
    /// `@`.
    pub at: Option<At>,
    /// `anchored`, `smoothed`.
    pub edge: Edge,
}

impl Selector {
    /// The metric name that all selected series have, where one is asked for by equality.
    pub fn pinned_name(&self) -> Option<&Arc<str>> {
        let pins =
            |m: &&Matcher| &*m.name == model::labels::METRIC_NAME && m.op == model::MatchOp::Equal;
        self.matchers.iter().find(pins).map(|m| &m.value)
    }
}

/// Evaluates an expression at steps of its own, as a range vector.
#[derive(Clone)]
pub struct Subquery {
    /// The expression.
    pub expr: Expr,
    /// The window's length.
    pub range: Length,
    /// The resolution; `None`: the default.
    pub step: Option<Length>,
    /// `offset`.
    pub offset: Length,
    /// `@`.
    pub at: Option<At>,
}

/// Aggregation operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AggregateOp {
    /// `sum`
    Sum,
    /// `avg`
    Avg,
    /// `min`
    Min,
    /// `max`
    Max,
    /// `count`
    Count,
    /// `group`
    Group,
    /// `stddev`
    Stddev,
    /// `stdvar`
    Stdvar,
    /// `topk(k, v)`
    Topk,
    /// `bottomk(k, v)`
    Bottomk,
    /// `quantile(q, v)`
    Quantile,
    /// `count_values("label", v)`
    CountValues,
    /// `limitk(k, v)`
    Limitk,
    /// `limit_ratio(r, v)`
    LimitRatio,
}

impl AggregateOp {
    /// All of them with their names.
    pub const ALL: [(Self, &'static str); 14] = [
        (Self::Sum, "sum"),
        (Self::Avg, "avg"),
        (Self::Min, "min"),
        (Self::Max, "max"),
        (Self::Count, "count"),
        (Self::Group, "group"),
        (Self::Stddev, "stddev"),
        (Self::Stdvar, "stdvar"),
        (Self::Topk, "topk"),
        (Self::Bottomk, "bottomk"),
        (Self::Quantile, "quantile"),
        (Self::CountValues, "count_values"),
        (Self::Limitk, "limitk"),
        (Self::LimitRatio, "limit_ratio"),
    ];

    /// Finds one by its name, in lower case.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .find(|(_, known)| *known == name)
            .map(|(op, _)| *op)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        Self::ALL
            .iter()
            .find(|(op, _)| *op == self)
            .map_or("", |(_, name)| *name)
    }

    /// The type of its parameter, where it takes one.
    pub fn param_type(self) -> Option<ValueType> {
        match self {
            Self::Topk | Self::Bottomk | Self::Quantile | Self::Limitk | Self::LimitRatio => {
                Some(ValueType::Scalar)
            }
            Self::CountValues => Some(ValueType::String),
            _ => None,
        }
    }

    /// Whether it needs experimental features to be allowed.
    pub fn is_experimental(self) -> bool {
        matches!(self, Self::Limitk | Self::LimitRatio)
    }
}

/// Which labels make a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Grouping {
    /// These only; none: all in one group.
    By(Vec<Arc<str>>),
    /// All but these and the metric name.
    Without(Vec<Arc<str>>),
}

/// An aggregation.
#[derive(Clone)]
pub struct Aggregate {
    /// How.
    pub op: AggregateOp,
    /// By what.
    pub grouping: Grouping,
    /// The parameter, where the operator takes one.
    pub param: Option<Expr>,
    /// Over what.
    pub expr: Expr,
}

/// Binary operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BinaryOp {
    /// `+`
    Add,
    /// `-`
    Sub,
    /// `*`
    Mul,
    /// `/`
    Div,
    /// `%`
    Mod,
    /// `^`
    Pow,
    /// `atan2`
    Atan2,
    /// `==`
    Eq,
    /// `!=`
    Ne,
    /// `<`
    Lt,
    /// `<=`
    Le,
    /// `>`
    Gt,
    /// `>=`
    Ge,
    /// `and`
    And,
    /// `or`
    Or,
    /// `unless`
    Unless,
    /// `</`: what of a histogram lies below
    TrimUpper,
    /// `>/`: what of a histogram lies above
    TrimLower,
}

impl BinaryOp {
    /// All of them with their symbols.
    pub const ALL: [(Self, &'static str); 18] = [
        (Self::Add, "+"),
        (Self::Sub, "-"),
        (Self::Mul, "*"),
        (Self::Div, "/"),
        (Self::Mod, "%"),
        (Self::Pow, "^"),
        (Self::Atan2, "atan2"),
        (Self::Eq, "=="),
        (Self::Ne, "!="),
        (Self::Lt, "<"),
        (Self::Le, "<="),
        (Self::Gt, ">"),
        (Self::Ge, ">="),
        (Self::And, "and"),
        (Self::Or, "or"),
        (Self::Unless, "unless"),
        (Self::TrimUpper, "</"),
        (Self::TrimLower, ">/"),
    ];

    /// Finds one by its symbol.
    pub fn from_symbol(symbol: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .find(|(_, known)| *known == symbol)
            .map(|(op, _)| *op)
    }

    /// Its symbol.
    pub fn symbol(self) -> &'static str {
        Self::ALL
            .iter()
            .find(|(op, _)| *op == self)
            .map_or("", |(_, symbol)| *symbol)
    }

    /// Whether it compares.
    pub fn is_comparison(self) -> bool {
        matches!(
            self,
            Self::Eq | Self::Ne | Self::Lt | Self::Le | Self::Gt | Self::Ge
        )
    }

    /// Whether it cuts histograms.
    pub fn is_trim(self) -> bool {
        matches!(self, Self::TrimUpper | Self::TrimLower)
    }

    /// Whether it is one of `and`, `or`, `unless`.
    pub fn is_set(self) -> bool {
        matches!(self, Self::And | Self::Or | Self::Unless)
    }

    /// Whether its result is another quantity, so that the metric name goes.
    pub fn drops_name(self) -> bool {
        !self.is_comparison() && !self.is_set() && !self.is_trim()
    }
}

/// How many series on each side may match.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Cardinality {
    /// One with one.
    #[default]
    OneToOne,
    /// `group_left`: many on the left.
    ManyToOne,
    /// `group_right`: many on the right.
    OneToMany,
    /// Set operators.
    ManyToMany,
}

/// How the series of two vectors find each other.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Matching {
    /// How many.
    pub cardinality: Cardinality,
    /// Whether the labels below must agree (`on`), or all others (`ignoring`).
    pub on: bool,
    /// The labels of `on` or `ignoring`.
    pub labels: Vec<Arc<str>>,
    /// Labels to take from the 'one' side.
    pub include: Vec<Arc<str>>,
    /// What stands for a missing match on the left.
    pub fill_left: Option<f64>,
    /// What stands for a missing match on the right.
    pub fill_right: Option<f64>,
}

/// A binary operation.
#[derive(Clone)]
pub struct Binary {
    /// The operator.
    pub op: BinaryOp,
    /// Whether a comparison yields 0 and 1 instead of filtering.
    pub return_bool: bool,
    /// How vectors match.
    pub matching: Matching,
    /// The left side.
    pub lhs: Expr,
    /// The right side.
    pub rhs: Expr,
}

impl Expr {
    /// The type of its value.
    pub fn value_type(&self) -> ValueType {
        match &self.kind {
            ExprKind::Number(..) => ValueType::Scalar,
            ExprKind::String(_) => ValueType::String,
            ExprKind::Selector(_) | ExprKind::Aggregate(_) => ValueType::Vector,
            ExprKind::Range(..) | ExprKind::Subquery(_) => ValueType::Matrix,
            ExprKind::Call(def, _) => def.returns,
            ExprKind::Binary(binary) => match (binary.lhs.value_type(), binary.rhs.value_type()) {
                (ValueType::Scalar, ValueType::Scalar) => ValueType::Scalar,
                _ => ValueType::Vector,
            },
            ExprKind::Negate(expr) | ExprKind::Plus(expr) | ExprKind::Paren(expr) => {
                expr.value_type()
            }
        }
    }

    /// The expression within any parentheses.
    pub fn unparen(&self) -> &Self {
        let mut expr = self;
        while let ExprKind::Paren(inner) = &expr.kind {
            expr = inner;
        }
        expr
    }

    /// Calls `visit` with every expression below and this one, in the order of the text.
    pub fn visit<'a>(&'a self, visit: &mut dyn FnMut(&'a Self)) {
        visit(self);
        match &self.kind {
            ExprKind::Number(..)
            | ExprKind::String(_)
            | ExprKind::Selector(_)
            | ExprKind::Range(..) => {}
            ExprKind::Subquery(subquery) => subquery.expr.visit(visit),
            ExprKind::Call(_, args) => args.iter().for_each(|arg| arg.visit(visit)),
            ExprKind::Aggregate(aggregate) => {
                if let Some(param) = &aggregate.param {
                    param.visit(visit);
                }
                aggregate.expr.visit(visit);
            }
            ExprKind::Binary(binary) => {
                binary.lhs.visit(visit);
                binary.rhs.visit(visit);
            }
            ExprKind::Negate(expr) | ExprKind::Plus(expr) | ExprKind::Paren(expr) => {
                expr.visit(visit)
            }
        }
    }
}
