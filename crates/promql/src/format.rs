//! Queries as text, as Prometheus prints them: on one line, and broken into lines where one would
//! be too long.

mod literal;
mod pretty;
#[cfg(test)]
mod tests;

use std::fmt;

use model::labels::{METRIC_NAME, is_legacy_label_name, is_legacy_metric_name};
use model::matcher::{MatchOp, Matcher};

use crate::ast::{
    Aggregate, At, Binary, BinaryOp, Cardinality, DurationExpr, Edge, Expr, ExprKind, Grouping,
    Length, Matching, Selector, Subquery,
};
use crate::parse::format_duration_ms;
pub(crate) use literal::Quoted;
use literal::{Plain, Short};

impl fmt::Display for Expr {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            ExprKind::Number(value, true) => {
                out.write_str(&format_duration_ms((value * 1000.0).round() as i64))
            }
            ExprKind::Number(value, false) => write!(out, "{}", Plain(*value)),
            ExprKind::String(text) => write!(out, "{}", Quoted(text)),
            ExprKind::Selector(selector) => write!(out, "{}", Selected(selector, None)),
            ExprKind::Range(selector, range) => write!(out, "{}", Selected(selector, Some(range))),
            ExprKind::Subquery(subquery) => {
                write!(out, "{}{}", subquery.expr, SubqueryTail(subquery))
            }
            ExprKind::Call(def, args) => {
                write!(out, "{}(", def.name)?;
                for (index, arg) in args.iter().enumerate() {
                    write!(out, "{}{arg}", if index == 0 { "" } else { ", " })?;
                }
                out.write_str(")")
            }
            ExprKind::Aggregate(aggregate) => {
                write!(out, "{}(", AggregateHead(aggregate))?;
                if let Some(param) = &aggregate.param {
                    write!(out, "{param}, ")?;
                }
                write!(out, "{})", aggregate.expr)
            }
            ExprKind::Binary(binary) => {
                let (lhs, head) = (LeftSide(binary), BinaryHead(binary));
                write!(out, "{lhs} {head} {}", binary.rhs)
            }
            ExprKind::Negate(inner) => write!(out, "-{inner}"),
            ExprKind::Plus(inner) => write!(out, "+{inner}"),
            ExprKind::Paren(inner) => write!(out, "({inner})"),
        }
    }
}

/// What stands before an operator. A power binds closer than a sign, so that infinity as a base is
/// written without its own: `+Inf ^ 2` would be read as `+(Inf ^ 2)`.
struct LeftSide<'a>(&'a Binary);

impl fmt::Display for LeftSide<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0.op, &self.0.lhs.kind) {
            (BinaryOp::Pow, ExprKind::Number(f64::INFINITY, false)) => out.write_str("Inf"),
            _ => write!(out, "{}", self.0.lhs),
        }
    }
}

/// A label's name, quoted where it must be.
struct LabelName<'a>(&'a str);

impl fmt::Display for LabelName<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if is_legacy_label_name(self.0) {
            out.write_str(self.0)
        } else {
            write!(out, "{}", Quoted(self.0))
        }
    }
}

/// A list of labels in parentheses.
struct Names<'a>(&'a [std::sync::Arc<str>]);

impl fmt::Display for Names<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("(")?;
        for (index, name) in self.0.iter().enumerate() {
            write!(
                out,
                "{}{}",
                if index == 0 { "" } else { ", " },
                LabelName(name)
            )?;
        }
        out.write_str(")")
    }
}

/// A selector, with a range or without.
struct Selected<'a>(&'a Selector, Option<&'a Length>);

impl fmt::Display for Selected<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(selector, range) = self;
        let name = selector
            .name
            .as_deref()
            .filter(|name| is_legacy_metric_name(name));
        out.write_str(name.unwrap_or_default())?;
        let is_name =
            |m: &&Matcher| name.is_some() && &*m.name == METRIC_NAME && m.op == MatchOp::Equal;
        let rest = selector.matchers.iter().filter(|m| !is_name(m));
        let mut rest: Vec<String> = rest.map(|m| MatcherText(m).to_string()).collect();
        // In their order as texts, so that what selects the same looks the same.
        rest.sort_unstable();
        if !rest.is_empty() || name.is_none() {
            write!(out, "{{{}}}", rest.join(","))?;
        }
        let edge = match selector.edge {
            Edge::Open => "",
            Edge::Anchored => " anchored",
            Edge::Smoothed => " smoothed",
        };
        // The word stands before `@` with a range, and behind it without.
        if let Some(range) = range {
            write!(out, "[{range}]{edge}{}", AtText(selector.at))?;
        } else {
            write!(out, "{}{edge}", AtText(selector.at))?;
        }
        write!(out, "{}", OffsetText(&selector.offset))
    }
}

