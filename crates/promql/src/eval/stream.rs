//! Streams of series: each node pushes its series, as columns, into a sink.

use super::budget::{Budget, Held, MANY_STEPS};
use super::collect::{Collected, Merged};
use super::column::{Column, ScalarColumn, Steps, is_absent};
use super::kernel::{Interrupt, KernelContext, Special};
use super::operator::{self, Operand, Outcome};
use super::parallel::selector_of;
use super::select::{Yield, broadcast};
use super::smooth::check_edge;
use super::tag::{HashedSet, Tag};
use super::{EvalError, Evaluator, made};
use crate::annotations::Note;
use crate::ast::Edge;
use crate::plan::{ElementCall, Node, NodeKind, RangeCall, Select, VectorScalar};

/// Takes series. It may change the column, or take it and leave another.
pub(super) type Sink<'s> = dyn FnMut(Tag<'_>, &mut Column) -> Result<(), EvalError> + 's;

impl Evaluator<'_> {
    /// Streams the series of a node whose value is a vector.
    pub(super) fn stream(
        &self,
        node: &Node,
        steps: Steps,
        sink: &mut Sink<'_>,
    ) -> Result<(), EvalError> {
        if let (Some(shared), Some(slot)) = (self.shared, node.shared) {
            return self.stream_shared(shared, slot, node, steps, sink);
        }
        self.stream_anew(node, steps, sink)
    }

    /// Streams the series of a node, whether or not they were streamed before.
    pub(super) fn stream_anew(
        &self,
        node: &Node,
        steps: Steps,
        sink: &mut Sink<'_>,
    ) -> Result<(), EvalError> {
        if let Some(cores) = self.cores
            && let Some(selector) = selector_of(node)
        {
            return self.stream_parallel(node, selector, cores, steps, sink);
        }
        if self.observer.is_some() {
            return self.observe_stream(node, sink, |sink| self.stream_node(node, steps, sink));
        }
        self.stream_node(node, steps, sink)
    }

    fn stream_node(&self, node: &Node, steps: Steps, sink: &mut Sink<'_>) -> Result<(), EvalError> {
        // As long as names are there, series differ.
        let delayed = self.options.delayed_name_removal;
        match &node.kind {
            NodeKind::Select(select) if select.edge == Edge::Smoothed => {
                self.stream_smoothed(select, node.pos, steps, sink)
            }
            NodeKind::Select(select) => self.stream_select(select, steps, Yield::Value, sink),
            NodeKind::Range(call) => {
                if delayed || call.keeps_name || call.source.stays_distinct() {
                    return self.stream_range(node, call, steps, sink);
                }
                // Over ranges, two series of the same labels are never one, even where they have
                // no step in common.
                self.stream_range(node, call, steps, &mut once(sink))
            }
            NodeKind::Element(call) => {
                let distinct = delayed || call.keeps_name || call.input.stays_distinct();
                self.distinct(distinct, steps, sink, |sink| {
                    self.stream_element(node, call, steps, sink)
                })
            }
            NodeKind::VectorScalar(binary) => {
                let distinct = delayed || !binary.drops_name() || binary.vector.stays_distinct();
                self.distinct(distinct, steps, sink, |sink| {
                    self.stream_scalar_op(node, binary, steps, sink)
                })
            }
            NodeKind::Negate(input) => {
                self.distinct(delayed || input.stays_distinct(), steps, sink, |sink| {
                    self.stream(input, steps, &mut |tag, column| {
                        let _made = self.hold_copies(column)?;
                        negate(column, self.budget)?;
                        sink(self.nameless(tag), column)
                    })
                })
            }
            NodeKind::Invariant(input) => {
                self.stream(input, Steps::instant(steps.start), &mut |tag, column| {
                    broadcast(column, steps.count);
                    sink(tag, column)
                })
            }
            NodeKind::Special(special, args) => {
                self.stream_special(node, *special, args, steps, sink)
            }
            NodeKind::Buckets(call) => {
                let collected = self.buckets(node, call, steps)?;
                self.replay(collected, sink)
            }
            NodeKind::Aggregate(aggregate) => {
                let collected = self.aggregate(node, aggregate, steps)?;
                self.replay(collected, sink)
            }
            NodeKind::VectorVector(binary) => {
                let collected = self.match_vectors(node, binary, steps)?;
                self.replay(collected, sink)
            }
            NodeKind::Number(_)
            | NodeKind::String(_)
            | NodeKind::ScalarBinary(..)
            | NodeKind::Window(_) => Err(EvalError::Execution(
                "expected an instant vector".to_owned(),
            )),
        }
    }

    /// Streams what `run` streams. Where its series may have come to have the same labels, as
    /// their names were dropped, they are merged first, which fails where two have a value at one
    /// step.
    pub(super) fn distinct(
        &self,
        distinct: bool,
        steps: Steps,
        sink: &mut Sink<'_>,
        run: impl FnOnce(&mut Sink<'_>) -> Result<(), EvalError>,
    ) -> Result<(), EvalError> {
        if distinct {
            return run(sink);
        }
        if steps.count == 1 {
            // There is nothing to merge: each has its value at the one step.
            return run(&mut once(sink));
        }
        let mut merged = Merged::new(self);
        run(&mut |tag, column| merged.add(tag, column))?;
        self.replay(merged.collected, sink)
    }

    /// To be called for a series where its steps may be so many that each operation takes long.
    fn check_steps(&self, steps: Steps) -> Result<(), EvalError> {
        if steps.count > MANY_STEPS {
            self.budget.stopped()?;
        }
        Ok(())
    }

    /// A series that loses its name.
    fn nameless<'t>(&self, tag: Tag<'t>) -> Tag<'t> {
        tag.without_name(self.options.delayed_name_removal)
    }

    /// Streams what was collected.
    pub(super) fn replay(
        &self,
        mut collected: Collected<'_, '_>,
        sink: &mut Sink<'_>,
    ) -> Result<(), EvalError> {
        for series in &mut collected.series {
            self.budget.check()?;
            let mut column = std::mem::take(&mut series.column);
            sink(series.tag(), &mut column)?;
        }
        Ok(())
    }

    /// The scalar arguments of a function.
    pub(super) fn params(
        &self,
        params: &[Node],
        steps: Steps,
        held: &mut Held<'_>,
    ) -> Result<Vec<ScalarColumn>, EvalError> {
        params
            .iter()
            .map(|param| self.kept_scalar(param, steps, held))
            .collect()
    }

    fn stream_range(
        &self,
        node: &Node,
        call: &RangeCall,
        steps: Steps,
        sink: &mut Sink<'_>,
    ) -> Result<(), EvalError> {
        let mut held = self.budget.hold();
        let params = self.params(&call.params, steps, &mut held)?;
        check_edge(call.name, &call.source)?;
        let mut out = Column::default();
        let is_counter = matches!(call.name, "rate" | "increase");
        let mut noted = String::new();
        let stop = || self.budget.stopped().is_err();
        let interrupt = Interrupt::new(&stop);
        self.stream_windows(&call.source, steps, &mut |tag, samples, windows| {
            out.reset(steps.count);
            let _made = self.hold_of_windows(call.name, &samples.histograms, windows)?;
            if call.name == "double_exponential_smoothing" {
                let mut populated =
                    (0..steps.count).filter(|step| !windows.windows[*step].is_empty());
                populated
                    .try_for_each(|step| crate::functions::check_params(call.name, &params, step))
                    .map_err(EvalError::Execution)?;
            }
            let input = super::kernel::RangeInput {
                samples,
                windows,
                params: &params,
                interrupt: &interrupt,
            };
            {
                let mut annotations = self.annotations.borrow_mut();
                let mut context = KernelContext {
                    steps,
                    metric_name: tag.metric_name(),
                    call: node.pos,
                    args: &call.args,
                    annotations: &mut annotations,
                };
                (call.kernel)(&input, &mut out, &mut context);
                // Said once for a name: most often all series have the same.
                if is_counter
                    && *context.metric_name != *noted
                    && !looks_like_counter(context.metric_name)
                    && out.floats.iter().any(|value| !is_absent(*value))
                {
                    noted.clear();
                    noted.push_str(context.metric_name);
                    context.note_arg(0, &Note::PossibleNonCounter(&noted));
                }
            }
            self.budget.stopped()?;
            if out.is_empty() {
                return Ok(());
            }
            let tag = if call.keeps_name {
                tag
            } else {
                self.nameless(tag)
            };
            sink(tag, &mut out)
        })
    }

    fn stream_element(
        &self,
        node: &Node,
        call: &ElementCall,
        steps: Steps,
        sink: &mut Sink<'_>,
    ) -> Result<(), EvalError> {
        let mut held = self.budget.hold();
        let params = self.params(&call.params, steps, &mut held)?;
        self.stream(&call.input, steps, &mut |tag, column| {
            self.check_steps(steps)?;
            {
                let mut annotations = self.annotations.borrow_mut();
                let mut context = KernelContext {
                    steps,
                    metric_name: tag.metric_name(),
                    call: node.pos,
                    args: &call.args,
                    annotations: &mut annotations,
                };
                (call.kernel)(column, &params, &mut context);
            }
            if column.is_empty() {
                return Ok(());
            }
            let tag = if call.keeps_name {
                tag
            } else {
                self.nameless(tag)
            };
            sink(tag, column)
        })
    }

    fn stream_scalar_op(
        &self,
        node: &Node,
        binary: &VectorScalar,
        steps: Steps,
        sink: &mut Sink<'_>,
    ) -> Result<(), EvalError> {
        let mut held = self.budget.hold();
        let scalar = self.kept_scalar(&binary.scalar, steps, &mut held)?;
        let drops_name = binary.drops_name();
        self.stream(&binary.vector, steps, &mut |tag, column| {
            self.check_steps(steps)?;
            let _made = self.hold_copies(column)?;
            if column.histograms.is_empty() && !binary.op.is_trim() {
                scalar_op_floats(binary, &scalar, column);
            } else {
                self.scalar_op(node, binary, &scalar, column)?;
            }
            if column.is_empty() {
                return Ok(());
            }
            sink(if drops_name { self.nameless(tag) } else { tag }, column)
        })
    }

    /// An operator with a scalar on a column that has histograms.
    fn scalar_op(
        &self,
        node: &Node,
        binary: &VectorScalar,
        scalar: &ScalarColumn,
        column: &mut Column,
    ) -> Result<(), EvalError> {
        let mut annotations = self.annotations.borrow_mut();
        let before = std::mem::take(column);
        column.reset(before.len());
        for step in 0..before.len() {
            made::check(self.budget, step)?;
            let own = match (before.float(step), before.histogram(step)) {
                (Some(value), _) => Operand::Float(value),
                (None, Some(histogram)) => Operand::Histogram(histogram),
                (None, None) => continue,
            };
            let other = Operand::Float(scalar.at(step));
            let (l, r) = if binary.scalar_left {
                (other, own)
            } else {
                (own, other)
            };
            let outcome = operator::apply(binary.op, l, r, node.pos, &mut annotations);
            put(column, step, outcome, own, binary.return_bool);
        }
        Ok(())
    }

    /// `timestamp(v)`: of a selector, the times of its samples; else, those of the steps.
    pub(super) fn stream_timestamp(
        &self,
        input: &Node,
        steps: Steps,
        sink: &mut Sink<'_>,
    ) -> Result<(), EvalError> {
        if selector(input).is_some() {
            return self.stream_sample_times(input, steps, Yield::Time, sink);
        }
        self.stream(input, steps, &mut |tag, column| {
            for (step, _) in column.histograms.drain(..) {
                column.floats[step as usize] = 0.0;
            }
            for (step, value) in column.floats.iter_mut().enumerate() {
                if !is_absent(*value) {
                    *value = steps.time(step) as f64 / 1000.0;
                }
            }
            sink(self.nameless(tag), column)
        })
    }

    /// `start_timestamp(v)`: of a selector, since when its samples count; of anything else nothing,
    /// as what is computed has no start.
    pub(super) fn stream_start_timestamp(
        &self,
        input: &Node,
        steps: Steps,
        sink: &mut Sink<'_>,
    ) -> Result<(), EvalError> {
        if selector(input).is_some() && self.options.use_start_timestamps {
            return self.stream_sample_times(input, steps, Yield::Start, sink);
        }
        self.stream(input, steps, &mut |_, _| Ok(()))
    }

    /// Streams times of the samples that a selector finds.
    fn stream_sample_times(
        &self,
        input: &Node,
        steps: Steps,
        what: Yield,
        sink: &mut Sink<'_>,
    ) -> Result<(), EvalError> {
        match &input.kind {
            NodeKind::Select(select) => {
                self.stream_select(select, steps, what, &mut |tag, column| {
                    sink(self.nameless(tag), column)
                })
            }
            NodeKind::Invariant(inner) => {
                let first = Steps::instant(steps.start);
                self.stream_sample_times(inner, first, what, &mut |tag, column| {
                    broadcast(column, steps.count);
                    sink(tag, column)
                })
            }
            _ => Ok(()),
        }
    }

    fn stream_special(
        &self,
        node: &Node,
        special: Special,
        args: &[Node],
        steps: Steps,
        sink: &mut Sink<'_>,
    ) -> Result<(), EvalError> {
        let delayed = self.options.delayed_name_removal;
        let distinct = |input: &Node| delayed || input.stays_distinct();
        match (special, args) {
            (Special::Timestamp, [input]) => self.distinct(distinct(input), steps, sink, |sink| {
                self.stream_timestamp(input, steps, sink)
            }),
            (Special::StartTimestamp, [input]) => {
                self.distinct(distinct(input), steps, sink, |sink| {
                    self.stream_start_timestamp(input, steps, sink)
                })
            }
            (Special::LabelReplace, _) => self.label_replace(args, steps, sink),
            (Special::LabelJoin, _) => self.label_join(args, steps, sink),
            (Special::Vector, [input]) => {
                let mut column = match self.scalar(input, steps)? {
                    ScalarColumn::Const(value) => {
                        let mut column = Column::absent(steps.count);
                        column.floats.fill(value);
                        column
                    }
                    ScalarColumn::PerStep(floats) => Column {
                        floats,
                        histograms: Vec::new(),
                    },
                };
                sink(Tag::of(&model::Labels::empty()), &mut column)
            }
            _ => {
                let collected = self.special(node, special, args, steps)?;
                self.replay(collected, sink)
            }
        }
    }
}

