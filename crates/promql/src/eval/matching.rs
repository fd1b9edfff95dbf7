//! Binary operators between vectors: series find each other by their labels.

use std::collections::hash_map::Entry;
use std::sync::Arc;

use model::labels::{Labels, LabelsBuilder, METRIC_NAME, is_metadata_label};

use super::budget::Held;
use super::collect::{Collected, Kept, Merged};
use super::column::{ABSENT, Column, Steps, is_absent};
use super::operator::{self, Operand};
use super::stream::put;
use super::tag::{HashedMap, Tag};
use super::{EvalError, Evaluator};
use crate::annotations::Pos;
use crate::ast::{BinaryOp, Cardinality, Matching};
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
        if !lhs.series.is_sorted_by(|a, b| a.labels <= b.labels) && !self.time.instant {
            lhs.sort();
        }
        if !rhs.series.is_sorted_by(|a, b| a.labels <= b.labels) && !self.time.instant {
            rhs.sort();
        }
        if binary.op.is_set() {
            return self.match_sets(binary, lhs, rhs, steps);
        }
        let many_left = binary.matching.cardinality != Cardinality::OneToMany;
        let (many, one) = if many_left {
            (&lhs, &rhs)
        } else {
            (&rhs, &lhs)
        };
        let ones = by_signature(&binary.matching, &one.series);
        let manies = by_signature(&binary.matching, &many.series);
        let matcher = Matcher {
            binary,
            many_left,
            pos: node.pos,
            steps,
        };
        matcher.check_ones(&ones, &one.series, &many.series)?;
        let mut merged = Merged::new(self);
        // Where several of the many side share a partner, at most one may do so at a step, unless
        // grouping is asked for.
        let mut taken: HashedMap<Vec<bool>> = HashedMap::default();
        let mut held = self.budget.hold();
        for many_series in &many.series {
            self.budget.check()?;
            let key = signature(&binary.matching, &many_series.labels);
            let Some(partners) = ones.get(&key) else {
                continue;
            };
            let crowded = manies.get(&key).is_some_and(|all| all.len() > 1);
            for partner in partners {
                let one_series = &one.series[*partner];
                let column = {
                    let mut annotations = self.annotations.borrow_mut();
                    matcher.pair(&many_series.column, &one_series.column, &mut annotations)
                };
                if column.is_empty() {
                    continue;
                }
                if crowded && binary.matching.cardinality == Cardinality::OneToOne {
                    let taken = flags(&mut taken, key, steps, &mut held)?;
                    occupy(taken, &column)?;
                }
                let labels = result_labels(binary, &many_series.labels, &one_series.labels);
                if !merged.push(labels, column)? {
                    return Err(matcher.clash());
                }
            }
        }
        let fills = &binary.matching;
        // With `group_right` upstream turns the sides round before it fills, so that `fill_left` is
        // always for the 'many' side. Answers agree with it.
        let (fill_many, fill_one) = (fills.fill_left, fills.fill_right);
        if let Some(value) = fill_one {
            let there = matcher.presence(&one.series, &mut held)?;
            for series in &many.series {
                let key = signature(fills, &series.labels);
                let Some(lonely) = matcher.lonely(&series.column, there.get(&key)) else {
                    continue;
                };
                let column = {
                    let mut annotations = self.annotations.borrow_mut();
                    matcher.pair(&lonely, &matcher.filled(value), &mut annotations)
                };
                let crowded = manies.get(&key).is_some_and(|all| all.len() > 1);
                if crowded && fills.cardinality == Cardinality::OneToOne {
                    let taken = flags(&mut taken, key, steps, &mut held)?;
                    occupy(taken, &column)?;
                }
                let partner = group_labels(fills, &series.labels);
                let labels = result_labels(binary, &series.labels, &partner);
                if !column.is_empty() && !merged.push(labels, column)? {
                    return Err(matcher.clash());
                }
            }
        }
        if let Some(value) = fill_many {
            let there = matcher.presence(&many.series, &mut held)?;
            for series in &one.series {
                let key = signature(fills, &series.labels);
                let Some(lonely) = matcher.lonely(&series.column, there.get(&key)) else {
                    continue;
                };
                let column = {
                    let mut annotations = self.annotations.borrow_mut();
                    matcher.pair(&matcher.filled(value), &lonely, &mut annotations)
                };
                let partner = group_labels(fills, &series.labels);
                let labels = result_labels(binary, &partner, &series.labels);
                if !column.is_empty() && !merged.push(labels, column)? {
                    return Err(matcher.clash());
                }
            }
        }
        Ok(merged.collected)
    }

    /// `and`, `or`, `unless`: by presence alone.
    fn match_sets<'e>(
        &'e self,
        binary: &VectorVector,
        lhs: Collected<'e, 'a>,
        mut rhs: Collected<'e, 'a>,
        steps: Steps,
    ) -> Result<Collected<'e, 'a>, EvalError> {
        let mut merged = Merged::new(self);
        let key = |kept: &Kept| signature(&binary.matching, &kept.labels);
        let add = |merged: &mut Merged<'e, 'a>, labels: Labels, column: Column| {
            if column.is_empty() || merged.push(labels, column)? {
                Ok(())
            } else {
                Err(EvalError::same_labels())
            }
        };
        let mut held = self.budget.hold();
        let mut presence = |series: &[Kept]| {
            let mut there: HashedMap<Vec<bool>> = HashedMap::default();
            for kept in series {
                self.budget.check()?;
                mark(
                    flags(&mut there, key(kept), steps, &mut held)?,
                    &kept.column,
                );
            }
            Ok::<_, EvalError>(there)
        };
        if binary.op == BinaryOp::Or {
            let left = presence(&lhs.series)?;
            let mut lhs = lhs;
            for kept in lhs.series.drain(..) {
                add(&mut merged, kept.labels, kept.column)?;
            }
            for mut kept in rhs.series.drain(..) {
                if let Some(there) = left.get(&key(&kept)) {
                    mask(&mut kept.column, |step| !there[step]);
                }
                add(&mut merged, kept.labels, kept.column)?;
            }
            return Ok(merged.collected);
        }
        let right = presence(&rhs.series)?;
        let wanted = binary.op == BinaryOp::And;
        let mut lhs = lhs;
        for mut kept in lhs.series.drain(..) {
            match right.get(&key(&kept)) {
                Some(there) => mask(&mut kept.column, |step| there[step] == wanted),
                None if wanted => continue,
                None => {}
            }
            add(&mut merged, kept.labels, kept.column)?;
        }
        Ok(merged.collected)
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

fn by_signature(matching: &Matching, series: &[Kept]) -> BySignature {
    let mut map = BySignature::default();
    for (at, kept) in series.iter().enumerate() {
        map.entry(signature(matching, &kept.labels))
            .or_default()
            .push(at);
    }
    map
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

/// Takes the steps of a result; an error where another result has one of them.
fn occupy(taken: &mut [bool], column: &Column) -> Result<(), EvalError> {
    let mut there = vec![false; taken.len()];
    mark(&mut there, column);
    for (taken, there) in taken.iter_mut().zip(there) {
        if *taken && there {
            return Err(EvalError::Execution(
                "multiple matches for labels: many-to-one matching must be explicit \
                 (group_left/group_right)"
                    .to_owned(),
            ));
        }
        *taken |= there;
    }
    Ok(())
}

/// One operation on pairs of series.
struct Matcher<'m> {
    binary: &'m VectorVector,
    many_left: bool,
    pos: Pos,
    steps: Steps,
}

impl Matcher<'_> {
    /// Of the 'one' side, no two series of one group may have values at one step (at which the
    /// other side has any at all).
    fn check_ones(&self, ones: &BySignature, one: &[Kept], many: &[Kept]) -> Result<(), EvalError> {
        if ones.values().all(|group| group.len() < 2) {
            return Ok(());
        }
        let mut any = vec![false; self.steps.count];
        many.iter().for_each(|kept| mark(&mut any, &kept.column));
        for group in ones.values().filter(|group| group.len() > 1) {
            let mut first: Vec<Option<usize>> = vec![None; self.steps.count];
            for at in group {
                let mut there = vec![false; self.steps.count];
                mark(&mut there, &one[*at].column);
                for step in 0..self.steps.count {
                    if !there[step] || !any[step] {
                        continue;
                    }
                    if let Some(other) = first[step].replace(*at) {
                        return Err(self.duplicate(&one[other].labels, &one[*at].labels));
                    }
                }
            }
        }
        Ok(())
    }

    fn duplicate(&self, a: &Labels, b: &Labels) -> EvalError {
        let matching = &self.binary.matching;
        let group = group_labels(matching, a);
        let side = if self.many_left { "right" } else { "left" };
        let (first, second) = if a <= b { (a, b) } else { (b, a) };
        EvalError::Execution(format!(
            "found duplicate series for the match group {} on the {side} hand-side of the \
             operation: [{}, {}];many-to-many matching not allowed: matching labels must be unique \
             on one side",
            plain(&group),
            plain(first),
            plain(second)
        ))
    }

    fn clash(&self) -> EvalError {
        if self.binary.matching.cardinality == Cardinality::OneToOne {
            return EvalError::same_labels();
        }
        EvalError::Execution(
            "multiple matches for labels: grouping labels must ensure unique matches".to_owned(),
        )
    }

    /// At which steps any series of each group has a value.
    fn presence(
        &self,
        series: &[Kept],
        held: &mut Held<'_>,
    ) -> Result<HashedMap<Vec<bool>>, EvalError> {
        let mut there: HashedMap<Vec<bool>> = HashedMap::default();
        for kept in series {
            let key = signature(&self.binary.matching, &kept.labels);
            mark(flags(&mut there, key, self.steps, held)?, &kept.column);
        }
        Ok(there)
    }

    /// What of a series finds no partner; `None` where all of it does.
    fn lonely(&self, column: &Column, partners: Option<&Vec<bool>>) -> Option<Column> {
        let mut lonely = column.clone();
        if let Some(there) = partners {
            mask(&mut lonely, |step| !there[step]);
        }
        (!lonely.is_empty()).then_some(lonely)
    }

    /// What stands for a missing partner.
    fn filled(&self, value: f64) -> Column {
        Column {
            floats: vec![value; self.steps.count],
            histograms: Vec::new(),
        }
    }

    /// The operator on two columns.
    fn pair(
        &self,
        many: &Column,
        one: &Column,
        annotations: &mut crate::annotations::Annotations,
    ) -> Column {
        let (lhs, rhs) = if self.many_left {
            (many, one)
        } else {
            (one, many)
        };
        let mut out = Column::absent(self.steps.count);
        let op = self.binary.op;
        if lhs.histograms.is_empty() && rhs.histograms.is_empty() && !op.is_trim() {
            for (step, (l, r)) in lhs.floats.iter().zip(&rhs.floats).enumerate() {
                if is_absent(*l) || is_absent(*r) {
                    continue;
                }
                match operator::compare(op, *l, *r) {
                    None => out.set_float(step, operator::arithmetic(op, *l, *r)),
                    Some(holds) if self.binary.return_bool => {
                        out.floats[step] = f64::from(u8::from(holds));
                    }
                    Some(true) => out.floats[step] = *l,
                    Some(false) => {}
                }
            }
            return out;
        }
        for step in 0..self.steps.count {
            let (Some(l), Some(r)) = (operand(lhs, step), operand(rhs, step)) else {
                continue;
            };
            let outcome = operator::apply(op, l, r, self.pos, annotations);
            put(&mut out, step, outcome, l, self.binary.return_bool);
        }
        out
    }
}

fn operand(column: &Column, step: usize) -> Option<Operand<'_>> {
    match column.float(step) {
        Some(value) => Some(Operand::Float(value)),
        None => column.histogram(step).map(Operand::Histogram),
    }
}

/// The labels of the result of a pair.
fn result_labels(binary: &VectorVector, many: &Labels, one: &Labels) -> Labels {
    let matching = &binary.matching;
    let listed = |list: &[Arc<str>], name: &str| list.iter().any(|known| **known == *name);
    let drops_name = binary.op.drops_name() || binary.return_bool;
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
    let pairs: Vec<String> = labels
        .iter()
        .map(|(name, value)| format!("{name}={value:?}"))
        .collect();
    format!("{{{}}}", pairs.join(", "))
}
