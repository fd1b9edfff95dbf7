//! Queries over series in memory.

mod made;
mod stepwise;

use model::labels::{Labels, METRIC_NAME};
use model::sample::stale_nan;
use model::time::ManualClock;

use super::{CancelFlag, EvalError, EvalLimits, EvalOptions, Evaluation, QueryTime};
use crate::memory::MemoryStorage;
use crate::parse::ParseOptions;
use crate::query::Query;
use crate::value::QueryValue;

fn labels(name: &str, rest: &[(&str, &str)]) -> Labels {
    let all = rest.iter().copied().chain([(METRIC_NAME, name)]);
    Labels::from_pairs(all)
}

/// Two jobs with two instances each, a sample a minute for ten minutes.
fn storage() -> MemoryStorage {
    let mut storage = MemoryStorage::new();
    for (index, (job, instance)) in [("a", "1"), ("a", "2"), ("b", "1"), ("b", "2")]
        .iter()
        .enumerate()
    {
        for minute in 0..=10i64 {
            let value = (minute * 60 * (index as i64 + 1)) as f64;
            let series = [("job", *job), ("instance", *instance)];
            storage.append(&labels("x_total", &series), minute * 60_000, value);
            storage.append(&labels("y", &series), minute * 60_000, index as f64);
        }
    }
    for minute in 0..=5i64 {
        storage.append(&labels("gone", &[]), minute * 60_000, 1.0);
    }
    storage.append(&labels("gone", &[]), 330_000, stale_nan());
    storage.append(&labels("one", &[("job", "a"), ("version", "7")]), 0, 2.0);
    storage.append(&labels("one", &[("job", "b"), ("version", "8")]), 0, 3.0);
    storage
}

fn run(text: &str, time: QueryTime, limits: &EvalLimits) -> Result<Evaluation, EvalError> {
    let options = ParseOptions {
        experimental: true,
        ..ParseOptions::default()
    };
    let query = Query::parse(text, &options).expect("a query");
    let clock = ManualClock::new(1_000);
    query.evaluate(&storage(), time, EvalOptions::default(), limits, &clock)
}

fn show(value: &QueryValue) -> Vec<String> {
    match value {
        QueryValue::Scalar(_, value) => vec![value.to_string()],
        QueryValue::String(_, text) => vec![text.clone()],
        QueryValue::Vector(points) => points
            .iter()
            .map(|point| match &point.value {
                crate::value::PointValue::Float(value) => format!("{} {value}", point.labels),
                crate::value::PointValue::Histogram(h) => format!("{} {h}", point.labels),
            })
            .collect(),
        QueryValue::Matrix(series) => series
            .iter()
            .map(|series| {
                let points: Vec<_> = series
                    .floats
                    .iter()
                    .map(|(t, v)| format!("{v}@{}", t / 1000))
                    .collect();
                format!("{} {}", series.labels, points.join(" "))
            })
            .collect(),
    }
}

#[track_caller]
fn check(text: &str, seconds: i64, expected: &[&str]) {
    let answer = run(
        text,
        QueryTime::instant(seconds * 1000),
        &EvalLimits::default(),
    );
    assert_eq!(show(&answer.expect("an answer").value), expected, "{text}");
}

#[track_caller]
fn check_range(text: &str, expected: &[&str]) {
    let time = QueryTime::range(300_000, 600_000, 150_000);
    let answer = run(text, time, &EvalLimits::default()).expect("an answer");
    assert_eq!(show(&answer.value), expected, "{text}");
}

#[track_caller]
fn check_error(text: &str, expected: &str) {
    let error = run(text, QueryTime::instant(600_000), &EvalLimits::default());
    let error = error.expect_err("an error").to_string();
    assert!(error.contains(expected), "{text}: {error}");
}

#[test]
fn selects_and_looks_back() {
    check(
        "one",
        299,
        &[
            "one{job=\"a\", version=\"7\"} 2",
            "one{job=\"b\", version=\"8\"} 3",
        ],
    );
    check("one", 300, &[]);
    check("one offset -5m", 0, &[]);
    check("gone", 329, &["gone 1"]);
    check("gone", 331, &[]);
    check("count(gone @ 320)", 100_000, &["{} 1"]);
    check("count_over_time(gone[10m])", 600, &["{} 5"]);
    check(
        "y{job=~\"a|c\",instance!=\"1\"}",
        60,
        &["y{instance=\"2\", job=\"a\"} 1"],
    );
    check("gone[2m]", 300, &["gone 1@240 1@300"]);
}

