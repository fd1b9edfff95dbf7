//! Lengths of time that depend on the query's own times: computed before the query is planned.

use std::borrow::Cow;

use crate::ast::{BinaryOp, DurationExpr, Expr, ExprKind, Length};
use crate::eval::QueryTime;

/// A length of time comes out as none that can be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LengthError {
    /// A window or a resolution must be longer.
    #[error("duration must be greater than 0")]
    NotPositive,
    /// It does not fit 64 bits of nanoseconds.
    #[error("duration is out of range")]
    OutOfRange,
    /// A division by nothing.
    #[error("division by zero")]
    Division,
    /// A remainder of a division by nothing.
    #[error("modulo by zero")]
    Modulo,
}

/// The expression with all lengths computed.
pub(super) fn fix(expr: &Expr, time: QueryTime) -> Result<Cow<'_, Expr>, LengthError> {
    let mut any = false;
    expr.visit(&mut |expr| {
        let computed = |length: &Length| matches!(length, Length::Computed(_));
        any |= match &expr.kind {
            ExprKind::Selector(selector) => computed(&selector.offset),
            ExprKind::Range(selector, range) => computed(range) || computed(&selector.offset),
            ExprKind::Subquery(subquery) => {
                let (range, step) = (&subquery.range, &subquery.step);
                computed(range) || step.as_ref().is_some_and(computed) || computed(&subquery.offset)
            }
            _ => false,
        };
    });
    if !any {
        return Ok(Cow::Borrowed(expr));
    }
    let step_ms = if time.instant { 0 } else { time.step_ms };
    let times = Times {
        step: step_ms as f64 / 1000.0,
        range: time.end.saturating_sub(time.start) as f64 / 1000.0,
    };
    let mut fixed = expr.clone();
    times.fix(&mut fixed)?;
    Ok(Cow::Owned(fixed))
}

impl Length {
    /// In milliseconds; none for one that is still to be computed.
    pub(super) fn ms(&self) -> i64 {
        match self {
            Self::Fixed(ms) => *ms,
            Self::Computed(_) => 0,
        }
    }
}

/// Times of the query, in seconds.
struct Times {
    step: f64,
    range: f64,
}

impl Times {
    fn fix(&self, expr: &mut Expr) -> Result<(), LengthError> {
        match &mut expr.kind {
            ExprKind::Number(..) | ExprKind::String(_) => Ok(()),
            ExprKind::Selector(selector) => self.length(&mut selector.offset, true),
            ExprKind::Range(selector, range) => {
                self.length(range, false)?;
                self.length(&mut selector.offset, true)
            }
            ExprKind::Subquery(subquery) => {
                self.length(&mut subquery.offset, true)?;
                if let Some(step) = &mut subquery.step {
                    self.length(step, false)?;
                }
                self.length(&mut subquery.range, false)?;
                self.fix(&mut subquery.expr)
            }
            ExprKind::Call(_, args) => args.iter_mut().try_for_each(|arg| self.fix(arg)),
            ExprKind::Aggregate(aggregate) => {
                if let Some(param) = &mut aggregate.param {
                    self.fix(param)?;
                }
                self.fix(&mut aggregate.expr)
            }
            ExprKind::Binary(binary) => {
                self.fix(&mut binary.lhs)?;
                self.fix(&mut binary.rhs)
            }
            ExprKind::Negate(inner) | ExprKind::Plus(inner) | ExprKind::Paren(inner) => {
                self.fix(inner)
            }
        }
    }

    fn length(&self, length: &mut Length, is_offset: bool) -> Result<(), LengthError> {
        let Length::Computed(expr) = length else {
            return Ok(());
        };
        let seconds = self.seconds(expr)?;
        if !is_offset && (seconds <= 0.0 || seconds.is_nan()) {
            return Err(LengthError::NotPositive);
        }
        let ms = (seconds * 1000.0).round();
        // What 64 bits of nanoseconds hold, in milliseconds.
        if ms.is_nan() || ms.abs() > 9_223_372_036_854.0 {
            return Err(LengthError::OutOfRange);
        }
        if !is_offset && ms == 0.0 {
            return Err(LengthError::NotPositive);
        }
        *length = Length::Fixed(ms as i64);
        Ok(())
    }

    fn seconds(&self, expr: &DurationExpr) -> Result<f64, LengthError> {
        Ok(match expr {
            DurationExpr::Number(seconds, _) => *seconds,
            DurationExpr::Step => self.step,
            DurationExpr::Range => self.range,
            DurationExpr::MinOf(a, b) => self.seconds(a)?.min(self.seconds(b)?),
            DurationExpr::MaxOf(a, b) => self.seconds(a)?.max(self.seconds(b)?),
            DurationExpr::Negate(inner) => -self.seconds(inner)?,
            DurationExpr::Paren(inner) => self.seconds(inner)?,
            DurationExpr::Binary(op, lhs, rhs) => {
                let (lhs, rhs) = (self.seconds(lhs)?, self.seconds(rhs)?);
                match op {
                    BinaryOp::Add => lhs + rhs,
                    BinaryOp::Sub => lhs - rhs,
                    BinaryOp::Mul => lhs * rhs,
                    BinaryOp::Div if rhs == 0.0 => return Err(LengthError::Division),
                    BinaryOp::Div => lhs / rhs,
                    BinaryOp::Mod if rhs == 0.0 => return Err(LengthError::Modulo),
                    BinaryOp::Mod => lhs % rhs,
                    // The parser lets no other through.
                    _ => lhs.powf(rhs),
                }
            }
        })
    }
}
