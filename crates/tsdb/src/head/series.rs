//! One series in memory: its identity, its open chunk, and where its closed chunks lie.

use std::sync::atomic::{AtomicBool, Ordering};

use model::chunk::{AppendResult, ChunkKind, OpenChunk, OpenHistogramChunk};
use model::fingerprint::Fingerprint;
use model::histogram::{Histogram, HistogramSample};
use model::sample::Sample;
use model::time::TimestampMs;
use parking_lot::Mutex;

use super::snapshot::OpenState;
use crate::chunk_files::{ChunkFiles, ChunkPlace};
use crate::postings::PairId;

/// Out-of-order samples gathered in memory before they become a chunk.
const OUT_OF_ORDER_SAMPLES: usize = 32;

/// A series of a head. 1 M of these are a gigabyte's larger part: mind every field.
pub(crate) struct MemSeries {
    pub(crate) fingerprint: Fingerprint,
    /// The series' number in its head and in the write-ahead log; never used again.
    pub(crate) series_ref: u32,
    /// Whether the log or the snapshot tells which labels the ref stands for.
    defined: AtomicBool,
    /// The labels, in label order.
    pub(crate) labels: Box<[PairId]>,
    pub(crate) state: Mutex<SeriesState>,
}

impl MemSeries {
    pub(crate) fn new(fingerprint: Fingerprint, series_ref: u32, labels: Box<[PairId]>) -> Self {
        Self {
            fingerprint,
            series_ref,
            defined: AtomicBool::new(false),
            labels,
            state: Mutex::new(SeriesState::default()),
        }
    }

    pub(crate) fn is_defined(&self) -> bool {
        self.defined.load(Ordering::Acquire)
    }

    pub(crate) fn set_defined(&self) {
        self.defined.store(true, Ordering::Release);
    }
}

/// The samples of a series.
pub(crate) struct SeriesState {
    /// The newest floats. Empty while the newest samples are histograms.
    pub(crate) open: OpenChunk,
    /// Closed chunks, in the order in which they were closed.
    pub(crate) closed: Vec<ClosedChunk>,
    /// What most series do not have.
    pub(crate) rare: Option<Box<RareState>>,
    /// Time of the newest sample in order; `i64::MIN` before the first.
    newest: TimestampMs,
}

impl Default for SeriesState {
    fn default() -> Self {
        Self {
            open: OpenChunk::new(),
            closed: Vec::new(),
            rare: None,
            newest: TimestampMs::MIN,
        }
    }
}

/// Histograms and out-of-order samples.
#[derive(Default)]
pub(crate) struct RareState {
    /// The newest histograms, where the newest samples are histograms.
    pub(crate) open: Option<OpenHistogramChunk>,
    /// Out-of-order floats, ascending.
    pub(crate) floats: Vec<Sample>,
    /// Out-of-order histograms, ascending.
    pub(crate) histograms: Vec<HistogramSample>,
}

/// A chunk in a chunk file.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct ClosedChunk {
    pub(crate) first_t: TimestampMs,
    pub(crate) last_t: TimestampMs,
    pub(crate) place: ChunkPlace,
    /// Bytes of the chunk.
    pub(crate) len: u32,
    pub(crate) kind: ChunkKind,
    /// Whether the samples came late: the chunk may overlap others.
    pub(crate) out_of_order: bool,
}

/// How old a sample may be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AgeLimits {
    /// The tenant's newest sample less the out-of-order window: late samples before are refused.
    pub(crate) oldest_late: TimestampMs,
    /// What retention still keeps: samples before are refused even where they are in order.
    pub(crate) oldest: TimestampMs,
    /// Whether late samples are taken at all.
    pub(crate) late_allowed: bool,
}

impl AgeLimits {
    /// For samples that were acknowledged before: none is too old.
    pub(crate) const NONE: Self = Self {
        oldest_late: TimestampMs::MIN,
        oldest: TimestampMs::MIN,
        late_allowed: true,
    };
}

