//! What a block costs: bytes a sample, and the processor's time for writing, for reading all of
//! it, and for an hour of one metric; also where series share no timestamps, live for an hour only,
//! are native histograms, or have labels of a thousand names.
//!
//! `cargo bench -p block --bench block` prints a table. The samples are synthetic: ten families
//! as fleets have them, 24 h at 15 s, with the jitter of each target's scrapes.

#![expect(clippy::unwrap_used, reason = "a bench fails by a panic")]
#![expect(clippy::print_stdout, reason = "the table is what it is run for")]

use std::fs;
use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;

use block::families::{Fleet, HOUR, RANGE, SAMPLES, SEED, STEP, TARGETS};
use block::meta::FileMeta;
use block::{Block, BlockSpec, BlockWriter, SortKey, slice_ms_for};
use model::labels::Labels;
use model::matcher::{MatchOp, Matcher};
use model::select::{LabelsNeeded, LookupBounds, SelectRequest, SeriesSamples, Skipped};
use model::tenant::TenantId;
use model::time::TimeRange;

/// The clock of a thread moves in milliseconds, so that what is short is done often.
const ROUNDS: u64 = 30;
/// How often a block is opened.
const OPENS: u64 = 2000;
/// Series that are made at once.
const PART: usize = 512;

fn main() {
    let mut fleet = Fleet::of(SEED);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("fleet");
    let shared = fleet.series.iter().map(|series| {
        let ts = fleet.timelines[series.target].clone();
        (series.labels.clone(), floats(ts, series.values.clone()))
    });
    measure_write("a fleet", &path, shared);
    measure_reads(&path);

    // Where samples are pushed, each series may have timestamps of its own.
    let path = folder.path().join("pushed");
    let targets: Vec<usize> = fleet.series.iter().map(|series| series.target).collect();
    let timelines: Vec<_> = targets
        .into_iter()
        .map(|target| fleet.timeline(target))
        .collect();
    let own = fleet.series.iter().zip(timelines);
    let own = own.map(|(series, ts)| (series.labels.clone(), floats(ts, series.values.clone())));
    measure_write("each series with timestamps of its own", &path, own);

    // Pods that live for an hour.
    let path = folder.path().join("churn");
    let mut hours: Vec<(Labels, SeriesSamples)> = Vec::new();
    for series in &fleet.series {
        for hour in 0..24 {
            let part = hour * SAMPLES / 24..(hour + 1) * SAMPLES / 24;
            let pod = format!("{}-{hour:02}", series.labels.get("pod").unwrap());
            let ts = fleet.timelines[series.target][part.clone()].to_vec();
            let samples = floats(ts, series.values[part].to_vec());
            hours.push((series.labels.with("pod", &pod), samples));
        }
    }
    hours.sort_by(|a, b| SortKey::compare(&a.0, &b.0));
    measure_write("series that live for an hour", &path, hours.into_iter());

    let path = folder.path().join("native");
    let native = (0..TARGETS).map(|target| {
        let instance = format!("{target:02}");
        let labels = [("__name__", "latency"), ("instance", &instance)];
        let samples = SeriesSamples {
            histograms: fleet.native(target),
            ..SeriesSamples::default()
        };
        (Labels::from_pairs(labels), samples)
    });
    measure_write("native histograms of 24 buckets", &path, native);
    measure_reads(&path);

    let path = folder.path().join("exact");
    let mut exact = Fleet::of_targets(SEED, TARGETS, 0);
    let timelines = std::mem::take(&mut exact.timelines);
    let series = exact.series.into_iter().map(|series| {
        let ts = timelines[series.target].clone();
        (series.labels, floats(ts, series.values))
    });
    measure_write("a fleet that is scraped on time", &path, series);

    let path = folder.path().join("names");
    measure_write("labels of a thousand names", &path, many_names());
    measure_lookup(&path);
}

/// A hundred series of each of a hundred metrics: of their eleven labels, three have names of
/// which there are a thousand.
fn many_names() -> impl Iterator<Item = (Labels, SeriesSamples)> {
    let labels = |number: usize| {
        let (metric, target) = (number / 100, number % 100);
        let mut pairs = vec![
            ("__name__".to_owned(), format!("metric_{metric:03}")),
            ("cluster".to_owned(), "prod-eu-1".to_owned()),
            ("container".to_owned(), "main".to_owned()),
            ("env".to_owned(), "production".to_owned()),
            ("instance".to_owned(), format!("10.0.0.{target}:9100")),
            ("job".to_owned(), format!("job-{}", target % 10)),
            ("namespace".to_owned(), format!("ns-{}", target % 10)),
            (
                "pod".to_owned(),
                format!("job-{}-{target:06x}", target % 10),
            ),
            ("region".to_owned(), "eu".to_owned()),
        ];
        for own in 0..3 {
            let name = format!("label_name_{:04}", (number * 3 + own) % 1_000);
            pairs.push((name, format!("value-{}", (number * 7 + own) % 50)));
        }
        Labels::from_pairs(
            pairs
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_str())),
        )
    };
    let mut all: Vec<Labels> = (0..10_000).map(labels).collect();
    all.sort_by(SortKey::compare);
    let samples = || floats(vec![RANGE.start], vec![1.0]);
    all.into_iter().map(move |labels| (labels, samples()))
}

