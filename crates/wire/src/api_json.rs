//! The JSON of the query API, written as a stream into a buffer: no tree is built.
//!
//! Each function appends one well-formed value. A handler opens the envelope, writes the result,
//! closes the envelope; or writes an error instead.

mod number;
mod text;

pub use number::{float, timestamp};
pub use text::string;

use model::histogram::FloatHistogram;
use model::labels::Labels;
use model::select::HistogramPoint;
use model::time::TimestampMs;

/// What kind of error the API tells, by the field `errorType`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorType {
    /// The request is wrong: 400.
    BadData,
    /// No tenant, or not a valid one: 401.
    Unauthorized,
    /// The body did not come in time: 408.
    SlowRequest,
    /// The body is larger than is taken: 413.
    TooLargeEntry,
    /// It cannot be evaluated, or is over a limit: 422.
    Execution,
    /// The client went away: 499.
    Canceled,
    /// It took too long: 503.
    Timeout,
    /// Not now: 503.
    Unavailable,
    /// A fault of ours: 500.
    Internal,
    /// There is no such thing: 404.
    NotFound,
    /// Too many queries wait already: 429.
    TooManyRequests,
}

impl ErrorType {
    /// As the API spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BadData => "bad_data",
            Self::Unauthorized => "unauthorized",
            // The type that clients know for being late; the status says who was.
            Self::SlowRequest => "timeout",
            Self::TooLargeEntry => "too_large_entry",
            Self::Execution => "execution",
            Self::Canceled => "canceled",
            Self::Timeout => "timeout",
            Self::Unavailable => "unavailable",
            Self::Internal => "internal",
            Self::NotFound => "not_found",
            Self::TooManyRequests => "too_many_requests",
        }
    }

    /// The HTTP status that goes with it.
    pub fn http_status(self) -> u16 {
        match self {
            Self::BadData => 400,
            Self::Unauthorized => 401,
            Self::SlowRequest => 408,
            Self::TooLargeEntry => 413,
            Self::Execution => 422,
            Self::Canceled => 499,
            Self::Timeout | Self::Unavailable => 503,
            Self::Internal => 500,
            Self::NotFound => 404,
            Self::TooManyRequests => 429,
        }
    }
}

/// A success, whose `data` is what `write` appends.
pub fn success(
    out: &mut Vec<u8>,
    warnings: &[String],
    infos: &[String],
    write: impl FnOnce(&mut Vec<u8>),
) {
    out.extend_from_slice(b"{\"status\":\"success\",\"data\":");
    write(out);
    for (key, texts) in [("warnings", warnings), ("infos", infos)] {
        if !texts.is_empty() {
            out.extend_from_slice(b",\"");
            out.extend_from_slice(key.as_bytes());
            out.extend_from_slice(b"\":");
            strings(out, texts);
        }
    }
    out.push(b'}');
}

/// An error.
pub fn error(out: &mut Vec<u8>, error_type: ErrorType, message: &str) {
    out.extend_from_slice(b"{\"status\":\"error\",\"errorType\":\"");
    out.extend_from_slice(error_type.as_str().as_bytes());
    out.extend_from_slice(b"\",\"error\":");
    string(out, message);
    out.push(b'}');
}

/// A value of an instant vector.
#[derive(Clone, Copy, Debug)]
pub enum Value<'a> {
    /// A float.
    Float(f64),
    /// A native histogram.
    Histogram(&'a FloatHistogram),
}

/// An instant vector as `data`.
pub fn vector<'a>(
    out: &mut Vec<u8>,
    samples: impl IntoIterator<Item = (&'a Labels, TimestampMs, Value<'a>)>,
) {
    result(out, "vector", |out| {
        list(out, samples, |out, (metric, t, value)| {
            out.extend_from_slice(b"{\"metric\":");
            labels(out, metric);
            match value {
                Value::Float(value) => {
                    out.extend_from_slice(b",\"value\":");
                    float_point(out, t, value);
                }
                Value::Histogram(value) => {
                    out.extend_from_slice(b",\"histogram\":");
                    histogram_point(out, t, value);
                }
            }
            out.push(b'}');
        });
    });
}

