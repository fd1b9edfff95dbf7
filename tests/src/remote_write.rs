//! Remote write requests of both versions, encoded without the product's code.

use std::collections::HashMap;

use crate::protobuf::Message;

/// Which version of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// `prometheus.WriteRequest`.
    V1,
    /// `io.prometheus.write.v2.Request`.
    V2,
}

impl Version {
    /// The content type that names it.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::V1 => "application/x-protobuf",
            Self::V2 => "application/x-protobuf;proto=io.prometheus.write.v2.Request",
        }
    }

    /// The headers a sender of this version sends.
    pub fn headers(self) -> [(&'static str, &'static str); 3] {
        let number = match self {
            Self::V1 => "0.1.0",
            Self::V2 => "2.0.0",
        };
        [
            ("Content-Type", self.content_type()),
            ("Content-Encoding", "snappy"),
            ("X-Prometheus-Remote-Write-Version", number),
        ]
    }
}

/// Names and values of labels.
pub type Pairs = Vec<(String, String)>;

/// One series of a request. Labels go out in the order given.
#[derive(Clone, Debug, Default)]
pub struct Series {
    /// Names and values.
    pub labels: Pairs,
    /// Timestamps in milliseconds, and values.
    pub samples: Vec<(i64, f64)>,
    /// When the counter behind the samples started, in milliseconds; version 2 only, 0: unknown.
    pub start: i64,
    /// Native histograms, encoded, with their timestamps inside.
    pub histograms: Vec<Message>,
    /// Exemplars: own labels, value, timestamp in milliseconds.
    pub exemplars: Vec<(Pairs, f64, i64)>,
    /// What is known about the metric; version 2 carries it with each series.
    pub metadata: Option<Metadata>,
}

/// Metadata of a metric.
#[derive(Clone, Debug)]
pub struct Metadata {
    /// The metric.
    pub metric: String,
    /// Its type; 1 is a counter and 2 a gauge in both versions.
    pub kind: u64,
    /// What it says.
    pub help: String,
    /// In which unit.
    pub unit: String,
}

impl Series {
    /// A series of these labels.
    pub fn new(labels: &[(&str, &str)]) -> Self {
        Self {
            labels: own(labels),
            ..Self::default()
        }
    }

    /// With one more sample.
    #[must_use]
    pub fn sample(mut self, t: i64, v: f64) -> Self {
        self.samples.push((t, v));
        self
    }

    /// With one more histogram.
    #[must_use]
    pub fn histogram(mut self, histogram: Message) -> Self {
        self.histograms.push(histogram);
        self
    }

    /// With one more exemplar.
    #[must_use]
    pub fn exemplar(mut self, labels: &[(&str, &str)], v: f64, t: i64) -> Self {
        self.exemplars.push((own(labels), v, t));
        self
    }
}

fn own(labels: &[(&str, &str)]) -> Pairs {
    let labels = labels.iter();
    labels
        .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()))
        .collect()
}

/// An integer histogram with exponential buckets of schema 0: 1 observation in (0.5, 1], 2 in
/// (1, 2], 1 in (2, 4], times `scale`, and as many zeros as `scale`.
pub fn exponential_histogram(t: i64, scale: u32) -> Message {
    let scale = i64::from(scale);
    let span = Message::default().sint(1, 0).uint(2, 3);
    Message::default()
        .uint(1, 5 * scale.unsigned_abs())
        .double(3, 6.5 * scale as f64)
        .sint(4, 0)
        .double(5, 1e-128)
        .uint(6, scale.unsigned_abs())
        .message(11, &span)
        .packed_sint(12, &[scale, scale, -scale])
        .int(15, t)
}

/// A float histogram with the same buckets.
pub fn float_histogram(t: i64, scale: f64) -> Message {
    let span = Message::default().sint(1, 0).uint(2, 3);
    Message::default()
        .double(2, 5.0 * scale)
        .double(3, 6.5 * scale)
        .sint(4, 0)
        .double(5, 1e-128)
        .double(7, scale)
        .message(11, &span)
        .packed_double(13, &[scale, 2.0 * scale, scale])
        .int(15, t)
}

