//! What stands between a binary operator and its right side, and lists of labels.

use std::sync::Arc;

use super::grammar::{Parsed, Parser};
use super::lex::{Keyword, TokenKind};
use crate::ast::{BinaryOp, Cardinality, Matching};

impl Parser<'_> {
    /// `bool`, `on`, `group_left`, `fill` and the like; whether there was a `bool`.
    pub(super) fn modifiers(&mut self, op: BinaryOp) -> Parsed<(bool, Matching)> {
        let mut matching = Matching::default();
        let return_bool = self.keyword(Keyword::Bool);
        let on = self.keyword(Keyword::On);
        if on || self.keyword(Keyword::Ignoring) {
            matching.on = on;
            matching.labels = self.labels()?;
            let left = self.keyword(Keyword::GroupLeft);
            if left || self.keyword(Keyword::GroupRight) {
                matching.cardinality = if left {
                    Cardinality::ManyToOne
                } else {
                    Cardinality::OneToMany
                };
                if self.token.kind == TokenKind::LeftParen {
                    matching.include = self.labels()?;
                }
            }
        }
        self.fills(&mut matching)?;
        if op.is_set() && matching.cardinality == Cardinality::OneToOne {
            matching.cardinality = Cardinality::ManyToMany;
        }
        Ok((return_bool, matching))
    }

    fn keyword(&mut self, keyword: Keyword) -> bool {
        self.accept(TokenKind::Keyword(keyword)).is_some()
    }

    fn fills(&mut self, matching: &mut Matching) -> Parsed<()> {
        if self.keyword(Keyword::Fill) {
            let value = self.fill_value()?;
            (matching.fill_left, matching.fill_right) = (Some(value), Some(value));
            return Ok(());
        }
        loop {
            if matching.fill_left.is_none() && self.keyword(Keyword::FillLeft) {
                matching.fill_left = Some(self.fill_value()?);
            } else if matching.fill_right.is_none() && self.keyword(Keyword::FillRight) {
                matching.fill_right = Some(self.fill_value()?);
            } else {
                return Ok(());
            }
        }
    }

    fn fill_value(&mut self) -> Parsed<f64> {
        self.expect(TokenKind::LeftParen, "", "")?;
        let negative = self.sign()?.unwrap_or(false);
        if !matches!(self.token.kind, TokenKind::Number | TokenKind::Duration) {
            return self.unexpected("fill modifier", "number");
        }
        let (value, _) = self.number()?;
        self.expect(TokenKind::RightParen, "", "")?;
        Ok(if negative { -value } else { value })
    }

    /// Labels in parentheses. Words of the language are as good as others.
    pub(super) fn labels(&mut self) -> Parsed<Vec<Arc<str>>> {
        const CONTEXT: &str = "grouping opts";
        self.expect(TokenKind::LeftParen, CONTEXT, "\"(\"")?;
        let mut labels: Vec<Arc<str>> = Vec::new();
        while self.accept(TokenKind::RightParen).is_none() {
            let label = match self.token.kind {
                TokenKind::String => {
                    let start = self.token.start;
                    let label = self.string()?;
                    if label.is_empty() {
                        let message = "unexpected empty string in grouping opts, expected label";
                        return self.error(start, message.to_owned());
                    }
                    Arc::from(label)
                }
                TokenKind::Identifier
                | TokenKind::MetricIdentifier
                | TokenKind::Keyword(_)
                | TokenKind::Aggregate(_)
                | TokenKind::Operator(
                    BinaryOp::And | BinaryOp::Or | BinaryOp::Unless | BinaryOp::Atan2,
                ) => {
                    let token = self.bump();
                    Arc::from(self.word(token))
                }
                _ => return self.unexpected(CONTEXT, "label"),
            };
            labels.push(label);
            match self.token.kind {
                TokenKind::Comma => {
                    self.bump();
                }
                TokenKind::RightParen => {}
                _ => return self.unexpected(CONTEXT, "\",\" or \")\""),
            }
        }
        Ok(labels)
    }
}
