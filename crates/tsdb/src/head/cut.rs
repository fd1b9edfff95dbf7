//! What leaves a head for blocks: closed chunks before an instant, read range by range in the
//! order of blocks, and dropped once blocks have them.
//!
//! Which chunks a cut takes is decided by two bounds: they end before `CutMark::before`, and
//! they were put into the chunk files before the cut (`CutMark::until`). What arrives later for
//! the same time lies behind that place, and is left for the next cut. A chunk that can't be read
//! is left in the head, and told of; it keeps nothing else there.

use std::cell::RefCell;
use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering::{AcqRel, Relaxed};

use model::exemplar::Exemplar;
use model::labels::{Labels, METRIC_NAME};
use model::select::SeriesSamples;
use model::time::{TimeRange, TimestampMs};
use parking_lot::RwLock;
use roaring::RoaringBitmap;

use super::TenantHead;
use super::select::{ReadChunkError, SeriesReader};
use super::series::{ClosedChunk, MemSeries};
use crate::postings::NameId;

/// Series looked at between two chances for others.
const BATCH: usize = 1024;
/// So many series are sorted by their texts: to rank all pairs of the index would cost more.
const FEW_SERIES: usize = 4096;

/// Which chunks a cut takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CutMark {
    /// Those that end before.
    pub(crate) before: TimestampMs,
    /// Those that lie before this position in the chunk files.
    pub(crate) until: u64,
    /// But not those at these positions: they can't be read.
    pub(crate) unreadable: BTreeSet<u64>,
}

impl CutMark {
    pub(crate) fn takes(&self, chunk: &ClosedChunk) -> bool {
        let position = chunk.place.position();
        chunk.last_t < self.before && position < self.until && !self.unreadable.contains(&position)
    }
}

/// The chunks of a cut that can't be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unreadable {
    /// How many there are.
    pub chunks: usize,
    /// The first one: its series, its place, and why.
    pub first: String,
}

/// Chunks that are to become blocks, of a head nothing is removed from meanwhile.
pub struct Cut<'h> {
    head: &'h TenantHead,
    mark: RefCell<CutMark>,
    /// Why the first chunk that can't be read can't.
    first_unreadable: RefCell<String>,
    ranges: Vec<TimeRange>,
    /// The series with such chunks, in the order of blocks: by name, then by all labels.
    series: Vec<u32>,
}

impl TenantHead {
    /// Closes what is open before an instant, and finds the chunks before it. Nothing may remove
    /// series as long as the cut lives.
    pub(crate) fn cut(&self, before: TimestampMs) -> Cut<'_> {
        self.each_series(|series| series.state.lock().close_before(before, &self.files));
        let mark = CutMark {
            before,
            until: self.files.position(),
            unreadable: BTreeSet::new(),
        };
        let range_ms = self.files.range_ms();
        let mut starts = BTreeSet::new();
        let mut refs = Vec::new();
        self.each_series(|series| {
            let state = series.state.lock();
            let mut any = false;
            for chunk in state.closed.iter().filter(|chunk| mark.takes(chunk)) {
                any = true;
                let last = chunk.last_t.div_euclid(range_ms);
                starts.extend(chunk.first_t.div_euclid(range_ms)..=last);
            }
            if any {
                refs.push(series.series_ref);
            }
        });
        let range = |number: i64| TimeRange {
            start: number.saturating_mul(range_ms),
            end: (number + 1).saturating_mul(range_ms),
        };
        Cut {
            head: self,
            mark: RefCell::new(mark),
            first_unreadable: RefCell::default(),
            ranges: starts.into_iter().map(range).collect(),
            series: self.in_block_order(&refs),
        }
    }

    /// The number of the next reader, see [`Self::readers_are_done_before`].
    pub fn next_reader(&self) -> u64 {
        self.pins.next()
    }

    /// Whether all selects that began before that reader have ended: they may not know of blocks
    /// that were committed since.
    pub fn readers_are_done_before(&self, reader: u64) -> bool {
        self.pins.all_done_before(reader)
    }

    /// Forgets the chunks of a cut: blocks have them. Returns how many.
    pub(crate) fn drop_cut(&self, mark: &CutMark, appends: &RwLock<()>) -> usize {
        let mut dropped = 0;
        let mut oldest = TimestampMs::MAX;
        self.appended_oldest.store(TimestampMs::MAX, Relaxed);
        self.each_series(|series| {
            let mut state = series.state.lock();
            let before = state.closed.len();
            state.closed.retain(|chunk| !mark.takes(chunk));
            dropped += before - state.closed.len();
            oldest = oldest.min(state.oldest());
        });
        // Appends note what is older than this; none may come between the look and the store.
        let _no_append = appends.write();
        let appended = self.appended_oldest.swap(TimestampMs::MAX, AcqRel);
        self.set_oldest(oldest.min(appended));
        dropped
    }

    pub(crate) fn each_series(&self, mut each: impl FnMut(&Arc<MemSeries>)) {
        let mut from = Some(0);
        while let Some(at) = from {
            let (batch, next) = self.series.read().scan(at, BATCH);
            batch.iter().for_each(&mut each);
            from = next;
        }
    }

    /// Sorts series by metric name, then by all labels.
    pub(crate) fn in_block_order(&self, refs: &[u32]) -> Vec<u32> {
        match refs.len() {
            0..=FEW_SERIES => self.by_texts(refs),
            _ => self.by_ranks(refs),
        }
    }

    /// Compares texts: what it costs does not grow with the index.
    fn by_texts(&self, refs: &[u32]) -> Vec<u32> {
        let mut keys: Vec<(Labels, u32)> = Vec::with_capacity(refs.len());
        for batch in refs.chunks(BATCH) {
            let map = self.series.read();
            let index = self.index.read();
            let known = batch.iter().filter_map(|one| map.by_ref(*one));
            keys.extend(known.map(|series| (index.labels(&series.labels), series.series_ref)));
        }
        keys.sort_unstable_by(|(a, _), (b, _)| {
            let names = a.metric_name().cmp(&b.metric_name());
            names.then_with(|| a.cmp(b))
        });
        keys.into_iter().map(|(_, one)| one).collect()
    }

    /// Label pairs are ranked once, so that no text is compared for a pair of series, and the index
    /// is locked for a name at a time.
    fn by_ranks(&self, refs: &[u32]) -> Vec<u32> {
        let ranks = self.ranks_of_pairs();
        let rank_of = |pair: u32| ranks.get(pair as usize).copied().unwrap_or_default();
        let metric_name = self.index.read().name_id(METRIC_NAME);
        let mut keys: Vec<u32> = Vec::new();
        let mut order = Vec::with_capacity(refs.len());
        for batch in refs.chunks(BATCH) {
            let map = self.series.read();
            let index = self.index.read();
            for series in batch.iter().filter_map(|one| map.by_ref(*one)) {
                let start = keys.len();
                let is_name = |pair: &&_| Some(index.name_of(**pair)) == metric_name;
                let name = series.labels.iter().find(is_name);
                keys.push(name.map_or(0, |pair| rank_of(pair.0)));
                keys.extend(series.labels.iter().map(|pair| rank_of(pair.0)));
                order.push((start, keys.len(), series.series_ref));
            }
        }
        let compare = |a: &(usize, usize, u32), b: &(usize, usize, u32)| -> Ordering {
            keys[a.0..a.1].cmp(&keys[b.0..b.1])
        };
        order.sort_unstable_by(compare);
        order.into_iter().map(|(_, _, one)| one).collect()
    }

    /// By the number of a pair, its place among all pairs by name and value, from 1.
    fn ranks_of_pairs(&self) -> Vec<u32> {
        let names: Vec<NameId> = self.index.read().sorted_names();
        let mut ranks = Vec::new();
        let mut next = 1;
        for name in names {
            let index = self.index.read();
            for pair in index.sorted_pairs(name) {
                let at = pair.0 as usize;
                if ranks.len() <= at {
                    ranks.resize(at + 1, 0);
                }
                ranks[at] = next;
                next += 1;
            }
        }
        ranks
    }
}

