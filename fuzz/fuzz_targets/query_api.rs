//! Any text as the parameters of a query: what is understood is evaluated over a few series,
//! within limits. Neither may panic, hang, or take more memory than allowed.

#![no_main]

use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use model::histogram::{FloatHistogram, Span};
use model::labels::Labels;
use model::limits::Limits;
use model::time::{Clock, SystemClock};
use promql::ast::Expr;
use promql::eval::{EvalLimits, EvalOptions, QueryTime, evaluate};
use promql::memory::MemoryStorage;
use promql::plan::Plan;
use query::api::params::Params;
use query::engine;

/// When the last of the samples was taken, in milliseconds.
const NOW: i64 = 1_700_000_000_000;
/// The most time one evaluation may take, in milliseconds; the fuzzer's own limit is above.
const MAX_MS: i64 = 2000;

static STORAGE: LazyLock<MemoryStorage> = LazyLock::new(storage);

fuzz_target!(|text: &str| {
    let Ok(params) = Params::from_text(text) else {
        return;
    };
    let (time, range) = (params.time("time"), params.range());
    let _ = (params.limit(), params.count("limit_per_metric"), range);
    let _ = (params.timeout(), params.lookback_ms());
    let step = params.duration_ms("step").ok().flatten().unwrap_or(10_000);
    for selector in params.all("match[]") {
        let _ = engine::parse_selector(selector, &Limits::default());
    }
    let query = params.get("query").unwrap_or(text);
    let limits = Limits {
        experimental_promql: true,
        ..Limits::default()
    };
    let Ok(expr) = engine::parse(query, &limits) else {
        return;
    };
    let at = time.ok().flatten().unwrap_or(NOW);
    run(&expr, QueryTime::instant(at));
    run(
        &expr,
        QueryTime::range(NOW - 100_000, NOW, step.clamp(1000, 1_000_000)),
    );
});

fn run(expr: &Expr, time: QueryTime) {
    let Ok(plan) = Plan::new(expr, time) else {
        return;
    };
    let limits = EvalLimits {
        max_samples: 1_000_000,
        max_memory_bytes: 64 << 20,
        max_series: 100,
        deadline_ms: Some(SystemClock.now_ms() + MAX_MS),
        ..EvalLimits::default()
    };
    let _ = evaluate(
        &plan,
        &*STORAGE,
        time,
        EvalOptions::default(),
        &limits,
        &SystemClock,
    );
}

/// Counters with resets, a classic histogram, a native one, NaN and stale markers.
fn storage() -> MemoryStorage {
    let mut storage = MemoryStorage::new();
    for i in 0..60_i64 {
        let t = NOW - 600_000 + i * 10_000;
        for (job, scale) in [("a", 1.0), ("b", 2.5)] {
            let labels = Labels::from_pairs([("__name__", "up"), ("job", job)]);
            let value = match i {
                30 => f64::NAN,
                40 => model::sample::stale_nan(),
                _ => (i % 25) as f64 * scale,
            };
            storage.append(&labels, t, value);
        }
        for (le, count) in [("0.1", 1), ("1", 3), ("+Inf", 4)] {
            let labels = Labels::from_pairs([("__name__", "d_bucket"), ("le", le)]);
            storage.append(&labels, t, (count * i) as f64);
        }
        let native = FloatHistogram {
            count: 4.0 * i as f64,
            sum: 7.5 * i as f64,
            positive_spans: vec![Span {
                offset: 0,
                length: 2,
            }],
            positive_buckets: vec![i as f64, 3.0 * i as f64],
            ..FloatHistogram::default()
        };
        let labels = Labels::from_pairs([("__name__", "h")]);
        storage.append_histogram(&labels, t, 0, Arc::new(native));
    }
    storage
}
