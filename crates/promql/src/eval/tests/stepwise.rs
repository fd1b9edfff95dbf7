//! A range query answers at each of its steps what an instant query answers there; a query held to
//! a time by `@` answers the same at any other.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::histogram::{CUSTOM_BUCKETS_SCHEMA, FloatHistogram, ResetHint, Span};
use model::labels::{Labels, METRIC_NAME};
use model::sample::stale_nan;
use model::time::{ManualClock, TimestampMs};
use proptest::prelude::*;

use crate::ast::{At, Expr, ExprKind};
use crate::eval::{EvalError, EvalLimits, EvalOptions, QueryTime};
use crate::memory::MemoryStorage;
use crate::parse::ParseOptions;
use crate::query::Query;
use crate::value::{PointValue, QueryValue};

/// Numbers below a bound, from a seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % below
    }

    fn pick<'t>(&mut self, of: &[&'t str]) -> &'t str {
        of[self.roll(of.len() as u64) as usize]
    }
}

fn histogram(dice: &mut Dice) -> FloatHistogram {
    let counts: Vec<f64> = (0..3).map(|_| dice.roll(5) as f64).collect();
    let mut histogram = FloatHistogram {
        schema: dice.roll(2) as i32,
        count: counts.iter().sum(),
        sum: dice.roll(50) as f64,
        positive_spans: vec![Span {
            offset: 0,
            length: 3,
        }],
        positive_buckets: counts,
        ..FloatHistogram::default()
    };
    histogram.reset_hint = match dice.roll(6) {
        0 => ResetHint::Gauge,
        1 => ResetHint::Reset,
        2 => ResetHint::NotReset,
        _ => ResetHint::Unknown,
    };
    if dice.roll(4) == 0 {
        histogram.schema = CUSTOM_BUCKETS_SCHEMA;
        histogram.custom_values = vec![1.0, 2.0 + dice.roll(2) as f64];
    }
    histogram
}

/// Series of floats, histograms and both, with gaps and markers of their end.
fn storage(dice: &mut Dice) -> MemoryStorage {
    let mut storage = MemoryStorage::new();
    for name in ["a", "b", "h"] {
        for (x, y) in [("1", ""), ("1", "u"), ("2", ""), ("2", "u"), ("3", "")] {
            let labels = Labels::from_pairs([(METRIC_NAME, name), ("x", x), ("y", y)]);
            for minute in 0..20 {
                let t = minute * 60_000 + 7_000;
                match dice.roll(12) {
                    0 | 1 => {}
                    2 => storage.append(&labels, t, stale_nan()),
                    3 => storage.append(&labels, t, f64::NAN),
                    4..=8 if name == "h" => {
                        storage.append_histogram(&labels, t, 0, Arc::new(histogram(dice)));
                    }
                    value => storage.append(&labels, t, value as f64 - 6.0),
                }
            }
        }
    }
    storage
}

fn selector(dice: &mut Dice) -> String {
    let name = dice.pick(&["a", "b", "h", "{__name__=~\"a|h\"}", "missing"]);
    let offset = dice.pick(&["", "", "", " offset 1m", " offset -90s", " @ 303"]);
    format!("{name}{offset}")
}

fn window(dice: &mut Dice, depth: u32) -> String {
    let range = dice.pick(&["90s", "3m", "5m"]);
    if depth == 0 || dice.roll(3) > 0 {
        let name = dice.pick(&["a", "h", "{__name__=~\"a|b\"}"]);
        return format!("{name}[{range}]");
    }
    let step = dice.pick(&["30s", "1m", ""]);
    format!("({})[{range}:{step}]", vector(dice, depth - 1))
}

fn scalar(dice: &mut Dice, depth: u32) -> String {
    if depth > 0 && dice.roll(3) == 0 {
        return format!("scalar({})", vector(dice, depth - 1));
    }
    dice.pick(&["2", "-1", "0", "NaN", "time()", "0.5"])
        .to_owned()
}

