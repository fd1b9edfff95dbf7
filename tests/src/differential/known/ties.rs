//! `topk` and `bottomk` among equals.
//!
//! Both generations keep a heap of the largest, and which of equals stay in it depends on the order
//! in which they come, which nothing defines. So the values must be the same, step by step, but not
//! the series that have them.

use std::collections::BTreeMap;

use crate::answer::Answer;
use crate::differential::pair::Pair;
use crate::differential::reduce::Disagreement;
use crate::promqlgen::Expr;

pub(super) fn explains(_: &Pair, found: &Disagreement) -> bool {
    let Expr::Aggregate {
        op: "topk" | "bottomk",
        ..
    } = &found.query
    else {
        return false;
    };
    let (Ok(ours), Ok(theirs)) = (&found.ours, &found.theirs) else {
        return false;
    };
    values(ours) == values(theirs)
}

/// The bits of the values at each time, sorted.
fn values(answer: &Answer) -> BTreeMap<i64, Vec<u64>> {
    let mut all: BTreeMap<i64, Vec<u64>> = BTreeMap::new();
    for (t, value) in answer.series.values().flat_map(|points| &points.floats) {
        // All zeros are one, and all NaN.
        let value = if value.is_nan() {
            f64::NAN
        } else {
            *value + 0.0
        };
        all.entry(*t).or_default().push(value.to_bits());
    }
    all.values_mut().for_each(|values| values.sort_unstable());
    all
}
