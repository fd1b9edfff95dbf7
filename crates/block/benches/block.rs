//! What a block costs: bytes a sample, and the processor's time for writing, for reading all of
//! it, and for an hour of one metric; also where series share no timestamps, live for an hour only,
//! or are native histograms.
//!
//! `cargo bench -p block --bench block` prints a table. The samples are synthetic: ten families
//! as fleets have them, 24 h at 15 s, with the jitter of each target's scrapes.

#![expect(clippy::unwrap_used, reason = "a bench fails by a panic")]
#![expect(clippy::print_stdout, reason = "the table is what it is run for")]

use std::fs;
use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;

use block::meta::FileMeta;
use block::{Block, BlockSpec, BlockWriter, SortKey, slice_ms_for};
use model::histogram::{FloatHistogram, Span};
use model::labels::Labels;
use model::matcher::{MatchOp, Matcher};
use model::select::{HistogramPoint, LabelsNeeded, SelectRequest, SeriesSamples};
use model::tenant::TenantId;
use model::time::TimeRange;

const HOUR: i64 = 3_600_000;
const STEP: i64 = 15_000;
const START: i64 = 1_789_948_800_000;
const SAMPLES: usize = (24 * HOUR / STEP) as usize;
const TARGETS: usize = 16;
const JITTER: i64 = 20;
/// The clock of a thread moves in milliseconds, so that what is short is done often.
const ROUNDS: u64 = 30;
/// How often a block is opened.
const OPENS: u64 = 2000;
/// Series that are made at once.
const PART: usize = 512;
/// Buckets of a native histogram.
const BUCKETS: usize = 24;

/// A generator that gives the same numbers everywhere.
struct Random(u64);

impl Random {
    fn bits(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, bound: u64) -> f64 {
        (self.bits() % bound) as f64
    }

    fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn normal(&mut self) -> f64 {
        let (a, b) = (self.unit().max(1e-300), self.unit());
        (-2.0 * a.ln()).sqrt() * (std::f64::consts::TAU * b).cos()
    }

    fn poisson(&mut self, mean: f64) -> f64 {
        if mean > 30.0 {
            return (mean + mean.sqrt() * self.normal()).round().max(0.0);
        }
        let (limit, mut count, mut product) = ((-mean).exp(), 0.0, self.unit());
        while product > limit {
            count += 1.0;
            product *= self.unit();
        }
        count
    }
}

struct Fleet {
    random: Random,
    series: Vec<(Labels, usize, Vec<f64>)>,
}

impl Fleet {
    fn add(&mut self, target: usize, name: &str, own: &[(&str, String)], values: Vec<f64>) {
        let service = format!("svc-{}", target % 8);
        let instance = format!("10.0.{}.{}:9100", target % 64, (target * 37) % 251);
        let pod = format!("{service}-{:06x}", (target * 2_654_435_761) & 0xff_ffff);
        let shared = [
            ("__name__", name),
            ("cluster", "prod-eu-1"),
            ("env", "production"),
            ("instance", &instance),
            ("job", &service),
            ("pod", &pod),
        ];
        let own = own.iter().map(|(name, value)| (*name, value.as_str()));
        let labels = Labels::from_pairs(shared.into_iter().chain(own));
        self.series.push((labels, target, values));
    }

    /// A value that goes on from the one before.
    fn walk(
        &mut self,
        mut value: f64,
        mut step: impl FnMut(&mut Random, f64) -> f64,
        shown: impl Fn(f64) -> f64,
    ) -> Vec<f64> {
        let next = |_| {
            value = step(&mut self.random, value);
            shown(value)
        };
        (0..SAMPLES).map(next).collect()
    }

    fn constants(&mut self, target: usize) {
        for number in 0..72 {
            let value = match self.random.bits() % 20 {
                0..12 => 0.0,
                12..16 => 1.0,
                16..18 => self.random.below(100_000_000_000),
                _ => 1.79e9 + (self.random.unit() * 1e9).round() / 100.0,
            };
            let changes = self.random.bits().is_multiple_of(20);
            let step = |random: &mut Random, value: f64| {
                let change = changes && random.bits().is_multiple_of(SAMPLES as u64 / 2);
                if change { random.below(3) } else { value }
            };
            let values = self.walk(value, step, |v| v);
            let collector = ("collector", format!("c{}", number % 2));
            self.add(
                target,
                &format!("app_info_state_{:02}", number / 2),
                &[collector],
                values,
            );
        }
    }

