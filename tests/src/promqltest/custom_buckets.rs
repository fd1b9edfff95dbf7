//! `load_with_nhcb`: native histograms with custom buckets, made of classic ones.

use super::notation::{Value, parse_number};
use model::Labels;
use model::histogram::{CUSTOM_BUCKETS_SCHEMA, FloatHistogram, Span};
use std::collections::BTreeMap;

/// The parts of a classic histogram at one time.
#[derive(Default)]
struct Classic {
    /// Upper bound and cumulative count, ascending.
    buckets: Vec<(f64, f64)>,
    count: Option<f64>,
    sum: f64,
}

type Samples = Vec<(i64, i64, Value)>;

/// The native histograms of all classic ones among some series.
pub(super) fn from_classic(series: &BTreeMap<Labels, Samples>) -> BTreeMap<Labels, Samples> {
    let mut classics: BTreeMap<Labels, BTreeMap<i64, Classic>> = BTreeMap::new();
    for (labels, samples) in series {
        let name = labels.metric_name().unwrap_or_default();
        let suffixes = ["_bucket", "_count", "_sum"];
        let Some(suffix) = suffixes.iter().find(|suffix| name.ends_with(**suffix)) else {
            continue;
        };
        let bound = labels
            .get("le")
            .and_then(parse_number)
            .filter(|bound| !bound.is_nan());
        if *suffix == "_bucket" && bound.is_none() {
            continue;
        }
        let base = labels.with("__name__", name.strip_suffix(suffix).unwrap_or_default());
        let base = base.with("le", "");
        for (t, _, value) in samples {
            let Value::Float(value) = value else { continue };
            let classic = classics
                .entry(base.clone())
                .or_default()
                .entry(*t)
                .or_default();
            match (*suffix, bound) {
                ("_bucket", Some(bound)) => classic.buckets.push((bound, *value)),
                ("_count", _) => classic.count = Some(*value),
                _ => classic.sum = *value,
            }
        }
    }
    let native =
        |(t, classic): (i64, Classic)| (t, 0, Value::Histogram(Box::new(native(classic)), false));
    let series = classics.into_iter();
    series
        .map(|(labels, rows)| (labels, rows.into_iter().map(native).collect()))
        .collect()
}

fn native(mut classic: Classic) -> FloatHistogram {
    classic.buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
    classic.buckets.dedup_by(|a, b| a.0 == b.0);
    let last = classic.buckets.last().copied();
    let count = classic
        .count
        .or(last.map(|(_, count)| count))
        .unwrap_or(0.0);
    if last.is_none_or(|(bound, _)| bound != f64::INFINITY) {
        classic.buckets.push((f64::INFINITY, count));
    }
    let mut before = 0.0;
    let counts = classic.buckets.iter().map(|(_, cumulative)| {
        let count = cumulative - before;
        before = *cumulative;
        count
    });
    let counts: Vec<f64> = counts.collect();
    let mut histogram = FloatHistogram {
        schema: CUSTOM_BUCKETS_SCHEMA,
        count,
        sum: classic.sum,
        positive_spans: vec![Span {
            offset: 0,
            length: u32::try_from(counts.len()).unwrap_or(u32::MAX),
        }],
        positive_buckets: counts,
        custom_values: classic.buckets.iter().map(|(bound, _)| *bound).collect(),
        ..FloatHistogram::default()
    };
    histogram.custom_values.pop();
    histogram.compact();
    histogram
}
