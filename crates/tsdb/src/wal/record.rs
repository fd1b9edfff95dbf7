//! What a write record says: one tenant's new series, samples, histograms, exemplars, metadata.
//!
//! Each column stands by itself, so that the compressor behind finds like next to like, and a
//! record needs no other record to be understood. The bytes are in docs/formats/wal.md.

mod cursor;
mod runs;
mod values;
mod symbols;
mod histograms;

use model::histogram::HistogramSample;
use model::write::{LabelSource, MetricMetadata, MetricType};
use model::{Exemplar, Fingerprint, Labels, Sample, TenantId};

use cursor::{Cursor, put_bytes, put_varint};
use histograms::{HistogramDecoder, HistogramEncoder};
use runs::{RunDecoder, RunEncoder};
use symbols::{SymbolEncoder, Symbols};
use values::{ValueDecoder, ValueEncoder};

/// The version of the format that is written.
const VERSION: u8 = 1;
/// Version, and the varints in front of the tenant and of six sections and their rows, in bytes.
const MAX_FRAMING_BYTES: usize = 1 + 12 * 10;

/// A record's bytes make no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed write record: {0}")]
pub struct RecordError(&'static str);

/// Builds one record after the other, in the same memory. Rows of each kind keep their order;
/// there is none between the kinds, so that a reader takes the series first.
#[derive(Default)]
pub struct RecordEncoder {
    tenant: String,
    symbols: SymbolEncoder,
    series_count: u64,
    series_refs: RunEncoder,
    fingerprints: Vec<u8>,
    series_labels: Vec<u8>,
    sample_count: u64,
    refs: RunEncoder,
    times: RunEncoder,
    starts: RunEncoder,
    values: ValueEncoder,
    histogram_count: u64,
    histogram_refs: RunEncoder,
    histogram_times: RunEncoder,
    histogram_starts: RunEncoder,
    histograms: HistogramEncoder,
    exemplar_count: u64,
    exemplar_refs: RunEncoder,
    exemplar_times: RunEncoder,
    exemplars: Vec<u8>,
    metadata_count: u64,
    metadata: Vec<u8>,
    section: Vec<u8>,
    out: Vec<u8>,
}

impl RecordEncoder {
    /// Begins a record; what was added before and not finished is dropped.
    pub fn begin(&mut self, tenant: &TenantId) {
        self.tenant.clear();
        self.tenant.push_str(tenant.as_str());
        self.symbols.clear();
        self.fingerprints.clear();
        self.series_labels.clear();
        self.values.clear();
        self.histograms.clear();
        self.exemplars.clear();
        self.metadata.clear();
        for runs in [
            &mut self.series_refs,
            &mut self.refs,
            &mut self.times,
            &mut self.starts,
            &mut self.histogram_refs,
            &mut self.histogram_times,
            &mut self.histogram_starts,
            &mut self.exemplar_refs,
            &mut self.exemplar_times,
        ] {
            runs.clear();
        }
        self.series_count = 0;
        self.sample_count = 0;
        self.histogram_count = 0;
        self.exemplar_count = 0;
        self.metadata_count = 0;
    }

    /// Whether nothing was added since [`Self::begin`].
    pub fn is_empty(&self) -> bool {
        let rows = self.series_count + self.sample_count + self.histogram_count;
        rows + self.exemplar_count + self.metadata_count == 0
    }

    /// Adds the definition of a series. Its labels are UTF-8: a reader refuses others.
    pub fn series(&mut self, series_ref: u32, fingerprint: Fingerprint, labels: &dyn LabelSource) {
        self.series_count += 1;
        self.series_refs.push(i64::from(series_ref));
        self.fingerprints
            .extend_from_slice(&fingerprint.0.to_le_bytes());
        self.symbols.labels(labels, &mut self.series_labels);
    }

    /// Adds a sample. `t` and `start` are in milliseconds since the epoch.
    #[inline]
    pub fn sample(&mut self, series_ref: u32, t: i64, v: f64, start: i64) {
        self.sample_count += 1;
        self.refs.push(i64::from(series_ref));
        self.times.push(t);
        self.starts.push(start);
        self.values.push(v);
    }

    /// Adds a native histogram.
    pub fn histogram(&mut self, series_ref: u32, sample: &HistogramSample) {
        self.histogram_count += 1;
        self.histogram_refs.push(i64::from(series_ref));
        self.histogram_times.push(sample.t);
        self.histogram_starts.push(sample.start);
        self.histograms.push(&sample.histogram);
    }

    /// Adds an exemplar.
    pub fn exemplar(&mut self, series_ref: u32, exemplar: &Exemplar) {
        self.exemplar_count += 1;
        self.exemplar_refs.push(i64::from(series_ref));
        self.exemplar_times.push(exemplar.t);
        let out = &mut self.exemplars;
        out.extend_from_slice(&exemplar.v.to_bits().to_le_bytes());
        put_varint(out, exemplar.labels.len() as u64);
        for (name, value) in &exemplar.labels {
            put_bytes(out, name.as_bytes());
            put_bytes(out, value.as_bytes());
        }
    }

    /// Adds what is known about a metric.
    pub fn metadata(&mut self, metadata: &MetricMetadata) {
        self.metadata_count += 1;
        let out = &mut self.metadata;
        let kind = MetricType::ALL
            .iter()
            .position(|kind| *kind == metadata.kind);
        out.push(kind.map_or(0, |kind| kind as u8));
        put_bytes(out, metadata.metric.as_bytes());
        put_bytes(out, metadata.help.as_bytes());
        put_bytes(out, metadata.unit.as_bytes());
    }

    /// At most so many bytes, not far above, are what [`Self::finish`] would give now. Cheap
    /// enough to ask after each row.
    pub fn size(&self) -> usize {
        let refs = self.series_refs.size() + self.refs.size() + self.histogram_refs.size();
        let times = self.times.size() + self.histogram_times.size();
        let starts = self.starts.size() + self.histogram_starts.size();
        let exemplars =
            self.exemplar_refs.size() + self.exemplar_times.size() + self.exemplars.len();
        let series = self.symbols.size() + self.fingerprints.len() + self.series_labels.len();
        let values = self.values.size() + self.histograms.bytes().len();
        let rows = refs + times + starts + series + values + exemplars + self.metadata.len();
        MAX_FRAMING_BYTES + self.tenant.len() + rows
    }

    /// Gives all memory back where it is more than `most_bytes`. To be called between records:
    /// what was added since [`Self::begin`] may be dropped.
    pub fn shrink(&mut self, most_bytes: usize) {
        if self.capacity() > most_bytes {
            *self = Self::default();
        }
    }

    /// Memory that is held, in bytes.
    fn capacity(&self) -> usize {
        let runs = [
            &self.series_refs,
            &self.refs,
            &self.times,
            &self.starts,
            &self.histogram_refs,
            &self.histogram_times,
            &self.histogram_starts,
            &self.exemplar_refs,
            &self.exemplar_times,
        ];
        let bytes = [
            &self.fingerprints,
            &self.series_labels,
            &self.exemplars,
            &self.metadata,
            &self.section,
            &self.out,
        ];
        let runs: usize = runs.iter().map(|runs| runs.capacity()).sum();
        let bytes: usize = bytes.iter().map(|bytes| bytes.capacity()).sum();
        let columns = self.values.capacity() + self.histograms.capacity();
        runs + bytes + columns + self.symbols.capacity() + self.tenant.capacity()
    }

    /// The record's bytes, not compressed.
    pub fn finish(&mut self) -> &[u8] {
        self.out.clear();
        self.out.push(VERSION);
        put_bytes(&mut self.out, self.tenant.as_bytes());
        self.finish_symbols();
        self.finish_series();
        self.finish_samples();
        self.finish_histograms();
        self.finish_exemplars();
        self.finish_metadata();
        &self.out
    }

    fn finish_symbols(&mut self) {
        self.symbols.write(&mut self.section);
        self.end_section();
    }

    fn finish_series(&mut self) {
        if self.series_count > 0 {
            put_varint(&mut self.section, self.series_count);
            self.series_refs.write(&mut self.section);
            self.section.extend_from_slice(&self.fingerprints);
            self.section.extend_from_slice(&self.series_labels);
        }
        self.end_section();
    }

    fn finish_samples(&mut self) {
        if self.sample_count > 0 {
            put_varint(&mut self.section, self.sample_count);
            self.refs.write(&mut self.section);
            self.times.write(&mut self.section);
            self.starts.write_unless_zero(&mut self.section);
            self.values.write(&mut self.section);
        }
        self.end_section();
    }

    fn finish_histograms(&mut self) {
        if self.histogram_count > 0 {
            put_varint(&mut self.section, self.histogram_count);
            self.histogram_refs.write(&mut self.section);
            self.histogram_times.write(&mut self.section);
            self.histogram_starts.write_unless_zero(&mut self.section);
            self.section.extend_from_slice(self.histograms.bytes());
        }
        self.end_section();
    }

    fn finish_exemplars(&mut self) {
        if self.exemplar_count > 0 {
            put_varint(&mut self.section, self.exemplar_count);
            self.exemplar_refs.write(&mut self.section);
            self.exemplar_times.write(&mut self.section);
            self.section.extend_from_slice(&self.exemplars);
        }
        self.end_section();
    }

    fn finish_metadata(&mut self) {
        if self.metadata_count > 0 {
            put_varint(&mut self.section, self.metadata_count);
            self.section.extend_from_slice(&self.metadata);
        }
        self.end_section();
    }

    fn end_section(&mut self) {
        put_bytes(&mut self.out, &self.section);
        self.section.clear();
    }
}

/// A record that is being read. Nothing but the symbols' places is kept: the rows are decoded as
/// they are handed out, so that a row can come before an error behind it.
pub struct Record<'a> {
    tenant: TenantId,
    symbols: Symbols<'a>,
    series: &'a [u8],
    samples: &'a [u8],
    histograms: &'a [u8],
    exemplars: &'a [u8],
    metadata: &'a [u8],
}