/// One matcher.
struct MatcherText<'a>(&'a Matcher);

impl fmt::Display for MatcherText<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let op = match self.0.op {
            MatchOp::Equal => "=",
            MatchOp::NotEqual => "!=",
            MatchOp::Regex => "=~",
            MatchOp::NotRegex => "!~",
        };
        let (name, value) = (LabelName(&self.0.name), Quoted(&self.0.value));
        write!(out, "{name}{op}{value}")
    }
}

impl fmt::Display for Length {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(ms) => out.write_str(&format_duration_ms(*ms)),
            Self::Computed(expr) => write!(out, "{expr}"),
        }
    }
}

impl fmt::Display for DurationExpr {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(seconds, true) => {
                out.write_str(&format_duration_ms((seconds * 1000.0).round() as i64))
            }
            Self::Number(seconds, false) => write!(out, "{}", Plain(*seconds)),
            Self::Step => out.write_str("step()"),
            Self::Range => out.write_str("range()"),
            Self::MinOf(a, b) => write!(out, "min_of({a}, {b})"),
            Self::MaxOf(a, b) => write!(out, "max_of({a}, {b})"),
            Self::Binary(op, lhs, rhs) => write!(out, "{lhs} {} {rhs}", op.symbol()),
            Self::Negate(inner) => write!(out, "-{inner}"),
            // A number needs none.
            Self::Paren(inner) if matches!(**inner, Self::Number(..)) => write!(out, "{inner}"),
            Self::Paren(inner) => write!(out, "({inner})"),
        }
    }
}

/// `@`.
struct AtText(Option<At>);

impl fmt::Display for AtText {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(At::Time(t)) => write!(out, " @ {:.3}", t as f64 / 1000.0),
            Some(At::Start) => out.write_str(" @ start()"),
            Some(At::End) => out.write_str(" @ end()"),
            None => Ok(()),
        }
    }
}

/// `offset`.
struct OffsetText<'a>(&'a Length);

impl fmt::Display for OffsetText<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self.0 == Length::ZERO {
            return Ok(());
        }
        write!(out, " offset {}", self.0)
    }
}

/// What stands behind the expression of a subquery.
struct SubqueryTail<'a>(&'a Subquery);

impl fmt::Display for SubqueryTail<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "[{}:", self.0.range)?;
        if let Some(step) = &self.0.step {
            write!(out, "{step}")?;
        }
        write!(out, "]{}{}", AtText(self.0.at), OffsetText(&self.0.offset))
    }
}

/// An aggregation up to its arguments.
struct AggregateHead<'a>(&'a Aggregate);

impl fmt::Display for AggregateHead<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.0.op.name())?;
        match &self.0.grouping {
            Grouping::By(names) if names.is_empty() => Ok(()),
            Grouping::By(names) => write!(out, " by {} ", Names(names)),
            Grouping::Without(names) => write!(out, " without {} ", Names(names)),
        }
    }
}

/// An operator with its modifiers.
struct BinaryHead<'a>(&'a Binary);

impl fmt::Display for BinaryHead<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Binary {
            op,
            return_bool,
            matching,
            ..
        } = self.0;
        out.write_str(op.symbol())?;
        if *return_bool {
            out.write_str(" bool")?;
        }
        write!(out, "{}", MatchingTail(matching))
    }
}

/// How vectors match.
struct MatchingTail<'a>(&'a Matching);

impl fmt::Display for MatchingTail<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let matching = self.0;
        let grouped = matches!(
            matching.cardinality,
            Cardinality::ManyToOne | Cardinality::OneToMany
        );
        if matching.on {
            write!(out, " on {}", Names(&matching.labels))?;
        } else if grouped || !matching.labels.is_empty() {
            // Without it, no grouping can be written.
            write!(out, " ignoring {}", Names(&matching.labels))?;
        }
        match matching.cardinality {
            Cardinality::ManyToOne => write!(out, " group_left {}", Names(&matching.include))?,
            Cardinality::OneToMany => write!(out, " group_right {}", Names(&matching.include))?,
            Cardinality::OneToOne | Cardinality::ManyToMany => {}
        }
        match (matching.fill_left, matching.fill_right) {
            (None, None) => Ok(()),
            (Some(left), Some(right)) if left == right => write!(out, " fill ({})", Short(left)),
            (left, right) => {
                if let Some(left) = left {
                    write!(out, " fill_left ({})", Short(left))?;
                }
                right.map_or(Ok(()), |right| {
                    write!(out, " fill_right ({})", Short(right))
                })
            }
        }
    }
}