#[test]
fn aggregates() {
    check("sum(y)", 60, &["{} 6"]);
    check("sum by (job) (y)", 60, &["{job=\"a\"} 1", "{job=\"b\"} 5"]);
    check(
        "avg without (instance) (y)",
        60,
        &["{job=\"a\"} 0.5", "{job=\"b\"} 2.5"],
    );
    check("max(y) - min(y)", 60, &["{} 3"]);
    check(
        "count by (job, none) (y)",
        60,
        &["{job=\"a\"} 2", "{job=\"b\"} 2"],
    );
    check("stdvar(y)", 60, &["{} 1.25"]);
    check("quantile(0.5, y)", 60, &["{} 1.5"]);
    check(
        "count_values(\"v\", y > bool 1)",
        60,
        &["{v=\"0\"} 2", "{v=\"1\"} 2"],
    );
    check(
        "topk(2, y)",
        60,
        &[
            "y{instance=\"2\", job=\"b\"} 3",
            "y{instance=\"1\", job=\"b\"} 2",
        ],
    );
    check(
        "bottomk by (job) (1, y)",
        60,
        &[
            "y{instance=\"1\", job=\"a\"} 0",
            "y{instance=\"1\", job=\"b\"} 2",
        ],
    );
    check(
        "sum by (job) (sum_over_time(y[2m]))",
        120,
        &["{job=\"a\"} 2", "{job=\"b\"} 10"],
    );
}

#[test]
fn matches_vectors() {
    check(
        "y * on(job) group_left(version) one",
        60,
        &[
            "{instance=\"1\", job=\"a\", version=\"7\"} 0",
            "{instance=\"1\", job=\"b\", version=\"8\"} 6",
            "{instance=\"2\", job=\"a\", version=\"7\"} 2",
            "{instance=\"2\", job=\"b\", version=\"8\"} 9",
        ],
    );
    check(
        "one > on(job) group_right() y",
        60,
        &[
            "y{instance=\"1\", job=\"a\"} 2",
            "y{instance=\"1\", job=\"b\"} 3",
            "y{instance=\"2\", job=\"a\"} 2",
        ],
    );
    check(
        "sum by (job) (y) / on(job) one",
        60,
        &["{job=\"a\"} 0.5", "{job=\"b\"} 1.6666666666666667"],
    );
    check(
        "one and on(job) y{job=\"a\"}",
        60,
        &["one{job=\"a\", version=\"7\"} 2"],
    );
    check(
        "one unless on(job) y{job=\"a\"}",
        60,
        &["one{job=\"b\", version=\"8\"} 3"],
    );
    check("count(one or y)", 60, &["{} 6"]);
    check("2 < one", 60, &["one{job=\"b\", version=\"8\"} 3"]);
    check_error(
        "y * on(job) y",
        "found duplicate series for the match group {job=\"a\"}",
    );
    check_error(
        "y * on(job) (sum by (job) (y))",
        "many-to-one matching must be explicit",
    );
    check_error(
        "sum_over_time({__name__=~\"x_total|y\"}[5m])",
        "same labelset",
    );
}

#[test]
fn evaluates_ranges() {
    check_range("sum(y)", &["{} 6@300 6@450 6@600"]);
    check_range("gone", &["gone 1@300"]);
    check_range("absent(gone)", &["{} 1@450 1@600"]);
    check_range("scalar(gone) + time()", &["{} 301@300 NaN@450 NaN@600"]);
}

#[test]
fn evaluates_subqueries_at_multiples_of_their_step() {
    check(
        "count_over_time(y{job=\"a\",instance=\"1\"}[5m:1m])",
        330,
        &["{instance=\"1\", job=\"a\"} 5"],
    );
    check("sum_over_time(vector(1)[1m:10s] offset 1m)", 125, &["{} 6"]);
}

