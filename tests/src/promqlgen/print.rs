//! From tree to text.

use std::fmt::Write as _;

use super::tree::{At, Dialect, Expr, Grouping, Matching, Place};

impl Expr {
    /// The text of the query.
    pub fn print(&self, dialect: Dialect) -> String {
        let mut out = String::new();
        Printer {
            out: &mut out,
            dialect,
        }
        .expr(self);
        out
    }
}

struct Printer<'a> {
    out: &'a mut String,
    dialect: Dialect,
}

impl Printer<'_> {
    fn expr(&mut self, expr: &Expr) {
        match expr {
            Expr::Number(value) => self.out.push_str(&number(*value)),
            Expr::Text(text) => self.out.push_str(&quoted(text)),
            Expr::Select {
                metric,
                matchers,
                range,
                place,
                extension,
            } => {
                self.out.push_str(metric.unwrap_or_default());
                if !matchers.is_empty() {
                    self.push(format_args!("{{{}}}", matchers.join(",")));
                }
                if let Some(range) = range {
                    self.push(format_args!("[{}]", duration(*range)));
                }
                if let Some(extension) = extension {
                    self.push(format_args!(" {extension}"));
                }
                self.place(*place);
            }
            Expr::Subquery {
                inner,
                range,
                step,
                place,
            } => {
                self.operand(inner);
                let step = step.map(duration).unwrap_or_default();
                self.push(format_args!("[{}:{step}]", duration(*range)));
                self.place(*place);
            }
            Expr::Call(name, _, args) => {
                self.out.push_str(self.function(name));
                self.list(args.iter());
            }
            Expr::Aggregate {
                op,
                grouping,
                param,
                inner,
            } => {
                self.out.push_str(op);
                if let Some(grouping) = grouping {
                    self.grouping(grouping);
                }
                self.list(param.iter().chain([inner]).map(|expr| &**expr));
            }
            Expr::Binary {
                op,
                returns_bool,
                matching,
                lhs,
                rhs,
            } => {
                self.operand(lhs);
                self.push(format_args!(" {op} "));
                if *returns_bool {
                    self.out.push_str("bool ");
                }
                self.matching(matching);
                self.operand(rhs);
            }
            Expr::Chain(first, rest) => {
                self.operand(first);
                for (op, operand) in rest {
                    self.push(format_args!(" {op} "));
                    self.operand(operand);
                }
            }
            Expr::Negate(inner) => {
                self.out.push('-');
                self.operand(inner);
            }
        }
    }

    /// In parentheses where they are needed. A negation gets none: it binds less than `^`.
    fn operand(&mut self, expr: &Expr) {
        let bare = !matches!(
            expr,
            Expr::Binary { .. } | Expr::Chain(..) | Expr::Negate(_)
        );
        let negative = matches!(expr, Expr::Number(value) if value.is_sign_negative());
        if bare && !negative {
            return self.expr(expr);
        }
        self.out.push('(');
        self.expr(expr);
        self.out.push(')');
    }

    fn list<'e>(&mut self, exprs: impl Iterator<Item = &'e Expr>) {
        self.out.push('(');
        for (index, expr) in exprs.enumerate() {
            if index > 0 {
                self.out.push_str(", ");
            }
            self.expr(expr);
        }
        self.out.push(')');
    }

    fn function<'n>(&self, name: &'n str) -> &'n str {
        match (name, self.dialect) {
            ("double_exponential_smoothing", Dialect::Two) => "holt_winters",
            _ => name,
        }
    }

    fn grouping(&mut self, grouping: &Grouping) {
        let word = if grouping.by { "by" } else { "without" };
        self.push(format_args!(" {word} ({}) ", grouping.labels.join(", ")));
    }

    fn matching(&mut self, matching: &Matching) {
        if let Some((on, labels)) = &matching.labels {
            let word = if *on { "on" } else { "ignoring" };
            self.push(format_args!("{word} ({}) ", labels.join(", ")));
        }
        if let Some((word, labels)) = &matching.group {
            self.push(format_args!("{word} ({}) ", labels.join(", ")));
        }
        if let Some((word, value)) = &matching.fill {
            self.push(format_args!("{word} ({}) ", number(*value)));
        }
    }

    fn place(&mut self, place: Place) {
        match place.at {
            None => {}
            Some(At::Time(time)) => self.push(format_args!(" @ {time}")),
            Some(At::Start) => self.out.push_str(" @ start()"),
            Some(At::End) => self.out.push_str(" @ end()"),
        }
        if let Some(offset) = place.offset {
            let sign = if offset < 0 { "-" } else { "" };
            self.push(format_args!(" offset {sign}{}", duration(offset.abs())));
        }
    }

    fn push(&mut self, text: std::fmt::Arguments<'_>) {
        self.out.write_fmt(text).expect("a string takes all");
    }
}

/// A number as PromQL reads it.
pub(super) fn number(value: f64) -> String {
    if value.is_infinite() {
        return if value > 0.0 { "Inf" } else { "-Inf" }.to_owned();
    }
    if value != 0.0 && !(1e-4..1e9).contains(&value.abs()) && !value.is_nan() {
        return format!("{value:e}");
    }
    format!("{value}")
}

/// Whole seconds, mixed from units where that is shorter.
fn duration(seconds: i64) -> String {
    if seconds == 0 {
        return "0s".to_owned();
    }
    let mut text = String::new();
    let mut rest = seconds;
    for (unit, length) in [("h", 3600), ("m", 60), ("s", 1)] {
        if rest / length > 0 {
            text.push_str(&format!("{}{unit}", rest / length));
            rest %= length;
        }
    }
    text
}

/// A string literal.
pub(super) fn quoted(text: &str) -> String {
    let mut out = "\"".to_owned();
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            _ => out.push(c),
        }
    }
    out.push('"');
    out
}
