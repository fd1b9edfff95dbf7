//! Series computed ahead, as the reader needs them to go on as if it had computed them itself.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use model::labels::Labels;
use model::select::SeriesSet;

use super::Work;
use super::parts::Parts;
use super::source::Given;
use crate::annotations::Annotations;
use crate::eval::budget::{Budget, Count};
use crate::eval::column::{Column, HistogramSteps, histogram_bytes};
use crate::eval::stream::Sink;
use crate::eval::tag::{Metadata, Tag};
use crate::eval::{EvalError, Evaluator};

/// The series of one part.
#[derive(Default)]
pub(super) struct Batch {
    series: Vec<Ahead>,
    /// The floats of all series, one after the other.
    floats: Vec<f64>,
    /// What counts against the limits, in order.
    counts: Vec<Count>,
    annotations: Annotations,
    /// Why the part ended too early.
    error: Option<EvalError>,
    /// What was left when too much had been computed ahead.
    rest: Option<Box<dyn SeriesSet>>,
    bytes: usize,
}

/// One series, and what came up to it.
struct Ahead {
    labels: Labels,
    has_name: bool,
    metadata: Metadata,
    histograms: HistogramSteps,
    /// How many of the counts come before it.
    counts: usize,
    /// How many of the annotations.
    notes: usize,
    /// Bytes that are held while it is handed on.
    held: usize,
}

impl Batch {
    /// Computes a part. A panic becomes its end.
    pub(super) fn compute(work: &Work<'_>, parts: &Arc<Parts>, set: Box<dyn SeriesSet>) -> Self {
        let mut batch = parts.batch();
        let is_full = {
            let parts = Arc::clone(parts);
            Arc::new(move |_: &_| parts.is_full())
        };
        let given = Given::until(set, is_full);
        let abandoned = || parts.is_abandoned();
        let budget = Budget::ahead(work.limits, work.clock, &abandoned);
        let annotations = RefCell::default();
        let evaluator = Evaluator {
            source: &given,
            time: work.time,
            steps: work.query_steps,
            options: work.options,
            budget: &budget,
            annotations: &annotations,
            cores: None,
            observer: work.observer,
            counted: work.counted,
            shared: None,
        };
        let run = || {
            evaluator.stream(work.node, work.steps, &mut |tag, column| {
                let notes = annotations.borrow().count();
                let taken = batch.push(tag, column, budget.counted(), notes, budget.memory());
                parts.grow(taken);
                Ok(())
            })
        };
        let ended = catch_unwind(AssertUnwindSafe(run));
        batch.error = ended.unwrap_or(Err(EvalError::Internal)).err();
        batch.counts = budget.into_counts();
        batch.annotations = annotations.into_inner();
        batch.rest = given.into_rest();
        batch
    }

    /// Keeps a series; returns the bytes taken.
    fn push(
        &mut self,
        tag: Tag<'_>,
        column: &mut Column,
        counts: usize,
        notes: usize,
        held: usize,
    ) -> usize {
        let histograms = std::mem::take(&mut column.histograms);
        let of_histograms = |(_, h): &(u32, Arc<_>)| size_of::<(u32, usize)>() + histogram_bytes(h);
        let bytes = size_of::<Ahead>()
            + tag.labels.heap_bytes()
            + size_of_val(column.floats.as_slice())
            + histograms.iter().map(of_histograms).sum::<usize>();
        self.floats.extend_from_slice(&column.floats);
        self.series.push(Ahead {
            labels: tag.labels.clone(),
            has_name: tag.name.is_some(),
            metadata: tag.metadata,
            histograms,
            counts,
            notes,
            held,
        });
        self.bytes += bytes;
        bytes
    }

    /// Bytes it takes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Empties it, keeping its memory.
    pub(super) fn clear(&mut self) {
        self.series.clear();
        self.floats.clear();
        *self = Self {
            series: std::mem::take(&mut self.series),
            floats: std::mem::take(&mut self.floats),
            ..Self::default()
        };
    }

    /// Streams it to the sink of the reader; returns what is left to be computed.
    pub(super) fn read(
        &mut self,
        evaluator: &Evaluator<'_>,
        work: &Work<'_>,
        column: &mut Column,
        sink: &mut Sink<'_>,
    ) -> Result<Option<Box<dyn SeriesSet>>, EvalError> {
        let (mut counted, mut noted) = (0, 0);
        let mut catch_up = |counts: usize, notes: usize| {
            if notes > noted {
                let mut annotations = evaluator.annotations.borrow_mut();
                annotations.merge_some(&self.annotations, noted..notes);
                noted = notes;
            }
            let fresh = &self.counts[counted..counts];
            counted = counts;
            fresh
                .iter()
                .try_for_each(|count| evaluator.budget.count(*count))
        };
        let steps = work.steps.count;
        for (at, series) in self.series.drain(..).enumerate() {
            catch_up(series.counts, series.notes)?;
            column.floats.clear();
            let floats = &self.floats[at * steps..(at + 1) * steps];
            column.floats.extend_from_slice(floats);
            column.histograms = series.histograms;
            let tag = Tag {
                labels: &series.labels,
                name: work.name.filter(|_| series.has_name),
                metadata: series.metadata,
            };
            let mut held = evaluator.budget.hold();
            held.charge(series.held)?;
            sink(tag, column)?;
        }
        catch_up(self.counts.len(), self.annotations.count())?;
        match self.error.take() {
            Some(error) => Err(error),
            None => Ok(self.rest.take()),
        }
    }
}