#[test]
fn stays_within_limits() {
    let run = |limits: &EvalLimits| run("sum(y)", QueryTime::instant(60_000), limits);
    let text = |limits: EvalLimits| run(&limits).expect_err("an error").to_string();
    let samples = EvalLimits {
        max_samples: 2,
        ..EvalLimits::default()
    };
    assert!(text(samples).contains("max_samples_per_query is 2"));
    let memory = EvalLimits {
        max_memory_bytes: 10,
        ..EvalLimits::default()
    };
    assert!(text(memory).contains("max_memory_per_query is 10"));
    let late = EvalLimits {
        deadline_ms: Some(1_000),
        ..EvalLimits::default()
    };
    assert_eq!(run(&late).expect_err("an error"), EvalError::Timeout);
    let cancel = CancelFlag::default();
    cancel.cancel();
    let canceled = EvalLimits {
        cancel,
        ..EvalLimits::default()
    };
    assert_eq!(run(&canceled).expect_err("an error"), EvalError::Canceled);
    let stats = run(&EvalLimits::default()).expect("an answer").stats;
    assert_eq!(stats.series, 4);
    assert!(stats.peak_memory_bytes > 0);
}

#[test]
fn samples_are_counted_while_they_are_held() {
    let run = |text: &str, time: QueryTime, max_samples: usize| {
        let limits = EvalLimits {
            max_samples,
            ..EvalLimits::default()
        };
        run(text, time, &limits)
    };
    let check = |text: &str, time: QueryTime, needed: usize| {
        let answer = run(text, time, needed).expect("an answer");
        assert_eq!(answer.stats.peak_samples, needed, "{text}");
        let failed = run(text, time, needed - 1).expect_err("an error");
        assert!(
            failed.to_string().contains("max_samples_per_query"),
            "{text}: {failed}"
        );
    };
    let now = QueryTime::instant(600_000);
    let range = QueryTime::range(0, 600_000, 60_000);
    // Of four series with eleven samples each, one at a time, beside the sum.
    check("sum(sum_over_time(x_total[11m]))", now, 11 + 1);
    // All of them are the answer.
    check("x_total[11m]", now, 4 * 11);
    // At eleven steps.
    check("sum(x_total)", range, 11 + 11);
    // The last series, and the three before it.
    check("x_total", range, 4 * 11);
    // Both sides and the result.
    check("x_total + x_total", range, 3 * 4 * 11);
    // Both sides and the result, which has all of them.
    let x = "x_total{job=\"a\",instance=\"1\"}";
    check(&format!("({x} < 300) or ({x} >= 300)"), range, 5 + 6 + 11);
    // A window of each step of the subquery.
    check("max_over_time(vector(1)[10m:1s])", now, 600);
}

#[test]
fn names_that_go_at_the_end_cost_nothing() {
    let range = QueryTime::range(0, 600_000, 60_000);
    let peaks = |text: &str, delayed_name_removal: bool| {
        let query = Query::parse(text, &ParseOptions::default()).expect("a query");
        let options = EvalOptions {
            delayed_name_removal,
            ..EvalOptions::default()
        };
        let (limits, clock) = (EvalLimits::default(), ManualClock::new(0));
        let done = query.evaluate(&storage(), range, options, &limits, &clock);
        let stats = done.expect("an answer").stats;
        (stats.peak_samples, stats.peak_memory_bytes)
    };
    for text in ["rate(x_total[5m])", "-y", "sum(y)"] {
        let (samples, bytes) = peaks(text, false);
        let (delayed_samples, delayed_bytes) = peaks(text, true);
        assert_eq!(delayed_samples, samples, "{text}");
        // The names are kept for as long.
        assert!(
            delayed_bytes < bytes + 4 * 128,
            "{text}: {delayed_bytes} {bytes}"
        );
    }
}

#[test]
fn bounds_the_steps_of_subqueries() {
    check_error(
        "sum_over_time(y[100y:1ms])",
        "steps, the most there can be are",
    );
    let memory = EvalLimits {
        max_memory_bytes: 1 << 20,
        ..EvalLimits::default()
    };
    let answer = run(
        "max_over_time(vector(1)[1d:1s])",
        QueryTime::instant(60_000),
        &memory,
    );
    assert!(
        answer
            .expect_err("an error")
            .to_string()
            .contains("max_memory_per_query")
    );
}

#[test]
fn evaluates_what_nests_deep() {
    let deep = vec!["y"; 900].join("+");
    let answer = run(&deep, QueryTime::instant(60_000), &EvalLimits::default());
    assert_eq!(show(&answer.expect("an answer").value).len(), 4);
}

/// A clock that says each time it is asked that a millisecond has passed.
struct Ticking(std::sync::atomic::AtomicI64);