/// What became of a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Appended {
    /// It is new, or was there already with the same value.
    Written,
    /// There is another value at its time.
    Conflict,
    /// It is late, and late samples are not taken.
    OutOfOrder,
    /// It is older than the window, or than retention.
    TooOld,
}

impl SeriesState {
    /// The newest sample's time; `i64::MIN` where there is none.
    pub(crate) fn newest(&self) -> TimestampMs {
        self.newest
    }

    /// Appends a float.
    #[inline]
    pub(crate) fn append(
        &mut self,
        sample: Sample,
        limits: AgeLimits,
        files: &ChunkFiles,
    ) -> Appended {
        if sample.t <= self.newest {
            return self.append_late(sample, limits, files);
        }
        if sample.t < limits.oldest {
            return Appended::TooOld;
        }
        if let Some(rare) = &mut self.rare
            && rare.open.is_some()
        {
            self.close_histograms(files);
        }
        if self.open.is_full() || crosses(self.newest, sample.t, files) {
            self.close_floats(files);
        }
        let appended = self.open.append(sample.t, sample.v, sample.start);
        debug_assert_eq!(appended, AppendResult::Appended, "a full chunk was closed");
        self.newest = sample.t;
        Appended::Written
    }

    /// Appends a histogram.
    pub(crate) fn append_histogram(
        &mut self,
        sample: &HistogramSample,
        limits: AgeLimits,
        files: &ChunkFiles,
    ) -> Appended {
        if sample.t <= self.newest {
            return self.append_late_histogram(sample, limits, files);
        }
        if sample.t < limits.oldest {
            return Appended::TooOld;
        }
        self.close_floats(files);
        if crosses(self.newest, sample.t, files) {
            self.close_histograms(files);
        }
        let taken = match &mut self.rare().open {
            Some(open) => open.append(sample),
            None => AppendResult::NewChunkNeeded,
        };
        if taken == AppendResult::NewChunkNeeded {
            self.close_histograms(files);
            self.rare().open = Some(OpenHistogramChunk::new(sample));
        }
        self.newest = sample.t;
        Appended::Written
    }

    #[cold]
    fn append_late(&mut self, sample: Sample, limits: AgeLimits, files: &ChunkFiles) -> Appended {
        match self.sample_at(sample.t, files) {
            Some(Found::Float(v)) if v.to_bits() == sample.v.to_bits() => return Appended::Written,
            Some(_) => return Appended::Conflict,
            None => {}
        }
        if let Some(refused) = refuse_late(sample.t, limits) {
            return refused;
        }
        let floats = &mut self.rare().floats;
        let at = floats.partition_point(|other| other.t < sample.t);
        floats.insert(at, sample);
        if floats.len() >= OUT_OF_ORDER_SAMPLES {
            self.close_late(files);
        }
        Appended::Written
    }

    #[cold]
    fn append_late_histogram(
        &mut self,
        sample: &HistogramSample,
        limits: AgeLimits,
        files: &ChunkFiles,
    ) -> Appended {
        let open = self.rare.as_ref().and_then(|rare| rare.open.as_ref());
        if let Some(open) = open
            && open.last_t() == sample.t
        {
            return if open.last_is(&sample.histogram) {
                Appended::Written
            } else {
                Appended::Conflict
            };
        }
        match self.sample_at(sample.t, files) {
            Some(Found::Histogram(known)) if same_histogram(&known, &sample.histogram) => {
                return Appended::Written;
            }
            Some(_) => return Appended::Conflict,
            None => {}
        }
        if let Some(refused) = refuse_late(sample.t, limits) {
            return refused;
        }
        let histograms = &mut self.rare().histograms;
        let at = histograms.partition_point(|other| other.t < sample.t);
        histograms.insert(at, sample.clone());
        if histograms.len() >= OUT_OF_ORDER_SAMPLES {
            self.close_late(files);
        }
        Appended::Written
    }

