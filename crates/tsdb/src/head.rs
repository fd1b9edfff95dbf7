//! The newest samples of one tenant, in memory: series by fingerprint, an inverted index, open
//! chunks, and the places of closed ones.
//!
//! [`TenantHead`] is one struct, split by verb: `append`, `replay`, `select`, `lookup`, `truncate`,
//! `cut`, `snapshot`. Locks are taken in the order series map, label index, one series; none is held
//! while the disk is waited for.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use hashbrown::HashTable;
use model::fingerprint::Fingerprint;
use model::tenant::TenantId;
use model::time::{TimeRange, TimestampMs};
use parking_lot::{Mutex, RwLock};

use crate::chunk_files::ChunkFiles;
use crate::postings::LabelIndex;
use exemplars::ExemplarRing;
use metadata::MetadataStore;
use pins::Pins;
use series::MemSeries;

pub(crate) mod append;
mod replay;
pub(crate) mod select;
pub mod lookup;
pub(crate) mod truncate;
pub mod cut;
mod pins;
pub(crate) mod snapshot;
pub(crate) mod series;
pub(crate) mod exemplars;
mod metadata;

/// The head of one tenant.
pub struct TenantHead {
    pub(crate) tenant: TenantId,
    pub(crate) series: RwLock<SeriesMap>,
    pub(crate) index: RwLock<LabelIndex>,
    /// Held for reading while the index is scanned in steps; for writing while pairs go.
    pub(crate) scans: RwLock<()>,
    pub(crate) files: Arc<ChunkFiles>,
    pub(crate) exemplars: Mutex<ExemplarRing>,
    pub(crate) metadata: Mutex<MetadataStore>,
    pub(crate) counters: HeadCounters,
    pub(crate) pins: Arc<Pins>,
    newest: AtomicI64,
    oldest: AtomicI64,
    /// The oldest sample appended since a cut began to be dropped.
    appended_oldest: AtomicI64,
}

/// What a head has done since the start of the process.
#[derive(Debug, Default)]
pub struct HeadCounters {
    /// Samples and histograms taken.
    pub appended: AtomicU64,
    /// Those of them that came late.
    pub late: AtomicU64,
    /// Samples and histograms refused.
    pub rejected: AtomicU64,
    /// Series made.
    pub series_created: AtomicU64,
    /// Series that left memory.
    pub series_removed: AtomicU64,
}

impl TenantHead {
    /// An empty head.
    pub(crate) fn new(tenant: TenantId, files: Arc<ChunkFiles>) -> Self {
        Self {
            tenant,
            series: RwLock::default(),
            index: RwLock::default(),
            scans: RwLock::default(),
            files,
            exemplars: Mutex::default(),
            metadata: Mutex::default(),
            counters: HeadCounters::default(),
            newest: AtomicI64::new(TimestampMs::MIN),
            oldest: AtomicI64::new(TimestampMs::MAX),
            appended_oldest: AtomicI64::new(TimestampMs::MAX),
            pins: Arc::default(),
        }
    }

    /// Whose head it is.
    pub fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    /// The newest sample's time; `i64::MIN` where there is none.
    pub fn newest(&self) -> TimestampMs {
        self.newest.load(Ordering::Acquire)
    }

    /// The oldest sample's time, or one before it; `i64::MAX` where there is none.
    pub fn oldest(&self) -> TimestampMs {
        self.oldest.load(Ordering::Acquire)
    }

    /// Series in memory.
    pub fn series_count(&self) -> usize {
        self.series.read().len()
    }

    /// Whether the head holds nothing at all.
    pub(crate) fn is_unused(&self) -> bool {
        self.series.read().len() == 0 && self.metadata.lock().is_empty()
    }

    /// What the head has done.
    pub fn counters(&self) -> &HeadCounters {
        &self.counters
    }

    /// Whether the head may hold samples of a range.
    pub(crate) fn overlaps(&self, range: TimeRange) -> bool {
        !range.is_empty() && range.overlaps(self.oldest(), self.newest())
    }

    pub(crate) fn note_times(&self, first: TimestampMs, last: TimestampMs) {
        if last > self.newest.load(Ordering::Relaxed) {
            self.newest.fetch_max(last, Ordering::AcqRel);
        }
        if first < self.oldest.load(Ordering::Relaxed) {
            self.oldest.fetch_min(first, Ordering::AcqRel);
        }
        if first < self.appended_oldest.load(Ordering::Relaxed) {
            self.appended_oldest.fetch_min(first, Ordering::AcqRel);
        }
    }

    pub(crate) fn set_oldest(&self, oldest: TimestampMs) {
        self.oldest.store(oldest, Ordering::Release);
    }
}

/// Series of a page of the table.
const PAGE: usize = 256;

/// The series of a head, by fingerprint and by ref.
#[derive(Default)]
pub(crate) struct SeriesMap {
    by_fingerprint: HashTable<Arc<MemSeries>>,
    /// Pages of series by ref; a page without series is dropped, refs are never used again.
    pages: Vec<Option<Box<Page>>>,
    next_ref: u32,
}

