//! The value of an expression: how much of it is told, and as what JSON.

use model::labels::Labels;
use model::time::TimestampMs;
use promql::value::{PointValue, QueryValue, Series, VectorPoint};
use wire::api_json;

use super::body::BodyBuilder;

/// About the bytes of a histogram of a result.
const HISTOGRAM_BYTES: usize = 512;

/// About the bytes a value takes.
pub(super) fn bytes_of(value: &QueryValue) -> usize {
    let labels = |labels: &Labels| size_of::<Series>() + labels.heap_bytes();
    match value {
        QueryValue::Scalar(..) => 0,
        QueryValue::String(_, text) => text.len(),
        QueryValue::Vector(points) => points.iter().map(|point| labels(&point.labels)).sum(),
        QueryValue::Matrix(all) => {
            let each = all.iter().map(|series| {
                labels(&series.labels)
                    + size_of_val(series.floats.as_slice())
                    + series.histograms.len() * HISTOGRAM_BYTES
            });
            each.sum()
        }
    }
}

/// Leaves so many series, and says whether there were more.
pub(super) fn truncate(value: &mut QueryValue, limit: usize) -> bool {
    if limit == 0 {
        return false;
    }
    match value {
        QueryValue::Vector(all) if all.len() > limit => all.truncate(limit),
        QueryValue::Matrix(all) if all.len() > limit => all.truncate(limit),
        _ => return false,
    }
    true
}

/// Writes `resultType` and `result`, as members of an object.
pub(super) fn push(out: &mut BodyBuilder, value: &QueryValue) {
    out.text.extend_from_slice(b"\"resultType\":\"");
    out.text
        .extend_from_slice(value.value_type().api_name().as_bytes());
    out.text.extend_from_slice(b"\",\"result\":");
    match value {
        QueryValue::Scalar(t, v) => push_scalar(&mut out.text, *t, *v),
        QueryValue::String(t, text) => push_string(&mut out.text, *t, text),
        QueryValue::Vector(points) => push_list(out, points, push_vector_point),
        QueryValue::Matrix(series) => push_list(out, series, push_series),
    }
}

fn push_list<T>(out: &mut BodyBuilder, items: &[T], each: impl Fn(&mut BodyBuilder, &T)) {
    out.text.push(b'[');
    for (at, item) in items.iter().enumerate() {
        if at > 0 {
            out.text.push(b',');
        }
        each(out, item);
        if !out.flush_full() {
            return;
        }
    }
    out.text.push(b']');
}

/// A scalar differs from a point of a series: its digits never have an exponent.
fn push_scalar(out: &mut Vec<u8>, t: TimestampMs, value: f64) {
    out.push(b'[');
    push_seconds(out, t);
    out.extend_from_slice(b",\"");
    if value.is_finite() {
        out.extend_from_slice(value.to_string().as_bytes());
    } else {
        api_json::float(out, value);
    }
    out.extend_from_slice(b"\"]");
}

fn push_string(out: &mut Vec<u8>, t: TimestampMs, text: &str) {
    out.push(b'[');
    push_seconds(out, t);
    out.push(b',');
    api_json::string(out, text);
    out.push(b']');
}

/// A time that does not belong to a series has no more digits than it needs.
pub(super) fn push_seconds(out: &mut Vec<u8>, t: TimestampMs) {
    api_json::timestamp(out, t);
    if t % 1000 != 0 {
        let zeros = out.iter().rev().take_while(|byte| **byte == b'0').count();
        out.truncate(out.len() - zeros);
    }
}

fn push_vector_point(out: &mut BodyBuilder, point: &VectorPoint) {
    let out = &mut out.text;
    out.extend_from_slice(b"{\"metric\":");
    api_json::labels(out, &point.labels);
    match &point.value {
        PointValue::Float(v) => {
            out.extend_from_slice(b",\"value\":");
            api_json::float_point(out, point.t, *v);
        }
        PointValue::Histogram(histogram) => {
            out.extend_from_slice(b",\"histogram\":");
            api_json::histogram_point(out, point.t, histogram);
        }
    }
    out.push(b'}');
}

