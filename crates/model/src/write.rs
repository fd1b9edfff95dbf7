//! What a write request is once its bytes are understood: rows that borrow from the body.
//!
//! Made by `wire::remote_write`, checked and appended by `tsdb`. A row's labels stay in the
//! form they came in; only a series that is new has them parsed.

use crate::error::ErrorKind;
use crate::exemplar::Exemplar;
use crate::fingerprint::Fingerprint;
use crate::histogram::HistogramSample;
use crate::labels::Labels;
use crate::sample::Sample;

/// Where the labels of a row can be read from.
pub trait LabelSource {
    /// Calls `each` with every name and value, in the order they were sent. The bytes are not
    /// checked: neither order nor UTF-8 may be taken for granted.
    fn for_each(&self, each: &mut dyn FnMut(&[u8], &[u8]));
}

impl LabelSource for Labels {
    fn for_each(&self, each: &mut dyn FnMut(&[u8], &[u8])) {
        for (name, value) in self {
            each(name.as_bytes(), value.as_bytes());
        }
    }
}

/// One series of a request. The fields `*_end` are exclusive ends in the batch's columns; a row
/// begins where the row before ends.
#[derive(Clone, Debug)]
pub struct SeriesRow<L> {
    /// The hash of the labels in the order they were sent (which is sorted, or the row is refused).
    pub fingerprint: Fingerprint,
    /// The labels, unparsed.
    pub labels: L,
    /// End of this row's samples.
    pub samples_end: u32,
    /// End of this row's histograms.
    pub histograms_end: u32,
    /// End of this row's exemplars.
    pub exemplars_end: u32,
}

/// A decoded write request of one tenant, as columns. Cleared and used again.
#[derive(Clone, Debug)]
pub struct WriteBatch<L> {
    /// One row a series, in the order of the request.
    pub series: Vec<SeriesRow<L>>,
    /// The samples of all rows.
    pub samples: Vec<Sample>,
    /// The native histograms of all rows.
    pub histograms: Vec<HistogramSample>,
    /// The exemplars of all rows.
    pub exemplars: Vec<Exemplar>,
    /// Metadata of metrics.
    pub metadata: Vec<MetricMetadata>,
}

impl<L> Default for WriteBatch<L> {
    fn default() -> Self {
        Self {
            series: Vec::new(),
            samples: Vec::new(),
            histograms: Vec::new(),
            exemplars: Vec::new(),
            metadata: Vec::new(),
        }
    }
}

/// The type of a metric, by the numbers of remote write 2.0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum MetricType {
    /// Not told.
    #[default]
    Unknown,
    /// Only goes up, but for resets.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Observations in buckets.
    Histogram,
    /// Observations in buckets that may go down.
    GaugeHistogram,
    /// Observations as quantiles.
    Summary,
    /// Constant information.
    Info,
    /// One of several states.
    StateSet,
}

impl MetricType {
    /// All of them, in the order of their numbers on the wire (1.0 and 2.0 agree but for order
    /// of histogram and summary kinds, which `wire` knows).
    pub const ALL: [Self; 8] = [
        Self::Unknown,
        Self::Counter,
        Self::Gauge,
        Self::Histogram,
        Self::GaugeHistogram,
        Self::Summary,
        Self::Info,
        Self::StateSet,
    ];

    /// The name the HTTP API uses.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
            Self::GaugeHistogram => "gaugehistogram",
            Self::Summary => "summary",
            Self::Info => "info",
            Self::StateSet => "stateset",
        }
    }
}

/// What is known about one metric name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct MetricMetadata {
    /// The metric's (family) name.
    pub metric: String,
    /// Its type.
    pub kind: MetricType,
    /// What it says.
    pub help: String,
    /// In which unit; empty where not told.
    pub unit: String,
}

/// Why a row, or one of its samples, was refused: the first of a request is reported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// What the sender may make of it: `Invalid` (400) or `TooMany` (429).
    pub kind: ErrorKind,
    /// The id under which docs/errors.md explains it, such as `sample-too-old`.
    pub id: &'static str,
    /// What, which series, which limit, what to do.
    pub message: String,
}

/// What became of a batch. Counts are of what is durable now, identical duplicates included.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WriteOutcome {
    /// Float samples written.
    pub samples: usize,
    /// Histograms written.
    pub histograms: usize,
    /// Exemplars written.
    pub exemplars: usize,
    /// Samples and histograms refused.
    pub rejected: usize,
    /// The first refusal.
    pub first_rejection: Option<Rejection>,
}
