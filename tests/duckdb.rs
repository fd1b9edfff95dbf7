//! Blocks as users meet them: DuckDB reads one with the SQL of `docs/formats/block.md`, taken out
//! of the document, and finds each sample that was written, bit for bit.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use block::{BlockSpec, BlockWriter, SortKey};
use model::exemplar::Exemplar;
use model::histogram::{CUSTOM_BUCKETS_SCHEMA, FloatHistogram, ResetHint, Span};
use model::labels::Labels;
use model::sample::{is_stale, stale_nan};
use model::select::{HistogramPoint, SeriesSamples};
use model::tenant::TenantId;
use model::time::TimeRange;
use tests::servers;

const HOUR: i64 = 3_600_000;
const START: i64 = 1_767_261_600_000;
const HOURS: i64 = 3;
const STEP: i64 = 15_000;

/// Relative; DuckDB adds in an order of its own.
const TOLERANCE: f64 = 1e-12;

type Series = (Labels, SeriesSamples);

/// What one metric adds up to: samples, those that are no stale markers, and their sum.
#[derive(Debug, Default)]
struct Sum {
    samples: u64,
    values: u64,
    sum: f64,
}

#[test]
fn duckdb_reads_what_was_written() {
    let Some(python) = servers::python_with("duckdb_reads_what_was_written", "duckdb") else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let block = folder.path().join("block");
    let series = series();
    write(&block, &series);
    let duckdb = DuckDb {
        python,
        views: documented_sql(0).replace("BLOCK", block.to_str().unwrap()),
    };

    check_sums(&duckdb, &series);
    let query = "SELECT __name__, labels['instance'], t_ms, v FROM floats";
    assert_eq!(sorted(duckdb.rows(query)), sorted(float_rows(&series)));
    let query = "SELECT __name__, labels['instance'], comp, bucket, t_ms, v FROM components
                 WHERE comp IN (1, 2, 4, 5) AND v IS NOT NULL
                    OR comp IN (3, 6) AND v <> 0";
    assert_eq!(sorted(duckdb.rows(query)), sorted(histogram_rows(&series)));
    // The question that the document asks as an example: an hour of `up`.
    assert_eq!(duckdb.rows("").len() as i64, 5 * (HOUR / STEP));
    let query = documented_sql(1).replace("BLOCK", block.to_str().unwrap());
    let query = query.trim_end().trim_end_matches(';');
    let query = format!("SELECT * REPLACE (epoch_ms(ts) AS ts) FROM ({query})");
    assert_eq!(sorted(duckdb.rows(&query)), sorted(exemplar_rows(&series)));
    let query = "SELECT DISTINCT h_schema FROM components WHERE comp = 1 ORDER BY 1";
    assert_eq!(duckdb.rows(query), [["-53"], ["3"]]);
}

fn check_sums(duckdb: &DuckDb, series: &[Series]) {
    let mut written: BTreeMap<&str, Sum> = BTreeMap::new();
    for (labels, samples) in series.iter().filter(|(_, samples)| !samples.ts.is_empty()) {
        let sum = written.entry(labels.metric_name().unwrap()).or_default();
        for value in &samples.values {
            sum.samples += 1;
            if !is_stale(*value) {
                sum.values += 1;
                sum.sum += value;
            }
        }
    }
    let rows = duckdb.rows(
        "SELECT __name__, count(*), count(v), coalesce(sum(v), 0) FROM floats GROUP BY __name__ ORDER BY 1",
    );
    assert_eq!(rows.len(), written.len());
    for (row, (name, expected)) in rows.iter().zip(written) {
        let counts = [expected.samples.to_string(), expected.values.to_string()];
        assert_eq!(row[0], name);
        assert_eq!(row[1..3], counts, "{name}");
        let sum = f64::from_bits(u64::from_str_radix(&row[3], 16).unwrap());
        let same = sum.to_bits() == expected.sum.to_bits() || sum.is_nan() && expected.sum.is_nan();
        let near = (sum - expected.sum).abs() <= TOLERANCE * expected.sum.abs();
        assert!(same || near, "{name}: {sum} instead of {}", expected.sum);
    }
}