fn push_series(out: &mut BodyBuilder, series: &Series) {
    out.text.extend_from_slice(b"{\"metric\":");
    api_json::labels(&mut out.text, &series.labels);
    if !series.floats.is_empty() {
        out.text.extend_from_slice(b",\"values\":");
        push_list(out, &series.floats, |out, (t, v)| {
            api_json::float_point(&mut out.text, *t, *v)
        });
    }
    if !series.histograms.is_empty() {
        out.text.extend_from_slice(b",\"histograms\":");
        push_list(out, &series.histograms, |out, (t, h)| {
            api_json::histogram_point(&mut out.text, *t, h);
        });
    }
    out.text.push(b'}');
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use model::histogram::{CUSTOM_BUCKETS_SCHEMA, FloatHistogram, Span};

    use super::super::body::Bounds;
    use super::*;
    use crate::front::ByteGate;

    #[track_caller]
    fn check(value: &QueryValue, expected: &str) {
        let gate = ByteGate::new(1 << 20);
        let bounds = Bounds {
            most: None,
            held: gate.hold(),
            cancel: promql::eval::CancelFlag::default(),
        };
        let mut out = BodyBuilder::new(false, bounds);
        out.text.push(b'{');
        push(&mut out, value);
        out.text.push(b'}');
        let text = String::from_utf8(out.text.clone()).unwrap();
        let _: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(text, expected);
    }

    #[test]
    fn scalars_and_strings() {
        let scalar = |t, value, expected: &str| {
            let expected = format!(r#"{{"resultType":"scalar","result":[{expected}]}}"#);
            check(&QueryValue::Scalar(t, value), &expected);
        };
        scalar(1_500, 1e30, r#"1.5,"1000000000000000000000000000000""#);
        scalar(-1_050, 1e-9, r#"-1.05,"0.000000001""#);
        scalar(2_000, -0.0, r#"2,"-0""#);
        scalar(0, f64::NEG_INFINITY, r#"0,"-Inf""#);
        scalar(123, f64::NAN, r#"0.123,"NaN""#);
        check(
            &QueryValue::String(1_700_000_000_100, "a\"b".to_owned()),
            r#"{"resultType":"string","result":[1700000000.1,"a\"b"]}"#,
        );
    }

    #[test]
    fn floats() {
        let point = |t, v| VectorPoint {
            labels: Labels::from_pairs([("a", "b")]),
            t,
            value: PointValue::Float(v),
        };
        let values = [
            (1_100, 1e21),
            (1_000, 123_456_789_012_345_680.0),
            (1_000, 1e-7),
            (1_000, 0.000_001),
            (1_000, -0.0),
            (1_000, f64::INFINITY),
        ];
        let points = values.map(|(t, v)| point(t, v)).to_vec();
        let shown = [
            r#"1.100,"1e+21""#,
            r#"1,"123456789012345680""#,
            r#"1,"1e-07""#,
            r#"1,"0.000001""#,
            r#"1,"-0""#,
            r#"1,"+Inf""#,
        ];
        let shown = shown.map(|value| format!(r#"{{"metric":{{"a":"b"}},"value":[{value}]}}"#));
        let expected = format!(
            r#"{{"resultType":"vector","result":[{}]}}"#,
            shown.join(",")
        );
        check(&QueryValue::Vector(points), &expected);
        check(
            &QueryValue::Matrix(Vec::new()),
            r#"{"resultType":"matrix","result":[]}"#,
        );
    }

    #[test]
    fn histograms() {
        let span = |offset, length| vec![Span { offset, length }];
        let exponential = FloatHistogram {
            schema: 0,
            zero_threshold: 0.5,
            zero_count: 2.0,
            count: 8.0,
            sum: -1.5,
            positive_spans: span(0, 2),
            positive_buckets: vec![1.0, 0.0],
            negative_spans: span(1, 1),
            negative_buckets: vec![5.0],
            ..FloatHistogram::default()
        };
        let custom = FloatHistogram {
            schema: CUSTOM_BUCKETS_SCHEMA,
            count: 6.0,
            sum: 7.0,
            positive_spans: span(0, 3),
            positive_buckets: vec![1.0, 2.0, 3.0],
            custom_values: vec![0.5, 1.0],
            ..FloatHistogram::default()
        };
        let series = Series {
            labels: Labels::empty(),
            floats: vec![(1_000, 2.0)],
            histograms: vec![
                (2_000, Arc::new(exponential)),
                (3_000, Arc::new(custom)),
                (4_000, Arc::new(FloatHistogram::default())),
            ],
        };
        check(
            &QueryValue::Matrix(vec![series]),
            concat!(
                r#"{"resultType":"matrix","result":[{"metric":{},"values":[[1,"2"]],"histograms":["#,
                r#"[2,{"count":"8","sum":"-1.5","buckets":[[1,"-2","-1","5"],[3,"-0.5","0.5","2"],[0,"0.5","1","1"]]}],"#,
                r#"[3,{"count":"6","sum":"7","buckets":[[3,"-Inf","0.5","1"],[0,"0.5","1","2"],[0,"1","+Inf","3"]]}],"#,
                r#"[4,{"count":"0","sum":"0"}]]}]}"#,
            ),
        );
    }

    #[test]
    fn a_limit_cuts_series() {
        let mut value = QueryValue::Matrix(vec![Series::default(); 3]);
        assert!(!truncate(&mut value, 0) && !truncate(&mut value, 3) && truncate(&mut value, 2));
        let QueryValue::Matrix(all) = value else {
            panic!("it stays a matrix");
        };
        assert_eq!(all.len(), 2);
    }
}
