//! What a query costs for each series and each step: curves that must be straight.
//!
//! The series are made up as they are asked for, so that a million of them take no memory. Beside
//! Criterion's figures, one line each says the microseconds for a series, or for a step of one:
//! of the best run by the clock, and of CPU time in the mean.
#![expect(clippy::print_stdout, reason = "a bench prints its table")]
#![expect(
    clippy::disallowed_methods,
    reason = "a bench measures time as it passes"
)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use model::labels::{Labels, METRIC_NAME};
use model::select::{LabelsNeeded, SelectError, SelectRequest, SeriesSamples, SeriesSet};
use model::time::{ManualClock, TimeRange};
use promql::{Cores, EvalLimits, EvalOptions, ParseOptions, Query, QueryTime, Queryable};

/// Milliseconds between two samples of a series.
const INTERVAL: i64 = 30_000;
/// Buckets of a histogram.
const BUCKETS: usize = 10;

const QUERIES: [(&str, &str); 6] = [
    ("select", "m"),
    ("rate", "rate(m_total[2m])"),
    ("sum by (rate)", "sum by (job) (rate(m_total[2m]))"),
    (
        "quantile (sum by (rate))",
        "histogram_quantile(0.9, sum by (job, le) (rate(m_bucket[2m])))",
    ),
    ("topk", "topk(10, m)"),
    ("join", "m / on (job, instance, le) n"),
];

/// So many series of each metric, each with a sample every half minute.
struct MadeUp {
    series: usize,
}

struct MadeUpSet {
    at: usize,
    end: usize,
    name: String,
    range: TimeRange,
    labels: LabelsNeeded,
}

impl Queryable for MadeUp {
    fn select(&self, request: &SelectRequest) -> Result<Box<dyn SeriesSet>, SelectError> {
        let name = request.matchers.iter().find(|m| &*m.name == METRIC_NAME);
        Ok(Box::new(MadeUpSet {
            at: 0,
            end: self.series,
            name: name.map_or_else(String::new, |m| m.value.to_string()),
            range: request.range,
            labels: request.labels.clone(),
        }))
    }
}

impl MadeUpSet {
    fn labels(&self) -> Labels {
        let (job, instance) = (
            format!("job-{}", self.at % 7),
            (self.at / BUCKETS).to_string(),
        );
        let le = (self.at % BUCKETS).to_string();
        let all = [
            (METRIC_NAME, self.name.as_str()),
            ("instance", &instance),
            ("job", &job),
            ("le", &le),
        ];
        let needed = |name: &str| match &self.labels {
            LabelsNeeded::All => true,
            LabelsNeeded::Only(names) => names.iter().any(|known| **known == *name),
        };
        Labels::from_sorted(all.into_iter().filter(|(name, _)| needed(name)))
    }
}

impl SeriesSet for MadeUpSet {
    fn next(&mut self, samples: &mut SeriesSamples) -> Result<Option<Labels>, SelectError> {
        samples.clear();
        if self.at == self.end {
            return Ok(None);
        }
        let first = self.range.start.div_euclid(INTERVAL) * INTERVAL + (self.at as i64 % INTERVAL);
        let times = (first..self.range.end).step_by(INTERVAL as usize);
        samples.ts.extend(times.filter(|t| *t >= self.range.start));
        let values = samples
            .ts
            .iter()
            .map(|t| (*t / 1000 + self.at as i64) as f64);
        samples.values.extend(values);
        let labels = self.labels();
        self.at += 1;
        Ok(Some(labels))
    }

    fn remaining(&self) -> Option<usize> {
        Some(self.end - self.at)
    }

    fn split(self: Box<Self>, parts: usize) -> Vec<Box<dyn SeriesSet>> {
        let size = (self.end - self.at).div_ceil(parts.max(1)).max(1);
        let part = |at: usize| -> Box<dyn SeriesSet> {
            Box::new(Self {
                at,
                end: self.end.min(at + size),
                name: self.name.clone(),
                range: self.range,
                labels: self.labels.clone(),
            })
        };
        (self.at..self.end).step_by(size).map(part).collect()
    }
}

/// Evaluates a query over so many series and steps of a minute.
fn evaluate(query: &Query, series: usize, steps: usize, cores: &Cores) -> usize {
    let end = 60_000 * (steps as i64 - 1);
    let time = match steps {
        1 => QueryTime::instant(0),
        _ => QueryTime::range(0, end, 60_000),
    };
    let limits = EvalLimits {
        cores: cores.clone(),
        ..EvalLimits::default()
    };
    let source = MadeUp { series };
    let clock = ManualClock::new(0);
    let done = query.evaluate(&source, time, EvalOptions::default(), &limits, &clock);
    done.map(|done| done.stats.series).unwrap_or_default()
}

/// Measures one point of a curve and prints it for each unit.
fn point(c: &mut Criterion, curve: &str, name: &str, series: usize, steps: usize, cores: &Cores) {
    let text = QUERIES.iter().find(|(known, _)| *known == name);
    let text = text.map_or(name, |(_, text)| text);
    let query = Query::parse(text, &ParseOptions::default()).expect("a query");
    let units = if curve == "steps" {
        series * steps
    } else {
        series
    };
    let mut group = c.benchmark_group(curve);
    group
        .sample_size(10)
        .throughput(Throughput::Elements(units as u64));
    group.warm_up_time(Duration::from_millis(50));
    group.measurement_time(Duration::from_millis(500));
    let (mut best, mut runs) = (Duration::MAX, 0);
    let cpu_before = cpu_seconds();
    let at = if curve == "steps" { steps } else { series };
    group.bench_function(BenchmarkId::new(name, at), |bench| {
        bench.iter(|| {
            let start = Instant::now();
            black_box(evaluate(&query, series, steps, cores));
            best = best.min(start.elapsed());
            runs += 1;
        });
    });
    group.finish();
    if runs > 0 {
        let each = best.as_secs_f64() * 1e6 / units as f64;
        let cpu = (cpu_seconds() - cpu_before) * 1e6 / (units * runs) as f64;
        println!("| {name} | {series} | {steps} | {each:.3} | {cpu:.3} |");
    }
}

/// CPU time of the process, all threads, in seconds; 0 where the system does not tell.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default();
    let ticks = fields.split_whitespace().skip(11).take(2);
    let ticks: u64 = ticks.filter_map(|field| field.parse::<u64>().ok()).sum();
    ticks as f64 / 100.0
}

fn by_series(c: &mut Criterion) {
    for (name, _) in QUERIES {
        for series in [1_000, 10_000, 100_000, 1_000_000] {
            point(c, "series", name, series, 1, &Cores::default());
        }
    }
}

fn by_steps(c: &mut Criterion) {
    for (name, _) in QUERIES {
        for steps in [10, 100, 1_000, 10_000] {
            point(c, "steps", name, 500, steps, &Cores::default());
        }
    }
}

/// What helpers bring, over an hour by minutes.
fn by_cores(c: &mut Criterion) {
    for cores in [1, 2] {
        let curve = format!("{cores} cores");
        for (name, _) in QUERIES {
            for series in [100, 1_000, 10_000] {
                point(c, &curve, name, series, 61, &Cores::new(cores));
            }
        }
    }
}

criterion_group!(benches, by_series, by_steps, by_cores);
criterion_main!(benches);
