//! `stddev` and `stdvar` of a group with one member that is NaN or infinite.
//!
//! Prometheus 2 started a group with 0 whatever its first member was. 3 starts with NaN where it is
//! NaN or infinite: the case for `STDVAR` and `STDDEV` in `aggregation` of `promql/engine.go`.

use crate::answer::Answer;
use crate::differential::pair::Pair;
use crate::differential::reduce::Disagreement;
use crate::promqlgen::Expr;

pub(super) fn explains(pair: &Pair, found: &Disagreement) -> bool {
    let Expr::Aggregate {
        op: "stddev" | "stdvar",
        grouping,
        inner,
        ..
    } = &found.query
    else {
        return false;
    };
    let (Ok(ours), Ok(theirs)) = (&found.ours, &found.theirs) else {
        return false;
    };
    let other = |op| {
        let query = Expr::Aggregate {
            op,
            grouping: grouping.clone(),
            param: None,
            inner: inner.clone(),
        };
        pair.ask(&query, found.moment).1.ok()
    };
    let (Some(counts), Some(sums)) = (other("count"), other("sum")) else {
        return false;
    };
    let count = |answer: &Answer| -> usize {
        let all = answer.series.values();
        all.map(|points| points.floats.len()).sum()
    };
    if count(ours) != count(theirs) {
        return false;
    }
    let mut points = theirs.series.iter().flat_map(|(key, points)| {
        let times = points.floats.iter();
        times.map(move |(t, value)| (key, *t, *value))
    });
    let at = |answer: &Answer, key, t| {
        let floats = &answer.series.get(key)?.floats;
        floats
            .iter()
            .find(|point| point.0 == t)
            .map(|point| point.1)
    };
    points.all(|(key, t, theirs)| {
        let one = at(&counts, key, t) == Some(1.0);
        let odd = at(&sums, key, t).is_some_and(|sum| !sum.is_finite());
        let ours = at(ours, key, t);
        if one && odd {
            return theirs == 0.0 && ours.is_some_and(f64::is_nan);
        }
        ours.is_some_and(|ours| {
            ours == theirs
                || ours.is_nan() && theirs.is_nan()
                || (ours - theirs).abs() <= 1e-9 * ours.abs()
        })
    })
}
