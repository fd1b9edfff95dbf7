//! Aggregations: series are folded into the accumulator of their group as they come.

use std::sync::Arc;

use model::histogram::ByLimits;
use model::labels::{Labels, LabelsBuilder, METRIC_NAME};

use super::accumulate::{Accumulator, Fold};
use super::collect::{Collected, Kept, Merged};
use super::column::{Column, Steps, is_absent};
use super::tag::{HashedMap, Tag};
use super::{EvalError, Evaluator};
use crate::annotations::Number;
use crate::ast::{AggregateOp, Grouping};
use crate::plan::{AggregateNode, Node};

impl<'a> Evaluator<'a> {
    /// Evaluates an aggregation.
    pub(super) fn aggregate<'e>(
        &'e self,
        node: &Node,
        aggregate: &AggregateNode,
        steps: Steps,
    ) -> Result<Collected<'e, 'a>, EvalError> {
        match aggregate.op {
            AggregateOp::Topk
            | AggregateOp::Bottomk
            | AggregateOp::Limitk
            | AggregateOp::LimitRatio => self.rank(node.pos, aggregate, steps),
            AggregateOp::Quantile => self.quantile(aggregate, steps),
            AggregateOp::CountValues => self.count_values(aggregate, steps),
            op => self.fold(op, aggregate, steps),
        }
    }

    fn fold<'e>(
        &'e self,
        op: AggregateOp,
        aggregate: &AggregateNode,
        steps: Steps,
    ) -> Result<Collected<'e, 'a>, EvalError> {
        let mut groups = Groups::new(&aggregate.grouping);
        let mut accumulators: Vec<Accumulator> = Vec::new();
        let mut held = self.budget.hold();
        let pos = aggregate.input.pos;
        self.stream(&aggregate.input, steps, &mut |tag, column| {
            let group = groups.of(tag);
            if group == accumulators.len() {
                let accumulator = Accumulator::new(op, steps.count, tag.metric_name());
                let taken = accumulator.heap_bytes() + groups.labels[group].heap_bytes();
                held.charge(taken)?;
                held.keep(steps.count)?;
                accumulators.push(accumulator);
            }
            let mut fold = Fold {
                annotations: self.annotations,
                pos,
                held: &mut held,
            };
            accumulators[group].add(column, &mut fold)
        })?;
        drop(held);
        let mut held = self.budget.hold();
        let mut collected = Collected::new(self);
        for (accumulator, (labels, goes)) in accumulators.into_iter().zip(groups.into_labels()) {
            self.budget.check()?;
            let fold = Fold {
                annotations: self.annotations,
                pos,
                held: &mut held,
            };
            let column = accumulator.finish(&fold);
            if !column.is_empty() {
                collected.keep(Kept {
                    labels,
                    column,
                    goes,
                })?;
            }
        }
        Ok(collected)
    }

    /// `count_values("label", v)`
    fn count_values<'e>(
        &'e self,
        aggregate: &AggregateNode,
        steps: Steps,
    ) -> Result<Collected<'e, 'a>, EvalError> {
        let label = match &aggregate.param {
            Some(param) => self.text(param)?,
            None => "",
        };
        if label.is_empty() {
            return Err(EvalError::Execution(format!(
                "invalid label name {label:?}"
            )));
        }
        // The label is set before series are grouped: `by` keeps it, `without` may drop it.
        let list_with = |list: &[Arc<str>]| {
            let mut list = list.to_vec();
            list.push(Arc::from(label));
            list
        };
        let (grouping, dropped) = match &aggregate.grouping {
            Grouping::By(list) => {
                let others = list.iter().filter(|name| &***name != label);
                (Grouping::By(others.cloned().collect()), false)
            }
            Grouping::Without(list) => {
                let dropped = label == METRIC_NAME || list.iter().any(|name| **name == *label);
                (Grouping::Without(list_with(list)), dropped)
            }
        };
        let mut groups = Groups::new(&grouping);
        let mut counts: std::collections::HashMap<(usize, String), Column> =
            std::collections::HashMap::new();
        let mut held = self.budget.hold();
        self.stream(&aggregate.input, steps, &mut |tag, column| {
            let group = groups.of(tag);
            let mut count = |step: usize, text: String| {
                let text = if dropped { String::new() } else { text };
                let taken = text.len() + 8 * steps.count + 64;
                let mut new = 0;
                let column = counts.entry((group, text)).or_insert_with(|| {
                    new = taken;
                    Column::absent(steps.count)
                });
                let before = column.float(step).unwrap_or(0.0);
                column.set_float(step, before + 1.0);
                if new > 0 {
                    held.charge(new)?;
                    held.keep(steps.count)?;
                }
                Ok::<_, EvalError>(())
            };
            for (step, value) in column.floats.iter().enumerate() {
                if !is_absent(*value) {
                    count(step, Number(*value).to_string())?;
                }
            }
            for (step, histogram) in &column.histograms {
                count(*step as usize, ByLimits(histogram).to_string())?;
            }
            Ok(())
        })?;
        drop(held);
        let mut merged = Merged::new(self);
        let mut counts: Vec<_> = counts.into_iter().collect();
        counts.sort_by(|a, b| a.0.cmp(&b.0));
        for ((group, text), column) in counts {
            let mut labels = LabelsBuilder::from(&groups.labels[group]);
            if !dropped {
                labels.set(label, &text);
            }
            let labels = labels.build();
            if !merged.push(labels, column)? {
                return Err(EvalError::same_labels());
            }
        }
        Ok(merged.collected)
    }
}

/// Finds the group of each series.
pub(super) struct Groups<'g> {
    grouping: &'g Grouping,
    index: HashedMap<usize>,
    /// The labels of each group.
    pub labels: Vec<Labels>,
    /// Whether any series of the group loses its name at the end of the query: so does the group.
    goes: Vec<bool>,
}

impl<'g> Groups<'g> {
    pub(super) fn new(grouping: &'g Grouping) -> Self {
        Self {
            grouping,
            index: HashedMap::default(),
            labels: Vec::new(),
            goes: Vec::new(),
        }
    }

    /// The labels of each group, and whether they lose the name at the end of the query.
    pub(super) fn into_labels(self) -> impl Iterator<Item = (Labels, bool)> {
        self.labels.into_iter().zip(self.goes)
    }

    /// The index of a series' group; one above all known where it is new.
    pub(super) fn of(&mut self, tag: Tag<'_>) -> usize {
        let group = self.find(tag);
        if group == self.goes.len() {
            self.goes.push(false);
        }
        self.goes[group] |= tag.goes();
        group
    }

    fn find(&mut self, tag: Tag<'_>) -> usize {
        let listed = |list: &[Arc<str>], name: &str| list.iter().any(|known| **known == *name);
        let next = self.labels.len();
        match self.grouping {
            Grouping::By(list) if list.is_empty() => {
                if next == 0 {
                    self.labels.push(Labels::empty());
                }
                0
            }
            Grouping::By(list) => {
                let key = tag.hash(|name| listed(list, name));
                let group = *self.index.entry(key).or_insert(next);
                if group == next {
                    let kept = tag.iter().filter(|(name, _)| listed(list, name));
                    self.labels.push(Labels::from_sorted(kept));
                }
                group
            }
            Grouping::Without(list) => {
                let keep = |name: &str| name != METRIC_NAME && !listed(list, name);
                let group = *self.index.entry(tag.hash(keep)).or_insert(next);
                if group == next {
                    let kept = tag.iter().filter(|(name, _)| keep(name));
                    self.labels.push(Labels::from_sorted(kept));
                }
                group
            }
        }
    }
}
