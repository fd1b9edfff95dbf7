//! Lengths of time: in brackets, behind `offset`, and arithmetic with them.

use super::grammar::{Parsed, Parser, arithmetic};
use super::lex::{Keyword, TokenKind};
use crate::ast::{BinaryOp, DurationExpr, Length};

/// What 64 bits of nanoseconds hold, in seconds.
const MAX_SECONDS: f64 = 9_223_372_036.854_776;

impl Length {
    fn of_seconds(seconds: f64) -> Self {
        Self::Fixed((seconds * 1000.0).round() as i64)
    }
}

impl Parser<'_> {
    /// A length that must be positive, as in brackets.
    pub(super) fn positive_length(&mut self, context: &str, wanted: &str) -> Parsed<Length> {
        let start = self.token.start;
        if !self.starts_length() {
            return self.unexpected(context, wanted);
        }
        let expr = self.duration_expr(0)?;
        if let DurationExpr::Number(seconds, _) = expr
            && (seconds <= 0.0 || seconds.is_nan())
        {
            return self.error(start, "duration must be greater than 0".to_owned());
        }
        self.length(start, expr)
    }

    /// What stands behind `offset`: one operand with a sign or without. An operator behind it is
    /// one of the expression that has the offset.
    pub(super) fn offset_length(&mut self) -> Parsed<Length> {
        let start = self.token.start;
        let sign = self.sign()?;
        if !self.starts_length() || self.is_sign() {
            return self.unexpected("offset", "number, duration, step(), or range()");
        }
        let operand = self.duration_operand()?;
        let expr = if sign == Some(true) {
            negated(operand)
        } else {
            operand
        };
        self.length(start, expr)
    }

    fn length(&self, start: usize, expr: DurationExpr) -> Parsed<Length> {
        if let DurationExpr::Number(seconds, _) = expr {
            return Ok(Length::of_seconds(seconds));
        }
        if !self.options.experimental {
            let message = "experimental duration expression is not enabled \
                           (limits.experimental_promql allows it)";
            return self.error(start, message.to_owned());
        }
        Ok(Length::Computed(expr.into()))
    }

    fn is_sign(&self) -> bool {
        matches!(
            self.token.kind,
            TokenKind::Operator(BinaryOp::Add | BinaryOp::Sub)
        )
    }

    fn starts_length(&self) -> bool {
        let starts = matches!(
            self.token.kind,
            TokenKind::Number
                | TokenKind::Duration
                | TokenKind::LeftParen
                | TokenKind::Keyword(
                    Keyword::Step | Keyword::Range | Keyword::MinOf | Keyword::MaxOf
                )
        );
        starts || self.is_sign()
    }

    /// An expression whose operators bind at least so tightly.
    fn duration_expr(&mut self, least: u8) -> Parsed<DurationExpr> {
        let mut lhs = match self.sign()? {
            Some(minus) => {
                // A sign binds like a product, so a power behind it comes first.
                let binds = arithmetic(BinaryOp::Mul).map_or(0, |(_, right)| right);
                let inner = self.duration_expr(binds)?;
                if minus { negated(inner) } else { inner }
            }
            None => self.duration_operand()?,
        };
        while let TokenKind::Operator(op) = self.token.kind {
            let Some((binds, right)) = arithmetic(op) else {
                return self.unexpected("duration expression", "");
            };
            if binds < least {
                break;
            }
            self.count_operator()?;
            let start = self.bump().start;
            let rhs = self.duration_expr(right)?;
            if rhs.is_zero() && op == BinaryOp::Div {
                return self.error(start, "division by zero".to_owned());
            }
            if rhs.is_zero() && op == BinaryOp::Mod {
                return self.error(start, "modulo by zero".to_owned());
            }
            lhs = DurationExpr::Binary(op, Box::new(lhs), Box::new(rhs));
        }
        Ok(lhs)
    }

    fn duration_operand(&mut self) -> Parsed<DurationExpr> {
        match self.token.kind {
            TokenKind::Number | TokenKind::Duration => {
                let start = self.token.start;
                let (seconds, is_duration) = self.number()?;
                if seconds.is_nan() || seconds > MAX_SECONDS {
                    return self.error(start, "duration out of range".to_owned());
                }
                Ok(DurationExpr::Number(seconds, is_duration))
            }
            TokenKind::Keyword(word @ (Keyword::Step | Keyword::Range)) => {
                self.bump();
                self.expect(TokenKind::LeftParen, "", "")?;
                self.expect(TokenKind::RightParen, "", "")?;
                Ok(match word {
                    Keyword::Step => DurationExpr::Step,
                    _ => DurationExpr::Range,
                })
            }
            TokenKind::Keyword(word @ (Keyword::MinOf | Keyword::MaxOf)) => {
                self.bump();
                self.expect(TokenKind::LeftParen, "", "")?;
                let a = Box::new(self.nested(|parser| parser.duration_expr(0))?);
                self.expect(TokenKind::Comma, "", "")?;
                let b = Box::new(self.nested(|parser| parser.duration_expr(0))?);
                self.expect(TokenKind::RightParen, "", "")?;
                Ok(match word {
                    Keyword::MinOf => DurationExpr::MinOf(a, b),
                    _ => DurationExpr::MaxOf(a, b),
                })
            }
            TokenKind::LeftParen => {
                self.bump();
                let inner = self.nested(|parser| parser.duration_expr(0))?;
                self.expect(TokenKind::RightParen, "", "")?;
                Ok(DurationExpr::Paren(Box::new(inner)))
            }
            _ => self.unexpected("", ""),
        }
    }
}

fn negated(expr: DurationExpr) -> DurationExpr {
    match expr {
        DurationExpr::Number(seconds, is_duration) => DurationExpr::Number(-seconds, is_duration),
        other => DurationExpr::Negate(Box::new(other)),
    }
}

impl DurationExpr {
    fn is_zero(&self) -> bool {
        matches!(self, Self::Number(seconds, _) if *seconds == 0.0)
    }
}
