//! Selectors: from stored samples to columns and windows.

use std::sync::Arc;

use model::histogram::{FloatHistogram, ResetHint};
use model::sample::is_stale;
use model::select::{SelectRequest, SeriesSamples, Skipped};
use model::time::{TimeRange, TimestampMs};

use super::column::{Column, Steps, held_samples};
use super::kernel::Windows;
use super::stream::Sink;
use super::tag::Tag;
use super::{EvalError, Evaluator};
use crate::ast::{At, Edge};
use crate::plan::{RangeSource, Select, SubqueryNode};

/// What a selector makes of the newest sample at a step.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Yield {
    /// Its value.
    Value,
    /// When it was taken, in seconds.
    Time,
    /// Since when it counts, in seconds; 0 where that is not known.
    Start,
    /// Of a float, when it was taken, in seconds; a histogram as it is.
    FloatTime,
}

impl Evaluator<'_> {
    /// The time of an `@` modifier.
    pub(super) fn at(&self, at: Option<At>) -> Option<TimestampMs> {
        match at? {
            At::Time(t) => Some(t),
            At::Start => Some(self.time.start),
            At::End => Some(self.steps.end().max(self.time.end)),
        }
    }

    /// Streams the series of an instant selector.
    pub(super) fn stream_select(
        &self,
        select: &Select,
        steps: Steps,
        what: Yield,
        sink: &mut Sink<'_>,
    ) -> Result<(), EvalError> {
        let fixed = self.at(select.at);
        let own = fixed.map_or(steps, Steps::instant);
        let offset = select.offset_ms;
        let lookback = self.options.lookback_ms;
        let oldest = own
            .start
            .saturating_sub(offset)
            .saturating_sub(lookback)
            .saturating_add(1);
        let range = TimeRange::inclusive(oldest, own.end().saturating_sub(offset));
        let mut out = Column::default();
        self.each_series(select, range, |tag, samples| {
            out.reset(own.count);
            newest(samples, own, offset, lookback, what, &mut out);
            self.emit(tag, &mut out, fixed.is_some(), steps, sink)
        })
    }

    /// Hands on what a selector made of a series; where its time is fixed, that is one value for
    /// all steps.
    pub(super) fn emit(
        &self,
        tag: Tag<'_>,
        out: &mut Column,
        is_fixed: bool,
        steps: Steps,
        sink: &mut Sink<'_>,
    ) -> Result<(), EvalError> {
        if is_fixed {
            broadcast(out, steps.count);
        }
        if out.is_empty() {
            return Ok(());
        }
        if self.counts_samples() {
            self.count_column(out);
        }
        sink(tag, out)
    }

    /// Streams the decoded samples of the series of a selector.
    pub(super) fn each_series(
        &self,
        select: &Select,
        range: TimeRange,
        mut visit: impl FnMut(Tag<'_>, &mut SeriesSamples) -> Result<(), EvalError>,
    ) -> Result<(), EvalError> {
        self.budget.check()?;
        let request = SelectRequest {
            matchers: select.matchers.clone(),
            range,
            labels: select.labels.clone(),
            max_series: self.budget.max_series(),
            max_bytes: self.budget.limits().max_memory_bytes,
            skipped: Skipped::default(),
        };
        let mut loading = self.observe_select();
        let mut set = self.source.select(&request)?;
        let mut samples = SeriesSamples::default();
        while let Some(labels) = set.next(&mut samples)? {
            let held = held_samples(&samples);
            self.budget.loaded(held)?;
            if samples.is_empty() {
                continue;
            }
            if let Some(loading) = &mut loading {
                loading.loaded(held);
            }
            let tag = Tag {
                name: select.name.as_deref(),
                ..Tag::of(&labels)
            };
            visit(tag, &mut samples)?;
            if let Some(loading) = &mut loading {
                loading.goes_on();
            }
        }
        if let Some(loading) = loading {
            loading.ended(select);
        }
        Ok(())
    }

    /// Streams each series of a range with the windows placed over its samples, which are free of
    /// stale markers.
    pub(super) fn stream_windows(
        &self,
        source: &RangeSource,
        steps: Steps,
        visit: &mut dyn FnMut(Tag<'_>, &SeriesSamples, &Windows) -> Result<(), EvalError>,
    ) -> Result<(), EvalError> {
        if self.counts_samples() {
            return self.place_windows(source, steps, &mut |tag, samples, windows| {
                self.count_windows(samples, windows);
                visit(tag, samples, windows)
            });
        }
        self.place_windows(source, steps, visit)
    }

    fn place_windows(
        &self,
        source: &RangeSource,
        steps: Steps,
        visit: &mut dyn FnMut(Tag<'_>, &SeriesSamples, &Windows) -> Result<(), EvalError>,
    ) -> Result<(), EvalError> {
        let (range_ms, offset_ms, at) = match source {
            RangeSource::Select(select, range_ms) => (*range_ms, select.offset_ms, select.at),
            RangeSource::Subquery(subquery) => (subquery.range_ms, subquery.offset_ms, subquery.at),
        };
        let mut windows = Windows {
            steps,
            range_ms,
            offset_ms,
            at_ms: self.at(at),
            edge: match source {
                RangeSource::Select(select, _) => select.edge,
                RangeSource::Subquery(_) => Edge::Open,
            },
            lookback_ms: self.options.lookback_ms,
            windows: Vec::with_capacity(steps.count),
        };
        match source {
            RangeSource::Select(select, _) => {
                let oldest = windows.oldest_ms(0).saturating_add(1);
                let range = TimeRange::inclusive(oldest, windows.newest_ms(steps.count - 1));
                // Between the bounds of windows with an edge there are no samples that start.
                let use_starts = self.options.use_start_timestamps && windows.edge == Edge::Open;
                self.each_series(select, range, |tag, samples| {
                    drop_stale(samples);
                    if !use_starts {
                        drop_starts(samples);
                    }
                    windows.place(samples);
                    visit(tag, samples, &windows)
                })
            }
            RangeSource::Subquery(subquery) => {
                let Some(inner) = self.subquery_steps(subquery, &windows) else {
                    return Ok(());
                };
                let _held = self.budget.hold_steps(inner.count)?;
                let mut samples = SeriesSamples::default();
                let within = Self {
                    counted: self.counted.within(),
                    ..*self
                };
                within.stream(&subquery.input, inner, &mut |tag, column| {
                    self.budget.check()?;
                    to_samples(column, inner, &mut samples);
                    self.budget.pass(held_samples(&samples))?;
                    windows.place(&samples);
                    visit(tag, &samples, &windows)
                })
            }
        }
    }

    /// The steps at which a subquery evaluates its expression: multiples of its resolution.
    fn subquery_steps(&self, subquery: &SubqueryNode, windows: &Windows) -> Option<Steps> {
        let step = subquery
            .step_ms
            .unwrap_or(self.options.subquery_step_ms)
            .max(1);
        let before = windows.start_ms(0);
        let last = windows.end_ms(windows.steps.count - 1);
        let first = before
            .div_euclid(step)
            .saturating_add(1)
            .saturating_mul(step);
        (first <= last).then(|| Steps::range(first, last, step))
    }
}

/// Repeats the one step of a column at all steps.
pub(super) fn broadcast(column: &mut Column, steps: usize) {
    let value = column.floats[0];
    column.floats.clear();
    column.floats.resize(steps, value);
    if let Some((_, histogram)) = column.histograms.pop() {
        for step in 0..steps {
            column.push_histogram(step, Arc::clone(&histogram));
        }
    }
}

/// Fills a column with what is newest at each step, within the lookback.
fn newest(
    samples: &SeriesSamples,
    steps: Steps,
    offset: i64,
    lookback: i64,
    what: Yield,
    out: &mut Column,
) {
    let (ts, histograms) = (&samples.ts, &samples.histograms);
    let (mut floats_seen, mut histograms_seen) = (0, 0);
    let seconds = |t: TimestampMs| t as f64 / 1000.0;
    for step in 0..steps.count {
        let now = steps.time(step).saturating_sub(offset);
        while floats_seen < ts.len() && ts[floats_seen] <= now {
            floats_seen += 1;
        }
        while histograms_seen < histograms.len() && histograms[histograms_seen].t <= now {
            histograms_seen += 1;
        }
        let oldest = now.saturating_sub(lookback);
        let float = floats_seen.checked_sub(1).filter(|at| ts[*at] > oldest);
        let histogram = histograms_seen
            .checked_sub(1)
            .filter(|at| histograms[*at].t > oldest);
        let histogram = histogram.filter(|h| float.is_none_or(|f| histograms[*h].t > ts[f]));
        if let Some(at) = histogram {
            let point = &histograms[at];
            if is_stale(point.histogram.sum) {
                continue;
            }
            match what {
                Yield::Value | Yield::FloatTime => {
                    out.push_histogram(step, Arc::clone(&point.histogram));
                }
                Yield::Time => out.floats[step] = seconds(point.t),
                Yield::Start => out.floats[step] = seconds(point.start),
            }
        } else if let Some(at) = float {
            let value = samples.values[at];
            // A stale marker reads as 'absent' as it is.
            out.floats[step] = match what {
                Yield::Time | Yield::FloatTime if !is_stale(value) => seconds(ts[at]),
                Yield::Start if !is_stale(value) => {
                    seconds(samples.starts.get(at).copied().unwrap_or_default())
                }
                _ => value,
            };
        }
    }
}

/// Takes the stale markers out: windows never see them.
pub(super) fn drop_stale(samples: &mut SeriesSamples) {
    samples
        .histograms
        .retain(|point| !is_stale(point.histogram.sum));
    if !samples.values.iter().any(|value| is_stale(*value)) {
        return;
    }
    let keep: Vec<bool> = samples
        .values
        .iter()
        .map(|value| !is_stale(*value))
        .collect();
    let mut kept = keep.iter();
    samples.ts.retain(|_| *kept.next().unwrap_or(&true));
    let mut kept = keep.iter();
    samples.starts.retain(|_| *kept.next().unwrap_or(&true));
    samples.values.retain(|value| !is_stale(*value));
}

/// Takes the start timestamps out: what follows does not know of any.
fn drop_starts(samples: &mut SeriesSamples) {
    samples.starts.clear();
    for point in &mut samples.histograms {
        point.start = 0;
    }
}

/// Turns a column into samples at the times of its steps.
fn to_samples(column: &mut Column, steps: Steps, samples: &mut SeriesSamples) {
    samples.clear();
    for (step, value) in column.floats.iter().enumerate() {
        if !is_stale(*value) {
            samples.ts.push(steps.time(step));
            samples.values.push(*value);
        }
    }
    // The last one found, and the same without its hint.
    let mut unhinted: Option<(Arc<FloatHistogram>, Arc<FloatHistogram>)> = None;
    for (step, mut histogram) in column.histograms.drain(..) {
        // A sample may come back at several steps or at none, so that its hint says nothing of the
        // sample before it.
        if matches!(histogram.reset_hint, ResetHint::Reset | ResetHint::NotReset) {
            match &unhinted {
                // What is at many steps is copied once.
                Some((found, copy)) if Arc::ptr_eq(found, &histogram) => {
                    histogram = Arc::clone(copy);
                }
                _ => {
                    let found = (Arc::strong_count(&histogram) > 1).then(|| Arc::clone(&histogram));
                    Arc::make_mut(&mut histogram).reset_hint = ResetHint::Unknown;
                    unhinted = found.map(|found| (found, Arc::clone(&histogram)));
                }
            }
        }
        samples.histograms.push(model::select::HistogramPoint {
            t: steps.time(step as usize),
            start: 0,
            histogram,
        });
    }
}

/// Two columns of one label set, brought together; `false` where both have a value at one step.
pub(super) fn unite(into: &mut Column, other: Column) -> bool {
    for (mine, theirs) in into.floats.iter_mut().zip(&other.floats) {
        if is_stale(*mine) {
            *mine = *theirs;
        } else if !is_stale(*theirs) {
            return false;
        }
    }
    let taken = |column: &Column, step: u32| column.histogram(step as usize).is_some();
    let clash = |(step, _): &(u32, _)| taken(into, *step) || !is_stale(into.floats[*step as usize]);
    if other.histograms.iter().any(clash) {
        return false;
    }
    if into
        .histograms
        .iter()
        .any(|(step, _)| !is_stale(other.floats[*step as usize]))
    {
        return false;
    }
    if !other.histograms.is_empty() {
        into.histograms.extend(other.histograms);
        into.histograms.sort_by_key(|(step, _)| *step);
    }
    true
}
