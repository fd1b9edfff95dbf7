//! The write side of a head: rows to series, then samples to chunks.
//!
//! A batch goes through in three steps, so that the log comes between the first and the last:
//! [`TenantHead::resolve_rows`] finds or makes the series, [`log_batch`] encodes the log record,
//! and, once that is durable, [`TenantHead::apply`] appends.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use model::error::ErrorKind;
use model::fingerprint::Fingerprint;
use model::limits::Limits;
use model::quantity::DurationMs;
use model::time::TimestampMs;
use model::validate::{describe_series, validate_labels};
use model::write::{LabelSource, Rejection, WriteBatch, WriteOutcome};

use super::series::{AgeLimits, Appended, MemSeries};
use super::{SeriesMap, TenantHead};
use crate::postings::{LabelIndex, PairId};
use crate::wal::record::RecordEncoder;

/// New series made under one hold of the locks.
const CREATE_BATCH: usize = 128;

/// The series of a batch's rows: `None` where the row is refused. Kept to be used again.
#[derive(Default)]
pub(crate) struct ResolvedRows {
    series: Vec<Option<Arc<MemSeries>>>,
    unknown: Vec<usize>,
}

/// When a batch is appended: what its samples' times are compared with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AppendTimes {
    pub(crate) age: AgeLimits,
    /// Samples behind this lie too far in the future.
    pub(crate) latest: TimestampMs,
    newest: TimestampMs,
    window: DurationMs,
}

impl AppendTimes {
    /// The times for a batch that comes now. Retention bounds how old a sample may be; a wider
    /// out-of-order window widens it.
    pub(crate) fn new(head: &TenantHead, limits: &Limits, now: TimestampMs) -> Self {
        let latest = now.saturating_add(limits.creation_grace_period.0);
        // What was taken while a clock was ahead makes nothing old that comes after it.
        let newest = head.newest().min(latest);
        let window = limits.out_of_order_time_window;
        let back = |by: i64| {
            if newest == TimestampMs::MIN {
                newest
            } else {
                newest.saturating_sub(by)
            }
        };
        Self {
            age: AgeLimits {
                oldest_late: back(window.0),
                oldest: back(limits.kept_ms()),
                late_allowed: window.0 > 0,
            },
            latest,
            newest,
            window,
        }
    }

    /// Whether a sample of this time is not refused at sight.
    fn may_take(&self, t: TimestampMs) -> bool {
        self.age.oldest <= t && t <= self.latest
    }
}

impl TenantHead {
    /// Finds the series of all rows, and makes those that are new. Rows with labels that are
    /// not valid, and new series over the tenant's limit, are refused.
    pub(crate) fn resolve_rows<L: LabelSource>(
        &self,
        batch: &WriteBatch<L>,
        limits: &Limits,
        rows: &mut ResolvedRows,
        outcome: &mut WriteOutcome,
    ) {
        rows.series.clear();
        rows.unknown.clear();
        {
            let series = self.series.read();
            for (i, row) in batch.series.iter().enumerate() {
                let known = series.by_fingerprint(row.fingerprint);
                if known.is_none() {
                    rows.unknown.push(i);
                }
                rows.series.push(known.map(Arc::clone));
            }
        }
        for unknown in rows.unknown.chunks(CREATE_BATCH) {
            self.create_rows(batch, unknown, limits, &mut rows.series, outcome);
        }
    }

