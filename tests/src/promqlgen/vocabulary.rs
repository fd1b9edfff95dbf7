//! The metrics, labels and values of which data and queries are made.

/// A metric and how it behaves.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// What its samples are like.
    pub shape: Shape,
    /// The labels all its series have.
    pub labels: &'static [&'static str],
}

/// What samples are like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Goes up, and starts again now and then.
    Counter,
    /// Goes up and down.
    Gauge,
    /// 1, for its labels.
    Info,
    /// Cumulative buckets by `le`.
    Bucket,
    /// NaN, infinities, huge and tiny numbers.
    Extreme,
    /// Native histograms, some with floats between.
    Native,
}

/// When the data begin, in seconds: a whole minute, on the day before a leap day.
pub const BEGIN: i64 = 1_709_117_280;
/// How long they go on, in seconds.
pub const LENGTH: i64 = 5400;
/// From scrape to scrape, in seconds.
pub const INTERVAL: i64 = 15;

/// All metrics. Labels are such that pairs of them match on some.
pub const METRICS: &[Metric] = &[
    metric(
        "http_requests_total",
        Shape::Counter,
        &["job", "instance", "code", "path"],
    ),
    metric(
        "http_errors_total",
        Shape::Counter,
        &["job", "instance", "code"],
    ),
    metric("cpu_seconds_total", Shape::Counter, &["job", "instance"]),
    metric(
        "temperature_celsius",
        Shape::Gauge,
        &["job", "instance", "sensor"],
    ),
    metric("queue_length", Shape::Gauge, &["job", "instance", "queue"]),
    metric("start_time_seconds", Shape::Gauge, &["job", "instance"]),
    metric(
        "build_info",
        Shape::Info,
        &["job", "instance", "version", "branch"],
    ),
    metric("odd_values", Shape::Gauge, &["odd"]),
    metric("extremes", Shape::Extreme, &["job", "sort"]),
    metric(
        "latency_seconds_bucket",
        Shape::Bucket,
        &["job", "instance", "le"],
    ),
    metric(
        "latency_seconds_count",
        Shape::Counter,
        &["job", "instance"],
    ),
    metric("latency_seconds_sum", Shape::Counter, &["job", "instance"]),
    metric("size_bytes_bucket", Shape::Bucket, &["job", "le"]),
];

/// What only newer engines have.
pub const NATIVE: &[Metric] = &[
    metric("native_seconds", Shape::Native, &["job", "instance"]),
    metric("native_bytes", Shape::Native, &["job", "sort"]),
];

const fn metric(name: &'static str, shape: Shape, labels: &'static [&'static str]) -> Metric {
    Metric {
        name,
        shape,
        labels,
    }
}

/// The values that a label has anywhere.
pub fn values(label: &str) -> &'static [&'static str] {
    match label {
        "job" => &["api", "web"],
        "instance" => &["a:9100", "b:9100", "c:9100"],
        "code" => &["200", "404", "500"],
        "path" => &["/", "/login"],
        "sensor" => &["inlet", "outlet", "core", "fan"],
        "queue" => &["mail", "jobs"],
        "version" => &["1.0.0", "1.1.0"],
        "branch" => &["main", "next"],
        "le" => &["0.1", "0.5", "1", "2.5", "10", "+Inf"],
        "sort" => EXTREMES,
        "odd" => ODD,
        _ => &[],
    }
}

/// Characters that some layer may trip over. No newline: whether `.` of a regular expression
/// matches one differs between Prometheus 2 and 3.
pub const ODD: &[&str] = &[
    "double \"quote\"",
    "back\\slash",
    "grüße \u{1F980}",
    "{a=\"b\"}",
    "tab\there",
    "$1 ${name}",
    "a,b;c=d",
    "0x1p-2",
];

/// Kinds of extreme series.
pub const EXTREMES: &[&str] = &[
    "nan", "inf", "neginf", "huge", "tiny", "negative", "constant", "mixed", "zero",
];
