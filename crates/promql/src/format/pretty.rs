//! Queries broken into lines.

use super::{AggregateHead, BinaryHead, LeftSide, SubqueryTail};
use crate::ast::{Expr, ExprKind};

/// Expressions longer than this are broken into lines, in bytes.
const MAX_LINE: usize = 100;
/// Deeper levels are indented no further.
const MAX_INDENT: usize = 40;

impl Expr {
    /// The expression, broken into indented lines where it is long.
    pub fn pretty(&self) -> String {
        let mut out = String::new();
        self.pretty_at(0, &mut out);
        out
    }

    fn pretty_at(&self, level: usize, out: &mut String) {
        let pad = |level: usize| "  ".repeat(level.min(MAX_INDENT));
        let line = self.to_string();
        let splits = !matches!(
            self.kind,
            ExprKind::Number(..)
                | ExprKind::String(_)
                | ExprKind::Selector(_)
                | ExprKind::Range(..)
        );
        // A subquery that fits stands where it stands: it is not indented.
        if matches!(self.kind, ExprKind::Subquery(_)) && line.len() <= MAX_LINE {
            out.push_str(&line);
            return;
        }
        if !splits || line.len() <= MAX_LINE {
            out.push_str(&pad(level));
            out.push_str(&line);
            return;
        }
        let block = |open: &str, parts: &[&Self], out: &mut String| {
            out.push_str(&pad(level));
            out.push_str(open);
            out.push_str("(\n");
            for (index, part) in parts.iter().enumerate() {
                part.pretty_at(level + 1, out);
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
                    binary.lhs.pretty_at(level + 1, out);
                }
                out.push_str(&format!("\n{}{}\n", pad(level), BinaryHead(binary)));
                binary.rhs.pretty_at(level + 1, out);
            }
            ExprKind::Subquery(subquery) => {
                subquery.expr.pretty_at(level, out);
                out.push_str(&SubqueryTail(subquery).to_string());
            }
            ExprKind::Negate(inner) | ExprKind::Plus(inner) => {
                let sign = &line[..1];
                let mut text = String::new();
                inner.pretty_at(level, &mut text);
                out.push_str(&format!("{}{sign}{}", pad(level), text.trim_start()));
            }
            _ => out.push_str(&line),
        }
    }
}
