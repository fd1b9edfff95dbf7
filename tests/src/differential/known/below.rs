//! `topk` and `bottomk` of less than can be counted.
//!
//! A parameter below the least integer was refused by Prometheus 2. 3 first looks whether any is one
//! or more, and answers nothing where none is: `rangeEvalAgg` of `promql/engine.go`.

use crate::differential::pair::Pair;
use crate::differential::reduce::Disagreement;
use crate::promqlgen::Expr;

pub(super) fn explains(pair: &Pair, found: &Disagreement) -> bool {
    let Expr::Aggregate {
        op: "topk" | "bottomk",
        param: Some(param),
        ..
    } = &found.query
    else {
        return false;
    };
    let (Ok(ours), Err(theirs)) = (&found.ours, &found.theirs) else {
        return false;
    };
    let Ok(values) = pair.ask(param, found.moment).1 else {
        return false;
    };
    let mut values = values.series.values().flat_map(|points| &points.floats);
    let all_below = values.all(|(_, value)| *value < 1.0);
    ours.series.is_empty() && theirs.message.contains("overflows int64") && all_below
}
