//! `and`, `or` and `unless`.

use super::{flags, mark, mask, signature};
use crate::ast::BinaryOp;
use crate::eval::collect::{Collected, Kept, Merged};
use crate::eval::column::Steps;
use crate::eval::tag::HashedMap;
use crate::eval::{EvalError, Evaluator};
use crate::plan::VectorVector;

impl<'a> Evaluator<'a> {
    /// `and`, `or`, `unless`: by presence alone.
    pub(super) fn match_sets<'e>(
        &'e self,
        binary: &VectorVector,
        lhs: Collected<'e, 'a>,
        mut rhs: Collected<'e, 'a>,
        steps: Steps,
    ) -> Result<Collected<'e, 'a>, EvalError> {
        let mut merged = Merged::new(self);
        let key = |kept: &Kept| signature(&binary.matching, &kept.labels);
        let add = |merged: &mut Merged<'e, 'a>, kept: Kept| {
            if kept.column.is_empty() || merged.keep(kept)? {
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
                add(&mut merged, kept)?;
            }
            for mut kept in rhs.series.drain(..) {
                self.budget.check()?;
                if let Some(there) = left.get(&key(&kept)) {
                    mask(&mut kept.column, |step| !there[step]);
                }
                add(&mut merged, kept)?;
            }
            return Ok(merged.collected);
        }
        let right = presence(&rhs.series)?;
        let wanted = binary.op == BinaryOp::And;
        let mut lhs = lhs;
        for mut kept in lhs.series.drain(..) {
            self.budget.check()?;
            match right.get(&key(&kept)) {
                Some(there) => mask(&mut kept.column, |step| there[step] == wanted),
                None if wanted => continue,
                None => {}
            }
            add(&mut merged, kept)?;
        }
        Ok(merged.collected)
    }
}
