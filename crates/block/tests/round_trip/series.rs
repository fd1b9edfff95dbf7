//! The series that are written, how they are read back, and how they are compared.

use std::path::Path;
use std::sync::Arc;

use block::{Block, BlockSpec, BlockWriter, SortKey};
use model::histogram::{CUSTOM_BUCKETS_SCHEMA, FloatHistogram, ResetHint, Span};
use model::labels::Labels;
use model::matcher::Matcher;
use model::sample::stale_nan;
use model::select::{
    HistogramPoint, LabelsNeeded, SelectRequest, SeriesSamples, SeriesSet, Skipped,
};
use model::tenant::TenantId;
use model::time::TimeRange;

pub(crate) const HOUR: i64 = 3_600_000;
pub(crate) const START: i64 = 1_700_000_000_000;
pub(crate) const ID: &str = "01HF7YAT00AAAAAAAAAAAAAAAA";

pub(crate) type Series = (Labels, SeriesSamples);

pub(crate) fn spec(slice_ms: i64, hours: i64) -> BlockSpec {
    BlockSpec {
        id: ID.to_owned(),
        tenant: TenantId::anonymous(),
        range: TimeRange {
            start: START,
            end: START + hours * HOUR,
        },
        slice_ms,
        level: 1,
        sources: Vec::new(),
    }
}

pub(crate) fn write(folder: &Path, spec: BlockSpec, series: &[Series]) -> block::BlockMeta {
    let mut writer = BlockWriter::create(folder, spec).unwrap();
    for (labels, samples) in series {
        writer.push(labels, samples).unwrap();
    }
    writer.finish().unwrap()
}

pub(crate) fn request(matchers: Vec<Matcher>, range: TimeRange) -> SelectRequest {
    SelectRequest {
        matchers,
        range,
        labels: LabelsNeeded::All,
        max_series: 0,
        max_bytes: 0,
        skipped: Skipped::default(),
    }
}

pub(crate) fn collect(mut set: Box<dyn SeriesSet>) -> Result<Vec<Series>, String> {
    let mut all = Vec::new();
    let mut samples = SeriesSamples::default();
    while let Some(labels) = set.next(&mut samples).map_err(|e| e.to_string())? {
        all.push((labels, std::mem::take(&mut samples)));
    }
    Ok(all)
}

pub(crate) fn select(block: &Arc<Block>, request: &SelectRequest) -> Result<Vec<Series>, String> {
    collect(block.select(request).map_err(|e| e.to_string())?)
}

/// Everything about a series, with floats as bits.
pub(crate) fn shown(series: &[Series], range: TimeRange) -> Vec<String> {
    let mut all = Vec::new();
    for (labels, samples) in series {
        let mut text = format!("{labels}");
        let starts = samples.starts.iter().any(|start| *start != 0);
        for (at, t) in samples
            .ts
            .iter()
            .enumerate()
            .filter(|(_, t)| range.contains(**t))
        {
            let start = samples
                .starts
                .get(at)
                .filter(|_| starts)
                .copied()
                .unwrap_or_default();
            text += &format!(" {t}:{:x}/{start}", samples.values[at].to_bits());
        }
        for point in samples
            .histograms
            .iter()
            .filter(|point| range.contains(point.t))
        {
            text += &format!(
                " {}/{}:{}",
                point.t,
                point.start,
                histogram_text(&point.histogram)
            );
        }
        if text.contains(' ') && text.len() > format!("{labels}").len() {
            all.push(text);
        }
    }
    all
}

pub(crate) fn histogram_text(h: &FloatHistogram) -> String {
    let side = |spans: &[Span], counts: &[f64]| {
        let mut index = 0;
        let mut counts = counts.iter();
        let mut text = String::new();
        for span in spans {
            index += span.offset;
            for _ in 0..span.length {
                text += &format!("{index}={:x},", counts.next().unwrap().to_bits());
                index += 1;
            }
        }
        text
    };
    let bits: Vec<u64> = h.custom_values.iter().map(|v| v.to_bits()).collect();
    format!(
        "{:?} {} {:x} {:x} {:x} {:x} +{} -{} {bits:?}",
        h.reset_hint,
        h.schema,
        h.zero_threshold.to_bits(),
        h.zero_count.to_bits(),
        h.count.to_bits(),
        h.sum.to_bits(),
        side(&h.positive_spans, &h.positive_buckets),
        side(&h.negative_spans, &h.negative_buckets),
    )
}

