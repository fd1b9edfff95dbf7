//! From tree to text.

use std::fmt::Write as _;

use super::tree::{At, Dialect, Expr, Grouping, Matching, Place};

impl Expr {
    /// The text of the query. Some are written in an odd but valid way; which, depends on nothing
    /// but the query.
    pub fn print(&self, dialect: Dialect) -> String {
        let plain = self.print_as(Dialect::Three, Style::Plain);
        let sum = plain
            .bytes()
            .fold(7u32, |sum, byte| sum.wrapping_mul(31) + u32::from(byte));
        let style = match sum % 16 {
            0 => Style::Loud,
            1 => Style::Spread,
            _ => Style::Plain,
        };
        self.print_as(dialect, style)
    }

    fn print_as(&self, dialect: Dialect, style: Style) -> String {
        let mut out = String::new();
        Printer {
            out: &mut out,
            dialect,
            style,
        }
        .expr(self);
        out
    }
}

/// How a query is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Style {
    /// As one would.
    Plain,
    /// Keywords in capitals, groupings behind.
    Loud,
    /// With comments, and over several lines.
    Spread,
}

struct Printer<'a> {
    out: &'a mut String,
    dialect: Dialect,
    style: Style,
}

impl Printer<'_> {
    fn expr(&mut self, expr: &Expr) {
        match expr {
            Expr::Number(value) => self.out.push_str(&number(*value)),
            Expr::Text(text) => self.out.push_str(&quoted(text)),
            Expr::Spelled(text) | Expr::Quoted(text) => self.out.push_str(text),
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
                self.word(op);
                let behind = self.style == Style::Loud;
                if let Some(grouping) = grouping.as_ref().filter(|_| !behind) {
                    self.grouping(grouping);
                }
                self.list(param.iter().chain([inner]).map(|expr| &**expr));
                if let Some(grouping) = grouping.as_ref().filter(|_| behind) {
                    self.grouping(grouping);
                }
            }
            Expr::Binary {
                op,
                returns_bool,
                matching,
                lhs,
                rhs,
            } => {
                self.operand(lhs);
                self.out.push(' ');
                self.word(op);
                self.out.push(' ');
                if *returns_bool {
                    self.word("bool");
                    self.out.push(' ');
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

    /// A keyword or operator.
    fn word(&mut self, word: &str) {
        match self.style {
            Style::Plain => self.out.push_str(word),
            Style::Loud => self.out.push_str(&word.to_uppercase()),
            Style::Spread => self.push(format_args!("# {word} \"\n\t{word}\r\n")),
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
        self.out.push(' ');
        self.word(if grouping.by { "by" } else { "without" });
        // A comma may stand behind the last.
        let comma = match (self.style, grouping.labels.is_empty()) {
            (Style::Spread, false) => ",",
            _ => "",
        };
        self.push(format_args!(" ({}{comma}) ", grouping.labels.join(", ")));
    }

    fn matching(&mut self, matching: &Matching) {
        if let Some((on, labels)) = &matching.labels {
            self.word(if *on { "on" } else { "ignoring" });
            self.push(format_args!(" ({}) ", labels.join(", ")));
        }
        if let Some((word, labels)) = &matching.group {
            self.word(word);
            self.push(format_args!(" ({}) ", labels.join(", ")));
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
