//! As of which time a vector is to be described: that at which its samples were selected.
//!
//! `info(m offset 5m)` describes what was five minutes ago. Where a vector comes from selectors of
//! different times, it is described as of each step.

use model::time::TimestampMs;

use crate::ast::At;
use crate::eval::Evaluator;
use crate::eval::kernel::Special;
use crate::plan::{Node, NodeKind, RangeSource, SubqueryNode};

/// A fixed time, or the step's where there is none; and how far before it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reference {
    Fixed(TimestampMs),
    BeforeStep(i64),
}

/// What is known of the selectors of a vector so far.
struct Walk<'w, 'a> {
    evaluator: &'w Evaluator<'a>,
    /// The time of the first selector.
    first: Option<Reference>,
    /// Whether something else has another time, or none.
    differs: bool,
}

impl Evaluator<'_> {
    /// The `@` and the offset in milliseconds for the selector of info series.
    pub(super) fn reference(&self, input: &Node) -> (Option<At>, i64) {
        let mut walk = Walk {
            evaluator: self,
            first: None,
            differs: false,
        };
        walk.node(input, &mut Vec::new());
        match walk.first {
            Some(Reference::Fixed(t)) if !walk.differs => (Some(At::Time(t)), 0),
            Some(Reference::BeforeStep(offset_ms)) if !walk.differs => (None, offset_ms),
            _ => (None, 0),
        }
    }
}

impl<'w> Walk<'w, '_> {
    /// Looks at a vector; `around` are the subqueries around it, outermost first.
    fn node(&mut self, node: &'w Node, around: &mut Vec<&'w SubqueryNode>) {
        match &node.kind {
            NodeKind::Select(select) => self.selector(select.at, select.offset_ms, around),
            NodeKind::Window(source) => self.source(source, around),
            NodeKind::Range(call) => self.source(&call.source, around),
            NodeKind::Element(call) => self.node(&call.input, around),
            NodeKind::Buckets(call) => self.node(&call.input, around),
            NodeKind::Aggregate(aggregate) => self.node(&aggregate.input, around),
            NodeKind::VectorScalar(binary) => self.node(&binary.vector, around),
            NodeKind::VectorVector(binary) => {
                self.node(&binary.lhs, around);
                self.node(&binary.rhs, around);
            }
            NodeKind::Negate(input) | NodeKind::Invariant(input) => self.node(input, around),
            NodeKind::Special(special, args) => match (special, args.first()) {
                // Their argument is a scalar, or there is none.
                (Special::Vector, _) | (_, None) => self.differs = true,
                (_, Some(input)) => self.node(input, around),
            },
            NodeKind::Number(_) | NodeKind::String(_) | NodeKind::ScalarBinary(..) => {
                self.differs = true;
            }
        }
    }

    fn source(&mut self, source: &'w RangeSource, around: &mut Vec<&'w SubqueryNode>) {
        match source {
            RangeSource::Select(select, _) => self.selector(select.at, select.offset_ms, around),
            RangeSource::Subquery(subquery) => {
                around.push(subquery);
                self.node(&subquery.input, around);
                around.pop();
            }
        }
    }

    /// Offsets add up, from within, until an `@` says when.
    fn selector(&mut self, at: Option<At>, offset_ms: i64, around: &[&SubqueryNode]) {
        let (mut at, mut offset_ms) = (at, offset_ms);
        for subquery in around.iter().rev() {
            if at.is_some() {
                break;
            }
            offset_ms = offset_ms.saturating_add(subquery.offset_ms);
            at = subquery.at;
        }
        let reference = match self.evaluator.at(at) {
            Some(t) => Reference::Fixed(t.saturating_sub(offset_ms)),
            None => Reference::BeforeStep(offset_ms),
        };
        match self.first {
            None => self.first = Some(reference),
            Some(first) => self.differs |= first != reference,
        }
    }
}