/// One series of a matrix, as columns.
#[derive(Clone, Copy, Debug)]
pub struct MatrixSeries<'a> {
    /// Its labels.
    pub labels: &'a Labels,
    /// The times of its floats.
    pub ts: &'a [TimestampMs],
    /// Their values, one for each time.
    pub values: &'a [f64],
    /// Its histograms.
    pub histograms: &'a [HistogramPoint],
}

/// A matrix as `data`.
pub fn matrix<'a>(out: &mut Vec<u8>, series: impl IntoIterator<Item = MatrixSeries<'a>>) {
    result(out, "matrix", |out| {
        list(out, series, |out, series| {
            out.extend_from_slice(b"{\"metric\":");
            labels(out, series.labels);
            if !series.ts.is_empty() {
                out.extend_from_slice(b",\"values\":");
                let points = series.ts.iter().zip(series.values);
                list(out, points, |out, (t, v)| float_point(out, *t, *v));
            }
            if !series.histograms.is_empty() {
                out.extend_from_slice(b",\"histograms\":");
                list(out, series.histograms, |out, point| {
                    histogram_point(out, point.t, &point.histogram);
                });
            }
            out.push(b'}');
        });
    });
}

/// A scalar as `data`.
pub fn scalar(out: &mut Vec<u8>, t: TimestampMs, value: f64) {
    result(out, "scalar", |out| float_point(out, t, value));
}

/// A string result as `data`.
pub fn string_result(out: &mut Vec<u8>, t: TimestampMs, value: &str) {
    result(out, "string", |out| {
        out.push(b'[');
        timestamp(out, t);
        out.push(b',');
        string(out, value);
        out.push(b']');
    });
}

/// A list of strings.
pub fn strings<S: AsRef<str>>(out: &mut Vec<u8>, texts: impl IntoIterator<Item = S>) {
    list(out, texts, |out, text| string(out, text.as_ref()));
}

/// A list of label sets.
pub fn label_sets<'a>(out: &mut Vec<u8>, sets: impl IntoIterator<Item = &'a Labels>) {
    list(out, sets, labels);
}

/// A label set as an object.
pub fn labels(out: &mut Vec<u8>, labels: &Labels) {
    out.push(b'{');
    for (i, (name, value)) in labels.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        string(out, name);
        out.push(b':');
        string(out, value);
    }
    out.push(b'}');
}

/// A list, each of whose items `write` appends.
pub fn list<T>(
    out: &mut Vec<u8>,
    items: impl IntoIterator<Item = T>,
    mut write: impl FnMut(&mut Vec<u8>, T),
) {
    out.push(b'[');
    for (i, item) in items.into_iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        write(out, item);
    }
    out.push(b']');
}

fn result(out: &mut Vec<u8>, kind: &str, write: impl FnOnce(&mut Vec<u8>)) {
    out.extend_from_slice(b"{\"resultType\":\"");
    out.extend_from_slice(kind.as_bytes());
    out.extend_from_slice(b"\",\"result\":");
    write(out);
    out.push(b'}');
}

/// `[time, "value"]`.
pub fn float_point(out: &mut Vec<u8>, t: TimestampMs, value: f64) {
    out.push(b'[');
    timestamp(out, t);
    out.push(b',');
    quoted(out, value);
    out.push(b']');
}

/// `[time, {count, sum, buckets}]`.
pub fn histogram_point(out: &mut Vec<u8>, t: TimestampMs, value: &FloatHistogram) {
    out.push(b'[');
    timestamp(out, t);
    out.push(b',');
    histogram(out, value);
    out.push(b']');
}

/// A histogram as an object. Buckets without observations are left out. A bucket begins with how
/// its limits belong to it: 0 the upper, 1 the lower, 2 neither, 3 both.
pub fn histogram(out: &mut Vec<u8>, histogram: &FloatHistogram) {
    out.extend_from_slice(b"{\"count\":");
    quoted(out, histogram.count);
    out.extend_from_slice(b",\"sum\":");
    quoted(out, histogram.sum);
    let mut populated = histogram.buckets().filter(|b| b.count != 0.0).peekable();
    if populated.peek().is_some() {
        out.extend_from_slice(b",\"buckets\":");
        list(out, populated, |out, bucket| {
            let rule = match (bucket.lower_inclusive, bucket.upper_inclusive) {
                (false, true) => b"[0,",
                (true, false) => b"[1,",
                (false, false) => b"[2,",
                (true, true) => b"[3,",
            };
            out.extend_from_slice(rule);
            quoted(out, bucket.lower);
            out.push(b',');
            quoted(out, bucket.upper);
            out.push(b',');
            quoted(out, bucket.count);
            out.push(b']');
        });
    }
    out.push(b'}');
}