/// The selector that a node is.
fn selector(node: &Node) -> Option<&Select> {
    match &node.kind {
        NodeKind::Select(select) => Some(select),
        NodeKind::Invariant(inner) => selector(inner),
        _ => None,
    }
}

/// Lets series through, each label set once.
fn once<'s>(
    sink: &'s mut Sink<'_>,
) -> impl FnMut(Tag<'_>, &mut Column) -> Result<(), EvalError> + 's {
    let mut seen = HashedSet::default();
    move |tag, column| {
        if column.is_empty() {
            return Ok(());
        }
        if !seen.insert(tag.fingerprint().0) {
            return Err(EvalError::same_labels());
        }
        sink(tag, column)
    }
}

fn looks_like_counter(name: &str) -> bool {
    name.is_empty()
        || ["_total", "_sum", "_count", "_bucket"]
            .iter()
            .any(|s| name.ends_with(s))
}

fn negate(column: &mut Column, budget: &Budget<'_>) -> Result<(), EvalError> {
    for value in column.floats.iter_mut().filter(|value| !is_absent(**value)) {
        *value = -*value;
    }
    for (made, (_, histogram)) in column.histograms.iter_mut().enumerate() {
        made::check(budget, made)?;
        std::sync::Arc::make_mut(histogram).scale(-1.0);
    }
    Ok(())
}

/// An operator with a scalar on a column of floats.
fn scalar_op_floats(binary: &VectorScalar, scalar: &ScalarColumn, column: &mut Column) {
    let (op, left, return_bool) = (binary.op, binary.scalar_left, binary.return_bool);
    for (step, value) in column.floats.iter_mut().enumerate() {
        if is_absent(*value) {
            continue;
        }
        let other = scalar.at(step);
        let (l, r) = if left {
            (other, *value)
        } else {
            (*value, other)
        };
        match operator::compare(op, l, r) {
            None => {
                let result = operator::arithmetic(op, l, r);
                *value = if is_absent(result) { f64::NAN } else { result };
            }
            Some(holds) if return_bool => *value = f64::from(u8::from(holds)),
            Some(true) => {}
            Some(false) => *value = super::column::ABSENT,
        }
    }
}

/// Puts an operator's outcome into a column; `kept` is what a comparison keeps.
pub(super) fn put(
    column: &mut Column,
    step: usize,
    outcome: Outcome,
    kept: Operand<'_>,
    return_bool: bool,
) {
    match outcome {
        Outcome::Float(value) => column.set_float(step, value),
        Outcome::Histogram(histogram) => column.push_histogram(step, histogram),
        Outcome::Keep if return_bool => column.set_float(step, 1.0),
        Outcome::Drop if return_bool => column.set_float(step, 0.0),
        Outcome::Keep => match kept {
            Operand::Float(value) => column.set_float(step, value),
            Operand::Histogram(histogram) => {
                column.push_histogram(step, std::sync::Arc::clone(histogram));
            }
        },
        Outcome::Drop | Outcome::Nothing => {}
    }
}
