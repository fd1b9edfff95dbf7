//! Arithmetic and comparisons between vectors: series that pair up, and what is filled in for a
//! partner that is missing.

use model::labels::Labels;

use super::{
    BySignature, by_signature, flags, group_labels, mark, mask, plain, result_labels, signature,
};
use crate::annotations::{Annotations, Pos};
use crate::ast::Cardinality;
use crate::eval::budget::Held;
use crate::eval::collect::{Collected, Kept, Merged};
use crate::eval::column::{Column, Steps, is_absent};
use crate::eval::operator::{self, Operand, Outcome};
use crate::eval::stream::put;
use crate::eval::tag::{HashedMap, Tag};
use crate::eval::{EvalError, Evaluator, made};
use crate::plan::VectorVector;

impl<'a> Evaluator<'a> {
    /// Evaluates an operator between the series of two sides that belong together.
    pub(super) fn join<'e>(
        &'e self,
        pos: Pos,
        binary: &VectorVector,
        lhs: &Collected<'e, 'a>,
        rhs: &Collected<'e, 'a>,
        steps: Steps,
    ) -> Result<Collected<'e, 'a>, EvalError> {
        let many_left = binary.matching.cardinality != Cardinality::OneToMany;
        let (many, one) = if many_left { (lhs, rhs) } else { (rhs, lhs) };
        let ones = by_signature(self.budget, &binary.matching, &one.series)?;
        let mut join = Join {
            evaluator: self,
            binary,
            many_left,
            pos,
            steps,
            manies: by_signature(self.budget, &binary.matching, &many.series)?,
            met: Vec::new(),
            taken: HashedMap::default(),
            matched: HashedMap::default(),
            held: self.budget.hold(),
            merged: Merged::new(self),
        };
        join.check_ones(&ones, &one.series, &many.series)?;
        for kept in &many.series {
            self.budget.check()?;
            let key = signature(&binary.matching, &kept.labels);
            for partner in ones.get(&key).into_iter().flatten() {
                let partner = &one.series[*partner];
                join.pair(
                    key,
                    (&kept.labels, &kept.column),
                    (&partner.labels, &partner.column),
                )?;
            }
        }
        // With `group_right` upstream turns the sides round before it fills, so that `fill_left` is
        // always for the 'many' side. Answers agree with it.
        if let Some(value) = binary.matching.fill_right {
            join.fill_one(value, &many.series, &one.series)?;
        }
        if let Some(value) = binary.matching.fill_left {
            join.fill_many(value, &one.series)?;
        }
        Ok(join.merged.collected)
    }
}

/// One operator on its way over all pairs.
struct Join<'j, 'e, 'a> {
    evaluator: &'e Evaluator<'a>,
    binary: &'j VectorVector,
    many_left: bool,
    pos: Pos,
    steps: Steps,
    /// The series of the 'many' side.
    manies: BySignature,
    /// The steps at which the pair at hand met, whether or not a comparison held.
    met: Vec<bool>,
    /// The steps that pairs have taken, where several of the 'many' side share a partner: by
    /// signature, or where grouping lets them, by signature and labels of the result.
    taken: HashedMap<Vec<bool>>,
    /// The steps at which series of the 'one' side have met one of the 'many' side, by signature;
    /// only where the others are filled in.
    matched: HashedMap<Vec<bool>>,
    held: Held<'e>,
    merged: Merged<'e, 'a>,
}

