//! `smoothed` and `anchored` selectors: what stands at a time between samples.

use std::sync::Arc;

use model::histogram::ResetHint;
use model::select::{HistogramPoint, SeriesSamples};
use model::time::{TimeRange, TimestampMs};

use super::budget::Budget;
use super::column::{Column, Steps};
use super::kernel::{KernelContext, Windows};
use super::select::drop_stale;
use super::stream::Sink;
use super::{EvalError, Evaluator, made};
use crate::annotations::{Note, Pos};
use crate::ast::Edge;
use crate::functions::interpolate;
use crate::plan::{RangeSource, Select};
use crate::value::Series;

/// Functions of anchored windows.
const ANCHORED: [&str; 5] = ["changes", "delta", "increase", "rate", "resets"];
/// Functions of smoothed windows.
const SMOOTHED: [&str; 3] = ["delta", "increase", "rate"];

/// Whether a function knows what to do with the edge of its windows.
///
/// # Errors
/// Where it does not.
pub(super) fn check_edge(function: &str, source: &RangeSource) -> Result<(), EvalError> {
    let RangeSource::Select(select, _) = source else {
        return Ok(());
    };
    let (modifier, known) = match select.edge {
        Edge::Open => return Ok(()),
        Edge::Anchored => ("anchored", &ANCHORED[..]),
        Edge::Smoothed => ("smoothed", &SMOOTHED[..]),
    };
    if known.contains(&function) {
        return Ok(());
    }
    Err(EvalError::Execution(format!(
        "{modifier} modifier can only be used with: {} - not with {function}",
        known.join(", ")
    )))
}

impl Evaluator<'_> {
    /// Streams the series of a smoothed instant selector.
    pub(super) fn stream_smoothed(
        &self,
        select: &Select,
        pos: Pos,
        steps: Steps,
        sink: &mut Sink<'_>,
    ) -> Result<(), EvalError> {
        let fixed = self.at(select.at);
        let own = fixed.map_or(steps, Steps::instant);
        let lookback = self.options.lookback_ms;
        let (first, last) = (own.start, own.end());
        let range = TimeRange::inclusive(
            first
                .saturating_sub(select.offset_ms)
                .saturating_sub(lookback)
                .saturating_add(1),
            last.saturating_sub(select.offset_ms)
                .saturating_add(lookback),
        );
        let mut out = Column::default();
        self.each_series(select, range, |tag, samples| {
            drop_stale(samples);
            out.reset(own.count);
            let _made = self.hold_made(own.count, &samples.histograms)?;
            {
                let mut annotations = self.annotations.borrow_mut();
                let mut context = KernelContext {
                    steps: own,
                    metric_name: tag.metric_name(),
                    call: pos,
                    args: &[pos],
                    annotations: &mut annotations,
                };
                smooth(
                    samples,
                    select.offset_ms,
                    lookback,
                    &mut out,
                    &mut context,
                    self.budget,
                )?;
            }
            self.budget.stopped()?;
            self.emit(tag, &mut out, fixed.is_some(), steps, sink)
        })
    }

    /// The points of a range selector with an edge, as the answer shows them: those at the window's
    /// bounds, and the samples between.
    pub(super) fn extended(
        &self,
        samples: &SeriesSamples,
        windows: &Windows,
        series: &mut Series,
        metric_name: &str,
        pos: Pos,
    ) {
        let Some(window) = windows.windows.first() else {
            return;
        };
        let mut annotations = self.annotations.borrow_mut();
        let mut context = KernelContext {
            steps: windows.steps,
            metric_name,
            call: pos,
            args: &[pos],
            annotations: &mut annotations,
        };
        let (floats, points) = (window.floats(), window.histograms());
        if !floats.is_empty() && !points.is_empty() {
            context.note_arg(0, &Note::MixedFloatsHistograms(metric_name));
            return;
        }
        let (start, end) = (windows.start_ms(0), windows.end_ms(0));
        let ts = &samples.ts[floats.clone()];
        let values = &samples.values[floats];
        let points = &samples.histograms[points];
        let times: Vec<TimestampMs> = if points.is_empty() {
            ts.to_vec()
        } else {
            points.iter().map(|point| point.t).collect()
        };
        let smoothed = windows.edge == Edge::Smoothed;
        let within = |t: &&TimestampMs| **t > start && (**t < end || !smoothed && **t == end);
        let begun = times.first().is_some_and(|t| *t <= end);
        if !begun || times.last().is_none_or(|t| *t <= start) {
            return;
        }
        for t in [&start]
            .into_iter()
            .chain(times.iter().filter(within))
            .chain([&end])
        {
            if series.floats.last().is_some_and(|(last, _)| last == t) {
                continue;
            }
            // Before the first sample there is its value.
            let at = times.partition_point(|time| time < t);
            let exact = times.get(at) == Some(t);
            let between = smoothed && at > 0 && at < times.len();
            let nearest = if exact { at } else { at.saturating_sub(1) };
            if !points.is_empty() {
                let value = if !exact && between {
                    let (before, behind) = (&points[at - 1], &points[at]);
                    let counter = interpolate::is_counter(before, behind);
                    let value = interpolate::histogram(before, behind, *t, counter, &mut context);
                    value.map(Arc::new)
                } else {
                    Some(Arc::clone(&points[nearest].histogram))
                };
                series.histograms.extend(value.map(|value| (*t, value)));
            } else if !exact && between {
                let point = |at: usize| (ts[at], values[at]);
                let value = interpolate::float(point(at - 1), point(at), *t, false);
                series.floats.push((*t, value));
            } else {
                series.floats.push((*t, values[nearest]));
            }
        }
    }
}

