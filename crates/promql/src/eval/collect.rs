//! Whole vectors in memory, for what can't be done series by series.

use std::cmp::Ordering;
use std::marker::PhantomData;

use model::labels::Labels;

use super::budget::Held;
use super::column::{Column, Steps};
use super::select::unite;
use super::tag::{HashedMap, Tag};
use super::{EvalError, Evaluator, order};
use crate::plan::Node;

/// One series, kept.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    /// Its labels.
    pub labels: Labels,
    /// Its values.
    pub column: Column,
    /// Whether its name, type and unit go at the end of the query.
    pub goes: bool,
}

impl Kept {
    /// What is known of it where it is streamed again.
    pub(super) fn tag(&self) -> Tag<'_> {
        let tag = Tag::of(&self.labels);
        if self.goes {
            tag.without_name(true)
        } else {
            tag
        }
    }
}

/// Series kept, and charged to the query's memory until they are dropped.
pub(super) struct Collected<'e, 'a> {
    held: Held<'e>,
    /// The series.
    pub series: Vec<Kept>,
    evaluation: PhantomData<&'e Evaluator<'a>>,
}

impl<'e, 'a> Collected<'e, 'a> {
    /// None yet.
    pub(super) fn new(evaluator: &'e Evaluator<'a>) -> Self {
        Self {
            held: evaluator.budget.hold(),
            series: Vec::new(),
            evaluation: PhantomData,
        }
    }

    /// Keeps a series whose labels stay.
    pub(super) fn push(&mut self, labels: Labels, column: Column) -> Result<(), EvalError> {
        self.keep(Kept {
            labels,
            column,
            goes: false,
        })
    }

    /// Keeps a series.
    pub(super) fn keep(&mut self, kept: Kept) -> Result<(), EvalError> {
        let (labels, column) = (&kept.labels, &kept.column);
        let bytes = labels.heap_bytes() + column.heap_bytes() + size_of::<Kept>();
        self.held.charge(bytes)?;
        self.held.keep(column.sample_count())?;
        self.series.push(kept);
        Ok(())
    }

    /// Sorts by labels.
    pub(super) fn sort(&mut self) -> Result<(), EvalError> {
        self.sort_by(|a, b| a.labels.cmp(&b.labels))
    }

    /// Sorts, keeping equals in their order.
    pub(super) fn sort_by(
        &mut self,
        compare: impl Fn(&Kept, &Kept) -> Ordering,
    ) -> Result<(), EvalError> {
        order::sort(self.held.budget(), &mut self.series, compare)
    }
}

/// Keeps series by their labels: what comes for labels that are there already is merged, step by
/// step, and must not clash.
pub(super) struct Merged<'e, 'a> {
    /// What was kept so far.
    pub collected: Collected<'e, 'a>,
    index: HashedMap<usize>,
}

impl<'e, 'a> Merged<'e, 'a> {
    /// None yet.
    pub(super) fn new(evaluator: &'e Evaluator<'a>) -> Self {
        Self {
            collected: Collected::new(evaluator),
            index: HashedMap::default(),
        }
    }

    /// Adds a series whose labels stay, as [`Self::keep`] does.
    pub(super) fn push(&mut self, labels: Labels, column: Column) -> Result<bool, EvalError> {
        self.keep(Kept {
            labels,
            column,
            goes: false,
        })
    }

    /// Adds a series, or merges it into the one with its labels. `false` where both have a value
    /// at one step.
    pub(super) fn keep(&mut self, kept: Kept) -> Result<bool, EvalError> {
        let key = Tag::of(&kept.labels).fingerprint().0;
        if let Some(at) = self.index.get(&key) {
            // Its floats take the places of steps that were empty.
            let held = &mut self.collected.held;
            held.charge(kept.column.histogram_bytes())?;
            held.keep(kept.column.sample_count())?;
            return Ok(unite(&mut self.collected.series[*at].column, kept.column));
        }
        self.index.insert(key, self.collected.series.len());
        self.collected.keep(kept)?;
        Ok(true)
    }

    /// Adds a series of a stream, taking its column.
    pub(super) fn add(&mut self, tag: Tag<'_>, column: &mut Column) -> Result<(), EvalError> {
        if column.is_empty() {
            return Ok(());
        }
        let kept = Kept {
            labels: tag.to_labels(),
            column: std::mem::take(column),
            goes: tag.goes(),
        };
        if self.keep(kept)? {
            Ok(())
        } else {
            Err(EvalError::same_labels())
        }
    }
}

impl<'a> Evaluator<'a> {
    /// Collects the series of a vector, those with the same labels merged.
    pub(super) fn collect<'e>(
        &'e self,
        node: &Node,
        steps: Steps,
    ) -> Result<Collected<'e, 'a>, EvalError> {
        let mut merged = Merged::new(self);
        self.stream(node, steps, &mut |tag, column| merged.add(tag, column))?;
        Ok(merged.collected)
    }
}
