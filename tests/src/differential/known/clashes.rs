//! Comparisons that filter, where several series on one side match one on the other.
//!
//! Prometheus 2 looked for such clashes among the series that the comparison keeps. 3 looks among all
//! that match, before it filters: `doBinOp` within `VectorBinop` of `promql/engine.go`. With `bool`
//! nothing is filtered, so that 2 must see the clash too.

use crate::differential::pair::Pair;
use crate::differential::reduce::Disagreement;
use crate::promqlgen::Expr;

const CLASH: &str = "multiple matches for labels";

pub(super) fn explains(pair: &Pair, found: &Disagreement) -> bool {
    let Expr::Binary {
        op: "<" | ">" | "<=" | ">=" | "==" | "!=",
        returns_bool: false,
        ..
    } = &found.query
    else {
        return false;
    };
    let (Err(ours), Ok(_)) = (&found.ours, &found.theirs) else {
        return false;
    };
    let mut unfiltered = found.query.clone();
    if let Expr::Binary { returns_bool, .. } = &mut unfiltered {
        *returns_bool = true;
    }
    let theirs = pair.ask(&unfiltered, found.moment).1;
    ours.message.contains(CLASH) && theirs.is_err_and(|theirs| theirs.message.contains(CLASH))
}
