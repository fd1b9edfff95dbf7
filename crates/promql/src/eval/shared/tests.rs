//! What is kept of vectors changes nothing but how often storage is asked.

use std::sync::atomic::{AtomicUsize, Ordering};

use model::labels::{Labels, METRIC_NAME};
use model::select::{SelectError, SelectRequest, SeriesSet};
use model::time::ManualClock;

use super::{Shared, Vector};
use crate::annotations::{Annotations, Pos};
use crate::eval::budget::Budget;
use crate::eval::column::{Column, Steps};
use crate::eval::tag::Tag;
use crate::eval::{EvalLimits, EvalOptions, Evaluation, QueryTime, Queryable, evaluate};
use crate::memory::MemoryStorage;
use crate::parse::{ParseOptions, parse};
use crate::plan::Plan;

/// Counts how often it is asked.
struct Counting {
    storage: MemoryStorage,
    asked: AtomicUsize,
}

impl Queryable for Counting {
    fn select(&self, request: &SelectRequest) -> Result<Box<dyn SeriesSet>, SelectError> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        self.storage.select(request)
    }
}

fn storage() -> Counting {
    let mut storage = MemoryStorage::new();
    for (name, at) in [("a", 1), ("a", 2), ("a", 3), ("b", 1), ("b", 2), ("c", 4)] {
        let instance = format!("i{at}");
        let labels = Labels::from_pairs([(METRIC_NAME, name), ("i", &instance), ("job", "j")]);
        for t in 0..20 {
            let value = f64::from(t * t + at) / 3.0;
            storage.append(&labels, i64::from(t) * 30_000, value);
        }
    }
    Counting {
        storage,
        asked: AtomicUsize::new(0),
    }
}

fn plan(text: &str, time: QueryTime) -> Plan {
    let expr = parse(text, &ParseOptions::default()).expect("a query");
    Plan::new(&expr, time).expect("a plan")
}

fn run(plan: &Plan, source: &Counting, time: QueryTime, max_memory_bytes: usize) -> Evaluation {
    let limits = EvalLimits {
        max_memory_bytes,
        ..EvalLimits::default()
    };
    let clock = ManualClock::new(0);
    evaluate(plan, source, time, EvalOptions::default(), &limits, &clock).expect("an answer")
}

/// Both ways, at an instant and over a range; how often storage is asked with what is kept.
#[track_caller]
fn check(text: &str, asked: usize) {
    for time in [
        QueryTime::instant(400_000),
        QueryTime::range(100_000, 500_000, 50_000),
    ] {
        let plan = plan(text, time);
        let mut anew = plan.clone();
        anew.shared.clear();
        let source = storage();
        let expected = run(&anew, &source, time, 0);
        let source = storage();
        let done = run(&plan, &source, time, 0);
        assert_eq!(source.asked.into_inner(), asked, "{text}");
        assert_eq!(
            format!("{:?}", done.value),
            format!("{:?}", expected.value),
            "{text}"
        );
        let infos = done.annotations.infos(text);
        assert_eq!(infos, expected.annotations.infos(text), "{text}");
        // Too little memory to keep anything: computed anew.
        let source = storage();
        let small = run(&plan, &source, time, expected.stats.peak_memory_bytes);
        assert_eq!(
            format!("{:?}", small.value),
            format!("{:?}", expected.value),
            "{text}"
        );
    }
}

#[test]
fn what_occurs_twice_is_computed_once() {
    check("rate(a[5m]) / (rate(a[5m]) + rate(b[5m]))", 2);
    check("sum(a) / sum(a) + on() sum(a)", 1);
    check("a + a", 1);
    check("-a + -a - a", 1);
    check(
        "sum by (job) (rate(a[5m])) / ignoring() sum by (job) (rate(a[5m]))",
        1,
    );
    check("sum(rate(a[5m])) + count(rate(a[5m]))", 1);
    check(
        "max_over_time(rate(a[2m])[4m:1m]) + max_over_time(rate(a[2m])[4m:1m])",
        1,
    );
    check("(a @ 300) + a @ 300", 1);
    check("(a > 2) or (a > 2) or b", 2);
    check("scalar(sum(a)) + sum(a)", 1);
}

#[test]
fn what_differs_is_not_taken_for_the_same() {
    check("a + a offset 1m", 2);
    check("rate(a[5m]) + rate(a[4m])", 2);
    check("sum(a) + on() count(a @ 300)", 2);
    check("(a > 1) + (a > bool 1)", 1);
    check(
        "sum by (job) (a) + on (job) sum by (i) (a{i=\"i1\"}) * 0",
        2,
    );
    check("clamp_min(a, 1) + clamp_min(a, 2)", 1);
    // Whose labels are needed differs.
    check(
        "sum by (i) (a) + ignoring (i) group_left sum by (job) (a)",
        2,
    );
    // The steps of a subquery are others.
    check("a + max_over_time(a[2m:30s])", 2);
    // Functions of the engine look at what their arguments are.
    check("timestamp(a) + timestamp(a)", 1);
    check("absent(a) or absent(a)", 1);
}

#[test]
fn what_was_kept_for_other_steps_is_given_back() {
    let (limits, clock) = (EvalLimits::default(), ManualClock::new(0));
    let budget = Budget::new(&limits, &clock);
    let (one, many) = (Steps::instant(0), Steps::range(0, 10, 1));
    let vector = |steps| {
        let empty = Vector {
            steps,
            pos: Pos::default(),
            series: Vec::new(),
            annotations: Annotations::default(),
            counted: Vec::new(),
            bytes: 0,
            most: usize::MAX,
        };
        let kept = empty.with(Tag::of(&Labels::empty()), &Column::absent(1), &budget);
        kept.expect("memory").expect("room")
    };
    let shared = Shared::new(&[3]);
    assert!(shared.take(0, one, &budget).0.is_none());
    shared.put(0, vector(one), &budget);
    let held = budget.memory();
    assert!(held > 0);
    assert!(shared.take(0, many, &budget).0.is_none());
    shared.put(0, vector(many), &budget);
    assert_eq!(budget.memory(), held);
    assert!(shared.take(0, one, &budget).0.is_none());
    assert_eq!(budget.memory(), 0);
}