impl model::time::Clock for Ticking {
    fn now_ms(&self) -> i64 {
        self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
    }
}

#[test]
fn long_windows_of_one_series_are_interrupted() {
    for text in [
        "stddev_over_time(vector(time())[20000s:1s])",
        "quantile_over_time(0.5, vector(time())[20000s:1s])",
        "sum_over_time(sum_over_time(vector(time())[20000s:1s])[1000s:1s])",
        "rate(vector(time())[20000s:1s])",
    ] {
        let query = Query::parse(text, &ParseOptions::default()).expect("a query");
        // Some 60 M samples in windows: about a thousand looks at the clock.
        let clock = Ticking(0.into());
        let limits = EvalLimits {
            deadline_ms: Some(20),
            ..EvalLimits::default()
        };
        let time = QueryTime::range(30_000_000, 33_000_000, 1_000);
        let failed = query
            .evaluate(&storage(), time, EvalOptions::default(), &limits, &clock)
            .expect_err("an error");
        assert_eq!(failed, EvalError::Timeout, "{text}");
        let asked = clock.0.into_inner();
        assert!(asked < 30, "{text}: asked {asked} times");
    }
}

#[test]
fn a_panic_is_an_internal_error() {
    struct Broken;
    impl super::Queryable for Broken {
        fn select(
            &self,
            _: &model::select::SelectRequest,
        ) -> Result<Box<dyn model::select::SeriesSet>, model::select::SelectError> {
            panic!("broken");
        }
    }
    let deep = format!("{}x", "-".repeat(50));
    for text in ["x", &deep] {
        let query = Query::parse(text, &ParseOptions::default()).expect("a query");
        let clock = ManualClock::new(0);
        let (time, options) = (QueryTime::instant(0), EvalOptions::default());
        let failed = query
            .evaluate(&Broken, time, options, &EvalLimits::default(), &clock)
            .expect_err("an error");
        assert_eq!(failed, EvalError::Internal);
        assert_eq!(failed.kind(), model::ErrorKind::Internal);
    }
}

