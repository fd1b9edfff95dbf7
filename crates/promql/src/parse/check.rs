//! The checks of types and modifiers, with texts of upstream's class.

use model::labels::METRIC_NAME;

use super::{ParseError, ParseOptions};
use crate::annotations::Pos;
use crate::ast::{Aggregate, Binary, Cardinality, Expr, ExprKind, Selector};
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
            ExprKind::Aggregate(aggregate) => self.aggregate(aggregate)?,
            ExprKind::Binary(binary) => self.binary(binary, expr.pos)?,
            ExprKind::Negate(inner) | ExprKind::Plus(inner) => {
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
            let named: Vec<_> = selector.matchers.iter().filter(named).collect();
            // The last is the one that stands in front of the braces.
            if let [other, _, ..] = named.as_slice() {
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
        let (got, declared) = (args.len(), def.args.len());
        let name = def.name;
        if name == "info"
            && let Some(labels) = args.get(1)
        {
            self.data_labels(labels, pos)?;
        }
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
            if name == "info" && index == 1 {
                continue;
            }
            if let Some(wanted) = def.args.get(index).or(def.args.last()) {
                self.expect(arg, *wanted, &context)?;
            }
        }
        Ok(def.returns)
    }

    /// The second argument of `info`: matchers without a name, which may match an empty value.
    fn data_labels(&self, arg: &Expr, pos: Pos) -> Result<(), ParseError> {
        let kind = arg.value_type();
        if kind != ValueType::Vector {
            let (wanted, got) = (ValueType::Vector.name(), kind.name());
            let message = format!("expected type {wanted} in call to function \"info\", got {got}");
            return self.error(pos, message);
        }
        let message = match &arg.kind {
            ExprKind::Selector(selector) if selector.name.is_none() => return Ok(()),
            ExprKind::Selector(_) => "expected label selectors only, got vector selector instead",
            _ => "expected label selectors only",
        };
        self.error(arg.pos, message.to_owned())
    }

    fn aggregate(&self, aggregate: &Aggregate) -> Checked {
        self.expect(&aggregate.expr, ValueType::Vector, "aggregation expression")?;
        if let (Some(param), Some(wanted)) = (&aggregate.param, aggregate.op.param_type()) {
            self.expect(param, wanted, "aggregation parameter")?;
        }
        Ok(ValueType::Vector)
    }

    /// Where the operator stands: behind the left side.
    fn operator(&self, binary: &Binary) -> Pos {
        let behind = binary.lhs.pos.end;
        let rest = self.text.get(behind as usize..).unwrap_or_default();
        let blanks = rest.len() - rest.trim_start().len();
        let start = behind + u32::try_from(blanks).unwrap_or_default();
        Pos { start, end: start }
    }

    fn binary(&self, binary: &Binary, pos: Pos) -> Checked {
        let (lhs, rhs) = (self.expr(&binary.lhs)?, self.expr(&binary.rhs)?);
        let op = binary.op;
        let matching = &binary.matching;
        let operand = |kind| matches!(kind, ValueType::Scalar | ValueType::Vector);
        if binary.return_bool && !op.is_comparison() {
            let message = "bool modifier can only be used on comparison operators";
            return self.error(self.operator(binary), message.to_owned());
        }
        let scalars = lhs == ValueType::Scalar && rhs == ValueType::Scalar;
        if scalars && op.is_comparison() && !binary.return_bool {
            let message = "comparisons between scalars must use BOOL modifier";
            return self.error(self.operator(binary), message.to_owned());
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
            return self.error(self.operator(binary), message);
        }
        if !operand(lhs) || !operand(rhs) {
            let message = "binary expression must contain only scalar and instant vector types";
            let at = if operand(lhs) {
                binary.rhs.pos
            } else {
                binary.lhs.pos
            };
            return self.error(at, message.to_owned());
        }
        if scalars && op.is_trim() {
            let message = format!(
                "operator {:?} not allowed for Scalar operations",
                op.symbol()
            );
            return self.error(pos, message);
        }
        let fills = matching.fill_left.is_some() || matching.fill_right.is_some();
        if fills && !self.options.experimental {
            let message = "binop fill modifiers are experimental and not enabled \
                           (limits.experimental_promql allows them)";
            return self.error(pos, message.to_owned());
        }
        if lhs != ValueType::Vector || rhs != ValueType::Vector {
            // Without labels to match, the modifiers say nothing: upstream lets them be.
            if !matching.labels.is_empty() {
                let message = "vector matching only allowed between instant vectors";
                return self.error(pos, message.to_owned());
            }
            if fills {
                let message = "filling in missing series only allowed between instant vectors";
                return self.error(pos, message.to_owned());
            }
            if op.is_set() {
                let symbol = op.symbol();
                let message =
                    format!("set operator {symbol:?} not allowed in binary scalar expression");
                return self.error(pos, message);
            }
            return Ok(if scalars {
                ValueType::Scalar
            } else {
                ValueType::Vector
            });
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
        Ok(ValueType::Vector)
    }
}
