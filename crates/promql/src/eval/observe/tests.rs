//! What is observed is the same with helpers and without, and changes no answer.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use model::labels::{Labels, METRIC_NAME};
use model::time::ManualClock;

use crate::eval::{
    Cores, EvalLimits, EvalOptions, Observer, QueryTime, evaluate, evaluate_observed,
};
use crate::memory::MemoryStorage;
use crate::parse::{ParseOptions, parse};
use crate::plan::{Explained, Plan};

const QUERIES: &[&str] = &[
    "x",
    "-x + 1",
    "sum by (job) (rate(x[3m]))",
    "x / on (instance) sum by (instance) (x @ 300)",
    "max_over_time(rate(x[3m])[10m:1m])",
    "topk(3, x) + scalar(sum(x))",
    "quantile_over_time(0.5, x[5m] offset 1m)",
    "label_replace(x, \"new\", \"$1\", \"instance\", \"(.).*\")",
    "timestamp(x) and x > 3",
    "absent_over_time(y[5m])",
    "sum(rate(x[3m])) / (sum(rate(x[3m])) + count(x))",
];

/// Forty series of two jobs, a sample a minute, some of them missing.
fn storage() -> MemoryStorage {
    let mut storage = MemoryStorage::new();
    for at in 0..40_i64 {
        let (job, instance) = (format!("j{}", at % 2), format!("i{at}"));
        let labels = Labels::from_pairs([
            (METRIC_NAME, "x"),
            ("job", job.as_str()),
            ("instance", instance.as_str()),
        ]);
        for minute in (0..15).filter(|minute| (minute + at) % 5 > 0) {
            storage.append(&labels, minute * 60_000, (minute * at + 1) as f64);
        }
    }
    storage
}

/// Series and values that came in and out, and samples, of each node.
fn counts(explained: &Explained, out: &mut Vec<String>) {
    let took = explained.took.as_ref();
    let seen = took.map(|t| (t.series_in, t.series_out, t.values, t.samples));
    out.push(format!("{} {seen:?}", explained.what));
    for child in &explained.children {
        counts(child, out);
    }
}

fn observed(query: &str, time: QueryTime, cores: Cores) -> (Vec<u64>, Vec<String>, usize) {
    let options = ParseOptions::default();
    let expr = parse(query, &options).expect("a query");
    let plan = Plan::new(&expr, time).expect("a plan");
    let limits = EvalLimits {
        cores,
        ..EvalLimits::default()
    };
    let (source, clock) = (storage(), ManualClock::new(0));
    // It goes on by itself, so that what takes no time on the machine takes some here.
    let ticks = AtomicU64::new(0);
    let stopwatch = || Duration::from_micros(ticks.fetch_add(1, Ordering::Relaxed));
    let observer = Observer::new()
        .counting_samples()
        .measuring_nodes(&stopwatch);
    let options = EvalOptions::default();
    let seen = evaluate_observed(
        &plan,
        &source,
        time,
        options,
        &limits,
        &clock,
        Some(&observer),
    );
    let unseen = evaluate(&plan, &source, time, options, &limits, &clock);
    let value = |result: Result<crate::Evaluation, _>| result.map(|done| done.value);
    assert_eq!(value(seen), value(unseen), "{query}");
    let explained = plan.explained(&observer);
    let took = explained.took.as_ref().expect("it was evaluated");
    assert!(took.own > Duration::ZERO, "{took:?}");
    check_times(&explained);
    let mut told = Vec::new();
    counts(&explained, &mut told);
    (observer.samples_per_step(), told, most_threads(&explained))
}

/// A node has all the time of those below it, and its own.
fn check_times(explained: &Explained) {
    let Some(took) = &explained.took else { return };
    let below = explained
        .children
        .iter()
        .filter_map(|child| child.took.as_ref());
    let below: Duration = below.map(|took| took.total).sum();
    assert!(took.total >= below + took.own, "{explained:#?}");
    explained.children.iter().for_each(check_times);
}

fn most_threads(explained: &Explained) -> usize {
    let own = explained.took.as_ref().map_or(0, |took| took.threads);
    let below = explained.children.iter().map(most_threads).max();
    own.max(below.unwrap_or(0))
}

#[test]
fn helpers_are_seen_as_well() {
    for query in QUERIES {
        for time in [
            QueryTime::instant(600_000),
            QueryTime::range(0, 840_000, 70_000),
        ] {
            let (samples, nodes, threads) = observed(query, time, Cores::default());
            assert_eq!(threads, 1, "{query}");
            assert_eq!(samples.len(), if time.instant { 1 } else { 13 }, "{query}");
            for cores in [2, 4] {
                let helped = observed(query, time, Cores::eager(cores));
                assert_eq!((&helped.0, &helped.1), (&samples, &nodes), "{query}");
            }
        }
    }
}

#[test]
fn what_was_kept_counts_again() {
    let time = QueryTime::range(0, 840_000, 70_000);
    let (once, _, _) = observed("rate(x[3m])", time, Cores::default());
    let query = "sum(rate(x[3m])) / avg(rate(x[3m]))";
    let (twice, nodes, _) = observed(query, time, Cores::default());
    let expected: Vec<u64> = once.iter().map(|count| 2 * count).collect();
    assert_eq!(twice, expected);
    let kept = nodes
        .iter()
        .filter(|node| node.starts_with("range function rate"));
    let kept: Vec<&String> = kept.collect();
    assert_eq!(kept.len(), 2, "{nodes:?}");
    assert!(kept.iter().all(|node| !node.ends_with("None")), "{kept:?}");
}

#[test]
fn what_nobody_asked_for_is_not_told() {
    let expr = parse("sum(x)", &ParseOptions::default()).expect("a query");
    let plan = Plan::new(&expr, QueryTime::instant(0)).expect("a plan");
    let observer = Observer::new();
    assert!(observer.samples_per_step().is_empty());
    assert_eq!(plan.explained(&observer).took, None);
    assert_eq!(plan.to_string(), "aggregate sum\n  select x labels []");
}