/// A piece of SQL under the heading for DuckDB.
fn documented_sql(number: usize) -> String {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/formats/block.md");
    let page = fs::read_to_string(page).unwrap();
    let (_, section) = page.split_once("### DuckDB\n").unwrap();
    let sql = section.split("```sql\n").nth(number + 1).unwrap();
    sql.split_once("```").unwrap().0.to_owned()
}

struct DuckDb {
    python: PathBuf,
    views: String,
}

impl DuckDb {
    /// The answer to a query over the documented views; floats are their bits in hexadecimal.
    fn rows(&self, query: &str) -> Vec<Vec<String>> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("duckdb_rows.py");
        let mut command = Command::new(&self.python);
        command
            .arg(script)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut input = child.stdin.take().unwrap();
        input.write_all(self.views.as_bytes()).unwrap();
        input.write_all(query.as_bytes()).unwrap();
        drop(input);
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "duckdb refused {query}");
        let text = String::from_utf8(output.stdout).unwrap();
        let cells = |line: &str| line.split('\t').map(str::to_owned).collect();
        text.lines().map(cells).collect()
    }
}

fn sorted(mut rows: Vec<Vec<String>>) -> Vec<Vec<String>> {
    rows.sort();
    rows
}

fn float_rows(series: &[Series]) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    for (labels, samples) in series {
        for (t, value) in samples.ts.iter().zip(&samples.values) {
            let value = Some(*value).filter(|value| !is_stale(*value));
            rows.push(row(labels, &[], *t, value));
        }
    }
    rows
}

/// What each native histogram is made of, by the meaning that the document gives to `comp`.
fn histogram_rows(series: &[Series]) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    for (labels, samples) in series {
        for point in &samples.histograms {
            let h = &point.histogram;
            let mut add = |comp: i32, bucket: Option<i32>, value: f64| {
                let bucket = bucket.map_or("null".to_owned(), |bucket| bucket.to_string());
                rows.push(row(
                    labels,
                    &[comp.to_string(), bucket],
                    point.t,
                    Some(value),
                ));
            };
            add(1, None, h.count);
            if !is_stale(h.sum) {
                add(2, None, h.sum);
            }
            let hint = match h.reset_hint {
                ResetHint::Unknown => 0.0,
                ResetHint::Reset => 1.0,
                ResetHint::NotReset => 2.0,
                ResetHint::Gauge => 3.0,
            };
            for (comp, value) in [(3, h.zero_count), (6, hint)] {
                if value != 0.0 {
                    add(comp, None, value);
                }
            }
            let sides = [
                (4, &h.positive_spans, &h.positive_buckets),
                (5, &h.negative_spans, &h.negative_buckets),
            ];
            for (comp, spans, counts) in sides {
                let mut next = 0;
                let indices = spans.iter().flat_map(|span| {
                    let first = next + span.offset;
                    next = first + span.length as i32;
                    first..next
                });
                for (bucket, count) in indices.zip(counts) {
                    add(comp, Some(bucket), *count);
                }
            }
        }
    }
    rows
}

/// An exemplar of each series of one metric, at its first sample.
fn exemplars_of(labels: &Labels, samples: &SeriesSamples) -> Vec<Exemplar> {
    if labels.metric_name() != Some("bytes_total") {
        return Vec::new();
    }
    let trace = format!("trace of {}", labels.get("instance").unwrap());
    vec![Exemplar {
        labels: Labels::from_pairs([("trace_id", trace)]),
        v: 0.1,
        t: samples.ts[0],
    }]
}

/// As the document's query gives them.
fn exemplar_rows(series: &[Series]) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    for (labels, samples) in series {
        for exemplar in exemplars_of(labels, samples) {
            rows.push(vec![
                labels.metric_name().unwrap().to_owned(),
                labels.get("instance").unwrap().to_owned(),
                exemplar.t.to_string(),
                format!("{:016x}", exemplar.v.to_bits()),
                exemplar.labels.get("trace_id").unwrap().to_owned(),
            ]);
        }
    }
    rows
}

fn row(labels: &Labels, between: &[String], t: i64, value: Option<f64>) -> Vec<String> {
    let name = labels.metric_name().unwrap().to_owned();
    let instance = labels.get("instance").unwrap().to_owned();
    let value = value.map_or("null".to_owned(), |v| format!("{:016x}", v.to_bits()));
    let mut row = vec![name, instance];
    row.extend_from_slice(between);
    row.extend([t.to_string(), value]);
    row
}