fn quoted(out: &mut Vec<u8>, value: f64) {
    out.push(b'"');
    float(out, value);
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::histogram::Span;
    use std::sync::Arc;

    fn check(write: impl FnOnce(&mut Vec<u8>), expected: &str) {
        let mut out = Vec::new();
        write(&mut out);
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text, expected);
        let _: serde_json::Value = serde_json::from_str(&text).unwrap();
    }

    #[test]
    fn writes_vectors_and_matrices() {
        let up = Labels::from_pairs([("__name__", "up"), ("job", "a\"b")]);
        check(
            |out| {
                let samples = [
                    (&up, 1_500, Value::Float(1.5)),
                    (&up, 2_000, Value::Float(f64::NAN)),
                ];
                success(out, &[], &[], |out| vector(out, samples));
            },
            r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{"__name__":"up","job":"a\"b"},"value":[1.500,"1.5"]},{"metric":{"__name__":"up","job":"a\"b"},"value":[2,"NaN"]}]}}"#,
        );
        let empty = Labels::empty();
        let point = HistogramPoint {
            t: 3_000,
            start: 0,
            histogram: Arc::new(FloatHistogram {
                count: 2.0,
                sum: 3.0,
                ..FloatHistogram::default()
            }),
        };
        let series = MatrixSeries {
            labels: &empty,
            ts: &[1_000, 2_000],
            values: &[1.0, f64::INFINITY],
            histograms: &[point],
        };
        check(
            |out| matrix(out, [series]),
            r#"{"resultType":"matrix","result":[{"metric":{},"values":[[1,"1"],[2,"+Inf"]],"histograms":[[3,{"count":"2","sum":"3"}]]}]}"#,
        );
        check(
            |out| matrix(out, []),
            r#"{"resultType":"matrix","result":[]}"#,
        );
    }

    #[test]
    fn writes_buckets_with_the_rule_of_their_limits() {
        let span = |offset, length| Span { offset, length };
        let exponential = FloatHistogram {
            count: 7.0,
            sum: 2.5,
            zero_threshold: 0.001,
            zero_count: 1.0,
            positive_spans: vec![span(0, 2)],
            positive_buckets: vec![2.0, 0.0],
            negative_spans: vec![span(1, 1)],
            negative_buckets: vec![4.0],
            ..FloatHistogram::default()
        };
        check(
            |out| histogram(out, &exponential),
            r#"{"count":"7","sum":"2.5","buckets":[[1,"-2","-1","4"],[3,"-0.001","0.001","1"],[0,"0.5","1","2"]]}"#,
        );
        let custom = FloatHistogram {
            schema: -53,
            count: 3.0,
            sum: 9.0,
            positive_spans: vec![span(0, 2)],
            positive_buckets: vec![1.0, 2.0],
            custom_values: vec![5.0],
            ..FloatHistogram::default()
        };
        check(
            |out| histogram(out, &custom),
            r#"{"count":"3","sum":"9","buckets":[[3,"-Inf","5","1"],[0,"5","+Inf","2"]]}"#,
        );
    }

    #[test]
    fn writes_the_rest() {
        check(
            |out| scalar(out, 0, -0.0),
            r#"{"resultType":"scalar","result":[0,"-0"]}"#,
        );
        check(
            |out| string_result(out, 1, "a\nb"),
            r#"{"resultType":"string","result":[0.001,"a\nb"]}"#,
        );
        let warnings = ["careful".to_owned()];
        let infos = ["by the way".to_owned()];
        check(
            |out| success(out, &warnings, &infos, |out| strings(out, ["a", "b"])),
            r#"{"status":"success","data":["a","b"],"warnings":["careful"],"infos":["by the way"]}"#,
        );
        check(
            |out| error(out, ErrorType::BadData, "no \"x\""),
            r#"{"status":"error","errorType":"bad_data","error":"no \"x\""}"#,
        );
        let up = Labels::from_pairs([("a", "1")]);
        check(
            |out| label_sets(out, [&up, &up]),
            r#"[{"a":"1"},{"a":"1"}]"#,
        );
    }
}
