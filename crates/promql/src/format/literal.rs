//! Strings and numbers as Go writes them.

use std::fmt;

/// A string literal.
pub(crate) struct Quoted<'a>(pub(crate) &'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("\"")?;
        for c in self.0.chars() {
            match c {
                '"' => out.write_str("\\\"")?,
                '\\' => out.write_str("\\\\")?,
                '\x07' => out.write_str("\\a")?,
                '\x08' => out.write_str("\\b")?,
                '\x0c' => out.write_str("\\f")?,
                '\n' => out.write_str("\\n")?,
                '\r' => out.write_str("\\r")?,
                '\t' => out.write_str("\\t")?,
                '\x0b' => out.write_str("\\v")?,
                c if is_printable(c) => write!(out, "{c}")?,
                c if c < ' ' || c == '\x7f' => write!(out, "\\x{:02x}", c as u32)?,
                c if (c as u32) < 0x1_0000 => write!(out, "\\u{:04x}", c as u32)?,
                c => write!(out, "\\U{:08x}", c as u32)?,
            }
        }
        out.write_str("\"")
    }
}

/// Whether a character is shown as it is: letters, marks, numbers, punctuation, symbols, and the
/// space.
fn is_printable(c: char) -> bool {
    if c.is_ascii() {
        return !c.is_ascii_control();
    }
    // A mark is escaped at the start of a text only.
    !c.is_whitespace() && format!("x{c}").escape_debug().count() == 2
}

/// A number literal: never with an exponent.
pub(super) struct Plain(pub(super) f64);

impl fmt::Display for Plain {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_infinite() {
            return out.write_str(if self.0 > 0.0 { "+Inf" } else { "-Inf" });
        }
        write!(out, "{}", self.0)
    }
}

/// A number with an exponent where it is very large or very small.
pub(super) struct Short(pub(super) f64);

impl fmt::Display for Short {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let magnitude = self.0.abs();
        if !self.0.is_finite() || self.0 == 0.0 || (1e-4..1e21).contains(&magnitude) {
            return write!(out, "{}", Plain(self.0));
        }
        let text = format!("{:e}", self.0);
        let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let (sign, exponent) = match exponent.strip_prefix('-') {
            Some(rest) => ('-', rest),
            None => ('+', exponent),
        };
        write!(out, "{digits}e{sign}{exponent:0>2}")
    }
}