pub(crate) fn labels(name: &str, pairs: &[(&str, &str)]) -> Labels {
    Labels::from_pairs(pairs.iter().copied().chain([("__name__", name)]))
}

pub(crate) fn floats(ts: Vec<i64>, value: impl Fn(usize) -> f64) -> SeriesSamples {
    SeriesSamples {
        values: (0..ts.len()).map(value).collect(),
        ts,
        ..SeriesSamples::default()
    }
}

pub(crate) fn histogram(t: i64, grown: i32, schema: i32) -> HistogramPoint {
    let custom = schema == CUSTOM_BUCKETS_SCHEMA;
    let buckets = 1 + (grown % 5) as u32;
    let positive: Vec<f64> = (0..buckets)
        .map(|b| f64::from(grown * 3 + b as i32))
        .collect();
    HistogramPoint {
        t,
        start: if grown % 2 == 0 { START - 5 } else { 0 },
        histogram: Arc::new(FloatHistogram {
            reset_hint: [
                ResetHint::Unknown,
                ResetHint::NotReset,
                ResetHint::Reset,
                ResetHint::Gauge,
            ][grown as usize % 4],
            schema,
            zero_threshold: if custom { 0.0 } else { 1e-128 },
            zero_count: if custom { 0.0 } else { f64::from(grown) },
            count: f64::from(grown * 7),
            sum: if grown == 9 {
                stale_nan()
            } else {
                f64::from(grown) * 0.1
            },
            positive_spans: vec![Span {
                offset: if custom { 0 } else { -2 },
                length: buckets,
            }],
            positive_buckets: positive,
            negative_spans: if custom {
                Vec::new()
            } else {
                vec![
                    Span {
                        offset: 3,
                        length: 1,
                    },
                    Span {
                        offset: 2,
                        length: 1,
                    },
                ]
            },
            negative_buckets: if custom { Vec::new() } else { vec![0.5, -0.0] },
            custom_values: if custom {
                vec![0.1, 0.5, 1.0, 5.0, 10.0]
            } else {
                Vec::new()
            },
        }),
    }
}

/// A block of a few metrics with all that a series can have.
pub(crate) fn mixed(hours: i64) -> Vec<Series> {
    let end = START + hours * HOUR;
    let every = |from: i64, step: i64, jitter: i64| -> Vec<i64> {
        (0..)
            .map(|i| from + i * step + i % 3 * jitter)
            .take_while(|t| *t < end)
            .collect()
    };
    let mut all = Vec::new();
    for instance in 0..7 {
        let i = f64::from(instance);
        let name = format!("10.0.0.{instance}:9100");
        let own = [("job", "node"), ("instance", name.as_str())];
        let ts = every(START + i64::from(instance) * 977, 15_000, 7);
        all.push((labels("up", &own), floats(ts.clone(), |_| 1.0)));
        let mut counter = floats(ts.clone(), |at| (at as f64 + i) * 4096.0);
        counter.starts = vec![START - 1000; ts.len()];
        all.push((labels("bytes_total", &own), counter));
        all.push((
            labels("cpu_seconds_total", &own),
            floats(ts.clone(), |at| (at as f64 * 7.0 + i) / 100.0),
        ));
        all.push((
            labels("ratio", &own),
            floats(ts.clone(), |at| (at as f64 + i).sqrt()),
        ));
        let mut gone = floats(ts[10..ts.len() / 2].to_vec(), |at| at as f64);
        *gone.values.last_mut().unwrap() = stale_nan();
        all.push((labels("gone", &own), gone));
        let mut native = SeriesSamples::default();
        for (at, t) in ts.iter().step_by(40).enumerate() {
            let schema = if at < 10 { 3 } else { CUSTOM_BUCKETS_SCHEMA };
            native.histograms.push(histogram(*t, at as i32, schema));
        }
        native.ts.push(ts[1]);
        native.values.push(f64::NEG_INFINITY);
        all.push((labels("latency", &own), native));
    }
    all.push((
        labels("", &[("only", "labels")]),
        floats(vec![START], |_| -0.0),
    ));
    all.push((
        labels("Upper", &[("Z", "1"), ("ü", "ß")]),
        floats(vec![end - 1], |_| f64::from_bits(0x7ff8_0000_dead_beef)),
    ));
    all.sort_by(|a, b| SortKey::compare(&a.0, &b.0));
    all
}
