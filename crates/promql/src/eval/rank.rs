//! Aggregations that look at all series of a group at once: `topk`, `bottomk`, `quantile`,
//! `limitk`, `limit_ratio`.

use std::cmp::Ordering;
use std::sync::Arc;

use model::go_float::General;
use model::histogram::FloatHistogram;

use super::aggregate::Groups;
use super::budget::Held;
use super::collect::{Collected, Kept};
use super::column::{Column, ScalarColumn, Steps, is_absent};
use super::special::by_value;
use super::{EvalError, Evaluator};
use crate::annotations::{Note, Pos};
use crate::ast::AggregateOp;
use crate::plan::AggregateNode;

/// A `k` from here on, in either direction, is out of the range of whole numbers.
const MIN_K: f64 = -9_223_372_036_854_775_808.0;
const MAX_K: f64 = 9_223_372_036_854_774_784.0;

/// What of a group stays at one step.
enum Choice {
    Largest(usize),
    Smallest(usize),
    First(usize),
    Ratio(f64),
}

impl<'a> Evaluator<'a> {
    fn param(&self, aggregate: &AggregateNode, steps: Steps) -> Result<ScalarColumn, EvalError> {
        match &aggregate.param {
            Some(param) => self.scalar(param, steps),
            None => Ok(ScalarColumn::Const(f64::NAN)),
        }
    }