impl Join<'_, '_, '_> {
    /// The operator on a pair, and its result.
    fn pair(
        &mut self,
        key: u128,
        many: (&Labels, &Column),
        one: (&Labels, &Column),
    ) -> Result<(), EvalError> {
        // Pairs of one group may be many more than its series.
        self.evaluator.budget.check()?;
        let _made = (
            self.evaluator.hold_copies(many.1)?,
            self.evaluator.hold_copies(one.1)?,
        );
        self.met.clear();
        self.met.resize(self.steps.count, false);
        let column = {
            let mut annotations = self.evaluator.annotations.borrow_mut();
            let mut met = std::mem::take(&mut self.met);
            let column = self.operate(many.1, one.1, &mut met, &mut annotations)?;
            self.met = met;
            column
        };
        if !self.met.contains(&true) {
            return Ok(());
        }
        let matching = &self.binary.matching;
        if matching.fill_left.is_some() {
            let matched = flags(&mut self.matched, key, self.steps, &mut self.held)?;
            for (matched, met) in matched.iter_mut().zip(&self.met) {
                *matched |= met;
            }
        }
        let delayed = self.evaluator.options.delayed_name_removal;
        let labels = result_labels(self.binary, delayed, many.0, one.0);
        if self.manies.get(&key).is_some_and(|all| all.len() > 1) {
            self.occupy(key, &labels)?;
        }
        let kept = Kept {
            labels,
            column,
            goes: delayed && self.binary.return_bool,
        };
        if !kept.column.is_empty() && !self.merged.keep(kept)? {
            return Err(match matching.cardinality {
                Cardinality::OneToOne => EvalError::same_labels(),
                _ => not_unique(),
            });
        }
        Ok(())
    }

    /// Takes the steps at which a pair met; an error where another has one of them, be there a
    /// result or not.
    fn occupy(&mut self, key: u128, labels: &Labels) -> Result<(), EvalError> {
        let one_to_one = self.binary.matching.cardinality == Cardinality::OneToOne;
        let filters = self.binary.op.is_comparison() && !self.binary.return_bool;
        let key = if one_to_one {
            key
        } else if filters {
            // Turned, as both hashes are the same where the labels of the matching are all.
            key.rotate_left(64) ^ Tag::of(labels).fingerprint().0
        } else {
            // Each pair that met has a result, so that two of the same labels are noticed anyway.
            return Ok(());
        };
        let taken = flags(&mut self.taken, key, self.steps, &mut self.held)?;
        for (taken, met) in taken.iter_mut().zip(&self.met) {
            if *taken && *met {
                return Err(if one_to_one {
                    ambiguous()
                } else {
                    not_unique()
                });
            }
            *taken |= met;
        }
        Ok(())
    }

    /// What of the 'many' side finds no partner gets this value for one.
    fn fill_one(&mut self, value: f64, many: &[Kept], one: &[Kept]) -> Result<(), EvalError> {
        let matching = &self.binary.matching;
        let mut there: HashedMap<Vec<bool>> = HashedMap::default();
        for kept in one {
            let key = signature(matching, &kept.labels);
            let there = flags(&mut there, key, self.steps, &mut self.held)?;
            mark(there, &kept.column);
        }
        let filled = self.filled(value);
        for kept in many {
            let key = signature(matching, &kept.labels);
            if let Some(lonely) = lonely(&kept.column, there.get(&key)) {
                let partner = group_labels(matching, &kept.labels);
                self.pair(key, (&kept.labels, &lonely), (&partner, &filled))?;
            }
        }
        Ok(())
    }

    /// The same for the 'one' side.
    fn fill_many(&mut self, value: f64, one: &[Kept]) -> Result<(), EvalError> {
        let matching = &self.binary.matching;
        let filled = self.filled(value);
        for kept in one {
            let key = signature(matching, &kept.labels);
            if let Some(lonely) = lonely(&kept.column, self.matched.get(&key)) {
                let partner = group_labels(matching, &kept.labels);
                self.pair(key, (&partner, &filled), (&kept.labels, &lonely))?;
            }
        }
        Ok(())
    }

    /// What stands for a missing partner.
    fn filled(&self, value: f64) -> Column {
        Column {
            floats: vec![value; self.steps.count],
            histograms: Vec::new(),
        }
    }

    /// Of the 'one' side, no two series of one group may have values at one step (at which the
    /// other side has any at all, or is filled in).
    fn check_ones(&self, ones: &BySignature, one: &[Kept], many: &[Kept]) -> Result<(), EvalError> {
        if ones.values().all(|group| group.len() < 2) {
            return Ok(());
        }
        let matching = &self.binary.matching;
        let fills = matching.fill_left.is_some() || matching.fill_right.is_some();
        let mut any = vec![fills; self.steps.count];
        many.iter().for_each(|kept| mark(&mut any, &kept.column));
        for group in ones.values().filter(|group| group.len() > 1) {
            let mut first: Vec<Option<usize>> = vec![None; self.steps.count];
            for at in group {
                self.evaluator.budget.check()?;
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

    /// The operator on two columns; notes the steps at which both have values that it knows.
    fn operate(
        &self,
        many: &Column,
        one: &Column,
        met: &mut [bool],
        annotations: &mut Annotations,
    ) -> Result<Column, EvalError> {
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
                met[step] = true;
                match operator::compare(op, *l, *r) {
                    None => out.set_float(step, operator::arithmetic(op, *l, *r)),
                    Some(holds) if self.binary.return_bool => {
                        out.floats[step] = f64::from(u8::from(holds));
                    }
                    Some(true) => out.floats[step] = *l,
                    Some(false) => {}
                }
            }
            return Ok(out);
        }
        for (step, met) in met.iter_mut().enumerate() {
            made::check(self.evaluator.budget, step)?;
            let (Some(l), Some(r)) = (operand(lhs, step), operand(rhs, step)) else {
                continue;
            };
            let outcome = operator::apply(op, l, r, self.pos, annotations);
            *met = !matches!(outcome, Outcome::Nothing);
            put(&mut out, step, outcome, l, self.binary.return_bool);
        }
        Ok(out)
    }
}

/// What of a series finds no partner; `None` where all of it does.
fn lonely(column: &Column, partners: Option<&Vec<bool>>) -> Option<Column> {
    let mut lonely = column.clone();
    if let Some(there) = partners {
        mask(&mut lonely, |step| !there[step]);
    }
    (!lonely.is_empty()).then_some(lonely)
}

fn operand(column: &Column, step: usize) -> Option<Operand<'_>> {
    match column.float(step) {
        Some(value) => Some(Operand::Float(value)),
        None => column.histogram(step).map(Operand::Histogram),
    }
}

fn ambiguous() -> EvalError {
    EvalError::Execution(
        "multiple matches for labels: many-to-one matching must be explicit \
         (group_left/group_right)"
            .to_owned(),
    )
}

fn not_unique() -> EvalError {
    EvalError::Execution(
        "multiple matches for labels: grouping labels must ensure unique matches".to_owned(),
    )
}
