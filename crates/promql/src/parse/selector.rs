//! Selectors, and what may stand behind an expression: windows, `offset`, `@`.

use std::sync::Arc;

use model::labels::METRIC_NAME;
use model::matcher::{MatchOp, Matcher, MatcherError};

use super::grammar::{Parsed, Parser};
use super::lex::{Keyword, Token, TokenKind};
use crate::ast::{At, BinaryOp, Edge, Expr, ExprKind, Length, Selector, Subquery};

const NOT_A_SELECTOR: &str =
    "must be preceded by an instant vector selector or range vector selector or a subquery";

impl Parser<'_> {
    /// A text that is a selector as a whole, without modifiers. What is a function's name
    /// elsewhere is a metric's here.
    pub(super) fn whole_selector(&mut self) -> Parsed<Selector> {
        let is_name = match self.token.kind {
            TokenKind::Identifier | TokenKind::MetricIdentifier | TokenKind::Aggregate(_) => true,
            TokenKind::Operator(op) => op.is_set(),
            TokenKind::Keyword(keyword) => keyword.is_function() || keyword.is_metric_name(),
            _ => false,
        };
        if !is_name && self.token.kind != TokenKind::LeftBrace {
            return self.unexpected("", "");
        }
        let name = is_name.then(|| self.bump());
        let selector = self.selector(name)?;
        self.end()?;
        Ok(selector)
    }

    /// The rest of a selector, of which the name was taken, where it has one.
    pub(super) fn selector(&mut self, name: Option<Token>) -> Parsed<Selector> {
        let mut matchers = Vec::new();
        if self.accept(TokenKind::LeftBrace).is_some() {
            while self.accept(TokenKind::RightBrace).is_none() {
                matchers.push(self.matcher()?);
                match self.token.kind {
                    TokenKind::Comma => {
                        self.bump();
                    }
                    TokenKind::RightBrace => {}
                    _ => return self.unexpected("label matching", "\",\" or \"}\""),
                }
            }
        }
        let name = name.map(|token| (token.start, Arc::<str>::from(self.word(token))));
        if let Some((start, name)) = &name {
            let matcher = Matcher::new(METRIC_NAME, MatchOp::Equal, name);
            matchers.push(self.valid(*start, matcher)?);
        }
        Ok(Selector {
            name: name.map(|(_, name)| name),
            matchers,
            offset: Length::ZERO,
            at: None,
            edge: Edge::Open,
        })
    }

    fn valid(&self, start: usize, matcher: Result<Matcher, MatcherError>) -> Parsed<Matcher> {
        matcher.or_else(|error| self.error(start, error.to_string()))
    }

    fn matcher(&mut self) -> Parsed<Matcher> {
        let start = self.token.start;
        let is_string = self.token.kind == TokenKind::String;
        let label = match self.token.kind {
            TokenKind::String => self.string()?,
            TokenKind::Identifier => {
                let token = self.bump();
                self.word(token).to_owned()
            }
            _ => return self.unexpected("label matching", "identifier or \"}\""),
        };
        let op = match self.token.kind {
            TokenKind::Assign => MatchOp::Equal,
            TokenKind::Operator(BinaryOp::Ne) => MatchOp::NotEqual,
            TokenKind::Matches => MatchOp::Regex,
            TokenKind::MatchesNot => MatchOp::NotRegex,
            // A string alone is the name of a metric.
            TokenKind::Comma | TokenKind::RightBrace if is_string => {
                return self.valid(start, Matcher::new(METRIC_NAME, MatchOp::Equal, &label));
            }
            _ if is_string => return self.unexpected("label matching", "\",\" or \"}\""),
            _ => return self.unexpected("label matching", "label matching operator"),
        };
        self.bump();
        if self.token.kind != TokenKind::String {
            return self.unexpected("label matching", "string");
        }
        let value = self.string()?;
        self.valid(start, Matcher::new(&label, op, &value))
    }

    /// What stands behind an expression and belongs to it.
    pub(super) fn suffixes(&mut self, mut expr: Expr) -> Parsed<Expr> {
        loop {
            match self.token.kind {
                TokenKind::LeftBracket => expr = self.window(expr)?,
                TokenKind::Keyword(Keyword::Offset) => self.offset(&mut expr)?,
                TokenKind::At => self.at(&mut expr)?,
                TokenKind::Keyword(Keyword::Anchored) => self.edge(&mut expr, Edge::Anchored)?,
                TokenKind::Keyword(Keyword::Smoothed) => self.edge(&mut expr, Edge::Smoothed)?,
                _ => return Ok(expr),
            }
        }
    }

    /// `[range]` or `[range:step]`.
    fn window(&mut self, expr: Expr) -> Parsed<Expr> {
        const LENGTH: &str = "number, duration, step(), or range()";
        let bracket = self.bump();
        let range = self.positive_length("subquery or range selector", LENGTH)?;
        if self.accept(TokenKind::Colon).is_some() {
            let step = match self.token.kind {
                TokenKind::RightBracket => None,
                _ => {
                    let wanted = "number, duration, step(), range(), or \"]\"";
                    Some(self.positive_length("subquery selector", wanted)?)
                }
            };
            self.expect(TokenKind::RightBracket, "subquery selector", "\"]\"")?;
            return Ok(Expr {
                pos: self.since(expr.pos.start as usize),
                kind: ExprKind::Subquery(Box::new(Subquery {
                    expr,
                    range,
                    step,
                    offset: Length::ZERO,
                    at: None,
                })),
            });
        }
        let wanted = "\":\" or \"]\"";
        self.expect(TokenKind::RightBracket, "subquery or range", wanted)?;
        let start = expr.pos.start as usize;
        let problem = match &expr.kind {
            ExprKind::Selector(selector) if selector.offset != Length::ZERO => {
                "no offset modifiers allowed before range"
            }
            ExprKind::Selector(selector) if selector.at.is_some() => {
                "no @ modifiers allowed before range"
            }
            ExprKind::Selector(_) => "",
            _ => "ranges only allowed for vector selectors",
        };
        match expr.kind {
            ExprKind::Selector(selector) if problem.is_empty() => Ok(Expr {
                kind: ExprKind::Range(selector, range),
                pos: self.since(start),
            }),
            _ => self.error(bracket.start, problem.to_owned()),
        }
    }

    fn offset(&mut self, expr: &mut Expr) -> Parsed<()> {
        self.bump();
        let length = self.offset_length()?;
        let start = expr.pos.start as usize;
        let offset = match &mut expr.kind {
            ExprKind::Selector(selector) | ExprKind::Range(selector, _) => &mut selector.offset,
            ExprKind::Subquery(subquery) => &mut subquery.offset,
            _ => return self.error(start, format!("offset modifier {NOT_A_SELECTOR}")),
        };
        if *offset != Length::ZERO {
            return self.error(start, "offset may not be set multiple times".to_owned());
        }
        *offset = length;
        expr.pos = self.since(start);
        Ok(())
    }

    fn at(&mut self, expr: &mut Expr) -> Parsed<()> {
        self.bump();
        let wanted = self.at_time(expr)?;
        let start = expr.pos.start as usize;
        let at = match &mut expr.kind {
            ExprKind::Selector(selector) | ExprKind::Range(selector, _) => &mut selector.at,
            ExprKind::Subquery(subquery) => &mut subquery.at,
            _ => return self.error(start, format!("@ modifier {NOT_A_SELECTOR}")),
        };
        if at.is_some() {
            let message = "@ <timestamp> may not be set multiple times".to_owned();
            return self.error(start, message);
        }
        *at = Some(wanted);
        expr.pos = self.since(start);
        Ok(())
    }

    fn at_time(&mut self, expr: &Expr) -> Parsed<At> {
        let preprocessed = match self.token.kind {
            TokenKind::Keyword(Keyword::Start) => Some(At::Start),
            TokenKind::Keyword(Keyword::End) => Some(At::End),
            _ => None,
        };
        if let Some(at) = preprocessed {
            self.bump();
            self.expect(TokenKind::LeftParen, "@", "timestamp")?;
            self.expect(TokenKind::RightParen, "@", "timestamp")?;
            return Ok(at);
        }
        let negative = self.sign()?.unwrap_or(false);
        if !matches!(self.token.kind, TokenKind::Number | TokenKind::Duration) {
            return self.unexpected("@", "timestamp");
        }
        let (value, _) = self.number()?;
        let seconds = if negative { -value } else { value };
        // The bounds of 64 bits, as floats have them.
        if !seconds.is_finite() || seconds.abs() >= i64::MAX as f64 {
            let message = format!("timestamp out of bounds for @ modifier: {seconds:.6}");
            return self.error(expr.pos.start as usize, message);
        }
        Ok(At::Time((seconds * 1000.0).round() as i64))
    }

    /// Takes a sign, where there is one; whether it is a minus.
    pub(super) fn sign(&mut self) -> Parsed<Option<bool>> {
        let TokenKind::Operator(op @ (BinaryOp::Add | BinaryOp::Sub)) = self.token.kind else {
            return Ok(None);
        };
        self.count_operator()?;
        self.bump();
        Ok(Some(op == BinaryOp::Sub))
    }

    fn edge(&mut self, expr: &mut Expr, edge: Edge) -> Parsed<()> {
        let name = if edge == Edge::Anchored {
            "anchored"
        } else {
            "smoothed"
        };
        let start = expr.pos.start as usize;
        if !self.options.experimental {
            let message = format!(
                "{name} modifier is experimental and not enabled (limits.experimental_promql \
                 allows it)"
            );
            return self.error(start, message);
        }
        self.bump();
        let problem = match &mut expr.kind {
            ExprKind::Selector(selector) | ExprKind::Range(selector, _) => {
                let other = selector.edge != Edge::Open && selector.edge != edge;
                selector.edge = edge;
                if other {
                    "anchored and smoothed modifiers cannot be used together".to_owned()
                } else {
                    expr.pos = self.since(start);
                    return Ok(());
                }
            }
            ExprKind::Subquery(_) => format!("{name} modifier is not supported for subqueries"),
            _ => format!("{name} modifier not implemented"),
        };
        self.error(start, problem)
    }
}