fn vector(dice: &mut Dice, depth: u32) -> String {
    if depth == 0 {
        return selector(dice);
    }
    let below = depth - 1;
    let operator = |dice: &mut Dice| {
        let operator = dice.pick(&["+", "-", "*", "/", "^", "==", "!=", ">", "<=", "</", ">/"]);
        let compares = matches!(operator, "==" | "!=" | ">" | "<=");
        let bool = if compares && dice.roll(2) == 0 {
            " bool"
        } else {
            ""
        };
        format!("{operator}{bool}")
    };
    match dice.roll(6) {
        0 => {
            let (lhs, rhs) = (vector(dice, below), vector(dice, below));
            let how = dice.pick(&[
                "",
                "on(x)",
                "on(x, y)",
                "ignoring(y)",
                "on(x) group_left()",
                "on(x) group_right(y)",
                "fill(1)",
                "on(x, y) fill_left(2)",
                "on(x) group_left fill_right(3)",
            ]);
            format!("({lhs} {} {how} {rhs})", operator(dice))
        }
        1 => {
            let (lhs, rhs) = (vector(dice, below), vector(dice, below));
            let set = dice.pick(&["and", "or", "unless"]);
            let how = dice.pick(&["", "on(x)", "ignoring(y)", "on()"]);
            format!("({lhs} {set} {how} {rhs})")
        }
        2 => {
            let (vector, scalar) = (vector(dice, below), scalar(dice, below));
            let operator = operator(dice);
            if dice.roll(2) == 0 {
                format!("({vector} {operator} {scalar})")
            } else {
                format!("({scalar} {operator} {vector})")
            }
        }
        3 => {
            let how = dice.pick(&[
                "sum(",
                "avg(",
                "min(",
                "max(",
                "count(",
                "group(",
                "stddev(",
                "topk(1, ",
                "bottomk(2, ",
                "quantile(0.5, ",
                "count_values(\"y\", ",
            ]);
            let by = dice.pick(&["", " by (x)", " by (__name__, y)", " without (y)"]);
            format!("{how}{}){by}", vector(dice, below))
        }
        4 => {
            let function = dice.pick(&[
                "rate",
                "increase",
                "delta",
                "last_over_time",
                "count_over_time",
                "max_over_time",
                "changes",
                "resets",
                "irate",
                "absent_over_time",
            ]);
            format!("{function}({})", window(dice, below))
        }
        _ => {
            let input = vector(dice, below);
            let function = dice.pick(&[
                "-",
                "abs",
                "timestamp",
                "absent",
                "histogram_count",
                "histogram_sum",
                "clamp_min|, 1",
                "label_replace|, \"y\", \"k$1\", \"x\", \"(.)\"",
                "label_replace|, \"__name__\", \"n\", \"\", \"\"",
                "label_join|, \"z\", \"-\", \"x\", \"y\"",
            ]);
            let (function, rest) = function.split_once('|').unwrap_or((function, ""));
            format!("{function}({input}{rest})")
        }
    }
}

type Points = BTreeMap<(Labels, TimestampMs), PointValue>;

fn evaluate(query: &Query, storage: &MemoryStorage, time: QueryTime) -> Result<Points, EvalError> {
    let (options, limits) = (EvalOptions::default(), EvalLimits::default());
    let evaluation = query.evaluate(storage, time, options, &limits, &ManualClock::new(0))?;
    let mut points = Points::new();
    match evaluation.value {
        QueryValue::Vector(vector) => points.extend(
            vector
                .into_iter()
                .map(|point| ((point.labels, point.t), point.value)),
        ),
        QueryValue::Matrix(matrix) => {
            for series in matrix {
                let key = |t| (series.labels.clone(), t);
                let floats = series.floats.iter();
                points.extend(floats.map(|(t, v)| (key(*t), PointValue::Float(*v))));
                let histograms = series.histograms.iter();
                points.extend(
                    histograms.map(|(t, h)| (key(*t), PointValue::Histogram(Arc::clone(h)))),
                );
            }
        }
        other => panic!("no vector: {other:?}"),
    }
    Ok(points)
}

fn same(a: &PointValue, b: &PointValue) -> bool {
    let close = |a: f64, b: f64| {
        a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= 1e-9 * (a.abs() + b.abs())
    };
    match (a, b) {
        (PointValue::Float(a), PointValue::Float(b)) => close(*a, *b),
        (PointValue::Histogram(a), PointValue::Histogram(b)) => {
            let buckets = a.positive().zip(b.positive());
            close(a.count, b.count)
                && close(a.sum, b.sum)
                && a.schema == b.schema
                && a.reset_hint == b.reset_hint
                && a.positive().count() == b.positive().count()
                && buckets
                    .into_iter()
                    .all(|(a, b)| a.0 == b.0 && close(a.1, b.1))
        }
        _ => false,
    }
}