impl Cut<'_> {
    /// What to hand to `Store::drop_cut` once blocks have all that was handed out.
    pub fn mark(&self) -> CutMark {
        self.mark.borrow().clone()
    }

    /// The chunks that could not be read so far.
    pub fn unreadable(&self) -> Unreadable {
        Unreadable {
            chunks: self.mark.borrow().unreadable.len(),
            first: self.first_unreadable.borrow().clone(),
        }
    }

    /// The ranges of time with samples, each a block's; ascending.
    pub fn ranges(&self) -> &[TimeRange] {
        &self.ranges
    }

    /// How many series there are.
    pub fn series_count(&self) -> usize {
        self.series.len()
    }

    /// Hands out each series that has samples in a range, by name and labels, with its samples
    /// and its exemplars there. Chunks that can't be read are left out, see
    /// [`Self::unreadable`].
    ///
    /// # Errors
    /// Those of `sink`.
    pub fn each<E>(
        &self,
        range: TimeRange,
        mut sink: impl FnMut(&Labels, &SeriesSamples, &[Exemplar]) -> Result<(), E>,
    ) -> Result<(), E> {
        let head = self.head;
        let all: RoaringBitmap = self.series.iter().copied().collect();
        let exemplars = head.exemplars.lock().select(&all, range);
        let mut reader = SeriesReader::default();
        let mut samples = SeriesSamples::default();
        for series_ref in &self.series {
            let series = head.series.read().by_ref(*series_ref).map(Arc::clone);
            let Some(series) = series else {
                continue;
            };
            let mark = self.mark.borrow();
            reader.collect_closed(&series.state.lock(), range, |chunk| mark.takes(chunk));
            drop(mark);
            reader.decode_lenient(range, &head.files, &mut samples, |chunk, error| {
                self.leave(&series, chunk, &error);
            });
            if !samples.is_empty() {
                let labels = head.index.read().labels(&series.labels);
                let found = exemplars.binary_search_by_key(series_ref, |(one, _)| *one);
                let own = found.map_or(&[][..], |at| exemplars[at].1.as_slice());
                sink(&labels, &samples, own)?;
            }
        }
        Ok(())
    }

    /// Leaves a chunk in the head that can't be read.
    fn leave(&self, series: &MemSeries, chunk: Option<&ClosedChunk>, error: &ReadChunkError) {
        let mut mark = self.mark.borrow_mut();
        if mark.unreadable.is_empty() {
            let labels = self.head.index.read().labels(&series.labels);
            *self.first_unreadable.borrow_mut() = format!("series {labels}: {error}");
        }
        let position = chunk.map(|chunk| chunk.place.position());
        mark.unreadable.extend(position);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::{Builder, NOW, labels, open, tenant, write};

    #[test]
    fn both_ways_to_sort_agree() {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path());
        let nameless = Labels::from_pairs([("instance", "7"), ("zone", "a")]);
        let all = (0..40).map(labels).chain([nameless]);
        let rows = all.fold(Builder::default(), |rows, labels| {
            rows.row(labels, &[(NOW, 1.0)])
        });
        write(&store, &rows);
        let head = store.head(&tenant()).unwrap();
        let refs: Vec<u32> = head.resolve(&[]).iter().rev().collect();
        let sorted = head.by_ranks(&refs);
        assert_eq!(sorted.len(), 41);
        assert_eq!(head.by_texts(&refs), sorted);
    }
}
