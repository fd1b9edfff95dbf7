//! Binary operators between vectors: series find each other by their labels.

mod sets;
mod join;

use std::collections::hash_map::Entry;
use std::sync::Arc;

use model::labels::{Labels, LabelsBuilder, METRIC_NAME, is_metadata_label};

use super::budget::{Budget, Held};
use super::collect::{Collected, Kept};
use super::column::{ABSENT, Column, Steps, is_absent};
use super::tag::{HashedMap, Tag};
use super::{EvalError, Evaluator};
use crate::ast::{Cardinality, Matching};
use crate::format::Quoted;
use crate::plan::{Node, VectorVector};

/// The series of one side that share the labels of the matching, by the hash of those.
type BySignature = HashedMap<Vec<usize>>;

impl<'a> Evaluator<'a> {
    /// Evaluates an operator between vectors.
    pub(super) fn match_vectors<'e>(
        &'e self,
        node: &Node,
        binary: &VectorVector,
        steps: Steps,
    ) -> Result<Collected<'e, 'a>, EvalError> {
        let mut lhs = self.collect(&binary.lhs, steps)?;
        let mut rhs = self.collect(&binary.rhs, steps)?;
        if !self.time.instant {
            lhs.sort()?;
            rhs.sort()?;
        }
        if binary.op.is_set() {
            return self.match_sets(binary, lhs, rhs, steps);
        }
        self.join(node.pos, binary, &lhs, &rhs, steps)
    }
}

/// The labels that must agree, of those that a series has.
fn group_labels(matching: &Matching, labels: &Labels) -> Labels {
    let listed = |name: &str| matching.labels.iter().any(|known| **known == *name);
    if matching.on {
        labels.retain(listed)
    } else {
        labels.retain(|name| name != METRIC_NAME && !listed(name))
    }
}

/// The hash of the labels that must agree.
fn signature(matching: &Matching, labels: &Labels) -> u128 {
    let listed = |name: &str| matching.labels.iter().any(|known| **known == *name);
    let tag = Tag::of(labels);
    if matching.on {
        tag.hash(listed)
    } else {
        tag.hash(|name| name != METRIC_NAME && !listed(name))
    }
}

fn by_signature(
    budget: &Budget<'_>,
    matching: &Matching,
    series: &[Kept],
) -> Result<BySignature, EvalError> {
    let mut map = BySignature::default();
    for (at, kept) in series.iter().enumerate() {
        budget.check()?;
        map.entry(signature(matching, &kept.labels))
            .or_default()
            .push(at);
    }
    Ok(map)
}

/// A flag per step for a signature, none set where it is new; charged.
fn flags<'f>(
    map: &'f mut HashedMap<Vec<bool>>,
    key: u128,
    steps: Steps,
    held: &mut Held<'_>,
) -> Result<&'f mut Vec<bool>, EvalError> {
    match map.entry(key) {
        Entry::Occupied(known) => Ok(known.into_mut()),
        Entry::Vacant(new) => {
            held.charge(steps.count + size_of::<(u128, Vec<bool>)>())?;
            Ok(new.insert(vec![false; steps.count]))
        }
    }
}

/// Notes where a column has a value.
fn mark(there: &mut [bool], column: &Column) {
    for (there, value) in there.iter_mut().zip(&column.floats) {
        *there |= !is_absent(*value);
    }
    for (step, _) in &column.histograms {
        there[*step as usize] = true;
    }
}

/// Removes the values at steps that a predicate does not keep.
fn mask(column: &mut Column, keep: impl Fn(usize) -> bool) {
    for (step, value) in column.floats.iter_mut().enumerate() {
        if !keep(step) {
            *value = ABSENT;
        }
    }
    column.histograms.retain(|(step, _)| keep(*step as usize));
}

/// The labels of the result of a pair. With `delayed`, that of a comparison to 0 and 1 keeps the name
/// until the end of the query.
fn result_labels(binary: &VectorVector, delayed: bool, many: &Labels, one: &Labels) -> Labels {
    let matching = &binary.matching;
    let listed = |list: &[Arc<str>], name: &str| list.iter().any(|known| **known == *name);
    let drops_name = binary.op.drops_name() || (binary.return_bool && !delayed);
    let kept = many.retain(|name| {
        if drops_name && is_metadata_label(name) {
            return false;
        }
        matching.cardinality != Cardinality::OneToOne
            || listed(&matching.labels, name) == matching.on
    });
    if matching.include.is_empty() {
        return kept;
    }
    let mut labels = LabelsBuilder::from(&kept);
    for name in &matching.include {
        labels.set(name, one.get(name).unwrap_or_default());
    }
    labels.build()
}

/// A label set with its name among the others, as error texts of matching show it.
fn plain(labels: &Labels) -> String {
    let is_plain = |name: &str| {
        let known = |c: char| c.is_ascii_alphanumeric() || c == '_';
        !name.starts_with(|c: char| c.is_ascii_digit()) && name.chars().all(known)
    };
    let pair = |(name, value): (&str, &str)| {
        if is_plain(name) {
            format!("{name}={}", Quoted(value))
        } else {
            format!("{}={}", Quoted(name), Quoted(value))
        }
    };
    let pairs: Vec<String> = labels.iter().map(pair).collect();
    format!("{{{}}}", pairs.join(", "))
}
