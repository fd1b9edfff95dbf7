//! Native histograms as rows: one for each component and bucket, over a run of samples that have
//! the same schema, zero threshold and custom bounds.
//!
//! Which buckets a sample has is told by the nulls of the buckets' rows. Spans come back in one
//! form: as long as they can be, and none of them empty.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::histogram::{FloatHistogram, MAX_BUCKETS_PER_SIDE, ResetHint, Span};
use model::sample::{is_stale, stale_nan};
use model::select::HistogramPoint;
use model::time::TimestampMs;

/// The values of a float series.
pub(crate) const FLOAT: i32 = 0;
/// The number of observations.
pub(crate) const COUNT: i32 = 1;
/// Their sum; null for a stale marker.
pub(crate) const SUM: i32 = 2;
/// Observations in the zero bucket.
pub(crate) const ZERO: i32 = 3;
/// Observations in a positive or custom bucket.
pub(crate) const POSITIVE: i32 = 4;
/// Observations in a negative bucket.
pub(crate) const NEGATIVE: i32 = 5;
/// What is known about resets, as a number; no row where nothing is.
pub(crate) const HINT: i32 = 6;

/// A run ends before its buckets would take more values than this.
const MAX_RUN_VALUES: usize = 4 << 20;

/// One row of a histogram.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Component {
    pub(crate) comp: i32,
    pub(crate) bucket: Option<i32>,
    pub(crate) values: Vec<f64>,
}

/// What all samples of a run share.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Shape {
    pub(crate) schema: i32,
    pub(crate) zero_threshold: f64,
    pub(crate) custom_values: Vec<f64>,
}

impl Shape {
    fn of(histogram: &FloatHistogram) -> Self {
        Self {
            schema: histogram.schema,
            zero_threshold: histogram.zero_threshold,
            custom_values: histogram.custom_values.clone(),
        }
    }

    fn fits(&self, histogram: &FloatHistogram) -> bool {
        let bits = |all: &[f64], other: &[f64]| {
            all.len() == other.len()
                && all
                    .iter()
                    .zip(other)
                    .all(|(a, b)| a.to_bits() == b.to_bits())
        };
        self.schema == histogram.schema
            && self.zero_threshold.to_bits() == histogram.zero_threshold.to_bits()
            && bits(&self.custom_values, &histogram.custom_values)
    }
}

/// Component and index of a bucket.
type BucketKey = (i32, i32);
type Buckets = BTreeMap<BucketKey, Vec<f64>>;

/// Takes the first run off `points`, as rows.
///
/// # Errors
/// Where spans and buckets of a histogram contradict each other.
pub(crate) fn take_run(
    points: &mut &[HistogramPoint],
) -> Result<Option<(Shape, Vec<Component>, usize)>, String> {
    let Some(first) = points.first() else {
        return Ok(None);
    };
    let shape = Shape::of(&first.histogram);
    let mut buckets = Buckets::new();
    let mut length = 0;
    for point in *points {
        if !shape.fits(&point.histogram) {
            break;
        }
        let sides = sides(&point.histogram)?;
        let fresh = sides.iter().filter(|(key, _)| !buckets.contains_key(key));
        if length > 0 && (buckets.len() + fresh.count()) * (length + 1) > MAX_RUN_VALUES {
            break;
        }
        for (key, count) in sides {
            let values = buckets.entry(key).or_default();
            values.resize(length, stale_nan());
            values.push(count);
        }
        length += 1;
    }
    let (run, rest) = points.split_at(length);
    *points = rest;
    Ok(Some((shape, components(run, buckets), length)))
}

fn components(run: &[HistogramPoint], buckets: Buckets) -> Vec<Component> {
    let column = |comp, value: fn(&FloatHistogram) -> f64| Component {
        comp,
        bucket: None,
        values: run.iter().map(|point| value(&point.histogram)).collect(),
    };
    let mut rows = vec![column(COUNT, |h| h.count), column(SUM, |h| h.sum)];
    if run
        .iter()
        .any(|point| point.histogram.zero_count.to_bits() != 0)
    {
        rows.push(column(ZERO, |h| h.zero_count));
    }
    for ((comp, bucket), mut values) in buckets {
        values.resize(run.len(), stale_nan());
        let bucket = Some(bucket);
        rows.push(Component {
            comp,
            bucket,
            values,
        });
    }
    if run
        .iter()
        .any(|point| point.histogram.reset_hint != ResetHint::Unknown)
    {
        rows.push(column(HINT, |h| f64::from(hint_number(h.reset_hint))));
    }
    rows
}

/// The buckets of both sides: component and index, and count.
fn sides(histogram: &FloatHistogram) -> Result<Vec<(BucketKey, f64)>, String> {
    let mut all = Vec::new();
    for (comp, spans, counts) in [
        (
            POSITIVE,
            &histogram.positive_spans,
            &histogram.positive_buckets,
        ),
        (
            NEGATIVE,
            &histogram.negative_spans,
            &histogram.negative_buckets,
        ),
    ] {
        let covered: u64 = spans.iter().map(|span| u64::from(span.length)).sum();
        if covered != counts.len() as u64 || counts.len() > MAX_BUCKETS_PER_SIDE {
            let got = counts.len();
            return Err(format!(
                "a histogram's spans cover {covered} buckets, it has {got}; the limit is \
                 {MAX_BUCKETS_PER_SIDE}"
            ));
        }
        let mut counts = counts.iter();
        let mut index = 0_i32;
        for (number, span) in spans.iter().enumerate() {
            let next = index
                .checked_add(span.offset)
                .filter(|_| number == 0 || span.offset >= 0);
            index =
                next.ok_or_else(|| format!("a histogram's span has the offset {}", span.offset))?;
            for count in counts.by_ref().take(span.length as usize) {
                all.push(((comp, index), *count));
                let next = index.checked_add(1);
                index = next.ok_or("a histogram's bucket has an index out of range")?;
            }
        }
    }
    Ok(all)
}