struct Page {
    used: usize,
    series: [Option<Arc<MemSeries>>; PAGE],
}

impl SeriesMap {
    pub(crate) fn len(&self) -> usize {
        self.by_fingerprint.len()
    }

    #[inline]
    pub(crate) fn by_fingerprint(&self, fingerprint: Fingerprint) -> Option<&Arc<MemSeries>> {
        let same = |series: &Arc<MemSeries>| series.fingerprint == fingerprint;
        self.by_fingerprint.find(hash(fingerprint), same)
    }

    #[inline]
    pub(crate) fn by_ref(&self, series_ref: u32) -> Option<&Arc<MemSeries>> {
        let (page, slot) = place(series_ref);
        self.pages.get(page)?.as_ref()?.series[slot].as_ref()
    }

    /// A ref that was never used; `None` once all are.
    pub(crate) fn take_ref(&mut self) -> Option<u32> {
        let taken = self.next_ref;
        self.next_ref = taken.checked_add(1)?;
        Some(taken)
    }

    /// The ref that is given next.
    pub(crate) fn next_ref(&self) -> u32 {
        self.next_ref
    }

    /// Lets no ref below be given any more.
    pub(crate) fn reserve_refs(&mut self, below: u32) {
        self.next_ref = self.next_ref.max(below);
    }

    /// Adds a series that is not in the map yet.
    pub(crate) fn insert(&mut self, series: Arc<MemSeries>) {
        self.set_ref(series.series_ref, Arc::clone(&series));
        let rehash = |series: &Arc<MemSeries>| hash(series.fingerprint);
        let hash = hash(series.fingerprint);
        self.by_fingerprint.insert_unique(hash, series, rehash);
    }

    /// Lets a ref name a series; a log may name one series by several.
    pub(crate) fn set_ref(&mut self, series_ref: u32, series: Arc<MemSeries>) {
        let (page, slot) = place(series_ref);
        if self.pages.len() <= page {
            self.pages.resize_with(page + 1, || None);
        }
        let page = self.pages[page].get_or_insert_with(|| {
            Box::new(Page {
                used: 0,
                series: [const { None }; PAGE],
            })
        });
        if page.series[slot].replace(series).is_none() {
            page.used += 1;
        }
        self.next_ref = self.next_ref.max(series_ref.saturating_add(1));
    }

    /// Takes a series out, under all refs it has.
    pub(crate) fn remove(&mut self, series: &MemSeries) {
        let same = |other: &Arc<MemSeries>| other.series_ref == series.series_ref;
        if let Ok(found) = self
            .by_fingerprint
            .find_entry(hash(series.fingerprint), same)
        {
            found.remove();
        }
        self.clear_ref(series.series_ref);
    }

    fn clear_ref(&mut self, series_ref: u32) {
        let (page, slot) = place(series_ref);
        let Some(entry) = self.pages.get_mut(page) else {
            return;
        };
        if let Some(page) = entry
            && page.series[slot].take().is_some()
        {
            page.used -= 1;
            if page.used == 0 {
                *entry = None;
            }
        }
    }

    /// Forgets the refs that stand for a series beside its own: a log that used them was read.
    pub(crate) fn drop_aliases(&mut self) {
        for (number, entry) in self.pages.iter_mut().enumerate() {
            let Some(page) = entry else {
                continue;
            };
            for (slot, held) in page.series.iter_mut().enumerate() {
                let own = (number * PAGE + slot) as u32;
                if held.as_ref().is_some_and(|series| series.series_ref != own) {
                    *held = None;
                    page.used -= 1;
                }
            }
            if page.used == 0 {
                *entry = None;
            }
        }
    }

    /// Series with refs from `from` on, at most `most`, in the order of their refs; with the
    /// ref to go on from, `None` at the end.
    pub(crate) fn scan(&self, from: u32, most: usize) -> (Vec<Arc<MemSeries>>, Option<u32>) {
        let mut found = Vec::with_capacity(most.min(self.len()));
        let (mut page, mut slot) = place(from);
        while page < self.pages.len() {
            if let Some(entry) = &self.pages[page] {
                for at in slot..PAGE {
                    if found.len() == most {
                        return (found, Some((page * PAGE + at) as u32));
                    }
                    found.extend(entry.series[at].as_ref().map(Arc::clone));
                }
            }
            page += 1;
            slot = 0;
        }
        (found, None)
    }

    /// Gives back memory that was reserved for series that are gone.
    pub(crate) fn shrink(&mut self) {
        if self.by_fingerprint.len() * 4 < self.by_fingerprint.capacity() {
            self.by_fingerprint
                .shrink_to_fit(|series| hash(series.fingerprint));
        }
    }
}

fn hash(fingerprint: Fingerprint) -> u64 {
    fingerprint.0 as u64
}

fn place(series_ref: u32) -> (usize, usize) {
    (series_ref as usize / PAGE, series_ref as usize % PAGE)
}
