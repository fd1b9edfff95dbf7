//! The read side of a head: matchers to series, series to columns.
//!
//! A reader holds a series' lock only while it copies what is open; closed chunks are read and
//! everything is decoded without any lock, so that readers never stop writers.

use std::sync::Arc;

use hashbrown::HashMap;
use model::chunk::{self, ChunkKind};
use model::error::ErrorKind;
use model::histogram::{FloatHistogram, Histogram, HistogramSample};
use model::labels::Labels;
use model::matcher::Matcher;
use model::sample::Sample;
use model::select::{
    HistogramPoint, LabelsNeeded, SelectError, SelectRequest, SeriesSamples, SeriesSet, Skipped,
};
use model::time::{TimeRange, TimestampMs};
use roaring::RoaringBitmap;
use smallvec::SmallVec;

use super::TenantHead;
use super::pins::{Pin, Pins};
use super::series::{ClosedChunk, MemSeries, SeriesState};
use crate::chunk_files::{ChunkFiles, ChunkReadError};
use crate::postings::{self, NameId, PairId};

/// Series fetched from the table at a time.
const BATCH: usize = 256;
/// Label sets remembered by a set that needs only some labels.
const LABEL_CACHE: usize = 4096;

/// Copies what a series holds in a range, then decodes it. Used again for the next series.
#[derive(Default)]
pub(crate) struct SeriesReader {
    closed: Vec<ClosedChunk>,
    open: Vec<u8>,
    open_histograms: Option<(ChunkKind, Vec<u8>)>,
    late: Vec<Sample>,
    late_histograms: Vec<HistogramSample>,
}

/// A chunk that can't be read or decoded.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadChunkError {
    #[error(transparent)]
    Read(#[from] ChunkReadError),
    #[error("chunk at offset {} of chunk file {:08}: {error}", chunk.place.offset, chunk.place.file)]
    Decode {
        chunk: ClosedChunk,
        error: chunk::ChunkError,
    },
    #[error("open chunk: {0}")]
    Open(chunk::ChunkError),
}

impl SeriesReader {
    fn clear(&mut self) {
        self.closed.clear();
        self.open.clear();
        self.open_histograms = None;
        self.late.clear();
        self.late_histograms.clear();
    }

    /// Takes those closed chunks within `range` that `take` wants. The caller holds the series'
    /// lock.
    pub(crate) fn collect_closed(
        &mut self,
        state: &SeriesState,
        range: TimeRange,
        take: impl Fn(&ClosedChunk) -> bool,
    ) {
        self.clear();
        let closed = state.closed.iter();
        let wanted = closed.filter(|chunk| range.overlaps(chunk.first_t, chunk.last_t));
        self.closed.extend(wanted.filter(|chunk| take(chunk)));
    }

    /// Copies what lies within `range`. The caller holds the series' lock.
    pub(crate) fn collect(&mut self, state: &SeriesState, range: TimeRange) {
        self.clear();
        let overlapping = |chunk: &&ClosedChunk| range.overlaps(chunk.first_t, chunk.last_t);
        self.closed.extend(state.closed.iter().filter(overlapping));
        if !state.open.is_empty() && state.open.last_t() >= range.start {
            state.open.write_to(&mut self.open);
        }
        if let Some(rare) = &state.rare {
            if let Some(open) = &rare.open
                && open.last_t() >= range.start
            {
                self.open_histograms = Some((open.kind(), open.bytes()));
            }
            let floats = rare.floats.iter().filter(|sample| range.contains(sample.t));
            self.late.extend(floats);
            let histograms = rare.histograms.iter();
            let within = histograms.filter(|sample| range.contains(sample.t));
            self.late_histograms.extend(within.cloned());
        }
    }

    /// Decodes what was copied into `out`, in the order of time, one sample per timestamp. Chunks
    /// that end before `oldest` may be gone.
    pub(crate) fn decode(
        &mut self,
        range: TimeRange,
        oldest: impl Fn() -> TimestampMs,
        files: &ChunkFiles,
        out: &mut SeriesSamples,
    ) -> Result<(), ReadChunkError> {
        out.clear();
        for chunk in &self.closed {
            match decode_closed(chunk, range, files, out) {
                // Retention has passed it by since it was copied.
                Err(ReadChunkError::Read(ChunkReadError::NoFile { .. }))
                    if chunk.last_t < oldest() => {}
                decoded => decoded?,
            }
        }
        self.decode_open(range, out)
    }

    /// As [`Self::decode`], but leaves out chunks that can't be read, and tells of each.
    pub(crate) fn decode_lenient(
        &mut self,
        range: TimeRange,
        files: &ChunkFiles,
        out: &mut SeriesSamples,
        mut unreadable: impl FnMut(Option<&ClosedChunk>, ReadChunkError),
    ) {
        out.clear();
        for chunk in &self.closed {
            let whole = Lengths::of(out);
            if let Err(error) = decode_closed(chunk, range, files, out) {
                whole.restore(out);
                unreadable(Some(chunk), error);
            }
        }
        if let Err(error) = self.decode_open(range, out) {
            unreadable(None, error);
        }
    }

