//! Queries broken into lines.

use std::collections::HashSet;
use std::ptr;

use super::{AggregateHead, BinaryHead, LeftSide, SubqueryTail};
use crate::ast::{Expr, ExprKind};

/// Expressions longer than this are broken into lines, in bytes.
const MAX_LINE: usize = 100;
/// Deeper levels are indented no further.
const MAX_INDENT: usize = 40;

/// Expressions that do not fit a line, by where they lie in memory.
type Long = HashSet<usize>;

impl Expr {
    /// The expression, broken into indented lines where it is long.
    pub fn pretty(&self) -> String {
        let mut long = Long::new();
        self.find_long(&mut long);
        let mut out = String::new();
        self.pretty_at(0, &long, &mut out);
        out
    }

    /// Finds what is longer than a line, from within: what holds such an expression is longer too,
    /// and is not printed to find out. So the whole costs as much as it is long, not as often as it
    /// is deep.
    fn find_long(&self, long: &mut Long) -> bool {
        let below = match &self.kind {
            ExprKind::Number(..)
            | ExprKind::String(_)
            | ExprKind::Selector(_)
            | ExprKind::Range(..) => false,
            ExprKind::Subquery(subquery) => subquery.expr.find_long(long),
            ExprKind::Call(_, args) => args.iter().filter(|arg| arg.find_long(long)).count() > 0,
            ExprKind::Aggregate(aggregate) => {
                let parts = aggregate.param.iter().chain([&aggregate.expr]);
                parts.filter(|part| part.find_long(long)).count() > 0
            }
            ExprKind::Binary(binary) => {
                let lhs = binary.lhs.find_long(long);
                binary.rhs.find_long(long) || lhs
            }
            ExprKind::Negate(inner) | ExprKind::Plus(inner) | ExprKind::Paren(inner) => {
                inner.find_long(long)
            }
        };
        let is_long = below || self.to_string().len() > MAX_LINE;
        if is_long {
            long.insert(ptr::from_ref(self).addr());
        }
        is_long
    }

    fn pretty_at(&self, level: usize, long: &Long, out: &mut String) {
        let pad = |level: usize| "  ".repeat(level.min(MAX_INDENT));
        let fits = !long.contains(&ptr::from_ref(self).addr());
        let splits = !matches!(
            self.kind,
            ExprKind::Number(..)
                | ExprKind::String(_)
                | ExprKind::Selector(_)
                | ExprKind::Range(..)
        );
        // A subquery that fits stands where it stands: it is not indented.
        if matches!(self.kind, ExprKind::Subquery(_)) && fits {
            out.push_str(&self.to_string());
            return;
        }
        if !splits || fits {
            out.push_str(&pad(level));
            out.push_str(&self.to_string());
            return;
        }
        let block = |open: &str, parts: &[&Self], out: &mut String| {
            out.push_str(&pad(level));
            out.push_str(open);
            out.push_str("(\n");
            for (index, part) in parts.iter().enumerate() {
                part.pretty_at(level + 1, long, out);
                out.push_str(if index + 1 < parts.len() { ",\n" } else { "\n" });
            }
            out.push_str(&pad(level));
            out.push(')');
        };
        match &self.kind {
            ExprKind::Call(def, args) => {
                block(def.name, &args.iter().collect::<Vec<_>>(), out);
            }
            ExprKind::Aggregate(aggregate) => {
                let parts: Vec<&Self> = aggregate.param.iter().chain([&aggregate.expr]).collect();
                block(&AggregateHead(aggregate).to_string(), &parts, out);
            }
            ExprKind::Paren(inner) => block("", &[&**inner], out),
            ExprKind::Binary(binary) => {
                if matches!(binary.lhs.kind, ExprKind::Number(..)) {
                    out.push_str(&format!("{}{}", pad(level + 1), LeftSide(binary)));
                } else {
                    binary.lhs.pretty_at(level + 1, long, out);
                }
                out.push_str(&format!("\n{}{}\n", pad(level), BinaryHead(binary)));
                binary.rhs.pretty_at(level + 1, long, out);
            }
            ExprKind::Subquery(subquery) => {
                subquery.expr.pretty_at(level, long, out);
                out.push_str(&SubqueryTail(subquery).to_string());
            }
            ExprKind::Negate(inner) | ExprKind::Plus(inner) => {
                let is_minus = matches!(self.kind, ExprKind::Negate(_));
                let sign = if is_minus { '-' } else { '+' };
                let mut text = String::new();
                inner.pretty_at(level, long, &mut text);
                out.push_str(&format!("{}{sign}{}", pad(level), text.trim_start()));
            }
            _ => out.push_str(&self.to_string()),
        }
    }
}
