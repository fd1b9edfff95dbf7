//! Scalars and texts.

use super::budget::{Held, MANY_STEPS};
use super::column::{ScalarColumn, Steps, is_absent};
use super::kernel::Special;
use super::operator;
use super::{EvalError, Evaluator};
use crate::functions;
use crate::plan::{Node, NodeKind};

impl Evaluator<'_> {
    /// A scalar over all steps.
    pub(super) fn scalar(&self, node: &Node, steps: Steps) -> Result<ScalarColumn, EvalError> {
        if self.observer.is_some() {
            return self.observe_scalar(node, || self.scalar_node(node, steps));
        }
        self.scalar_node(node, steps)
    }

    /// A scalar that is kept while others are computed; charged.
    pub(super) fn kept_scalar(
        &self,
        node: &Node,
        steps: Steps,
        held: &mut Held<'_>,
    ) -> Result<ScalarColumn, EvalError> {
        self.budget.check()?;
        let scalar = self.scalar(node, steps)?;
        if scalar.constant().is_none() {
            held.charge(size_of::<f64>() * steps.count)?;
        }
        Ok(scalar)
    }

    /// Two scalars; the first is charged while the second is computed, as they nest deep.
    fn scalars(
        &self,
        first: &Node,
        second: &Node,
        steps: Steps,
    ) -> Result<(ScalarColumn, ScalarColumn), EvalError> {
        let mut held = self.budget.hold();
        let first = self.kept_scalar(first, steps, &mut held)?;
        if steps.count > MANY_STEPS {
            self.budget.stopped()?;
        }
        Ok((first, self.scalar(second, steps)?))
    }

    fn scalar_node(&self, node: &Node, steps: Steps) -> Result<ScalarColumn, EvalError> {
        let seconds = |ms: i64| ScalarColumn::Const(ms as f64 / 1000.0);
        match &node.kind {
            NodeKind::Number(value) => Ok(ScalarColumn::Const(*value)),
            NodeKind::Negate(input) => Ok(map(self.scalar(input, steps)?, |value| -value)),
            NodeKind::Invariant(input) => {
                let once = self.scalar(input, Steps::instant(steps.start))?;
                Ok(ScalarColumn::Const(once.at(0)))
            }
            NodeKind::ScalarBinary(op, lhs, rhs) => {
                let (lhs, rhs) = self.scalars(lhs, rhs, steps)?;
                Ok(zip(&lhs, &rhs, steps, |l, r| operator::scalars(*op, l, r)))
            }
            NodeKind::Special(special, args) => match (special, args.as_slice()) {
                (Special::Time, _) => {
                    let times = steps.times().map(|t| t as f64 / 1000.0);
                    Ok(ScalarColumn::PerStep(times.collect()))
                }
                (Special::Pi, _) => Ok(ScalarColumn::Const(std::f64::consts::PI)),
                (Special::Start, _) => Ok(seconds(self.time.start)),
                (Special::End, _) => Ok(seconds(self.time.end)),
                (Special::Range, _) => Ok(seconds(self.time.end.saturating_sub(self.time.start))),
                (Special::Step, _) => Ok(seconds(if self.time.instant {
                    0
                } else {
                    self.time.step_ms
                })),
                (Special::Scalar, [input]) => self.single(input, steps),
                (Special::MaxOf, [a, b]) => {
                    let (a, b) = self.scalars(a, b, steps)?;
                    Ok(zip(&a, &b, steps, functions::math::larger))
                }
                (Special::MinOf, [a, b]) => {
                    let (a, b) = self.scalars(a, b, steps)?;
                    Ok(zip(&a, &b, steps, functions::math::smaller))
                }
                _ => Err(EvalError::Execution("expected a scalar".to_owned())),
            },
            _ => Err(EvalError::Execution("expected a scalar".to_owned())),
        }
    }

    /// `scalar(v)`: the one float there is at a step, or NaN.
    fn single(&self, input: &Node, steps: Steps) -> Result<ScalarColumn, EvalError> {
        let mut values = vec![f64::NAN; steps.count];
        let mut counts = vec![0u8; steps.count];
        self.stream(input, steps, &mut |_, column| {
            for (step, value) in column.floats.iter().enumerate() {
                if !is_absent(*value) {
                    counts[step] = counts[step].saturating_add(1);
                    values[step] = if counts[step] == 1 { *value } else { f64::NAN };
                }
            }
            Ok(())
        })?;
        Ok(ScalarColumn::PerStep(values))
    }

    /// A text argument.
    pub(super) fn text<'n>(&self, node: &'n Node) -> Result<&'n str, EvalError> {
        match &node.kind {
            NodeKind::String(text) => Ok(text),
            NodeKind::Invariant(inner) => self.text(inner),
            _ => Err(EvalError::Execution("expected a string".to_owned())),
        }
    }
}

fn map(column: ScalarColumn, change: impl Fn(f64) -> f64) -> ScalarColumn {
    match column {
        ScalarColumn::Const(value) => ScalarColumn::Const(change(value)),
        ScalarColumn::PerStep(values) => {
            ScalarColumn::PerStep(values.into_iter().map(change).collect())
        }
    }
}

fn zip(
    lhs: &ScalarColumn,
    rhs: &ScalarColumn,
    steps: Steps,
    join: impl Fn(f64, f64) -> f64,
) -> ScalarColumn {
    if let (Some(lhs), Some(rhs)) = (lhs.constant(), rhs.constant()) {
        return ScalarColumn::Const(join(lhs, rhs));
    }
    let values = (0..steps.count).map(|step| join(lhs.at(step), rhs.at(step)));
    ScalarColumn::PerStep(values.collect())
}