impl<'a> Record<'a> {
    /// Finds the parts of a record.
    ///
    /// # Errors
    /// Bytes that make no sense; a version that is not known.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, RecordError> {
        let mut cursor = Cursor::new(bytes);
        if cursor.byte()? != VERSION {
            return Err(RecordError("unknown version"));
        }
        let tenant = TenantId::new(cursor.text()?);
        let tenant = tenant.map_err(|_| RecordError("tenant id"))?;
        let record = Self {
            tenant,
            symbols: Symbols::parse(cursor.sized()?)?,
            series: cursor.sized()?,
            samples: cursor.sized()?,
            histograms: cursor.sized()?,
            exemplars: cursor.sized()?,
            metadata: cursor.sized()?,
        };
        cursor.end()?;
        Ok(record)
    }

    /// Whose record it is.
    pub fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    /// How many samples it has; [`Self::each_sample`] may still fail.
    ///
    /// # Errors
    /// Bytes that make no sense.
    pub fn sample_count(&self) -> Result<usize, RecordError> {
        Ok(open(self.samples)?.0)
    }

    /// Calls `each` with every series: its number, fingerprint and labels, in the order they
    /// were sent.
    ///
    /// # Errors
    /// Bytes that make no sense, after the rows in front of them.
    pub fn each_series(
        &self,
        mut each: impl FnMut(u32, Fingerprint, &[(&'a str, &'a str)]),
    ) -> Result<(), RecordError> {
        let (count, mut cursor) = open(self.series)?;
        let mut refs = RunDecoder::parse(&mut cursor)?;
        let width = count.checked_mul(16).ok_or(RecordError("series count"))?;
        let fingerprints = cursor.take(width)?;
        let mut labels = self.symbols.labels();
        for bytes in fingerprints.as_chunks::<16>().0 {
            let fingerprint = Fingerprint(u128::from_le_bytes(*bytes));
            let row = labels.read(&mut cursor)?;
            each(series_ref(&mut refs)?, fingerprint, row);
        }
        refs.end()?;
        cursor.end()
    }

    /// Calls `each` with every sample and the number of its series.
    ///
    /// # Errors
    /// Bytes that make no sense, after the rows in front of them.
    pub fn each_sample(&self, mut each: impl FnMut(u32, Sample)) -> Result<(), RecordError> {
        let (count, mut cursor) = open(self.samples)?;
        let mut refs = RunDecoder::parse(&mut cursor)?;
        let mut times = RunDecoder::parse(&mut cursor)?;
        let mut starts = RunDecoder::parse_unless_zero(&mut cursor)?;
        let mut values = ValueDecoder::parse(&mut cursor, count)?;
        for _ in 0..count {
            let (t, start) = (times.next()?, starts.next()?);
            let v = values.next()?;
            each(series_ref(&mut refs)?, Sample { t, v, start });
        }
        refs.end()?;
        times.end()?;
        starts.end()?;
        values.end()?;
        cursor.end()
    }

    /// Calls `each` with every histogram and the number of its series.
    ///
    /// # Errors
    /// Bytes that make no sense, after the rows in front of them.
    pub fn each_histogram(
        &self,
        mut each: impl FnMut(u32, HistogramSample),
    ) -> Result<(), RecordError> {
        let (count, mut cursor) = open(self.histograms)?;
        let mut refs = RunDecoder::parse(&mut cursor)?;
        let mut times = RunDecoder::parse(&mut cursor)?;
        let mut starts = RunDecoder::parse_unless_zero(&mut cursor)?;
        let mut histograms = HistogramDecoder::default();
        for _ in 0..count {
            let (t, start) = (times.next()?, starts.next()?);
            let histogram = histograms.read(&mut cursor)?;
            each(
                series_ref(&mut refs)?,
                HistogramSample {
                    t,
                    start,
                    histogram,
                },
            );
        }
        refs.end()?;
        times.end()?;
        starts.end()?;
        cursor.end()
    }

    /// Calls `each` with every exemplar and the number of its series.
    ///
    /// # Errors
    /// Bytes that make no sense, after the rows in front of them.
    pub fn each_exemplar(&self, mut each: impl FnMut(u32, Exemplar)) -> Result<(), RecordError> {
        let (count, mut cursor) = open(self.exemplars)?;
        let mut refs = RunDecoder::parse(&mut cursor)?;
        let mut times = RunDecoder::parse(&mut cursor)?;
        for _ in 0..count {
            let v = cursor.float()?;
            let mut pairs = Vec::new();
            for _ in 0..cursor.varint()? {
                pairs.push((cursor.text()?, cursor.text()?));
            }
            let labels = Labels::from_sorted(pairs.into_iter());
            let t = times.next()?;
            each(series_ref(&mut refs)?, Exemplar { labels, v, t });
        }
        refs.end()?;
        times.end()?;
        cursor.end()
    }

    /// Calls `each` with every metric's metadata.
    ///
    /// # Errors
    /// Bytes that make no sense, after the rows in front of them.
    pub fn each_metadata(&self, mut each: impl FnMut(MetricMetadata)) -> Result<(), RecordError> {
        let (count, mut cursor) = open(self.metadata)?;
        for _ in 0..count {
            let kind = MetricType::ALL.get(usize::from(cursor.byte()?));
            each(MetricMetadata {
                kind: *kind.ok_or(RecordError("metric type"))?,
                metric: cursor.text()?.to_owned(),
                help: cursor.text()?.to_owned(),
                unit: cursor.text()?.to_owned(),
            });
        }
        cursor.end()
    }
}

/// How many rows a section has, and what follows; every row takes at least a byte of it.
fn open(section: &[u8]) -> Result<(usize, Cursor<'_>), RecordError> {
    let mut cursor = Cursor::new(section);
    if section.is_empty() {
        return Ok((0, cursor));
    }
    let count = usize::try_from(cursor.varint()?).ok();
    let count = count.filter(|count| (1..=section.len()).contains(count));
    Ok((count.ok_or(RecordError("row count"))?, cursor))
}

fn series_ref(refs: &mut RunDecoder<'_>) -> Result<u32, RecordError> {
    u32::try_from(refs.next()?).map_err(|_| RecordError("series number"))
}

#[cfg(test)]
mod tests;