    /// What stands at a time: open, late or closed. A closed chunk that can't be read is taken
    /// for empty: a query will report it.
    fn sample_at(&self, t: TimestampMs, files: &ChunkFiles) -> Option<Found> {
        if self.open.count() > 0 && t == self.open.last_t() {
            return Some(Found::Float(self.open.last_value()));
        }
        let mut reader = crate::head::select::SeriesReader::default();
        let range = model::TimeRange::inclusive(t, t);
        reader.collect(self, range);
        let mut samples = model::select::SeriesSamples::default();
        reader.decode_lenient(range, files, &mut samples, |_, error| {
            tracing::warn!(%error, "a chunk cannot be compared with a late sample");
        });
        if let Some(v) = samples.values.first() {
            return Some(Found::Float(*v));
        }
        let point = samples.histograms.pop()?;
        Some(Found::Histogram(point.histogram))
    }

    /// Closes what is open, so that an idle series costs no heap.
    pub(crate) fn close_all(&mut self, files: &ChunkFiles) {
        self.close_floats(files);
        self.close_histograms(files);
        self.close_late(files);
        self.rare = None;
        self.closed.shrink_to_fit();
    }

    /// Closes what is open and has samples before an instant.
    pub(crate) fn close_before(&mut self, before: TimestampMs, files: &ChunkFiles) {
        if self.open.first_t().is_some_and(|first| first < before) {
            self.close_floats(files);
        }
        let Some(rare) = &self.rare else {
            return;
        };
        let late = rare.floats.first().map(|sample| sample.t);
        let late = late
            .into_iter()
            .chain(rare.histograms.first().map(|sample| sample.t));
        let is_late = late.min().is_some_and(|first| first < before);
        if rare
            .open
            .as_ref()
            .is_some_and(|open| open.first_t() < before)
        {
            self.close_histograms(files);
        }
        if is_late {
            self.close_late(files);
        }
    }

    /// The oldest sample's time, or one before it; `i64::MAX` where there is none.
    pub(crate) fn oldest(&self) -> TimestampMs {
        let closed = self.closed.iter().map(|chunk| chunk.first_t);
        let rare = self.rare.iter().flat_map(|rare| {
            let open = rare.open.as_ref().map(OpenHistogramChunk::first_t);
            let float = rare.floats.first().map(|sample| sample.t);
            let histogram = rare.histograms.first().map(|sample| sample.t);
            [open, float, histogram].into_iter().flatten()
        });
        let all = closed.chain(self.open.first_t()).chain(rare);
        all.min().unwrap_or(TimestampMs::MAX)
    }

    /// Forgets closed chunks that end before `oldest`; returns how many.
    pub(crate) fn drop_before(&mut self, oldest: TimestampMs) -> usize {
        let before = self.closed.len();
        self.closed.retain(|chunk| chunk.last_t >= oldest);
        before - self.closed.len()
    }

    /// Whether nothing is left to keep.
    pub(crate) fn is_empty(&self) -> bool {
        let rare_empty = self.rare.as_ref().is_none_or(|rare| {
            rare.open.is_none() && rare.floats.is_empty() && rare.histograms.is_empty()
        });
        self.open.count() == 0 && self.closed.is_empty() && rare_empty
    }

    /// Puts back what a snapshot names.
    pub(crate) fn restore(&mut self, newest: TimestampMs, closed: Vec<ClosedChunk>) {
        self.newest = newest;
        self.closed = closed;
    }

    /// Puts back a chunk that was open when the snapshot was taken, as a closed one.
    pub(crate) fn restore_open(&mut self, open: &OpenState<&[u8]>, files: &ChunkFiles) {
        self.push_closed(
            open.first_t,
            open.last_t,
            open.bytes,
            open.kind,
            false,
            files,
        );
    }

    pub(crate) fn rare(&mut self) -> &mut RareState {
        self.rare.get_or_insert_default()
    }