    fn decode_open(
        &mut self,
        range: TimeRange,
        out: &mut SeriesSamples,
    ) -> Result<(), ReadChunkError> {
        if !self.open.is_empty() {
            decode_chunk(ChunkKind::Float, &self.open, range, out).map_err(ReadChunkError::Open)?;
        }
        if let Some((kind, bytes)) = &self.open_histograms {
            decode_chunk(*kind, bytes, range, out).map_err(ReadChunkError::Open)?;
        }
        let mut unordered = self.closed.iter().any(|chunk| chunk.out_of_order);
        for sample in &self.late {
            out.ts.push(sample.t);
            out.values.push(sample.v);
            out.starts.push(sample.start);
            unordered = true;
        }
        for sample in self.late_histograms.drain(..) {
            let histogram = match sample.histogram {
                Histogram::Int(int) => FloatHistogram::from(&*int),
                Histogram::Float(float) => *float,
            };
            out.histograms.push(HistogramPoint {
                t: sample.t,
                start: sample.start,
                histogram: Arc::new(histogram),
            });
            unordered = true;
        }
        if unordered {
            sort_by_time(out);
        }
        if out.starts.iter().all(|start| *start == 0) {
            out.starts.clear();
        }
        Ok(())
    }
}

/// How long columns were before a chunk was decoded into them.
struct Lengths {
    floats: usize,
    histograms: usize,
}

impl Lengths {
    fn of(samples: &SeriesSamples) -> Self {
        Self {
            floats: samples.ts.len(),
            histograms: samples.histograms.len(),
        }
    }

    fn restore(&self, samples: &mut SeriesSamples) {
        samples.ts.truncate(self.floats);
        samples.values.truncate(self.floats);
        samples.starts.truncate(self.floats);
        samples.histograms.truncate(self.histograms);
    }
}

fn decode_closed(
    chunk: &ClosedChunk,
    range: TimeRange,
    files: &ChunkFiles,
    out: &mut SeriesSamples,
) -> Result<(), ReadChunkError> {
    let decode = |bytes: &[u8]| decode_chunk(chunk.kind, bytes, range, out);
    files
        .read(chunk.place, chunk.len, decode)?
        .map_err(|error| ReadChunkError::Decode {
            chunk: *chunk,
            error,
        })
}

fn decode_chunk(
    kind: ChunkKind,
    bytes: &[u8],
    range: TimeRange,
    out: &mut SeriesSamples,
) -> Result<(), chunk::ChunkError> {
    match kind {
        ChunkKind::Float => {
            chunk::decode_into(bytes, range, &mut out.ts, &mut out.values, &mut out.starts)
        }
        ChunkKind::IntHistogram | ChunkKind::FloatHistogram => {
            chunk::decode_histograms_into(kind, bytes, range, &mut out.histograms)
        }
    }
}

/// Sorts both columns; of several samples of one time the one that came first stays.
fn sort_by_time(out: &mut SeriesSamples) {
    out.histograms.sort_by_key(|point| point.t);
    out.histograms.dedup_by_key(|point| point.t);
    if out.ts.is_sorted_by(|a, b| a < b) {
        return;
    }
    let values = out.ts.iter().zip(&out.values).zip(&out.starts);
    let mut rows: Vec<_> = values.map(|((t, v), start)| (*t, *v, *start)).collect();
    rows.sort_by_key(|row| row.0);
    rows.dedup_by_key(|row| row.0);
    out.ts.clear();
    out.values.clear();
    out.starts.clear();
    for (t, v, start) in rows {
        out.ts.push(t);
        out.values.push(v);
        out.starts.push(start);
    }
}

impl TenantHead {
    /// The series that satisfy all matchers.
    pub(crate) fn resolve(&self, matchers: &[Matcher]) -> RoaringBitmap {
        let _no_removal = self.scans.read();
        postings::resolve(&mut self.index.read(), matchers)
    }

    /// The series that match, with their samples.
    ///
    /// # Errors
    /// Where more series match than `max_series` allows.
    pub fn select(
        self: &Arc<Self>,
        request: &SelectRequest,
    ) -> Result<Box<dyn SeriesSet>, SelectError> {
        self.select_in_order(request, false)
    }

    /// As [`Self::select`], but the series come sorted by name, then by all labels.
    ///
    /// # Errors
    /// As of [`Self::select`].
    pub fn select_sorted(
        self: &Arc<Self>,
        request: &SelectRequest,
    ) -> Result<Box<dyn SeriesSet>, SelectError> {
        self.select_in_order(request, true)
    }

