//! `stddev_over_time` and `stdvar_over_time` of values whose squares overflow.
//!
//! What compensates for lost bits became NaN in Prometheus 2 once a sum was infinite; 3 then sets it
//! to zero (`Inc` of `util/kahansum`), so that the infinity is the answer.

use crate::differential::pair::Pair;
use crate::differential::reduce::Disagreement;
use crate::promqlgen::Expr;

pub(super) fn explains(_: &Pair, found: &Disagreement) -> bool {
    let Expr::Call("stddev_over_time" | "stdvar_over_time", ..) = &found.query else {
        return false;
    };
    let (Ok(ours), Ok(theirs)) = (&found.ours, &found.theirs) else {
        return false;
    };
    let same_keys = ours.series.keys().eq(theirs.series.keys());
    let mut pairs = ours.series.values().zip(theirs.series.values());
    same_keys
        && pairs.all(|(ours, theirs)| {
            let same_length = ours.floats.len() == theirs.floats.len();
            let mut points = ours.floats.iter().zip(&theirs.floats);
            same_length
                && points.all(|((t, a), (u, b))| {
                    let overflow = *a == f64::INFINITY && b.is_nan();
                    let same = a == b || a.is_nan() && b.is_nan();
                    t == u && (overflow || same || (a - b).abs() <= 1e-9 * a.abs())
                })
        })
}
