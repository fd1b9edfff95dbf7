//! The plan: what is to be computed, with all that can be known before the query has a time.
//!
//! Parentheses are gone, constants are folded, what is the same at every step (`@`) is wrapped so
//! that it is computed once, and each selector knows which labels are needed of its series.

mod lengths;
mod build;
mod explain;
mod share;

use std::sync::Arc;

use model::labels::{METRIC_NAME, is_metadata_label};
use model::matcher::Matcher;
use model::select::LabelsNeeded;

use crate::annotations::Pos;
use crate::ast::{AggregateOp, At, BinaryOp, Cardinality, Edge, Expr, Grouping, Matching};
use crate::eval::QueryTime;
use crate::eval::kernel::{BucketKernel, ElementKernel, RangeKernel, Special};
use crate::stack::{MAX_DEPTH_INLINE, on_large_stack};
use crate::value::ValueType;
pub use explain::{Explained, Took};
pub use lengths::LengthError;

/// A query, ready to be evaluated at any time.
#[derive(Clone)]
pub struct Plan {
    /// The outermost node.
    pub root: Node,
    /// The type of the answer.
    pub value_type: ValueType,
    /// How deep nodes nest.
    pub depth: usize,
    /// Whether the order of an instant vector is the query's: `sort`, `topk` and the like.
    pub ordered: bool,
    /// How often each vector occurs that occurs more than once.
    pub shared: Vec<usize>,
}

