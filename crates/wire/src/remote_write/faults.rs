//! Why a row is refused, in words. Off the hot path: the labels are walked a second time.

use model::error::ErrorKind;
use model::labels::METRIC_NAME;
use model::limits::Limits;
use model::validate::{clip, describe_series};
use model::write::Rejection;

use super::labels::RawLabels;

/// Faults of a row that its labels alone do not show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RowFault {
    /// A reference beyond the symbols.
    SymbolOutOfRange { reference: u32, symbols: usize },
    /// A name without a value.
    OddReferences,
    /// Float samples and histograms in one `TimeSeries` of 2.0.
    SamplesAndHistograms,
}

/// The refusal of a row. `fault` is what was found besides its labels.
pub(super) fn explain(
    labels: &RawLabels<'_>,
    limits: &Limits,
    fault: Option<RowFault>,
) -> Rejection {
    let (id, what) = match fault {
        Some(fault) => explain_fault(fault),
        None => explain_labels(labels, limits),
    };
    Rejection {
        kind: ErrorKind::Invalid,
        id,
        message: format!("series {}: {what}", describe_series(labels)),
    }
}

fn explain_fault(fault: RowFault) -> (&'static str, String) {
    match fault {
        RowFault::SymbolOutOfRange { reference, symbols } => (
            "symbol-out-of-range",
            format!("symbol {reference} is referred to, and the request has {symbols}"),
        ),
        RowFault::OddReferences => (
            "odd-label-references",
            "an odd number of label references; each name needs a value".to_owned(),
        ),
        RowFault::SamplesAndHistograms => (
            "samples-and-histograms",
            "float samples and histograms together; send them as two time series".to_owned(),
        ),
    }
}

/// Finds the first fault of the labels, in the order in which they are best repaired.
fn explain_labels(labels: &RawLabels<'_>, limits: &Limits) -> (&'static str, String) {
    let (mut count, mut named) = (0_usize, false);
    let mut first = None;
    let mut last: Option<Vec<u8>> = None;
    labels.walk(&mut |name, value| {
        if value.is_empty() {
            // Means 'no such label'; only its place in the order counts.
        } else {
            count += 1;
            named |= name == METRIC_NAME.as_bytes();
        }
        if first.is_none() {
            first = explain_label(name, value, last.as_deref(), limits);
        }
        last = Some(name.to_vec());
    });
    let max = limits.max_label_names_per_series;
    if max > 0 && count > max {
        return (
            "max-label-names-per-series",
            format!(
                "{count} labels, and max_label_names_per_series is {max}; \
                 drop labels or raise the limit"
            ),
        );
    }
    first.unwrap_or_else(|| {
        debug_assert!(!named, "a row without a fault is not refused");
        (
            "missing-metric-name",
            "no metric name; every series needs the label __name__".to_owned(),
        )
    })
}

fn explain_label(
    name: &[u8],
    value: &[u8],
    last: Option<&[u8]>,
    limits: &Limits,
) -> Option<(&'static str, String)> {
    let shown = || clip(&String::from_utf8_lossy(name), 64);
    let too_long = |len: usize, max: usize| max > 0 && len > max;
    if name.is_empty() {
        return Some(("empty-label-name", "a label without a name".to_owned()));
    }
    if last == Some(name) {
        let what = format!("label {:?} comes twice; send each name once", shown());
        return Some(("duplicate-label", what));
    }
    if let Some(last) = last.filter(|last| *last > name) {
        let last = clip(&String::from_utf8_lossy(last), 64);
        let what = format!(
            "label {:?} comes after {last:?}; sort labels by name",
            shown()
        );
        return Some(("labels-not-sorted", what));
    }
    let max = limits.max_label_name_length;
    if too_long(name.len(), max) {
        let what = format!(
            "label name {:?} has {} bytes, and max_label_name_length is {max}; \
             shorten it or raise the limit",
            shown(),
            name.len()
        );
        return Some(("label-name-too-long", what));
    }
    let max = limits.max_label_value_length;
    if too_long(value.len(), max) {
        let what = format!(
            "the value of label {:?} has {} bytes, and max_label_value_length is {max}; \
             shorten it or raise the limit",
            shown(),
            value.len()
        );
        return Some(("label-value-too-long", what));
    }
    None
}
