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

/// A number with at most two significant digits, as `%.2g` does it: with an exponent below 1e-4
/// and from 100 on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TwoDigits(pub f64);

impl fmt::Display for TwoDigits {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = format!("{:.1e}", self.0);
        let rounded = text.parse().unwrap_or(self.0);
        let Some((digits, exponent @ ("2" | "3" | "4" | "5"))) = text.split_once('e') else {
            return General(rounded).fmt(out);
        };
        write!(out, "{}e+0{exponent}", digits.trim_end_matches(".0"))
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

    #[test]
    fn two_digits_are_written_as_go_does() {
        let check = |value: f64, text: &str| assert_eq!(TwoDigits(value).to_string(), text);
        check(0.0, "0");
        check(1.0, "1");
        check(10.0, "10");
        check(12.5, "12");
        check(99.6, "1e+02");
        check(100.0, "1e+02");
        check(-1234.0, "-1.2e+03");
        check(567_890.0, "5.7e+05");
        check(1e6, "1e+06");
        check(12_345_678.0, "1.2e+07");
        check(0.333, "0.33");
        check(0.05, "0.05");
        check(0.000_012_345, "1.2e-05");
        check(f64::INFINITY, "+Inf");
        check(f64::NAN, "NaN");
    }
}