    fn create_rows<L: LabelSource>(
        &self,
        batch: &WriteBatch<L>,
        unknown: &[usize],
        limits: &Limits,
        resolved: &mut [Option<Arc<MemSeries>>],
        outcome: &mut WriteOutcome,
    ) {
        let check = |i: &usize| validate_labels(&batch.series[*i].labels, limits);
        let checked: Vec<_> = unknown.iter().map(check).collect();
        let mut map = self.series.write();
        let mut index = self.index.write();
        let mut hint: Vec<PairId> = Vec::new();
        for (i, checked) in unknown.iter().zip(checked) {
            let row = &batch.series[*i];
            // Another request, or an earlier row of this one, may have made it meanwhile.
            if let Some(known) = map.by_fingerprint(row.fingerprint) {
                resolved[*i] = Some(Arc::clone(known));
                continue;
            }
            let allowed = checked.and_then(|()| self.check_series_limit(&map, limits));
            let series_ref = allowed.and_then(|()| map.take_ref().ok_or_else(|| self.no_refs()));
            let series_ref = match series_ref {
                Ok(series_ref) => series_ref,
                Err(rejection) => {
                    let refused = row_size(batch, *i);
                    reject(outcome, refused, || rejection);
                    let counter = &self.counters.rejected;
                    counter.fetch_add(refused as u64, Ordering::Relaxed);
                    continue;
                }
            };
            let made = make_series(
                &mut index,
                row.fingerprint,
                &row.labels,
                series_ref,
                &mut hint,
            );
            map.insert(Arc::clone(&made));
            resolved[*i] = Some(made);
            self.counters.series_created.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn no_refs(&self) -> Rejection {
        Rejection {
            kind: ErrorKind::TooMany,
            id: "max-series",
            message: format!(
                "tenant {} has made {} series in its life, which is all that can be numbered; \
                 known series go on, new ones need a new tenant",
                self.tenant,
                u32::MAX
            ),
        }
    }

    fn check_series_limit(&self, map: &SeriesMap, limits: &Limits) -> Result<(), Rejection> {
        if limits.max_series == 0 || map.len() < limits.max_series {
            return Ok(());
        }
        Err(Rejection {
            kind: ErrorKind::TooMany,
            id: "max-series",
            message: format!(
                "tenant {} has {} series in memory, the limit max_series is {}; drop labels with \
                 many values or raise the limit",
                self.tenant,
                map.len(),
                limits.max_series
            ),
        })
    }

    /// Appends a batch whose log record is durable.
    pub(crate) fn apply<L>(
        &self,
        batch: &WriteBatch<L>,
        rows: &ResolvedRows,
        limits: &Limits,
        times: &AppendTimes,
        outcome: &mut WriteOutcome,
    ) {
        let mut columns = RowCursor::default();
        let (mut first, mut last) = (TimestampMs::MAX, TimestampMs::MIN);
        for (i, series) in rows.series.iter().enumerate() {
            let row = columns.advance(batch, i);
            let Some(series) = series else {
                continue;
            };
            let mut refused = Refused::default();
            let mut state = series.state.lock();
            for sample in &batch.samples[row.samples.clone()] {
                let appended = if sample.t > times.latest {
                    Err(TooNew)
                } else {
                    Ok(state.append(*sample, times.age, &self.files))
                };
                if appended == Ok(Appended::Written) {
                    outcome.samples += 1;
                    first = first.min(sample.t);
                    last = last.max(sample.t);
                } else {
                    refused.note(sample.t, appended);
                }
            }
            for sample in &batch.histograms[row.histograms.clone()] {
                let appended = if sample.t > times.latest {
                    Err(TooNew)
                } else {
                    Ok(state.append_histogram(sample, times.age, &self.files))
                };
                if appended == Ok(Appended::Written) {
                    outcome.histograms += 1;
                    first = first.min(sample.t);
                    last = last.max(sample.t);
                } else {
                    refused.note(sample.t, appended);
                }
            }
            drop(state);
            if let Some((t, why)) = refused.first {
                self.refuse(series, refused.count, t, why, times, outcome);
            }
            if !row.exemplars.is_empty() && limits.max_exemplars > 0 {
                let mut ring = self.exemplars.lock();
                for exemplar in &batch.exemplars[row.exemplars] {
                    ring.push(series.series_ref, exemplar, limits.max_exemplars);
                    outcome.exemplars += 1;
                }
            }
        }
        if first <= last {
            self.note_times(first, last);
        }
        if !batch.metadata.is_empty() {
            let mut store = self.metadata.lock();
            for metadata in &batch.metadata {
                store.set(metadata, limits.max_metadata);
            }
        }
        let written = (outcome.samples + outcome.histograms) as u64;
        self.counters.appended.fetch_add(written, Ordering::Relaxed);
    }

    #[cold]
    fn refuse(
        &self,
        series: &MemSeries,
        count: usize,
        t: TimestampMs,
        why: Result<Appended, TooNew>,
        times: &AppendTimes,
        outcome: &mut WriteOutcome,
    ) {
        let counter = &self.counters.rejected;
        counter.fetch_add(count as u64, Ordering::Relaxed);
        reject(outcome, count, || {
            let labels = self.index.read().labels(&series.labels);
            let labels = describe_series(&labels);
            let (id, reason) = match why {
                Err(TooNew) => (
                    "sample-too-far-in-future",
                    format!(
                        "is later than now plus the limit creation_grace_period, {}; check the \
                         clock of the sender",
                        times.latest
                    ),
                ),
                Ok(Appended::Conflict) => (
                    "duplicate-timestamp",
                    "has another value than the sample that is stored for this time; let only \
                     one sender write a series"
                        .to_owned(),
                ),
                Ok(Appended::OutOfOrder) => (
                    "out-of-order-sample",
                    "is not newer than the series' newest sample, and the limit \
                     out_of_order_time_window takes no late samples; raise it if senders are \
                     often late"
                        .to_owned(),
                ),
                Ok(Appended::TooOld | Appended::Written) => (
                    "sample-too-old",
                    format!(
                        "lies too far behind the tenant's newest sample, {}; the limit \
                         out_of_order_time_window is {}, raise it if senders are often late",
                        times.newest, times.window
                    ),
                ),
            };
            Rejection {
                kind: ErrorKind::Invalid,
                id,
                message: format!("sample at {t} of series {labels} {reason}"),
            }
        });
    }
}

/// The samples of one row that were refused.
#[derive(Default)]
struct Refused {
    count: usize,
    first: Option<(TimestampMs, Result<Appended, TooNew>)>,
}

impl Refused {
    #[cold]
    fn note(&mut self, t: TimestampMs, why: Result<Appended, TooNew>) {
        self.count += 1;
        self.first.get_or_insert((t, why));
    }
}

/// A sample from the future.
#[derive(Clone, Copy, PartialEq, Eq)]
struct TooNew;

/// Encodes the log record of a batch: definitions of series the log does not know, then what
/// is not refused at sight. Returns whether there is anything to log.
pub(crate) fn log_batch<L: LabelSource>(
    head: &TenantHead,
    batch: &WriteBatch<L>,
    rows: &ResolvedRows,
    times: &AppendTimes,
    encoder: &mut RecordEncoder,
) -> bool {
    encoder.begin(&head.tenant);
    let mut columns = RowCursor::default();
    let mut any = false;
    for (i, series) in rows.series.iter().enumerate() {
        let row = columns.advance(batch, i);
        let Some(series) = series else {
            continue;
        };
        any = true;
        let series_ref = series.series_ref;
        if !series.is_defined() {
            encoder.series(series_ref, series.fingerprint, &batch.series[i].labels);
        }
        for sample in &batch.samples[row.samples] {
            if times.may_take(sample.t) {
                encoder.sample(series_ref, sample.t, sample.v, sample.start);
            }
        }
        for sample in &batch.histograms[row.histograms] {
            if times.may_take(sample.t) {
                encoder.histogram(series_ref, sample);
            }
        }
        for exemplar in &batch.exemplars[row.exemplars] {
            encoder.exemplar(series_ref, exemplar);
        }
    }
    if !batch.metadata.is_empty() {
        let known = head.metadata.lock();
        for metadata in batch.metadata.iter().filter(|new| !known.is_newest(new)) {
            encoder.metadata(metadata);
            any = true;
        }
    }
    any
}

impl ResolvedRows {
    /// Notes that the log knows all series of the batch.
    pub(crate) fn set_defined(&self) {
        for series in self.series.iter().flatten() {
            if !series.is_defined() {
                series.set_defined();
            }
        }
    }

    /// Lets go of the series, and of memory beyond so many rows.
    pub(crate) fn clear(&mut self, most_rows: usize) {
        self.series.clear();
        self.unknown.clear();
        self.series.shrink_to(most_rows);
        self.unknown.shrink_to(most_rows);
    }
}

/// Walks the columns of a batch row by row.
#[derive(Default)]
struct RowCursor {
    samples: usize,
    histograms: usize,
    exemplars: usize,
}

/// One row's part of each column.
struct RowRanges {
    samples: std::ops::Range<usize>,
    histograms: std::ops::Range<usize>,
    exemplars: std::ops::Range<usize>,
}

impl RowCursor {
    #[inline]
    fn advance<L>(&mut self, batch: &WriteBatch<L>, i: usize) -> RowRanges {
        let row = &batch.series[i];
        let next = Self {
            samples: row.samples_end as usize,
            histograms: row.histograms_end as usize,
            exemplars: row.exemplars_end as usize,
        };
        let ranges = RowRanges {
            samples: self.samples..next.samples,
            histograms: self.histograms..next.histograms,
            exemplars: self.exemplars..next.exemplars,
        };
        *self = next;
        ranges
    }
}

fn row_size<L>(batch: &WriteBatch<L>, i: usize) -> usize {
    let before = i.checked_sub(1).map(|i| &batch.series[i]);
    let start = before.map_or(0, |row| row.samples_end + row.histograms_end);
    let row = &batch.series[i];
    (row.samples_end + row.histograms_end - start) as usize
}

fn reject(outcome: &mut WriteOutcome, count: usize, rejection: impl FnOnce() -> Rejection) {
    outcome.rejected += count;
    if outcome.first_rejection.is_none() {
        outcome.first_rejection = Some(rejection());
    }
}

/// Interns a series' labels and enters it into the index. `hint` are the pairs of the series
/// made before, which share most labels with this one in the order in which targets are sent.
pub(super) fn make_series<L: LabelSource>(
    index: &mut LabelIndex,
    fingerprint: Fingerprint,
    labels: &L,
    series_ref: u32,
    hint: &mut Vec<PairId>,
) -> Arc<MemSeries> {
    let mut pairs: Vec<PairId> = Vec::with_capacity(hint.len().max(8));
    labels.for_each(&mut |name, value| {
        if let (Ok(name), Ok(value)) = (str::from_utf8(name), str::from_utf8(value))
            && !value.is_empty()
        {
            let near = hint.get(pairs.len()).copied();
            pairs.push(index.intern_near(name, value, near));
        }
    });
    index.add(series_ref, &pairs);
    hint.clear();
    hint.extend_from_slice(&pairs);
    let labels = pairs.into_boxed_slice();
    Arc::new(MemSeries::new(fingerprint, series_ref, labels))
}
