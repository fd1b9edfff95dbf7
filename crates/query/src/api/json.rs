//! The JSON of labels, values and histograms, written straight into bytes.

use std::io::Write as _;

use model::histogram::FloatHistogram;
use model::labels::Labels;
use model::time::TimestampMs;

/// A text, quoted.
pub(crate) fn push_text(out: &mut Vec<u8>, text: &str) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    out.push(b'"');
    let bytes = text.as_bytes();
    let mut plain = 0;
    for (at, &byte) in bytes.iter().enumerate() {
        if byte >= 0x20 && byte != b'"' && byte != b'\\' {
            continue;
        }
        out.extend_from_slice(&bytes[plain..at]);
        plain = at + 1;
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            _ => {
                out.extend_from_slice(b"\\u00");
                out.push(HEX[usize::from(byte >> 4)]);
                out.push(HEX[usize::from(byte & 15)]);
            }
        }
    }
    out.extend_from_slice(&bytes[plain..]);
    out.push(b'"');
}

/// A label set, as an object.
pub(crate) fn push_labels(out: &mut Vec<u8>, labels: &Labels) {
    out.push(b'{');
    for (at, (name, value)) in labels.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        push_text(out, name);
        out.push(b':');
        push_text(out, value);
    }
    out.push(b'}');
}

/// A time in seconds, with three digits behind the point where they are not zero.
pub(crate) fn push_seconds(out: &mut Vec<u8>, t: TimestampMs) {
    if t < 0 {
        out.push(b'-');
    }
    let t = t.unsigned_abs();
    // Writing into memory can't fail.
    let _ = match t % 1000 {
        0 => write!(out, "{}", t / 1000),
        ms => write!(out, "{}.{ms:03}", t / 1000),
    };
}

/// A float, quoted, as Go prints it: the shortest digits, without an exponent unless very small
/// or very large.
pub(crate) fn push_float(out: &mut Vec<u8>, v: f64) {
    out.push(b'"');
    let magnitude = v.abs();
    if v.is_nan() {
        out.extend_from_slice(b"NaN");
    } else if v.is_infinite() {
        out.extend_from_slice(if v > 0.0 { b"+Inf" } else { b"-Inf" });
    } else if magnitude != 0.0 && !(1e-6..1e21).contains(&magnitude) {
        push_exponent(out, v);
    } else if v.fract() == 0.0 && magnitude < 9e15 && !(v == 0.0 && v.is_sign_negative()) {
        let _ = write!(out, "{}", v as i64);
    } else {
        let _ = write!(out, "{v}");
    }
    out.push(b'"');
}

/// `1e-07`: the exponent has a sign and at least two digits.
fn push_exponent(out: &mut Vec<u8>, v: f64) {
    let text = format!("{v:e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, exponent) = match exponent.strip_prefix('-') {
        Some(exponent) => ('-', exponent),
        None => ('+', exponent),
    };
    let _ = write!(out, "{digits}e{sign}{exponent:0>2}");
}

/// `[time,"value"]`
pub(crate) fn push_point(out: &mut Vec<u8>, t: TimestampMs, v: f64) {
    out.push(b'[');
    push_seconds(out, t);
    out.push(b',');
    push_float(out, v);
    out.push(b']');
}

/// `[time,{histogram}]`
pub(crate) fn push_histogram_point(out: &mut Vec<u8>, t: TimestampMs, h: &FloatHistogram) {
    out.push(b'[');
    push_seconds(out, t);
    out.push(b',');
    push_histogram(out, h);
    out.push(b']');
}

/// A native histogram: its buckets that are not empty, each with a number that tells which of
/// its bounds belong to it (0: the upper, 1: the lower, 2: neither, 3: both).
pub(crate) fn push_histogram(out: &mut Vec<u8>, histogram: &FloatHistogram) {
    out.extend_from_slice(b"{\"count\":");
    push_float(out, histogram.count);
    out.extend_from_slice(b",\"sum\":");
    push_float(out, histogram.sum);
    let mut first = true;
    for bucket in histogram.buckets().filter(|bucket| bucket.count != 0.0) {
        out.extend_from_slice(if first { b",\"buckets\":[[" } else { b",[" });
        first = false;
        let rule = match (bucket.lower_inclusive, bucket.upper_inclusive) {
            (false, true) => b'0',
            (true, false) => b'1',
            (false, false) => b'2',
            (true, true) => b'3',
        };
        out.push(rule);
        for number in [bucket.lower, bucket.upper, bucket.count] {
            out.push(b',');
            push_float(out, number);
        }
        out.push(b']');
    }
    out.extend_from_slice(if first { b"}" } else { b"]}" });
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::histogram::Span;
    use proptest::prelude::*;

    fn shown(push: impl Fn(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        push(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn floats_look_as_in_prometheus() {
        let check = |v: f64, expected: &str| {
            assert_eq!(shown(|out| push_float(out, v)), format!("\"{expected}\""));
        };
        check(0.0, "0");
        check(-0.0, "-0");
        check(1.0, "1");
        check(-1.5, "-1.5");
        check(0.1 + 0.2, "0.30000000000000004");
        check(1e20, "100000000000000000000");
        check(1e21, "1e+21");
        check(1.5e300, "1.5e+300");
        check(1e-6, "0.000001");
        check(1.25e-7, "1.25e-07");
        check(f64::NAN, "NaN");
        check(f64::INFINITY, "+Inf");
        check(f64::NEG_INFINITY, "-Inf");
    }

    #[test]
    fn times_are_seconds() {
        let check =
            |t: i64, expected: &str| assert_eq!(shown(|out| push_seconds(out, t)), expected);
        check(1_435_781_451_781, "1435781451.781");
        check(1000, "1");
        check(50, "0.050");
        check(-1500, "-1.500");
        check(i64::MIN, "-9223372036854775.808");
    }

    #[test]
    fn histograms_show_their_buckets() {
        let histogram = FloatHistogram {
            schema: 0,
            count: 6.0,
            sum: 10.5,
            zero_threshold: 0.001,
            zero_count: 1.0,
            positive_spans: vec![Span {
                offset: 0,
                length: 2,
            }],
            positive_buckets: vec![2.0, 0.0],
            negative_spans: vec![Span {
                offset: 1,
                length: 1,
            }],
            negative_buckets: vec![3.0],
            ..FloatHistogram::default()
        };
        assert_eq!(
            shown(|out| push_histogram(out, &histogram)),
            r#"{"count":"6","sum":"10.5","buckets":[[1,"-2","-1","3"],[3,"-0.001","0.001","1"],[0,"0.5","1","2"]]}"#
        );
        let empty = FloatHistogram::default();
        assert_eq!(
            shown(|out| push_histogram(out, &empty)),
            r#"{"count":"0","sum":"0"}"#
        );
    }

    proptest! {
        #[test]
        fn any_text_reads_back(text in "\\PC*[\\x00-\\x1f\"\\\\]*\\PC*") {
            let back: String = serde_json::from_str(&shown(|out| push_text(out, &text))).unwrap();
            prop_assert_eq!(back, text);
        }

        #[test]
        fn any_float_reads_back(v in any::<f64>().prop_filter("a number", |v| v.is_finite())) {
            let text = shown(|out| push_float(out, v));
            let back: f64 = text.trim_matches('"').parse().unwrap();
            prop_assert_eq!(back.to_bits(), v.to_bits());
        }
    }
}
