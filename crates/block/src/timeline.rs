//! Timelines while a block is written: series of one target share their timestamps, so that each
//! run of timestamps is stored once.

use std::collections::HashMap;
use std::sync::Arc;

use model::labels::Labels;
use model::time::TimestampMs;
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

/// How many timelines are remembered by their hash; beyond, all are forgotten, and the same one
/// may be stored again.
const MAX_REMEMBERED: usize = 4 << 20;
/// How many timestamps are held to find a part of a timeline in it.
const MAX_HELD: usize = 8 << 20;

/// Where a row's timestamps lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TimelinePart {
    pub(crate) id: i32,
    pub(crate) offset: i32,
    /// Whether the timeline is to be stored now.
    pub(crate) is_new: bool,
}

/// A timeline's id and timestamps.
type Known = (i32, Arc<[TimestampMs]>);

/// The timelines stored so far.
#[derive(Debug, Default)]
pub(crate) struct TimelineBook {
    by_hash: HashMap<u128, i32>,
    /// The longest timeline of each target and slice.
    by_target: HashMap<(u64, i64), Known>,
    held: usize,
    next: i32,
}

impl TimelineBook {
    /// How many there are.
    pub(crate) fn count(&self) -> u64 {
        u64::try_from(self.next).unwrap_or_default()
    }

    /// Where these timestamps of a target lie within a slice; `None` where there are more
    /// timelines than a block can number.
    pub(crate) fn place(
        &mut self,
        target: u64,
        slice: i64,
        ts: &[TimestampMs],
    ) -> Option<TimelinePart> {
        if let Some((id, known)) = self.by_target.get(&(target, slice))
            && let Some(offset) = offset_in(known, ts)
        {
            let (id, is_new) = (*id, false);
            return Some(TimelinePart { id, offset, is_new });
        }
        let mut hasher = Xxh3::new();
        for t in ts {
            hasher.update(&t.to_le_bytes());
        }
        let hash = hasher.digest128();
        let (id, is_new) = match self.by_hash.get(&hash) {
            Some(id) => (*id, false),
            None => {
                let id = self.next;
                self.next = self.next.checked_add(1)?;
                if self.by_hash.len() >= MAX_REMEMBERED {
                    self.by_hash.clear();
                }
                self.by_hash.insert(hash, id);
                (id, true)
            }
        };
        self.hold(target, slice, id, ts);
        let offset = 0;
        Some(TimelinePart { id, offset, is_new })
    }

    fn hold(&mut self, target: u64, slice: i64, id: i32, ts: &[TimestampMs]) {
        let key = (target, slice);
        if self
            .by_target
            .get(&key)
            .is_some_and(|(_, known)| known.len() >= ts.len())
        {
            return;
        }
        if self.held + ts.len() > MAX_HELD {
            self.by_target.clear();
            self.held = 0;
        }
        self.held += ts.len();
        if let Some((_, before)) = self.by_target.insert(key, (id, Arc::from(ts))) {
            self.held -= before.len();
        }
    }
}

/// Where `part` begins in `whole`, if it lies there without gaps.
fn offset_in(whole: &[TimestampMs], part: &[TimestampMs]) -> Option<i32> {
    let first = part.first()?;
    let at = whole.binary_search(first).ok()?;
    let same = whole.get(at..at + part.len())? == part;
    same.then(|| i32::try_from(at).ok()).flatten()
}

/// What tells the target a series comes from: its job and instance.
pub(crate) fn target_of(labels: &Labels) -> u64 {
    let job = labels.get("job").unwrap_or_default();
    let instance = labels.get("instance").unwrap_or_default();
    xxh3_64(job.as_bytes()).rotate_left(1) ^ xxh3_64(instance.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_found_in_its_targets_timeline() {
        let mut book = TimelineBook::default();
        let mut check = |target, slice, ts: &[i64], id, offset, is_new| {
            let expected = TimelinePart { id, offset, is_new };
            assert_eq!(book.place(target, slice, ts), Some(expected), "{ts:?}");
        };
        check(1, 0, &[10, 20, 30, 40], 0, 0, true);
        check(1, 0, &[10, 20, 30, 40], 0, 0, false);
        check(1, 0, &[20, 30], 0, 1, false);
        check(1, 0, &[30, 40], 0, 2, false);
        check(1, 0, &[20, 40], 1, 0, true);
        check(1, 0, &[30, 40], 0, 2, false);
        check(1, 0, &[40, 50], 2, 0, true);
        check(2, 0, &[10, 20, 30, 40], 0, 0, false);
        check(2, 0, &[10, 20], 0, 0, false);
        check(3, 0, &[10, 20], 3, 0, true);
    }
}
