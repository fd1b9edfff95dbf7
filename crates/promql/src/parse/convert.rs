//! From the crate's tree to ours: strings come back from the table, positions from the scan.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use model::labels::METRIC_NAME;
use model::matcher::{MatchOp, Matcher};
use promql_parser::label as theirs_label;
use promql_parser::parser as theirs;

use super::ParseError;
use super::scan::{NEUTRAL_LABEL, Operand, Scan};
use crate::annotations::Pos;
use crate::ast::{
    Aggregate, AggregateOp, At, Binary, BinaryOp, Cardinality, Expr, ExprKind, Grouping, Matching,
    Selector, Subquery,
};
use crate::functions;

/// Converts a tree.
pub(super) fn convert(expr: &theirs::Expr, text: &str, scan: &Scan) -> Result<Expr, ParseError> {
    let mut converter = Converter {
        text,
        scan,
        next: 0,
        next_trim: 0,
    };
    let converted = converter.expr(expr)?;
    Ok(converted)
}

impl Scan {
    /// The literal that an index in the rewritten text stands for; other texts as they are.
    fn resolve<'a>(&'a self, word: &'a str) -> &'a str {
        let is_index = word.bytes().all(|c| c.is_ascii_digit());
        let index = if is_index {
            word.parse::<usize>().ok()
        } else {
            None
        };
        index
            .and_then(|index| self.strings.get(index))
            .map_or(word, String::as_str)
    }

    /// A message of the grammar's in our words: types as upstream names them, names in double
    /// quotes, and literals, which the rewritten text has as indexes, put back.
    pub(super) fn restore_message(&self, message: &str) -> String {
        let mut restored = message.replace('\'', "\"");
        if restored.starts_with("expected type ") || restored.contains("got ") {
            restored = restored
                .replace("vector", "instant vector")
                .replace("matrix", "range vector");
        }
        for (index, literal) in self.strings.iter().enumerate().rev() {
            restored = restored.replace(&format!("\"{index}\""), &format!("{literal:?}"));
        }
        restored
    }
}

struct Converter<'a> {
    text: &'a str,
    scan: &'a Scan,
    /// The next operand of the scan: the tree is walked in the order of the text.
    next: usize,
    /// The next `<` or `>` of the scan.
    next_trim: usize,
}

