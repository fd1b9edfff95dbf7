//! Binary operators on single values.

use std::sync::Arc;

use model::histogram::{FloatHistogram, Keep, ResetHint};

use crate::annotations::{Annotations, Note, Pos};
use crate::ast::BinaryOp;

/// An operator on two scalars; a comparison yields 0 or 1.
pub(crate) fn scalars(op: BinaryOp, lhs: f64, rhs: f64) -> f64 {
    match compare(op, lhs, rhs) {
        Some(holds) => f64::from(u8::from(holds)),
        None => arithmetic(op, lhs, rhs),
    }
}

/// Whether a comparison holds; `None` for other operators.
#[inline]
pub(crate) fn compare(op: BinaryOp, lhs: f64, rhs: f64) -> Option<bool> {
    Some(match op {
        BinaryOp::Eq => lhs == rhs,
        BinaryOp::Ne => lhs != rhs,
        BinaryOp::Lt => lhs < rhs,
        BinaryOp::Le => lhs <= rhs,
        BinaryOp::Gt => lhs > rhs,
        BinaryOp::Ge => lhs >= rhs,
        _ => return None,
    })
}

/// An arithmetic operator; NaN for others.
#[inline]
pub(crate) fn arithmetic(op: BinaryOp, lhs: f64, rhs: f64) -> f64 {
    match op {
        BinaryOp::Add => lhs + rhs,
        BinaryOp::Sub => lhs - rhs,
        BinaryOp::Mul => lhs * rhs,
        BinaryOp::Div => lhs / rhs,
        // Rust's remainder is C's fmod: the sign of the dividend, as in Go.
        BinaryOp::Mod => lhs % rhs,
        BinaryOp::Pow => lhs.powf(rhs),
        BinaryOp::Atan2 => lhs.atan2(rhs),
        _ => f64::NAN,
    }
}

/// A value at one step.
#[derive(Clone, Copy)]
pub(crate) enum Operand<'a> {
    /// A number.
    Float(f64),
    /// A native histogram.
    Histogram(&'a Arc<FloatHistogram>),
}

impl Operand<'_> {
    fn type_name(&self) -> &'static str {
        match self {
            Self::Float(_) => "float",
            Self::Histogram(_) => "histogram",
        }
    }
}

/// What an operator makes of two values.
pub(crate) enum Outcome {
    /// A number.
    Float(f64),
    /// A histogram.
    Histogram(Arc<FloatHistogram>),
    /// A comparison that holds: the left value stays.
    Keep,
    /// A comparison that does not hold.
    Drop,
    /// Values the operator does not know: nothing, not even 0 with `bool`.
    Nothing,
}

/// Applies an operator to two values, and notes what is odd.
pub(crate) fn apply(
    op: BinaryOp,
    lhs: Operand<'_>,
    rhs: Operand<'_>,
    pos: Pos,
    annotations: &mut Annotations,
) -> Outcome {
    let of = |holds: bool| if holds { Outcome::Keep } else { Outcome::Drop };
    match (lhs, rhs) {
        (Operand::Float(_), Operand::Float(_)) if op.is_trim() => {
            unknown(op, lhs, rhs, pos, annotations)
        }
        (Operand::Float(l), Operand::Float(r)) => match compare(op, l, r) {
            Some(holds) => of(holds),
            None => Outcome::Float(arithmetic(op, l, r)),
        },
        (Operand::Histogram(h), Operand::Float(factor))
        | (Operand::Float(factor), Operand::Histogram(h))
            if op == BinaryOp::Mul =>
        {
            let mut scaled = FloatHistogram::clone(h);
            scaled.scale(factor);
            scaled.compact();
            Outcome::Histogram(Arc::new(scaled))
        }
        (Operand::Histogram(h), Operand::Float(divisor)) if op == BinaryOp::Div => {
            let mut divided = FloatHistogram::clone(h);
            divided.divide(divisor);
            divided.compact();
            Outcome::Histogram(Arc::new(divided))
        }
        (Operand::Histogram(h), Operand::Float(limit)) if op.is_trim() => {
            let keep = if op == BinaryOp::TrimUpper {
                Keep::Below
            } else {
                Keep::Above
            };
            let mut trimmed = h.trim(keep, limit);
            trimmed.compact();
            Outcome::Histogram(Arc::new(trimmed))
        }
        (Operand::Histogram(l), Operand::Histogram(r)) => match op {
            BinaryOp::Add | BinaryOp::Sub => combine(op, l, r, pos, annotations),
            BinaryOp::Eq => of(l.same_as(r)),
            BinaryOp::Ne => of(!l.same_as(r)),
            _ => unknown(op, lhs, rhs, pos, annotations),
        },
        _ => unknown(op, lhs, rhs, pos, annotations),
    }
}

fn unknown(
    op: BinaryOp,
    lhs: Operand<'_>,
    rhs: Operand<'_>,
    pos: Pos,
    annotations: &mut Annotations,
) -> Outcome {
    let note = Note::IncompatibleTypes(op.symbol(), lhs.type_name(), rhs.type_name());
    annotations.add(pos, &note);
    Outcome::Nothing
}

fn combine(
    op: BinaryOp,
    lhs: &Arc<FloatHistogram>,
    rhs: &Arc<FloatHistogram>,
    pos: Pos,
    annotations: &mut Annotations,
) -> Outcome {
    let mut result = FloatHistogram::clone(lhs);
    let (combined, operation) = if op == BinaryOp::Add {
        (result.add(rhs), "addition")
    } else {
        (result.sub(rhs), "subtraction")
    };
    let Ok(combined) = combined else {
        annotations.add(pos, &Note::IncompatibleBucketLayout(op.symbol()));
        return Outcome::Nothing;
    };
    if combined.reset_hints_collided {
        // Whether the sum is one of counters can't be told, so there is none.
        annotations.add(pos, &Note::CounterResetCollision(operation));
        return Outcome::Nothing;
    }
    if combined.bounds_reconciled {
        annotations.add(pos, &Note::CustomBucketsReconciled(operation));
    }
    if op == BinaryOp::Sub {
        // What is left of a counter after a subtraction is no counter.
        result.reset_hint = ResetHint::Gauge;
    }
    result.compact();
    Outcome::Histogram(Arc::new(result))
}
