//! Whether two outcomes are the same.

use super::pair::Outcome;
use crate::answer::{Answer, Key, Tolerance};
use crate::promqlgen::{Dialect, Expr, Moment, functions};

/// What functions of the C library and of Go's, and sums in another order, differ by.
const RELATIVE: f64 = 1e-9;
/// The same where small deviations of large numbers are squared: those of dates in seconds.
const RELATIVE_OF_DATES: f64 = 1e-5;
/// What may be left of terms that cancel out, where they come from means or lines.
const ABSOLUTE: f64 = 1e-9;

/// Whether its values are no multiples of an eighth, as all of the data are that can cancel out.
fn is_inexact(expr: &Expr) -> bool {
    let inexact = |op: &str| matches!(op, "/" | "^" | "atan2");
    match expr {
        Expr::Binary { op, .. } => inexact(op),
        Expr::Chain(_, rest) => rest.iter().any(|(op, _)| inexact(op)),
        Expr::Call(name, ..) => functions::is_noisy(name),
        _ => false,
    }
}

/// How much the answers to a query may differ.
fn tolerance(query: &Expr) -> Tolerance {
    let dates = |expr: &Expr| match expr {
        Expr::Select { metric, .. } => *metric == Some("start_time_seconds"),
        Expr::Call(name, ..) => matches!(*name, "time" | "timestamp"),
        _ => false,
    };
    let deviates = |expr: &Expr| match expr {
        Expr::Aggregate { op, .. } => matches!(*op, "stddev" | "stdvar"),
        Expr::Call(name, ..) => matches!(
            *name,
            "stddev_over_time" | "stdvar_over_time" | "deriv" | "predict_linear"
        ),
        _ => false,
    };
    let means = |expr: &Expr| match expr {
        Expr::Aggregate { op, .. } => *op == "avg",
        Expr::Call(name, ..) => matches!(*name, "avg_over_time" | "double_exponential_smoothing"),
        _ => false,
    };
    let deviates = query.any(&deviates);
    let sums = |expr: &Expr| match expr {
        Expr::Aggregate { op, .. } => *op == "sum",
        Expr::Call(name, ..) => *name == "sum_over_time",
        _ => false,
    };
    let sums = query.any(&sums) && query.any(&is_inexact);
    Tolerance {
        relative: if deviates && query.any(&dates) {
            RELATIVE_OF_DATES
        } else {
            RELATIVE
        },
        absolute: if deviates || sums || query.any(&means) {
            ABSOLUTE
        } else {
            0.0
        },
    }
}

/// What is different, in words; `None` where nothing is.
pub fn difference(
    query: &Expr,
    moment: Moment,
    ours: &Outcome,
    theirs: &Outcome,
) -> Option<String> {
    match (ours, theirs) {
        (Ok(ours), Ok(theirs)) => answers_differ(query, moment, ours, theirs),
        (Err(ours), Err(theirs)) => {
            let same = ours.kind == theirs.kind && ours.status == theirs.status;
            (!same).then(|| format!("{ours:?} against {theirs:?}"))
        }
        (Ok(_), Err(theirs)) => Some(format!("an answer against {theirs:?}")),
        (Err(ours), Ok(_)) => Some(format!("{ours:?} against an answer")),
    }
}

fn answers_differ(query: &Expr, moment: Moment, ours: &Answer, theirs: &Answer) -> Option<String> {
    if ours.text != theirs.text {
        return Some(format!("{:?} against {:?}", ours.text, theirs.text));
    }
    if let Err(differences) = ours.same_within(theirs, tolerance(query)) {
        return Some(differences);
    }
    // The series of a range vector come as storage has them, those of a range query sorted.
    let sorted = matches!(moment, Moment::Range(..));
    if (sorted && ours.order != theirs.order)
        || is_ordered(query, moment) && !same_order(ours, theirs)
    {
        return Some(format!(
            "the order: {:?} against {:?}",
            ours.order, theirs.order
        ));
    }
    None
}

/// Whether the query says in which order its series come.
fn is_ordered(query: &Expr, moment: Moment) -> bool {
    let instant = matches!(moment, Moment::Instant(_));
    let orders = match query {
        Expr::Call("sort" | "sort_desc", ..) => true,
        Expr::Aggregate {
            op: "topk" | "bottomk",
            grouping,
            ..
        } => grouping.is_none(),
        _ => false,
    };
    instant && orders
}

/// Whether the values come in the same order: series of the same value may stand either way.
fn same_order(ours: &Answer, theirs: &Answer) -> bool {
    let value = |answer: &Answer, key: &Key| answer.series[key].floats.first().map(|point| point.1);
    let mut pairs = ours.order.iter().zip(&theirs.order);
    pairs.all(|(a, b)| {
        let (a, b) = (
            value(ours, a).unwrap_or(f64::NAN),
            value(theirs, b).unwrap_or(f64::NAN),
        );
        a == b || a.is_nan() && b.is_nan() || (a - b).abs() <= RELATIVE * a.abs().max(b.abs())
    })
}

/// Both in full, for people.
pub fn show(query: &Expr, moment: Moment, ours: &Outcome, theirs: &Outcome) -> String {
    let text = query.print(Dialect::Three);
    let side = |outcome: &Outcome| {
        let mut text = match outcome {
            Err(refusal) => format!("{refusal:?}"),
            Ok(answer) => {
                let series = answer
                    .order
                    .iter()
                    .map(|key| format!("{key:?} {:?}", answer.series[key].floats));
                let lines: Vec<_> = series.collect();
                let scalar = answer.series.get(&Key::new()).filter(|_| lines.is_empty());
                format!("{} {:?} {}", answer.kind, scalar, lines.join("\n    "))
            }
        };
        let mut end = text.len().min(6000);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        text
    };
    format!(
        "{text}\n  at {moment:?}\n  Tidemark: {}\n  Prometheus: {}",
        side(ours),
        side(theirs)
    )
}
