//! Queries held to the time at which they are asked: with `@` at every selector they must answer
//! the same at any other time.

use promql::Query;
use promql::ast::{At, Expr, ExprKind};

/// Functions whose value depends on the step even where their arguments don't.
const STEP_DEPENDENT: [&str; 12] = [
    "day_of_month",
    "day_of_week",
    "day_of_year",
    "days_in_month",
    "hour",
    "minute",
    "month",
    "predict_linear",
    "start_timestamp",
    "time",
    "timestamp",
    "year",
];

/// The query with `@` at every selector and subquery that has none, and the times at which to ask
/// it; `None` where its answer depends on the step all the same.
pub(super) fn pinned(query: &Query, at_ms: i64) -> Option<(Query, Vec<i64>)> {
    let mut free = true;
    query.expr.visit(&mut |expr| {
        if let ExprKind::Call(def, _) = &expr.kind {
            free &= !STEP_DEPENDENT.contains(&def.name);
        }
    });
    if !free {
        return None;
    }
    let mut query = query.clone();
    pin(&mut query.expr, At::Time(at_ms));
    let times = if at_ms == 0 {
        vec![-1000, 0, 1000]
    } else {
        vec![-10 * at_ms, 0, at_ms / 5, at_ms, 10 * at_ms]
    };
    Some((query, times))
}

fn pin(expr: &mut Expr, to: At) {
    match &mut expr.kind {
        ExprKind::Number(..) | ExprKind::String(_) => {}
        ExprKind::Selector(selector) | ExprKind::Range(selector, _) => {
            selector.at.get_or_insert(to);
        }
        // What is within a subquery is asked relative to that.
        ExprKind::Subquery(subquery) => {
            subquery.at.get_or_insert(to);
        }
        ExprKind::Call(_, args) => args.iter_mut().for_each(|arg| pin(arg, to)),
        ExprKind::Aggregate(aggregate) => {
            if let Some(param) = &mut aggregate.param {
                pin(param, to);
            }
            pin(&mut aggregate.expr, to);
        }
        ExprKind::Binary(binary) => {
            pin(&mut binary.lhs, to);
            pin(&mut binary.rhs, to);
        }
        ExprKind::Negate(expr) | ExprKind::Plus(expr) | ExprKind::Paren(expr) => pin(expr, to),
    }
}
