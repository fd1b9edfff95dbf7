//! Whether an answer is the expected one.

use super::notation::Value;
use super::script::Eval;
use model::Labels;
use model::histogram::FloatHistogram;
use promql::value::{PointValue, Series, VectorPoint};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// How far two numbers may lie apart, as a share of their sum.
const EPSILON: f64 = 1e-6;

/// Whether two numbers are as good as equal. NaN equals NaN.
pub(super) fn almost(a: f64, b: f64) -> bool {
    if a.is_nan() || b.is_nan() {
        return a.is_nan() && b.is_nan();
    }
    if a == b {
        return true;
    }
    if a.is_infinite() || b.is_infinite() {
        return false;
    }
    let (total, apart) = (a.abs() + b.abs(), (a - b).abs());
    if a == 0.0 || b == 0.0 || total < f64::MIN_POSITIVE {
        return apart < EPSILON * f64::MIN_POSITIVE;
    }
    apart / total.min(f64::MAX) < EPSILON
}

/// The expected rows by their labels, with their place in the script.
fn expected(eval: &Eval) -> BTreeMap<&Labels, (usize, &[Option<Value>])> {
    let rows = eval.rows.iter().enumerate();
    rows.map(|(at, row)| (&row.labels, (at, row.values.as_slice())))
        .collect()
}

/// Compares the elements of an instant vector.
pub(super) fn vector(eval: &Eval, got: &[VectorPoint], ordered: bool) -> Result<(), String> {
    let expected = expected(eval);
    let mut seen = BTreeSet::new();
    for (at, point) in got.iter().enumerate() {
        let labels = &point.labels;
        let Some((place, values)) = expected.get(labels) else {
            return Err(format!("unexpected {labels} = {}", shown(&point.value)));
        };
        if !seen.insert(labels) {
            return Err(format!("{labels} twice"));
        }
        if ordered && *place != at {
            return Err(format!("{labels} is at place {at}, expected at {place}"));
        }
        let want = values.first().and_then(Option::as_ref);
        value(want.unwrap_or(&Value::Float(0.0)), &point.value)
            .map_err(|why| format!("{labels}: {why}"))?;
    }
    nothing_missing(&expected, &seen)
}

/// Compares the series of a matrix whose rows have a value for each step.
pub(super) fn matrix(
    eval: &Eval,
    got: &[Series],
    (start, end, step): (i64, i64, i64),
) -> Result<(), String> {
    let expected = expected(eval);
    let mut seen = BTreeSet::new();
    for series in got {
        let labels = &series.labels;
        let Some((_, values)) = expected.get(labels) else {
            let points = series.floats.len() + series.histograms.len();
            return Err(format!("unexpected {labels} with {points} points"));
        };
        if !seen.insert(labels) {
            return Err(format!("{labels} twice"));
        }
        let mut points: Vec<(i64, PointValue)> = Vec::new();
        points.extend(
            series
                .floats
                .iter()
                .map(|(t, v)| (*t, PointValue::Float(*v))),
        );
        let histograms = series.histograms.iter();
        points.extend(histograms.map(|(t, h)| (*t, PointValue::Histogram(Arc::clone(h)))));
        points.sort_by_key(|(t, _)| *t);
        let times = (0..).map(|at| start + at * step);
        let wanted = times.zip(values.iter());
        let wanted: Vec<(i64, &Value)> = wanted
            .filter_map(|(t, value)| Some((t, value.as_ref()?)))
            .collect();
        if let Some((t, _)) = wanted.iter().find(|(t, _)| *t > end) {
            return Err(format!("the script expects a point at {t}, behind the end"));
        }
        let wanted_times: Vec<i64> = wanted.iter().map(|(t, _)| *t).collect();
        let times: Vec<i64> = points.iter().map(|(t, _)| *t).collect();
        if wanted_times != times {
            return Err(format!(
                "{labels}: expected points at {wanted_times:?}, got {times:?}"
            ));
        }
        for ((t, want), (_, point)) in wanted.iter().zip(&points) {
            value(want, point).map_err(|why| format!("{labels} at {t} ms: {why}"))?;
        }
    }
    nothing_missing(&expected, &seen)
}

fn nothing_missing<V>(
    expected: &BTreeMap<&Labels, V>,
    seen: &BTreeSet<&Labels>,
) -> Result<(), String> {
    match expected.keys().find(|labels| !seen.contains(*labels)) {
        Some(labels) => Err(format!("missing {labels}")),
        None => Ok(()),
    }
}

fn shown(value: &PointValue) -> String {
    match value {
        PointValue::Float(float) => float.to_string(),
        PointValue::Histogram(histogram) => histogram.to_string(),
    }
}

fn value(want: &Value, got: &PointValue) -> Result<(), String> {
    match (want, got) {
        (Value::Float(want), PointValue::Float(got)) if almost(*want, *got) => Ok(()),
        (Value::Float(want), got) => Err(format!("expected {want}, got {}", shown(got))),
        (Value::Histogram(want, explicit), PointValue::Histogram(got)) => {
            histogram(want, *explicit, got)
                .map_err(|what| format!("{what} differs: expected {want}, got {got}"))
        }
        (Value::Histogram(want, _), got) => Err(format!("expected {want}, got {}", shown(got))),
        (Value::Stale, got) => Err(format!("expected a stale marker, got {}", shown(got))),
    }
}

/// Compares two histograms by what they count, not by how they lay it out.
fn histogram(
    want: &FloatHistogram,
    explicit: bool,
    got: &FloatHistogram,
) -> Result<(), &'static str> {
    let check = |same: bool, what| if same { Ok(()) } else { Err(what) };
    check(want.schema == got.schema, "schema")?;
    check(almost(want.count, got.count), "count")?;
    check(almost(want.sum, got.sum), "sum")?;
    if want.uses_custom_buckets() {
        check(want.custom_values == got.custom_values, "custom bound")?;
    } else {
        check(want.zero_threshold == got.zero_threshold, "zero threshold")?;
        check(almost(want.zero_count, got.zero_count), "zero bucket")?;
    }
    let populated = |side: model::histogram::Indexed<'_>| {
        side.filter(|(_, count)| *count != 0.0).collect::<Vec<_>>()
    };
    let same = |a: Vec<(i32, f64)>, b: Vec<(i32, f64)>| {
        a.len() == b.len()
            && a.iter()
                .zip(&b)
                .all(|(a, b)| a.0 == b.0 && almost(a.1, b.1))
    };
    check(
        same(populated(want.positive()), populated(got.positive())),
        "positive bucket",
    )?;
    check(
        same(populated(want.negative()), populated(got.negative())),
        "negative bucket",
    )?;
    check(!explicit || want.reset_hint == got.reset_hint, "reset hint")
}
