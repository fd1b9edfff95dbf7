//! Histograms from the series of a vector: classic buckets grouped by their labels but `le`.

use std::collections::HashMap;

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

/// How many values that are no quantiles are told of one argument: of all there can be one at each
/// step, and annotations keep no more anyway.
const MAX_INVALID: usize = 100;

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
        let mut held = self.budget.hold();
        let params = self.params(&call.params, steps, &mut held);
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
        let mut held = self.budget.hold();
        let columns: Result<Vec<_>, _> = quantiles
            .iter()
            .map(|quantile| self.kept_scalar(quantile, steps, &mut held))
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
                if let Some(value) = quantile.constant() {
                    let labels = group.labels.with(label, &quantile_text(value));
                    self.keep(&mut merged, labels, out)?;
                    continue;
                }
                for (value, points) in by_quantile(quantile, &out, steps) {
                    self.budget.check()?;
                    let mut column = Column::absent(steps.count);
                    for (step, value) in points {
                        column.set_float(step, value);
                    }
                    let labels = group.labels.with(label, &quantile_text(value));
                    self.keep(&mut merged, labels, column)?;
                }
            }
        }
        Ok(merged.collected)
    }

    /// Says so where a quantile is none, even where there is nothing to take it of.
    pub(super) fn check_quantile(&self, quantile: &ScalarColumn, pos: Pos, steps: Steps) {
        let mut annotations = self.annotations.borrow_mut();
        let mut told: Vec<f64> = Vec::new();
        for q in (0..steps.count).map(|step| quantile.at(step)) {
            let is_last = told
                .last()
                .is_some_and(|last| last.to_bits() == q.to_bits());
            if (0.0..=1.0).contains(&q) || is_last {
                continue;
            }
            annotations.add(pos, &Note::InvalidQuantile(q));
            told.push(q);
            if told.len() == MAX_INVALID || quantile.constant().is_some() {
                break;
            }
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

/// The values of a column at some of its steps.
type Points = Vec<(usize, f64)>;

/// Splits a column by the quantile that each of its steps is for. There may be as many as steps, so
/// that each has the points alone.
fn by_quantile(quantile: &ScalarColumn, out: &Column, steps: Steps) -> Vec<(f64, Points)> {
    let mut parts: Vec<(f64, Points)> = Vec::new();
    let mut index: HashMap<u64, usize> = HashMap::new();
    for step in 0..steps.count {
        if let Some(value) = out.float(step) {
            let quantile = quantile.at(step);
            let at = *index.entry(quantile.to_bits()).or_insert_with(|| {
                parts.push((quantile, Vec::new()));
                parts.len() - 1
            });
            parts[at].1.push((step, value));
        }
    }
    parts
}

/// A quantile as the value of a label: as the exposition format writes floats, with a point or an
/// exponent.
fn quantile_text(value: f64) -> String {
    let text = model::go_float::General(value).to_string();
    if value.is_finite() && !text.contains(['.', 'e']) {
        format!("{text}.0")
    } else {
        text
    }
}
