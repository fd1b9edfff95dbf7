//! The tree of a generated query.

/// What an expression gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A number.
    Scalar,
    /// A text.
    String,
    /// Series with a point.
    Vector,
    /// Series with a window of points.
    Matrix,
}

/// For whom a query is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// Prometheus 2.
    Two,
    /// Prometheus 3, and Tidemark.
    Three,
}

/// The `@` modifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// A time in seconds.
    Time(i64),
    /// `start()`
    Start,
    /// `end()`
    End,
}

/// Where in time a selector or subquery looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// `@`
    pub at: Option<At>,
    /// `offset`, in seconds.
    pub offset: Option<i64>,
}

/// Which labels make a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grouping {
    /// `by`, or else `without`.
    pub by: bool,
    /// Which.
    pub labels: Vec<&'static str>,
}

/// How the series of two vectors find each other.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Matching {
    /// `on`, or else `ignoring`, and the labels; `None`: neither is written.
    pub labels: Option<(bool, Vec<&'static str>)>,
    /// `group_left` or `group_right`, and what it takes along.
    pub group: Option<(&'static str, Vec<&'static str>)>,
    /// `fill` or the like, and the value.
    pub fill: Option<(&'static str, f64)>,
}

/// An expression.
#[derive(Clone, Debug, PartialEq)]
pub enum Expr {
    /// A number.
    Number(f64),
    /// A number in one of the ways to write it.
    Spelled(&'static str),
    /// A text.
    Text(String),
    /// A text in one of the ways to write it.
    Quoted(&'static str),
    /// An instant selector, or with a range in seconds a range selector.
    Select {
        /// The name in front of the braces.
        metric: Option<&'static str>,
        /// Matchers, as they are written.
        matchers: Vec<String>,
        /// The range.
        range: Option<i64>,
        /// When.
        place: Place,
        /// `anchored` or `smoothed`.
        extension: Option<&'static str>,
    },
    /// A subquery.
    Subquery {
        /// Over what.
        inner: Box<Expr>,
        /// The range, in seconds.
        range: i64,
        /// The resolution, in seconds.
        step: Option<i64>,
        /// When.
        place: Place,
    },
    /// A function and what it gives.
    Call(&'static str, Kind, Vec<Expr>),
    /// An aggregation.
    Aggregate {
        /// Its name.
        op: &'static str,
        /// By what.
        grouping: Option<Grouping>,
        /// The parameter.
        param: Option<Box<Expr>>,
        /// Over what.
        inner: Box<Expr>,
    },
    /// An operator.
    Binary {
        /// Its symbol.
        op: &'static str,
        /// `bool`
        returns_bool: bool,
        /// How series match.
        matching: Matching,
        /// The left side.
        lhs: Box<Expr>,
        /// The right side.
        rhs: Box<Expr>,
    },
    /// Operands with arithmetic operators between, without parentheses, so that precedence decides.
    Chain(Box<Expr>, Vec<(&'static str, Expr)>),
    /// A negation.
    Negate(Box<Expr>),
}

impl Expr {
    /// What it gives.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Number(_) | Self::Spelled(_) => Kind::Scalar,
            Self::Text(_) | Self::Quoted(_) => Kind::String,
            Self::Select { range: None, .. } | Self::Aggregate { .. } => Kind::Vector,
            Self::Select { .. } | Self::Subquery { .. } => Kind::Matrix,
            Self::Call(_, kind, _) => *kind,
            Self::Binary { lhs, rhs, .. } => {
                if lhs.kind() == Kind::Scalar && rhs.kind() == Kind::Scalar {
                    Kind::Scalar
                } else {
                    Kind::Vector
                }
            }
            Self::Chain(first, rest) => {
                let mut all = std::iter::once(&**first).chain(rest.iter().map(|(_, e)| e));
                if all.all(|expr| expr.kind() == Kind::Scalar) {
                    Kind::Scalar
                } else {
                    Kind::Vector
                }
            }
            Self::Negate(inner) => inner.kind(),
        }
    }

    /// A call that gives a vector.
    pub fn call(name: &'static str, args: Vec<Self>) -> Self {
        Self::Call(name, Kind::Vector, args)
    }

    /// The expressions right below it.
    pub fn children(&self) -> Vec<&Self> {
        match self {
            Self::Number(_)
            | Self::Spelled(_)
            | Self::Text(_)
            | Self::Quoted(_)
            | Self::Select { .. } => Vec::new(),
            Self::Subquery { inner, .. } | Self::Negate(inner) => vec![inner],
            Self::Call(_, _, args) => args.iter().collect(),
            Self::Aggregate { param, inner, .. } => {
                param.iter().chain([inner]).map(|e| &**e).collect()
            }
            Self::Binary { lhs, rhs, .. } => vec![lhs, rhs],
            Self::Chain(first, rest) => std::iter::once(&**first)
                .chain(rest.iter().map(|(_, expr)| expr))
                .collect(),
        }
    }

    /// The same, to be changed.
    pub fn children_mut(&mut self) -> Vec<&mut Self> {
        match self {
            Self::Number(_)
            | Self::Spelled(_)
            | Self::Text(_)
            | Self::Quoted(_)
            | Self::Select { .. } => Vec::new(),
            Self::Subquery { inner, .. } | Self::Negate(inner) => vec![inner],
            Self::Call(_, _, args) => args.iter_mut().collect(),
            Self::Aggregate { param, inner, .. } => {
                param.iter_mut().chain([inner]).map(|e| &mut **e).collect()
            }
            Self::Binary { lhs, rhs, .. } => vec![lhs, rhs],
            Self::Chain(first, rest) => std::iter::once(&mut **first)
                .chain(rest.iter_mut().map(|(_, expr)| expr))
                .collect(),
        }
    }

    /// Whether `test` holds for it or for anything within it.
    pub fn any(&self, test: &dyn Fn(&Self) -> bool) -> bool {
        test(self) || self.children().into_iter().any(|child| child.any(test))
    }
}