/// Puts `@` at every selector and subquery that has none.
fn pin(expr: &mut Expr, to: At) {
    match &mut expr.kind {
        ExprKind::Number(..) | ExprKind::String(_) => {}
        ExprKind::Selector(selector) | ExprKind::Range(selector, _) => {
            selector.at.get_or_insert(to);
        }
        ExprKind::Subquery(subquery) => {
            subquery.at.get_or_insert(to);
        }
        ExprKind::Call(_, args) => args.iter_mut().for_each(|arg| pin(arg, to)),
        ExprKind::Aggregate(aggregate) => {
            aggregate.param.iter_mut().for_each(|param| pin(param, to));
            pin(&mut aggregate.expr, to);
        }
        ExprKind::Binary(binary) => {
            pin(&mut binary.lhs, to);
            pin(&mut binary.rhs, to);
        }
        ExprKind::Negate(expr) | ExprKind::Plus(expr) | ExprKind::Paren(expr) => pin(expr, to),
    }
}

fn values(points: &Points) -> Vec<(&Labels, &PointValue)> {
    points
        .iter()
        .map(|((labels, _), value)| (labels, value))
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn steps_are_instants(seed in 1u64.., depth in 1u32..4, start in 0i64..30) {
        let mut dice = Dice(seed);
        let storage = storage(&mut dice);
        let text = vector(&mut dice, depth);
        let options = ParseOptions { experimental: true, ..ParseOptions::default() };
        let query = Query::parse(&text, &options).expect("a query");
        let (start, step) = (start * 30_000 + 3_000, 45_000);
        let time = QueryTime::range(start, start + 4 * step, step);
        let range = evaluate(&query, &storage, time);
        let mut instants: Result<Points, EvalError> = Ok(Points::new());
        for t in (0..5).map(|at| start + at * step) {
            let points = evaluate(&query, &storage, QueryTime::instant(t));
            instants = instants.and_then(|mut all| {
                all.extend(points?);
                Ok(all)
            });
        }
        match (range, instants) {
            (Ok(range), Ok(instants)) => {
                let keys = |points: &Points| points.keys().cloned().collect::<Vec<_>>();
                prop_assert_eq!(keys(&range), keys(&instants), "{}", text);
                for (key, value) in &range {
                    prop_assert!(same(value, &instants[key]), "{text}: {key:?} {value:?}");
                }
            }
            (Err(_), Err(_)) => {}
            // Functions over ranges refuse series of the same labels even where those have no
            // step in common.
            (Err(error), Ok(_)) => {
                prop_assert_eq!(error.to_string(), EvalError::same_labels().to_string(), "{}", text);
            }
            (Ok(_), Err(error)) => prop_assert!(false, "{text}: only an instant fails: {error}"),
        }
    }

    #[test]
    fn pinned_queries_stay(seed in 1u64.., depth in 1u32..4, at in 0i64..30, other in -3i64..50) {
        let mut dice = Dice(seed);
        let storage = storage(&mut dice);
        let text = vector(&mut dice, depth);
        // What depends on the step all the same.
        let text = text.replace("time()", "3").replace("timestamp", "abs");
        let options = ParseOptions { experimental: true, ..ParseOptions::default() };
        let query = Query::parse(&text, &options).expect("a query");
        let (at, other) = (at * 30_000 + 3_000, other * 40_000);
        let mut pinned = query.clone();
        pin(&mut pinned.expr, At::Time(at));
        let free = evaluate(&query, &storage, QueryTime::instant(at));
        for time in [QueryTime::instant(other), QueryTime::range(other, other, 1)] {
            match (&free, evaluate(&pinned, &storage, time)) {
                (Ok(free), Ok(pinned)) => {
                    let (free, pinned) = (values(free), values(&pinned));
                    prop_assert_eq!(free.len(), pinned.len(), "{}", text);
                    for (a, b) in free.iter().zip(&pinned) {
                        prop_assert!(a.0 == b.0 && same(a.1, b.1), "{text}: {a:?} {b:?}");
                    }
                }
                (Err(_), Err(_)) => {}
                (a, b) => prop_assert!(false, "{text}: {a:?} {b:?}"),
            }
        }
    }
}
