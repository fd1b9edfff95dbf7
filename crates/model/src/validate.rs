//! What the labels and histograms of a write must satisfy beyond what decoding checks in passing,
//! and how a refused series is named in messages.

use std::fmt::Write as _;

use crate::error::ErrorKind;
use crate::histogram::{Histogram, HistogramError, HistogramSample, MAX_BUCKETS_PER_SIDE};
use crate::labels::{METRIC_NAME, is_legacy_label_name, is_legacy_metric_name};
use crate::limits::{Limits, NameValidation};
use crate::sample::is_stale;
use crate::write::{LabelSource, Rejection};

/// Bytes of a series that a message shows at most.
const SHOWN_SERIES_BYTES: usize = 200;

/// Checks what is checked once in a series' life, when it is new: that names and values are
/// UTF-8, and that names are legacy names where the tenant demands that.
///
/// # Errors
/// The first fault, as a refusal of the row.
pub fn validate_labels(labels: &dyn LabelSource, limits: &Limits) -> Result<(), Rejection> {
    let mut fault = None;
    labels.for_each(&mut |name, value| {
        if fault.is_none() {
            fault = label_fault(name, value, limits.name_validation);
        }
    });
    match fault {
        None => Ok(()),
        Some((id, what)) => Err(Rejection {
            kind: ErrorKind::Invalid,
            id,
            message: format!("series {}: {what}", describe_series(labels)),
        }),
    }
}

fn label_fault(
    name: &[u8],
    value: &[u8],
    validation: NameValidation,
) -> Option<(&'static str, String)> {
    let shown = |text: &[u8]| clip(&String::from_utf8_lossy(text), 64);
    let Ok(name) = std::str::from_utf8(name) else {
        let what = format!("label name {:?} is not UTF-8", shown(name));
        return Some(("label-name-not-utf8", what));
    };
    let Ok(value) = std::str::from_utf8(value) else {
        let what = format!(
            "the value of label {:?} is not UTF-8: {:?}",
            shown(name.as_bytes()),
            shown(value)
        );
        return Some(("label-value-not-utf8", what));
    };
    if validation == NameValidation::Utf8 {
        return None;
    }
    if !is_legacy_label_name(name) {
        let what = format!(
            "label name {:?} is not of the form [a-zA-Z_][a-zA-Z0-9_]*, \
             and name_validation is legacy",
            clip(name, 64)
        );
        return Some(("label-name-invalid", what));
    }
    if name == METRIC_NAME && !is_legacy_metric_name(value) {
        let what = format!(
            "metric name {:?} is not of the form [a-zA-Z_:][a-zA-Z0-9_:]*, \
             and name_validation is legacy",
            clip(value, 64)
        );
        return Some(("metric-name-invalid", what));
    }
    None
}

/// A series in at most 200 bytes, whatever its labels hold: `name{a="b", c="d"}`, cut with `…`.
pub fn describe_series(labels: &dyn LabelSource) -> String {
    let mut metric = String::new();
    let mut pairs = String::new();
    labels.for_each(&mut |name, value| {
        let value = clip(
            &String::from_utf8_lossy(clip_bytes(value)),
            SHOWN_SERIES_BYTES,
        );
        if name == METRIC_NAME.as_bytes() && metric.is_empty() {
            metric = value;
        } else if pairs.len() < SHOWN_SERIES_BYTES {
            let comma = if pairs.is_empty() { "" } else { ", " };
            let name = String::from_utf8_lossy(clip_bytes(name));
            // Writing to a string cannot fail.
            let _ = write!(pairs, "{comma}{name}={value:?}");
        }
    });
    clip(&format!("{metric}{{{pairs}}}"), SHOWN_SERIES_BYTES)
}

/// The front of a text that may be megabytes long, so that no copy of all of it is made.
fn clip_bytes(text: &[u8]) -> &[u8] {
    &text[..text.len().min(SHOWN_SERIES_BYTES + 4)]
}

/// A text of at most `max_bytes`, the last of which say `…` where it was cut.
pub fn clip(text: &str, max_bytes: usize) -> String {
    if text.len() <= max_bytes {
        return text.to_owned();
    }
    let end = text.floor_char_boundary(max_bytes.saturating_sub('…'.len_utf8()));
    format!("{}…", &text[..end])
}

