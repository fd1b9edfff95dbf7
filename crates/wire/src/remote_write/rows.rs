//! Rows as they grow: the columns of the batch, the checks that cost next to nothing, and the
//! account of what was left out. Both versions of the format fill it.

use model::fingerprint::{FingerprintHasher, string_hash};
use model::histogram::HistogramSample;
use model::limits::Limits;
use model::sample::Sample;
use model::validate::{HistogramBounds, validate_histogram};
use model::write::{MetricMetadata, Rejection, SeriesRow, WriteBatch};

use super::decode::{Decoded, Fault, Rejected};
use super::faults::{RowFault, explain};
use super::labels::{RawLabels, prefix};

/// Bytes a histogram takes besides its buckets.
const HISTOGRAM_BYTES: usize = 320;

/// The batch under construction.
pub(super) struct Rows<'a, 'l> {
    pub(super) batch: WriteBatch<RawLabels<'a>>,
    pub(super) limits: &'l Limits,
    pub(super) memory: Memory,
    pub(super) histogram_bounds: HistogramBounds,
    /// By reference of a metric's name: the metadata told of it so far.
    pub(super) described: Vec<[u32; 3]>,
    rejected: Rejected,
    spare_metadata: Vec<MetricMetadata>,
    max_names: usize,
    max_name: usize,
    max_value: usize,
}

/// What a request may still take.
pub(super) struct Memory(usize);

impl Memory {
    #[inline(always)]
    pub(super) fn take(&mut self, bytes: usize) -> Result<(), Fault> {
        match self.0.checked_sub(bytes) {
            Some(rest) => {
                self.0 = rest;
                Ok(())
            }
            None => Err(Fault::Memory),
        }
    }
}

/// Where a row begins in the columns.
#[derive(Clone, Copy)]
pub(super) struct Mark {
    samples: usize,
    histograms: usize,
    exemplars: usize,
}

impl<'a, 'l> Rows<'a, 'l> {
    pub(super) fn new(
        batch: WriteBatch<RawLabels<'a>>,
        limits: &'l Limits,
        memory: usize,
        spare_metadata: Vec<MetricMetadata>,
        described: Vec<[u32; 3]>,
    ) -> Self {
        // Zero means 'no limit'.
        let bound = |limit: usize| if limit == 0 { usize::MAX } else { limit };
        Self {
            batch,
            limits,
            memory: Memory(memory),
            histogram_bounds: HistogramBounds::of(limits),
            described,
            rejected: Rejected::default(),
            spare_metadata,
            max_names: bound(limits.max_label_names_per_series),
            max_name: bound(limits.max_label_name_length),
            max_value: bound(limits.max_label_value_length),
        }
    }

    pub(super) fn finish(self) -> (Decoded<'a>, Vec<MetricMetadata>, Vec<[u32; 3]>) {
        let decoded = Decoded {
            batch: self.batch,
            rejected: self.rejected,
        };
        (decoded, self.spare_metadata, self.described)
    }

    #[inline]
    pub(super) fn mark(&self) -> Mark {
        Mark {
            samples: self.batch.samples.len(),
            histograms: self.batch.histograms.len(),
            exemplars: self.batch.exemplars.len(),
        }
    }

    #[inline(always)]
    pub(super) fn sample(&mut self, sample: Sample) -> Result<(), Fault> {
        self.memory.take(size_of::<Sample>())?;
        self.batch.samples.push(sample);
        Ok(())
    }

    pub(super) fn histogram(&mut self, sample: HistogramSample) -> Result<(), Fault> {
        self.memory.take(HISTOGRAM_BYTES)?;
        self.batch.histograms.push(sample);
        Ok(())
    }

    /// Gives the samples of a row that have no start of their own this one.
    pub(super) fn start_at(&mut self, mark: Mark, start: i64) {
        let samples = self.batch.samples[mark.samples..].iter_mut();
        let histograms = self.batch.histograms[mark.histograms..].iter_mut();
        let starts = samples
            .map(|s| &mut s.start)
            .chain(histograms.map(|h| &mut h.start));
        starts.filter(|own| **own == 0).for_each(|own| *own = start);
    }

