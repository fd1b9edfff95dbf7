//! Queries as text: on one line, and broken into lines where one would be too long.

use std::fmt;

use model::labels::{METRIC_NAME, is_legacy_label_name, is_legacy_metric_name};
use model::matcher::{MatchOp, Matcher};

use crate::annotations::Number;
use crate::ast::{
    Aggregate, At, Binary, Cardinality, DurationExpr, Edge, Expr, ExprKind, Grouping, Length,
    Matching, Selector, Subquery,
};
use crate::parse::format_duration_ms;

/// Expressions longer than this are broken into lines, in characters.
const MAX_LINE: usize = 100;
/// Deeper levels are indented no further.
const MAX_INDENT: usize = 40;

impl fmt::Display for Expr {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            ExprKind::Number(value, true) => {
                out.write_str(&format_duration_ms((value * 1000.0).round() as i64))
            }
            ExprKind::Number(value, false) => write!(out, "{}", Number(*value)),
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
                write!(out, "{} {} {}", binary.lhs, BinaryHead(binary), binary.rhs)
            }
            ExprKind::Negate(inner) => write!(out, "-{inner}"),
            ExprKind::Plus(inner) => write!(out, "+{inner}"),
            ExprKind::Paren(inner) => write!(out, "({inner})"),
        }
    }
}

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
        if !splits || line.chars().count() <= MAX_LINE {
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
                binary.lhs.pretty_at(level + 1, out);
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

/// A string literal.
struct Quoted<'a>(&'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("\"")?;
        for c in self.0.chars() {
            match c {
                '"' => out.write_str("\\\"")?,
                '\\' => out.write_str("\\\\")?,
                '\n' => out.write_str("\\n")?,
                '\r' => out.write_str("\\r")?,
                '\t' => out.write_str("\\t")?,
                c if c.is_control() => write!(out, "\\u{:04x}", c as u32)?,
                c => write!(out, "{c}")?,
            }
        }
        out.write_str("\"")
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
            |m: &Matcher| name.is_some() && &*m.name == METRIC_NAME && m.op == MatchOp::Equal;
        let rest: Vec<&Matcher> = selector.matchers.iter().filter(|m| !is_name(m)).collect();
        if !rest.is_empty() || name.is_none() {
            out.write_str("{")?;
            for (index, matcher) in rest.iter().enumerate() {
                let op = match matcher.op {
                    MatchOp::Equal => "=",
                    MatchOp::NotEqual => "!=",
                    MatchOp::Regex => "=~",
                    MatchOp::NotRegex => "!~",
                };
                let comma = if index == 0 { "" } else { "," };
                write!(
                    out,
                    "{comma}{}{op}{}",
                    LabelName(&matcher.name),
                    Quoted(&matcher.value)
                )?;
            }
            out.write_str("}")?;
        }
        if let Some(range) = range {
            write!(out, "[{range}]")?;
        }
        match selector.edge {
            Edge::Open => {}
            Edge::Anchored => out.write_str(" anchored")?,
            Edge::Smoothed => out.write_str(" smoothed")?,
        }
        write!(out, "{}", Modifiers(selector.at, &selector.offset))
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
            Self::Number(seconds, false) => write!(out, "{}", Number(*seconds)),
            Self::Step => out.write_str("step()"),
            Self::Range => out.write_str("range()"),
            Self::MinOf(a, b) => write!(out, "min_of({a}, {b})"),
            Self::MaxOf(a, b) => write!(out, "max_of({a}, {b})"),
            Self::Binary(op, lhs, rhs) => write!(out, "{lhs} {} {rhs}", op.symbol()),
            Self::Negate(inner) => write!(out, "-{inner}"),
            Self::Paren(inner) => write!(out, "({inner})"),
        }
    }
}

/// `@` and `offset`.
struct Modifiers<'a>(Option<At>, &'a Length);

impl fmt::Display for Modifiers<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(At::Time(t)) => write!(out, " @ {:.3}", t as f64 / 1000.0)?,
            Some(At::Start) => out.write_str(" @ start()")?,
            Some(At::End) => out.write_str(" @ end()")?,
            None => {}
        }
        if *self.1 != Length::ZERO {
            write!(out, " offset {}", self.1)?;
        }
        Ok(())
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
        write!(out, "]{}", Modifiers(self.0.at, &self.0.offset))
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
        if matching.on {
            write!(out, " on {}", Names(&matching.labels))?;
        } else if !matching.labels.is_empty() {
            write!(out, " ignoring {}", Names(&matching.labels))?;
        }
        match matching.cardinality {
            Cardinality::ManyToOne => write!(out, " group_left {}", Names(&matching.include))?,
            Cardinality::OneToMany => write!(out, " group_right {}", Names(&matching.include))?,
            Cardinality::OneToOne | Cardinality::ManyToMany => {}
        }
        match (matching.fill_left, matching.fill_right) {
            (None, None) => Ok(()),
            (Some(left), Some(right)) if left == right => write!(out, " fill ({left})"),
            (left, right) => {
                if let Some(left) = left {
                    write!(out, " fill_left ({left})")?;
                }
                right.map_or(Ok(()), |right| write!(out, " fill_right ({right})"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::parse::{ParseOptions, parse};

    #[track_caller]
    fn check(text: &str, expected: &str) {
        let options = ParseOptions {
            experimental: true,
            ..ParseOptions::default()
        };
        let expr = parse(text, &options).expect("a query");
        assert_eq!(expr.to_string(), expected);
        let again = parse(expected, &options).expect("what is printed parses");
        assert_eq!(again.to_string(), expected);
        assert!(parse(&expr.pretty(), &options).is_ok());
    }

    #[test]
    fn prints_on_one_line() {
        check("sum(x)by(a)", "sum by (a) (x)");
        check(
            "x{a='b',c=~`d\\.`}[5m]offset -1h @1",
            "x{a=\"b\",c=~\"d\\\\.\"}[5m] @ 1.000 offset -1h",
        );
        check(
            "{\"a b\",'x.y'!=\"1\"}",
            "{__name__=\"a b\",\"x.y\"!=\"1\"}",
        );
        check("a/on(b)group_left(c)d", "a / on (b) group_left (c) d");
        check("a>bool 1e3", "a > bool 1000");
        check(
            "-max_over_time((a or b)[1h:])",
            "-max_over_time((a or b)[1h:])",
        );
        check("topk(3, rate(a[90s]))", "topk(3, rate(a[1m30s]))");
    }

    #[test]
    fn breaks_long_queries() {
        let inner = "rate(a_rather_long_metric_name_total{job=\"something\"}[5m])";
        let text = format!("sum by (job) ({inner}) / sum by (job) ({inner})");
        let expr = parse(&text, &ParseOptions::default()).expect("a query");
        let expected = format!("  sum by (job) ({inner})\n/\n  sum by (job) ({inner})");
        assert_eq!(expr.pretty(), expected);
    }
}