    /// `topk`, `bottomk`, `limitk`, `limit_ratio`; `pos` is where the whole of it stands.
    pub(super) fn rank<'e>(
        &'e self,
        pos: Pos,
        aggregate: &AggregateNode,
        steps: Steps,
    ) -> Result<Collected<'e, 'a>, EvalError> {
        let param = self.param(aggregate, steps)?;
        let mut collected = self.collect(&aggregate.input, steps)?;
        let choices = self.choices(aggregate, &param, steps)?;
        // The first of what the query itself put in order are the first by that order.
        let takes_first = aggregate.op == AggregateOp::Limitk;
        if !takes_first || !aggregate.input_ordered || !self.time.instant {
            collected.sort()?;
        }
        let mut groups = Groups::new(&aggregate.grouping);
        let mut members: Vec<Vec<usize>> = Vec::new();
        for (at, series) in collected.series.iter().enumerate() {
            let group = groups.of(series.tag());
            if group == members.len() {
                self.budget.check()?;
                members.push(Vec::new());
            }
            members[group].push(at);
        }
        if leaves_histograms_out(&choices, &collected) {
            let note = Note::HistogramIgnoredInAggregation(aggregate.op.name());
            self.annotations.borrow_mut().add(pos, &note);
        }
        let mut held = self.budget.hold();
        held.charge(collected.series.len() * column_bytes(steps))?;
        let mut kept: Vec<Column> = collected
            .series
            .iter()
            .map(|_| Column::absent(steps.count))
            .collect();
        let shares = self.shares(aggregate, &collected, &mut held)?;
        let mut order = Vec::new();
        let mut chosen = Vec::new();
        for (step, choice) in choices.iter().enumerate() {
            self.budget.check()?;
            for group in &members {
                self.budget.check()?;
                choose(choice, group, &collected, &shares, step, &mut chosen);
                for at in &chosen {
                    let from = &collected.series[*at].column;
                    if let Some(value) = from.float(step) {
                        kept[*at].floats[step] = value;
                    } else if let Some(histogram) = from.histogram(step) {
                        held.charge(size_of::<(u32, Arc<FloatHistogram>)>())?;
                        kept[*at].push_histogram(step, Arc::clone(histogram));
                    }
                }
                if steps.count == 1 {
                    order.extend_from_slice(&chosen);
                }
            }
        }
        for (series, column) in collected.series.iter_mut().zip(kept) {
            series.column = column;
        }
        if steps.count == 1 {
            let mut all: Vec<_> = collected.series.drain(..).map(Some).collect();
            collected.series = order.iter().filter_map(|at| all[*at].take()).collect();
        } else {
            collected.series.retain(|series| !series.column.is_empty());
        }
        Ok(collected)
    }

    /// For `limit_ratio`, up to which share of all each series is left out: the same at each step.
    fn shares(
        &self,
        aggregate: &AggregateNode,
        collected: &Collected<'_, '_>,
        held: &mut Held<'_>,
    ) -> Result<Vec<f64>, EvalError> {
        if aggregate.op != AggregateOp::LimitRatio {
            return Ok(Vec::new());
        }
        held.charge(collected.series.len() * size_of::<f64>())?;
        let share = |kept: &Kept| {
            self.budget.check()?;
            Ok(upstream_hash(&kept.labels) as f64 / u64::MAX as f64)
        };
        collected.series.iter().map(share).collect()
    }

    /// What stays at each step. A parameter is looked at over all steps first: where it chooses
    /// nothing at any, it may be as odd as it likes.
    fn choices(
        &self,
        aggregate: &AggregateNode,
        param: &ScalarColumn,
        steps: Steps,
    ) -> Result<Vec<Choice>, EvalError> {
        let values = || (0..steps.count).map(|step| param.at(step));
        let bounds = Bounds::of(param, steps);
        let failed = |text: String| Err(EvalError::Execution(text));
        if aggregate.op == AggregateOp::LimitRatio {
            if bounds.has_nan {
                return failed("Ratio value is NaN".to_owned());
            }
            let pos = param_pos(aggregate);
            let mut annotations = self.annotations.borrow_mut();
            if bounds.max > 1.0 {
                annotations.add(pos, &Note::InvalidRatio(bounds.max, 1.0));
            }
            if bounds.min < -1.0 {
                annotations.add(pos, &Note::InvalidRatio(bounds.min, -1.0));
            }
            return Ok(values()
                .map(|r| Choice::Ratio(r.clamp(-1.0, 1.0)))
                .collect());
        }
        let choice = |value: f64| {
            let k = if value < 1.0 { 0 } else { value as usize };
            match aggregate.op {
                AggregateOp::Topk => Choice::Largest(k),
                AggregateOp::Bottomk => Choice::Smallest(k),
                _ => Choice::First(k),
            }
        };
        if bounds.has_nan {
            return failed("Parameter value is NaN".to_owned());
        }
        if bounds.max >= 1.0 && bounds.min <= MIN_K {
            return failed(format!(
                "Scalar value {} underflows int64",
                General(bounds.min)
            ));
        }
        if bounds.max >= MAX_K {
            return failed(format!(
                "Scalar value {} overflows int64",
                General(bounds.max)
            ));
        }
        Ok(values().map(choice).collect())
    }

    /// Says so where a quantile is none at any step, even where there is nothing to take it of.
    fn check_share(&self, quantile: &ScalarColumn, pos: Pos, steps: Steps) {
        let bounds = Bounds::of(quantile, steps);
        let mut annotations = self.annotations.borrow_mut();
        if bounds.has_nan {
            annotations.add(pos, &Note::InvalidQuantile(f64::NAN));
        }
        if bounds.max > 1.0 {
            annotations.add(pos, &Note::InvalidQuantile(bounds.max));
        }
        if bounds.min < 0.0 {
            annotations.add(pos, &Note::InvalidQuantile(bounds.min));
        }
    }

    /// `quantile(q, v)`
    pub(super) fn quantile<'e>(
        &'e self,
        aggregate: &AggregateNode,
        steps: Steps,
    ) -> Result<Collected<'e, 'a>, EvalError> {
        let param = self.param(aggregate, steps)?;
        self.check_share(&param, param_pos(aggregate), steps);
        let mut groups = Groups::new(&aggregate.grouping);
        let mut columns: Vec<Vec<Vec<f64>>> = Vec::new();
        let mut held = self.budget.hold();
        self.stream(&aggregate.input, steps, &mut |tag, column| {
            if !column.histograms.is_empty() {
                let note = Note::HistogramIgnoredInAggregation(aggregate.op.name());
                self.annotations
                    .borrow_mut()
                    .add(aggregate.input.pos, &note);
            }
            let group = groups.of(tag);
            if group == columns.len() {
                columns.push(Vec::new());
            }
            let floats = std::mem::take(&mut column.floats);
            let taken = floats.capacity() * size_of::<f64>();
            columns[group].push(floats);
            held.charge(taken)?;
            held.keep(steps.count)
        })?;
        drop(held);
        let mut collected = Collected::new(self);
        let mut values = Vec::new();
        // Each group's columns go as its result comes.
        for (columns, (labels, goes)) in columns.into_iter().zip(groups.into_labels()) {
            let mut out = Column::absent(steps.count);
            for step in 0..steps.count {
                self.budget.check()?;
                values.clear();
                values.extend(
                    columns
                        .iter()
                        .map(|c| c[step])
                        .filter(|value| !is_absent(*value)),
                );
                if !values.is_empty() {
                    out.set_float(step, quantile(param.at(step), &mut values));
                }
            }
            if !out.is_empty() {
                collected.keep(Kept {
                    labels,
                    column: out,
                    goes,
                })?;
            }
        }
        Ok(collected)
    }
}

/// The smallest and the largest of the values of a parameter over all steps. NaN is neither, and
/// takes the place of both, so that it compares with nothing.
struct Bounds {
    min: f64,
    max: f64,
    has_nan: bool,
}

