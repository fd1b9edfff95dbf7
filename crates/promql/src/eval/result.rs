//! From columns to the answer.

use std::collections::hash_map::Entry;
use std::sync::Arc;

use model::labels::Labels;

use super::collect::{Collected, Kept};
use super::column::{Column, Steps, is_absent};
use super::observe::Counted;
use super::select::unite;
use super::tag::{HashedMap, Tag};
use super::{EvalError, Evaluator, order};
use crate::annotations::Pos;
use crate::ast::Edge;
use crate::plan::{NodeKind, Plan, RangeSource};
use crate::value::{PointValue, QueryValue, Series, ValueType, VectorPoint};

impl<'a> Evaluator<'a> {
    /// The answer to a plan.
    pub(super) fn value(&self, plan: &Plan, steps: Steps) -> Result<QueryValue, EvalError> {
        match plan.value_type {
            ValueType::String if self.time.instant => Ok(QueryValue::String(
                steps.start,
                self.text(&plan.root)?.to_owned(),
            )),
            ValueType::Scalar => {
                let column = self.scalar(&plan.root, steps)?;
                if self.time.instant {
                    return Ok(QueryValue::Scalar(steps.start, column.at(0)));
                }
                let floats = (0..steps.count).map(|step| (steps.time(step), column.at(step)));
                let series = Series {
                    floats: floats.collect(),
                    ..Series::default()
                };
                Ok(QueryValue::Matrix(vec![series]))
            }
            ValueType::Matrix | ValueType::String => match &plan.root.kind {
                NodeKind::Window(source) if self.time.instant => {
                    self.window(source, plan.root.pos, steps)
                }
                _ => Err(EvalError::Execution(format!(
                    "invalid expression type {:?} for range query, must be Scalar or instant \
                     Vector",
                    plan.value_type.name()
                ))),
            },
            ValueType::Vector => {
                let mut collected = self.collect(&plan.root, steps)?;
                if self.options.delayed_name_removal {
                    collected = self.without_names(collected)?;
                }
                if self.time.instant {
                    if !plan.ordered {
                        collected.sort()?;
                    }
                    return Ok(QueryValue::Vector(vector(collected, steps)));
                }
                collected.sort()?;
                Ok(QueryValue::Matrix(matrix(collected, steps)))
            }
        }
    }

    /// Drops the names that were to go at the end of the query. Series that come to have the same
    /// labels are merged.
    fn without_names<'e>(
        &'e self,
        mut collected: Collected<'e, 'a>,
    ) -> Result<Collected<'e, 'a>, EvalError> {
        let mut index: HashedMap<usize> = HashedMap::default();
        let mut merged: Vec<Kept> = Vec::with_capacity(collected.series.len());
        for mut kept in collected.series.drain(..) {
            self.budget.check()?;
            if kept.goes {
                kept.labels = kept.labels.without_metadata();
                kept.goes = false;
            }
            match index.entry(Tag::of(&kept.labels).fingerprint().0) {
                Entry::Vacant(new) => {
                    new.insert(merged.len());
                    merged.push(kept);
                }
                Entry::Occupied(known) => {
                    if !unite(&mut merged[*known.get()].column, kept.column) {
                        return Err(EvalError::same_labels());
                    }
                }
            }
        }
        // They were charged when they were collected.
        collected.series = merged;
        Ok(collected)
    }

    /// A range vector: the samples themselves.
    fn window(
        &self,
        source: &RangeSource,
        pos: Pos,
        steps: Steps,
    ) -> Result<QueryValue, EvalError> {
        let mut all: Vec<Series> = Vec::new();
        let mut held = self.budget.hold();
        let counted = match source {
            RangeSource::Select(..) => self.counted,
            RangeSource::Subquery(_) => Counted::Within,
        };
        let within = Self { counted, ..*self };
        within.stream_windows(source, steps, &mut |tag, samples, windows| {
            let Some(window) = windows.windows.first().filter(|w| !w.is_empty()) else {
                return Ok(());
            };
            let mut series = Series {
                labels: tag.to_labels(),
                ..Series::default()
            };
            if windows.edge == Edge::Open {
                let floats = window.floats();
                let floats = floats.map(|at| (samples.ts[at], samples.values[at]));
                series.floats.extend(floats);
                let histograms = samples.histograms[window.histograms()].iter();
                let histograms = histograms.map(|p| (p.t, Arc::clone(&p.histogram)));
                series.histograms.extend(histograms);
            } else {
                self.extended(samples, windows, &mut series, tag.metric_name(), pos);
                if series.floats.is_empty() && series.histograms.is_empty() {
                    return Ok(());
                }
            }
            let taken = size_of::<Series>() + 16 * (series.floats.len() + series.histograms.len());
            held.charge(taken)?;
            held.keep(series.floats.len() + series.histograms.len())?;
            all.push(series);
            Ok(())
        })?;
        drop(held);
        order::sort(self.budget, &mut all, |a, b| a.labels.cmp(&b.labels))?;
        if all.windows(2).any(|pair| pair[0].labels == pair[1].labels) {
            return Err(EvalError::same_labels());
        }
        Ok(QueryValue::Matrix(all))
    }
}

fn vector(mut collected: Collected<'_, '_>, steps: Steps) -> Vec<VectorPoint> {
    let point = |labels: Labels, column: Column| {
        let value = match column.float(0) {
            Some(value) => PointValue::Float(value),
            None => PointValue::Histogram(Arc::clone(column.histogram(0)?)),
        };
        Some(VectorPoint {
            labels,
            t: steps.start,
            value,
        })
    };
    collected
        .series
        .drain(..)
        .filter_map(|kept| point(kept.labels, kept.column))
        .collect()
}

fn matrix(mut collected: Collected<'_, '_>, steps: Steps) -> Vec<Series> {
    let series = |labels: Labels, column: Column| {
        let floats = column
            .floats
            .iter()
            .enumerate()
            .filter(|(_, value)| !is_absent(**value));
        let histograms = column.histograms.iter();
        Series {
            labels,
            floats: floats
                .map(|(step, value)| (steps.time(step), *value))
                .collect(),
            histograms: histograms
                .map(|(step, h)| (steps.time(*step as usize), Arc::clone(h)))
                .collect(),
        }
    };
    collected
        .series
        .drain(..)
        .map(|kept| series(kept.labels, kept.column))
        .filter(|series| !series.floats.is_empty() || !series.histograms.is_empty())
        .collect()
}