/// Why a native histogram is refused.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum HistogramFault {
    /// More buckets, or parts that lay them out, than the tenant may have.
    #[error(
        "histogram has more than {most} {what} (max_native_histogram_buckets); \
         lower the resolution at its source or raise the limit"
    )]
    TooManyBuckets {
        /// `buckets`, `spans on a side` or `custom bounds`.
        what: &'static str,
        /// How many of them it may have.
        most: usize,
    },
    /// Its parts contradict each other.
    #[error(transparent)]
    Invalid(#[from] HistogramError),
}

impl HistogramFault {
    /// The id under which docs/errors.md explains it.
    pub fn id(&self) -> &'static str {
        match self {
            Self::TooManyBuckets { .. } => "max-native-histogram-buckets",
            Self::Invalid(_) => "invalid-histogram",
        }
    }

    /// The refusal of a histogram of this series.
    pub fn reject(&self, labels: &dyn LabelSource) -> Rejection {
        Rejection {
            kind: ErrorKind::Invalid,
            id: self.id(),
            message: format!("series {}: {self}", describe_series(labels)),
        }
    }
}

/// How many parts of each kind a histogram may have, so that a decoder need collect no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HistogramBounds {
    /// Buckets of one side.
    pub buckets: usize,
    /// Spans of one side: one for each bucket, and one without any. Of spans without buckets
    /// there could else be any number.
    pub spans: usize,
    /// Upper bounds of custom buckets.
    pub custom_values: usize,
}

impl HistogramBounds {
    /// Those of a tenant. Where it has no limit of its own, those of histograms at all.
    pub fn of(limits: &Limits) -> Self {
        let buckets = match limits.max_native_histogram_buckets {
            0 => MAX_BUCKETS_PER_SIDE,
            max => max,
        };
        Self {
            buckets,
            spans: buckets.saturating_add(1),
            custom_values: buckets,
        }
    }
}

