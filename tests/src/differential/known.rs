//! Differences between Prometheus 2.42 and 3 that are meant: each a rule that says what must be
//! seen for it to apply. Others are avoided where queries and data are made, and said there.

mod below;
mod clashes;
mod extrapolation;
mod overflow;
mod ties;
mod variance;

use super::pair::Pair;
use super::reduce::Disagreement;

/// Whether a rule explains a disagreement, made small before, in full.
type Rule = fn(&Pair, &Disagreement) -> bool;

/// The rules by name.
const RULES: &[(&str, Rule)] = &[
    ("variance of one NaN or infinity", variance::explains),
    ("which of equals are the largest", ties::explains),
    ("extrapolation to zero", extrapolation::explains),
    ("clashes that are filtered out", clashes::explains),
    ("fewer than none", below::explains),
    ("squares that overflow", overflow::explains),
];

/// The name of the rule that explains the disagreement.
pub fn rule(pair: &Pair, disagreement: &Disagreement) -> Option<&'static str> {
    let mut rules = RULES.iter();
    let found = rules.find(|(_, explains)| explains(pair, disagreement));
    found.map(|(name, _)| *name)
}