impl Converter<'_> {
    fn operand(&mut self) -> Operand {
        let operand = self.peek();
        self.next += 1;
        operand
    }

    fn peek(&self) -> Operand {
        let nowhere = Operand {
            start: 0,
            signed_start: 0,
            is_duration: false,
        };
        self.scan
            .operands
            .get(self.next)
            .copied()
            .unwrap_or(nowhere)
    }

    fn error(&self, start: u32, message: String) -> ParseError {
        ParseError::at(self.text, start as usize, message)
    }

    fn expr(&mut self, expr: &theirs::Expr) -> Result<Expr, ParseError> {
        let at = |start: u32, kind: ExprKind| Expr {
            kind,
            pos: Pos { start, end: start },
        };
        Ok(match expr {
            theirs::Expr::NumberLiteral(number) => {
                let operand = self.operand();
                let kind = ExprKind::Number(number.val, operand.is_duration);
                at(operand.signed_start, kind)
            }
            theirs::Expr::StringLiteral(string) => {
                let start = self.operand().start;
                at(
                    start,
                    ExprKind::String(self.scan.resolve(&string.val).to_owned()),
                )
            }
            theirs::Expr::VectorSelector(selector) => {
                let start = self.operand().start;
                at(start, ExprKind::Selector(self.selector(selector, start)?))
            }
            theirs::Expr::MatrixSelector(matrix) => {
                let start = self.operand().start;
                let selector = self.selector(&matrix.vs, start)?;
                at(start, ExprKind::Range(selector, duration_ms(&matrix.range)))
            }
            theirs::Expr::Paren(paren) => {
                let start = self.operand().start;
                at(start, ExprKind::Paren(Box::new(self.expr(&paren.expr)?)))
            }
            theirs::Expr::Unary(unary) => {
                let start = self.peek().signed_start;
                at(start, ExprKind::Negate(Box::new(self.expr(&unary.expr)?)))
            }
            theirs::Expr::Subquery(subquery) => {
                let inner = self.expr(&subquery.expr)?;
                let converted = Subquery {
                    range_ms: duration_ms(&subquery.range),
                    step_ms: subquery.step.as_ref().map(duration_ms).filter(|ms| *ms > 0),
                    offset_ms: offset_ms(subquery.offset.as_ref()),
                    at: self.at(subquery.at.as_ref(), inner.pos.start)?,
                    expr: inner,
                };
                at(
                    converted.expr.pos.start,
                    ExprKind::Subquery(Box::new(converted)),
                )
            }
            theirs::Expr::Call(call) => self.call(call)?,
            theirs::Expr::Aggregate(aggregate) => self.aggregate(aggregate)?,
            theirs::Expr::Binary(binary) => self.binary(binary)?,
            theirs::Expr::Extension(_) => {
                return Err(ParseError::anywhere("unknown expression".to_owned()));
            }
        })
    }

    fn call(&mut self, call: &theirs::Call) -> Result<Expr, ParseError> {
        let start = self.operand().start;
        let name = call.func.name;
        let unknown = || self.error(start, format!("unknown function with name {name:?}"));
        let def = functions::lookup(name).ok_or_else(unknown)?;
        let args: Result<Vec<_>, _> = call.args.args.iter().map(|arg| self.expr(arg)).collect();
        let kind = ExprKind::Call(def, args?);
        Ok(Expr {
            kind,
            pos: Pos { start, end: start },
        })
    }

    fn aggregate(&mut self, aggregate: &theirs::AggregateExpr) -> Result<Expr, ParseError> {
        let start = self.operand().start;
        let name = aggregate.op.to_string();
        let unknown = || self.error(start, format!("unknown aggregation {name:?}"));
        let op = AggregateOp::from_name(&name).ok_or_else(unknown)?;
        let grouping = match &aggregate.modifier {
            None => Grouping::By(Vec::new()),
            Some(theirs::LabelModifier::Include(labels)) => Grouping::By(self.names(labels)),
            Some(theirs::LabelModifier::Exclude(labels)) => Grouping::Without(self.names(labels)),
        };
        let param = match &aggregate.param {
            Some(param) => Some(self.expr(param)?),
            None => None,
        };
        let expr = self.expr(&aggregate.expr)?;
        let kind = ExprKind::Aggregate(Box::new(Aggregate {
            op,
            grouping,
            param,
            expr,
        }));
        Ok(Expr {
            kind,
            pos: Pos { start, end: start },
        })
    }

    /// The operator that a symbol of the rewritten text stands for.
    fn symbol(&mut self, symbol: String) -> String {
        if symbol != "<" && symbol != ">" {
            return symbol;
        }
        let trims = self.scan.trims.get(self.next_trim).copied();
        self.next_trim += 1;
        if trims == Some(true) {
            symbol + "/"
        } else {
            symbol
        }
    }

    fn binary(&mut self, binary: &theirs::BinaryExpr) -> Result<Expr, ParseError> {
        let lhs = self.expr(&binary.lhs)?;
        let start = lhs.pos.start;
        let symbol = self.symbol(binary.op.to_string());
        let rhs = self.expr(&binary.rhs)?;
        let unknown = || self.error(start, format!("unknown operator {symbol:?}"));
        let op = BinaryOp::from_symbol(&symbol).ok_or_else(unknown)?;
        let mut matching = Matching::default();
        let mut return_bool = false;
        if let Some(modifier) = &binary.modifier {
            return_bool = modifier.return_bool;
            matching.cardinality = match &modifier.card {
                theirs::VectorMatchCardinality::OneToOne => Cardinality::OneToOne,
                theirs::VectorMatchCardinality::ManyToOne(_) => Cardinality::ManyToOne,
                theirs::VectorMatchCardinality::OneToMany(_) => Cardinality::OneToMany,
                theirs::VectorMatchCardinality::ManyToMany => Cardinality::ManyToMany,
            };
            if let Some(include) = modifier.card.labels() {
                matching.include = self.names(include);
            }
            if let Some(labels) = &modifier.matching {
                matching.on = labels.is_include();
                matching.labels = self.names(labels.labels());
            }
            matching.fill_left = modifier.fill_values.lhs;
            matching.fill_right = modifier.fill_values.rhs;
        }
        if op.is_set() {
            matching.cardinality = Cardinality::ManyToMany;
        }
        let kind = ExprKind::Binary(Box::new(Binary {
            op,
            return_bool,
            matching,
            lhs,
            rhs,
        }));
        Ok(Expr {
            kind,
            pos: Pos { start, end: start },
        })
    }

    /// The names of a list, sorted, each once.
    fn names(&self, labels: &theirs_label::Labels) -> Vec<Arc<str>> {
        let resolve = |name: &String| Arc::from(self.scan.resolve(name));
        let mut names: Vec<Arc<str>> = labels.labels.iter().map(resolve).collect();
        names.sort();
        names.dedup();
        names
    }

    fn selector(
        &self,
        theirs: &theirs::VectorSelector,
        start: u32,
    ) -> Result<Selector, ParseError> {
        if !theirs.matchers.or_matchers.is_empty() {
            let message = "unexpected \"or\" in label matching, expected \",\" or \"}\"";
            return Err(self.error(start, message.to_owned()));
        }
        let name = theirs.name.as_deref().map(Arc::<str>::from);
        let mut matchers = Vec::with_capacity(theirs.matchers.matchers.len() + 1);
        let invalid = |error: model::matcher::MatcherError| self.error(start, error.to_string());
        if let Some(name) = &name {
            matchers.push(Matcher::new(METRIC_NAME, MatchOp::Equal, name).map_err(invalid)?);
        }
        let given = theirs.matchers.matchers.iter();
        for matcher in given.filter(|matcher| matcher.name != NEUTRAL_LABEL) {
            let op = match matcher.op {
                theirs_label::MatchOp::Equal => MatchOp::Equal,
                theirs_label::MatchOp::NotEqual => MatchOp::NotEqual,
                theirs_label::MatchOp::Re(_) => MatchOp::Regex,
                theirs_label::MatchOp::NotRe(_) => MatchOp::NotRegex,
            };
            let label = self.scan.resolve(&matcher.name);
            let value = self.scan.resolve(&matcher.value);
            matchers.push(Matcher::new(label, op, value).map_err(invalid)?);
        }
        Ok(Selector {
            name,
            matchers,
            offset_ms: offset_ms(theirs.offset.as_ref()),
            at: self.at(theirs.at.as_ref(), start)?,
        })
    }

    fn at(&self, at: Option<&theirs::AtModifier>, start: u32) -> Result<Option<At>, ParseError> {
        Ok(match at {
            None => None,
            Some(theirs::AtModifier::Start) => Some(At::Start),
            Some(theirs::AtModifier::End) => Some(At::End),
            Some(theirs::AtModifier::At(time)) => {
                let since = time.duration_since(SystemTime::UNIX_EPOCH);
                let ms = since.map_or_else(|e| -duration_ms(&e.duration()), |d| duration_ms(&d));
                if ms.abs() == i64::MAX {
                    let message = "timestamp out of bounds for @ modifier";
                    return Err(self.error(start, message.to_owned()));
                }
                Some(At::Time(ms))
            }
        })
    }
}

/// Whole milliseconds, rounded.
fn duration_ms(duration: &Duration) -> i64 {
    let rounded = duration
        .saturating_add(Duration::from_micros(500))
        .as_millis();
    i64::try_from(rounded).unwrap_or(i64::MAX)
}

fn offset_ms(offset: Option<&theirs::Offset>) -> i64 {
    match offset {
        None => 0,
        Some(theirs::Offset::Pos(duration)) => duration_ms(duration),
        Some(theirs::Offset::Neg(duration)) => -duration_ms(duration),
    }
}
