//! Several cores for one query.
//!
//! What is computed series by series (a selector, and the functions and operators with scalars
//! above it) is computed by parts of the selection: helpers compute parts ahead, and the thread of
//! the query reads them in the order of the selection, computing itself what nobody has begun. So
//! what lies above sees the same series in the same order as without helpers, and so does whoever
//! compares answers, annotations, errors and limits.
//!
//! A selection is first streamed as ever; only when it has proved large are helpers called in.

mod batch;
mod parts;
mod source;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::Builder;

use model::asker;
use model::select::{SeriesSamples, SeriesSet};
use model::time::Clock;

use self::batch::Batch;
use self::parts::{Parts, Turn};
use self::source::{Given, Probe};
use super::budget::{BYTES_PER_STEP, EvalLimits};
use super::column::{Column, Steps, histogram_bytes};
use super::cores::{Cores, Lent};
use super::kernel::Special;
use super::observe::{Counted, Observer};
use super::stream::Sink;
use super::{EvalError, EvalOptions, Evaluator, QueryTime};
use crate::plan::{Node, NodeKind, RangeSource, Select};

/// Bytes that may be computed ahead, over all helpers of a query.
const MAX_AHEAD: usize = 8 << 20;
/// About the bytes of the floats of one part.
const PART_BYTES: usize = 256 << 10;
/// The most series of a part.
const MAX_PART: usize = 256;
/// Nodes above a selector, at most: helpers have small stacks.
const MAX_DEPTH: usize = 30;

/// What helpers are to compute.
struct Work<'w> {
    node: &'w Node,
    steps: Steps,
    /// The name that the series of the selector have.
    name: Option<&'w str>,
    query_steps: Steps,
    time: QueryTime,
    options: EvalOptions,
    limits: &'w EvalLimits,
    clock: &'w dyn Clock,
    observer: Option<&'w Observer<'w>>,
    counted: Counted,
}

/// What a node would stream.
struct Found {
    set: Box<dyn SeriesSet>,
    /// Bytes that are held while it is computed, beside its column.
    scratch: usize,
}

impl Evaluator<'_> {
    /// Streams a node on several cores, where there are any to be had and it is worth while.
    /// `selector` is the one that it streams.
    pub(super) fn stream_parallel(
        &self,
        node: &Node,
        selector: &Select,
        cores: &Cores,
        steps: Steps,
        sink: &mut Sink<'_>,
    ) -> Result<(), EvalError> {
        let Some(Found { set, scratch }) = self.select_only(node, steps)? else {
            return Ok(());
        };
        let all_steps = steps.count + scratch / BYTES_PER_STEP;
        // What is small is done before helpers are thought of.
        let alone = cores.worth() / 4;
        let spent = Arc::new(AtomicUsize::new(0));
        let largest = Arc::new(AtomicUsize::new(0));
        let given = {
            let (spent, largest) = (Arc::clone(&spent), Arc::clone(&largest));
            let count = move |samples: &SeriesSamples| {
                let points = samples.histograms.iter();
                let bytes = points.map(|point| histogram_bytes(&point.histogram)).max();
                largest.fetch_max(bytes.unwrap_or(0), Ordering::Relaxed);
                let work = samples.ts.len() + samples.histograms.len() + all_steps;
                spent.fetch_add(work, Ordering::Relaxed) + work > alone
            };
            Given::until(set, Arc::new(count))
        };
        let loaded = self.budget.series();
        self.stream_of(&given, node, steps, sink)?;
        let Some(set) = given.into_rest() else {
            return Ok(());
        };
        let loaded = (self.budget.series() - loaded).max(1);
        let left = set.remaining().unwrap_or(0);
        let each = spent.load(Ordering::Relaxed) / loaded;
        // A helper holds a series on its way, as the thread of the query does: with a histogram at
        // each step, where the series so far had any.
        let histograms = steps.count.saturating_mul(largest.load(Ordering::Relaxed));
        let bytes = (all_steps * BYTES_PER_STEP).saturating_add(histograms);
        let most = (self.allowed_ahead() / 2 / bytes).min(left.saturating_sub(1));
        let lent = if each.saturating_mul(left) >= cores.worth() {
            cores.lend(most)
        } else {
            None
        };
        let Some(lent) = lent else {
            return self.stream_of(&Given::all(set), node, steps, sink);
        };
        let work = Work {
            node,
            steps,
            name: selector.name.as_deref(),
            query_steps: self.steps,
            time: self.time,
            options: self.options,
            limits: self.budget.limits(),
            clock: self.budget.clock(),
            observer: self.observer,
            counted: self.counted,
        };
        self.stream_with(&lent, &work, set, left, scratch, sink)
    }

    /// Asks storage for the series of a node, without computing anything.
    fn select_only(&self, node: &Node, steps: Steps) -> Result<Option<Found>, EvalError> {
        let probe = Probe::new(self.source);
        let budget = self.budget.fork();
        let evaluator = Evaluator {
            source: &probe,
            budget: &budget,
            cores: None,
            shared: None,
            ..*self
        };
        evaluator.stream(node, steps, &mut |_, _| Ok(()))?;
        let scratch = budget.stats().peak_memory_bytes - self.budget.memory();
        Ok(probe.into_found().map(|set| Found { set, scratch }))
    }

    /// Streams a node over series that were selected before.
    fn stream_of(
        &self,
        given: &Given,
        node: &Node,
        steps: Steps,
        sink: &mut Sink<'_>,
    ) -> Result<(), EvalError> {
        let evaluator = Evaluator {
            source: given,
            cores: None,
            shared: None,
            ..*self
        };
        evaluator.stream(node, steps, sink)
    }

    /// Streams what is left of a selection with helpers.
    fn stream_with(
        &self,
        lent: &Lent,
        work: &Work<'_>,
        set: Box<dyn SeriesSet>,
        left: usize,
        scratch: usize,
        sink: &mut Sink<'_>,
    ) -> Result<(), EvalError> {
        let threads = lent.count() + 1;
        let by_bytes = PART_BYTES / (size_of::<f64>() * work.steps.count);
        let part = by_bytes.min(left / (2 * threads)).clamp(1, MAX_PART);
        let sets = set.split(left.div_ceil(part));
        let parts = Arc::new(Parts::new(sets, threads, self.allowed_ahead()));
        parts.grow(lent.count() * (scratch + BYTES_PER_STEP * work.steps.count));
        std::thread::scope(|scope| {
            let _reader = parts.reader();
            let asker = asker::current();
            for _ in 0..lent.count() {
                let asker = asker.clone();
                let help = || {
                    asker::work_for(asker, || {
                        while let Some((at, set)) = parts.take() {
                            parts.done(at, Batch::compute(work, &parts, set));
                        }
                    });
                };
                // Without it the others have more to do, and that is all.
                let _ = Builder::new()
                    .name("query-core".to_owned())
                    .spawn_scoped(scope, help);
            }
            self.read(work, &parts, sink)
        })
    }

    /// Reads parts in their order until there is none left.
    fn read(
        &self,
        work: &Work<'_>,
        parts: &Arc<Parts>,
        sink: &mut Sink<'_>,
    ) -> Result<(), EvalError> {
        let mut column = Column::default();
        loop {
            match parts.turn() {
                Turn::End => return Ok(()),
                Turn::Run(set) => self.stream_of(&Given::all(set), work.node, work.steps, sink)?,
                Turn::Help(at, set) => parts.done(at, Batch::compute(work, parts, set)),
                Turn::Read(mut batch) => {
                    self.budget.note_ahead(parts.ahead());
                    parts.allow(self.allowed_ahead());
                    let bytes = batch.bytes();
                    let rest = batch.read(self, work, &mut column, sink)?;
                    parts.shrink(bytes);
                    batch.clear();
                    parts.reuse(*batch);
                    if let Some(set) = rest {
                        self.stream_of(&Given::all(set), work.node, work.steps, sink)?;
                    }
                }
            }
        }
    }

    /// Bytes that may be computed ahead.
    fn allowed_ahead(&self) -> usize {
        (self.budget.memory_left() / 4).min(MAX_AHEAD)
    }
}