/// Looks a metric's hundred series up.
fn measure_lookup(path: &Path) {
    let block = Block::open(path).unwrap();
    let matchers = [Matcher::new("__name__", MatchOp::Equal, "metric_050").unwrap()];
    let before = busy_ns();
    for _ in 0..OPENS {
        let found = block.series(&matchers, &LookupBounds::default()).unwrap();
        assert_eq!(found.len(), 100);
    }
    let ms = (busy_ns() - before) as f64 / 1e6 / OPENS as f64;
    println!("look up a metric's 100 series: {ms:.3} ms");
}

fn floats(ts: Vec<i64>, values: Vec<f64>) -> SeriesSamples {
    SeriesSamples {
        ts,
        values,
        ..SeriesSamples::default()
    }
}

/// Writes a block and says how fast that was and how large it is.
fn measure_write(what: &str, path: &Path, series: impl Iterator<Item = (Labels, SeriesSamples)>) {
    let spec = BlockSpec {
        id: "01HF7YAT00AAAAAAAAAAAAAAAA".to_owned(),
        tenant: TenantId::anonymous(),
        range: RANGE,
        slice_ms: slice_ms_for(RANGE, STEP),
        level: 0,
        sources: Vec::new(),
    };
    let mut writer = BlockWriter::create(path, spec).unwrap();
    // The series are made in parts before the clock is asked, which counts in milliseconds.
    let mut busy = 0;
    let mut part = Vec::new();
    let mut series = series.peekable();
    while series.peek().is_some() {
        part.extend(series.by_ref().take(PART));
        let before = busy_ns();
        for (labels, samples) in &part {
            writer.push(labels, samples).unwrap();
        }
        busy += busy_ns() - before;
        part.clear();
    }
    let before = busy_ns();
    let meta = writer.finish().unwrap();
    busy += busy_ns() - before;
    let statistics = meta.statistics;
    let total = statistics.samples + statistics.histograms;
    println!("\n{what}: {} series, {total} samples", statistics.series);
    println!("write: {:.1} M samples/s", total as f64 * 1e3 / busy as f64);
    for file in &meta.files {
        println!(
            "{}: {} bytes, {} rows, footer {} bytes, tail {} bytes",
            file.name,
            file.size,
            file.rows,
            file.footer_bytes,
            file.size - file.tail_offset
        );
    }
    let bytes = |files: &[FileMeta]| files.iter().map(|file| file.size).sum::<u64>() as f64;
    println!(
        "samples and timelines: {:.3} bytes/sample; series and postings: {:.1} bytes/series",
        bytes(&meta.files[..2]) / total as f64,
        bytes(&meta.files[2..]) / statistics.series as f64
    );
}

/// Reads a block in several ways and says how fast that was.
fn measure_reads(path: &Path) {
    let before = busy_ns();
    for _ in 0..OPENS {
        black_box(Block::open(path).unwrap());
    }
    let ms = (busy_ns() - before) as f64 / 1e6 / OPENS as f64;
    println!("open: {ms:.3} ms");
    let block = Arc::new(Block::open(path).unwrap());
    let hour = TimeRange {
        start: RANGE.start + 10 * HOUR,
        end: RANGE.start + 11 * HOUR,
    };
    // Half of a slice.
    let four_hours = TimeRange {
        start: RANGE.start + 9 * HOUR,
        end: RANGE.start + 13 * HOUR,
    };
    let all = block.meta().range();
    let named = |name: &str| vec![Matcher::new("__name__", MatchOp::Equal, name).unwrap()];
    for (what, matchers, range) in [
        ("all", Vec::new(), all),
        ("one metric", named("network_bytes_total_0"), all),
        (
            "four hours of one metric",
            named("cpu_seconds_total"),
            four_hours,
        ),
        ("an hour of one metric", named("cpu_seconds_total"), hour),
    ] {
        let request = SelectRequest {
            matchers,
            range,
            labels: LabelsNeeded::All,
            max_series: 0,
            max_bytes: 0,
            skipped: Skipped::default(),
        };
        let before = busy_ns();
        let mut samples = SeriesSamples::default();
        let (mut series, mut count) = (0, 0);
        for _ in 0..ROUNDS {
            (series, count) = (0, 0);
            let mut set = block.select(&request).unwrap();
            while let Some(labels) = set.next(&mut samples).unwrap() {
                series += 1;
                count += samples.ts.len() + samples.histograms.len();
                black_box((&labels, &samples));
            }
        }
        let ns = (busy_ns() - before) as f64 / ROUNDS as f64;
        if series > 0 {
            let (rate, ms) = (count as f64 * 1e3 / ns, ns / 1e6);
            println!(
                "read {what}: {series} series, {count} samples, {ms:.2} ms, {rate:.1} M samples/s"
            );
        }
    }
}

/// How long this thread has had a processor.
fn busy_ns() -> u64 {
    let stat = fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    stat.split(' ').next().unwrap().parse().unwrap()
}