/// Checks that a histogram is within the tenant's limit and that its parts agree. A stale marker
/// says nothing but that, so that its parts need not agree; they are bounded all the same.
///
/// # Errors
/// The first fault.
pub fn validate_histogram(sample: &HistogramSample, limits: &Limits) -> Result<(), HistogramFault> {
    let (sum, buckets, spans, custom_values) = match &sample.histogram {
        Histogram::Int(h) => (
            h.sum,
            (h.positive_deltas.len(), h.negative_deltas.len()),
            (h.positive_spans.len(), h.negative_spans.len()),
            h.custom_values.len(),
        ),
        Histogram::Float(h) => (
            h.sum,
            (h.positive_buckets.len(), h.negative_buckets.len()),
            (h.positive_spans.len(), h.negative_spans.len()),
            h.custom_values.len(),
        ),
    };
    let bounds = HistogramBounds::of(limits);
    let buckets = match limits.max_native_histogram_buckets {
        0 => buckets.0.max(buckets.1),
        _ => buckets.0 + buckets.1,
    };
    for (what, found, most) in [
        ("buckets", buckets, bounds.buckets),
        ("spans on a side", spans.0.max(spans.1), bounds.spans),
        ("custom bounds", custom_values, bounds.custom_values),
    ] {
        if found > most {
            return Err(HistogramFault::TooManyBuckets { what, most });
        }
    }
    if is_stale(sum) {
        return Ok(());
    }
    match &sample.histogram {
        Histogram::Int(histogram) => histogram.validate()?,
        Histogram::Float(histogram) => histogram.validate()?,
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::histogram::{IntHistogram, Span};
    use crate::sample::stale_nan;

    struct Pairs(Vec<(Vec<u8>, Vec<u8>)>);

    impl Pairs {
        fn new(pairs: &[(&[u8], &[u8])]) -> Self {
            Self(
                pairs
                    .iter()
                    .map(|(n, v)| (n.to_vec(), v.to_vec()))
                    .collect(),
            )
        }
    }

    impl LabelSource for Pairs {
        fn for_each(&self, each: &mut dyn FnMut(&[u8], &[u8])) {
            for (name, value) in &self.0 {
                each(name, value);
            }
        }
    }

    fn id(pairs: &[(&[u8], &[u8])], name_validation: NameValidation) -> Option<&'static str> {
        let limits = Limits {
            name_validation,
            ..Limits::default()
        };
        validate_labels(&Pairs::new(pairs), &limits)
            .err()
            .map(|r| r.id)
    }

    #[test]
    fn takes_utf8_names_and_legacy_ones_by_choice() {
        use NameValidation::{Legacy, Utf8};
        let plain: &[(&[u8], &[u8])] = &[(b"__name__", b"a:b"), (b"job", "ü".as_bytes())];
        let dotted: &[(&[u8], &[u8])] = &[(b"__name__", b"up"), (b"a.b", b"1")];
        let metric: &[(&[u8], &[u8])] = &[(b"__name__", b"http.requests")];
        assert_eq!(id(plain, Utf8), None);
        assert_eq!(id(plain, Legacy), None);
        assert_eq!(id(dotted, Utf8), None);
        assert_eq!(id(dotted, Legacy), Some("label-name-invalid"));
        assert_eq!(id(metric, Utf8), None);
        assert_eq!(id(metric, Legacy), Some("metric-name-invalid"));
        let name: &[(&[u8], &[u8])] = &[(b"\xff", b"1")];
        assert_eq!(id(name, Utf8), Some("label-name-not-utf8"));
        let value: &[(&[u8], &[u8])] = &[(b"a", b"\xc3\x28")];
        assert_eq!(id(value, Utf8), Some("label-value-not-utf8"));
    }

    #[test]
    fn describes_any_series_in_200_bytes() {
        let short = Pairs::new(&[(b"__name__", b"up"), (b"job", b"a\"b")]);
        assert_eq!(describe_series(&short), r#"up{job="a\"b"}"#);
        let long = vec![0xff; 1 << 20];
        let many: Vec<(&[u8], &[u8])> = vec![(&long, &long); 50];
        let shown = describe_series(&Pairs::new(&many));
        assert!(shown.len() <= 200 && shown.ends_with('…'));
        assert_eq!(clip("äöü", 5), "ä…");
    }

    #[test]
    fn bounds_the_buckets_of_histograms_and_refuses_contradictions() {
        let id = |buckets: usize, count: u64, sum: f64| {
            let histogram = IntHistogram {
                count,
                sum,
                positive_spans: vec![Span {
                    offset: 0,
                    length: buckets as u32,
                }],
                positive_deltas: vec![0; buckets],
                ..IntHistogram::default()
            };
            let sample = HistogramSample {
                t: 1,
                start: 0,
                histogram: Histogram::Int(Box::new(histogram)),
            };
            let limits = Limits {
                max_native_histogram_buckets: 4,
                ..Limits::default()
            };
            let checked = validate_histogram(&sample, &limits);
            checked.err().map(|fault| fault.id())
        };
        assert_eq!(id(4, 0, 0.0), None);
        assert_eq!(id(5, 0, 0.0), Some("max-native-histogram-buckets"));
        assert_eq!(id(4, 9, 0.0), Some("invalid-histogram"));
        assert_eq!(id(4, 9, stale_nan()), None);
    }

    #[test]
    fn bounds_spans_and_custom_bounds_even_of_stale_markers() {
        let fault = |spans: [usize; 2], bounds: usize, max: usize, sum: f64| {
            let empty = Span {
                offset: 0,
                length: 0,
            };
            let histogram = IntHistogram {
                sum,
                positive_spans: vec![empty; spans[0]],
                negative_spans: vec![empty; spans[1]],
                custom_values: vec![1.0; bounds],
                ..IntHistogram::default()
            };
            let sample = HistogramSample {
                t: 1,
                start: 0,
                histogram: Histogram::Int(Box::new(histogram)),
            };
            let limits = Limits {
                max_native_histogram_buckets: max,
                ..Limits::default()
            };
            match validate_histogram(&sample, &limits) {
                Err(HistogramFault::TooManyBuckets { what, most }) => Some((what, most)),
                _ => None,
            }
        };
        for sum in [0.0, stale_nan()] {
            assert_eq!(fault([5, 5], 4, 4, sum), None);
            assert_eq!(fault([6, 0], 0, 4, sum), Some(("spans on a side", 5)));
            assert_eq!(fault([0, 6], 0, 4, sum), Some(("spans on a side", 5)));
            assert_eq!(fault([0, 0], 5, 4, sum), Some(("custom bounds", 4)));
            let most = MAX_BUCKETS_PER_SIDE;
            assert_eq!(fault([most + 1, 0], most, 0, sum), None);
            let too_many = fault([most + 2, 0], 0, 0, sum);
            assert_eq!(too_many, Some(("spans on a side", most + 1)));
        }
    }
}
