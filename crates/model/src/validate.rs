//! What the labels and histograms of a write must satisfy beyond what decoding checks in passing,
//! and how a refused series is named in messages.

use std::fmt::Write as _;

use crate::error::ErrorKind;
use crate::histogram::{CUSTOM_BUCKETS_SCHEMA, Histogram, HistogramSample, Span};
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

/// What is wrong with a native histogram.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HistogramFault {
    /// A schema that is neither exponential nor custom.
    #[error("schema {0} is unknown; -4 to 8 and -53 are taken")]
    Schema(i32),
    /// More buckets than the tenant may have.
    #[error(
        "{buckets} buckets, and max_native_histogram_buckets is {max}; \
         lower the resolution at its source or raise the limit"
    )]
    TooManyBuckets {
        /// Buckets of the histogram.
        buckets: usize,
        /// The limit.
        max: usize,
    },
    /// Spans that stand for another number of buckets than there are.
    #[error("the spans of its {side} buckets stand for {spanned} buckets, and {found} are given")]
    SpansMismatch {
        /// `positive` or `negative`.
        side: &'static str,
        /// Buckets the spans stand for.
        spanned: u64,
        /// Buckets given.
        found: usize,
    },
    /// A span after the first that goes back.
    #[error("span {at} of its {side} buckets has the negative offset {offset}")]
    NegativeOffset {
        /// `positive` or `negative`.
        side: &'static str,
        /// Which span.
        at: usize,
        /// Its offset.
        offset: i32,
    },
    /// A count below zero, or one that is no number.
    #[error("a count of its {side} buckets is below zero or not a number")]
    NegativeCount {
        /// `positive`, `negative` or `zero`.
        side: &'static str,
    },
    /// Buckets that hold more than all observations.
    #[error("its buckets hold {in_buckets} observations, and its count is {count}")]
    CountMismatch {
        /// Observations in buckets.
        in_buckets: u64,
        /// Observations in all.
        count: u64,
    },
    /// Custom bounds that do not ascend, are infinite, or stand where none belong.
    #[error("its custom bounds {0}")]
    CustomBounds(&'static str),
}

impl HistogramFault {
    /// The id under which docs/errors.md explains it.
    pub fn id(&self) -> &'static str {
        match self {
            Self::Schema(_) => "histogram-schema",
            Self::TooManyBuckets { .. } => "max-native-histogram-buckets",
            Self::SpansMismatch { .. } => "histogram-spans-mismatch",
            Self::NegativeOffset { .. } => "histogram-span-offset",
            Self::NegativeCount { .. } => "histogram-negative-count",
            Self::CountMismatch { .. } => "histogram-count-mismatch",
            Self::CustomBounds(_) => "histogram-custom-bounds",
        }
    }

    /// The refusal of a histogram of this series.
    pub fn reject(&self, labels: &dyn LabelSource) -> Rejection {
        Rejection {
            kind: ErrorKind::Invalid,
            id: self.id(),
            message: format!(
                "native histogram of series {}: {self}",
                describe_series(labels)
            ),
        }
    }
}

/// Checks that a histogram's parts agree. A stale marker's parts are not looked at.
///
/// # Errors
/// The first fault.
pub fn validate_histogram(sample: &HistogramSample, limits: &Limits) -> Result<(), HistogramFault> {
    match &sample.histogram {
        Histogram::Int(histogram) => {
            let h = histogram.as_ref();
            let buckets = h.positive_deltas.len() + h.negative_deltas.len();
            check_size(buckets, limits)?;
            if is_stale(h.sum) {
                return Ok(());
            }
            check_spans("positive", &h.positive_spans, h.positive_deltas.len())?;
            check_spans("negative", &h.negative_spans, h.negative_deltas.len())?;
            check_schema(
                h.schema,
                &h.custom_values,
                &h.positive_spans,
                &h.negative_spans,
            )?;
            let positive = sum_deltas("positive", &h.positive_deltas)?;
            let negative = sum_deltas("negative", &h.negative_deltas)?;
            let in_buckets = positive
                .saturating_add(negative)
                .saturating_add(h.zero_count);
            // NaN observations are counted and lie in no bucket; they make the sum NaN.
            let fits = if h.sum.is_nan() {
                in_buckets <= h.count
            } else {
                in_buckets == h.count
            };
            if fits {
                Ok(())
            } else {
                let count = h.count;
                Err(HistogramFault::CountMismatch { in_buckets, count })
            }
        }
        Histogram::Float(histogram) => {
            let h = histogram.as_ref();
            let buckets = h.positive_buckets.len() + h.negative_buckets.len();
            check_size(buckets, limits)?;
            if is_stale(h.sum) {
                return Ok(());
            }
            check_spans("positive", &h.positive_spans, h.positive_buckets.len())?;
            check_spans("negative", &h.negative_spans, h.negative_buckets.len())?;
            check_schema(
                h.schema,
                &h.custom_values,
                &h.positive_spans,
                &h.negative_spans,
            )?;
            check_counts("positive", &h.positive_buckets)?;
            check_counts("negative", &h.negative_buckets)?;
            check_counts("zero", &[h.zero_count])?;
            check_counts("all", &[h.count])
        }
    }
}

fn check_size(buckets: usize, limits: &Limits) -> Result<(), HistogramFault> {
    let max = limits.max_native_histogram_buckets;
    if max > 0 && buckets > max {
        return Err(HistogramFault::TooManyBuckets { buckets, max });
    }
    Ok(())
}