fn write(folder: &Path, series: &[Series]) {
    let spec = BlockSpec {
        id: "01KDWFN500AAAAAAAAAAAAAAAA".to_owned(),
        tenant: TenantId::anonymous(),
        range: TimeRange {
            start: START,
            end: START + HOURS * HOUR,
        },
        slice_ms: HOUR / 2,
        level: 0,
        sources: Vec::new(),
    };
    let mut writer = BlockWriter::create(folder, spec).unwrap();
    for (labels, samples) in series {
        writer.push(labels, samples).unwrap();
        let exemplars = exemplars_of(labels, samples);
        writer.push_exemplars(labels, &exemplars).unwrap();
    }
    writer.finish().unwrap();
}

/// Series of each kind that a row can have, of five targets, over several slices.
fn series() -> Vec<Series> {
    let mut all = Vec::new();
    for target in 0..5_i64 {
        let instance = format!("10.0.0.{target}:9100");
        let ts: Vec<i64> = (0..HOURS * HOUR / STEP)
            .map(|i| START + target * 977 + i * STEP + i % 3 * 7)
            .collect();
        let i = target as f64;
        let values: [(&str, &dyn Fn(f64) -> f64); 8] = [
            ("up", &|_| 1.0),
            ("gone", &|at| {
                if at % 7.0 == 3.0 { stale_nan() } else { at + i }
            }),
            ("always_gone", &|_| stale_nan()),
            ("bytes_total", &|at| (at + i) * 4096.0),
            ("cpu_seconds_total", &|at| (at * 7.0 + i) / 100.0),
            ("ratio", &|at| (at + i + 0.5).sqrt()),
            ("ratio_gone", &|at| {
                if at % 5.0 == i {
                    stale_nan()
                } else {
                    (at + 2.0).ln()
                }
            }),
            ("strange", &|at| match at as usize % 4 {
                0 => -0.0,
                1 => f64::INFINITY,
                2 => f64::from_bits(0x7ff8_0000_dead_beef),
                _ => 5e-324,
            }),
        ];
        for (name, value) in values {
            let labels = Labels::from_pairs([("__name__", name), ("instance", &instance)]);
            let samples = SeriesSamples {
                values: (0..ts.len()).map(|at| value(at as f64)).collect(),
                ts: ts.clone(),
                ..SeriesSamples::default()
            };
            all.push((labels, samples));
        }
        let labels = Labels::from_pairs([("__name__", "latency"), ("instance", &instance)]);
        let points = ts.iter().step_by(20).enumerate();
        let samples = SeriesSamples {
            histograms: points.map(|(at, t)| histogram(at, *t)).collect(),
            ..SeriesSamples::default()
        };
        all.push((labels, samples));
    }
    all.sort_by(|a, b| SortKey::compare(&a.0, &b.0));
    all
}

/// Buckets come and go; every tenth sample is a stale marker, and later ones have custom buckets.
fn histogram(at: usize, t: i64) -> HistogramPoint {
    let custom = at > 20;
    let grown = at as f64;
    let length = 1 + at % 4;
    let gap = |offset: i32| Span { offset, length: 1 };
    HistogramPoint {
        t,
        start: 0,
        histogram: Arc::new(FloatHistogram {
            reset_hint: [ResetHint::Unknown, ResetHint::NotReset, ResetHint::Gauge][at % 3],
            schema: if custom { CUSTOM_BUCKETS_SCHEMA } else { 3 },
            zero_threshold: if custom { 0.0 } else { 1e-128 },
            zero_count: if custom { 0.0 } else { grown },
            count: grown * 7.0,
            sum: if at % 10 == 9 {
                stale_nan()
            } else {
                grown * 0.1
            },
            positive_spans: vec![Span {
                offset: if custom { 0 } else { -2 },
                length: length as u32,
            }],
            positive_buckets: (0..length).map(|b| grown * 3.0 + b as f64).collect(),
            negative_spans: if custom {
                Vec::new()
            } else {
                vec![gap(3), gap(2)]
            },
            negative_buckets: if custom { Vec::new() } else { vec![0.5, grown] },
            custom_values: if custom {
                vec![0.1, 0.5, 1.0, 5.0]
            } else {
                Vec::new()
            },
        }),
    }
}