    fn histograms(&mut self, target: usize) {
        let shares = [0.05, 0.15, 0.25, 0.25, 0.12, 0.08, 0.05, 0.03, 0.015, 0.005];
        let bounds = [
            "0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1", "2.5", "+Inf",
        ];
        for number in 0..4 {
            let mean = (self.random.normal() * 1.5 + 1.0).exp();
            let before = self.random.below(1_000_000);
            let mut columns = vec![Vec::with_capacity(SAMPLES); shares.len()];
            let mut counts = shares.map(|share: f64| (before * share).round());
            for _ in 0..SAMPLES {
                let mut total = 0.0;
                for ((count, share), column) in counts.iter_mut().zip(shares).zip(&mut columns) {
                    total += self.random.poisson(mean * share);
                    *count += total;
                    column.push(*count);
                }
            }
            let name = format!("http_{number}_request_duration_seconds_bucket");
            for (bound, values) in bounds.iter().zip(columns) {
                self.add(target, &name, &[("le", (*bound).to_owned())], values);
            }
        }
    }

    fn counters(&mut self, target: usize) {
        for number in 0..12 {
            let mean = (self.random.normal() * 1.5).exp();
            let first = self.random.below(10_000_000);
            let values = self.walk(first, |random, v| v + random.poisson(mean), |v| v);
            let code = ("code", format!("{}", 200 + 204 * (number % 2)));
            self.add(
                target,
                &format!("requests_total_{:02}", number / 2),
                &[code],
                values,
            );
        }
        for number in 0..10 {
            let rate = (self.random.normal() * 2.0 + 13.0).exp();
            let first = self.random.below(1_000_000_000_000);
            let step = |random: &mut Random, v: f64| {
                v + (rate * (1.0 + 0.2 * random.normal()).max(0.0)).round()
            };
            let values = self.walk(first, step, |v| v);
            let device = ("device", format!("eth{}", number % 2));
            self.add(
                target,
                &format!("network_bytes_total_{}", number / 2),
                &[device],
                values,
            );
        }
        for (mode, share) in [0.25, 0.05, 0.6, 0.001, 0.02, 0.0, 0.0, 0.01]
            .into_iter()
            .enumerate()
        {
            let first = self.random.below(100_000_000);
            let step = |random: &mut Random, v: f64| {
                v + (1500.0 * share * (1.0 + 0.25 * random.normal()))
                    .round()
                    .max(0.0)
            };
            let values = self.walk(first, step, |v| v / 100.0);
            self.add(
                target,
                "cpu_seconds_total",
                &[("mode", format!("m{mode}"))],
                values,
            );
        }
        for number in 0..4 {
            let mean = self.random.normal().exp() * 3.0;
            let first = self.random.unit() * 1e4;
            let step = |random: &mut Random, v: f64| {
                let events = random.poisson(mean).min(20.0) as usize;
                (0..events).fold(v, |v, _| v + 0.01 * (random.normal() * 0.8).exp())
            };
            let values = self.walk(first, step, |v| v);
            self.add(
                target,
                &format!("http_{number}_request_duration_seconds_sum"),
                &[],
                values,
            );
        }
    }

    fn gauges(&mut self, target: usize) {
        for number in 0..6 {
            let scale = [10.0, 100.0, 1000.0][number / 2];
            let spread = [2.0, 5.0, 30.0][number / 2];
            let first = 20.0 * scale + self.random.below(500);
            let step = |random: &mut Random, v: f64| match random.unit() < 0.7 {
                true => (v + (random.normal() * spread).round()).max(0.0),
                false => v,
            };
            let values = self.walk(first, step, |v| v / scale);
            self.add(target, &format!("gauge_decimal_{number}"), &[], values);
        }
        for number in 0..6 {
            let (moves, spread, scale) = match number {
                0..4 => (0.9, 300.0, 4096.0),
                _ => (0.4, 2.0, 1.0),
            };
            let first = 20.0 + self.random.below(if number < 4 { 1_000_000 } else { 80 });
            let step = |random: &mut Random, v: f64| match random.unit() < moves {
                true => (v + (random.normal() * spread).round()).max(0.0),
                false => v,
            };
            let values = self.walk(first, step, |v| v * scale);
            let name = if number < 4 {
                "memory_bytes"
            } else {
                "goroutines"
            };
            self.add(target, &format!("{name}_{number}"), &[], values);
        }
        for number in 0..2 {
            let first = self.random.unit();
            let step = |random: &mut Random, v: f64| {
                (0.98 * v + 0.02 * random.unit()) * (1.0 + 0.0001 * random.normal())
            };
            let values = self.walk(first, step, |v| v);
            self.add(target, &format!("ratio_{number}"), &[], values);
        }
    }
}

/// The timestamps of a target.
fn timeline(random: &mut Random, target: usize) -> Vec<i64> {
    let phase = 100 + (target as i64 * 7919) % (STEP - 200);
    let mut at = |k| {
        let jitter = (random.bits() % (2 * JITTER as u64 + 1)) as i64 - JITTER;
        START + phase + k * STEP + jitter
    };
    (0..SAMPLES as i64).map(&mut at).collect()
}