    fn close_floats(&mut self, files: &ChunkFiles) {
        let Some(first_t) = self.open.first_t() else {
            return;
        };
        let last_t = self.open.last_t();
        let chunk = std::mem::take(&mut self.open).close();
        self.push_closed(first_t, last_t, &chunk, ChunkKind::Float, false, files);
    }

    fn close_histograms(&mut self, files: &ChunkFiles) {
        let open = self.rare.as_mut().and_then(|rare| rare.open.take());
        if let Some(open) = open {
            self.push_histograms(open, false, files);
        }
    }

    fn close_late(&mut self, files: &ChunkFiles) {
        let Some(rare) = &mut self.rare else {
            return;
        };
        let floats = std::mem::take(&mut rare.floats);
        let histograms = std::mem::take(&mut rare.histograms);
        for floats in floats.chunk_by(|a, b| !crosses(a.t, b.t, files)) {
            let (Some(first), Some(last)) = (floats.first(), floats.last()) else {
                continue;
            };
            let mut chunk = OpenChunk::new();
            for sample in floats {
                let appended = chunk.append(sample.t, sample.v, sample.start);
                debug_assert_eq!(appended, AppendResult::Appended, "fewer than a chunk takes");
            }
            self.push_closed(
                first.t,
                last.t,
                &chunk.close(),
                ChunkKind::Float,
                true,
                files,
            );
        }
        let mut open: Option<OpenHistogramChunk> = None;
        for sample in &histograms {
            let same_range =
                |open: &&mut OpenHistogramChunk| !crosses(open.last_t(), sample.t, files);
            let taken = open
                .as_mut()
                .filter(same_range)
                .map(|open| open.append(sample));
            if taken != Some(AppendResult::Appended)
                && let Some(full) = open.replace(OpenHistogramChunk::new(sample))
            {
                self.push_histograms(full, true, files);
            }
        }
        if let Some(open) = open {
            self.push_histograms(open, true, files);
        }
    }

    fn push_histograms(&mut self, open: OpenHistogramChunk, late: bool, files: &ChunkFiles) {
        let (first_t, last_t, kind) = (open.first_t(), open.last_t(), open.kind());
        self.push_closed(first_t, last_t, &open.close(), kind, late, files);
    }

    fn push_closed(
        &mut self,
        first_t: TimestampMs,
        last_t: TimestampMs,
        chunk: &[u8],
        kind: ChunkKind,
        out_of_order: bool,
        files: &ChunkFiles,
    ) {
        if self.closed.len() == self.closed.capacity() {
            // One at a time while there are few: most series close one chunk in half an hour.
            self.closed.reserve_exact(1 + self.closed.len() / 2);
        }
        self.closed.push(ClosedChunk {
            first_t,
            last_t,
            place: files.put(chunk),
            len: chunk.len() as u32,
            kind,
            out_of_order,
        });
    }
}

/// A sample that stands at a time.
enum Found {
    Float(f64),
    Histogram(std::sync::Arc<model::histogram::FloatHistogram>),
}

fn crosses(first: TimestampMs, t: TimestampMs, files: &ChunkFiles) -> bool {
    first.div_euclid(files.range_ms()) != t.div_euclid(files.range_ms())
}

fn refuse_late(t: TimestampMs, limits: AgeLimits) -> Option<Appended> {
    if !limits.late_allowed {
        Some(Appended::OutOfOrder)
    } else if t < limits.oldest_late || t < limits.oldest {
        Some(Appended::TooOld)
    } else {
        None
    }
}

/// Whether a stored histogram is the one that comes again; a reset hint is not compared, as
/// decoding works it out anew.
fn same_histogram(known: &model::histogram::FloatHistogram, new: &Histogram) -> bool {
    let new = match new {
        Histogram::Int(int) => model::histogram::FloatHistogram::from(&**int),
        Histogram::Float(float) => (**float).clone(),
    };
    (model::is_stale(known.sum) && model::is_stale(new.sum))
        || model::histogram::FloatHistogram {
            reset_hint: known.reset_hint,
            ..new
        } == *known
}
