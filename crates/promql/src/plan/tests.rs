//! What a plan asks of storage.

use std::sync::Mutex;

use model::select::{LabelsNeeded, SelectError, SelectRequest, SeriesSet};
use model::time::ManualClock;

use crate::eval::{EvalLimits, EvalOptions, QueryTime, Queryable};
use crate::memory::MemoryStorage;
use crate::parse::ParseOptions;
use crate::query::Query;

/// Writes down what it is asked for.
#[derive(Default)]
struct Asked(Mutex<Vec<String>>);

impl Queryable for Asked {
    fn select(&self, request: &SelectRequest) -> Result<Box<dyn SeriesSet>, SelectError> {
        let labels = match &request.labels {
            LabelsNeeded::All => "all".to_owned(),
            LabelsNeeded::Only(names) => names.join(","),
        };
        // The last instant is within.
        let (start, last) = (request.range.start, request.range.end - 1);
        let asked = format!("{labels} {start}..{last}");
        self.0.lock().unwrap().push(asked);
        MemoryStorage::new().select(request)
    }
}

/// What is asked for at 1000 s, with the default lookback of five minutes.
#[track_caller]
fn check(text: &str, expected: &[&str]) {
    check_at(text, QueryTime::instant(1_000_000), expected);
}

#[track_caller]
fn check_at(text: &str, time: QueryTime, expected: &[&str]) {
    let query = Query::parse(text, &ParseOptions::default()).unwrap();
    let (asked, clock) = (Asked::default(), ManualClock::new(0));
    let limits = EvalLimits::default();
    let done = query.evaluate(&asked, time, EvalOptions::default(), &limits, &clock);
    assert!(done.is_ok(), "{text}");
    assert_eq!(asked.0.into_inner().unwrap(), expected, "{text}");
}

#[test]
fn asks_only_for_the_labels_that_are_looked_at() {
    check("x", &["all 700001..1000000"]);
    check("sum(x)", &[" 700001..1000000"]);
    check("sum by (b, a) (x)", &["a,b 700001..1000000"]);
    check("sum by (a) (sum by (a, b) (x))", &["a,b 700001..1000000"]);
    check("max by (a) (-abs(rate(x[5m])) * 2)", &["a 700001..1000000"]);
    check(
        "histogram_quantile(0.9, sum by (le, job) (rate(x[5m])))",
        &["job,le 700001..1000000"],
    );
    check(
        "sum by (a) (x) / on (a) sum by (a) (y)",
        &["a 700001..1000000", "a 700001..1000000"],
    );
    check("absent(x)", &[" 700001..1000000"]);
    check("absent_over_time(x[1m])", &[" 940001..1000000"]);
    check("scalar(x) + count(y)", &[" 700001..1000000"; 2]);
    // Whose names may differ could come to be the same.
    check("sum by (a) ({a=\"b\"})", &["all 700001..1000000"]);
    check("topk by (a) (1, x)", &["all 700001..1000000"]);
    check("sum by (a) (x + y)", &["all 700001..1000000"; 2]);
}

#[test]
fn asks_only_for_the_time_that_is_looked_at() {
    check("x offset 100s", &["all 600001..900000"]);
    check("rate(x[1m] offset 100s)", &["all 840001..900000"]);
    check("rate(x[1m] @ 500)", &["all 440001..500000"]);
    check("x @ 500 offset -100s", &["all 300001..600000"]);
    check(
        "max_over_time(rate(x[1m])[2m:30s])",
        &["all 840001..990000"],
    );
    let range = QueryTime::range(1_000_000, 2_000_000, 60_000);
    check_at("rate(x[1m])", range, &["all 940001..1960000"]);
    check_at("x @ end()", range, &["all 1700001..2000000"]);
}
