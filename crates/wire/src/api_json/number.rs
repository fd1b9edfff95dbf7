//! Numbers as Prometheus prints them, so that answers compare byte by byte: the shortest digits
//! that read back as the same value; with an exponent only below 1e-6 and from 1e21 on.

use model::time::TimestampMs;

/// Appends a value without quotes: `1.5`, `+Inf`, `1e-07`.
pub fn float(out: &mut Vec<u8>, value: f64) {
    if !value.is_finite() {
        let text: &[u8] = match value {
            f64::INFINITY => b"+Inf",
            f64::NEG_INFINITY => b"-Inf",
            _ => b"NaN",
        };
        out.extend_from_slice(text);
        return;
    }
    // Counters and counts are whole numbers, and these print fast.
    let whole = value as i64;
    if whole as f64 == value && whole.unsigned_abs() < 1 << 53 {
        if value.is_sign_negative() {
            out.push(b'-');
        }
        integer(out, whole.unsigned_abs());
        return;
    }
    let mut buffer = zmij::Buffer::new();
    let text = buffer.format_finite(value);
    let magnitude = value.abs();
    let with_exponent = !(1e-6..1e21).contains(&magnitude);
    match text.as_bytes() {
        plain if !with_exponent && !plain.contains(&b'e') => {
            out.extend_from_slice(plain.strip_suffix(b".0").unwrap_or(plain));
        }
        other => lay_out(out, other, with_exponent),
    }
}

/// Lays out anew what is in the other form than the one wanted.
fn lay_out(out: &mut Vec<u8>, text: &[u8], with_exponent: bool) {
    let text = match text.strip_prefix(b"-") {
        Some(rest) => {
            out.push(b'-');
            rest
        }
        None => text,
    };
    let (mantissa, exponent) = match text.iter().position(|byte| *byte == b'e') {
        Some(at) => (&text[..at], parse_exponent(&text[at + 1..])),
        None => (text, 0),
    };
    // The digits without point and zeros at either end, and where the point stands among them.
    let mut digits = [0; 40];
    let (mut len, mut point) = (0, None);
    for byte in mantissa {
        if *byte == b'.' {
            point = Some(len);
        } else if len < digits.len() {
            digits[len] = *byte;
            len += 1;
        }
    }
    let mut point = point.unwrap_or(len) as i32 + exponent;
    let zeros = digits[..len].iter().take_while(|d| **d == b'0').count();
    point -= zeros as i32;
    let digits = &digits[zeros..len];
    let end = digits
        .iter()
        .rposition(|d| *d != b'0')
        .map_or(0, |last| last + 1);
    let digits = &digits[..end];
    if with_exponent {
        scientific(out, digits, point - 1);
    } else {
        positional(out, digits, point);
    }
}

fn parse_exponent(text: &[u8]) -> i32 {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    let value = digits
        .iter()
        .fold(0, |sum, d| sum * 10 + i32::from(*d - b'0'));
    if negative { -value } else { value }
}

/// `d.ddde+XX`, the exponent with two digits at least.
fn scientific(out: &mut Vec<u8>, digits: &[u8], exponent: i32) {
    out.push(digits.first().copied().unwrap_or(b'0'));
    if digits.len() > 1 {
        out.push(b'.');
        out.extend_from_slice(&digits[1..]);
    }
    out.extend_from_slice(if exponent < 0 { b"e-" } else { b"e+" });
    let exponent = u64::from(exponent.unsigned_abs());
    if exponent < 10 {
        out.push(b'0');
    }
    integer(out, exponent);
}

/// `ddd.ddd`, `0.00ddd` or `ddd000`, with the point after `point` digits.
fn positional(out: &mut Vec<u8>, digits: &[u8], point: i32) {
    if point <= 0 {
        out.extend_from_slice(b"0.");
        out.extend(std::iter::repeat_n(b'0', point.unsigned_abs() as usize));
        out.extend_from_slice(digits);
        return;
    }
    let point = point.unsigned_abs() as usize;
    if digits.len() <= point {
        out.extend_from_slice(digits);
        out.extend(std::iter::repeat_n(b'0', point - digits.len()));
    } else {
        out.extend_from_slice(&digits[..point]);
        out.push(b'.');
        out.extend_from_slice(&digits[point..]);
    }
}

/// Appends a time in seconds, with milliseconds where there are any.
pub fn timestamp(out: &mut Vec<u8>, t: TimestampMs) {
    if t < 0 {
        out.push(b'-');
    }
    let t = t.unsigned_abs();
    integer(out, t / 1000);
    let millis = t % 1000;
    if millis != 0 {
        let digit = |value: u64| b'0' + (value % 10) as u8;
        out.extend_from_slice(&[b'.', digit(millis / 100), digit(millis / 10), digit(millis)]);
    }
}

fn integer(out: &mut Vec<u8>, value: u64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    let mut rest = value;
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn printed(value: f64) -> String {
        let mut out = Vec::new();
        float(&mut out, value);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn prints_floats_as_prometheus_does() {
        let check = |value: f64, expected: &str| assert_eq!(printed(value), expected);
        check(0.0, "0");
        check(-0.0, "-0");
        check(1.0, "1");
        check(-1.0, "-1");
        check(0.1, "0.1");
        check(1e6, "1000000");
        check(123_456_789.25, "123456789.25");
        check(1e20, "100000000000000000000");
        check(1e21, "1e+21");
        check(-1.5e300, "-1.5e+300");
        check(123_456_789_012_345_680_000.0, "123456789012345680000");
        check(0.000_001, "0.000001");
        check(0.000_001_25, "0.00000125");
        check(0.000_000_999, "9.99e-07");
        check(1e-7, "1e-07");
        check(5e-324, "5e-324");
        check(f64::MAX, "1.7976931348623157e+308");
        check(9_007_199_254_740_993.0, "9007199254740992");
        check(i64::MIN as f64, "-9223372036854776000");
        check(f64::INFINITY, "+Inf");
        check(f64::NEG_INFINITY, "-Inf");
        check(f64::NAN, "NaN");
    }

    #[test]
    fn prints_times_in_seconds() {
        let check = |t: TimestampMs, expected: &str| {
            let mut out = Vec::new();
            timestamp(&mut out, t);
            assert_eq!(out, expected.as_bytes());
        };
        check(0, "0");
        check(1, "0.001");
        check(1_500, "1.500");
        check(-1_010, "-1.010");
        check(1_700_000_000_000, "1700000000");
        check(i64::MAX, "9223372036854775.807");
        check(i64::MIN, "-9223372036854775.808");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn reads_back_as_the_same_value(bits in any::<u64>(), small in -1e9..1e9f64) {
            for value in [f64::from_bits(bits), small, small.trunc(), small * 1e-12] {
                if value.is_finite() {
                    let text = printed(value);
                    prop_assert_eq!(text.parse::<f64>().unwrap().to_bits(), value.to_bits());
                    let with_exponent = value != 0.0 && !(1e-6..1e21).contains(&value.abs());
                    prop_assert_eq!(text.contains('e'), with_exponent, "{}", text);
                    // Rust prints the shortest digits, and never an exponent, with `{}`. Of two
                    // that are as near, it takes the upper; Prometheus and we the even one.
                    if !with_exponent {
                        prop_assert_eq!(text.len(), format!("{value}").len());
                    }
                }
            }
        }
    }
}
