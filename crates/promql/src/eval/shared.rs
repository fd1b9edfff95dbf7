//! Vectors that a query uses more than once: computed the first time, kept while there is room,
//! and streamed again for the others.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use model::labels::Labels;

use super::budget::Budget;
use super::column::{Column, Steps};
use super::stream::Sink;
use super::tag::{Metadata, Tag};
use super::{EvalError, Evaluator};
use crate::annotations::{Annotations, Pos};
use crate::plan::Node;

/// Bytes that one vector may take; larger ones are computed each time.
const MAX_BYTES: usize = 32 << 20;

/// The vectors that a plan has more than once.
pub(super) struct Shared(RefCell<Vec<Slot>>);

struct Slot {
    /// How often it is still to be used.
    uses: usize,
    kept: Option<Rc<Vector>>,
}

/// A vector, kept.
struct Vector {
    steps: Steps,
    /// Where it stood when it was computed.
    pos: Pos,
    series: Vec<Series>,
    annotations: Annotations,
    /// The samples that were counted for it, by step.
    counted: Vec<u64>,
    /// What it takes of the budget: given back when it has been used for the last time.
    bytes: usize,
    most: usize,
}

struct Series {
    labels: Labels,
    name: Option<Arc<str>>,
    metadata: Metadata,
    column: Column,
}

impl Shared {
    /// Vectors that are used so often.
    pub(super) fn new(uses: &[usize]) -> Self {
        let slot = |uses: &usize| Slot {
            uses: *uses,
            kept: None,
        };
        Self(RefCell::new(uses.iter().map(slot).collect()))
    }
}

impl Shared {
    /// Counts a use; returns what is kept, and how often it will be used again.
    fn take(&self, slot: usize, steps: Steps, budget: &Budget<'_>) -> (Option<Rc<Vector>>, usize) {
        let mut slots = self.0.borrow_mut();
        let Some(slot) = slots.get_mut(slot) else {
            return (None, 0);
        };
        slot.uses = slot.uses.saturating_sub(1);
        let kept = if slot.uses == 0 {
            slot.kept.take()
        } else {
            slot.kept.clone()
        };
        match kept {
            Some(kept) if kept.steps == steps => (Some(kept), slot.uses),
            Some(other) if slot.uses == 0 => {
                budget.release(other.bytes);
                (None, 0)
            }
            _ => (None, slot.uses),
        }
    }

    /// Keeps a vector in place of one that was kept for other steps.
    fn put(&self, slot: usize, vector: Vector, budget: &Budget<'_>) {
        if let Some(slot) = self.0.borrow_mut().get_mut(slot)
            && let Some(before) = slot.kept.replace(Rc::new(vector))
        {
            budget.release(before.bytes);
        }
    }
}

impl Evaluator<'_> {
    /// Streams a vector that the query uses more than once.
    pub(super) fn stream_shared(
        &self,
        shared: &Shared,
        slot: usize,
        node: &Node,
        steps: Steps,
        sink: &mut Sink<'_>,
    ) -> Result<(), EvalError> {
        match shared.take(slot, steps, self.budget) {
            (Some(kept), _) => {
                self.observe_reuse(node, &kept.counted);
                self.observe_stream(node, sink, |sink| self.stream_kept(kept, node.pos, sink))
            }
            (None, 0) => self.stream_anew(node, steps, sink),
            (None, _) => self.stream_and_keep(shared, slot, node, steps, sink),
        }
    }

    fn stream_and_keep(
        &self,
        shared: &Shared,
        slot: usize,
        node: &Node,
        steps: Steps,
        sink: &mut Sink<'_>,
    ) -> Result<(), EvalError> {
        let annotations = RefCell::default();
        let evaluator = Evaluator {
            annotations: &annotations,
            ..*self
        };
        let mut vector = Some(Vector {
            steps,
            pos: node.pos,
            series: Vec::new(),
            annotations: Annotations::default(),
            counted: Vec::new(),
            bytes: 0,
            // So that what is kept leaves enough for what is to come.
            most: (self.budget.memory_left() / 8).min(MAX_BYTES),
        });
        let before = self.counted_samples();
        let streamed = evaluator.stream_anew(node, steps, &mut |tag, column| {
            vector = match vector.take() {
                Some(vector) => vector.with(tag, column, self.budget)?,
                None => None,
            };
            sink(tag, column)
        });
        let annotations = annotations.into_inner();
        self.annotations
            .borrow_mut()
            .merge_moved(&annotations, node.pos, node.pos);
        streamed?;
        if let Some(vector) = vector {
            let pairs = self.counted_samples().into_iter().zip(before);
            let vector = Vector {
                annotations,
                counted: pairs.map(|(after, before)| after - before).collect(),
                ..vector
            };
            shared.put(slot, vector, self.budget);
        }
        Ok(())
    }

    /// Streams what was kept; where this is the last use, without a copy.
    fn stream_kept(
        &self,
        kept: Rc<Vector>,
        pos: Pos,
        sink: &mut Sink<'_>,
    ) -> Result<(), EvalError> {
        self.annotations
            .borrow_mut()
            .merge_moved(&kept.annotations, kept.pos, pos);
        match Rc::try_unwrap(kept) {
            Ok(last) => {
                for mut series in last.series {
                    self.budget.check()?;
                    let mut column = std::mem::take(&mut series.column);
                    sink(series.tag(), &mut column)?;
                }
                self.budget.release(last.bytes);
            }
            Err(kept) => {
                let mut column = Column::default();
                for series in &kept.series {
                    self.budget.check()?;
                    column.clone_from(&series.column);
                    sink(series.tag(), &mut column)?;
                }
            }
        }
        Ok(())
    }
}

impl Vector {
    /// Adds a series; `None` where there is no room for it.
    fn with(
        mut self,
        tag: Tag<'_>,
        column: &Column,
        budget: &Budget<'_>,
    ) -> Result<Option<Self>, EvalError> {
        let bytes = size_of::<Series>() + tag.labels.heap_bytes() + column.heap_bytes();
        if self.bytes + bytes > self.most {
            budget.release(self.bytes);
            return Ok(None);
        }
        self.bytes += bytes;
        budget.charge(bytes)?;
        let last = self.series.last().and_then(|series| series.name.as_ref());
        let name = tag.name.map(|name| match last {
            Some(last) if **last == *name => Arc::clone(last),
            _ => Arc::from(name),
        });
        self.series.push(Series {
            labels: tag.labels.clone(),
            name,
            metadata: tag.metadata,
            column: column.clone(),
        });
        Ok(Some(self))
    }
}

impl Series {
    fn tag(&self) -> Tag<'_> {
        Tag {
            labels: &self.labels,
            name: self.name.as_deref(),
            metadata: self.metadata,
        }
    }
}

#[cfg(test)]
mod tests;
