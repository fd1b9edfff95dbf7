//! With helpers a query comes to the same as without, to the last bit.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use model::ErrorKind;
use model::histogram::FloatHistogram;
use model::labels::{Labels, METRIC_NAME};
use model::sample::stale_nan;
use model::select::{SelectError, SelectRequest, SeriesSamples, SeriesSet};
use model::time::ManualClock;
use proptest::prelude::*;

use crate::eval::{
    CancelFlag, Cores, EvalError, EvalLimits, EvalOptions, Evaluation, QueryTime, Queryable,
};
use crate::memory::MemoryStorage;
use crate::parse::ParseOptions;
use crate::query::Query;
use crate::value::{PointValue, QueryValue};

const QUERIES: &[&str] = &[
    "x",
    "-x",
    "rate(x[3m])",
    "sum(x)",
    "sum by (job) (rate(x[5m]))",
    "avg without (instance) (x / 3)",
    "stddev(x)",
    "count_values(\"v\", x)",
    "topk(3, x)",
    "quantile by (job) (0.7, rate(x[5m]))",
    "histogram_quantile(0.9, x)",
    "histogram_count(x) + 1",
    "clamp(x, 10, time() / 10)",
    "max_over_time(x[10m:30s])",
    "sum by (job) (max_over_time(rate(x[3m])[10m:1m]))",
    "x @ 120 + on (job, instance) x",
    "sum(x @ end()) / sum(x)",
    "x > 5",
    "x > bool 5",
    "x and x > 7",
    "double_exponential_smoothing(x[5m], 0.5, 1.5)",
    "double_exponential_smoothing(x[5m], 0.5, 0.1)",
    "quantile_over_time(time() / 300, x[2m])",
    "label_replace(x, \"new\", \"$1\", \"instance\", \"(.).*\")",
    "sum({__name__=~\"x|y\"})",
    "rate({__name__=~\"x|y\"}[5m])",
    "sort(x)",
    "scalar(x)",
    "absent(x)",
    "sum_over_time(x[5m]) * scalar(sum(y))",
    "round(rate(x[5m]), scalar(y))",
    "changes(x[5m] offset 1m)",
    "deriv(x[5m])",
    "x[5m]",
    "x smoothed",
    "delta(x[5m] smoothed)",
    "sum by (job) (increase(x[5m] anchored))",
    "start_timestamp(x)",
    "info(rate(x[5m]), {__name__=\"y\"})",
    "rate(x[5m]) / (rate(x[5m]) + rate(y[5m]))",
    "-x + x * 2 - -x",
];

/// Series with floats, histograms, stale markers and gaps, as the seed has it.
fn storage(series: usize, seed: u64) -> MemoryStorage {
    let mut storage = MemoryStorage::new();
    let mut state = seed | 1;
    let mut next = |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    };
    for at in 0..series {
        let name = if next(8) == 0 { "y" } else { "x" };
        let (job, instance) = (format!("j{}", next(4)), format!("i{at}"));
        let labels = Labels::from_pairs([
            (METRIC_NAME, name),
            ("job", job.as_str()),
            ("instance", instance.as_str()),
        ]);
        let kind = next(6);
        for minute in 0..next(15) as i64 {
            let t = minute * 60_000 + next(20_000) as i64;
            match (kind, next(12)) {
                (_, 0) => {}
                (_, 1) => storage.append(&labels, t, stale_nan()),
                (0, _) | (1, 2) => {
                    let histogram = FloatHistogram {
                        count: next(100) as f64,
                        sum: next(1000) as f64 / 7.0,
                        ..FloatHistogram::default()
                    };
                    storage.append_histogram(&labels, t, 0, Arc::new(histogram));
                }
                _ => storage.append(&labels, t, next(1_000_000) as f64 / 997.0),
            }
        }
    }
    storage
}

/// All of a value, with the bits of floats.
fn bits(value: &QueryValue) -> Vec<String> {
    match value {
        QueryValue::Scalar(t, value) => vec![format!("{t} {:x}", value.to_bits())],
        QueryValue::String(t, text) => vec![format!("{t} {text}")],
        QueryValue::Vector(points) => points
            .iter()
            .map(|point| match &point.value {
                PointValue::Float(value) => format!("{} {:x}", point.labels, value.to_bits()),
                PointValue::Histogram(h) => format!("{} {h:?}", point.labels),
            })
            .collect(),
        QueryValue::Matrix(series) => series
            .iter()
            .map(|series| {
                let floats = series.floats.iter().map(|(t, v)| (*t, v.to_bits()));
                let floats: Vec<_> = floats.collect();
                format!("{} {floats:?} {:?}", series.labels, series.histograms)
            })
            .collect(),
    }
}