/// Fills a column with the values at each step: of the sample there, else between those around it,
/// else of the last before it.
fn smooth(
    samples: &SeriesSamples,
    offset: i64,
    lookback: i64,
    out: &mut Column,
    context: &mut KernelContext<'_>,
    budget: &Budget<'_>,
) -> Result<(), EvalError> {
    let (ts, values, points) = (&samples.ts, &samples.values, &samples.histograms);
    let steps = context.steps;
    for step in 0..steps.count {
        made::check(budget, step)?;
        let now = steps.time(step).saturating_sub(offset);
        let (oldest, newest) = (now.saturating_sub(lookback), now.saturating_add(lookback));
        let from = ts.partition_point(|t| *t <= oldest);
        let to = ts.partition_point(|t| *t <= newest);
        let points = {
            let from = points.partition_point(|point| point.t <= oldest);
            &points[from..points.partition_point(|point| point.t <= newest)]
        };
        if points.is_empty() {
            if let Some(value) = smooth_float(&ts[from..to], &values[from..to], now) {
                out.set_float(step, value);
            }
        } else if from < to {
            context.note_arg(0, &Note::MixedFloatsHistograms(context.metric_name));
        } else if let Some(histogram) = smooth_histogram(points, now, context) {
            out.push_histogram(step, histogram);
        }
    }
    Ok(())
}

fn smooth_float(ts: &[TimestampMs], values: &[f64], now: TimestampMs) -> Option<f64> {
    let next = ts.partition_point(|t| *t < now);
    if ts.get(next) == Some(&now) {
        return Some(values[next]);
    }
    let before = next.checked_sub(1)?;
    if next == ts.len() {
        return Some(values[before]);
    }
    let point = |at: usize| (ts[at], values[at]);
    Some(interpolate::float(point(before), point(next), now, false))
}

fn smooth_histogram(
    points: &[HistogramPoint],
    now: TimestampMs,
    context: &mut KernelContext<'_>,
) -> Option<Arc<model::histogram::FloatHistogram>> {
    let next = points.partition_point(|point| point.t < now);
    let behind = points.get(next);
    if let Some(point) = behind.filter(|point| point.t == now) {
        return Some(Arc::clone(&point.histogram));
    }
    let before = &points[next.checked_sub(1)?];
    let Some(behind) = behind else {
        // What it says of the sample before it, it does not say of itself.
        let mut value = Arc::clone(&before.histogram);
        Arc::make_mut(&mut value).reset_hint = ResetHint::Unknown;
        return Some(value);
    };
    if before.histogram.uses_custom_buckets() != behind.histogram.uses_custom_buckets() {
        context.note_arg(0, &Note::MixedExponentialCustom(context.metric_name));
        return None;
    }
    let counter = interpolate::is_counter(before, behind);
    interpolate::histogram(before, behind, now, counter, context).map(Arc::new)
}
