//! The checks of types and modifiers, with texts of upstream's class.

use model::labels::METRIC_NAME;

use super::{ParseError, ParseOptions};
use crate::annotations::Pos;
use crate::ast::{Aggregate, Binary, BinaryOp, Cardinality, Expr, ExprKind, Selector};
use crate::eval::kernel::FunctionDef;
use crate::value::ValueType;

/// Checks a tree from the leaves up.
pub(super) fn check(expr: &Expr, text: &str, options: &ParseOptions) -> Result<(), ParseError> {
    Checker { text, options }.expr(expr).map(|_| ())
}

struct Checker<'a> {
    text: &'a str,
    options: &'a ParseOptions,
}

type Checked = Result<ValueType, ParseError>;

impl Checker<'_> {
    fn error<T>(&self, pos: Pos, message: String) -> Result<T, ParseError> {
        Err(ParseError::at(self.text, pos.start as usize, message))
    }

    fn expr(&self, expr: &Expr) -> Checked {
        Ok(match &expr.kind {
            ExprKind::Number(..) => ValueType::Scalar,
            ExprKind::String(_) => ValueType::String,
            ExprKind::Selector(selector) => {
                self.selector(selector, expr.pos)?;
                ValueType::Vector
            }
            ExprKind::Range(selector, _) => {
                self.selector(selector, expr.pos)?;
                ValueType::Matrix
            }
            ExprKind::Subquery(subquery) => {
                let inner = self.expr(&subquery.expr)?;
                if inner != ValueType::Vector {
                    let got = inner.name();
                    let message =
                        format!("subquery is only allowed on instant vector, got {got} instead");
                    return self.error(expr.pos, message);
                }
                ValueType::Matrix
            }
            ExprKind::Call(def, args) => self.call(def, args, expr.pos)?,
            ExprKind::Aggregate(aggregate) => self.aggregate(aggregate, expr.pos)?,
            ExprKind::Binary(binary) => self.binary(binary, expr.pos)?,
            ExprKind::Negate(inner) => {
                let kind = self.expr(inner)?;
                if !matches!(kind, ValueType::Scalar | ValueType::Vector) {
                    let message = format!(
                        "unary expression only allowed on expressions of type scalar or instant \
                         vector, got {:?}",
                        kind.name()
                    );
                    return self.error(expr.pos, message);
                }
                kind
            }
            ExprKind::Paren(inner) => self.expr(inner)?,
        })
    }

    fn selector(&self, selector: &Selector, pos: Pos) -> Result<(), ParseError> {
        if let Some(name) = &selector.name {
            let named = |m: &&model::Matcher| &*m.name == METRIC_NAME;
            if let Some(other) = selector.matchers.iter().filter(named).nth(1) {
                let message = format!(
                    "metric name must not be set twice: {name:?} or {:?}",
                    other.value
                );
                return self.error(pos, message);
            }
        }
        if selector.matchers.iter().all(model::Matcher::matches_empty) {
            let message = "vector selector must contain at least one non-empty matcher";
            return self.error(pos, message.to_owned());
        }
        Ok(())
    }

    fn expect(&self, arg: &Expr, wanted: ValueType, context: &str) -> Result<(), ParseError> {
        let got = self.expr(arg)?;
        if got == wanted {
            return Ok(());
        }
        let (wanted, got) = (wanted.name(), got.name());
        self.error(
            arg.pos,
            format!("expected type {wanted} in {context}, got {got}"),
        )
    }

    fn call(&self, def: &FunctionDef, args: &[Expr], pos: Pos) -> Checked {
        if def.experimental && !self.options.experimental {
            let message = format!(
                "function {:?} is not enabled; it is experimental \
                 (limits.experimental_promql allows it)",
                def.name
            );
            return self.error(pos, message);
        }
        let (got, declared) = (args.len(), def.args.len());
        let name = def.name;
        let variadic = usize::try_from(def.variadic).ok();
        let least = if def.variadic == 0 {
            declared
        } else {
            declared.saturating_sub(1)
        };
        if def.variadic == 0 && got != declared {
            let message = format!("expected {declared} argument(s) in call to {name:?}, got {got}");
            return self.error(pos, message);
        }
        if got < least {
            let message =
                format!("expected at least {least} argument(s) in call to {name:?}, got {got}");
            return self.error(pos, message);
        }
        if let Some(variadic) = variadic.filter(|n| *n > 0) {
            let most = least + variadic;
            if got > most {
                let message =
                    format!("expected at most {most} argument(s) in call to {name:?}, got {got}");
                return self.error(pos, message);
            }
        }
        let context = format!("call to function {name:?}");
        for (index, arg) in args.iter().enumerate() {
            if let Some(wanted) = def.args.get(index).or(def.args.last()) {
                self.expect(arg, *wanted, &context)?;
            }
        }
        Ok(def.returns)
    }

    fn aggregate(&self, aggregate: &Aggregate, pos: Pos) -> Checked {
        let op = aggregate.op;
        if op.is_experimental() && !self.options.experimental {
            let message = format!(
                "{} is experimental and not enabled (limits.experimental_promql allows it)",
                op.name()
            );
            return self.error(pos, message);
        }
        self.expect(&aggregate.expr, ValueType::Vector, "aggregation expression")?;
        match (&aggregate.param, op.param_type()) {
            (Some(param), Some(wanted)) => self.expect(param, wanted, "aggregation parameter")?,
            (None, None) => {}
            _ => {
                let expected = 1 + usize::from(op.param_type().is_some());
                let message = format!(
                    "wrong number of arguments for aggregate expression provided, expected {expected}"
                );
                return self.error(pos, message);
            }
        }
        Ok(ValueType::Vector)
    }

    fn binary(&self, binary: &Binary, pos: Pos) -> Checked {
        let (lhs, rhs) = (self.expr(&binary.lhs)?, self.expr(&binary.rhs)?);
        let op = binary.op;
        let matching = &binary.matching;
        let operand = |kind| matches!(kind, ValueType::Scalar | ValueType::Vector);
        if !operand(lhs) || !operand(rhs) {
            let message = "binary expression must contain only scalar and instant vector types";
            let at = if operand(lhs) {
                binary.rhs.pos
            } else {
                binary.lhs.pos
            };
            return self.error(at, message.to_owned());
        }
        if binary.return_bool && !op.is_comparison() {
            let message = "bool modifier can only be used on comparison operators";
            return self.error(pos, message.to_owned());
        }
        if lhs == ValueType::Scalar && rhs == ValueType::Scalar {
            if op.is_comparison() && !binary.return_bool {
                let message = "comparisons between scalars must use BOOL modifier";
                return self.error(pos, message.to_owned());
            }
            if op.is_set() {
                return self.set_with_scalar(op, pos);
            }
            if op.is_trim() {
                let message = format!(
                    "operator {:?} not allowed for Scalar operations",
                    op.symbol()
                );
                return self.error(pos, message);
            }
        }
        if lhs != rhs && op.is_set() {
            return self.set_with_scalar(op, pos);
        }
        if lhs != ValueType::Vector || rhs != ValueType::Vector {
            // Without labels to match, the modifiers say nothing: upstream lets them be.
            if !matching.labels.is_empty() {
                let message = "vector matching only allowed between instant vectors";
                return self.error(pos, message.to_owned());
            }
            let scalar = lhs == ValueType::Scalar && rhs == ValueType::Scalar;
            return Ok(if scalar {
                ValueType::Scalar
            } else {
                ValueType::Vector
            });
        }
        let fills = matching.fill_left.is_some() || matching.fill_right.is_some();
        if fills && !self.options.experimental {
            let message = "fill modifiers are experimental and not enabled \
                           (limits.experimental_promql allows them)";
            return self.error(pos, message.to_owned());
        }
        if op.is_set()
            && matches!(
                matching.cardinality,
                Cardinality::ManyToOne | Cardinality::OneToMany
            )
        {
            let message = format!("no grouping allowed for {:?} operation", op.symbol());
            return self.error(pos, message);
        }
        if op.is_set() && fills {
            let message = "filling in missing series not allowed for set operators";
            return self.error(pos, message.to_owned());
        }
        let shared = matching
            .labels
            .iter()
            .find(|label| matching.include.contains(label));
        if let Some(label) = shared.filter(|_| matching.on) {
            let message = format!(
                "label {:?} must not occur in ON and GROUP clause at once",
                &**label
            );
            return self.error(pos, message);
        }
        Ok(ValueType::Vector)
    }

    fn set_with_scalar(&self, op: BinaryOp, pos: Pos) -> Checked {
        let symbol = op.symbol();
        let message = format!("set operator {symbol:?} not allowed in binary scalar expression");
        self.error(pos, message)
    }
}