/// A native histogram that grows, at each of these instants.
fn native(random: &mut Random, ts: &[i64]) -> Vec<HistogramPoint> {
    let mut histogram = FloatHistogram {
        schema: 3,
        zero_threshold: 2f64.powi(-128),
        positive_spans: vec![Span {
            offset: -8,
            length: BUCKETS as u32,
        }],
        positive_buckets: vec![0.0; BUCKETS],
        ..FloatHistogram::default()
    };
    let mean = (random.normal() * 1.5 + 2.0).exp();
    let grow = |t: &i64| {
        for (bucket, count) in histogram.positive_buckets.iter_mut().enumerate() {
            let share = (-((bucket as f64 - 11.0) / 5.0).powi(2)).exp() / 8.9;
            let new = random.poisson(mean * share);
            *count += new;
            histogram.count += new;
            histogram.sum += new * 0.1 * (1.0 + 0.3 * random.normal());
        }
        HistogramPoint {
            t: *t,
            start: START - HOUR,
            histogram: Arc::new(histogram.clone()),
        }
    };
    ts.iter().map(grow).collect()
}

fn main() {
    let mut fleet = Fleet {
        random: Random(0x9e37_79b9_7f4a_7c15),
        series: Vec::new(),
    };
    let mut timelines = Vec::new();
    for target in 0..TARGETS {
        timelines.push(timeline(&mut fleet.random, target));
        fleet.constants(target);
        fleet.histograms(target);
        fleet.counters(target);
        fleet.gauges(target);
    }
    fleet.series.sort_by(|a, b| SortKey::compare(&a.0, &b.0));
    let Fleet { mut random, series } = fleet;
    let folder = tempfile::tempdir().unwrap();

    let path = folder.path().join("fleet");
    let shared = series.iter().map(|(labels, target, values)| {
        let samples = SeriesSamples {
            ts: timelines[*target].clone(),
            values: values.clone(),
            ..SeriesSamples::default()
        };
        (labels.clone(), samples)
    });
    measure_write("a fleet", &path, shared);
    measure_reads(&path);

    // Where samples are pushed, each series may have timestamps of its own.
    let path = folder.path().join("pushed");
    let own = series.iter().map(|(labels, target, values)| {
        let samples = SeriesSamples {
            ts: timeline(&mut random, *target),
            values: values.clone(),
            ..SeriesSamples::default()
        };
        (labels.clone(), samples)
    });
    measure_write("each series with timestamps of its own", &path, own);

    // Pods that live for an hour.
    let path = folder.path().join("churn");
    let mut hours: Vec<(Labels, SeriesSamples)> = Vec::new();
    for (labels, target, values) in &series {
        for hour in 0..24 {
            let part = hour * SAMPLES / 24..(hour + 1) * SAMPLES / 24;
            let pod = format!("{}-{hour:02}", labels.get("pod").unwrap());
            let samples = SeriesSamples {
                ts: timelines[*target][part.clone()].to_vec(),
                values: values[part].to_vec(),
                ..SeriesSamples::default()
            };
            hours.push((labels.with("pod", &pod), samples));
        }
    }
    hours.sort_by(|a, b| SortKey::compare(&a.0, &b.0));
    measure_write("series that live for an hour", &path, hours.into_iter());

    let path = folder.path().join("native");
    let native = (0..TARGETS).map(|target| {
        let instance = format!("{target:02}");
        let labels = [("__name__", "latency"), ("instance", &instance)];
        let samples = SeriesSamples {
            histograms: native(&mut random, &timelines[target]),
            ..SeriesSamples::default()
        };
        (Labels::from_pairs(labels), samples)
    });
    measure_write("native histograms of 24 buckets", &path, native);
    measure_reads(&path);
}

/// Writes a block and says how fast that was and how large it is.
fn measure_write(what: &str, path: &Path, series: impl Iterator<Item = (Labels, SeriesSamples)>) {
    let range = TimeRange {
        start: START,
        end: START + 24 * HOUR,
    };
    let spec = BlockSpec {
        id: "01HF7YAT00AAAAAAAAAAAAAAAA".to_owned(),
        tenant: TenantId::anonymous(),
        range,
        slice_ms: slice_ms_for(range, STEP),
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
        start: START + 10 * HOUR,
        end: START + 11 * HOUR,
    };
    let all = block.meta().range();
    let named = |name: &str| vec![Matcher::new("__name__", MatchOp::Equal, name).unwrap()];
    for (what, matchers, range) in [
        ("all", Vec::new(), all),
        ("one metric", named("network_bytes_total_0"), all),
        ("an hour of one metric", named("cpu_seconds_total"), hour),
    ] {
        let request = SelectRequest {
            matchers,
            range,
            labels: LabelsNeeded::All,
            max_series: 0,
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