fn check_spans(side: &'static str, spans: &[Span], found: usize) -> Result<(), HistogramFault> {
    let backward = spans
        .iter()
        .enumerate()
        .skip(1)
        .find(|(_, span)| span.offset < 0);
    if let Some((at, span)) = backward {
        let offset = span.offset;
        return Err(HistogramFault::NegativeOffset { side, at, offset });
    }
    let spanned = spans.iter().map(|span| u64::from(span.length)).sum();
    if spanned != found as u64 {
        return Err(HistogramFault::SpansMismatch {
            side,
            spanned,
            found,
        });
    }
    Ok(())
}

fn check_schema(
    schema: i32,
    bounds: &[f64],
    positive: &[Span],
    negative: &[Span],
) -> Result<(), HistogramFault> {
    use HistogramFault::CustomBounds;
    match schema {
        -4..=8 if bounds.is_empty() => Ok(()),
        -4..=8 => Err(CustomBounds("stand in an exponential histogram")),
        CUSTOM_BUCKETS_SCHEMA => {
            if !negative.is_empty() {
                return Err(CustomBounds("do not go with negative buckets"));
            }
            if bounds.iter().any(|bound| !bound.is_finite()) {
                return Err(CustomBounds("are not all finite"));
            }
            if bounds.windows(2).any(|pair| pair[0] >= pair[1]) {
                return Err(CustomBounds("do not ascend"));
            }
            if positive.first().is_some_and(|span| span.offset < 0) {
                return Err(CustomBounds("have no bucket below the first"));
            }
            let reach = |span: &Span| i64::from(span.offset) + i64::from(span.length);
            let reach: i64 = positive.iter().map(reach).sum();
            // One bucket more than bounds: the last reaches to +Inf.
            if reach > bounds.len() as i64 + 1 {
                return Err(CustomBounds("are fewer than its buckets need"));
            }
            Ok(())
        }
        _ => Err(HistogramFault::Schema(schema)),
    }
}

fn sum_deltas(side: &'static str, deltas: &[i64]) -> Result<u64, HistogramFault> {
    let (mut count, mut sum) = (0_i64, 0_u64);
    for delta in deltas {
        count = match count.checked_add(*delta) {
            Some(count) if count >= 0 => count,
            _ => return Err(HistogramFault::NegativeCount { side }),
        };
        sum = sum.saturating_add(count.unsigned_abs());
    }
    Ok(sum)
}

fn check_counts(side: &'static str, counts: &[f64]) -> Result<(), HistogramFault> {
    if counts.iter().all(|count| *count >= 0.0) {
        Ok(())
    } else {
        Err(HistogramFault::NegativeCount { side })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::histogram::{FloatHistogram, IntHistogram};
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
    fn checks_that_the_parts_of_a_histogram_agree() {
        let span = |offset, length| Span { offset, length };
        let good = IntHistogram {
            count: 6,
            sum: 1.0,
            zero_count: 1,
            positive_spans: vec![span(-2, 2), span(3, 1)],
            positive_deltas: vec![1, 1, 0],
            ..IntHistogram::default()
        };
        let id = |change: &dyn Fn(&mut IntHistogram)| {
            let mut histogram = good.clone();
            change(&mut histogram);
            let sample = HistogramSample {
                t: 1,
                start: 0,
                histogram: Histogram::Int(Box::new(histogram)),
            };
            let limits = Limits {
                max_native_histogram_buckets: 4,
                ..Limits::default()
            };
            validate_histogram(&sample, &limits)
                .err()
                .map(|fault| fault.id())
        };
        assert_eq!(id(&|_| ()), None);
        assert_eq!(id(&|h| h.schema = 9), Some("histogram-schema"));
        assert_eq!(id(&|h| h.count = 5), Some("histogram-count-mismatch"));
        assert_eq!(
            id(&|h| {
                h.count = 7;
                h.sum = f64::NAN
            }),
            None
        );
        assert_eq!(
            id(&|h| {
                h.count = 0;
                h.sum = stale_nan()
            }),
            None
        );
        assert_eq!(
            id(&|h| h.positive_deltas[1] = -2),
            Some("histogram-negative-count")
        );
        assert_eq!(
            id(&|h| h.positive_deltas[1] = i64::MAX),
            Some("histogram-negative-count")
        );
        assert_eq!(
            id(&|h| h.positive_spans[1].offset = -1),
            Some("histogram-span-offset")
        );
        assert_eq!(
            id(&|h| h.positive_spans[1].length = u32::MAX),
            Some("histogram-spans-mismatch")
        );
        assert_eq!(
            id(&|h| h.positive_deltas = vec![0; 5]),
            Some("max-native-histogram-buckets")
        );
        assert_eq!(
            id(&|h| h.custom_values = vec![1.0]),
            Some("histogram-custom-bounds")
        );
        let custom = |bounds: Vec<f64>| {
            id(&|h| {
                h.schema = CUSTOM_BUCKETS_SCHEMA;
                h.zero_count = 0;
                h.count = 5;
                h.positive_spans = vec![span(0, 3)];
                h.custom_values = bounds.clone();
            })
        };
        assert_eq!(custom(vec![1.0, 2.0]), None);
        assert_eq!(custom(vec![1.0]), Some("histogram-custom-bounds"));
        assert_eq!(custom(vec![2.0, 1.0]), Some("histogram-custom-bounds"));
        assert_eq!(
            custom(vec![1.0, f64::INFINITY]),
            Some("histogram-custom-bounds")
        );
    }

    #[test]
    fn refuses_float_histograms_with_counts_that_are_none() {
        let of = |zero_count| HistogramSample {
            t: 1,
            start: 0,
            histogram: Histogram::Float(Box::new(FloatHistogram {
                zero_count,
                ..FloatHistogram::default()
            })),
        };
        let limits = Limits::default();
        assert!(validate_histogram(&of(1.5), &limits).is_ok());
        for bad in [-1.0, f64::NAN] {
            assert!(validate_histogram(&of(bad), &limits).is_err());
        }
    }
}
