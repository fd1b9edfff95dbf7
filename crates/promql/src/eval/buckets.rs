//! Histograms from the series of a vector: classic buckets grouped by their labels but `le`.

use model::labels::{Labels, is_metadata_label};

use super::collect::{Collected, Kept, Merged};
use super::column::{Column, ScalarColumn, Steps, is_absent};
use super::kernel::{BucketGroup, BucketKernel, Kernel, KernelContext};
use super::tag::HashedMap;
use super::{EvalError, Evaluator};
use crate::annotations::{Note, Pos};
use crate::functions;
use crate::plan::{BucketCall, Node};

/// The label with the upper bound of a classic bucket.
const BUCKET_LABEL: &str = "le";

/// The parts of one histogram.
#[derive(Default)]
struct Group {
    /// The labels of the result.
    labels: Labels,
    metric: String,
    /// Upper bound and series, sorted by bound.
    classic: Vec<(f64, usize)>,
    native: Option<usize>,
}

impl<'a> Evaluator<'a> {
    /// A function of histograms.
    pub(super) fn buckets<'e>(
        &'e self,
        node: &Node,
        call: &BucketCall,
        steps: Steps,
    ) -> Result<Collected<'e, 'a>, EvalError> {
        let params: Result<Vec<_>, _> = call
            .params
            .iter()
            .map(|param| self.scalar(param, steps))
            .collect();
        let input = self.collect(&call.input, steps)?;
        let groups = self.group(&input, call.args[call.input_arg]);
        let mut merged = Merged::new(self);
        let run = Run {
            kernel: call.kernel,
            pos: node.pos,
            args: &call.args,
            steps,
        };
        let params = params?;
        if call.name == "histogram_quantile"
            && let (Some(quantile), Some(pos)) = (params.first(), call.args.first())
        {
            self.check_quantile(quantile, *pos, steps);
        }
        for group in &groups {
            self.budget.check()?;
            let out = self.run(&run, group, &input, &params);
            self.keep(&mut merged, group.labels.clone(), out)?;
        }
        Ok(merged.collected)
    }

    /// `histogram_quantiles(v, label, q, …)`: each quantile with its own label, which takes the place
    /// of one that series have already.
    pub(super) fn histogram_quantiles<'e>(
        &'e self,
        input: &Node,
        label: &Node,
        quantiles: &[Node],
        steps: Steps,
    ) -> Result<Collected<'e, 'a>, EvalError> {
        let Some(Kernel::Buckets(kernel)) =
            functions::lookup("histogram_quantile").map(|def| def.kernel)
        else {
            return Err(EvalError::Execution(
                "there is no histogram_quantile".to_owned(),
            ));
        };
        let label = self.text(label)?;
        let columns: Result<Vec<_>, _> = quantiles
            .iter()
            .map(|quantile| self.scalar(quantile, steps))
            .collect();
        let columns = columns?;
        let input_pos = input.pos;
        let input = self.collect(input, steps)?;
        let groups = self.group(&input, input_pos);
        let mut merged = Merged::new(self);
        for (quantile, node) in columns.iter().zip(quantiles) {
            self.check_quantile(quantile, node.pos, steps);
            // All that it notes of a histogram is of its vector.
            let args = [input_pos, input_pos];
            let run = Run {
                kernel,
                pos: node.pos,
                args: &args,
                steps,
            };
            for group in &groups {
                self.budget.check()?;
                let out = self.run(&run, group, &input, std::slice::from_ref(quantile));
                for (value, column) in by_quantile(quantile, out, steps) {
                    self.keep(&mut merged, group.labels.with(label, &value), column)?;
                }
            }
        }
        Ok(merged.collected)
    }

    /// Says so where a quantile is none, even where there is nothing to take it of.
    pub(super) fn check_quantile(&self, quantile: &ScalarColumn, pos: Pos, steps: Steps) {
        let mut annotations = self.annotations.borrow_mut();
        let mut check = |q: f64| {
            if !(0.0..=1.0).contains(&q) {
                annotations.add(pos, &Note::InvalidQuantile(q));
            }
        };
        match quantile {
            ScalarColumn::Const(q) => check(*q),
            ScalarColumn::PerStep(_) => (0..steps.count).for_each(|step| check(quantile.at(step))),
        }
    }

    fn keep(
        &self,
        merged: &mut Merged<'_, '_>,
        labels: Labels,
        column: Column,
    ) -> Result<(), EvalError> {
        let kept = Kept {
            labels,
            column,
            goes: self.options.delayed_name_removal,
        };
        if !kept.column.is_empty() && !merged.keep(kept)? {
            return Err(EvalError::same_labels());
        }
        Ok(())
    }

    fn run(
        &self,
        run: &Run<'_>,
        group: &Group,
        input: &Collected<'_, '_>,
        params: &[ScalarColumn],
    ) -> Column {
        let column = |at: usize| &input.series[at].column;
        let classic: Vec<(f64, &Column)> = group
            .classic
            .iter()
            .map(|(bound, at)| (*bound, column(*at)))
            .collect();
        let parts = BucketGroup {
            classic: &classic,
            native: group.native.map(column),
        };
        let mut out = Column::absent(run.steps.count);
        let mut annotations = self.annotations.borrow_mut();
        let mut context = KernelContext {
            steps: run.steps,
            metric_name: &group.metric,
            call: run.pos,
            args: run.args,
            annotations: &mut annotations,
        };
        (run.kernel)(&parts, params, &mut out, &mut context);
        out
    }

    /// Brings the series of histograms together.
    fn group(&self, input: &Collected<'_, '_>, pos: Pos) -> Vec<Group> {
        let mut groups: Vec<Group> = Vec::new();
        let mut index: HashedMap<usize> = HashedMap::default();
        let delayed = self.options.delayed_name_removal;
        for (at, series) in input.series.iter().enumerate() {
            let tag = series.tag();
            let mut place = |key: u128| {
                *index.entry(key).or_insert_with(|| {
                    let metric = tag.metric_name().to_owned();
                    groups.push(Group {
                        metric,
                        ..Group::default()
                    });
                    groups.len() - 1
                })
            };
            let native = (!series.column.histograms.is_empty()).then(|| place(tag.hash(|_| true)));
            let has_floats = series.column.floats.iter().any(|value| !is_absent(*value));
            let le = series.labels.get(BUCKET_LABEL).unwrap_or_default();
            let bound = crate::parse::literal::parse_float(le);
            let classic = match bound {
                Some(bound) if has_floats => {
                    Some((bound, place(tag.hash(|name| name != BUCKET_LABEL))))
                }
                _ => None,
            };
            if has_floats && classic.is_none() {
                let note = Note::BadBucketLabel(tag.metric_name(), le);
                self.annotations.borrow_mut().add(pos, &note);
            }
            if let Some(group) = native {
                groups[group].native = Some(at);
                groups[group].labels = if delayed {
                    series.labels.clone()
                } else {
                    series.labels.without_metadata()
                };
            }
            if let Some((bound, group)) = classic {
                groups[group].classic.push((bound, at));
                if groups[group].classic.len() == 1 {
                    let keep =
                        |name: &str| name != BUCKET_LABEL && (delayed || !is_metadata_label(name));
                    groups[group].labels = series.labels.retain(keep);
                }
            }
        }
        for group in &mut groups {
            group.classic.sort_by(|a, b| a.0.total_cmp(&b.0));
        }
        groups
    }
}

/// A kernel and where it is called.
struct Run<'r> {
    kernel: BucketKernel,
    pos: Pos,
    args: &'r [Pos],
    steps: Steps,
}

/// Splits a column by the quantile that each of its steps is for.
fn by_quantile(quantile: &ScalarColumn, out: Column, steps: Steps) -> Vec<(String, Column)> {
    let text = |value: f64| {
        let text = model::go_float::General(value).to_string();
        // As the exposition format writes floats: with a point or an exponent.
        if value.is_finite() && !text.contains(['.', 'e']) {
            format!("{text}.0")
        } else {
            text
        }
    };
    if let Some(value) = quantile.constant() {
        return vec![(text(value), out)];
    }
    let mut parts: Vec<(u64, Column)> = Vec::new();
    for step in 0..steps.count {
        if let Some(value) = out.float(step) {
            let bits = quantile.at(step).to_bits();
            let known = parts.iter().position(|(known, _)| *known == bits);
            let at = known.unwrap_or_else(|| {
                parts.push((bits, Column::absent(steps.count)));
                parts.len() - 1
            });
            parts[at].1.set_float(step, value);
        }
    }
    parts
        .into_iter()
        .map(|(bits, column)| (text(f64::from_bits(bits)), column))
        .collect()
}
