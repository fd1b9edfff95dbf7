//! Numbers as Go's `%g` writes them, which error texts, annotations and labels of queries show.

use std::fmt;

/// A number with its shortest digits; below 1e-4 and from 1e6 on with an exponent of at least two
/// digits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct General(pub f64);

impl fmt::Display for General {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.0;
        if value.is_infinite() {
            return out.write_str(if value > 0.0 { "+Inf" } else { "-Inf" });
        }
        if value.is_nan() || value == 0.0 {
            return write!(out, "{value}");
        }
        let text = format!("{value:e}");
        let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        match exponent.parse::<i32>() {
            Ok(-4..=5) | Err(_) => write!(out, "{value}"),
            Ok(exponent) => {
                let sign = if exponent < 0 { '-' } else { '+' };
                write!(out, "{digits}e{sign}{:02}", exponent.unsigned_abs())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_go_does() {
        let check = |value: f64, text: &str| assert_eq!(General(value).to_string(), text);
        check(0.0, "0");
        check(-0.0, "-0");
        check(1.0, "1");
        check(-1.5, "-1.5");
        check(0.0001, "0.0001");
        check(0.00001, "1e-05");
        check(1.25e-10, "1.25e-10");
        check(999_999.5, "999999.5");
        check(1e6, "1e+06");
        check(-1_234_567.0, "-1.234567e+06");
        check(1e300, "1e+300");
        check(f64::INFINITY, "+Inf");
        check(f64::NEG_INFINITY, "-Inf");
        check(f64::NAN, "NaN");
    }
}