fn run(
    text: &str,
    source: &dyn Queryable,
    time: QueryTime,
    options: EvalOptions,
    limits: &EvalLimits,
) -> Result<Evaluation, EvalError> {
    let parsing = ParseOptions {
        experimental: true,
        ..ParseOptions::default()
    };
    let query = Query::parse(text, &parsing).expect("a query");
    let clock = ManualClock::new(1_000);
    query.evaluate(source, time, options, limits, &clock)
}

/// What there is to be compared.
fn outcome(result: Result<Evaluation, EvalError>, text: &str) -> impl PartialEq + std::fmt::Debug {
    result.map(|done| {
        let notes = (
            done.annotations.warnings(text),
            done.annotations.infos(text),
        );
        let stats = (
            done.stats.series,
            done.stats.samples,
            done.stats.peak_samples,
        );
        (bits(&done.value), notes, stats)
    })
}

fn check_same(
    text: &str,
    source: &dyn Queryable,
    time: QueryTime,
    options: EvalOptions,
    limits: &EvalLimits,
) {
    let alone = outcome(run(text, source, time, options, limits), text);
    for cores in [2, 4] {
        let limits = EvalLimits {
            cores: Cores::eager(cores),
            ..limits.clone()
        };
        let helped = outcome(run(text, source, time, options, &limits), text);
        assert!(helped == alone, "{text}: {helped:?} is not {alone:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]
    #[test]
    fn helpers_change_nothing(
        series in 0usize..60,
        seed: u64,
        query in prop::sample::select(QUERIES),
        instant: bool,
        delayed_name_removal: bool,
        max_samples in prop::sample::select(vec![0usize, 0, 10, 50, 200, 1000]),
        max_memory_bytes in prop::sample::select(vec![0usize, 0, 3_000, 20_000, 100_000]),
        broken in prop::option::of(0usize..60),
    ) {
        let time = if instant {
            QueryTime::instant(400_000)
        } else {
            QueryTime::range(100_000, 800_000, 70_000)
        };
        let limits = EvalLimits { max_samples, max_memory_bytes, ..EvalLimits::default() };
        let options = EvalOptions { delayed_name_removal, ..EvalOptions::default() };
        let storage = storage(series, seed);
        check_same(query, &storage, time, options, &limits);
        if let Some(at) = broken {
            check_same(query, &Broken { storage, at, panics: seed % 2 == 0 }, time, options, &limits);
        }
    }
}

/// Fails at one series of each selection.
struct Broken {
    storage: MemoryStorage,
    at: usize,
    panics: bool,
}

struct BrokenSet {
    inner: Box<dyn SeriesSet>,
    /// How many series are before the one at which it fails.
    before: usize,
    panics: bool,
}

impl Queryable for Broken {
    fn select(&self, request: &SelectRequest) -> Result<Box<dyn SeriesSet>, SelectError> {
        Ok(Box::new(BrokenSet {
            inner: self.storage.select(request)?,
            before: self.at,
            panics: self.panics,
        }))
    }
}

impl SeriesSet for BrokenSet {
    fn next(&mut self, samples: &mut SeriesSamples) -> Result<Option<Labels>, SelectError> {
        let fails = self.before == 0 && self.inner.remaining() != Some(0);
        if fails && self.panics {
            panic!("on purpose");
        }
        if fails {
            return Err(SelectError {
                kind: ErrorKind::Corrupt,
                message: "broken".to_owned(),
            });
        }
        self.before = self.before.saturating_sub(1);
        self.inner.next(samples)
    }

    fn remaining(&self) -> Option<usize> {
        self.inner.remaining()
    }

    fn split(self: Box<Self>, parts: usize) -> Vec<Box<dyn SeriesSet>> {
        let (mut before, panics) = (self.before, self.panics);
        let part = |inner: Box<dyn SeriesSet>| -> Box<dyn SeriesSet> {
            let series = inner.remaining().unwrap_or_default();
            let own = before;
            before = before.saturating_sub(series);
            Box::new(Self {
                inner,
                before: own,
                panics,
            })
        };
        self.inner.split(parts).into_iter().map(part).collect()
    }
}

/// Raises the flag at a series.
struct Canceling {
    storage: MemoryStorage,
    flag: CancelFlag,
    left: Arc<AtomicUsize>,
}

struct CancelingSet {
    inner: Box<dyn SeriesSet>,
    flag: CancelFlag,
    left: Arc<AtomicUsize>,
}

impl Queryable for Canceling {
    fn select(&self, request: &SelectRequest) -> Result<Box<dyn SeriesSet>, SelectError> {
        Ok(Box::new(CancelingSet {
            inner: self.storage.select(request)?,
            flag: self.flag.clone(),
            left: Arc::clone(&self.left),
        }))
    }
}

impl SeriesSet for CancelingSet {
    fn next(&mut self, samples: &mut SeriesSamples) -> Result<Option<Labels>, SelectError> {
        if self.left.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.flag.cancel();
        }
        self.inner.next(samples)
    }

    fn remaining(&self) -> Option<usize> {
        self.inner.remaining()
    }

    fn split(self: Box<Self>, parts: usize) -> Vec<Box<dyn SeriesSet>> {
        let part = |inner: Box<dyn SeriesSet>| -> Box<dyn SeriesSet> {
            Box::new(Self {
                inner,
                flag: self.flag.clone(),
                left: Arc::clone(&self.left),
            })
        };
        self.inner.split(parts).into_iter().map(part).collect()
    }
}

#[test]
fn helpers_end_with_the_query() {
    for at in [1, 10, 40, 150] {
        let flag = CancelFlag::default();
        let source = Canceling {
            storage: storage(200, 7),
            flag: flag.clone(),
            left: Arc::new(AtomicUsize::new(at)),
        };
        let limits = EvalLimits {
            cancel: flag,
            cores: Cores::eager(4),
            ..EvalLimits::default()
        };
        let failed = run(
            "sum(x)",
            &source,
            QueryTime::instant(400_000),
            EvalOptions::default(),
            &limits,
        );
        assert_eq!(failed.expect_err("an error"), EvalError::Canceled, "{at}");
        // All that were lent came back.
        assert_eq!(limits.cores.lend(10).map(|lent| lent.count()), Some(4));
    }
}

#[test]
fn what_is_computed_ahead_is_bounded() {
    let mut storage = MemoryStorage::new();
    for at in 0..3000 {
        let labels = Labels::from_pairs([(METRIC_NAME, "x"), ("at", &at.to_string())]);
        storage.append(&labels, 100_000, 1.0);
    }
    let time = QueryTime::range(100_000, 800_000, 100);
    let peak = |cores: Cores, max_memory_bytes: usize| {
        let limits = EvalLimits {
            cores,
            max_memory_bytes,
            ..EvalLimits::default()
        };
        let done =
            run("sum(x)", &storage, time, EvalOptions::default(), &limits).expect("an answer");
        done.stats.peak_memory_bytes
    };
    let alone = peak(Cores::default(), 0);
    // One column has 56 KB: all of them would have 168 MB.
    let helped = peak(Cores::eager(4), 0);
    assert!(helped > alone, "{helped} {alone}");
    assert!(helped < alone + (12 << 20), "{helped} {alone}");
    let limit = alone + (2 << 20);
    let limited = peak(Cores::eager(4), limit);
    assert!(limited <= limit, "{limited} {alone}");
}

#[test]
fn helpers_need_not_a_byte_more_nor_less() {
    let options = EvalOptions::default();
    let at_most = |max_memory_bytes| EvalLimits {
        max_memory_bytes,
        ..EvalLimits::default()
    };
    let range = QueryTime::range(100_000, 800_000, 70_000);
    let mut compared = 0;
    for (seed, query) in (1..).zip(QUERIES) {
        let storage = storage(60, seed);
        for time in [range, QueryTime::instant(400_000)] {
            // A few are for an instant only, and one is wrong by intention.
            let Ok(alone) = run(query, &storage, time, options, &at_most(0)) else {
                continue;
            };
            let peak = alone.stats.peak_memory_bytes;
            for limit in [peak, peak - 1, peak - peak / 50, peak - peak / 7, peak / 2] {
                check_same(query, &storage, time, options, &at_most(limit));
            }
            compared += 1;
        }
    }
    assert!(compared > QUERIES.len(), "{compared}");
}
