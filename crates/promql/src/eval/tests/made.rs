//! What operations make at the millions of steps of a subquery.

use std::sync::Arc;

use model::histogram::{FloatHistogram, ResetHint, Span};

use super::{Ticking, labels};
use crate::eval::{EvalError, EvalLimits, EvalOptions, QueryTime};
use crate::memory::MemoryStorage;
use crate::parse::ParseOptions;
use crate::query::Query;

/// Four minutes at steps of a millisecond.
const STEPS: usize = 240_000;

/// A histogram of many buckets each fifteen seconds.
fn storage() -> MemoryStorage {
    let mut storage = MemoryStorage::new();
    for at in 0..40i64 {
        let count = (at + 1) as f64;
        let histogram = FloatHistogram {
            reset_hint: ResetHint::NotReset,
            schema: 3,
            count: 200.0 * count,
            sum: count,
            positive_spans: vec![Span {
                offset: 0,
                length: 200,
            }],
            positive_buckets: vec![count; 200],
            ..FloatHistogram::default()
        };
        let histogram = Arc::new(histogram);
        storage.append_histogram(&labels("h", &[]), at * 15_000, 0, histogram);
    }
    storage
}

fn evaluate(text: &str, limits: &EvalLimits) -> Result<usize, EvalError> {
    let options = ParseOptions {
        experimental: true,
        ..ParseOptions::default()
    };
    let query = Query::parse(text, &options).expect("a query");
    let (time, clock) = (QueryTime::instant(600_000), Ticking(0.into()));
    let answer = query.evaluate(&storage(), time, EvalOptions::default(), limits, &clock)?;
    Ok(answer.stats.peak_memory_bytes)
}

#[test]
fn histograms_are_charged_before_they_are_made() {
    let limits = EvalLimits {
        max_memory_bytes: 64 << 20,
        ..EvalLimits::default()
    };
    for made in [
        "rate(h[5m])",
        "rate(h[5m] smoothed)",
        "irate(h[5m])",
        "sum_over_time(h[5m])",
        "sum(h)",
        "h * 2",
        "-h",
        "h smoothed",
    ] {
        let text = format!("last_over_time(({made})[4m:1ms])");
        let error = evaluate(&text, &limits).expect_err(made).to_string();
        assert!(error.contains("max_memory_per_query"), "{made}: {error}");
    }
    // What is there already is not made again, hint or not.
    let peak = evaluate("last_over_time(h[4m:1ms])", &limits).expect("an answer");
    assert!(peak < 64 * STEPS, "{peak}");
}

#[test]
fn makers_of_histograms_look_at_the_clock() {
    for made in ["sum(h)", "h * 2", "-h", "h smoothed", "rate(h[5m])"] {
        let text = format!("last_over_time(({made})[4m:1ms])");
        let limits = EvalLimits {
            deadline_ms: Some(100),
            ..EvalLimits::default()
        };
        let result = evaluate(&text, &limits);
        assert_eq!(result, Err(EvalError::Timeout), "{made}");
    }
}

#[test]
fn quantiles_that_differ_at_each_step_take_no_more_than_allowed() {
    let limits = EvalLimits {
        max_memory_bytes: 64 << 20,
        ..EvalLimits::default()
    };
    let buckets = "label_replace(vector(1), \"le\", \"+Inf\", \"\", \"\")";
    let quantiles = format!("histogram_quantiles({buckets}, \"q\", time() / 1e9)");
    let text = format!("max_over_time({quantiles}[4m:1ms])");
    let error = evaluate(&text, &limits).expect_err("an error").to_string();
    assert!(error.contains("max_memory_per_query"), "{error}");
}

#[test]
fn many_scalars_take_no_more_than_allowed() {
    let limits = EvalLimits {
        max_memory_bytes: 64 << 20,
        ..EvalLimits::default()
    };
    let chain = " * time()".repeat(100);
    let clamped = format!("{}none{}", "clamp_min(".repeat(50), ", time())".repeat(50));
    for text in [format!("none{chain}"), clamped] {
        let text = format!("max_over_time(({text})[4m:1ms])");
        let error = evaluate(&text, &limits).expect_err(&text).to_string();
        assert!(error.contains("max_memory_per_query"), "{error}");
    }
}