impl Plan {
    /// Plans a checked expression for a time.
    ///
    /// # Errors
    /// Where a length of time that is to be computed comes out as none that can be, or the system
    /// grants no thread for a query that nests deep.
    pub fn new(expr: &Expr, time: QueryTime) -> Result<Self, PlanError> {
        let run = || -> Result<Self, PlanError> {
            let expr = lengths::fix(expr, time)?;
            Ok(build::plan(&expr))
        };
        if build::depth(expr) <= MAX_DEPTH_INLINE {
            return run();
        }
        match on_large_stack(run).map_err(PlanError::NoThread)? {
            Ok(planned) => planned,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

/// Why a query can't be planned.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// A length of time can't be computed.
    #[error(transparent)]
    Length(#[from] LengthError),
    /// The system grants no thread.
    #[error("no thread to plan a complex query: {0}")]
    NoThread(std::io::Error),
}

/// One node.
#[derive(Clone)]
pub struct Node {
    /// What it computes.
    pub kind: NodeKind,
    /// Where it stands in the text.
    pub pos: Pos,
    /// Which of the plan's vectors that occur more than once it is.
    pub shared: Option<usize>,
}

/// The kinds of nodes.
#[derive(Clone)]
pub enum NodeKind {
    /// The same number at every step.
    Number(f64),
    /// A text.
    String(Arc<str>),
    /// Series at each step.
    Select(Select),
    /// A window of samples at each step; only as the whole query.
    Window(RangeSource),
    /// A function over windows.
    Range(Box<RangeCall>),
    /// A function of the points of one vector.
    Element(Box<ElementCall>),
    /// A function of histograms.
    Buckets(Box<BucketCall>),
    /// A function of the engine's.
    Special(Special, Vec<Node>),
    /// An aggregation.
    Aggregate(Box<AggregateNode>),
    /// Two scalars.
    ScalarBinary(BinaryOp, Box<Node>, Box<Node>),
    /// A vector and a scalar.
    VectorScalar(Box<VectorScalar>),
    /// Two vectors.
    VectorVector(Box<VectorVector>),
    /// A negation.
    Negate(Box<Node>),
    /// What is the same at every step: computed at the first.
    Invariant(Box<Node>),
}

/// Which series to select.
#[derive(Clone, Debug)]
pub struct Select {
    /// The matchers.
    pub matchers: Vec<Matcher>,
    /// How far back, in milliseconds.
    pub offset_ms: i64,
    /// `@`.
    pub at: Option<At>,
    /// How windows take samples from beyond their bounds.
    pub edge: Edge,
    /// The labels needed of each series.
    pub labels: LabelsNeeded,
    /// The name all series have, where it is known.
    pub name: Option<Arc<str>>,
}

/// Where windows of samples come from.
#[derive(Clone)]
pub enum RangeSource {
    /// Stored samples.
    Select(Select, i64),
    /// An expression, evaluated at steps of its own.
    Subquery(Box<SubqueryNode>),
}

/// A subquery.
#[derive(Clone)]
pub struct SubqueryNode {
    /// The expression.
    pub input: Node,
    /// The window's length in milliseconds.
    pub range_ms: i64,
    /// The resolution in milliseconds; `None`: the default.
    pub step_ms: Option<i64>,
    /// How far back, in milliseconds.
    pub offset_ms: i64,
    /// `@`.
    pub at: Option<At>,
}

/// A function over windows.
#[derive(Clone)]
pub struct RangeCall {
    /// Its name.
    pub name: &'static str,
    /// What it does.
    pub kernel: RangeKernel,
    /// Whether the metric name stays.
    pub keeps_name: bool,
    /// Over what.
    pub source: RangeSource,
    /// Its scalar arguments.
    pub params: Vec<Node>,
    /// Where its arguments stand.
    pub args: Vec<Pos>,
}

/// A function of the points of one vector.
#[derive(Clone)]
pub struct ElementCall {
    /// Its name.
    pub name: &'static str,
    /// What it does.
    pub kernel: ElementKernel,
    /// Whether the metric name stays.
    pub keeps_name: bool,
    /// Over what.
    pub input: Node,
    /// Its scalar arguments.
    pub params: Vec<Node>,
    /// Where its arguments stand.
    pub args: Vec<Pos>,
}

/// A function of histograms.
#[derive(Clone)]
pub struct BucketCall {
    /// Its name.
    pub name: &'static str,
    /// What it does.
    pub kernel: BucketKernel,
    /// Over what.
    pub input: Node,
    /// Which of the arguments the vector is.
    pub input_arg: usize,
    /// Its scalar arguments.
    pub params: Vec<Node>,
    /// Where its arguments stand.
    pub args: Vec<Pos>,
}

/// An aggregation.
#[derive(Clone)]
pub struct AggregateNode {
    /// How.
    pub op: AggregateOp,
    /// By what; the labels sorted.
    pub grouping: Grouping,
    /// The parameter.
    pub param: Option<Node>,
    /// Over what.
    pub input: Node,
    /// Whether the order of an instant vector at the input is one that the query asked for.
    pub input_ordered: bool,
}

/// A vector and a scalar.
#[derive(Clone)]
pub struct VectorScalar {
    /// The operator.
    pub op: BinaryOp,
    /// Whether a comparison yields 0 and 1.
    pub return_bool: bool,
    /// The vector.
    pub vector: Node,
    /// The scalar.
    pub scalar: Node,
    /// Whether the scalar stands on the left.
    pub scalar_left: bool,
}

/// Two vectors.
#[derive(Clone)]
pub struct VectorVector {
    /// The operator.
    pub op: BinaryOp,
    /// Whether a comparison yields 0 and 1.
    pub return_bool: bool,
    /// How series find each other.
    pub matching: Matching,
    /// The left side.
    pub lhs: Node,
    /// The right side.
    pub rhs: Node,
}

impl Node {
    pub(crate) fn new(kind: NodeKind, pos: Pos) -> Self {
        Self {
            kind,
            pos,
            shared: None,
        }
    }

    /// Whether the series of this vector still differ when their names are dropped: because they
    /// have one name, or none any more.
    pub(crate) fn stays_distinct(&self) -> bool {
        match &self.kind {
            NodeKind::Select(select) => select.name.is_some(),
            NodeKind::Range(call) => !call.keeps_name || call.source.stays_distinct(),
            NodeKind::Element(call) => !call.keeps_name || call.input.stays_distinct(),
            NodeKind::Negate(_) | NodeKind::Buckets(_) => true,
            NodeKind::Invariant(input) => input.stays_distinct(),
            NodeKind::VectorScalar(binary) => binary.drops_name() || binary.vector.stays_distinct(),
            NodeKind::VectorVector(binary) => {
                let one_to_one = binary.matching.cardinality == Cardinality::OneToOne;
                one_to_one && (binary.op.drops_name() || binary.return_bool)
            }
            NodeKind::Aggregate(aggregate) => match (aggregate.op, &aggregate.grouping) {
                (
                    AggregateOp::Topk
                    | AggregateOp::Bottomk
                    | AggregateOp::Limitk
                    | AggregateOp::LimitRatio,
                    _,
                ) => aggregate.input.stays_distinct(),
                (AggregateOp::CountValues, _) => false,
                (_, Grouping::By(labels)) => labels.iter().all(|label| !is_metadata_label(label)),
                (_, Grouping::Without(_)) => true,
            },
            NodeKind::Special(
                Special::Vector | Special::Timestamp | Special::StartTimestamp,
                _,
            ) => true,
            _ => false,
        }
    }
}

impl RangeSource {
    /// As of [`Node`].
    pub(crate) fn stays_distinct(&self) -> bool {
        match self {
            Self::Select(select, _) => select.name.is_some(),
            Self::Subquery(subquery) => subquery.input.stays_distinct(),
        }
    }
}

impl VectorScalar {
    /// Whether the metric name goes.
    pub(crate) fn drops_name(&self) -> bool {
        self.op.drops_name() || self.return_bool
    }
}

impl Select {
    /// The labels for error texts: `up` or `{…}`.
    pub fn describe(&self) -> String {
        let rest = |m: &&Matcher| self.name.is_none() || &*m.name != METRIC_NAME;
        let matchers: Vec<_> = self
            .matchers
            .iter()
            .filter(rest)
            .map(ToString::to_string)
            .collect();
        let name = self.name.as_deref().unwrap_or_default();
        if matchers.is_empty() && !name.is_empty() {
            return name.to_owned();
        }
        format!("{name}{{{}}}", matchers.join(","))
    }
}

#[cfg(test)]
mod tests;
