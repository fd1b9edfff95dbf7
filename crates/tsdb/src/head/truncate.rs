//! What leaves a head: samples behind retention, chunks of idle series, series without samples.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use model::time::TimestampMs;
use parking_lot::RwLock;
use roaring::RoaringBitmap;

use super::TenantHead;
use super::series::MemSeries;

/// Series looked at between two chances for others.
const BATCH: usize = 1024;
/// A series that got no sample for so long, by the tenant's newest, keeps no open chunk.
const IDLE_MS: i64 = 3_600_000;

/// What a pass over a head found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Truncated {
    /// Closed chunks forgotten.
    pub(crate) chunks: usize,
    /// Series removed.
    pub(crate) series: usize,
}

impl TenantHead {
    /// Forgets samples before `oldest`, closes the chunks of idle series, and removes series of
    /// which nothing is left. `appends` is what every append holds for reading from before its
    /// series are resolved until it is applied: a series is removed only while none is.
    pub(crate) fn truncate(&self, oldest: TimestampMs, appends: &RwLock<()>) -> Truncated {
        let idle_before = self.newest().saturating_sub(IDLE_MS);
        let mut result = Truncated::default();
        let mut from = Some(0);
        while let Some(at) = from {
            let (batch, next) = self.series.read().scan(at, BATCH);
            let mut empty: Vec<Arc<MemSeries>> = Vec::new();
            for series in batch {
                let mut state = series.state.lock();
                if state.newest() < idle_before && !(state.open.is_empty() && state.rare.is_none())
                {
                    state.close_all(&self.files);
                }
                result.chunks += state.drop_before(oldest);
                if state.is_empty() {
                    empty.push(Arc::clone(&series));
                }
            }
            if !empty.is_empty() {
                result.series += self.remove_empty(&empty, appends);
            }
            from = next;
        }
        if oldest > self.oldest() {
            // Appends look at what is oldest too, and refuse what lies before `oldest`.
            let _no_append = appends.write();
            self.set_oldest(oldest.min(self.newest()));
        }
        self.series.write().shrink();
        result
    }

    /// Adds the chunk files that this head needs.
    pub(crate) fn needed_files(&self, needed: &mut BTreeSet<u32>) {
        self.each_series(|series| {
            let state = series.state.lock();
            needed.extend(state.closed.iter().map(|chunk| chunk.place.file));
        });
    }

    fn remove_empty(&self, candidates: &[Arc<MemSeries>], appends: &RwLock<()>) -> usize {
        let _no_append = appends.write();
        let _no_scan = self.scans.write();
        let mut map = self.series.write();
        let mut gone = RoaringBitmap::new();
        let mut pairs = Vec::new();
        for series in candidates {
            // A sample may have come since the look at it.
            if series.state.lock().is_empty() {
                map.remove(series);
                gone.insert(series.series_ref);
                pairs.extend_from_slice(&series.labels);
            }
        }
        self.index.write().remove(&gone, pairs.into_iter());
        drop(map);
        self.exemplars.lock().remove(&gone);
        let removed = gone.len();
        self.counters
            .series_removed
            .fetch_add(removed, Ordering::Relaxed);
        removed as usize
    }
}