/// The selector of a node that streams the series of one selector, one by one, each by itself.
pub(super) fn selector_of(node: &Node) -> Option<&Select> {
    chain(node, 0)
}

fn chain(node: &Node, depth: usize) -> Option<&Select> {
    // What is kept below is kept by the thread of the query.
    if depth > MAX_DEPTH || (depth > 0 && node.shared.is_some()) {
        return None;
    }
    let all_fixed = |params: &[Node]| params.iter().all(|param| is_fixed(param, 0));
    match &node.kind {
        NodeKind::Select(select) => Some(select),
        NodeKind::Range(call) => {
            let distinct = call.keeps_name || call.source.stays_distinct();
            let source = match &call.source {
                RangeSource::Select(select, _) => Some(select),
                RangeSource::Subquery(subquery) => chain(&subquery.input, depth + 1),
            };
            source.filter(|_| distinct && all_fixed(&call.params))
        }
        NodeKind::Element(call) => {
            let distinct = call.keeps_name || call.input.stays_distinct();
            let input = chain(&call.input, depth + 1);
            input.filter(|_| distinct && all_fixed(&call.params))
        }
        NodeKind::VectorScalar(binary) => {
            let distinct = !binary.drops_name() || binary.vector.stays_distinct();
            let vector = chain(&binary.vector, depth + 1);
            vector.filter(|_| distinct && is_fixed(&binary.scalar, 0))
        }
        NodeKind::Negate(input) => chain(input, depth + 1).filter(|_| input.stays_distinct()),
        NodeKind::Invariant(input) => chain(input, depth + 1),
        _ => None,
    }
}

/// Whether a scalar is known without a look at storage.
fn is_fixed(node: &Node, depth: usize) -> bool {
    let is_fixed = |node: &Node| depth < MAX_DEPTH && is_fixed(node, depth + 1);
    match &node.kind {
        NodeKind::Number(_) | NodeKind::String(_) => true,
        NodeKind::Negate(input) | NodeKind::Invariant(input) => is_fixed(input),
        NodeKind::ScalarBinary(_, lhs, rhs) => is_fixed(lhs) && is_fixed(rhs),
        NodeKind::Special(special, args) => match special {
            Special::Time
            | Special::Pi
            | Special::Start
            | Special::End
            | Special::Range
            | Special::Step => true,
            Special::MaxOf | Special::MinOf => args.iter().all(is_fixed),
            _ => false,
        },
        _ => false,
    }
}