impl Bounds {
    fn of(param: &ScalarColumn, steps: Steps) -> Self {
        // As upstream has it, infinities included.
        let mut bounds = Self {
            min: f64::MAX,
            max: f64::MIN,
            has_nan: false,
        };
        for value in (0..steps.count).map(|step| param.at(step)) {
            bounds.min = bounds.min.min(value);
            bounds.max = bounds.max.max(value);
            bounds.has_nan |= value.is_nan();
        }
        if bounds.has_nan {
            (bounds.min, bounds.max) = (f64::NAN, f64::NAN);
        }
        bounds
    }
}

/// Where the parameter stands.
fn param_pos(aggregate: &AggregateNode) -> Pos {
    let param = aggregate.param.as_ref();
    param.map_or(aggregate.input.pos, |param| param.pos)
}

/// Whether `topk` or `bottomk` meets a histogram at a step at which it chooses something.
fn leaves_histograms_out(choices: &[Choice], collected: &Collected<'_, '_>) -> bool {
    let ranks = |choice: &Choice| match choice {
        Choice::Largest(k) | Choice::Smallest(k) => *k > 0,
        _ => false,
    };
    let mut columns = collected.series.iter().map(|kept| &kept.column);
    columns.any(|column| {
        let mut at = column.histograms.iter().map(|(step, _)| *step as usize);
        at.any(|step| choices.get(step).is_some_and(ranks))
    })
}

/// What a column of floats takes.
fn column_bytes(steps: Steps) -> usize {
    size_of::<Column>() + steps.count * size_of::<f64>()
}

/// Chooses among the series of a group.
fn choose(
    choice: &Choice,
    group: &[usize],
    collected: &Collected<'_, '_>,
    shares: &[f64],
    step: usize,
    chosen: &mut Vec<usize>,
) {
    chosen.clear();
    let value = |at: &usize| collected.series[*at].column.floats[step];
    match choice {
        Choice::Largest(k) | Choice::Smallest(k) => {
            if *k == 0 {
                return;
            }
            let descending = matches!(choice, Choice::Largest(_));
            chosen.extend(group.iter().filter(|at| !is_absent(value(at))));
            // Of equals, the first stay.
            let order =
                |a: &usize, b: &usize| by_value(value(a), value(b), descending).then(a.cmp(b));
            if *k < chosen.len() {
                chosen.select_nth_unstable_by(*k - 1, order);
                chosen.truncate(*k);
            }
            chosen.sort_unstable_by(order);
        }
        Choice::First(k) => {
            let there = |at: &&usize| {
                let column = &collected.series[**at].column;
                column.float(step).is_some() || column.histogram(step).is_some()
            };
            chosen.extend(group.iter().filter(there).take(*k));
        }
        Choice::Ratio(ratio) => chosen.extend(group.iter().filter(|at| {
            if *ratio >= 0.0 {
                shares[**at] < *ratio
            } else {
                shares[**at] >= 1.0 + *ratio
            }
        })),
    }
}

/// The hash by which upstream samples series, so that both sample the same: XXH64 over the labels,
/// each name and value behind its length (a byte; from 255 on, 255 and three bytes).
fn upstream_hash(labels: &model::Labels) -> u64 {
    let mut data = Vec::with_capacity(256);
    for text in labels.iter().flat_map(|(name, value)| [name, value]) {
        let length = text.len();
        if length < 255 {
            data.push(length as u8);
        } else {
            data.extend_from_slice(&[255, length as u8, (length >> 8) as u8, (length >> 16) as u8]);
        }
        data.extend_from_slice(text.as_bytes());
    }
    xxhash_rust::xxh64::xxh64(&data, 0)
}

/// The value below which a share `q` of the values lies, interpolated; NaN counts as smallest.
pub(crate) fn quantile(q: f64, values: &mut [f64]) -> f64 {
    if values.is_empty() || q.is_nan() {
        return f64::NAN;
    }
    if q < 0.0 {
        return f64::NEG_INFINITY;
    }
    if q > 1.0 {
        return f64::INFINITY;
    }
    let order = |a: &f64, b: &f64| match (a.is_nan(), b.is_nan()) {
        (true, true) => Ordering::Equal,
        (true, false) => Ordering::Less,
        (false, true) => Ordering::Greater,
        (false, false) => a.total_cmp(b),
    };
    let rank = q * (values.len() - 1) as f64;
    let lower = (rank.floor() as usize).min(values.len() - 1);
    let weight = rank - rank.floor();
    // Only the two next to the rank need to be in their places.
    let (_, low, above) = values.select_nth_unstable_by(lower, order);
    let high = above.iter().copied().min_by(order).unwrap_or(*low);
    *low * (1.0 - weight) + high * weight
}