#[test]
fn count_values_sets_its_label_before_it_groups() {
    let check = |text: &str, expected: &[&str]| {
        let time = QueryTime::instant(0);
        let done = run(text, time, &EvalLimits::default()).expect("a value");
        let mut shown = show(&done.value);
        shown.sort();
        assert_eq!(shown, expected, "{text}");
    };
    check(
        r#"count_values by (job) ("job", y)"#,
        &[
            r#"{job="0"} 1"#,
            r#"{job="1"} 1"#,
            r#"{job="2"} 1"#,
            r#"{job="3"} 1"#,
        ],
    );
    check(
        r#"count_values by (job) ("job", y * 0)"#,
        &[r#"{job="0"} 4"#],
    );
    check(
        r#"count_values without (v, job, instance) ("v", y)"#,
        &["{} 4"],
    );
    check(
        r#"count_values without (instance) ("job", y * 0)"#,
        &[r#"{job="0"} 4"#],
    );
}

#[test]
fn modifiers_without_labels_go_with_scalars() {
    for text in [
        "y > on() group_left() scalar(one)",
        "y > on() 1",
        "y * ignoring() 1",
    ] {
        assert!(
            Query::parse(text, &ParseOptions::default()).is_ok(),
            "{text}"
        );
    }
    assert!(Query::parse("y > on(job) 1", &ParseOptions::default()).is_err());
}

#[test]
fn long_chains_are_planned_and_evaluated() {
    for op in [" + ", " ^ ", " or ", " == bool "] {
        let text = vec!["vector(1)"; 1_000].join(op);
        let query = Query::parse(&text, &ParseOptions::default()).expect("a query");
        let (options, limits) = (EvalOptions::default(), EvalLimits::default());
        let answer = query.evaluate(
            &MemoryStorage::new(),
            QueryTime::instant(0),
            options,
            &limits,
            &ManualClock::default(),
        );
        assert!(answer.is_ok(), "{op}: {:?}", answer.err());
    }
}

/// So many series `x` with a sample each, made up as they are asked for.
struct MadeUp(usize);

impl super::Queryable for MadeUp {
    fn select(
        &self,
        _: &model::select::SelectRequest,
    ) -> Result<Box<dyn model::select::SeriesSet>, model::select::SelectError> {
        Ok(Box::new(MadeUpSet(0, self.0)))
    }
}

struct MadeUpSet(usize, usize);

impl model::select::SeriesSet for MadeUpSet {
    fn next(
        &mut self,
        samples: &mut model::select::SeriesSamples,
    ) -> Result<Option<Labels>, model::select::SelectError> {
        samples.clear();
        if self.0 == self.1 {
            return Ok(None);
        }
        self.0 += 1;
        samples.ts.push(60_000);
        samples.values.push((self.0 % 1013) as f64);
        let number = (self.0 * 7_919 % 1_000_003).to_string();
        Ok(Some(labels("x", &[("number", &number)])))
    }

    fn remaining(&self) -> Option<usize> {
        Some(self.1 - self.0)
    }

    fn split(self: Box<Self>, parts: usize) -> Vec<Box<dyn model::select::SeriesSet>> {
        let size = (self.1 - self.0).div_ceil(parts.max(1)).max(1);
        let part = |at: usize| -> Box<dyn model::select::SeriesSet> {
            Box::new(MadeUpSet(at, self.1.min(at + size)))
        };
        (self.0..self.1).step_by(size).map(part).collect()
    }
}

/// Cancels each query once it has run for some time, and looks how long it goes on.
#[test]
#[expect(clippy::print_stdout, reason = "tells what was measured")]
#[expect(
    clippy::disallowed_methods,
    reason = "what is tested is how much time passes"
)]
fn a_canceled_query_ends_soon() {
    use std::time::{Duration, Instant};
    let now = QueryTime::instant(100_000);
    let long = QueryTime::range(0, 10_000_000, 1_000);
    for (text, time, cores) in [
        ("sort(x)", now, 0),
        ("sort_by_label(x, \"number\")", now, 0),
        ("topk(3, x)", now, 0),
        ("x * on (number) x", now, 0),
        ("x and x", now, 0),
        ("quantile(0.5, x)", now, 0),
        ("sum by (number) (x)", now, 0),
        ("count_values(\"v\", x)", now, 0),
        ("x", long, 0),
        ("sum(x)", long, 0),
        ("sum(x)", long, 4),
        ("sum_over_time(sin(vector(time()) * 2)[100d:1s])", now, 0),
        (
            "max_over_time(vector(time() + (time() + time()))[100d:1s])",
            now,
            0,
        ),
    ] {
        let options = ParseOptions {
            experimental: true,
            ..ParseOptions::default()
        };
        let query = Query::parse(text, &options).expect("a query");
        let limits = EvalLimits {
            cores: super::Cores::new(cores),
            ..EvalLimits::default()
        };
        for after in [1, 80, 400] {
            let cancel = CancelFlag::default();
            let limits = EvalLimits {
                cancel: cancel.clone(),
                ..limits.clone()
            };
            let clock = ManualClock::new(0);
            let (asked, wait) = std::sync::mpsc::channel::<()>();
            let (went_on, failed) = std::thread::scope(|scope| {
                let canceler = scope.spawn(move || {
                    // Ends early where the query does.
                    let _ = wait.recv_timeout(Duration::from_millis(after));
                    cancel.cancel();
                    Instant::now()
                });
                let source = MadeUp(1_000_000);
                let done = query.evaluate(&source, time, EvalOptions::default(), &limits, &clock);
                let ended = Instant::now();
                drop(asked);
                let canceled = canceler.join().expect("no panic");
                (ended.saturating_duration_since(canceled), done.is_err())
            });
            println!("{text} canceled after {after} ms: {went_on:?} {failed}");
            assert!(went_on < Duration::from_secs(1), "{text}: {went_on:?}");
        }
    }
}

#[test]
fn the_ends_of_time_are_no_fault() {
    for (start, end) in [
        (i64::MIN, i64::MAX),
        (i64::MIN, i64::MIN + 5),
        (i64::MAX - 5, i64::MAX),
    ] {
        let time = QueryTime::range(start, end, i64::MAX);
        for text in [
            "vector(range())",
            "y",
            "y smoothed",
            "timestamp(y)",
            "rate(y[5m])",
            "rate(y[5m] anchored)",
            "increase(y[5m] smoothed)",
            "max_over_time(y[5m:1m])",
            "predict_linear(y[5m], 3600)",
            "year(vector(time()))",
            "info(y)",
        ] {
            let answer = run(text, time, &EvalLimits::default());
            assert_ne!(answer.err(), Some(EvalError::Internal), "{text} {start}");
        }
    }
}