    fn select_in_order(
        self: &Arc<Self>,
        request: &SelectRequest,
        sorted: bool,
    ) -> Result<Box<dyn SeriesSet>, SelectError> {
        // From here on nothing is dropped that is in blocks only of a later version.
        let pin = Pins::take(&self.pins);
        let refs = if self.overlaps(request.range) {
            self.resolve(&request.matchers)
        } else {
            RoaringBitmap::new()
        };
        if request.max_series > 0 && refs.len() > request.max_series as u64 {
            return Err(SelectError {
                kind: ErrorKind::TooMany,
                message: format!(
                    "query selects {} series of tenant {}, the limit max_series_per_query is {}; \
                     narrow its label matchers",
                    refs.len(),
                    self.tenant,
                    request.max_series
                ),
            });
        }
        let names = match &request.labels {
            LabelsNeeded::All => None,
            LabelsNeeded::Only(names) => {
                let index = self.index.read();
                Some(
                    names
                        .iter()
                        .filter_map(|name| index.name_id(name))
                        .collect(),
                )
            }
        };
        let mut refs: Vec<u32> = refs.iter().collect();
        if sorted {
            refs = self.in_block_order(&refs);
        }
        Ok(Box::new(HeadSeriesSet::new(
            Arc::clone(self),
            refs,
            names,
            Arc::new(pin),
            request,
        )))
    }
}

/// The selected series of a head.
struct HeadSeriesSet {
    head: Arc<TenantHead>,
    refs: Vec<u32>,
    at: usize,
    range: TimeRange,
    /// The names of the labels that are needed; `None`: all.
    names: Option<Vec<NameId>>,
    /// Takes the series that can't be read, where the asker takes the rest.
    skipped: Skipped,
    batch: Vec<Arc<MemSeries>>,
    reader: SeriesReader,
    cache: HashMap<SmallVec<[PairId; 4]>, Labels>,
    /// Keeps what the set may read in the head.
    pin: Arc<Pin>,
}

impl HeadSeriesSet {
    fn new(
        head: Arc<TenantHead>,
        refs: Vec<u32>,
        names: Option<Vec<NameId>>,
        pin: Arc<Pin>,
        request: &SelectRequest,
    ) -> Self {
        Self {
            pin,
            head,
            refs,
            at: 0,
            range: request.range,
            names,
            skipped: request.skipped.clone(),
            batch: Vec::new(),
            reader: SeriesReader::default(),
            cache: HashMap::new(),
        }
    }

    /// Such a set over others of the series.
    fn part(&self, refs: &[u32]) -> Self {
        Self {
            pin: Arc::clone(&self.pin),
            head: Arc::clone(&self.head),
            refs: refs.to_vec(),
            at: 0,
            range: self.range,
            names: self.names.clone(),
            skipped: self.skipped.clone(),
            batch: Vec::new(),
            reader: SeriesReader::default(),
            cache: HashMap::new(),
        }
    }

    fn next_series(&mut self) -> Option<Arc<MemSeries>> {
        while self.batch.is_empty() {
            let end = self.refs.len().min(self.at + BATCH);
            let refs = &self.refs[self.at..end];
            if refs.is_empty() {
                return None;
            }
            self.at = end;
            let series = self.head.series.read();
            let known = refs.iter().rev().filter_map(|r| series.by_ref(*r));
            self.batch.extend(known.map(Arc::clone));
        }
        self.batch.pop()
    }

    fn labels_of(&mut self, series: &MemSeries) -> Labels {
        let index = self.head.index.read();
        let Some(names) = &self.names else {
            return index.labels(&series.labels);
        };
        let needed = |pair: &PairId| names.contains(&index.name_of(*pair));
        let pairs: SmallVec<[PairId; 4]> = series.labels.iter().copied().filter(needed).collect();
        if let Some(labels) = self.cache.get(&pairs) {
            return labels.clone();
        }
        let labels = index.labels(&pairs);
        if self.cache.len() < LABEL_CACHE {
            self.cache.insert(pairs, labels.clone());
        }
        labels
    }
}

impl SeriesSet for HeadSeriesSet {
    fn next(&mut self, samples: &mut SeriesSamples) -> Result<Option<Labels>, SelectError> {
        while let Some(series) = self.next_series() {
            self.reader.collect(&series.state.lock(), self.range);
            let head = &self.head;
            let oldest = || head.oldest();
            let read = self.reader.decode(self.range, oldest, &head.files, samples);
            if let Err(error) = read {
                let labels = self.head.index.read().labels(&series.labels);
                let error = SelectError {
                    kind: ErrorKind::Corrupt,
                    message: format!("tenant {}, series {labels}: {error}", self.head.tenant),
                };
                self.skipped
                    .go_on("the newest samples of a series", error)?;
                continue;
            }
            if !samples.is_empty() {
                return Ok(Some(self.labels_of(&series)));
            }
        }
        samples.clear();
        Ok(None)
    }

    fn remaining(&self) -> Option<usize> {
        Some(self.batch.len() + self.refs.len() - self.at)
    }

    fn split(self: Box<Self>, parts: usize) -> Vec<Box<dyn SeriesSet>> {
        let mut rest: Vec<u32> = self.batch.iter().rev().map(|s| s.series_ref).collect();
        rest.extend(&self.refs[self.at..]);
        let size = rest.len().div_ceil(parts.max(1)).max(1);
        let part = |refs: &[u32]| Box::new(self.part(refs)) as Box<dyn SeriesSet>;
        rest.chunks(size).map(part).collect()
    }
}