/// An integer histogram with the custom bounds 0.1, 1 and 10: 1, 2 and 3 observations, and 4
/// above.
pub fn custom_histogram(t: i64) -> Message {
    let span = Message::default().sint(1, 0).uint(2, 4);
    Message::default()
        .uint(1, 10)
        .double(3, 100.0)
        .sint(4, -53)
        .message(11, &span)
        .packed_sint(12, &[1, 1, 1, 1])
        .int(15, t)
        .packed_double(16, &[0.1, 1.0, 10.0])
}

/// The request, not yet compressed.
pub fn encode(version: Version, series: &[Series]) -> Vec<u8> {
    match version {
        Version::V1 => encode_v1(series),
        Version::V2 => encode_v2(series),
    }
    .into_bytes()
}

/// Compresses a body as senders do.
///
/// # Panics
/// Where the body is over 4 GiB.
pub fn compress(body: &[u8]) -> Vec<u8> {
    snap::raw::Encoder::new()
        .compress_vec(body)
        .expect("a body below 4 GiB")
}

fn encode_v1(series: &[Series]) -> Message {
    let mut request = Message::default();
    for one in series {
        let mut row = Message::default();
        for label in &one.labels {
            row = row.message(1, &label_v1(label));
        }
        for (t, v) in &one.samples {
            row = row.message(2, &Message::default().double(1, *v).int(2, *t));
        }
        for (labels, v, t) in &one.exemplars {
            let mut exemplar = Message::default();
            for label in labels {
                exemplar = exemplar.message(1, &label_v1(label));
            }
            row = row.message(3, &exemplar.double(2, *v).int(3, *t));
        }
        for histogram in &one.histograms {
            row = row.message(4, histogram);
        }
        request = request.message(1, &row);
    }
    for metadata in series.iter().filter_map(|one| one.metadata.as_ref()) {
        let row = Message::default()
            .uint(1, metadata.kind)
            .bytes_field(2, metadata.metric.as_bytes())
            .bytes_field(4, metadata.help.as_bytes())
            .bytes_field(5, metadata.unit.as_bytes());
        request = request.message(3, &row);
    }
    request
}

fn label_v1((name, value): &(String, String)) -> Message {
    Message::default()
        .bytes_field(1, name.as_bytes())
        .bytes_field(2, value.as_bytes())
}

fn encode_v2(series: &[Series]) -> Message {
    let mut symbols = Symbols::default();
    symbols.of("");
    let mut rows = Vec::new();
    for one in series {
        let mut row = Message::default().packed_uint(1, symbols.of_labels(&one.labels));
        for (t, v) in &one.samples {
            let mut sample = Message::default().double(1, *v).int(2, *t);
            if one.start != 0 {
                sample = sample.int(3, one.start);
            }
            row = row.message(2, &sample);
        }
        for histogram in &one.histograms {
            row = row.message(3, histogram);
        }
        for (labels, v, t) in &one.exemplars {
            let refs = symbols.of_labels(labels);
            let exemplar = Message::default()
                .packed_uint(1, refs)
                .double(2, *v)
                .int(3, *t);
            row = row.message(4, &exemplar);
        }
        if let Some(metadata) = &one.metadata {
            let metadata = Message::default()
                .uint(1, metadata.kind)
                .uint(3, symbols.of(&metadata.help))
                .uint(4, symbols.of(&metadata.unit));
            row = row.message(5, &metadata);
        }
        rows.push(row);
    }
    let mut request = Message::default();
    for symbol in &symbols.all {
        request = request.bytes_field(4, symbol.as_bytes());
    }
    for row in &rows {
        request = request.message(5, row);
    }
    request
}

/// Each distinct string of a request, once.
#[derive(Default)]
struct Symbols {
    all: Vec<String>,
    known: HashMap<String, u64>,
}

impl Symbols {
    fn of(&mut self, text: &str) -> u64 {
        if let Some(at) = self.known.get(text) {
            return *at;
        }
        let at = self.all.len() as u64;
        self.all.push(text.to_owned());
        self.known.insert(text.to_owned(), at);
        at
    }

    fn of_labels(&mut self, labels: &[(String, String)]) -> Vec<u64> {
        let mut refs = Vec::new();
        for (name, value) in labels {
            refs.push(self.of(name));
            refs.push(self.of(value));
        }
        refs
    }
}