    /// Ends a row: it joins the batch, or all that was pushed since `mark` is left out.
    #[inline]
    pub(super) fn end(
        &mut self,
        mark: Mark,
        labels: RawLabels<'a>,
        checks: Checks<'a>,
        fault: Option<RowFault>,
    ) -> Result<(), Fault> {
        let sound = checks.named
            && !checks.disordered
            && !checks.empty_name
            && checks.count <= self.max_names
            && checks.longest_name <= self.max_name
            && checks.longest_value <= self.max_value
            && fault.is_none();
        if !sound {
            self.reject_row(mark, labels, fault);
            return Ok(());
        }
        if self.batch.histograms.len() > mark.histograms {
            self.check_histograms(mark, labels);
        }
        if self.batch.exemplars.len() > mark.exemplars {
            self.date_exemplars(mark);
        }
        let end = self.mark();
        if end.samples == mark.samples
            && end.histograms == mark.histograms
            && end.exemplars == mark.exemplars
        {
            return Ok(());
        }
        self.memory.take(size_of::<SeriesRow<RawLabels<'_>>>())?;
        self.batch.series.push(SeriesRow {
            fingerprint: checks.hasher.finish(),
            labels,
            samples_end: end.samples as u32,
            histograms_end: end.histograms as u32,
            exemplars_end: end.exemplars as u32,
        });
        Ok(())
    }

    #[cold]
    #[inline(never)]
    fn reject_row(&mut self, mark: Mark, labels: RawLabels<'a>, fault: Option<RowFault>) {
        let samples = self.batch.samples.len() - mark.samples;
        let histograms = self.batch.histograms.len() - mark.histograms;
        let exemplars = self.batch.exemplars.len() - mark.exemplars;
        self.batch.samples.truncate(mark.samples);
        self.batch.histograms.truncate(mark.histograms);
        self.batch.exemplars.truncate(mark.exemplars);
        self.rejected.samples += samples;
        self.rejected.histograms += histograms;
        self.rejected.exemplars += exemplars;
        let limits = self.limits;
        let rejection = explain(&labels, limits, fault);
        self.count(rejection.id, samples + histograms + exemplars);
        self.rejected.first.get_or_insert(rejection);
    }

    /// Leaves out those histograms of a row that contradict themselves.
    fn check_histograms(&mut self, mark: Mark, labels: RawLabels<'a>) {
        let mut kept = mark.histograms;
        for at in mark.histograms..self.batch.histograms.len() {
            let checked = validate_histogram(&self.batch.histograms[at], self.limits);
            match checked {
                Ok(()) => {
                    self.batch.histograms.swap(kept, at);
                    kept += 1;
                }
                Err(fault) => {
                    self.rejected.histograms += 1;
                    self.count(fault.id(), 1);
                    let first = &mut self.rejected.first;
                    first.get_or_insert_with(|| fault.reject(&labels));
                }
            }
        }
        self.batch.histograms.truncate(kept);
    }

    /// An exemplar without a time takes that of the row's last sample.
    fn date_exemplars(&mut self, mark: Mark) {
        let samples = self.batch.samples[mark.samples..].last().map(|s| s.t);
        let histograms = self.batch.histograms[mark.histograms..].last();
        let Some(t) = samples.or(histograms.map(|h| h.t)) else {
            return;
        };
        for exemplar in &mut self.batch.exemplars[mark.exemplars..] {
            if exemplar.t == 0 {
                exemplar.t = t;
            }
        }
    }

    /// Notes an exemplar that is left out of a row that stays.
    pub(super) fn reject_exemplar(&mut self, rejection: Rejection) {
        self.rejected.exemplars += 1;
        self.count(rejection.id, 1);
        self.rejected.first.get_or_insert(rejection);
    }

    /// Notes metadata that is left out. It is no sample, so that no count but its id's goes up.
    pub(super) fn reject_metadata(&mut self, rejection: Rejection) {
        self.count(rejection.id, 1);
        self.rejected.first.get_or_insert(rejection);
    }

    fn count(&mut self, id: &'static str, items: usize) {
        let by_id = &mut self.rejected.by_id;
        match by_id.iter_mut().find(|(known, _)| *known == id) {
            Some((_, count)) => *count += items,
            None => by_id.push((id, items)),
        }
    }

    /// An empty item of metadata, at best one whose strings have memory.
    pub(super) fn spare_metadata(&mut self) -> MetricMetadata {
        let mut spare = self.spare_metadata.pop().unwrap_or_default();
        spare.metric.clear();
        spare.help.clear();
        spare.unit.clear();
        spare
    }
}

/// The prefix of the name `__name__`, which with its length of eight is all of it.
pub(super) const METRIC_NAME_PREFIX: u64 = u64::from_be_bytes(*b"__name__");

/// What is gathered of a row's labels in passing, without a branch that is ever taken for a row
/// that is sound.
#[derive(Default)]
pub(super) struct Checks<'a> {
    pub(super) hasher: FingerprintHasher,
    pub(super) count: usize,
    pub(super) longest_name: usize,
    pub(super) longest_value: usize,
    last_name: &'a [u8],
    last_prefix: u64,
    pub(super) named: bool,
    pub(super) disordered: bool,
    pub(super) empty_name: bool,
}

impl<'a> Checks<'a> {
    /// Adds a label.
    #[inline(always)]
    pub(super) fn label(&mut self, name: &'a [u8], value: &'a [u8]) {
        self.name(name, prefix(name));
        // An empty value means 'no such label'.
        if !value.is_empty() {
            self.hasher.push(string_hash(name));
            self.hasher.push(string_hash(value));
            self.value(value.len());
        }
    }

    #[inline(always)]
    fn name(&mut self, name: &'a [u8], prefix: u64) {
        if prefix <= self.last_prefix {
            self.disordered |= prefix < self.last_prefix || name <= self.last_name;
        }
        self.empty_name |= name.is_empty();
        self.longest_name = self.longest_name.max(name.len());
        self.last_name = name;
        self.last_prefix = prefix;
    }

    #[inline(always)]
    fn value(&mut self, len: usize) {
        self.named |= (self.last_prefix == METRIC_NAME_PREFIX) & (self.last_name.len() == 8);
        self.longest_value = self.longest_value.max(len);
        self.count += 1;
    }
}