/// Puts the rows of a run together again.
///
/// # Errors
/// Where the rows are not those of a run of this many samples.
pub(crate) fn join_run(
    shape: &Shape,
    rows: &[Component],
    ts: &[TimestampMs],
    starts: &[TimestampMs],
    points: &mut Vec<HistogramPoint>,
) -> Result<(), String> {
    let find = |comp| rows.iter().find(|row| row.comp == comp);
    let (Some(count), Some(sum)) = (find(COUNT), find(SUM)) else {
        return Err("a histogram lacks its count or sum".to_owned());
    };
    let (zero, hint) = (find(ZERO), find(HINT));
    if rows.iter().any(|row| row.values.len() != ts.len()) {
        return Err("the rows of a histogram differ in length".to_owned());
    }
    for (at, t) in ts.iter().enumerate() {
        let mut histogram = FloatHistogram {
            schema: shape.schema,
            zero_threshold: shape.zero_threshold,
            custom_values: shape.custom_values.clone(),
            count: count.values[at],
            sum: sum.values[at],
            zero_count: zero.map_or(0.0, |row| row.values[at]),
            reset_hint: hint_of(hint.map_or(0.0, |row| row.values[at]))?,
            ..FloatHistogram::default()
        };
        for (comp, spans, counts) in [
            (
                POSITIVE,
                &mut histogram.positive_spans,
                &mut histogram.positive_buckets,
            ),
            (
                NEGATIVE,
                &mut histogram.negative_spans,
                &mut histogram.negative_buckets,
            ),
        ] {
            join_side(
                rows.iter().filter(|row| row.comp == comp),
                at,
                spans,
                counts,
            )?;
        }
        points.push(HistogramPoint {
            t: *t,
            start: starts.get(at).copied().unwrap_or_default(),
            histogram: Arc::new(histogram),
        });
    }
    Ok(())
}

fn join_side<'a>(
    rows: impl Iterator<Item = &'a Component>,
    at: usize,
    spans: &mut Vec<Span>,
    counts: &mut Vec<f64>,
) -> Result<(), String> {
    let mut next = 0_i64;
    for row in rows.filter(|row| !is_stale(row.values[at])) {
        let index = i64::from(row.bucket.ok_or("a bucket of a histogram has no index")?);
        let gap = index - next;
        match spans.last_mut() {
            Some(span) if gap == 0 => span.length += 1,
            Some(_) if gap < 0 => return Err("a histogram's buckets do not ascend".to_owned()),
            _ => spans.push(Span {
                offset: i32::try_from(gap).map_err(|e| e.to_string())?,
                length: 1,
            }),
        }
        counts.push(row.values[at]);
        next = index + 1;
    }
    Ok(())
}

fn hint_number(hint: ResetHint) -> u8 {
    match hint {
        ResetHint::Unknown => 0,
        ResetHint::Reset => 1,
        ResetHint::NotReset => 2,
        ResetHint::Gauge => 3,
    }
}

fn hint_of(number: f64) -> Result<ResetHint, String> {
    let hints = [
        ResetHint::Unknown,
        ResetHint::Reset,
        ResetHint::NotReset,
        ResetHint::Gauge,
    ];
    let known = hints
        .into_iter()
        .find(|hint| f64::from(hint_number(*hint)) == number);
    known.ok_or_else(|| format!("{number} is no reset hint"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(t: i64, buckets: u32, threshold: f64) -> HistogramPoint {
        HistogramPoint {
            t,
            start: 0,
            histogram: Arc::new(FloatHistogram {
                zero_threshold: threshold,
                positive_spans: vec![Span {
                    offset: 0,
                    length: buckets,
                }],
                positive_buckets: vec![t as f64; buckets as usize],
                ..FloatHistogram::default()
            }),
        }
    }

    #[test]
    fn a_run_ends_with_its_shape_and_at_its_bound() {
        let check = |sizes: &[(u32, f64)], expected: &[usize]| {
            let numbered = sizes.iter().enumerate();
            let point = |(at, &(buckets, threshold))| point(at as i64, buckets, threshold);
            let points: Vec<HistogramPoint> = numbered.map(point).collect();
            let mut rest = points.as_slice();
            let mut lengths = Vec::new();
            while let Some((_, _, length)) = take_run(&mut rest).unwrap() {
                lengths.push(length);
            }
            assert_eq!(lengths, expected, "{sizes:?}");
        };
        check(&[], &[]);
        check(
            &[(1, 0.0), (9, 0.0), (2, 0.5), (2, -0.0), (2, 0.0)],
            &[2, 1, 1, 1],
        );
        check(&[(60_000, 0.0); 80], &[69, 11]);
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        let check = |spans: &[(i32, u32)], buckets: usize| {
            let span = |&(offset, length): &(i32, u32)| Span { offset, length };
            let mut point = point(0, 0, 0.0);
            let histogram = Arc::make_mut(&mut point.histogram);
            histogram.positive_spans = spans.iter().map(span).collect();
            histogram.positive_buckets = vec![1.0; buckets];
            assert!(take_run(&mut [point].as_slice()).is_err(), "{spans:?}");
        };
        check(&[(0, 2)], 1);
        check(&[(0, 1)], 2);
        check(&[(0, 1), (-1, 1)], 2);
        check(&[(i32::MAX, 1)], 1);
        check(&[(i32::MAX - 1, 1), (5, 1)], 2);
        check(&[(0, 65_537)], 65_537);
    }
}
